import { describe, expect, it } from 'vitest';
import { splitDocument } from '../../src/data/process.js';

describe('splitDocument', () => {
  it('cuts after so many words and drops the space between', () => {
    expect([...splitDocument('a b c d e', 2)]).toEqual(['a b', 'c d', 'e']);
    expect([...splitDocument('', 2)]).toEqual(['']);
    // As Python's split(' ') has it: a space in front has an empty word before it.
    expect([...splitDocument(' a  b', 2)]).toEqual([' a', ' b']);
    expect([...splitDocument(' a ', 1)]).toEqual(['', 'a', '']);
  });

  it('cuts what has no spaces where it gets too long, never inside a character', () => {
    const text = `${'x'.repeat((1 << 24) - 1)}\u{1f40c}${'y'.repeat(1 << 24)}`;
    const pieces = [...splitDocument(text, 2048)];
    expect(pieces.map(({ length }) => length)).toEqual([(1 << 24) - 1, 1 << 24, 2]);
    expect(pieces[1].startsWith('\u{1f40c}y')).toBe(true);
    expect(pieces.join('') === text).toBe(true);
  });
});
