// Planners of attention and of what comes before it: heads normed, rotated and put into the cache.

import type { DType } from '../../tensor/backend.js';
import { maxOf } from '../../tensor/plan.js';
import type { Dispatch, OpCall, Operand, Planners, Slice } from './dispatch.js';
import { isAligned } from './layout.js';
import { read, updated, written } from './planning.js';

/** `cache_type` in shaders. */
const cacheTypes: Partial<Record<DType, number>> = { f32: 0, f16: 1, i32: 2 };

type CacheOp = 'qkNormRope' | 'attention';

export const attentionPlanners: Planners = {
  qkNormRope(call) {
    const { constants, keys, values } = cacheOf(call);
    const heads = constants.query_heads + 2 * constants.kv_heads;
    return [
      {
        shader: 'qkNormRope',
        constants,
        bindings: {
          qkv: read(call.operand('qkv')),
          queryNorm: read(call.maybe('queryNorm')),
          keyNorm: read(call.maybe('keyNorm')),
          rope: read(call.operand('rope')),
          positions: read(call.operand('positions'), 'i32'),
          kvRows: read(call.operand('kvRows'), 'i32'),
          query: written(call.operand('query')),
          keys: updated(keys, 'u32'),
          values: updated(values, 'u32'),
        },
        uniforms: {
          rows: call.size('rows'),
          cache_rows: call.size('cacheRows'),
          rope_rows: call.size('ropeRows'),
          eps: { f32: call.constant('eps') },
        },
        workgroups: (size) => [size(call.size('rows')) * heads, 1, 1],
      },
    ];
  },

  attention(call) {
    return planAttention(call) ?? [plainAttention(call)];
  },
};

/** Keys and values are read again by every row and head. */
function plainAttention(call: OpCall<'attention'>): Dispatch {
  const { constants, keys, values } = cacheOf(call);
  return {
    shader: 'attentionPlain',
    constants,
    bindings: {
      query: read(call.operand('query')),
      keys: read(keys, 'u32'),
      values: read(values, 'u32'),
      ...tables(call),
      out: written(call.operand('out')),
      logsumexp: written(call.maybe('logsumexp')),
    },
    uniforms: sizes(call),
    workgroups: (size) => [size(call.size('rows')) * constants.query_heads, 1, 1],
  };
}

/** Rows that attention.wgsl takes, of a program and of one sequence among others; and shares of the keys of one. */
const fewRows = 16;
const fewOfSequence = 8;
export const mostSplits = 8;
/** Dims of a head that attentionRows.wgsl has room for. */
const largestHead = 128;

/**
 * Attention of heads that share keys; with `before` also what makes a single row's heads. Undefined where the kernels do not fit the sizes.
 */
export function planAttention(call: OpCall<'attention'>, before?: OpCall<'qkNormRope'>): Dispatch[] | undefined {
  const split = splitAttention(call, before);
  if (!split) return undefined;
  const rows = call.size('rows');
  if (maxOf(rows) > fewRows && call.fixed('headDim') <= largestHead) {
    // Sequences that give a row or few each share no keys among their rows.
    const both = maxOf(call.size('sequenceCount')) > 1 && !call.maybe('logsumexp');
    return both ? [attentionOfRows(call, fewOfSequence), split.dispatch] : [attentionOfRows(call, 0)];
  }
  if (!split.shares) return [split.dispatch];
  const { x, splits, headDim, heads } = split.shares;
  const join: Dispatch = {
    shader: 'attentionJoin',
    constants: { splits, head_dim: headDim },
    bindings: { parts: read(x, 'vec4f'), out: written(call.operand('out'), 'vec4f') },
    uniforms: { rows, heads },
    workgroups: (size) => [Math.ceil((size(rows) * heads * headDim) / 256), 1, 1],
  };
  return [split.dispatch, join];
}

/** Blocks of 32 rows, of sequences that have more than `few`. */
function attentionOfRows(call: OpCall<'attention'>, few: number): Dispatch {
  const { constants, keys, values } = cacheOf(call);
  const [rows, sequenceCount] = [call.size('rows'), call.size('sequenceCount')];
  return {
    shader: 'attentionRows',
    constants: { ...constants, few },
    bindings: {
      query: read(call.operand('query'), 'vec4f'),
      keys: read(keys, 'u32'),
      values: read(values, 'u32'),
      ...tables(call),
      out: written(call.operand('out'), 'vec4f'),
      logsumexp: written(call.maybe('logsumexp')),
    },
    uniforms: { ...sizes(call), lines: 32, parts: 8, steps: Math.ceil(constants.head_dim / 16), step_quads: 4 },
    workgroups: (size) => [Math.floor(size(rows) / 32) + size(sequenceCount), constants.query_heads, 1],
  };
}

/** Results of shares of the keys, to be put together (attentionJoin.wgsl). */
export interface AttentionShares {
  /** Sums, f32 [rows, heads, splits, headDim]; behind them [rows, heads, splits, 4]: largest score, sum of weights, 0, 0. */
  readonly x: Operand;
  readonly splits: number;
  readonly heads: number;
  readonly headDim: number;
}

