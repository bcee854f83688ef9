// The living definition of every op, in plain TypeScript: sums in double precision, results rounded to f32. The conformance
// suite judges every other backend against this file. Written to be read, not to be fast.

import { float16ToNumber, numberToFloat16 } from '../io/float16.js';
import type { ExecutionCode } from '../tensor/backend.js';
import type { OpName } from '../tensor/optable.js';
import { groupSize, type QuantizedRow, quantizeActivations } from '../tensor/quantize.js';

/** An uploaded matrix: its values, and for q8 and q4 also the codes and scales by row. */
export interface ReferenceWeight {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
  readonly quantized?: readonly QuantizedRow[];
}

/** What an op sees: operands in the op table's order, sizes of this run, constants. */
export interface Call {
  floats(operand: number): Float32Array;
  ints(operand: number): Int32Array;
  /** A key or value cache, f32 or f16 bits. */
  cache(operand: number): Float32Array | Uint16Array;
  weight(operand: number): ReferenceWeight;
  has(operand: number): boolean;
  readonly sizes: readonly number[];
  readonly constants: readonly number[];
}

/** Computes one record; returns a code only when data points outside its table. */
export type ReferenceOp = (call: Call) => ExecutionCode | undefined;

const outside = (index: number, size: number): boolean => !(index >= 0 && index < size);

export const referenceOps: Record<OpName, ReferenceOp> = {
  embedding(call) {
    const [rows, columns, tableRows] = call.sizes;
    const table = call.weight(0).values;
    const [ids, out] = [call.ints(1), call.floats(2)];
    for (let r = 0; r < rows; r++) {
      if (outside(ids[r], tableRows)) return 'index-out-of-range';
      out.set(table.subarray(ids[r] * columns, (ids[r] + 1) * columns), r * columns);
    }
  },

  rmsNorm(call) {
    const [rows, columns] = call.sizes;
    const [x, weight, out] = [call.floats(0), call.floats(1), call.floats(2)];
    for (let r = 0; r < rows; r++) {
      normalize(
        x.subarray(r * columns, (r + 1) * columns),
        weight,
        call.constants[0],
        out.subarray(r * columns, (r + 1) * columns),
      );
    }
  },

  linear(call) {
    const [rows, inputs, outputs, int8] = call.sizes;
    const weight = call.weight(1);
    const [x, out] = [call.floats(0), call.floats(3)];
    const residual = call.has(2) ? call.floats(2) : undefined;
    for (let r = 0; r < rows; r++) {
      const row = x.subarray(r * inputs, (r + 1) * inputs);
      const activations = int8 && weight.quantized ? quantizeActivations(row) : undefined;
      for (let n = 0; n < outputs; n++) {
        const product = activations ? dotCodes(activations, weight.quantized![n]) : dot(row, weight.values, n * inputs);
        out[r * outputs + n] = product + (residual ? residual[r * outputs + n] : 0);
      }
    }
  },

  qkNormRope(call) {
    const [rows, queryHeads, kvHeads, headDim, cacheRows, ropeRows] = call.sizes;
    const [qkv, rope, positions, kvRows, query] = [call.floats(0), call.floats(3), call.ints(4), call.ints(5), call.floats(6)];
    const [keys, values] = [call.cache(7), call.cache(8)];
    const norms = [call.has(1) ? call.floats(1) : undefined, call.has(2) ? call.floats(2) : undefined];
    const head = new Float32Array(headDim);
    for (let r = 0; r < rows; r++) {
      if (outside(positions[r], ropeRows) || outside(kvRows[r], cacheRows)) return 'index-out-of-range';
      const angles = rope.subarray(positions[r] * headDim, (positions[r] + 1) * headDim);
      for (let h = 0; h < queryHeads + 2 * kvHeads; h++) {
        const start = (r * (queryHeads + 2 * kvHeads) + h) * headDim;
        head.set(qkv.subarray(start, start + headDim));
        const kvStart = (kvRows[r] * kvHeads + ((h - queryHeads) % kvHeads)) * headDim;
        if (h >= queryHeads + kvHeads) {
          store(values, kvStart, head);
          continue;
        }
        const norm = norms[h < queryHeads ? 0 : 1];
        if (norm) normalize(head, norm, call.constants[0], head);
        rotate(head, angles);
        if (h < queryHeads) query.set(head, (r * queryHeads + h) * headDim);
        else store(keys, kvStart, head);
      }
    }
  },

  attention(call) {
    const [rows, sequenceCount, segmentCount, queryHeads, kvHeads, headDim, cacheRows] = call.sizes;
    const [query, keys, values, out] = [call.floats(0), call.cache(1), call.cache(2), call.floats(5)];
    const [sequences, segments] = [call.ints(3), call.ints(4)];
    for (let s = 0; s < sequenceCount; s++) {
      const [firstRow, count, firstSegment, segmentsHere] = sequences.subarray(4 * s, 4 * s + 4);
      if (firstRow < 0 || count < 0 || firstRow + count > rows) return 'index-out-of-range';
      if (firstSegment < 0 || segmentsHere < 0 || firstSegment + segmentsHere > segmentCount) return 'index-out-of-range';
      const cached: number[] = []; // the cache row of each key, oldest first
      for (let g = firstSegment; g < firstSegment + segmentsHere; g++) {
        const [start, length] = segments.subarray(2 * g, 2 * g + 2);
        if (start < 0 || length < 0 || start + length > cacheRows) return 'index-out-of-range';
        for (let i = 0; i < length; i++) cached.push(start + i);
      }
      if (cached.length < count) return 'index-out-of-range';
      for (let i = 0; i < count; i++) {
        const visible = cached.length - count + i + 1;
        for (let h = 0; h < queryHeads; h++) {
          const kvHead = Math.floor(h / (queryHeads / kvHeads));
          const start = ((firstRow + i) * queryHeads + h) * headDim;
          const q = query.subarray(start, start + headDim);
          const scores = new Float64Array(visible);
          let largest = -Infinity;
          for (let j = 0; j < visible; j++) {
            scores[j] = dotCache(q, keys, (cached[j] * kvHeads + kvHead) * headDim) * call.constants[0];
            largest = Math.max(largest, scores[j]);
          }
          const sums = new Float64Array(headDim);
          let total = 0;
          for (let j = 0; j < visible; j++) {
            const weight = Math.exp(scores[j] - largest);
            total += weight;
            const row = (cached[j] * kvHeads + kvHead) * headDim;
            for (let d = 0; d < headDim; d++) sums[d] += weight * load(values, row + d);
          }
          for (let d = 0; d < headDim; d++) out[start + d] = sums[d] / total;
        }
      }
    }
  },

  swiglu(call) {
    const [rows, columns] = call.sizes;
    const [x, out] = [call.floats(0), call.floats(1)];
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) out[r * columns + c] = silu(x[2 * r * columns + c]) * x[(2 * r + 1) * columns + c];
    }
  },

  silu(call) {
    const [rows, columns] = call.sizes;
    const [x, out] = [call.floats(0), call.floats(1)];
    for (let i = 0; i < rows * columns; i++) out[i] = silu(x[i]);
  },

  gatherRows(call) {
    const [rows, columns, sourceRows] = call.sizes;
    const [x, indices, out] = [call.floats(0), call.ints(1), call.floats(2)];
    for (let r = 0; r < rows; r++) {
      if (outside(indices[r], sourceRows)) return 'index-out-of-range';
      out.set(x.subarray(indices[r] * columns, (indices[r] + 1) * columns), r * columns);
    }
  },

  argmax(call) {
    const [rows, columns] = call.sizes;
    const [x, out] = [call.floats(0), call.ints(1)];
    for (let r = 0; r < rows; r++) {
      let best = 0;
      let largest = -Infinity;
      for (let c = 0; c < columns; c++) {
        if (x[r * columns + c] > largest) {
          largest = x[r * columns + c];
          best = c;
        }
      }
      out[r] = best;
    }
  },

  tokenLogprob(call) {
    const [rows, columns] = call.sizes;
    const [logits, targets, out] = [call.floats(0), call.ints(1), call.floats(2)];
    for (let r = 0; r < rows; r++) {
      if (outside(targets[r], columns)) return 'index-out-of-range';
      const row = logits.subarray(r * columns, (r + 1) * columns);
      let largest = -Infinity;
      for (const logit of row) largest = Math.max(largest, logit);
      let total = 0;
      for (const logit of row) total += Math.exp(logit - largest);
      out[r] = row[targets[r]] - largest - Math.log(total);
    }
  },

  copy(call) {
    const [rows, columns] = call.sizes;
    call.floats(1).set(call.floats(0).subarray(0, rows * columns));
  },
};

