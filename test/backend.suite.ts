// The conformance suite: every op of the table, on random inputs of many shapes, against the reference backend, and how a backend
// behaves. Each backend's test calls it. An op without a case here, or without a kernel there, is a failing test.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { referenceBackend } from '../src/backends/reference.js';
import { ggufTensor } from '../src/formats/gguf.js';
import { affineTensor } from '../src/formats/mlx.js';
import { packCodes } from '../src/io/affine.js';
import { bytesInMemory, type StoredDType, type StoredTensor } from '../src/io/bytes.js';
import { encodeBfloat16, encodeFloat16 } from '../src/io/float16.js';
import { type CacheType, cacheTypes } from '../src/model/parameters.js';
import type { Backend, DeviceBuffer, DType, Program } from '../src/tensor/backend.js';
import { Ops, type Tensor } from '../src/tensor/ops.js';
import { type OpName, opNames } from '../src/tensor/optable.js';
import { codedHeadWords, encodeHead } from '../src/tensor/quantize.js';
import { adapterCases, adapterFailures } from './adapter.cases.js';
import { behaviourSuite, type Open } from './behaviour.suite.js';
import { gradientCases, gradientFailures } from './gradient.cases.js';
import { inputsOf, isAffine, isQuantized, weightTypes } from './weight-types.js';

