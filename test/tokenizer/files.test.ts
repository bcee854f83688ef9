// Tokenizer files that are wrong: what each reader refuses and how it says so, and thousands of damaged files from a fixed
// seed, each either read (and then usable) or refused with an InputError.

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.js';
import { tokenizerDecisions } from '../../src/tokenizer/decisions.js';
import { tokenizerFromFile } from '../../src/tokenizer/file.js';
import { tokenizerFromJson } from '../../src/tokenizer/hugging-face.js';
import { tokenizerFromModel } from '../../src/tokenizer/sentencepiece.js';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.js';
import { seededRandom } from '../io/build.js';
import { bytesField, firstPieces, jsonFile, type ModelOptions, modelFile, type Piece } from './build.js';

const LETTERS: Piece[] = ['▁', 'a', 'b', 'ab', '▁a', '▁ab', 'é', '😀'].map((text, i) => ({ text, score: -i }));
const PIECES = [...firstPieces(true), ...LETTERS];
const TEXTS = PIECES.map(({ text }) => text as string);
const SCORES = PIECES.map(({ score }) => score ?? 0);

function model(extra: Piece[] = [], options: ModelOptions = {}): Uint8Array {
  return modelFile([...PIECES, ...extra], { byteFallback: true, ...options });
}

type Json = ReturnType<typeof jsonFile>;

function json(change: (file: Json) => void = () => {}): string {
  const file = jsonFile(TEXTS, SCORES);
  change(file);
  return JSON.stringify(file);
}

describe('tokenizer.model', () => {
  const refused: [string, Uint8Array, RegExp][] = [
    ['empty', new Uint8Array(), /holds no pieces/],
    ['cut off', model().subarray(0, 3000), /bytes where .* are left|cut off/],
    ['not protobuf', new TextEncoder().encode('{"model": 1}'), /damaged, or not a SentencePiece model/],
    ['a group', Uint8Array.of(0x0b), /wire type 3/],
    ['an endless number', new Uint8Array(20).fill(0xff), /more than 10 bytes/],
    ['unigram', model([], { modelType: 1 }), /model_type is UNIGRAM; only BPE/],
    ['normalization rules', model([], { charsMap: new Uint8Array(40) }), /normalizer_spec.precompiled_charsmap holds 40 bytes/],
    ['space as suffix', model([], { spaceAsSuffix: true }), /treat_whitespace_as_suffix/],
    [
      'spaces in a row that it would not keep',
      model([{ text: 'a  b', type: 4 }], { removeExtraSpaces: true }),
      /user-defined piece 267 holds spaces in a row/,
    ],
    ['twice a piece', model([{ text: 'ab' }]), /pieces 262 and 267 are both "ab"/],
    ['twice a control piece', model([{ text: '<s>', type: 3 }]), /pieces 1 and 267 are both "<s>"/],
    ['two unknown pieces', model([{ text: '<unk2>', type: 2 }]), /both of type UNKNOWN/],
    ['no unknown piece', modelFile([{ text: 'a' }]), /none of its 1 pieces is of type UNKNOWN/],
    ['an empty piece', model([{ text: '' }]), /piece 267 is empty/],
    ['invalid UTF-8', model([{ text: Uint8Array.of(0x61, 0xc3) }]), /piece 267 is not valid UTF-8/],
    ['a score that is no number', model([{ text: 'x', score: Number.NaN }]), /score of piece 267 is not a number/],
    ['an unknown type', model([{ text: 'x', type: 9 }]), /piece 267 is of the unknown type 9/],
    ['a byte piece of another form', model([{ text: '<0xZZ>', type: 6 }]), /of type BYTE but not of the form/],
    ['byte pieces without fallback', model([], { byteFallback: false }), /byte_fallback is off/],
    ['missing byte pieces', modelFile(firstPieces(false), { byteFallback: true }), /the piece <0x00> is missing/],
    ['a piece that is a number', Uint8Array.of(0x08, 0x01), /wire type 0 for field 1/],
  ];
  test.each(refused)('%s', (_, bytes, message) => {
    expect(() => tokenizerFromModel(bytes, 'x.model')).toThrow(InputError);
    expect(() => tokenizerFromModel(bytes, 'x.model')).toThrow(message);
    expect(() => tokenizerFromModel(bytes, 'x.model')).toThrow(/^x\.model: /);
  });

  test('fields that it does not know are passed over', () => {
    const tokenizer = tokenizerFromModel(Uint8Array.from([...bytesField(4, [1, 2, 3]), ...model(), ...bytesField(99, [1])]));
    expect(tokenizer.decode(tokenizer.encode('ab abé'))).toBe('ab abé');
  });

  test('user-defined pieces with a space in them are text like any other, as in sentencepiece', () => {
    const symbols = ['a b', ' b '].map((text) => ({ text, type: 4 }));
    const tokenizer = tokenizerFromModel(model(symbols, { removeExtraSpaces: true, dummyPrefix: true }));
    const pieces = tokenizer.encode('  a   b  ab').map((id) => tokenizer.piece(id));
    expect(pieces).toEqual(['▁a', '▁', 'b', '▁ab']);
  });

  test('control pieces may have other names for bos, eos and pad', () => {
    const names = ['<start>', '<end>', '<fill>'];
    const named = { bosPiece: '<start>', eosPiece: '<end>', padPiece: '<fill>' };
    const { bosId, eosId, padId } = tokenizerFromModel(
      model(
        names.map((text) => ({ text, type: 3 })),
        named,
      ),
    );
    expect([bosId, eosId, padId]).toEqual([267, 268, 269]);
  });

  test('the name of a file says which it is', () => {
    expect(tokenizerFromFile(model(), 'a.model').vocabSize).toBe(PIECES.length);
    expect(tokenizerFromFile(new TextEncoder().encode(json()), 'a.json').vocabSize).toBe(PIECES.length);
    expect(() => tokenizerFromFile(model(), 'a.bin')).toThrow("a.bin: not a tokenizer's name");
  });
});

