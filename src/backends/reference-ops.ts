// The living definition of every op, in plain TypeScript: sums in double precision, results rounded to f32. The conformance
// suite judges every other backend against this file. Written to be read, not to be fast.

import { groupSize, type QuantizedRow, quantizeActivations } from '../tensor/quantize.js';
import { referenceAdapters } from './reference-adapters.js';
import { loadHead, normalize, outside, type ReferenceOps, rotate, sequencesOf, sigmoid, storeHead } from './reference-call.js';
import { referenceGradients } from './reference-gradients.js';

export const referenceOps: ReferenceOps = {
  embedding(call) {
    const { rows, columns, tableRows } = call.sizes;
    const table = call.weight('table').values;
    const [ids, out] = [call.ints('ids'), call.floats('out')];
    for (let r = 0; r < rows; r++) {
      if (outside(ids[r], tableRows)) return 'index-out-of-range';
      out.set(table.subarray(ids[r] * columns, (ids[r] + 1) * columns), r * columns);
    }
  },

  rmsNorm(call) {
    const { rows, columns } = call.sizes;
    const [x, weight, out] = [call.floats('x'), call.floats('weight'), call.floats('out')];
    for (let r = 0; r < rows; r++) {
      normalize(
        x.subarray(r * columns, (r + 1) * columns),
        weight,
        call.constants.eps,
        out.subarray(r * columns, (r + 1) * columns),
      );
    }
  },

  linear(call) {
    const { rows, inputs, outputs, int8 } = call.sizes;
    const weight = call.weight('weight');
    const [x, out] = [call.floats('x'), call.floats('out')];
    const residual = call.maybe('residual');
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
    const { rows, queryHeads, kvHeads, headDim, cacheRows, ropeRows } = call.sizes;
    const [qkv, rope, positions, kvRows, query] = [
      call.floats('qkv'),
      call.floats('rope'),
      call.ints('positions'),
      call.ints('kvRows'),
      call.floats('query'),
    ];
    const [keys, values] = [call.cache('keys'), call.cache('values')];
    const norms = [call.maybe('queryNorm'), call.maybe('keyNorm')];
    const head = new Float32Array(headDim);
    for (let r = 0; r < rows; r++) {
      if (outside(positions[r], ropeRows) || outside(kvRows[r], cacheRows)) return 'index-out-of-range';
      const angles = rope.subarray(positions[r] * headDim, (positions[r] + 1) * headDim);
      for (let h = 0; h < queryHeads + 2 * kvHeads; h++) {
        const start = (r * (queryHeads + 2 * kvHeads) + h) * headDim;
        head.set(qkv.subarray(start, start + headDim));
        const kvHead = kvRows[r] * kvHeads + ((h - queryHeads) % kvHeads);
        if (h >= queryHeads + kvHeads) {
          storeHead(values, kvHead, head);
          continue;
        }
        const norm = norms[h < queryHeads ? 0 : 1];
        if (norm) normalize(head, norm, call.constants.eps, head);
        rotate(head, angles);
        if (h < queryHeads) query.set(head, (r * queryHeads + h) * headDim);
        else storeHead(keys, kvHead, head);
      }
    }
  },

  attention(call) {
    const { rows, sequenceCount, segmentCount, queryHeads, kvHeads, headDim, cacheRows } = call.sizes;
    const [query, keys, values, out] = [call.floats('query'), call.cache('keys'), call.cache('values'), call.floats('out')];
    const logsumexp = call.maybe('logsumexp');
    const ragged = sequencesOf(call.ints('sequences'), call.ints('segments'), { rows, sequenceCount, segmentCount, cacheRows });
    if (!ragged) return 'index-out-of-range';
    for (const { firstRow, count, cached } of ragged) {
      for (let i = 0; i < count; i++) {
        const visible = cached.length - count + i + 1;
        for (let h = 0; h < queryHeads; h++) {
          const kvHead = Math.floor(h / (queryHeads / kvHeads));
          const start = ((firstRow + i) * queryHeads + h) * headDim;
          const q = query.subarray(start, start + headDim);
          const scores = new Float64Array(visible);
          let largest = -Infinity;
          for (let j = 0; j < visible; j++) {
            scores[j] = dot(q, loadHead(keys, cached[j] * kvHeads + kvHead, headDim), 0) * call.constants.scale;
            largest = Math.max(largest, scores[j]);
          }
          const sums = new Float64Array(headDim);
          let total = 0;
          for (let j = 0; j < visible; j++) {
            const weight = Math.exp(scores[j] - largest);
            total += weight;
            const value = loadHead(values, cached[j] * kvHeads + kvHead, headDim);
            for (let d = 0; d < headDim; d++) sums[d] += weight * value[d];
          }
          for (let d = 0; d < headDim; d++) out[start + d] = sums[d] / total;
          if (logsumexp) logsumexp[(firstRow + i) * queryHeads + h] = largest + Math.log(total);
        }
      }
    }
  },

  swiglu(call) {
    const { rows, columns } = call.sizes;
    const [x, out] = [call.floats('x'), call.floats('out')];
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) out[r * columns + c] = silu(x[2 * r * columns + c]) * x[(2 * r + 1) * columns + c];
    }
  },

  silu(call) {
    const { rows, columns } = call.sizes;
    const [x, out] = [call.floats('x'), call.floats('out')];
    for (let i = 0; i < rows * columns; i++) out[i] = silu(x[i]);
  },

  gatherRows(call) {
    const { rows, columns, sourceRows } = call.sizes;
    const [x, indices, out] = [call.floats('x'), call.ints('indices'), call.floats('out')];
    for (let r = 0; r < rows; r++) {
      if (outside(indices[r], sourceRows)) return 'index-out-of-range';
      out.set(x.subarray(indices[r] * columns, (indices[r] + 1) * columns), r * columns);
    }
  },

  argmax(call) {
    const { rows, columns } = call.sizes;
    const [x, out] = [call.floats('x'), call.ints('out')];
    for (let r = 0; r < rows; r++) {
      let best = 0;
      let largest = -Infinity;
      for (let c = 0; c < columns; c++) {
        if (x[r * columns + c] > largest) {
          largest = x[r * columns + c];
          best = c;
        }
      }
      out[r] = x.subarray(r * columns, (r + 1) * columns).every(Number.isFinite) ? best : -1;
    }
  },

  tokenLogprob(call) {
    const { rows, columns } = call.sizes;
    const [logits, targets, out] = [call.floats('logits'), call.ints('targets'), call.floats('out')];
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
    const { rows, columns } = call.sizes;
    call.floats('out').set(call.floats('x').subarray(0, rows * columns));
  },

  packInt16(call) {
    const { rows, columns } = call.sizes;
    const packed = packedRows(call.floats('packed'), columns);
    for (let r = 0; r < rows; r++) {
      const { scales, codes } = packed(r);
      for (let g = 0; g < scales.length; g++) {
        const x = call.floats('x').subarray(r * columns + 64 * g, r * columns + Math.min(64 * g + 64, columns));
        const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const inverse = largest > 1e-30 ? Math.fround(32767 / largest) : 0;
        scales[g] = largest / 32767;
        // Rounded to the nearest, of two the even one.
        for (const [i, value] of x.entries())
          codes[64 * g + i] = Math.fround(Math.fround(value * inverse) + 1.5 * 2 ** 23) - 1.5 * 2 ** 23;
      }
      if (columns % 2) codes[columns] = 0;
    }
  },

  unpackInt16(call) {
    const { rows, columns } = call.sizes;
    const packed = packedRows(call.floats('packed'), columns);
    const out = call.floats('out');
    for (let r = 0; r < rows; r++) {
      const { scales, codes } = packed(r);
      for (let i = 0; i < columns; i++) out[r * columns + i] = codes[i] * scales[i >> 6];
    }
  },

  ...referenceAdapters,
  ...referenceGradients,
};