/** Deterministic numbers in (-1, 1), roughly normal. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => (uniform() + uniform() + uniform() - 1.5) * 1.2;
}

function randomFloats(length: number, seed: number): Float32Array {
  const next = randomNumbers(seed);
  return Float32Array.from({ length }, next);
}

/** A matrix as a checkpoint would hold it. */
export function storedMatrix(
  values: Float32Array,
  shape: readonly number[],
  dtype: 'F32' | 'F16' | 'BF16' = 'F32',
): StoredTensor {
  const encoded = dtype === 'F32' ? values : dtype === 'F16' ? encodeFloat16(values) : encodeBfloat16(values);
  const data = new Uint8Array(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  return {
    name: 'test',
    dtype: dtype as StoredDType,
    shape,
    source: bytesInMemory('test', data),
    offset: 0,
    bytes: data.byteLength,
  };
}

/** A random matrix as codes, in the largest groups that its rows are whole numbers of; scales and minimums are BF16 or F16. */
export function storedCodes(rows: number, columns: number, bits: number, seed: number): StoredTensor {
  const group = [128, 64, 32].find((size) => columns % size === 0)!;
  const next = randomNumbers(seed);
  const codes = Uint8Array.from({ length: rows * columns }, () => Math.min(1, Math.abs(next())) * (2 ** bits - 1));
  const factors = (): StoredTensor => {
    const values = Float32Array.from({ length: (rows * columns) / group }, () => next() / 2 ** bits);
    return storedMatrix(values, [rows, columns / group], rows % 2 ? 'BF16' : 'F16');
  };
  const packed = packCodes(codes, bits);
  const shape = [rows, (columns * bits) / 32];
  const source = bytesInMemory('test', packed);
  const words: StoredTensor = { name: 'test', dtype: 'U32', shape, source, offset: 0, bytes: packed.length };
  return affineTensor(words, factors(), factors(), { bits, groupSize: group });
}

/** A matrix in GGUF's blocks of random codes and scales, as no quantizer of ours would make them. */
function storedBlocks(rows: number, columns: number, type: 'Q8_0' | 'Q4_0', seed: number): StoredTensor {
  const size = type === 'Q8_0' ? 34 : 18;
  const next = randomNumbers(seed);
  const bytes = Uint8Array.from({ length: (rows * columns * size) / 32 }, () => next() * 1000);
  const scales = encodeFloat16(Float32Array.from({ length: (rows * columns) / 32 }, () => next() / 50));
  for (const [block, scale] of scales.entries()) {
    bytes[block * size] = scale & 255;
    bytes[block * size + 1] = scale >> 8;
  }
  const part = { name: 'test', type, shape: [rows, columns], offset: 0, bytes: bytes.length };
  return ggufTensor('test', [part], bytesInMemory('test', bytes));
}

/** Makes buffers and a program on one backend; the same calls on another must give the same results. */
export interface Bench {
  readonly backend: Backend;
  readonly ops: Ops;
  /** A persistent f32 tensor with random contents. */
  floats(rows: number, columns: number, seed: number): Tensor;
  vector(length: number, seed: number): DeviceBuffer;
  weight(rows: number, columns: number, dtype: Exclude<DType, 'i32'>, seed: number): Promise<DeviceBuffer>;
  ints(...values: number[]): DeviceBuffer;
  /** A dynamic size: at most `max`, `value` in this run. */
  size(value: number, max: number): { param: number; max: number };
  cache(
    rows: number,
    kvHeads: number,
    headDim: number,
    type: CacheType,
    seed: number,
  ): { keys: DeviceBuffer; values: DeviceBuffer };
  /** Marks what is compared; `scale` of the tolerance. */
  result(buffer: DeviceBuffer, elements?: number): void;
  output(t: Tensor): void;
}

export interface Case {
  readonly op: OpName;
  readonly name: string;
  /** Relative to the largest magnitude in the result: a few f32 roundings, or what int8 sums allow. */
  readonly tolerance: number;
  readonly build: (bench: Bench) => Promise<void> | void;
}

interface Executed {
  readonly results: ArrayLike<number>[];
  readonly program: Program;
}

/** The bits of all results, end to end. */
export function bitsOf({ results }: Executed): Buffer {
  return Buffer.concat(results.map((result) => Buffer.from(Float32Array.from(result).buffer)));
}

/** Builds and runs a case's program on one backend; the buffers that it marked. */
export async function execute(backend: Backend, build: Case['build']): Promise<Executed> {
  const ops = new Ops();
  const params: [number, number][] = [];
  const results: { buffer: DeviceBuffer; elements: number }[] = [];
  const made: DeviceBuffer[] = [];
  const keep = (buffer: DeviceBuffer): DeviceBuffer => {
    made.push(buffer);
    return buffer;
  };
  const filled = (shape: number[], dtype: 'f32' | 'f16', seed: number): DeviceBuffer => {
    const buffer = keep(backend.create(dtype, shape));
    const values = randomFloats(
      shape.reduce((a, b) => a * b, 1),
      seed,
    );
    backend.write(buffer, dtype === 'f32' ? values : encodeFloat16(values));
    return buffer;
  };
  const coded = (shape: number[], headDim: number, seed: number): DeviceBuffer => {
    const width = codedHeadWords(headDim);
    const buffer = keep(backend.create('i32', [...shape, width]));
    const heads = shape.reduce((a, b) => a * b, 1);
    const values = randomFloats(heads * headDim, seed);
    const words = new Int32Array(heads * width);
    for (let h = 0; h < heads; h++)
      encodeHead(values.subarray(h * headDim, (h + 1) * headDim), words.subarray(h * width, (h + 1) * width));
    backend.write(buffer, words);
    return buffer;
  };
  const bench: Bench = {
    backend,
    ops,
    floats: (rows, columns, seed) => ({ buffer: filled([rows, columns], 'f32', seed), rows, columns }),
    vector: (length, seed) => filled([length], 'f32', seed),
    weight: async (rows, columns, dtype, seed) =>
      keep(
        await backend.upload(
          isAffine(dtype)
            ? storedCodes(rows, columns, Number(dtype.at(-1)), seed)
            : storedMatrix(randomFloats(rows * columns, seed), [rows, columns]),
          dtype,
        ),
      ),
    ints: (...values) => {
      const view = ops.params(values.length);
      for (const [i, value] of values.entries()) params.push([view.offset + i, value]);
      return view;
    },
    size: (value, max) => {
      const size = ops.size(max);
      params.push([size.param, value]);
      return size;
    },
    cache: (rows, kvHeads, headDim, type, seed) => {
      const rowsOf = (seed: number): DeviceBuffer =>
        type === 'q8' ? coded([rows, kvHeads], headDim, seed) : filled([rows, kvHeads, headDim], type, seed);
      return { keys: rowsOf(seed), values: rowsOf(seed + 1) };
    },
    result: (buffer, elements = buffer.shape.reduce((a, b) => a * b, 1)) => {
      results.push({ buffer, elements });
    },
    output: (t) => {
      const rows = typeof t.rows === 'number' ? t.rows : t.rows.max;
      const into = keep(backend.create('f32', [rows, t.columns]));
      ops.copy(t, into);
      results.push({ buffer: into, elements: rows * t.columns });
    },
  };
  await build(bench);
  const program = ops.finish();
  const values = new Int32Array(program.paramsLength);
  for (const [index, value] of params) values[index] = value;
  const executable = backend.compile(program);
  await backend.submit(executable, values).done;
  const read: ArrayLike<number>[] = [];
  for (const { buffer, elements } of results) read.push(await backend.read(buffer, 0, elements));
  executable.dispose();
  for (const buffer of made) backend.free(buffer);
  return { results: read, program };
}

/** Largest absolute difference over the largest absolute value. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(found.length).toBe(expected.length);
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    if (Number.isNaN(found[i]) !== Number.isNaN(expected[i])) return Number.POSITIVE_INFINITY;
    if (Number.isNaN(expected[i])) continue;
    difference = Math.max(difference, Math.abs(found[i] - expected[i]));
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return difference === 0 ? 0 : difference / largest;
}

const exact = 0;
const rounding = 2e-6;
const cases: Case[] = [];
for (const dtype of weightTypes) {
  cases.push({
    op: 'embedding',
    name: `${dtype}, odd width and last panel`,
    tolerance: exact,
    build: async (b) =>
      b.output(b.ops.embedding(await b.weight(37, inputsOf(dtype, 50), dtype, 1), b.ints(0, 36, 5, 16, 5, 31), 6)),
  });
  // Rows below, at and above the tiles; inputs that fill no group; outputs that fill no panel.
  for (const [rows, some, outputs] of [
    [1, 64, 48],
    [1, 1280, 640],
    [1, 50, 37],
    [2, 96, 32],
    [3, 33, 17],
    [5, 256, 100],
    [6, 64, 16],
    [7, 160, 80],
    [12, 100, 64],
    [13, 352, 144],
    [61, 128, 48],
    [200, 96, 320],
  ]) {
    const inputs = inputsOf(dtype, some);
    if (isAffine(dtype) && rows * inputs * outputs > 7e5) continue; // large ones say nothing new
    for (const int8 of isQuantized(dtype) ? [false, true] : [false]) {
      cases.push({
        op: 'linear',
        name: `${dtype}${int8 ? ', int8 activations' : ''}, ${rows} x ${inputs} x ${outputs}`,
        tolerance: rounding,
        build: async (b) => {
          const x = b.floats(rows, inputs, 3);
          const weight = await b.weight(outputs, inputs, dtype, 4);
          b.output(b.ops.linear(x, weight, { int8, residual: rows % 2 ? b.floats(rows, outputs, 5) : undefined }));
        },
      });
    }
  }
}
cases.push({
  op: 'linear',
  name: 'fewer rows than planned, into a persistent buffer',
  tolerance: rounding,
  build: async (b) => {
    const x = { ...b.floats(20, 64, 6), rows: b.size(9, 20) };
    const into = b.backend.create('f32', [20, 24]);
    b.ops.linear(x, await b.weight(24, 64, 'f16', 7), { into });
    b.result(into, 9 * 24);
  },
});
for (const columns of [1, 12, 96, 1280, 3072]) {
  cases.push({
    op: 'rmsNorm',
    name: `${columns} columns`,
    tolerance: rounding,
    build: (b) => b.output(b.ops.rmsNorm(b.floats(5, columns, 8), b.vector(columns, 9), 1e-6)),
  });
}
for (const dtype of cacheTypes) {
  for (const [queryHeads, kvHeads, headDim, normed] of [
    [4, 1, 16, true],
    [12, 3, 64, true],
    [4, 4, 12, false],
    [6, 2, 128, true],
    [2, 1, 2, false],
  ] as const) {
    cases.push({
      op: 'qkNormRope',
      name: `${queryHeads}/${kvHeads} heads of ${headDim}, ${dtype} cache${normed ? '' : ', no norms'}`,
      // In an f16 cache one rounding to the other side is 2^-11, in one of 8 bits 1/127.
      tolerance: { f32: rounding, f16: 2 ** -10, q8: 2 ** -7 }[dtype],
      build: (b) => {
        const qkv = b.floats(4, (queryHeads + 2 * kvHeads) * headDim, 10);
        const norms = normed ? { query: b.vector(headDim, 11), key: b.vector(headDim, 12) } : undefined;
        const rope = b.floats(30, headDim, 13).buffer;
        const cache = b.cache(20, kvHeads, headDim, dtype, 14);
        const heads = { queryHeads, kvHeads, headDim };
        const [positions, kvRows] = [b.ints(29, 0, 7, 8), b.ints(19, 3, 4, 0)];
        b.output(b.ops.qkNormRope(qkv, heads, cache, { positions, kvRows, rope, norms, eps: 1e-6 }));
        if (dtype === 'f32') for (const buffer of [cache.keys, cache.values]) b.result(buffer);
        else {
          // Read back through attention, which is how such rows are used.
          const one = b.floats(1, queryHeads * headDim, 15);
          const ragged = { sequences: b.ints(0, 1, 0, 1), sequenceCount: 1, segments: b.ints(0, 20), segmentCount: 1 };
          b.output(b.ops.attention(one, heads, cache, ragged));
        }
      },
    });
  }
  for (const [queryHeads, kvHeads, headDim] of [
    [4, 1, 16],
    [12, 3, 64],
    [8, 8, 12],
    [8, 2, 128],
    [6, 2, 40],
  ] as const) {
    const heads = { queryHeads, kvHeads, headDim };
    const width = queryHeads * headDim;
    cases.push(
      {
        op: 'attention',
        name: `${queryHeads}/${kvHeads} heads of ${headDim}, ${dtype}: one row, long past in three segments`,
        tolerance: rounding,
        build: (b) =>
          b.output(
            b.ops.attention(b.floats(1, width, 16), heads, b.cache(1400, kvHeads, headDim, dtype, 17), {
              sequences: b.ints(0, 1, 0, 3),
              sequenceCount: 1,
              segments: b.ints(700, 601, 0, 33, 1399, 1),
              segmentCount: 3,
            }),
          ),
      },
      {
        op: 'attention',
        name: `${queryHeads}/${kvHeads} heads of ${headDim}, ${dtype}: ragged, shared prefix, dynamic sizes`,
        tolerance: rounding,
        build: (b) => {
          const query = { ...b.floats(90, width, 18), rows: b.size(83, 90) };
          const out = b.ops.attention(query, heads, b.cache(400, kvHeads, headDim, dtype, 20), {
            // Rows 0..69 with 40 keys of past; one row on the prefix (0, 40) and itself; 12 rows with no past.
            sequences: b.ints(0, 70, 0, 2, 70, 1, 2, 2, 71, 12, 4, 1, 0, 0, 0, 0),
            sequenceCount: b.size(3, 4),
            segments: b.ints(0, 40, 100, 70, 0, 40, 399, 1, 200, 12, 0, 0),
            segmentCount: b.size(5, 6),
          });
          const into = b.backend.create('f32', [90, width]);
          b.ops.copy(out, into);
          b.result(into, 83 * width);
        },
      },
    );
  }
}
cases.push(
  {
    op: 'qkNormRope',
    name: 'what is not finite stays so in an 8-bit cache, and tiny numbers are none',
    tolerance: 2 ** -7,
    build: (b) => {
      const heads = { queryHeads: 4, kvHeads: 2, headDim: 12 };
      const qkv = b.floats(3, 8 * 12, 10);
      // A key of the first head in row 0, a value of the second in row 1.
      b.backend.write(qkv.buffer, Float32Array.of(Number.POSITIVE_INFINITY), 4 * 12 + 11);
      b.backend.write(qkv.buffer, Float32Array.of(Number.NaN), 96 + 7 * 12 + 3);
      b.backend.write(qkv.buffer, new Float32Array(24).fill(1e-39), 2 * 96 + 6 * 12);
      const cache = b.cache(3, 2, 12, 'q8', 14);
      const rope = b.floats(3, 12, 13).buffer;
      b.ops.qkNormRope(qkv, heads, cache, { positions: b.ints(0, 1, 2), kvRows: b.ints(0, 1, 2), rope, eps: 1e-6 });
      for (const row of [0, 1, 2]) {
        const ragged = { sequences: b.ints(0, 1, 0, 1), sequenceCount: 1, segments: b.ints(row, 1), segmentCount: 1 };
        b.output(b.ops.attention(b.floats(1, 48, 15 + row), heads, cache, ragged));
      }
    },
  },
  { op: 'swiglu', name: 'odd width', tolerance: rounding, build: (b) => b.output(b.ops.swiglu(b.floats(3, 2 * 77, 22))) },
  {
    op: 'silu',
    name: 'small and large arguments',
    tolerance: rounding,
    build: (b) => {
      const x = b.floats(4, 33, 23);
      b.backend.write(x.buffer, Float32Array.of(-200, -88.5, -20, -1e-8, 0, 1e-8, 20, 88.5, 200));
      b.output(b.ops.silu(x));
    },
  },
  {
    op: 'gatherRows',
    name: 'repeated and last row',
    tolerance: exact,
    build: (b) => b.output(b.ops.gatherRows(b.floats(9, 41, 24), b.ints(8, 0, 3, 3), 4)),
  },
  {
    op: 'argmax',
    name: 'ties go to the first',
    tolerance: exact,
    build: (b) => {
      const x = b.floats(4, 101, 25);
      b.backend.write(x.buffer, Float32Array.of(9, 9), 50);
      b.backend.write(x.buffer, Float32Array.of(9, 9), 101 + 99);
      b.backend.write(x.buffer, new Float32Array(101).fill(-1e30), 202);
      const into = b.backend.create('i32', [4]);
      b.ops.argmax(x, into);
      b.result(into);
    },
  },
  {
    op: 'argmax',
    name: 'what is not finite is told by -1',
    tolerance: exact,
    build: (b) => {
      const x = b.floats(5, 101, 25);
      for (const [row, column, value] of [
        [0, 0, Number.NaN],
        [1, 100, Number.NaN],
        [2, 50, Number.POSITIVE_INFINITY],
        [3, 99, Number.NEGATIVE_INFINITY],
      ])
        b.backend.write(x.buffer, Float32Array.of(value), row * 101 + column);
      const into = b.backend.create('i32', [5]);
      b.ops.argmax(x, into);
      b.result(into);
    },
  },
  ...(['f32', 'f16', 'bf16', 'q8', 'q4'] as const).map(
    (dtype): Case => ({
      op: 'embedding',
      name: `${dtype} weights that are not numbers stay so`,
      tolerance: rounding,
      build: async (b) => {
        const values = randomFloats(20 * 64, 29);
        values[64 + 5] = Number.NaN;
        const table = await b.backend.upload(storedMatrix(values, [20, 64]), dtype);
        b.output(b.ops.embedding(table, b.ints(0, 1), 2));
        b.output(b.ops.linear(b.floats(2, 64, 30), table, { int8: true }));
      },
    }),
  ),
  {
    op: 'embedding',
    name: 'affine4 minimums that are not numbers stay so',
    tolerance: rounding,
    build: async (b) => {
      const whole = storedCodes(20, 64, 4, 29);
      const minimums = storedMatrix(Float32Array.of(...Array(20).fill(0.5)).fill(Number.NaN, 1, 2), [20, 1]);
      const table = await b.backend.upload({ ...whole, affine: { ...whole.affine!, minimums } }, 'affine4');
      b.output(b.ops.embedding(table, b.ints(0, 1), 2));
      b.output(b.ops.linear(b.floats(2, 64, 30), table, { int8: true }));
    },
  },
  ...(['Q8_0', 'Q4_0'] as const).flatMap((type) =>
    [20, 48].map(
      (rows): Case => ({
        op: 'embedding',
        name: `${rows} rows of ${type} blocks are taken as they are`,
        tolerance: rounding,
        build: async (b) => {
          const table = await b.backend.upload(storedBlocks(rows, 96, type, 31), type === 'Q8_0' ? 'q8' : 'q4');
          b.output(b.ops.embedding(table, b.ints(0, 1, 15, 16, rows - 1), 5));
          for (const int8 of [true, false]) b.output(b.ops.linear(b.floats(2, 96, 32), table, { int8 }));
        },
      }),
    ),
  ),
  {
    op: 'tokenLogprob',
    name: 'with one dominating logit',
    tolerance: rounding,
    build: (b) => {
      const x = b.floats(3, 32007, 26);
      b.backend.write(x.buffer, Float32Array.of(120), 32007);
      const into = b.backend.create('f32', [3]);
      b.ops.tokenLogprob(x, b.ints(5, 7, 32006), into);
      b.result(into);
    },
  },
  { op: 'copy', name: 'plain', tolerance: exact, build: (b) => b.output(b.floats(7, 19, 27)) },
  ...([19, 64] as const).map(
    (columns): Case => ({
      op: columns === 64 ? 'unpackInt16' : 'packInt16',
      name: `there and back, ${columns} columns`,
      tolerance: exact,
      build: (b) => {
        const x = b.floats(7, columns, 28);
        // A tie, to even, beside what sets the scale; a group of nothing; the smallest, which become nothing.
        b.backend.write(x.buffer, Float32Array.of(32767, 0.5, 1.5, -2.5));
        b.backend.write(x.buffer, new Float32Array(columns), columns);
        b.backend.write(x.buffer, new Float32Array(columns).fill(1e-40), 2 * columns);
        const packed = b.ops.packInt16(x);
        b.output(b.ops.unpackInt16(packed, 7, columns));
      },
    }),
  ),
);

cases.push(...gradientCases, ...adapterCases);

/** Ops that mix numbers of a row: from `first`, `count` of a fixed set of rows, which must come out the same in any company. */
interface RowCase {
  readonly name: string;
  readonly rows: number;
  readonly build: (bench: Bench, first: number, count: number) => Promise<void> | void;
}

function someRows(b: Bench, all: Tensor, first: number, count: number): Tensor {
  return b.ops.gatherRows(all, b.ints(...Array.from({ length: count }, (_, i) => first + i)), count);
}

const rowCases: RowCase[] = [];
for (const dtype of weightTypes) {
  for (const int8 of isQuantized(dtype) ? [false, true] : [false]) {
    for (const [some, outputs] of [
      [600, 72],
      [51, 37],
    ]) {
      const inputs = inputsOf(dtype, some);
      rowCases.push({
        name: `linear ${dtype}${int8 ? ', int8 activations' : ''}, ${inputs} x ${outputs}`,
        rows: 36,
        build: async (b, first, count) => {
          const [x, residual] = [b.floats(36, inputs, 31), b.floats(36, outputs, 32)].map((all) =>
            someRows(b, all, first, count),
          );
          b.output(b.ops.linear(x, await b.weight(outputs, inputs, dtype, 33), { int8, residual }));
        },
      });
    }
  }
}
for (const dtype of cacheTypes) {
  for (const [queryHeads, kvHeads, headDim] of [
    [4, 1, 16],
    [6, 2, 64],
    [2, 2, 12],
    [2, 1, 128],
    [3, 1, 40],
  ]) {
    rowCases.push({
      name: `attention ${queryHeads}/${kvHeads} heads of ${headDim}, ${dtype}`,
      rows: 36,
      build: (b, first, count) => {
        const query = someRows(b, b.floats(36, queryHeads * headDim, 34), first, count);
        const ragged = {
          sequences: b.ints(0, count, 0, 1),
          sequenceCount: 1,
          segments: b.ints(3, 150 + first + count),
          segmentCount: 1,
        };
        b.output(b.ops.attention(query, { queryHeads, kvHeads, headDim }, b.cache(190, kvHeads, headDim, dtype, 35), ragged));
      },
    });
  }
}

/** Programs whose data point outside a table: the code and the record that must be reported. */
export interface Failure {
  readonly name: string;
  readonly op: OpName;
  readonly build: Case['build'];
}

const failures: Failure[] = [
  ...gradientFailures,
  ...adapterFailures,
  {
    name: 'id past the table',
    op: 'embedding',
    build: async (b) => b.output(b.ops.embedding(await b.weight(16, 32, 'f32', 1), b.ints(3, 16), 2)),
  },
  { name: 'negative row', op: 'gatherRows', build: (b) => b.output(b.ops.gatherRows(b.floats(4, 8, 1), b.ints(-1), 1)) },
  {
    name: 'segment past the cache',
    op: 'attention',
    build: (b) =>
      b.output(
        b.ops.attention(b.floats(1, 64, 1), { queryHeads: 4, kvHeads: 1, headDim: 16 }, b.cache(8, 1, 16, 'f32', 2), {
          sequences: b.ints(0, 1, 0, 1),
          sequenceCount: 1,
          segments: b.ints(2, 7),
          segmentCount: 1,
        }),
      ),
  },
  {
    name: 'fewer keys than rows',
    op: 'attention',
    build: (b) =>
      b.output(
        b.ops.attention(b.floats(3, 64, 1), { queryHeads: 4, kvHeads: 1, headDim: 16 }, b.cache(8, 1, 16, 'f32', 2), {
          sequences: b.ints(0, 3, 0, 1),
          sequenceCount: 1,
          segments: b.ints(0, 2),
          segmentCount: 1,
        }),
      ),
  },
  {
    name: 'position past the rope table',
    op: 'qkNormRope',
    build: (b) =>
      b.output(
        b.ops.qkNormRope(b.floats(1, 96, 1), { queryHeads: 4, kvHeads: 1, headDim: 16 }, b.cache(8, 1, 16, 'f32', 3), {
          ...{ positions: b.ints(4), kvRows: b.ints(0), rope: b.floats(4, 16, 2).buffer },
          eps: 1e-6,
        }),
      ),
  },
  {
    name: 'target past the vocabulary',
    op: 'tokenLogprob',
    build: (b) => b.ops.tokenLogprob(b.floats(1, 10, 1), b.ints(10), b.backend.create('f32', [1])),
  },
];

const references = new Map<Case, Promise<Executed>>();

/** What the reference backend makes of a case: computed once for all suites of a file, as it takes longer than what is judged. */
function expectedOf(item: Case): Promise<Executed> {
  const known = references.get(item);
  if (known) return known;
  const reference = referenceBackend();
  const made = execute(reference, item.build).finally(() => reference.dispose());
  references.set(item, made);
  return made;
}

export interface SuiteOptions {
  /** By how much a row may differ in other company, relative to the largest of its numbers; default: to no bit. */
  readonly company?: number;
}

/** Judges the backend that `open` makes: what its ops compute, and how it behaves. */
export function backendSuite(name: string, open: Open, options: SuiteOptions = {}): void {
  conformanceSuite(name, open, options);
  describe(`${name}: behaviour`, () => behaviourSuite(open));
}

/** What ops compute alone, for a backend that differs from one which was judged whole by its kernels. */
export function conformanceSuite(name: string, open: Open, { company }: SuiteOptions = {}): void {
  describe(`${name}: conformance`, () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await open();
    });
    afterAll(() => backend.dispose());

    it('has a kernel and a case for every op', () => {
      for (const op of opNames) {
        expect(backend.supports(op), op).toBe(true);
        expect(
          cases.some((item) => item.op === op),
          op,
        ).toBe(true);
      }
    });

    for (const item of cases) {
      it(`${item.op}: ${item.name}`, async () => {
        const expected = await expectedOf(item);
        const found = await execute(backend, item.build);
        expect(expected.program.records.some((record) => record.op === item.op)).toBe(true);
        expect(found.results.length).toBe(expected.results.length);
        for (const [i, result] of found.results.entries()) {
          expect(relativeError(result, expected.results[i])).toBeLessThanOrEqual(item.tolerance);
        }
      });
    }

    // What a seed gives must not depend on how a prompt was cut, what of it was cached or who else was in the step.
    for (const { name: what, rows, build } of rowCases) {
      it(`gives a row the same bits in any company: ${what}`, async () => {
        const whole = (await execute(backend, (b) => build(b, 0, rows))).results[0];
        const width = whole.length / rows;
        for (let first = 0, count = 1; first < rows; first += count, count++) {
          count = Math.min(count, rows - first);
          const { results } = await execute(backend, (b) => build(b, first, count));
          const expected = Array.from(whole).slice(first * width, (first + count) * width);
          const what = `rows ${first} to ${first + count - 1}`;
          if (company === undefined) expect(Array.from(results[0]), what).toEqual(expected);
          else expect(relativeError(results[0], expected), what).toBeLessThanOrEqual(company);
        }
      });
    }

    for (const { name: what, op, build } of failures) {
      it(`${op}: reports a ${what}`, async () => {
        await expect(execute(backend, build)).rejects.toMatchObject({ name: 'ExecutionError', op, code: 'index-out-of-range' });
      });
    }
  });
}
