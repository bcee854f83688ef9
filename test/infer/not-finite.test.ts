// Models whose outputs are no numbers: an error that says where, in every way of asking; and the others of a step go on.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../../src/infer/engine.js';
import { SequenceScorer } from '../../src/infer/scoring.js';
import { bytesInMemory, type StoredTensor } from '../../src/io/bytes.js';
import { checkTensor, findBadTensor, problemOf } from '../../src/model/check.js';
import type { LoadedModel } from '../../src/model/load.js';
import { openTinyElm, type TinyElm } from './tiny-elm.js';

/** The golden model with one weight of an id's embedding that is no number: this id's logit, and all after this id, are none either. */
const badId = 7;
let tiny: TinyElm;
let bad: LoadedModel;

beforeAll(async () => {
  tiny = await openTinyElm();
  bad = await tiny.load((name, values) => {
    if (name === 'transformer.token_embeddings.weight') values[badId * (values.length / 320) + 3] = Number.NaN;
  });
});
afterAll(async () => {
  bad.free();
  await tiny.close();
});

async function ids(engine: Engine, prompt: number[], temperature: number): Promise<number[]> {
  const found: number[] = [];
  for await (const id of engine.generate(prompt, { temperature, seed: 1, maxTokens: 4 })) found.push(id);
  return found;
}

describe('output that is not finite', () => {
  it.each([
    [0, 'f16'],
    [0.8, 'f16'],
    [0, 'q8'],
  ] as const)('ends a generation at its step, at temperature %d, with a cache in %s', async (temperature, cacheType) => {
    const engine = new Engine(tiny.backend, bad.model, { context: 64, cacheType });
    await expect(ids(engine, [1, 2, 3], temperature)).rejects.toThrow(/cannot be used at step 1 \(after 3 tokens\)/);
    await engine.dispose();
  });

  it('ends a score at its token', async () => {
    const engine = new Engine(tiny.backend, bad.model, { context: 64 });
    await expect(engine.score([1, 2, 3])).rejects.toThrow(/cannot be used for token 1/);
    await engine.dispose();
    const scorer = new SequenceScorer(tiny.backend, bad.model, { context: 64 });
    await expect(scorer.score([{ ids: [1, 2, 3], scored: 2 }])).rejects.toThrow(/scored token . of sequence 0/);
    await scorer.dispose();
  });
});

describe('checking weights', () => {
  const stored = (dtype: 'F32' | 'F16' | 'BF16' | 'F64', data: ArrayBufferView, shape: number[]): StoredTensor => {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return { name: 'w', dtype, shape, source: bytesInMemory('file', bytes), offset: 0, bytes: bytes.length };
  };

  it('counts what is not finite in every type, and where it begins', async () => {
    const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;
    const f32 = stored('F32', Float32Array.of(1, -2, nan, infinity, -infinity, 3), [2, 3]);
    expect(await checkTensor(f32)).toMatchObject({ nan: 1, infinite: 2, first: [0, 2], largest: 3, elements: 6 });
    expect(problemOf(await checkTensor(f32))).toBe('file: tensor w has 1 NaN and 2 infinite, the first at [0, 2]');
    const f64 = stored('F64', Float64Array.of(-7, nan), [2]);
    expect(await checkTensor(f64)).toMatchObject({ nan: 1, infinite: 0, first: [1], largest: 7 });
    const f16 = stored('F16', Uint16Array.of(0x3c00, 0xfbff, 0x7c00, 0x7c01), [4]);
    expect(await checkTensor(f16)).toMatchObject({ nan: 1, infinite: 1, first: [2], largest: 65504 });
    const bf16 = stored('BF16', Uint16Array.of(0x3f80, 0xff80, 0xffc0, 0xc000), [4, 1]);
    expect(await checkTensor(bf16)).toMatchObject({ nan: 1, infinite: 1, first: [1, 0], largest: 2 });
  });

  it('names a tensor that overflows at a precision', async () => {
    const large = stored('F32', Float32Array.of(1, -70000), [2]);
    expect(await findBadTensor([large], 'f32')).toBeUndefined();
    expect(await findBadTensor([large], 'f16')).toMatch(/tensor w reaches 7\.00e\+4, more than f16 holds/);
  });
});
