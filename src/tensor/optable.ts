// The one table of ops: what each reads and writes, its sizes and its constants, in a fixed order that gives the op ids on
// both sides of every door (`npm run generate` writes native/kernels/op_table.h from it; `abiHash` is checked when the addon is
// loaded). It drives encoding, planning, the conformance suite and, with the gradient table, the tape. Not how an op computes:
// the living definition of each is `backends/reference.ts`.

export type Access = 'read' | 'write' | 'readwrite';

/** What an operand may be: element types, `weight` for any layout of an uploaded matrix, and whether it may be left out. */
export interface OperandSpec {
  readonly name: string;
  readonly access: Access;
  readonly dtypes: readonly ('f32' | 'f16' | 'i32' | 'weight')[];
  readonly optional: boolean;
}

export interface OpSpec {
  readonly operands: readonly OperandSpec[];
  /** Sizes and flags; a size may come from the params at run time. */
  readonly ints: readonly string[];
  readonly floats: readonly string[];
}

type Operand<Name extends string, Optional extends boolean> = OperandSpec & { readonly name: Name; readonly optional: Optional };
type Make<Optional extends boolean> = <Name extends string>(
  name: Name,
  ...dtypes: OperandSpec['dtypes']
) => Operand<Name, Optional>;
const operand =
  <Optional extends boolean>(access: Access, optional: Optional): Make<Optional> =>
  (name, ...dtypes) => ({ name, access, dtypes, optional });

const read = operand('read', false);
const write = operand('write', false);
const update = operand('readwrite', false);
const maybe = operand('read', true);
const maybeWrite = operand('write', true);
const maybeUpdate = operand('readwrite', true);

