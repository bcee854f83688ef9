// A Linear: x -> x weight^T (+ residual), whatever the weight is stored in, and the embedding that begins a model. The model only
// knows these interfaces, so a quantized, LoRA or DoRA layer takes their place without the model noticing. No biases: OpenELM has none.

import type { DeviceBuffer, Dim } from '../tensor/backend.js';
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

export interface Embedding {
  /** ids: i32 [>= rows] -> [rows, modelDim] */
  forward(ops: Ops, ids: DeviceBuffer, rows: Dim): Tensor;
}

/** A table [vocabSize, modelDim]. */
export function plainEmbedding(table: DeviceBuffer): Embedding {
  return { forward: (ops, ids, rows) => ops.embedding(table, ids, rows) };
}
