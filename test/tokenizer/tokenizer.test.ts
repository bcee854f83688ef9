// The tokenizer against goldens: the LLaMA vocabulary on every way to it, odd made-up vocabularies as sentencepiece and tokenizers
// see them, and the properties that hold for any text.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.js';
import { tokenizerFromJson } from '../../src/tokenizer/hugging-face.js';
import { llamaTokenizer } from '../../src/tokenizer/llama.js';
import { tokenizerFromModel } from '../../src/tokenizer/sentencepiece.js';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.js';
import { anyCharacter } from '../characters.js';
import { judgeTokenizer } from '../judge/tokenizer.js';
import { firstPieces, modelFile, type Piece } from './build.js';

const golden = join(import.meta.dirname, '../golden/tokenizer');
const storiesModel = join(import.meta.dirname, '../../models/tales-6m/tokenizer.model');

let llama: Tokenizer;
let stories: Tokenizer;
beforeAll(async () => {
  llama = await llamaTokenizer();
  stories = tokenizerFromModel(await readFile(storiesModel), storiesModel);
});

test('the goldens of the LLaMA vocabulary hold on every way to it', async () => {
  const verdicts = await judgeTokenizer(golden);
  expect(verdicts.length).toBeGreaterThanOrEqual(3);
  for (const { item, judged, failures } of verdicts) {
    expect(failures, item).toEqual([]);
    expect(judged).toBeGreaterThan(1300);
  }
});

interface OddModel {
  readonly bytes: boolean;
  readonly dummyPrefix: boolean;
  readonly removeExtraSpaces: boolean;
  readonly escapeSpaces: boolean;
  readonly unknownSurface: string;
  readonly pieces: [string, number, number][];
  readonly rows: { text: string; ids: number[]; decode: string }[];
  readonly decodes: { ids: number[]; decode: string }[];
}

test('odd vocabularies give the ids and text of sentencepiece and tokenizers', async () => {
  const odd = JSON.parse(await readFile(join(golden, 'odd.json'), 'utf8'));
  for (const model of odd.sentencepiece as OddModel[]) {
    const pieces: Piece[] = model.pieces.map(([text, score, type]) => ({ text, score, type }));
    const file = modelFile([...firstPieces(model.bytes), ...pieces], { ...model, byteFallback: model.bytes });
    const tokenizer = tokenizerFromModel(file);
    for (const { text, ids, decode } of model.rows) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.encode(text), `${text}, again, from the table of known words`).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decode);
    }
    for (const { ids, decode } of model.decodes) expect(tokenizer.decode(ids)).toBe(decode);
  }
  for (const { file, rows } of odd.tokenizers as { file: unknown; rows: { text: string; ids: number[] }[] }[]) {
    const tokenizer = tokenizerFromJson(JSON.stringify(file));
    for (const { text, ids } of rows) expect(tokenizer.encodeTemplate(text), text).toEqual(ids);
  }
});

test('ids of special pieces, pieces by id, and ids past the vocabulary', () => {
  expect([llama.vocabSize, llama.bosId, llama.eosId, llama.unkId, llama.padId]).toEqual([32000, 1, 2, 0, undefined]);
  expect([stories.vocabSize, stories.bosId, stories.eosId, stories.unkId]).toEqual([4096, 1, 2, 0]);
  expect(llama.piece(13)).toBe('<0x0A>');
  expect(llama.pieceToId('▁the')).toBe(278);
  expect(llama.pieceToId('</s>')).toBe(2);
  expect(llama.pieceToId('no such piece')).toBeUndefined();
  expect(llama.pieceToId('')).toBeUndefined();
  expect(llama.piece(32001)).toBeUndefined();
  expect(llama.decode([15043, 32100, 3186])).toBe('Hello world');
});

test('bos and eos on request, and refused where there are none', () => {
  expect(llama.encode('Hello', { bos: true, eos: true })).toEqual([1, 15043, 2]);
  expect(llama.encode('')).toEqual([]);
  expect(llama.encode('', { bos: true })).toEqual([1]);
  const bare = tokenizerFromModel(modelFile([{ text: '<unk>', type: 2 }, { text: 'a' }]));
  expect(bare.bosId).toBe(-1);
  expect(() => bare.encode('a', { bos: true })).toThrow(InputError);
});

