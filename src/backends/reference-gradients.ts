// The definitions of the derivatives and of the optimizer's ops, as `reference-ops.ts` for the forward ones: double precision
// inside, f32 outside. Tests compare the derivatives with central differences of the forward definitions.

import type { OpName } from '../tensor/optable.js';
import { inverseRms, outside, type ReferenceOps, rotate, sequencesOf, sigmoid } from './reference-call.js';

type GradientName = Exclude<
  Extract<OpName, `${string}Grad` | 'crossEntropy' | 'preferenceLoss' | 'globalNorm' | 'adamw'>,
  'scaleColumnsGrad' | 'doraFactorsGrad'
>;

export const referenceGradients: Pick<ReferenceOps, GradientName> = {
  embeddingGrad(call) {
    const { rows, columns, tableRows, skip } = call.sizes;
    const [dout, ids, tableGrad] = [call.floats('dout'), call.ints('ids'), call.floats('tableGrad')];
    for (let r = 0; r < rows; r++) {
      if (outside(ids[r], tableRows)) return 'index-out-of-range';
      if (ids[r] === skip - 1) continue;
      for (let c = 0; c < columns; c++) tableGrad[ids[r] * columns + c] += dout[r * columns + c];
    }
  },

  rmsNormGrad(call) {
    const { rows, columns } = call.sizes;
    const [x, weight, dout, dx] = [call.floats('x'), call.floats('weight'), call.floats('dout'), call.floats('dx')];
    const [residual, weightGrad] = [call.maybe('residual'), call.maybe('weightGrad')];
    const sums = new Float64Array(columns);
    for (let r = 0; r < rows; r++) {
      const row = (array: Float32Array): Float32Array => array.subarray(r * columns, (r + 1) * columns);
      const out = normalizeGrad(row(x), weight, row(dout), call.constants.eps, sums);
      for (let c = 0; c < columns; c++) dx[r * columns + c] = out[c] + (residual ? residual[r * columns + c] : 0);
    }
    for (let c = 0; weightGrad && c < columns; c++) weightGrad[c] += sums[c];
  },

  linearInputGrad(call) {
    const { rows, inputs, outputs } = call.sizes;
    const [dout, weight, dx] = [call.floats('dout'), call.weight('weight').values, call.floats('dx')];
    const residual = call.maybe('residual');
    for (let r = 0; r < rows; r++) {
      const sums = new Float64Array(inputs);
      for (let n = 0; n < outputs; n++) {
        const d = dout[r * outputs + n];
        for (let k = 0; k < inputs; k++) sums[k] += d * weight[n * inputs + k];
      }
      for (let k = 0; k < inputs; k++) dx[r * inputs + k] = sums[k] + (residual ? residual[r * inputs + k] : 0);
    }
  },

  linearWeightGrad(call) {
    const { rows, inputs, outputs } = call.sizes;
    const [dout, x, weightGrad] = [call.floats('dout'), call.floats('x'), call.floats('weightGrad')];
    for (let n = 0; n < outputs; n++) {
      const sums = new Float64Array(inputs);
      for (let r = 0; r < rows; r++) {
        const d = dout[r * outputs + n];
        for (let k = 0; k < inputs; k++) sums[k] += d * x[r * inputs + k];
      }
      for (let k = 0; k < inputs; k++) weightGrad[n * inputs + k] += sums[k];
    }
  },

  qkNormRopeGrad(call) {
    const { rows, queryHeads, kvHeads, headDim, cacheRows, ropeRows } = call.sizes;
    const [qkv, rope, positions, kvRows] = [call.floats('qkv'), call.floats('rope'), call.ints('positions'), call.ints('kvRows')];
    const [dquery, dkeys, dvalues, dqkv] = [
      call.floats('dquery'),
      call.floats('dkeys'),
      call.floats('dvalues'),
      call.floats('dqkv'),
    ];
    const norms = [call.maybe('queryNorm'), call.maybe('keyNorm')];
    const sums = [new Float64Array(headDim), new Float64Array(headDim)];
    for (let r = 0; r < rows; r++) {
      if (outside(positions[r], ropeRows) || outside(kvRows[r], cacheRows)) return 'index-out-of-range';
      const angles = rope.subarray(positions[r] * headDim, (positions[r] + 1) * headDim);
      for (let h = 0; h < queryHeads + 2 * kvHeads; h++) {
        const start = (r * (queryHeads + 2 * kvHeads) + h) * headDim;
        const kvStart = (kvRows[r] * kvHeads + ((h - queryHeads) % kvHeads)) * headDim;
        if (h >= queryHeads + kvHeads) {
          dqkv.set(dvalues.subarray(kvStart, kvStart + headDim), start);
          continue;
        }
        const isQuery = h < queryHeads;
        const from = isQuery ? (r * queryHeads + h) * headDim : kvStart;
        const dout = (isQuery ? dquery : dkeys).slice(from, from + headDim);
        rotate(dout, angles, -1);
        const norm = norms[isQuery ? 0 : 1];
        const x = qkv.subarray(start, start + headDim);
        dqkv.set(norm ? normalizeGrad(x, norm, dout, call.constants.eps, sums[isQuery ? 0 : 1]) : dout, start);
      }
    }
    for (const [i, grad] of [call.maybe('queryNormGrad'), call.maybe('keyNormGrad')].entries()) {
      if (grad) for (let d = 0; d < headDim; d++) grad[d] += sums[i][d];
    }
  },

  attentionGrad(call) {
    const { rows, sequenceCount, segmentCount, queryHeads, kvHeads, headDim, cacheRows } = call.sizes;
    const [query, keys, values] = [call.floats('query'), call.floats('keys'), call.floats('values')];
    const [out, logsumexp, dout] = [call.floats('out'), call.floats('logsumexp'), call.floats('dout')];
    const ragged = sequencesOf(call.ints('sequences'), call.ints('segments'), { rows, sequenceCount, segmentCount, cacheRows });
    if (!ragged) return 'index-out-of-range';
    const { scale } = call.constants;
    const dquery = new Float64Array(rows * queryHeads * headDim);
    const dkeys = new Float64Array(cacheRows * kvHeads * headDim);
    const dvalues = new Float64Array(cacheRows * kvHeads * headDim);
    for (const { firstRow, count, cached } of ragged) {
      for (let i = 0; i < count; i++) {
        for (let h = 0; h < queryHeads; h++) {
          const q = ((firstRow + i) * queryHeads + h) * headDim;
          const kvHead = Math.floor(h / (queryHeads / kvHeads));
          let delta = 0; // dout . out = sum over keys of p dp
          for (let d = 0; d < headDim; d++) delta += dout[q + d] * out[q + d];
          for (let j = 0; j < cached.length - count + i + 1; j++) {
            const k = (cached[j] * kvHeads + kvHead) * headDim;
            let score = 0;
            let dp = 0;
            for (let d = 0; d < headDim; d++) {
              score += query[q + d] * keys[k + d];
              dp += dout[q + d] * values[k + d];
            }
            const p = Math.exp(score * scale - logsumexp[(firstRow + i) * queryHeads + h]);
            const ds = p * (dp - delta) * scale;
            for (let d = 0; d < headDim; d++) {
              dvalues[k + d] += p * dout[q + d];
              dquery[q + d] += ds * keys[k + d];
              dkeys[k + d] += ds * query[q + d];
            }
          }
        }
      }
    }
    call.floats('dquery').set(dquery);
    call.floats('dkeys').set(dkeys);
    call.floats('dvalues').set(dvalues);
  },

  swigluGrad(call) {
    const { rows, columns } = call.sizes;
    const [x, dout] = [call.floats('x'), call.floats('dout')];
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const [gateAt, upAt] = [2 * r * columns + c, (2 * r + 1) * columns + c];
        const [gate, up, d] = [x[gateAt], x[upAt], dout[r * columns + c]];
        x[gateAt] = d * up * siluGrad(gate);
        x[upAt] = d * gate * sigmoid(gate);
      }
    }
  },

  siluGrad(call) {
    const { rows, columns } = call.sizes;
    const [x, dout] = [call.floats('x'), call.floats('dout')];
    for (let i = 0; i < rows * columns; i++) x[i] = dout[i] * siluGrad(x[i]);
  },

  crossEntropy(call) {
    const { rows, columns, vocabulary } = call.sizes;
    const [x, targets, losses] = [call.floats('x'), call.ints('targets'), call.floats('losses')];
    const weight = call.weight('weight').values;
    const rowWeights = call.maybe('rowWeights');
    const scale = call.floats('scale')[0];
    const { zLoss, labelSmoothing: smoothing } = call.constants;
    const dx = call.maybe('dx');
    const weightGrad = call.maybe('weightGrad');
    const sums = new Float64Array(weightGrad ? vocabulary * columns : 0);
    for (let r = 0; r < rows; r++) {
      const row = x.subarray(r * columns, (r + 1) * columns);
      const dxRow = new Float64Array(columns);
      losses.fill(0, 2 * r, 2 * r + 2);
      if (targets[r] >= vocabulary) return 'index-out-of-range';
      if (targets[r] >= 0) {
        const logits = new Float64Array(vocabulary);
        for (let v = 0; v < vocabulary; v++) {
          for (let c = 0; c < columns; c++) logits[v] += row[c] * weight[v * columns + c];
        }
        const largest = logits.reduce((a, b) => Math.max(a, b));
        const lse = largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
        const mean = logits.reduce((a, b) => a + b) / vocabulary;
        losses[2 * r] = (1 - smoothing) * (lse - logits[targets[r]]) + smoothing * (lse - mean);
        losses[2 * r + 1] = lse * lse;
        for (let v = 0; v < vocabulary; v++) {
          const p = Math.exp(logits[v] - lse);
          const wanted = (v === targets[r] ? 1 - smoothing : 0) + smoothing / vocabulary;
          const dlogit = (rowWeights ? rowWeights[r] : 1) * scale * (p - wanted + zLoss * 2 * lse * p);
          for (let c = 0; c < columns; c++) {
            dxRow[c] += dlogit * weight[v * columns + c];
            if (weightGrad) sums[v * columns + c] += dlogit * row[c];
          }
        }
      }
      dx?.set(dxRow, r * columns);
    }
    for (let i = 0; i < sums.length; i++) weightGrad![i] += sums[i];
  },

  preferenceLoss(call) {
    const { rows, pairCount, kind } = call.sizes;
    const [losses, pairs, reference] = [call.floats('losses'), call.ints('pairs'), call.floats('reference')];
    const [results, rowWeights] = [call.floats('results'), call.floats('rowWeights')];
    const { beta, labelSmoothing: e } = call.constants;
    rowWeights.fill(0, 0, rows);
    for (let p = 0; p < pairCount; p++) {
      const answers = [0, 1].map((which) => {
        const [first, count] = [pairs[4 * p + 2 * which], pairs[4 * p + 2 * which + 1]];
        let logp = 0;
        for (let r = first; r < first + count; r++) logp -= losses[2 * r];
        return { first, count, logp, ratio: logp - reference[2 * p + which] };
      });
      if (answers.some(({ first, count }) => first < 0 || count < 1 || first + count > rows)) return 'index-out-of-range';
      const [chosen, rejected] = answers;
      const [loss, slope] = preference(
        kind,
        beta,
        e,
        chosen.ratio - rejected.ratio,
        chosen.ratio / chosen.count - rejected.ratio / rejected.count,
      );
      results.set([loss, chosen.logp, rejected.logp], 3 * p);
      rowWeights.fill(-slope / (kind === 3 ? chosen.count : 1), chosen.first, chosen.first + chosen.count);
      rowWeights.fill(slope / (kind === 3 ? rejected.count : 1), rejected.first, rejected.first + rejected.count);
    }
    return undefined;
  },

  globalNorm(call) {
    const { count } = call.sizes;
    const [x, norms] = [call.floats('x'), call.floats('norms')];
    let sum = 0;
    for (let i = 0; i < count; i++) sum += x[i] * x[i];
    const norm = Math.sqrt(sum);
    norms[0] = norm;
    norms[1] = Math.min(1, call.constants.maxNorm / (norm + 1e-6));
    norms[2] = Number.isFinite(norms[0]) ? 0 : 1;
  },

  adamw(call) {
    const { count } = call.sizes;
    const [parameters, grad] = [call.floats('parameters'), call.floats('grad')];
    const [first, second] = [call.floats('firstMoment'), call.floats('secondMoment')];
    const norms = call.floats('norms');
    const [learningRate, correction1, correction2] = call.floats('schedule');
    const { beta1, beta2, eps, weightDecay } = call.constants;
    for (let i = 0; i < count && norms[2] === 0; i++) {
      const g = grad[i] * norms[1];
      first[i] = beta1 * first[i] + (1 - beta1) * g;
      second[i] = beta2 * second[i] + (1 - beta2) * g * g;
      const step = first[i] / correction1 / (Math.sqrt(second[i] / correction2) + eps);
      parameters[i] = parameters[i] * (1 - learningRate * weightDecay) - learningRate * step;
    }
    grad.fill(0, 0, count);
  },
};

