// Planners of derivatives, of what adapters add and of the optimizer: from a record to dispatches. Products of matrices are
// products.ts, the loss is cross-entropy.ts, attention's derivative attention-gradient.ts. How each computes
// is its shader's, what it computes the op table's.

import type { Dim } from '../../tensor/backend.js';
import { maxOf } from '../../tensor/plan.js';
import { planAttentionGrad } from './attention-gradient.js';
import { planCrossEntropy } from './cross-entropy.js';
import type { Dispatch, OpCall, Planner, Planners, Slice } from './dispatch.js';
import { lanes, perElement, perRow, read, updated, written } from './planning.js';
import { partOf, product, rangesOf, whole } from './products.js';
import { blocksOfWeight } from './weight-rows.js';
import { weightOfRows } from './weights.js';

/** Blocks of rows that sums over columns are cut into. */
const blockRows = (rows: number, least: number): number => Math.max(least, 4 * Math.ceil(rows / 256));

/** out[c] (+)= the sum of parts[i][c], `blockLines` lines for every block of rows. */
function totalsOf(
  rows: Dim,
  parts: Slice,
  out: Slice,
  { columns, blockRows, blockLines, accumulate }: { columns: number; blockRows: number; blockLines: number; accumulate: boolean },
): Dispatch {
  return {
    shader: 'columnTotals',
    constants: { accumulate },
    bindings: { parts: read(parts), out: accumulate ? updated(out) : written(out) },
    uniforms: { rows, columns, block_rows: blockRows, block_lines: blockLines },
    workgroups: () => [Math.ceil(columns / 8), 1, 1],
  };
}

/** out[c] (+)= the sum over rows of a[r][c] b[r][c] (factors[r]). */
function columnSums(
  call: Pick<OpCall, 'scratch'>,
  { rows, columns, a, b, factors, out, accumulate }: ColumnSums,
): readonly Dispatch[] {
  const each = blockRows(maxOf(rows), 8);
  const parts = call.scratch(4 * Math.ceil(maxOf(rows) / each) * columns);
  return [
    {
      shader: 'columnSums',
      bindings: { a: read(a), b: read(b), factors: read(factors), parts: written(parts) },
      uniforms: { rows, columns, block_rows: each },
      workgroups: (now) => [Math.ceil(columns / 64), Math.ceil(now(rows) / each), 1],
    },
    totalsOf(rows, parts, out, { columns, blockRows: each, blockLines: 1, accumulate }),
  ];
}

interface ColumnSums {
  readonly rows: Dim;
  readonly columns: number;
  readonly a: Slice;
  readonly b: Slice;
  readonly factors: Slice | null;
  readonly out: Slice;
  readonly accumulate: boolean;
}

const planEmbeddingGrad: Planner<'embeddingGrad'> = (call) => {
  const [rows, columns] = [call.size('rows'), call.fixed('columns')];
  const table = weightOfRows(call.operand('tableGrad'), call.device.bindingBytes);
  return table.parts.map((part) => ({
    shader: 'embeddingGrad',
    bindings: {
      dout: read(call.operand('dout')),
      ids: read(call.operand('ids'), 'i32'),
      table_grad: updated(part.codes),
    },
    uniforms: {
      ...{ rows, columns, table_rows: call.size('tableRows'), skip: call.size('skip') },
      ...{ first_row: part.firstRow, part_rows: part.rows },
    },
    workgroups: (now) => [now(rows), Math.ceil(columns / 256), 1],
  }));
};

const planRmsNormGrad: Planner<'rmsNormGrad'> = (call) => {
  const [rows, columns] = [call.size('rows'), call.fixed('columns')];
  const [x, dout, weightGrad] = [call.operand('x'), call.operand('dout'), call.maybe('weightGrad')];
  const inverse = weightGrad && call.scratch(4 * maxOf(rows));
  const grad = perRow({
    shader: 'rmsNormGrad',
    bindings: {
      ...{ x: read(x), weight: read(call.operand('weight')), dout: read(dout), residual: read(call.maybe('residual')) },
      ...{ dx: written(call.operand('dx')), inverse: written(inverse) },
    },
    uniforms: { rows, columns, eps: { f32: call.constant('eps') } },
  });
  if (!weightGrad || !inverse) return [grad];
  return [grad, ...columnSums(call, { rows, columns, a: x, b: dout, factors: inverse, out: weightGrad, accumulate: true })];
};

