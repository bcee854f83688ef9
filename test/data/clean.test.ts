import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cleanText, hasCleanLength } from '../../src/data/clean.js';

describe('the length filter', () => {
  it('agrees with the cleaned text on every length', () => {
    const characters = fc.constantFrom(...'aB. ,\t\n\u00a0\u3000\u200b\u0130Σ😀é_-\u001f\u0085', '\ud800');
    fc.assert(
      fc.property(fc.array(characters, { maxLength: 30 }), (parts) => {
        const text = parts.join('');
        const length = [...cleanText(text)].length;
        expect(hasCleanLength(text, length)).toBe(true);
        expect(hasCleanLength(text, length + 1)).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('counts what is left of case, punctuation and white space', () => {
    expect(cleanText('  A -- b,\u2003C\u001c! ')).toBe('a b c');
    expect(cleanText('a - ')).toBe('a');
    expect([...cleanText('\u0130')]).toHaveLength(2);
  });
});
