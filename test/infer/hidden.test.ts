// Hidden states and embeddings of a small golden model: against the numbers of Apple's own code, as transformers would number them,
// and that it makes no difference what else lies in a batch or where steps end.

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../../src/infer/engine.js';
import { chosenLayers } from '../../src/infer/hidden.js';
import { TextModel } from '../../src/infer/text.js';
import { readFloat32 } from '../../src/io/decode.js';
import { openFile } from '../../src/io/node/files.js';
import { openWeights } from '../../src/io/node/weights.js';
import { readSafetensors } from '../../src/io/safetensors.js';
import { readInt32 } from '../integers.js';
import { openTinyElm, type TinyElm } from './tiny-elm.js';

const file = fileURLToPath(new URL('../golden/models/tiny-elm/golden.safetensors', import.meta.url));
const [length, columns, layers] = [48, 96, 4];

let tiny: TinyElm;
let engine: Engine;
let ids: number[][];
/** hidden_states[i], of both sequences. */
let golden: Float32Array[];

beforeAll(async () => {
  tiny = await openTinyElm();
  engine = new Engine(tiny.backend, tiny.loaded.model, { context: 64, slots: 2, cacheType: 'f32' });
  const source = await openFile(file);
  const { tensors } = await readSafetensors(source);
  const names = ['embed', 'hidden.0', 'hidden.1', 'hidden.2', 'final_norm'];
  golden = await Promise.all(names.map((name) => readFloat32(tensors.get(name)!)));
  const all = Array.from(await readInt32(tensors.get('input_ids')!));
  ids = [all.slice(0, length), all.slice(length)];
  await source.close();
});

afterAll(async () => {
  await engine.dispose();
  await tiny.close();
});

/** The mean of the first `count` golden states of a sequence, of length 1. */
function goldenEmbedding(sequence: number, count: number): number[] {
  const mean = Array.from({ length: columns }, (_, i) => {
    let sum = 0;
    for (let row = 0; row < count; row++) sum += golden[layers][(sequence * length + row) * columns + i];
    return sum / count;
  });
  const norm = Math.hypot(...mean);
  return mean.map((value) => value / norm);
}

async function firstId(): Promise<number | undefined> {
  for await (const id of engine.generate(ids[0].slice(0, 8), { temperature: 0, maxTokens: 1 })) return id;
  return undefined;
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

describe('hidden states', () => {
  it("are those of Apple's code, numbered as transformers numbers them", async () => {
    for (const [sequence, own] of ids.entries()) {
      const states = await engine.hiddenStates(own, chosenLayers(undefined, layers));
      expect(states).toHaveLength(layers + 1);
      for (const [i, layer] of states.entries()) {
        const expected = golden[i].subarray(sequence * length * columns, (sequence + 1) * length * columns);
        const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        expect(largestDifference(layer, expected) / scale, `hidden_states[${i}]`).toBeLessThan(2e-5);
      }
    }
    expect(chosenLayers([-1, 0, -5], layers)).toEqual([4, 0, 0]);
    expect(() => chosenLayers([5], layers)).toThrow('there are no hidden states 5: this model has 0 (the embedding) to 4');
  });
});

describe('attention', () => {
  it("weighs values to what Apple's code makes of them", async () => {
    const [count, headDim, heads] = [40, 16, 4];
    const source = await openFile(file);
    const { tensors } = await readSafetensors(source);
    const [values, attended] = await Promise.all(['cache_v.0', 'layer0.attn'].map((name) => readFloat32(tensors.get(name)!)));
    await source.close();
    const weights = await openWeights(fileURLToPath(new URL('../golden/models/tiny-elm', import.meta.url)));
    const out = await readFloat32(weights.tensors.get('transformer.layers.0.attn.out_proj.weight')!);
    await weights.close();
    for (const [sequence, own] of ids.entries()) {
      const found = await engine.attention(own, 0);
      expect(found.length).toBe(heads * length * length);
      let furthest = 0;
      for (let row = 0; row < count; row++) {
        const mixed = Float64Array.from({ length: heads * headDim }, (_, i) => {
          let sum = 0;
          const start = (Math.floor(i / headDim) * length + row) * length;
          for (let k = 0; k <= row; k++) sum += found[start + k] * values[(sequence * count + k) * headDim + (i % headDim)];
          return sum;
        });
        for (let c = 0; c < columns; c++) {
          const expected = attended[(sequence * length + row) * columns + c];
          const sum = mixed.reduce((all, value, i) => all + value * out[c * mixed.length + i], 0);
          furthest = Math.max(furthest, Math.abs(sum - expected));
        }
      }
      const scale = attended.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(furthest / scale).toBeLessThan(2e-5);
    }
    await expect(engine.attention(ids[0], 4)).rejects.toThrow('there is no layer 4: this model has 0 to 3');
  });

  it('is that of its cache, whatever that keeps', async () => {
    const weights = await engine.attention(ids[0], 3);
    for (const [cacheType, most] of [
      ['f16', 1e-3],
      ['q8', 0.02],
    ] as const) {
      const other = new Engine(tiny.backend, tiny.loaded.model, { context: 64, cacheType });
      expect(largestDifference(await other.attention(ids[0], 3), weights)).toBeLessThan(most);
      await other.dispose();
    }
  });
});

describe('embeddings', () => {
  it('are means of hidden states, the same to the bit in any batch', async () => {
    // 13 sequences in slots of 64 rows: rows start over many times, and steps end inside of sequences.
    const cuts = [48, 1, 7, 30, 48, 2, 2, 19, 40, 3, 48, 11, 48];
    const batch = cuts.map((count, i) => ids[i % 2].slice(0, count));
    const [together, again] = await Promise.all([engine.embed(batch), engine.embed([...batch].reverse())]);
    for (const [i, count] of cuts.entries()) {
      expect(largestDifference(together[i], goldenEmbedding(i % 2, count)), `${count} tokens`).toBeLessThan(1e-5);
      expect(again[cuts.length - 1 - i]).toEqual(together[i]);
    }
    expect((await engine.embed([batch[3]]))[0]).toEqual(together[3]);
    // What was generated before and comes after is untouched by it.
    const first = await firstId();
    await engine.embed(batch.slice(0, 3));
    expect(await firstId()).toEqual(first);
  });

  it('refuse what cannot be computed, and give up when told to', async () => {
    const long = new Array(65).fill(1);
    await expect(engine.embed([[1], long])).rejects.toThrow('text 2 has 65 tokens, the context takes 64');
    await expect(engine.embed([[1], [320]])).rejects.toThrow(
      "text 2: token 0 has id 320, but the model's vocabulary has 320 ids",
    );
    await expect(engine.embed([[]])).rejects.toThrow('the text is empty');
    await expect(engine.embed([[1]], { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
    expect(await engine.embed([])).toEqual([]);
    const model = new TextModel({ engine });
    expect(await model.embed([long], { truncate: true })).toEqual(await engine.embed([long.slice(0, 64)]));
    await expect(model.embed(['a'])).rejects.toThrow('came without a tokenizer');
    await expect(model.embed('a' as never)).rejects.toThrow('what embed gets is "a"; expected an array of texts');
    const broken = await tiny.load((name, values) => {
      if (name === 'transformer.norm.weight') values[3] = Number.NaN;
    });
    const bad = new Engine(tiny.backend, broken.model, { context: 64, cacheType: 'f32' });
    await expect(bad.embed([[1, 2]])).rejects.toThrow('cannot be used as the embedding of text 1');
    await bad.dispose();
    broken.free();
  });
});