const planLinearInputGrad: Planner<'linearInputGrad'> = (call) => {
  const [rows, inputs, outputs] = [call.size('rows'), call.fixed('inputs'), call.fixed('outputs')];
  const [dout, dx] = [call.operand('dout'), call.operand('dx')];
  return blocksOfWeight(call, call.weight('weight')).flatMap(({ decode, lines, firstRow, rows: some }, i) => [
    ...decode,
    ...product(call, {
      a: { slice: partOf(dout, firstRow, maxOf(rows) * outputs - firstRow), stride: outputs, inner: true },
      b: { ...lines, inner: false },
      c: { slice: dx, stride: inputs },
      residual: i === 0 ? call.maybe('residual') : null,
      accumulate: i > 0,
      ...{ m: whole(rows), n: inputs, k: whole(some) },
    }),
  ]);
};

const planLinearWeightGrad: Planner<'linearWeightGrad'> = (call) => {
  const [rows, inputs, outputs] = [call.size('rows'), call.fixed('inputs'), call.fixed('outputs')];
  const [dout, x] = [call.operand('dout'), call.operand('x')];
  const grad = weightOfRows(call.operand('weightGrad'), call.device.bindingBytes);
  return grad.parts.flatMap((part) =>
    product(call, {
      a: { slice: partOf(dout, part.firstRow, maxOf(rows) * outputs - part.firstRow), stride: outputs, inner: false },
      b: { slice: x, stride: inputs, inner: false },
      c: { slice: part.codes, stride: inputs },
      accumulate: true,
      ...{ m: whole(part.rows), n: inputs, k: whole(rows) },
    }),
  );
};

const planQkNormRopeGrad: Planner<'qkNormRopeGrad'> = (call) => {
  const rows = call.size('rows');
  const [queryHeads, kvHeads, headDim] = [call.fixed('queryHeads'), call.fixed('kvHeads'), call.fixed('headDim')];
  const each = blockRows(maxOf(rows), 16);
  const blocks = Math.ceil(maxOf(rows) / each);
  const kinds = [
    { heads: queryHeads, first: 0, dhead: 'dquery', norm: 'queryNorm', grad: 'queryNormGrad' },
    { heads: kvHeads, first: queryHeads, dhead: 'dkeys', norm: 'keyNorm', grad: 'keyNormGrad' },
    { heads: kvHeads, first: queryHeads + kvHeads, dhead: 'dvalues', norm: undefined, grad: undefined },
  ] as const;
  return kinds.flatMap(({ heads, first, dhead, norm, grad: gradName }, kind): Dispatch[] => {
    const grad = gradName ? call.maybe(gradName) : null;
    const parts = grad && call.scratch(4 * blocks * heads * 4 * headDim);
    const turned: Dispatch = {
      shader: 'qkNormRopeGrad',
      constants: { kind, heads, head_dim: headDim },
      bindings: {
        ...{ qkv: read(call.operand('qkv')), norm: read(norm ? call.maybe(norm) : null), rope: read(call.operand('rope')) },
        ...{ positions: read(call.operand('positions'), 'i32'), kv_rows: read(call.operand('kvRows'), 'i32') },
        ...{ dhead: read(call.operand(dhead)), dqkv: written(call.operand('dqkv')), parts: written(parts) },
      },
      uniforms: {
        ...{ rows, block_rows: each, first_head: first, width: (queryHeads + 2 * kvHeads) * headDim },
        ...{ rope_rows: call.size('ropeRows'), cache_rows: call.size('cacheRows'), eps: { f32: call.constant('eps') } },
      },
      workgroups: (now) => [heads, Math.ceil(now(rows) / each), 1],
    };
    if (!parts || !grad) return [turned];
    return [turned, totalsOf(rows, parts, grad, { columns: headDim, blockRows: each, blockLines: heads * 4, accumulate: true })];
  });
};

const planActivationGrad =
  (gated: boolean): Planner<'swigluGrad' | 'siluGrad'> =>
  (call) => [
    perElement({
      shader: 'swigluGrad',
      constants: { gated },
      bindings: { x: updated(call.operand('x')), dout: read(call.operand('dout')) },
      uniforms: { rows: call.size('rows'), columns: call.fixed('columns') },
    }),
  ];

