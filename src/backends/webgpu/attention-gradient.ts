// The planner of attention's derivative: dout . out of every row and head, then queries' gradients by blocks of rows, keys' and
// values' by blocks of cache rows, each query head a part of its own, and the parts' sums. No atomics: who writes reads all it needs.

import { InputError } from '../../errors.js';
import { maxOf } from '../../tensor/plan.js';
import type { Dispatch, Planner } from './dispatch.js';
import { read, written } from './planning.js';
import { partOf, sumOf, whole } from './products.js';

/** Rows, and keys, of a block: what the shaders have in their tiles. */
const block = 32;
/** Dims of a head that the shaders' sums have room for. */
const largestHead = 128;

export const planAttentionGrad: Planner<'attentionGrad'> = (call) => {
  const [rows, sequenceCount, segmentCount] = [call.size('rows'), call.size('sequenceCount'), call.size('segmentCount')];
  const [queryHeads, kvHeads, headDim] = [call.fixed('queryHeads'), call.fixed('kvHeads'), call.fixed('headDim')];
  const cacheRows = call.fixed('cacheRows');
  if (headDim > largestHead || headDim % 2) {
    throw new InputError(
      `training on the webgpu backend takes heads of at most ${largestHead} dims, an even number, not ${headDim}`,
    );
  }
  const tables = { sequences: read(call.operand('sequences'), 'i32'), segments: read(call.operand('segments'), 'i32') };
  const sizes = {
    ...{ rows, sequence_count: sequenceCount, segment_count: segmentCount, cache_rows: cacheRows },
    ...{ query_heads: queryHeads, kv_heads: kvHeads, head_dim: headDim, lines: block, quads: 4 },
    scale: { f32: call.constant('scale') },
  };
  const stats = call.scratch(8 * maxOf(rows) * queryHeads);
  const element = kvHeads * headDim;
  const partElements = queryHeads * cacheRows * headDim;
  const parts = call.scratch(2 * 4 * partElements);
  const constants = { dims: Math.ceil(headDim / 32) };
  const inputs = {
    query: read(call.operand('query'), 'vec2f'),
    dout: read(call.operand('dout'), 'vec2f'),
    keys: read(call.operand('keys'), 'vec2f'),
    values: read(call.operand('values'), 'vec2f'),
    stats: read(stats, 'vec2f'),
  };
  const summed = (i: number, name: 'dkeys' | 'dvalues'): Dispatch =>
    sumOf({
      parts: partOf(parts, i * partElements, partElements),
      splits: queryHeads / kvHeads,
      c: call.operand(name),
      ...{ m: whole(cacheRows), n: element },
    });
  return [
    {
      shader: 'attentionStats',
      bindings: {
        ...tables,
        out: read(call.operand('out')),
        dout: read(call.operand('dout')),
        logsumexp: read(call.operand('logsumexp')),
        stats: written(stats, 'vec2f'),
      },
      uniforms: sizes,
      workgroups: (now) => [Math.ceil(Math.max((now(rows) * queryHeads) / 8, now(sequenceCount) / 256)), 1, 1],
    },
    {
      shader: 'attentionQueryGrad',
      constants,
      bindings: { ...inputs, ...tables, dquery: written(call.operand('dquery'), 'vec2f') },
      uniforms: sizes,
      workgroups: (now) => [Math.floor(now(rows) / block) + now(sequenceCount), queryHeads, 1],
    },
    {
      shader: 'attentionKeyGrad',
      constants,
      bindings: { ...inputs, ...tables, parts: written(parts, 'vec2f') },
      uniforms: sizes,
      workgroups: () => [Math.ceil(cacheRows / block), queryHeads, 1],
    },
    summed(0, 'dkeys'),
    summed(1, 'dvalues'),
  ];
};
