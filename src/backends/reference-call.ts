// What the definitions of ops share: how an op sees its operands, and the arithmetic that a forward op and its derivative both
// need. No op is defined here.

import { float16ToNumber, numberToFloat16 } from '../io/float16.js';
import type { ExecutionCode } from '../tensor/backend.js';
import type { ConstantName, OperandName, OpName, SizeName } from '../tensor/optable.js';
import { codedHeadWords, decodeHead, encodeHead, type QuantizedRow } from '../tensor/quantize.js';

/** An uploaded matrix: its values, and for quantized ones also the codes and scales by row. */
export interface ReferenceWeight {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
  readonly quantized?: readonly QuantizedRow[];
}

export type CacheRows = Float32Array | Uint16Array | Int32Array;

/** What an op sees: its operands, the sizes of this run and its constants, by their names in the op table. */
export interface Call<Op extends OpName = OpName> {
  floats(operand: OperandName<Op>): Float32Array;
  /** The same, of an operand that may be left out. */
  maybe(operand: OperandName<Op>): Float32Array | undefined;
  ints(operand: OperandName<Op>): Int32Array;
  maybeInts(operand: OperandName<Op>): Int32Array | undefined;
  /** A key or value cache: f32, f16 bits, or words of 8-bit codes. */
  cache(operand: OperandName<Op>): CacheRows;
  /** An uploaded matrix, or f32 rows as one. */
  weight(operand: OperandName<Op>): ReferenceWeight;
  readonly sizes: Readonly<Record<SizeName<Op>, number>>;
  readonly constants: Readonly<Record<ConstantName<Op>, number>>;
}

/** Computes one record; returns a code only when data points outside its table. */
export type ReferenceOp<Op extends OpName> = (call: Call<Op>) => ExecutionCode | undefined;

/** The definition of each op. */
export type ReferenceOps = { readonly [Op in OpName]: ReferenceOp<Op> };

export const outside = (index: number, size: number): boolean => !(index >= 0 && index < size);

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** 1 / sqrt(mean(x^2) + eps) */
export function inverseRms(x: Float32Array, eps: number): number {
  let sum = 0;
  for (const value of x) sum += value * value;
  return 1 / Math.sqrt(sum / x.length + eps);
}

/** out = x * inverseRms * weight; rounded before the weight, as upstream casts there. `out` may be `x`. */
export function normalize(x: Float32Array, weight: Float32Array, eps: number, out: Float32Array): void {
  const inverse = inverseRms(x, eps);
  for (let i = 0; i < x.length; i++) out[i] = Math.fround(x[i] * inverse) * weight[i];
}

/** Rotates the pairs (i, i + headDim/2) in place; angles = cos of each pair, then sin of each. `direction` -1 turns back. */
export function rotate(head: Float32Array, angles: Float32Array, direction: 1 | -1 = 1): void {
  const half = head.length / 2;
  for (let i = 0; i < half; i++) {
    const [a, b, cos, sin] = [head[i], head[i + half], angles[i], direction * angles[i + half]];
    head[i] = a * cos - b * sin;
    head[i + half] = b * cos + a * sin;
  }
}

/** Writes keys or values into the `index`-th head of a cache. */
export function storeHead(cache: CacheRows, index: number, head: Float32Array): void {
  const start = index * head.length;
  if (cache instanceof Float32Array) cache.set(head, start);
  else if (cache instanceof Uint16Array) for (let d = 0; d < head.length; d++) cache[start + d] = numberToFloat16(head[d]);
  else encodeHead(head, wordsOf(cache, index, head.length));
}

/** The `index`-th head of a cache. */
export function loadHead(cache: CacheRows, index: number, headDim: number): Float32Array | Float64Array {
  const start = index * headDim;
  if (cache instanceof Float32Array) return cache.subarray(start, start + headDim);
  if (cache instanceof Uint16Array) return Float32Array.from(cache.subarray(start, start + headDim), float16ToNumber);
  const words = wordsOf(cache, index, headDim);
  return Float64Array.from({ length: headDim }, (_, d) => decodeHead(words, d));
}

function wordsOf(cache: Int32Array, index: number, headDim: number): Int32Array {
  const words = codedHeadWords(headDim);
  return cache.subarray(index * words, (index + 1) * words);
}

/** A sequence of a ragged batch: its rows, and the cache row of each of its keys, oldest first. */
export interface RaggedSequence {
  readonly firstRow: number;
  readonly count: number;
  readonly cached: readonly number[];
}

/** Reads the tables of `attention`; undefined when one points outside. */
export function sequencesOf(
  sequences: Int32Array,
  segments: Int32Array,
  sizes: { rows: number; sequenceCount: number; segmentCount: number; cacheRows: number },
): RaggedSequence[] | undefined {
  const found: RaggedSequence[] = [];
  for (let s = 0; s < sizes.sequenceCount; s++) {
    const [firstRow, count, firstSegment, segmentsHere] = sequences.subarray(4 * s, 4 * s + 4);
    if (firstRow < 0 || count < 0 || firstRow + count > sizes.rows) return undefined;
    if (firstSegment < 0 || segmentsHere < 0 || firstSegment + segmentsHere > sizes.segmentCount) return undefined;
    const cached: number[] = [];
    for (let g = firstSegment; g < firstSegment + segmentsHere; g++) {
      const [start, length] = segments.subarray(2 * g, 2 * g + 2);
      if (start < 0 || length < 0 || start + length > sizes.cacheRows) return undefined;
      for (let i = 0; i < length; i++) cached.push(start + i);
    }
    if (cached.length < count) return undefined;
    found.push({ firstRow, count, cached });
  }
  return found;
}
