// Regular expressions against JavaScript's own engine, whole and searching, and what is refused by name.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { regexExpression } from '../../src/grammar/regex.js';
import { acceptor } from './accepts.js';

/** Patterns over few characters, so that random texts often match. */
const pattern = fc.letrec<{ node: string }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(
      'a',
      'b',
      'é',
      '\\u{1f98a}',
      '.',
      '[ab]',
      '[^a]',
      '[a-cé]',
      '\\w',
      '\\d',
      '\\S',
      '\\x61',
      '(?:)',
      '\\u0062',
      '[\\]b-]',
    ),
    fc.tuple(tie('node'), tie('node')).map(([a, b]) => `${a}${b}`),
    fc.tuple(tie('node'), tie('node')).map(([a, b]) => `(?:${a}|${b})`),
    fc.tuple(tie('node'), fc.constantFrom('*', '+', '?', '{2}', '{1,}', '{0,2}', '*?')).map(([a, sign]) => `(${a})${sign}`),
  ),
})).node;

const texts = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'é', '🦊', '1', ' ', '\n', ']', '-'), maxLength: 6 }), {
  minLength: 8,
  maxLength: 8,
});

describe('regular expressions', () => {
  it("match what JavaScript's do", () => {
    fc.assert(
      fc.property(pattern, texts, fc.constantFrom('', '^', '$', '^$'), (source, tried, anchors) => {
        const anchored = `${anchors.includes('^') ? '^' : ''}${source}${anchors.includes('$') ? '$' : ''}`;
        const whole = acceptor(regexExpression(anchored));
        const search = acceptor(regexExpression(anchored, 'search'));
        for (const text of ['', ...tried]) {
          expect([text, whole(text)]).toEqual([text, new RegExp(`^(?:${anchored})$`, 'u').test(text)]);
          expect([text, search(text)]).toEqual([text, new RegExp(anchored, 'u').test(text)]);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('know properties of characters, anchors in alternatives and escapes of surrogates', () => {
    const word = acceptor(regexExpression('\\p{Lu}\\p{Script=Greek}+'));
    expect([word('Ωmega'), word('Ωμέγα'), word('ωμ')]).toEqual([false, true, false]);
    const either = acceptor(regexExpression('^a|b$|(^c|d)e', 'search'));
    expect(['ax', 'xb', 'ce', 'xde', 'xce', 'xa', 'bx'].map(either)).toEqual([true, true, true, true, false, false, false]);
    expect(acceptor(regexExpression('\\ud83e\\udd8a'))('🦊')).toBe(true);
  });

  it.each([
    ['(?=a)b', /"\(\?=a\)b": at character 2, lookahead \(\?= is not supported$/],
    ['(a)\\1', /at character 6, the back reference \\1 is not supported$/],
    ['a\\b', /the word boundary \\b is not supported$/],
    ['a(?:^b)c', /\^ and \$ are supported at the beginning and the end of alternatives only$/],
    ['(a', /a \) is missing$/],
    ['a)', /there is a \) without its \($/],
    ['[b-a]', /a range in brackets runs backwards$/],
    ['a{2,1}', /the range \{2,1\} is empty$/],
    ['*a', /nothing stands before the quantifier \*$/],
    ['a{', /expected a quantifier like/],
    ['\\p{Nothing}', /there is no property of characters \\p\{Nothing\}$/],
    ['\\y', /there is no escape \\y$/],
    ['(?i)a', /this kind of group \(flags, conditions\) is not supported$/],
    ['[a', /a \] is missing$/],
    ['(a{1000}){1000}', /needs more than \d+ states/],
    ['(é|[^c]{2,995})+', /repeats what repeats too often/],
  ])('refuse %s', (source, said) => {
    expect(() => acceptor(regexExpression(source))).toThrow(said);
  });

  it('that nothing matches are refused', () => {
    expect(() => acceptor(regexExpression('a[]'))).toThrow('no text satisfies the grammar');
  });
});
