// Planner of `linear`: products with weights of every type, in f32 or by 8-bit activations; the plain kernels are for sizes that those of
// matmul.ts do not take.

import { maxOf } from '../../tensor/plan.js';
import type { Dispatch, OpCall, Planners, Weight } from './dispatch.js';
import { fewRows, type Product, planProduct, quantizedRows } from './matmul.js';
import { perElement, read, written } from './planning.js';
import { partOf, product, whole } from './products.js';
import { weightAccess } from './weights.js';

export const linearPlanners: Planners = {
  linear(call) {
    const weight = call.weight('weight');
    if (call.buffer('weight')?.layout === 'rows' && call.most('rows') > fewRows && !call.device.plain)
      return trained(call, weight);
    const fast = planProduct(productOf(call));
    if (fast) return fast;
    const quantized = call.fixed('int8') && weight.group > 0 ? quantizedRows(productOf(call)) : undefined;
    const products = weight.parts.map((part): Dispatch => {
      const { bindings, constants, uniforms } = weightAccess(weight, part);
      const { codes, scales, groups } = quantized ?? {};
      return perElement({
        shader: quantized ? 'linearInt8Plain' : 'linearPlain',
        constants,
        enable: call.halves && !quantized ? ['f16'] : [],
        bindings: {
          ...bindings,
          x: quantized ? read(codes!, 'u32') : read(call.operand('x')),
          ...(quantized && { x_scales: read(scales!) }),
          residual: read(call.maybe('residual')),
          out: written(call.operand('out')),
        },
        uniforms: {
          ...uniforms,
          rows: call.size('rows'),
          columns: part.rows,
          inputs: call.fixed('inputs'),
          outputs: call.fixed('outputs'),
          first: part.firstRow,
          ...(quantized && { code_groups: groups! }),
        },
      });
    });
    return quantized ? [quantized.dispatch, ...products] : products;
  },
};

/** What matmul.ts takes. */
export function productOf(call: OpCall<'linear'>): Product {
  return {
    device: call.device,
    rows: call.size('rows'),
    x: call.operand('x'),
    weight: call.weight('weight'),
    residual: call.maybe('residual'),
    out: call.operand('out'),
    int8: call.fixed('int8') === 1,
    halves: call.halves,
    scratch: call.scratch,
  };
}

/** Products with f32 rows: what is trained, by the tiles of its derivatives. */
function trained(call: OpCall<'linear'>, { parts, columns, stride }: Weight): Dispatch[] {
  const [rows, outputs] = [call.size('rows'), call.fixed('outputs')];
  const [x, out, residual] = [call.operand('x'), call.operand('out'), call.maybe('residual')];
  return parts.flatMap(({ codes, firstRow, rows: some }) =>
    product(call, {
      a: { slice: x, stride: columns, inner: true },
      b: { slice: codes, stride, inner: true },
      c: { slice: partOf(out, firstRow, maxOf(rows) * outputs - firstRow), stride: outputs },
      residual: residual && partOf(residual, firstRow, maxOf(rows) * outputs - firstRow),
      ...{ m: whole(rows), n: some, k: whole(columns) },
    }),
  );
}