test('template text holds special tokens, and each part after one has its own prefix', () => {
  expect(llama.encodeTemplate('<s>Hello</s>')).toEqual([1, 15043, 2]);
  expect(llama.encodeTemplate('hi</s>\n<|assistant|>\n')).toEqual([
    ...llama.encode('hi'),
    2,
    ...llama.encode('\n<|assistant|>\n'),
  ]);
  expect(llama.encode('<s>Hello</s>')).not.toContain(1);
});

test('a lone surrogate counts as U+FFFD', () => {
  for (const text of ['\ud800', 'a\udc00b', '\ud83d \ude00', `${'x'.repeat(40)}\ud83d`]) {
    const replaced = text.replace(/\p{Surrogate}/gu, '\ufffd');
    expect(llama.encode(text)).toEqual(llama.encode(replaced));
  }
});

test('scores decide, whatever the order of ids; the leftmost of equals merges first', () => {
  const pieces: Piece[] = [
    { text: 'a', score: -9 },
    { text: 'b', score: -9 },
    { text: 'c', score: -9 },
    { text: 'ab', score: -2 },
    { text: 'bc', score: -1 },
    { text: 'aa', score: -3 },
  ];
  const tokenizer = tokenizerFromModel(modelFile([...firstPieces(false), ...pieces], { dummyPrefix: false }));
  const spelled = (text: string) => tokenizer.encode(text).map((id) => tokenizer.piece(id));
  expect(spelled('abc')).toEqual(['a', 'bc']);
  expect(spelled('aaa')).toEqual(['aa', 'a']);
  expect(spelled('a'.repeat(101))).toEqual([...Array(50).fill('aa'), 'a']);
  // A pair that becomes another of the same score, at the end of a long word.
  const same = tokenizerFromModel(
    modelFile([...firstPieces(false), ...pieces, { text: 'abc', score: -2 }], { dummyPrefix: false }),
  );
  expect(same.encode(`${'a'.repeat(40)}abc`)).toEqual([...Array(20).fill(8), 9]);
});

test('texts whose hashes are equal are told apart', () => {
  // Each two have the same sum of byte * 0x01000193^place mod 2^32: with the same first letter, the same last one, longer, shorter.
  const pairs = ['ekbfdjaj esvvljch', 'fhihmczl qwbfbpcl', 'wbkrjeok dqmtfmj', 'galhykhm wsbmpbx', 'abopizaejh ab'];
  for (const [piece, text] of pairs.map((pair) => pair.split(' ')))
    for (const part of [(end: number) => text.slice(0, end), (end: number) => text.slice(-end)]) {
      const letters = [...new Set(text)].map((letter) => ({ text: letter, score: -9 }));
      const parts = Array.from({ length: text.length - 2 }, (_, i) => ({ text: part(i + 2), score: -i }));
      const pieces = [...firstPieces(false), { text: piece }, ...letters, ...parts];
      const tokenizer = tokenizerFromModel(modelFile(pieces, { dummyPrefix: false }));
      expect([piece, text].map((each) => tokenizer.pieceToId(each))).toEqual([3, undefined]);
      expect(tokenizer.encode(text)).toHaveLength(2); // the longest part, and the letter that is left
      const both = tokenizerFromModel(modelFile([...pieces, { text }], { dummyPrefix: false }));
      expect([piece, text].map((each) => both.pieceToId(each))).toEqual([3, pieces.length]);
    }
});

test('words short and long are merged as the definition says', () => {
  // The stories model's scores fall with the id, and its letters are pieces: the lowest id among the pairs merges first.
  const merged = (word: string): number[] => {
    const symbols = [...`▁${word}`];
    for (;;) {
      const ids = symbols.slice(1).map((right, i) => stories.pieceToId(symbols[i] + right) ?? Number.POSITIVE_INFINITY);
      const best = Math.min(...ids);
      if (best === Number.POSITIVE_INFINITY) return symbols.map((symbol) => stories.pieceToId(symbol)!);
      const at = ids.indexOf(best);
      symbols.splice(at, 2, symbols[at] + symbols[at + 1]);
    }
  };
  const letters = fc.string({ unit: fc.constantFrom(...'etaoinshrdlu'), minLength: 1, maxLength: 90 });
  fc.assert(
    fc.property(letters, (word) => {
      expect(stories.encode(word)).toEqual(merged(word));
    }),
    { numRuns: 300 },
  );
});