const planDropout: Planner<'dropout'> = (call) => {
  const [rows, columns, rate] = [call.size('rows'), call.fixed('columns'), call.constant('rate')];
  return [
    {
      shader: 'dropout',
      bindings: { x: read(call.operand('x')), residual: read(call.maybe('residual')), out: written(call.operand('out')) },
      uniforms: {
        ...{ rows, columns, op: call.size('op'), draw: call.size('draw'), seed: call.size('seed') },
        ...{ threshold: Math.floor(rate * 2 ** 32), factor: { f32: 1 / (1 - rate) } },
      },
      workgroups: (now) => [Math.ceil((now(rows) * columns) / 1024), 1, 1],
    },
  ];
};

function scaled(
  { rows, columns, groups }: { rows: Dim; columns: number; groups: number },
  bindings: { x: Slice; table: Slice; ids: Slice | null; residual: Slice | null; out: Slice },
): Dispatch {
  const { x, table, ids, residual, out } = bindings;
  return perElement({
    shader: 'scaleColumns',
    bindings: { x: read(x), table: read(table), ids: read(ids, 'i32'), residual: read(residual), out: written(out) },
    uniforms: { rows, columns, groups },
  });
}

const planScaleColumns: Planner<'scaleColumns'> = (call) => [
  scaled(
    { rows: call.size('rows'), columns: call.fixed('columns'), groups: call.fixed('groups') },
    {
      ...{ x: call.operand('x'), table: call.operand('table'), ids: call.maybe('ids') },
      ...{ residual: call.maybe('residual'), out: call.operand('out') },
    },
  ),
];

const planScaleColumnsGrad: Planner<'scaleColumnsGrad'> = (call) => {
  const sizes = { rows: call.size('rows'), columns: call.fixed('columns'), groups: call.fixed('groups') };
  const [dout, x, tableGrad] = [call.operand('dout'), call.maybe('x'), call.maybe('tableGrad')];
  const dx = scaled(sizes, {
    ...{ x: dout, table: call.operand('table'), ids: call.maybe('ids') },
    ...{ residual: call.maybe('residual'), out: call.operand('dx') },
  });
  if (!x || !tableGrad) return [dx];
  return [dx, ...columnSums(call, { ...sizes, a: dout, b: x, factors: null, out: tableGrad, accumulate: false })];
};

const planPackInt16: Planner<'packInt16'> = (call) => {
  const [rows, columns] = [call.size('rows'), call.fixed('columns')];
  return [
    {
      shader: 'packInt16',
      bindings: { x: read(call.operand('x')), packed: written(call.operand('packed'), 'u32') },
      uniforms: { rows, columns },
      workgroups: (now) => [Math.ceil((now(rows) * Math.ceil(columns / 64)) / lanes), 1, 1],
    },
  ];
};

const planUnpackInt16: Planner<'unpackInt16'> = (call) => [
  perElement({
    shader: 'unpackInt16',
    bindings: { packed: read(call.operand('packed'), 'u32'), out: written(call.operand('out')) },
    uniforms: { rows: call.size('rows'), columns: call.fixed('columns') },
  }),
];

const planDoraFactors: Planner<'doraFactors'> = (call) => {
  const [inputs, rank] = [call.fixed('inputs'), call.fixed('rank')];
  return blocksOfWeight(call, call.weight('weight')).flatMap(({ decode, lines, firstRow, rows }): Dispatch[] => [
    ...decode,
    {
      shader: 'doraFactors',
      bindings: {
        ...{ weight: read(lines.slice), a: read(call.operand('a')), b: read(call.operand('b')) },
        ...{
          magnitude: read(call.operand('magnitude')),
          norms: written(call.operand('norms')),
          out: written(call.operand('out')),
        },
      },
      uniforms: {
        ...{ first_row: firstRow, part_rows: rows, stride: lines.stride, inputs, rank },
        scaling: { f32: call.constant('scaling') },
      },
      workgroups: () => [rows, 1, 1],
    },
  ]);
};

const planDoraFactorsGrad: Planner<'doraFactorsGrad'> = (call) => {
  const count = call.fixed('outputs');
  return [
    {
      shader: 'quotients',
      bindings: { x: read(call.operand('dout')), by: read(call.operand('norms')), out: updated(call.operand('magnitudeGrad')) },
      uniforms: { count },
      workgroups: () => [Math.ceil(count / 64), 1, 1],
    },
  ];
};