describe('tokenizer.json', () => {
  const special = { SpecialToken: { id: '<s>', type_id: 0 } };
  const twice = {
    type: 'TemplateProcessing',
    single: [special, special, { Sequence: { id: 'A', type_id: 0 } }],
    special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
  };
  const refused: [string, string | Uint8Array, RegExp][] = [
    ['not JSON', '{', /found the end of the text \(line 1, column 2\)/],
    ['not UTF-8', Uint8Array.of(0x7b, 0xff), /not valid UTF-8/],
    ['a list', '[]', /the file is \[\]; an object is expected/],
    ['unigram', json((file) => (file.model.type = 'Unigram')), /model.type is "Unigram"; only BPE/],
    ['dropout', json((file) => (file.model.dropout = 0.1)), /model.dropout is 0.1/],
    ['ignore_merges', json((file) => (file.model.ignore_merges = true)), /model.ignore_merges/],
    ['a byte-level one', json((file) => (file.pre_tokenizer = { type: 'ByteLevel' })), /pre_tokenizer.type is "ByteLevel"/],
    ['NFC', json((file) => (file.normalizer = { type: 'NFC' })), /normalizer.type is "NFC"/],
    ['another prefix', json((file) => (file.normalizer = { type: 'Prepend', prepend: '_' })), /normalizer.prepend is "_"/],
    ['a WordPiece decoder', json((file) => (file.decoder = { type: 'WordPiece' })), /decoder.type is "WordPiece"/],
    ['both ways of spaces', json((file) => (file.pre_tokenizer = { type: 'Metaspace' })), /with Metaspace only null/],
    ['no vocabulary', json((file) => (file.model.vocab = null)), /model.vocab is null/],
    [
      'an id too large',
      json((file) => ((file.model.vocab as Record<string, number>).ab = 1e9)),
      /model.vocab\["ab"\] is 1000000000/,
    ],
    ['an id twice', json((file) => ((file.model.vocab as Record<string, number>).ab = 5)), /has that id too/],
    ['a merge of unknown pieces', json((file) => (file.model.merges = ['a q'])), /model.merges\[0\] needs the piece "q"/],
    ['a merge of three', json((file) => (file.model.merges = ['a b c'])), /model.merges\[0\] is "a b c"; two pieces/],
    [
      'lstrip',
      json((file) => Object.assign(file.added_tokens[1], { lstrip: 1 })),
      /added_tokens\[1\].lstrip is 1; true or false/,
    ],
    ['an added token elsewhere', json((file) => (file.added_tokens[1].id = 9)), /id of added token "<s>" is 9/],
    ['a decoder that leaves spaces', json((file) => (file.decoder = { type: 'Fuse' })), /decoder is .* a step that replaces/],
    [
      'no decoder of bytes',
      json((file) => (file.decoder = { type: 'Metaspace' })),
      /with model.byte_fallback a step ByteFallback is expected/,
    ],
    ['two tokens in front', json((file) => (file.post_processor = twice)), /post_processor puts "<s>" "<s>" in front of a text/],
    ['an unknown post-processor', json((file) => (file.post_processor = { type: 'X' })), /post_processor.type is "X"/],
    ['Prepend alone', json((file) => (file.normalizer = { type: 'Prepend', prepend: '▁' })), /with Prepend a step that replaces/],
    [
      'merges of unknown characters',
      json((file) =>
        Object.assign(file.model, { byte_fallback: false, merges: ['<unk> a'], vocab: { ...file.model.vocab!, '<unk>a': 267 } }),
      ),
      /model.merges\[0\] is \["<unk>", ?"a"\]; merging unknown/,
    ],
    ['no unknown piece', json((file) => Object.assign(file.model, { unk_token: null, byte_fallback: false })), /model.unk_token/],
  ];
  test.each(refused)('%s', (_, source, message) => {
    expect(() => tokenizerFromJson(source, 'x.json')).toThrow(InputError);
    expect(() => tokenizerFromJson(source, 'x.json')).toThrow(message);
    expect(() => tokenizerFromJson(source, 'x.json')).toThrow(/^x\.json: /);
  });

  test('merges may be strings or pairs', () => {
    const strings = tokenizerFromJson(json());
    const pairs = tokenizerFromJson(JSON.stringify(jsonFile(TEXTS, SCORES, { mergePairs: true })));
    const ofModel = tokenizerFromModel(model());
    for (const text of ['ab a b', '  abab\n', 'é😀ab']) {
      expect(strings.encode(text)).toEqual(ofModel.encode(text));
      expect(pairs.encode(text)).toEqual(ofModel.encode(text));
    }
  });

  test('an added token that is not special is found in any text', () => {
    const token = { id: TEXTS.length, content: '<|user|>', special: false, normalized: false };
    const tokenizer = tokenizerFromJson(json((file) => file.added_tokens.push(token)));
    expect(tokenizer.encode('a<|user|>b</s>')).toContain(TEXTS.length);
    expect(tokenizer.encode('a<|user|>b</s>')).not.toContain(2);
    expect(tokenizer.decode([TEXTS.length])).toBe('<|user|>');
  });

  test('a file may list no added tokens', () => {
    for (const none of [null, undefined]) {
      const tokenizer = tokenizerFromJson(json((file) => Object.assign(file, { added_tokens: none })));
      expect(tokenizer.decode(tokenizer.encode('ab abé'))).toBe('ab abé');
    }
  });

  // As transformers 5.18 has it: <pad> and <mask> follow the vocabulary in the order of their names, <|end|> is special where it is.
  test('special tokens that are named beside it are its own', () => {
    const end = { id: TEXTS.length, content: '<|end|>', special: false, normalized: false };
    const file = json((file) => file.added_tokens.push(end));
    const config = { eos_token: '<|end|>', pad_token: '<pad>', mask_token: '<mask>' };
    const decisions = tokenizerDecisions({ 'tokenizer.json': JSON.parse(file), 'tokenizer_config.json': config });
    const tokenizer = tokenizerFromJson(file, 'x.json', decisions);
    expect(tokenizer.encodeTemplate('<|end|><mask><pad>')).toEqual([267, 269, 268]);
    expect([tokenizer.eosId, tokenizer.padId]).toEqual([267, 268]);
    expect(tokenizer.encode('<|end|><pad>').every((id) => id < 267)).toBe(true);
    expect([tokenizer.addBos, tokenizer.addEos]).toEqual([false, false]);
  });
});

