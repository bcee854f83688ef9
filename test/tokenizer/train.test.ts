import { describe, expect, it } from 'vitest';
import { tokenizerFromModel } from '../../src/tokenizer/sentencepiece.js';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.js';
import { TokenizerTrainer, type TrainOptions } from '../../src/tokenizer/train.js';

const RESERVED = 259;

function train(texts: readonly string[], options: TrainOptions): Tokenizer {
  const trainer = new TokenizerTrainer();
  for (const text of texts) trainer.add(text);
  return tokenizerFromModel(trainer.train(options));
}

const learned = (tokenizer: Tokenizer): string[] =>
  Array.from({ length: tokenizer.vocabSize - RESERVED }, (_, i) => tokenizer.piece(RESERVED + i)!);

// Merges by their definition: the pair whose joined text is most frequent over all words, counted anew each time.
function slowMerges(words: readonly (readonly [string, number])[], merges: number, maxLength: number): string[] {
  const pieces: string[] = [];
  const known = new Set<string>();
  let split = words.map(([word, times]) => [[...word], times] as const);
  while (pieces.length < merges) {
    const counts = new Map<string, number>();
    for (const [parts, times] of split) {
      for (let i = 0; i + 1 < parts.length; i++) {
        const text = parts[i] + parts[i + 1];
        if ([...text].length <= maxLength) counts.set(text, (counts.get(text) ?? 0) + times);
      }
    }
    const [best] = [...counts].sort(([a, m], [b, n]) => n - m || [...a].length - [...b].length || (a < b ? -1 : 1));
    if (!best) break;
    if (!known.has(best[0])) pieces.push(best[0]);
    known.add(best[0]);
    split = split.map(([parts, times]) => {
      const merged: string[] = [];
      for (const part of parts) {
        const last = merged.at(-1);
        const isPair = last !== undefined && last + part === best[0] && !fresh.has(merged);
        if (isPair) {
          merged[merged.length - 1] = best[0];
          fresh.add(merged);
        } else {
          merged.push(part);
          fresh.delete(merged);
        }
      }
      return [merged, times] as const;
    });
  }
  return pieces;
}
// Lists whose last part was merged just now: a new piece does not join with what follows in the same pass.
const fresh = new WeakSet<string[]>();

describe('TokenizerTrainer', () => {
  it('merges the most frequent pair first, as a count of all pairs would say', () => {
    const words: [string, number][] = [
      ['low', 5],
      ['lowest', 2],
      ['newer', 6],
      ['wider', 3],
      ['new', 2],
      ['aaaaa', 4],
      ['banana', 3],
      ['abab', 2],
    ];
    const text = words.flatMap(([word, times]) => new Array<string>(times).fill(word)).join(' ');
    const characters = new Set(`▁${words.map(([word]) => word).join('')}`).size;
    const merges = 22;
    const tokenizer = train([text], { vocabSize: RESERVED + merges + characters, characterCoverage: 1, maxPieceLength: 5 });
    const expected = slowMerges(
      words.map(([word, times]) => [`▁${word}`, times] as const),
      merges,
      5,
    );
    expect(learned(tokenizer).slice(0, merges)).toEqual(expected);
    expect(learned(tokenizer).slice(merges).sort()).toEqual([...new Set(`▁${words.map(([word]) => word).join('')}`)].sort());
  });

  it('depends on the counts alone, not on the order of the texts', () => {
    const texts = ['the cat sat on the mat', 'the dog sat on the log', 'a cat and a dog'];
    const options = { vocabSize: RESERVED + 33 };
    expect(learned(train([...texts].reverse(), options))).toEqual(learned(train(texts, options)));
  });

  it('keeps digits, scripts and spaces apart, and no piece across them', () => {
    const text = "a1 22 abc. don't  привет\tмир\nдва  日本語カナ ".repeat(20);
    for (const piece of learned(train([text], { vocabSize: RESERVED + 45, characterCoverage: 1 }))) {
      expect(piece).toMatch(
        /^(▁*|\p{Nd}|▁?\p{Script=Latin}+|▁?\p{Script=Cyrillic}+|▁?[\p{Script=Han}\p{Script=Katakana}]+|▁?[\p{P}]+)$/u,
      );
    }
    const together = learned(train(['22 22 22 1'], { vocabSize: RESERVED + 5, characterCoverage: 1, splitDigits: false }));
    expect(together).toContain('▁22');
  });

  it('spells what it has no piece for in bytes, and gives every text back', () => {
    const tokenizer = train(['aaa bbb aaa bbb\nccc'.repeat(30), 'é'], { vocabSize: RESERVED + 10, characterCoverage: 0.99 });
    expect(tokenizer.pieceToId('é')).toBeUndefined();
    // Control characters are spelled in bytes however often they come.
    const controls = train(['a\u0001b\ud800'.repeat(30)], { vocabSize: RESERVED + 3, characterCoverage: 1 });
    expect(learned(controls)).toEqual(['a', 'b', '▁']);
    for (const text of ['aaa é 😀\tb\n', '  two  spaces ', 'ccc']) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect([tokenizer.unkId, tokenizer.bosId, tokenizer.eosId, tokenizer.padId]).toEqual([0, 1, 2, undefined]);
  });

  it('uses pieces of at most the length asked for', () => {
    const tokenizer = train(['abcdefgh '.repeat(9)], { vocabSize: RESERVED + 9 + 5, maxPieceLength: 3, characterCoverage: 1 });
    expect(Math.max(...learned(tokenizer).map((piece) => [...piece].length))).toBe(3);
  });

  it('says when the vocabulary is too small or too large for the text', () => {
    const options = { characterCoverage: 1 };
    expect(() => train(['abc'], { vocabSize: 260, ...options })).toThrow(
      'a vocabulary of 260 is too small: 259 control and byte pieces and 4 characters need 263',
    );
    expect(() => train(['abc'], { vocabSize: 300, ...options })).toThrow('the text yields only 266 pieces');
    expect(() => train([], { vocabSize: 300, ...options })).toThrow('no text to learn');
  });
});
