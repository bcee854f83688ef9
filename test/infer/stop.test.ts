import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.js';
import { StopMatcher } from '../../src/infer/stop.js';

/** The text before the first stop string to end (the longest of those), found the slow way in the whole text. */
function naive(text: string, stops: readonly string[]): { text: string; stop?: string } {
  for (let end = 1; end <= text.length; end++) {
    const here = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    if (here.length > 0) {
      const stop = here.reduce((a, b) => (b.length > a.length ? b : a));
      return { text: text.slice(0, end - stop.length), stop };
    }
  }
  return { text };
}

function stream(pieces: readonly string[], stops: readonly string[]): { text: string; stop?: string } {
  const matcher = new StopMatcher(stops);
  let text = '';
  for (const piece of pieces) text += matcher.push(piece).text;
  text += matcher.flush();
  return matcher.stop === undefined ? { text } : { text, stop: matcher.stop };
}

/** `text` cut after each of `sizes` characters in turn (empty pieces too). */
function cut(text: string, sizes: readonly number[]): string[] {
  const pieces: string[] = [];
  let at = 0;
  for (const size of sizes) {
    pieces.push(text.slice(at, at + size));
    at += size;
  }
  return [...pieces, text.slice(at)];
}

describe('StopMatcher', () => {
  it('agrees with a search in the whole text, however the text is cut', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '\n', '😀'), minLength: 1, maxLength: 6 });
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '\n', '😀', '😁'), maxLength: 60 });
    fc.assert(
      fc.property(text, fc.array(word, { maxLength: 4 }), fc.array(fc.nat(5), { maxLength: 30 }), (whole, stops, sizes) => {
        expect(stream(cut(whole, sizes), stops)).toEqual(naive(whole, stops));
      }),
      { numRuns: 3000 },
    );
  });

  it('shows at every moment all that cannot be part of a stop string', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 30 }),
        fc.array(word, { maxLength: 3 }),
        (whole, stops) => {
          const matcher = new StopMatcher(stops);
          let seen = '';
          let shown = '';
          for (const unit of whole) {
            seen += unit;
            const result = matcher.push(unit);
            shown += result.text;
            if (result.stop !== undefined) break;
            const lengths = Array.from({ length: seen.length + 1 }, (_, n) => n);
            const held = Math.max(
              ...lengths.filter((n) => stops.some((stop) => stop.startsWith(seen.slice(seen.length - n)))),
              0,
            );
            expect(shown).toBe(seen.slice(0, seen.length - held));
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('holds back the beginning of a stop string and gives it out when it was none', () => {
    const matcher = new StopMatcher(['</s>', '\nUser:']);
    expect(matcher.push('Hello <')).toEqual({ text: 'Hello ' });
    expect(matcher.push('/b>')).toEqual({ text: '</b>' });
    expect(matcher.push('\nUs')).toEqual({ text: '' });
    expect(matcher.push('er: hi')).toEqual({ text: '', stop: '\nUser:' });
    expect(matcher.push('more')).toEqual({ text: '', stop: '\nUser:' });
    expect(matcher.flush()).toBe('');
  });

  it('takes the match that ends first, then the longest', () => {
    expect(stream(['xabcd'], ['abcd', 'bc'])).toEqual({ text: 'xa', stop: 'bc' });
    expect(stream(['xabc'], ['bc', 'abc'])).toEqual({ text: 'x', stop: 'abc' });
  });

  it('passes text through when there is no stop string, and rejects an empty one', () => {
    expect(stream(['a', 'b'], [])).toEqual({ text: 'ab' });
    expect(() => new StopMatcher(['ok', ''])).toThrow(InputError);
  });

  it('takes time linear in the text', () => {
    const matcher = new StopMatcher([`${'a'.repeat(2000)}b`]);
    const start = performance.now();
    let shown = 0;
    for (let i = 0; i < 300; i++) shown += matcher.push(`${'a'.repeat(1999)}c`).text.length;
    expect(shown + matcher.flush().length).toBe(300 * 2000);
    expect(performance.now() - start).toBeLessThan(20_000); // a search that starts anew at each place takes minutes
  });
});