/** A row of packed values: the scales of its groups of 64, and its codes. */
function packedRows(words: Float32Array, columns: number): (row: number) => { scales: Float32Array; codes: Int16Array } {
  const [groups, pairs] = [Math.ceil(columns / 64), Math.ceil(columns / 2)];
  return (row) => {
    const scales = words.subarray(row * (groups + pairs), row * (groups + pairs) + groups);
    return { scales, codes: new Int16Array(words.buffer, scales.byteOffset + 4 * groups, 2 * pairs) };
  };
}

function silu(x: number): number {
  return x * sigmoid(x);
}

function dot(x: Float32Array, matrix: ArrayLike<number>, start: number): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * matrix[start + i];
  return sum;
}

/** Integer products by group, exact; each group is scaled by the f32 product of the two scales. A minimum meets the group's sum. */
function dotCodes(x: QuantizedRow, weight: QuantizedRow): number {
  let sum = 0;
  for (let g = 0; g < x.scales.length; g++) {
    let products = 0;
    let total = 0;
    for (let i = g * groupSize; i < (g + 1) * groupSize; i++) {
      products += x.codes[i] * weight.codes[i];
      total += x.codes[i];
    }
    sum += products * Math.fround(x.scales[g] * weight.scales[g]);
    if (weight.minimums) sum += weight.minimums[g] * Math.fround(x.scales[g] * total);
  }
  return sum;
}