describe("tokenizer.json's variants", () => {
  // variants.json: changes to one file, and what Hugging Face's tokenizers 0.23 makes of texts then.
  const pieces = [...PIECES, { text: '▁▁', score: -8 }, { text: 'b▁', score: -9 }];
  const base = jsonFile(
    pieces.map(({ text }) => text as string),
    pieces.map(({ score }) => score ?? 0),
  );
  const variants: { name: string; change: object; rows: { text: string; ids: number[]; decoded: string }[] }[] = JSON.parse(
    readFileSync(new URL('variants.json', import.meta.url), 'utf8'),
  );
  test.each(variants)('$name', ({ change, rows }) => {
    const tokenizer = tokenizerFromJson(JSON.stringify({ ...base, ...change }));
    for (const { text, ids, decoded } of rows) {
      expect(tokenizer.encodeTemplate(text, { bos: tokenizer.addBos, eos: tokenizer.addEos }), text).toEqual(ids);
      const plain = tokenizer.encodeTemplate(text);
      // Special tokens that normalization changes have a text in Hugging Face's decoder, and none here.
      if (!JSON.stringify(change).includes('"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":true'))
        expect(tokenizer.decode(plain), text).toBe(decoded);
    }
  });
});

describe('damaged files are read or refused', () => {
  const random = seededRandom(20240423);
  const below = (limit: number) => Math.floor(random() * limit);

  function damage(source: Uint8Array): Uint8Array {
    const bytes = [...source];
    for (let left = 1 + below(4); left > 0; left--) {
      const at = below(bytes.length);
      const kind = below(6);
      if (kind === 0) bytes[at] ^= 1 << below(8);
      else if (kind === 1) bytes[at] = below(256);
      else if (kind === 2) bytes.splice(at, 1 + below(8));
      else if (kind === 3) bytes.splice(at, 0, ...Array.from({ length: 1 + below(12) }, () => 0x80 | below(256)));
      else if (kind === 4) bytes.length = Math.max(1, at);
      else bytes.splice(at, 0, ...bytes.slice(at, at + below(40)));
    }
    return Uint8Array.from(bytes);
  }

  // The same JSON with values anywhere in it exchanged for junk.
  const JUNK: unknown[] = [
    null,
    true,
    -1,
    0,
    3,
    1.5,
    2 ** 31,
    1e300,
    '',
    'a',
    '▁',
    'a b',
    '\ud800',
    '__proto__',
    [],
    ['a', 'b'],
    {},
  ];
  function damageTree(file: Json): string {
    const copy = structuredClone(file) as unknown as Record<string, unknown>;
    for (let left = 1 + below(3); left > 0; left--) {
      let node = copy;
      for (;;) {
        const keys = Object.keys(node);
        if (keys.length === 0) break;
        const key = keys[below(keys.length)];
        const child = node[key];
        if (typeof child === 'object' && child !== null && below(8) > 0) {
          node = child as Record<string, unknown>;
          continue;
        }
        const kind = below(4);
        if (kind === 0) delete node[key];
        else if (kind === 1 && !Array.isArray(node)) node[String(JUNK[below(JUNK.length)])] = child;
        else node[key] = structuredClone(JUNK[below(JUNK.length)]);
        break;
      }
    }
    return JSON.stringify(copy);
  }

  // Reads every damaged file, and uses what can be read. Returns how many could.
  function tryAll<Source>(count: number, make: () => Source, read: (source: Source) => Tokenizer): number {
    let usable = 0;
    for (let i = 0; i < count; i++) {
      try {
        const tokenizer = read(make());
        tokenizer.decode(tokenizer.encodeTemplate('<s>ab 😀\nabab é</s>'));
        usable++;
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        if (error.message.includes('\n')) throw new Error(`more than one line: ${error.message}`);
      }
    }
    return usable;
  }

  test('4,500 times tokenizer.model', () => {
    // Without byte pieces the file is small, and most of the damage hits something that matters.
    const small = modelFile([...firstPieces(false), ...LETTERS]);
    const whole = model();
    expect(tryAll(3000, () => damage(small), tokenizerFromModel)).toBeGreaterThan(100);
    expect(tryAll(1500, () => damage(whole), tokenizerFromModel)).toBeGreaterThan(10);
  });

  test('6,000 times tokenizer.json', () => {
    const small = jsonFile(
      ['<unk>', '<s>', '</s>', ...LETTERS.map(({ text }) => text as string)],
      [0, 0, 0, ...SCORES.slice(259)],
    );
    small.model.byte_fallback = false;
    const bytes = new TextEncoder().encode(JSON.stringify(small));
    const whole = jsonFile(TEXTS, SCORES);
    expect(tryAll(3000, () => damage(bytes), tokenizerFromJson)).toBeGreaterThan(100);
    expect(tryAll(2500, () => damageTree(small), tokenizerFromJson)).toBeGreaterThan(100);
    expect(tryAll(500, () => damageTree(whole), tokenizerFromJson)).toBeGreaterThan(10);
  });

  test('60 times the model of the stories', async () => {
    const path = join(import.meta.dirname, '../../models/tales-6m/tokenizer.model');
    const file = await readFile(path);
    tryAll(60, () => damage(file), tokenizerFromModel);
  });
});