function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** out = x / sqrt(mean(x^2) + eps) * weight; rounded before the weight, as upstream casts there. `out` may be `x`. */
function normalize(x: Float32Array, weight: Float32Array, eps: number, out: Float32Array): void {
  let sum = 0;
  for (const value of x) sum += value * value;
  const inverse = 1 / Math.sqrt(sum / x.length + eps);
  for (let i = 0; i < x.length; i++) out[i] = Math.fround(x[i] * inverse) * weight[i];
}

/** Rotates the pairs (i, i + headDim/2) in place; angles = cos of each pair, then sin of each. */
function rotate(head: Float32Array, angles: Float32Array): void {
  const half = head.length / 2;
  for (let i = 0; i < half; i++) {
    const [a, b, cos, sin] = [head[i], head[i + half], angles[i], angles[i + half]];
    head[i] = a * cos - b * sin;
    head[i + half] = b * cos + a * sin;
  }
}

function dot(x: Float32Array, matrix: Float32Array, start: number): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * matrix[start + i];
  return sum;
}

/** Integer products by group, exact; each group is scaled by the f32 product of the two scales. */
function dotCodes(x: QuantizedRow, weight: QuantizedRow): number {
  let sum = 0;
  for (let g = 0; g < x.scales.length; g++) {
    let products = 0;
    for (let i = g * groupSize; i < (g + 1) * groupSize; i++) products += x.codes[i] * weight.codes[i];
    sum += products * Math.fround(x.scales[g] * weight.scales[g]);
  }
  return sum;
}

function load(cache: Float32Array | Uint16Array, index: number): number {
  return cache instanceof Float32Array ? cache[index] : float16ToNumber(cache[index]);
}

function store(cache: Float32Array | Uint16Array, start: number, head: Float32Array): void {
  if (cache instanceof Float32Array) cache.set(head, start);
  else for (let d = 0; d < head.length; d++) cache[start + d] = numberToFloat16(head[d]);
}

function dotCache(query: Float32Array, keys: Float32Array | Uint16Array, start: number): number {
  let sum = 0;
  for (let d = 0; d < query.length; d++) sum += query[d] * load(keys, start + d);
  return sum;
}