function siluGrad(x: number): number {
  const s = sigmoid(x);
  return s * (1 + x * (1 - s));
}

/** The gradient of x / rms * weight by x; adds that by the weight to `weightSums`. */
function normalizeGrad(
  x: Float32Array,
  weight: Float32Array,
  dout: Float32Array,
  eps: number,
  weightSums: Float64Array,
): Float64Array {
  const inverse = inverseRms(x, eps);
  let projection = 0; // mean(weight dout n)
  for (let i = 0; i < x.length; i++) {
    projection += (weight[i] * dout[i] * x[i] * inverse) / x.length;
    weightSums[i] += dout[i] * x[i] * inverse;
  }
  return Float64Array.from(x, (value, i) => (weight[i] * dout[i] - value * inverse * projection) * inverse);
}

/** ln(1 + exp(-x)), whatever x. */
function softplus(x: number): number {
  return Math.max(0, -x) + Math.log1p(Math.exp(-Math.abs(x)));
}

/** A pair's loss, and its derivative by the difference of log-ratios (IPO: of their means). */
function preference(kind: number, beta: number, e: number, difference: number, differenceOfMeans: number): [number, number] {
  const m = beta * difference;
  const [right, wrong] = [softplus(m), softplus(-m)];
  if (kind === 0) return [(1 - e) * right + e * wrong, beta * (e * sigmoid(m) - (1 - e) * sigmoid(-m))];
  if (kind === 1) {
    return [((1 - e) * right - e * wrong) / (1 - 2 * e), (-beta * ((1 - e) * sigmoid(-m) + e * sigmoid(m))) / (1 - 2 * e)];
  }
  if (kind === 2) return [Math.max(0, 1 - m), m < 1 ? -beta : 0];
  const off = differenceOfMeans - 1 / (2 * beta);
  return [off * off, 2 * off];
}
