// What ops are tried with: random inputs from seeds, a program of some ops built and run on one backend, and how far two results are apart.
// The cases are op.cases.ts, gradient.cases.ts and adapter.cases.ts; the suite that runs them on every backend is backend.suite.ts.

import { expect } from 'vitest';
import { ggufTensor } from '../src/formats/gguf.js';
import { affineTensor } from '../src/formats/mlx.js';
import { packCodes } from '../src/io/affine.js';
import { bytesInMemory, type StoredDType, type StoredTensor } from '../src/io/bytes.js';
import { encodeBfloat16, encodeFloat16 } from '../src/io/float16.js';
import type { CacheType } from '../src/model/parameters.js';
import type { Backend, DeviceBuffer, DType, Program } from '../src/tensor/backend.js';
import { Ops, type Tensor } from '../src/tensor/ops.js';
import type { OpName } from '../src/tensor/optable.js';
import { codedHeadWords, encodeHead } from '../src/tensor/quantize.js';
import { isAffine } from './weight-types.js';

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

const drawn = new Map<number, Float32Array>();

/** The first of a seed's numbers. Drawn once for all that ask, as drawing takes longer than most ops: not to be written to. */
export function randomFloats(length: number, seed: number): Float32Array {
  const known = drawn.get(seed);
  if (known && known.length >= length) return known.subarray(0, length);
  const next = randomNumbers(seed);
  const values = Float32Array.from({ length }, next);
  drawn.set(seed, values);
  return values;
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

const coded = new Map<string, StoredTensor>();

/** A random matrix as codes, in the largest groups that its rows are whole numbers of; scales and minimums are BF16 or F16. */
export function storedCodes(...of: [rows: number, columns: number, bits: number, seed: number]): StoredTensor {
  const key = of.join(' ');
  const tensor = coded.get(key) ?? drawCodes(...of);
  coded.set(key, tensor);
  return tensor;
}

function drawCodes(rows: number, columns: number, bits: number, seed: number): StoredTensor {
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
export function storedBlocks(rows: number, columns: number, type: 'Q8_0' | 'Q4_0', seed: number): StoredTensor {
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

export interface Executed {
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

/** Programs whose data point outside a table: the code and the record that must be reported. */
export interface Failure {
  readonly name: string;
  readonly op: OpName;
  readonly build: Case['build'];
}
