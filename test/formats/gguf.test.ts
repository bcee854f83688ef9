// The keys of a GGUF file: what a file without ours has, and one sentence for each setting that the model here is not, which would
// give wrong numbers in silence. Whole models are convert.test.ts's.

import { describe, expect, it } from 'vitest';
import { ggufMetadata, readGgufModel } from '../../src/formats/gguf.js';
import { bytesInMemory } from '../../src/io/bytes.js';
import { type GgufEntry, writeGguf } from '../../src/io/gguf-write.js';
import { configFromFields } from '../../src/model/config.js';
import { tokenizerBeside } from '../../src/tokenizer/beside.js';
import { memorySink } from '../io/build.js';
import { smallFields } from './build.js';

const config = configFromFields(smallFields, 'small');
const int = (value: number): GgufEntry => ({ type: 'int32', value });
const text = (value: string): GgufEntry => ({ type: 'string', value });

/** Reads a file of these keys; undefined takes one away. Its tensors have one row of the right sizes at most. */
async function read(
  changes: Record<string, GgufEntry | undefined>,
  tensors = ['token_embd', 'blk.0.ffn_gate', 'blk.0.attn_q_norm'],
) {
  const keys = new Map<string, GgufEntry | undefined>(ggufMetadata(config, 0, 'small'));
  for (const [key, entry] of Object.entries(changes)) keys.set(key, entry);
  const sink = memorySink();
  const written = [...keys].filter((one): one is [string, GgufEntry] => one[1] !== undefined);
  const specs = tensors.map((name) => ({ name: `${name}.weight`, type: 'F32' as const, shape: [config.vocabSize, 1] }));
  await writeGguf(sink, written, specs, ({ shape }) => [new Uint8Array(4 * shape[0])]);
  return readGgufModel(bytesInMemory('x.gguf', sink.bytes()));
}

it('is read as it was written', async () => {
  const { config: found } = await read({});
  // What scaling gave the widths and which tokens end a text is no key of it; the vocabulary's keys say the latter.
  const { scaling, bosTokenId, eosTokenIds, ...kept } = config;
  expect(found).toMatchObject(kept);
});

it("has llama.cpp's and CoreNet's defaults where its keys say nothing", async () => {
  const { config: found } = await read({
    'openelm.rope.max_length': undefined,
    'openelm.rope.freq_base': undefined,
    'openelm.attention.key_length': undefined,
    'openelm.attention.value_length': undefined,
    'openelm.rope.scaling.type': text('none'),
    'split.count': int(1),
    'openelm.attention.head_count': int(4),
    'openelm.attention.head_count_kv': int(2),
    'openelm.feed_forward_length': int(96),
    'tokenizer.ggml.bos_token_id': int(1),
    'tokenizer.ggml.eos_token_id': int(2),
    'tokenizer.ggml.eot_token_id': int(2),
  });
  expect([found.ropeMaxLength, found.ropeFreqConstant, found.headDim]).toEqual([2 * config.maxContextLength, 10_000, 16]);
  expect([found.bosTokenId, found.eosTokenIds]).toEqual([1, [2]]);
  expect(found.layers.map(({ queryHeads, kvHeads, ffnDim }) => [queryHeads, kvHeads, ffnDim])).toEqual(Array(3).fill([4, 2, 96]));
});

describe('is refused', () => {
  it.each<[string, Record<string, GgufEntry | undefined>]>([
    ['general.architecture is "llama"; only "openelm" is supported', { 'general.architecture': text('llama') }],
    ["one of 3 parts; join them with llama.cpp's gguf-split --merge", { 'split.count': int(3) }],
    ['openelm.block_count is missing', { 'openelm.block_count': undefined }],
    ['openelm.context_length is no number', { 'openelm.context_length': text('long') }],
    ['openelm.attention.value_length is 8; only 16', { 'openelm.attention.value_length': int(8) }],
    ['openelm.rope.dimension_count is 8; only 16', { 'openelm.rope.dimension_count': int(8) }],
    [
      "openelm.attention.layer_norm_rms_epsilon is 0.5; only 9.999999974752427e-7 (OpenELM's)",
      { 'openelm.attention.layer_norm_rms_epsilon': { type: 'float32', value: 0.5 } },
    ],
    ['openelm.rope.scaling.type is not supported', { 'openelm.rope.scaling.type': text('linear') }],
    [
      'openelm.feed_forward_length has 2 numbers for 3 layers',
      { 'openelm.feed_forward_length': { type: 'int32s', value: [32, 64] } },
    ],
  ])('%s', async (message, changes) => {
    await expect(read(changes)).rejects.toThrow(`x.gguf: ${message}`);
  });

  it('without a vocabulary', async () => {
    await expect(read({}, [])).rejects.toThrow('x.gguf: the tensor token_embd.weight is missing');
  });

  it.each<[string, Record<string, GgufEntry | undefined>]>([
    ['model is "gpt2"; only "llama" (SentencePiece BPE) is supported', { model: text('gpt2') }],
    ['precompiled_charsmap: only identity normalization', { precompiled_charsmap: { type: 'int32s', value: [1] } }],
    ['tokens is missing, or no list of texts', { tokens: undefined }],
    ['scores is not a list of 2 numbers', { scores: { type: 'float32s', value: [0] } }],
    ['token_type is not a list of 2 numbers', { token_type: undefined }],
    ['token_type of piece 1 is 7; types are 1 to 6', { token_type: { type: 'int32s', value: [2, 7] } }],
  ])('for its vocabulary: %s', async (message, changes) => {
    const keys: Record<string, GgufEntry | undefined> = {
      ...{ model: text('llama'), tokens: { type: 'strings', value: ['<unk>', 'a'] } },
      ...{ scores: { type: 'float32s', value: [0, -1] }, token_type: { type: 'int32s', value: [2, 1] } },
    };
    const asked = (all: typeof keys) =>
      Object.fromEntries(Object.entries(all).map(([key, entry]) => [`tokenizer.ggml.${key}`, entry]));
    expect(await (await read(asked(keys))).text('tokenizer.model')).toBeInstanceOf(Uint8Array);
    const file = await read(asked({ ...keys, ...changes }));
    await expect((async () => file.text('tokenizer.model'))()).rejects.toThrow(`x.gguf: tokenizer.ggml.${message}`);
    expect(await (await read({})).text('tokenizer.model')).toBeUndefined();
  });

  it('write spaces as llama.cpp does, whatever begins and ends a text', async () => {
    const keys: Record<string, GgufEntry> = {
      model: text('llama'),
      tokens: { type: 'strings', value: ['<unk>', '[BOS]', '▁', 'a', '▁a'] },
      scores: { type: 'float32s', value: [0, 0, -3, -2, -1] },
      token_type: { type: 'int32s', value: [2, 3, 1, 1, 1] },
      bos_token_id: int(1),
    };
    const file = await read(Object.fromEntries(Object.entries(keys).map(([key, entry]) => [`tokenizer.ggml.${key}`, entry])));
    const tokenizer = await tokenizerBeside(async (name) => file.text(name), 'x.gguf/', 5);
    expect(tokenizer!.encode(' a', { bos: true })).toEqual([1, 2, 4]);
    expect(tokenizer!.encodeTemplate('[BOS] a')).toEqual([1, 2, 4]);
  });
});