const planPreferenceLoss: Planner<'preferenceLoss'> = (call) => {
  const [rows, pairs] = [call.size('rows'), call.size('pairCount')];
  const part = (clears: boolean): Omit<Dispatch, 'workgroups'> => ({
    shader: 'preferenceLoss',
    constants: { clears },
    bindings: {
      ...{ losses: read(call.operand('losses')), pairs: read(call.operand('pairs'), 'i32') },
      ...{ reference: read(call.operand('reference')), results: written(call.operand('results')) },
      row_weights: written(call.operand('rowWeights')),
    },
    uniforms: {
      ...{ rows, pair_count: pairs, kind: call.size('kind'), beta: { f32: call.constant('beta') } },
      label_smoothing: { f32: call.constant('labelSmoothing') },
    },
  });
  return [
    { ...part(true), workgroups: (now) => [Math.ceil(now(rows) / lanes), 1, 1] },
    { ...part(false), workgroups: (now) => [now(pairs), 1, 1] },
  ];
};

/** Workgroups that sum a range: each leaves a part. */
const normGroups = 1024;

const planGlobalNorm: Planner<'globalNorm'> = (call) => {
  const x = call.operand('x');
  const ranges = rangesOf(call.fixed('count'), [x], call.device);
  const groups = ranges.map(({ count }) => Math.min(normGroups, Math.ceil(count / 256)));
  const firsts = groups.map((_, i) => groups.slice(0, i).reduce((a, b) => a + b, 0));
  const total = groups.reduce((a, b) => a + b, 0);
  const parts = call.scratch(16 * total);
  const norms = call.operand('norms');
  const max_norm = { f32: call.constant('maxNorm') };
  return [
    ...ranges.map(
      ({ first, count }, i): Dispatch => ({
        shader: 'globalNorm',
        constants: { last: false },
        bindings: {
          x: read(partOf(x, first, count)),
          parts: written(partOf(parts, 4 * firsts[i], 4 * groups[i]), 'vec4u'),
          norms: written(null),
        },
        uniforms: { count, max_norm },
        workgroups: () => [groups[i], 1, 1],
      }),
    ),
    {
      shader: 'globalNorm',
      constants: { last: true },
      bindings: { x: read(null), parts: updated(parts, 'vec4u'), norms: written(norms) },
      uniforms: { count: total, max_norm },
      workgroups: () => [1, 1, 1],
    },
  ];
};

const planAdamw: Planner<'adamw'> = (call) => {
  const names = ['parameters', 'grad', 'firstMoment', 'secondMoment'] as const;
  const f32 = (name: 'beta1' | 'beta2' | 'eps' | 'weightDecay') => ({ f32: call.constant(name) });
  const operands = names.map((name) => call.operand(name));
  return rangesOf(call.fixed('count'), operands, call.device).map(({ first, count }) => {
    const [parameters, grad, first_moment, second_moment] = operands.map((each) => updated(partOf(each, first, count)));
    return {
      shader: 'adamw',
      bindings: {
        ...{ parameters, grad, first_moment, second_moment },
        ...{ norms: read(call.operand('norms')), schedule: read(call.operand('schedule')) },
      },
      uniforms: { count, beta1: f32('beta1'), beta2: f32('beta2'), eps: f32('eps'), weight_decay: f32('weightDecay') },
      workgroups: () => [Math.ceil(count / lanes), 1, 1],
    };
  });
};

export const gradientPlanners = {
  embeddingGrad: planEmbeddingGrad,
  rmsNormGrad: planRmsNormGrad,
  linearInputGrad: planLinearInputGrad,
  linearWeightGrad: planLinearWeightGrad,
  qkNormRopeGrad: planQkNormRopeGrad,
  attentionGrad: planAttentionGrad,
  swigluGrad: planActivationGrad(true),
  siluGrad: planActivationGrad(false),
  dropout: planDropout,
  scaleColumns: planScaleColumns,
  scaleColumnsGrad: planScaleColumnsGrad,
  packInt16: planPackInt16,
  unpackInt16: planUnpackInt16,
  doraFactors: planDoraFactors,
  doraFactorsGrad: planDoraFactorsGrad,
  crossEntropy: planCrossEntropy,
  preferenceLoss: planPreferenceLoss,
  globalNorm: planGlobalNorm,
  adamw: planAdamw,
} satisfies Planners;