export const opTable = {
  /** out[r] = table[ids[r]], dequantized. table: [tableRows, columns] */
  embedding: {
    operands: [read('table', 'weight', 'f32'), read('ids', 'i32'), write('out', 'f32')],
    ints: ['rows', 'columns', 'tableRows'],
    floats: [],
  },
  /** out = x / sqrt(mean(x^2) + eps) * weight, over each row */
  rmsNorm: {
    operands: [read('x', 'f32'), read('weight', 'f32'), write('out', 'f32')],
    ints: ['rows', 'columns'],
    floats: ['eps'],
  },
  /**
   * out = x weight^T (+ residual). x: [rows, inputs], weight: [outputs, inputs]. With `int8` 1 and a q8 or q4 weight the rows of
   * x are quantized first, by groups of 32: scale = max|x| / 127 in f32, q = x * (127 / max|x|) rounded to nearest even. With a weight
   * in `rows` layout the residual may lie in out itself.
   */
  linear: {
    operands: [read('x', 'f32'), read('weight', 'weight', 'f32'), maybe('residual', 'f32'), write('out', 'f32')],
    ints: ['rows', 'inputs', 'outputs', 'int8'],
    floats: [],
  },
  /**
   * Splits qkv [rows, (queryHeads + 2 kvHeads) headDim] by heads; rms-norms queries and keys over the head (where weights are
   * given); rotates both halves by rope[positions[r]] = cos[headDim/2], sin[headDim/2]; writes queries to `query` and keys and
   * values to row kvRows[r] of the cache [cacheRows, kvHeads, headDim]. Rotation of pair (i, i + headDim/2), as in GPT-NeoX.
   * An i32 cache is one of 8 bits, [cacheRows, kvHeads, ceil(headDim / 4) + 1]: of each head its codes, four a word from the lowest
   * bits up, and last their scale, a f32; scale = max|x| / 127, not a number where an element is not finite, code = x * (127 / max|x|)
   * rounded to nearest even.
   */
  qkNormRope: {
    operands: [
      read('qkv', 'f32'),
      maybe('queryNorm', 'f32'),
      maybe('keyNorm', 'f32'),
      read('rope', 'f32'),
      read('positions', 'i32'),
      read('kvRows', 'i32'),
      write('query', 'f32'),
      update('keys', 'f32', 'f16', 'i32'),
      update('values', 'f32', 'f16', 'i32'),
    ],
    ints: ['rows', 'queryHeads', 'kvHeads', 'headDim', 'cacheRows', 'ropeRows'],
    floats: ['eps'],
  },
  /**
   * Causal attention of several sequences laid end to end. Sequence s: sequences[s] = (first row, rows, first segment, segments);
   * a segment = (first cache row, length); its segments laid end to end are its keys, the newest rows last: row i of n sees the
   * first (total - n + i + 1) of them. Query head h uses kv head floor(h / (queryHeads / kvHeads)). `logsumexp` [rows, queryHeads]
   * takes the logarithm of each softmax's denominator (scores scaled), which the gradient needs.
   */
  attention: {
    operands: [
      read('query', 'f32'),
      read('keys', 'f32', 'f16', 'i32'),
      read('values', 'f32', 'f16', 'i32'),
      read('sequences', 'i32'),
      read('segments', 'i32'),
      write('out', 'f32'),
      maybeWrite('logsumexp', 'f32'),
    ],
    ints: ['rows', 'sequenceCount', 'segmentCount', 'queryHeads', 'kvHeads', 'headDim', 'cacheRows'],
    floats: ['scale'],
  },
  /** out = silu(x[:, :columns]) * x[:, columns:]; x: [rows, 2 columns] */
  swiglu: { operands: [read('x', 'f32'), write('out', 'f32')], ints: ['rows', 'columns'], floats: [] },
  /** out = x * sigmoid(x) */
  silu: { operands: [read('x', 'f32'), write('out', 'f32')], ints: ['rows', 'columns'], floats: [] },
  /** out[r] = x[indices[r]]; x: [sourceRows, columns] */
  gatherRows: {
    operands: [read('x', 'f32'), read('indices', 'i32'), write('out', 'f32')],
    ints: ['rows', 'columns', 'sourceRows'],
    floats: [],
  },
  /** out[r] = index of the largest element of x[r], the first of equals; -1 where an element is not finite */
  argmax: { operands: [read('x', 'f32'), write('out', 'i32')], ints: ['rows', 'columns'], floats: [] },
  /** out[r] = logits[r][targets[r]] - logsumexp(logits[r]) */
  tokenLogprob: {
    operands: [read('logits', 'f32'), read('targets', 'i32'), write('out', 'f32')],
    ints: ['rows', 'columns'],
    floats: [],
  },
  /** out = x */
  copy: { operands: [read('x', 'f32'), write('out', 'f32')], ints: ['rows', 'columns'], floats: [] },
  /**
   * x in 16 bits: packed is [rows, ceil(columns / 64) + ceil(columns / 2)], in each row the scales of its groups of 64 elements,
   * which are their largest magnitudes / 32767, then round(x / scale), two to a word, the first in the lowest bits
   */
  packInt16: { operands: [read('x', 'f32'), write('packed', 'f32')], ints: ['rows', 'columns'], floats: [] },
  unpackInt16: { operands: [read('packed', 'f32'), write('out', 'f32')], ints: ['rows', 'columns'], floats: [] },
  /**
   * out = x / (1 - rate) where a random word is at least rate * 2^32, else 0 (+ residual). The word of element e = r * columns + c
   * is number (e >> 4) & 3 of pcg4d(16 (e >> 6) + (e & 15), op, draw, seed) (Jarzynski and Olano, JCGT 9(3), 2020): every backend
   * draws the same mask, and the way back draws it again.
   */
  dropout: {
    operands: [read('x', 'f32'), maybe('residual', 'f32'), write('out', 'f32')],
    ints: ['rows', 'columns', 'op', 'draw', 'seed'],
    floats: ['rate'],
  },
  /** out[r] = x[r] * table[ids[r]] (+ residual[r]), element by element; table: [groups, columns]; without ids all rows take row 0 */
  scaleColumns: {
    operands: [read('x', 'f32'), read('table', 'f32'), maybe('ids', 'i32'), maybe('residual', 'f32'), write('out', 'f32')],
    ints: ['rows', 'columns', 'groups'],
    floats: [],
  },
  /**
   * DoRA's factors (Liu et al. 2024, equation 5): out[n] = magnitude[n] / norms[n], norms[n] = |weight[n] + scaling * b[n] a|, the
   * 2-norm over the inputs. weight: [outputs, inputs], a: [rank, inputs], b: [outputs, rank].
   */
  doraFactors: {
    operands: [
      read('weight', 'weight', 'f32'),
      read('a', 'f32'),
      read('b', 'f32'),
      read('magnitude', 'f32'),
      write('norms', 'f32'),
      write('out', 'f32'),
    ],
    ints: ['inputs', 'outputs', 'rank'],
    floats: ['scaling'],
  },

  // Derivatives. `d...` is the gradient of the loss by ...; `residual` is a gradient that `dx` already has, added to it;
  // gradients of weights are added to what their buffers hold.

  /** tableGrad[ids[r]] += dout[r], in the order of the rows; rows whose id is skip - 1 are left out (0: none). table: f32 rows */
  embeddingGrad: {
    operands: [read('dout', 'f32'), read('ids', 'i32'), update('tableGrad', 'f32')],
    ints: ['rows', 'columns', 'tableRows', 'skip'],
    floats: [],
  },
  /** dx = (weight dout - n mean(weight dout n)) / rms (+ residual), n = x / rms; weightGrad += sum over rows of dout n */
  rmsNormGrad: {
    operands: [
      read('x', 'f32'),
      read('weight', 'f32'),
      read('dout', 'f32'),
      maybe('residual', 'f32'),
      write('dx', 'f32'),
      maybeUpdate('weightGrad', 'f32'),
    ],
    ints: ['rows', 'columns'],
    floats: ['eps'],
  },
  /** dx = dout weight (+ residual, which may lie in dx itself). dout: [rows, outputs], weight: [outputs, inputs], dequantized */
  linearInputGrad: {
    operands: [read('dout', 'f32'), read('weight', 'weight', 'f32'), maybe('residual', 'f32'), write('dx', 'f32')],
    ints: ['rows', 'inputs', 'outputs'],
    floats: [],
  },
  /** weightGrad [outputs, inputs] += dout^T x */
  linearWeightGrad: {
    operands: [read('dout', 'f32'), read('x', 'f32'), update('weightGrad', 'f32')],
    ints: ['rows', 'inputs', 'outputs'],
    floats: [],
  },
  /** From the gradients of rotated queries [rows, queryHeads headDim] and of cache rows (kvRows[r] of [cacheRows, kvHeads, headDim]) to dqkv. */
  qkNormRopeGrad: {
    operands: [
      read('qkv', 'f32'),
      maybe('queryNorm', 'f32'),
      maybe('keyNorm', 'f32'),
      read('rope', 'f32'),
      read('positions', 'i32'),
      read('kvRows', 'i32'),
      read('dquery', 'f32'),
      read('dkeys', 'f32'),
      read('dvalues', 'f32'),
      write('dqkv', 'f32'),
      maybeUpdate('queryNormGrad', 'f32'),
      maybeUpdate('keyNormGrad', 'f32'),
    ],
    ints: ['rows', 'queryHeads', 'kvHeads', 'headDim', 'cacheRows', 'ropeRows'],
    floats: ['eps'],
  },
  /**
   * The derivative of `attention` from its inputs, its result and logsumexp: probabilities are computed again, block by block
   * (Dao et al. 2022). dkeys and dvalues [cacheRows, kvHeads, headDim] are written whole: rows that no sequence uses are zero.
   */
  attentionGrad: {
    operands: [
      read('query', 'f32'),
      read('keys', 'f32'),
      read('values', 'f32'),
      read('sequences', 'i32'),
      read('segments', 'i32'),
      read('out', 'f32'),
      read('logsumexp', 'f32'),
      read('dout', 'f32'),
      write('dquery', 'f32'),
      write('dkeys', 'f32'),
      write('dvalues', 'f32'),
    ],
    ints: ['rows', 'sequenceCount', 'segmentCount', 'queryHeads', 'kvHeads', 'headDim', 'cacheRows'],
    floats: ['scale'],
  },
  /** x becomes its gradient. x: [rows, 2 columns], dout: [rows, columns] */
  swigluGrad: { operands: [update('x', 'f32'), read('dout', 'f32')], ints: ['rows', 'columns'], floats: [] },
  siluGrad: { operands: [update('x', 'f32'), read('dout', 'f32')], ints: ['rows', 'columns'], floats: [] },
  /** dx = dout * table[ids[r]] (+ residual); without ids also tableGrad = sum over rows of dout x (both or neither of x, tableGrad) */
  scaleColumnsGrad: {
    operands: [
      read('dout', 'f32'),
      maybe('x', 'f32'),
      read('table', 'f32'),
      maybe('ids', 'i32'),
      maybe('residual', 'f32'),
      write('dx', 'f32'),
      maybeWrite('tableGrad', 'f32'),
    ],
    ints: ['rows', 'columns', 'groups'],
    floats: [],
  },
  /** magnitudeGrad += dout / norms: the norms count as constants (Liu et al. 2024, section 4.3) */
  doraFactorsGrad: {
    operands: [read('dout', 'f32'), read('norms', 'f32'), update('magnitudeGrad', 'f32')],
    ints: ['outputs'],
    floats: [],
  },
  /**
   * Cross-entropy of logits = x weight^T against targets, with z-loss, and its gradient, a block of rows at a time: no
   * [rows, vocabulary] matrix is held. losses[r] = (ce, logsumexp^2); a target below 0 is ignored: its row gives (0, 0) and no
   * gradient. ce = (1 - s) (lse - logit[target]) + s mean(lse - logits), s = labelSmoothing. The gradient is that of
   * scale[0] * sum over rows of rowWeights[r] (ce + zLoss logsumexp^2) (without them: 1), written to dx and added to weightGrad
   * [vocabulary, columns]; both may be left out. The weight is dequantized.
   */
  crossEntropy: {
    operands: [
      read('x', 'f32'),
      read('weight', 'weight', 'f32'),
      read('targets', 'i32'),
      read('scale', 'f32'),
      maybe('rowWeights', 'f32'),
      write('losses', 'f32'),
      maybeWrite('dx', 'f32'),
      maybeUpdate('weightGrad', 'f32'),
    ],
    ints: ['rows', 'columns', 'vocabulary'],
    floats: ['zLoss', 'labelSmoothing'],
  },
  /**
   * Losses of pairs of answers, the first of which is preferred, from their tokens' cross-entropies (`losses` as crossEntropy leaves
   * them). pairs[p] = (first row, rows of the chosen answer, first row, rows of the rejected one); an answer's logp is minus the sum
   * of its rows' ce, reference[p] = (logp of chosen, of rejected) of the reference model. With m = beta ((logp - reference of chosen) -
   * (logp - reference of rejected)), e = labelSmoothing and s(x) = ln(1 + exp(-x)) the loss is by `kind`
   * 0: (1 - e) s(m) + e s(-m) (Rafailov et al. 2023; cDPO)   1: ((1 - e) s(m) - e s(-m)) / (1 - 2 e) (robust, Chowdhury et al. 2024)
   * 2: max(0, 1 - m) (Zhao et al. 2023)   3: (h - 1 / (2 beta))^2, h the same difference of means over an answer's rows (IPO)
   * results[p] = (loss, logp of chosen, of rejected); rowWeights[r] = the derivative of its pair's loss by the row's ce, 0 in no pair.
   */
  preferenceLoss: {
    operands: [
      read('losses', 'f32'),
      read('pairs', 'i32'),
      read('reference', 'f32'),
      write('results', 'f32'),
      write('rowWeights', 'f32'),
    ],
    ints: ['rows', 'pairCount', 'kind'],
    floats: ['beta', 'labelSmoothing'],
  },
  /** norms = (2-norm of x, factor that brings it to at most maxNorm (1 if it is, as torch's clip_grad_norm_), 1 if it is not finite else 0) */
  globalNorm: { operands: [read('x', 'f32'), write('norms', 'f32')], ints: ['count'], floats: ['maxNorm'] },
  /**
   * One AdamW step (Loshchilov and Hutter 2019, as torch.optim.AdamW) of `count` parameters with grad * norms[1]; then grad = 0.
   * schedule = (learning rate, 1 - beta1^t, 1 - beta2^t). With norms[2] not 0 nothing changes but grad.
   */
  adamw: {
    operands: [
      update('parameters', 'f32'),
      update('grad', 'f32'),
      update('firstMoment', 'f32'),
      update('secondMoment', 'f32'),
      read('norms', 'f32'),
      read('schedule', 'f32'),
    ],
    ints: ['count'],
    floats: ['beta1', 'beta2', 'eps', 'weightDecay'],
  },
} as const satisfies Record<string, OpSpec>;

export type OpName = keyof typeof opTable;

/** The names that an op's operands, sizes and constants have in the table. */
export type OperandName<Op extends OpName> = (typeof opTable)[Op]['operands'][number]['name'];
export type SizeName<Op extends OpName> = (typeof opTable)[Op]['ints'][number];
export type ConstantName<Op extends OpName> = (typeof opTable)[Op]['floats'][number];

export const opNames = Object.keys(opTable) as OpName[];

/** An operand that may lie where the op writes, in the same buffer: read there first, element by element; if an operand is `rows`. */
export const mayLieIn: Partial<Record<OpName, { readonly operand: string; readonly result: string; readonly rows?: string }>> = {
  linear: { operand: 'residual', result: 'out', rows: 'weight' },
  linearInputGrad: { operand: 'residual', result: 'dx' },
};

export function opSpec(name: OpName): OpSpec {
  return opTable[name];
}

/** FNV-1a over the table's text: changes with any op, operand, access, size or constant, and with their order. */
export const abiHash: string = hashText(JSON.stringify(opTable));

function hashText(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, '0');
}
