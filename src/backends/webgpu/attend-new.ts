// Planner of a single row's way from the norm before attention to shares of it, by one dispatch (attendNew.wgsl): each workgroup makes the heads that
// it needs, so that no product of all heads is waited for. Which records these are is fuse.ts's; the shares are put together by the
// product behind (matmul.ts).

import { alignment } from '../../tensor/plan.js';
import {
  type AttentionShares,
  cacheBindings,
  cacheOf,
  headSizes,
  headTables,
  memoryOf,
  mostSplits,
  sharesIn,
  sizes,
  tables,
} from './attention.js';
import type { DeviceTraits, Dispatch, OpCall, Operand } from './dispatch.js';
import { isAligned } from './layout.js';
import { headProduct, type Product } from './matmul.js';
import { read, written } from './planning.js';

/** Storage buffers of attendNew.wgsl: the work space, the norm, the weight and its scales, both norms of heads, rotations, params, keys and values. */
const fewestBuffers = 9;
/** Keys that are worth another share, each of which makes its query again. */
const leastKeysOfNew = 256;

/**
 * Attention of a single row from before the product that makes its heads, whose shares are not yet put together. Undefined where the kernel does not
 * fit the sizes or the device.
 */
export function attendNew(
  product: Product,
  before: OpCall<'qkNormRope'>,
  call: OpCall<'attention'>,
): { dispatch: Dispatch; shares: AttentionShares } | undefined {
  const { device } = call;
  const { constants, keys, values } = cacheOf(call);
  const { query_heads, head_dim } = constants;
  const buffers = fewestBuffers + (lieTogether(keys, values, device) ? 0 : 1);
  if (device.storageBuffers < buffers || head_dim % 8 || head_dim > 256 || call.maybe('logsumexp')) return undefined;
  const made = headProduct(product, head_dim);
  const bytes = made && made.workgroupBytes + memoryOf(1, head_dim / 4, 1, true, 256) + 12 * head_dim;
  if (!bytes || bytes > device.workgroupBytes || !isAligned(call.operand('out'), 'vec4f')) return undefined;
  const parts = call.scratch(4 * query_heads * mostSplits * (head_dim + 4));
  const attend = { splits: mostSplits, least_keys: leastKeysOfNew, most_rows: 1, queries: 1, batch: 1 };
  const dispatch: Dispatch = {
    shader: 'attendNew',
    constants: { ...made.constants, ...constants, ...attend },
    bindings: {
      ...made.bindings,
      query: read(null, 'vec4f'),
      ...headTables(before),
      ...cacheBindings(keys, values, true),
      ...tables(call),
      out: written(parts, 'vec4f'),
      logsumexp: written(null),
    },
    uniforms: { ...made.uniforms, ...sizes(call), ...headSizes(before), quads: head_dim / 4 },
    workgroups: (size) => [size(call.size('rows')) * query_heads * mostSplits, 1, 1],
  };
  return { dispatch, shares: sharesIn(parts, 1, query_heads, head_dim) };
}

/** Whether a device that is short of buffers can bind both as one. */
function lieTogether(keys: Operand, values: Operand, { bindingBytes }: DeviceTraits): boolean {
  const buffersOf = ({ memory }: Operand) => (memory.kind === 'persistent' ? memory.buffers : []);
  const [[first, ...more], [other]] = [buffersOf(keys), buffersOf(values)];
  return first === other && more.length === 0 && values.offset + values.bytes - keys.offset <= bindingBytes - alignment;
}
