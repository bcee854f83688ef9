// Weights as blocks of f32 rows that products can read: those that are f32 as they lie, others decoded into scratch memory, as many
// rows at a time as a bound allows.

import type { Dispatch, OpCall, Slice, Weight } from './dispatch.js';
import { perElement, written } from './planning.js';
import type { Lines } from './products.js';
import { partsOf, weightAccess } from './weights.js';

/** Of decoded rows, in bytes. */
const decodedBytes = 64 * 2 ** 20;

/** Rows [firstRow, firstRow + rows) of a weight, there once `decode` has run: the next block's may take their place. */
export interface WeightBlock {
  readonly firstRow: number;
  readonly rows: number;
  readonly lines: Lines;
  readonly decode: readonly Dispatch[];
}

export function blocksOfWeight(call: Pick<OpCall, 'device' | 'scratch'>, weight: Weight): readonly WeightBlock[] {
  const { dtype, columns, stride, parts } = weight;
  if (dtype === 'f32') {
    return parts.map(({ firstRow, rows, codes }) => ({ firstRow, rows, lines: { slice: codes, stride }, decode: [] }));
  }
  const width = 4 * Math.ceil(columns / 4);
  const blocks = parts.flatMap((part) => {
    const pieces = partsOf(part.rows, 4 * width, Math.min(decodedBytes, call.device.bindingBytes));
    return pieces.map(({ firstRow, rows }) => ({ part, first: firstRow, rows }));
  });
  const slice: Slice = call.scratch(4 * width * Math.max(...blocks.map(({ rows }) => rows)));
  return blocks.map(({ part, first, rows }) => {
    const { bindings, constants, uniforms } = weightAccess(weight, part);
    const decode = perElement({
      shader: 'weightRows',
      constants,
      bindings: { ...bindings, out: written(slice) },
      uniforms: { ...uniforms, rows, columns, width, first },
    });
    return { firstRow: part.firstRow + first, rows, lines: { slice, stride: width }, decode: [decode] };
  });
}
