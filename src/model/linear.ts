// A Linear: x -> x weight^T (+ residual), whatever the weight is stored in. The model only knows this interface, so a
// quantized, LoRA or DoRA layer takes a Linear's place without the model noticing. No biases: OpenELM has none.

import type { DeviceBuffer } from '../tensor/backend.js';
import type { Ops, Tensor } from '../tensor/ops.js';

export interface LinearOptions {
  /** [rows, outputs], added to the product. */
  readonly residual?: Tensor;
  /** Where the result goes instead of a new arena buffer: f32 [>= rows, outputs]. */
  readonly into?: DeviceBuffer;
}

export interface Linear {
  readonly inputs: number;
  readonly outputs: number;
  /** [outputs, inputs]: of what is adapted, the base's. */
  readonly weight: DeviceBuffer;
  /** x: [rows, inputs] -> [rows, outputs] */
  forward(ops: Ops, x: Tensor, options?: LinearOptions): Tensor;
}

/** A plain or quantized weight [outputs, inputs]; `int8`: quantized weights meet activations quantized on the fly. */
export function plainLinear(weight: DeviceBuffer, int8: boolean): Linear {
  const [outputs, inputs] = weight.shape;
  return { inputs, outputs, weight, forward: (ops, x, options) => ops.linear(x, weight, { ...options, int8 }) };
}