describe('for any text', () => {
  const text = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 60 }),
    fc.string({ unit: fc.constantFrom(' ', 'a', 'e', 'th', '\n', '.', 'é', '😀', '\0', '</s>'), maxLength: 40 }),
    fc.string({ unit: anyCharacter, maxLength: 40 }),
  );
  const wellFormed = text.map((one) => one.replace(/\p{Surrogate}/gu, '').replaceAll('▁', ''));

  test('decoding gives the text back', () => {
    for (const tokenizer of [llama, stories]) {
      fc.assert(fc.property(wellFormed, (one) => tokenizer.decode(tokenizer.encode(one)) === one));
    }
  });

  test('user text never yields special ids', () => {
    fc.assert(fc.property(text, (one) => llama.encode(one).every((id) => id > 2)));
  });

  test('streamed parts add up to the decoded whole, and none ends in half a character', () => {
    const ids = fc.array(fc.oneof(fc.integer({ min: 0, max: 4200 }), fc.integer({ min: 3, max: 258 })), { maxLength: 40 });
    fc.assert(
      fc.property(ids, (sequence) => {
        const decoder = stories.streamDecoder();
        const parts = sequence.map((id) => decoder.push(id));
        parts.push(decoder.flush());
        return parts.join('') === stories.decode(sequence) && parts.every((part) => !/\p{Surrogate}/u.test(part));
      }),
    );
  });

  test('a text is encoded alike whether its words are known or new', () => {
    fc.assert(
      fc.property(fc.array(wellFormed, { maxLength: 4 }), (parts) => {
        const whole = parts.join(' ');
        const first = stories.encode(whole);
        for (const part of parts) stories.encode(part);
        expect(stories.encode(whole)).toEqual(first);
      }),
    );
  });
});

test('a text in pieces has the ids of the whole, whatever the vocabulary', async () => {
  const odd = JSON.parse(await readFile(join(golden, 'odd.json'), 'utf8'));
  const models = (odd.sentencepiece as OddModel[]).map((model) => {
    const pieces: Piece[] = model.pieces.map(([text, score, type]) => ({ text, score, type }));
    const tokenizer = tokenizerFromModel(
      modelFile([...firstPieces(model.bytes), ...pieces], { ...model, byteFallback: model.bytes }),
    );
    return { tokenizer, texts: model.rows.map(({ text }) => text) };
  });
  const files = (odd.tokenizers as { file: unknown; rows: { text: string }[] }[]).map(({ file, rows }) => ({
    ...{ tokenizer: tokenizerFromJson(JSON.stringify(file)), texts: rows.map(({ text }) => text) },
  }));
  const texts = [...models, ...files].flatMap((one) => one.texts);
  let lists = 0;
  for (const { tokenizer, texts: own } of [...models, ...files, { tokenizer: llama, texts }, { tokenizer: stories, texts }]) {
    const parts = fc.array(fc.constantFrom(...own, ' ', '  ', '\n', 'a ', '▁', 'x y', ' é', '<s>'), { maxLength: 12 });
    const once = async (pieces: string[], units: number): Promise<void> => {
      const ids: number[] = [];
      for await (const list of tokenizer.encodeLong(pieces, { units })) {
        ids.push(...list);
        lists++;
      }
      expect(ids, JSON.stringify(pieces)).toEqual(tokenizer.encode(pieces.join('')));
    };
    await fc.assert(fc.asyncProperty(parts, fc.integer({ min: 1, max: 9 }), once), { numRuns: 150 });
  }
  expect(lists).toBeGreaterThan(5000);
});

test('a text whose ids would be too many is refused', () => {
  expect(() => stories.encode('x'.repeat((1 << 25) + 1))).toThrow(
    /^a text of 33554433 characters is too long to be tokenized at once; at most 33554432: split it$/,
  );
});