/** Attention of few rows each, the shares of the keys not yet put together where there are any. */
export function splitAttention(
  call: OpCall<'attention'>,
  before?: OpCall<'qkNormRope'>,
): { dispatch: Dispatch; shares?: AttentionShares } | undefined {
  const { constants, keys, values } = cacheOf(call);
  const { query_heads, kv_heads, head_dim } = constants;
  const rows = call.size('rows');
  const out = call.operand('out');
  const made = before ? before.operand('qkv') : call.operand('query');
  if (call.device.plain || head_dim % 8 || head_dim > 256 || query_heads / kv_heads > 16) return undefined;
  if (![made, out].every((operand) => isAligned(operand, 'vec4f'))) return undefined;
  const few = maxOf(rows) <= fewRows;
  const splits = few && !call.maybe('logsumexp') ? mostSplits : 1;
  let batch = 4;
  const bytes = (): number => memoryOf(query_heads / kv_heads, head_dim / 4, batch, before !== undefined);
  while (batch > 1 && bytes() > call.device.workgroupBytes) batch /= 2;
  if (bytes() > call.device.workgroupBytes) return undefined;
  const heads = maxOf(rows) * query_heads;
  const parts = splits > 1 ? call.scratch(4 * heads * splits * (head_dim + 4)) : undefined;
  const most_rows = few || head_dim > largestHead ? maxOf(rows) : fewOfSequence;
  const dispatch: Dispatch = {
    shader: 'attention',
    constants: { ...constants, splits, least_keys: 64, most_rows, size: 128, queries: query_heads / kv_heads, batch },
    bindings: {
      query: read(before ? null : made, 'vec4f'),
      qkv: read(before ? before.operand('qkv') : null, 'vec4f'),
      ...headTables(before),
      ...cacheBindings(keys, values, before !== undefined),
      ...tables(call),
      out: written(parts ?? out, 'vec4f'),
      logsumexp: written(call.maybe('logsumexp')),
    },
    uniforms: { ...sizes(call), ...headSizes(before), quads: head_dim / 4 },
    workgroups: (size) => [kv_heads * splits, size(rows), 1],
  };
  if (!parts) return { dispatch };
  return { dispatch, shares: sharesIn(parts, maxOf(rows), query_heads, head_dim) };
}

export function sharesIn(parts: Slice, rows: number, heads: number, headDim: number): AttentionShares {
  const x: Operand = { ...parts, dtype: 'f32', shape: [rows, heads * mostSplits * (headDim + 4)] };
  return { x, splits: mostSplits, heads, headDim };
}

/** Bytes of workgroup memory of attention.wgsl. */
export function memoryOf(queries: number, quads: number, batch: number, makes: boolean, size = 128): number {
  const [tile, sums] = [(queries + 2) * 4 * size, batch * 16 * size + 4 * queries * Math.floor(size / quads)];
  return 64 + 8 * queries + 16 * queries * quads + tile + sums + (makes ? (queries + 2) * quads * 24 : 24);
}

export function headTables(before: OpCall<'qkNormRope'> | undefined) {
  return {
    queryNorm: read(before ? before.maybe('queryNorm') : null, 'vec4f'),
    keyNorm: read(before ? before.maybe('keyNorm') : null, 'vec4f'),
    rope: read(before ? before.operand('rope') : null, 'vec4f'),
    positions: read(before ? before.operand('positions') : null, 'i32'),
    kvRows: read(before ? before.operand('kvRows') : null, 'i32'),
  } as const;
}

export function headSizes(before: OpCall<'qkNormRope'> | undefined) {
  return { rope_rows: before ? before.size('ropeRows') : 0, head_eps: { f32: before ? before.constant('eps') : 0 } } as const;
}

export function cacheBindings(keys: Operand, values: Operand, makes: boolean) {
  return {
    keys: read(keys, 'u32'),
    values: read(values, 'u32'),
    new_keys: updated(makes ? keys : null, 'u32'),
    new_values: updated(makes ? values : null, 'u32'),
  } as const;
}

export function tables(call: OpCall<'attention'>) {
  return {
    sequences: read(call.operand('sequences'), 'i32'),
    segments: read(call.operand('segments'), 'i32'),
  } as const;
}

export function sizes(call: OpCall<'attention'>) {
  return {
    rows: call.size('rows'),
    sequence_count: call.size('sequenceCount'),
    segment_count: call.size('segmentCount'),
    cache_rows: call.size('cacheRows'),
    scale: { f32: call.constant('scale') },
  } as const;
}

export function cacheOf(call: OpCall<CacheOp>): {
  constants: { query_heads: number; kv_heads: number; head_dim: number; cache_type: number };
  keys: Operand;
  values: Operand;
} {
  const keys = call.operand('keys');
  return {
    constants: {
      query_heads: call.fixed('queryHeads'),
      kv_heads: call.fixed('kvHeads'),
      head_dim: call.fixed('headDim'),
      cache_type: cacheTypes[keys.dtype]!,
    },
    keys,
    values: call.operand('values'),
  };
}
