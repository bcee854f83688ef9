// Planners of attention and of what comes before it: heads normed, rotated and put into the cache.

import type { DType } from '../tensor/backend.js';
import type { OpCall, Operand, Planners } from './webgpu-dispatch.js';
import { read, updated, written } from './webgpu-planning.js';

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
    const { constants, keys, values } = cacheOf(call);
    return [
      {
        shader: 'attentionPlain',
        constants,
        bindings: {
          query: read(call.operand('query')),
          keys: read(keys, 'u32'),
          values: read(values, 'u32'),
          sequences: read(call.operand('sequences'), 'i32'),
          segments: read(call.operand('segments'), 'i32'),
          out: written(call.operand('out')),
          logsumexp: written(call.maybe('logsumexp')),
        },
        uniforms: {
          rows: call.size('rows'),
          sequence_count: call.size('sequenceCount'),
          segment_count: call.size('segmentCount'),
          cache_rows: call.size('cacheRows'),
          scale: { f32: call.constant('scale') },
        },
        workgroups: (size) => [size(call.size('rows')) * constants.query_heads, 1, 1],
      },
    ];
  },
};

function cacheOf(call: OpCall<CacheOp>): {
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
