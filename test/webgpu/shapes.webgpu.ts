// 500 random shapes of products and of attention on WebGPU, against the reference backend: always the same ones. Not part of
// `npm test`, which it would make too long: `npx vitest run --config test/webgpu/vitest.config.ts`.

import { afterAll, describe, expect, it } from 'vitest';
import { referenceBackend } from '../../src/backends/reference.js';
import { nodeWebgpuBackend } from '../../src/backends/webgpu/node.js';
import { cacheTypes } from '../../src/model/parameters.js';
import { type Case, execute, randomNumbers, relativeError } from '../op-bench.js';
import { inputsOf, isQuantized, weightTypes } from '../weight-types.js';

const each = 250;
/** A few f32 roundings, as in the conformance suite. */
const tolerance = 2e-6;
const headShapes = [
  ...[
    [4, 1, 16],
    [12, 3, 64],
    [16, 4, 64],
    [3, 1, 40],
    [8, 8, 12],
  ],
  ...[
    [6, 2, 128],
    [2, 1, 2],
    [10, 2, 96],
    [5, 5, 80],
    [4, 4, 256],
  ],
] as const;

/** Whole numbers, small ones as often as large ones. */
function whole(seed: number): (least: number, most: number) => number {
  const next = randomNumbers(seed);
  const uniform = (): number => Math.abs(next() * 997) % 1;
  return (least, most) => Math.min(most, Math.floor(least * ((most + 1) / least) ** uniform()));
}

function linearCase(seed: number): { name: string; build: Case['build'] } {
  const pick = whole(seed);
  const dtype = weightTypes[seed % weightTypes.length];
  const rows = pick(1, 300);
  const inputs = inputsOf(dtype, pick(1, 2100));
  const outputs = pick(1, Math.max(1, Math.min(1500, Math.floor(2e6 / rows / inputs))));
  const int8 = isQuantized(dtype) && pick(1, 2) === 1;
  const [residual, fewer] = [pick(1, 2) === 1, pick(1, 2) === 1];
  return {
    name: `${dtype}${int8 ? ' int8' : ''} ${rows} x ${inputs} x ${outputs}${residual ? ' residual' : ''}${fewer ? ' fewer' : ''}`,
    build: async (b) => {
      const weight = await b.weight(outputs, inputs, dtype, 4);
      const most = fewer ? rows + 7 : rows;
      const x = { ...b.floats(most, inputs, 3), rows: fewer ? b.size(rows, most) : rows };
      const into = b.backend.create('f32', [most, outputs]);
      b.ops.linear(x, weight, { int8, residual: residual ? b.floats(most, outputs, 5) : undefined, into });
      b.result(into, rows * outputs);
    },
  };
}

function attentionCase(seed: number): { name: string; build: Case['build'] } {
  const pick = whole(seed);
  const type = cacheTypes[seed % cacheTypes.length];
  const [queryHeads, kvHeads, headDim] = headShapes[Math.floor(seed / cacheTypes.length) % headShapes.length];
  const room = Math.floor(5e5 / queryHeads / headDim);
  const cacheRows = pick(40, 3000);
  const sequences: number[] = [];
  const segments: number[] = [];
  let rows = 0;
  for (let s = pick(1, 5); s > 0; s--) {
    const lengths = Array.from({ length: pick(1, 6) }, () => pick(1, Math.max(1, Math.min(cacheRows, 1400) / 3)));
    const keys = lengths.reduce((a, b) => a + b, 0);
    const count = pick(1, Math.max(1, Math.min(keys, 90, Math.floor(room / 4 / keys))));
    sequences.push(rows, count, segments.length / 2, lengths.length);
    for (const length of lengths) segments.push(pick(1, cacheRows - length + 1) - 1, length);
    rows += count;
  }
  return {
    name: `${queryHeads}/${kvHeads} heads of ${headDim}, ${type}: sequences ${sequences}; segments ${segments}`,
    build: (b) => {
      const query = b.floats(rows, queryHeads * headDim, 18);
      const cache = b.cache(cacheRows, kvHeads, headDim, type, 20);
      const heads = { queryHeads, kvHeads, headDim };
      const ragged = {
        ...{ sequences: b.ints(...sequences), sequenceCount: sequences.length / 4 },
        ...{ segments: b.ints(...segments), segmentCount: segments.length / 2 },
      };
      b.output(b.ops.attention(query, heads, cache, ragged));
    },
  };
}

/** Prompts and their gates: products that may be in f16. */
function gatedCase(seed: number): { name: string; build: Case['build'] } {
  const pick = whole(seed);
  const dtype = (['f16', 'q8', 'q4', 'bf16'] as const)[seed % 4];
  const [rows, inputs, outputs] = [pick(5, 150), 32 * pick(1, 20), 2 * pick(1, 90)];
  return {
    name: `${dtype} ${rows} x ${inputs} x ${outputs}`,
    build: async (b) => {
      const weight = await b.weight(outputs, inputs, dtype, 4);
      b.output(b.ops.swiglu(b.ops.linear(b.floats(rows, inputs, 3), weight)));
    },
  };
}

const backend = await nodeWebgpuBackend().catch(() => undefined);
const reference = referenceBackend();

describe.skipIf(!backend)(`webgpu: random shapes${backend ? '' : ' (no adapter)'}`, () => {
  afterAll(async () => {
    await backend?.dispose();
    await reference.dispose();
  });

  // A GPU's own kernels, which take software seconds to compile: a few. An output is a product of two sums.
  it.skipIf(!backend?.traits.f16)('gates in f16', async () => {
    const fast = await nodeWebgpuBackend({ arithmetic: 'f16', traits: { plain: false } });
    const errors: number[] = [];
    for (let seed = 0; seed < 4; seed++) {
      const { build } = gatedCase(seed);
      const expected = await execute(reference, build);
      errors.push(relativeError((await execute(fast, build)).results[0], expected.results[0]));
    }
    await fast.dispose();
    expect(Math.max(...errors)).toBeLessThan(2e-3);
    expect(Math.min(...errors)).toBeGreaterThan(1e-5);
  });

  for (const [op, make] of [
    ['linear', linearCase],
    ['attention', attentionCase],
  ] as const) {
    it(op, async () => {
      const wrong: string[] = [];
      for (let seed = 0; seed < each; seed++) {
        const { name, build } = make(seed);
        const expected = await execute(reference, build);
        const error = await execute(backend!, build).then(
          ({ results }) => relativeError(results[0], expected.results[0]),
          (reason) => reason,
        );
        if (!(error <= tolerance)) wrong.push(`${seed}: ${name}: ${error}`);
      }
      expect(wrong).toEqual([]);
    });
  }
});
