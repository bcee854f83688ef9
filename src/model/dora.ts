// DoRA (Liu et al. 2024): the adapted weight's rows with lengths of their own, y = m / |W + s B A| (W x + s B A x), as PEFT computes it:
// the norms count as constants on the way back, and with dropout only what the adapter changes sees the dropped x. Around a
// LoRA layer's parts; what magnitudes and norms make together is either computed in the program (training) or a table by group.

import type { DeviceBuffer } from '../tensor/backend.js';
import type { Ops, Tensor } from '../tensor/ops.js';
import type { Linear, LinearOptions } from './linear.js';
import { addLowRank, type LowRank } from './lora.js';

/** Where m / |W + s B A| comes from: f32 [groups, outputs], or what it is computed from. */
export type Factors = { readonly table: DeviceBuffer } | { readonly magnitude: DeviceBuffer; readonly scaling: number };

export class DoraLinear implements Linear {
  readonly inputs: number;
  readonly outputs: number;
  readonly weight: DeviceBuffer;

  private constructor(
    private readonly base: Linear,
    private readonly low: LowRank,
    private readonly factors: Factors,
    /** f32 [1, outputs] of -1; needed with dropout. */
    private readonly minus?: DeviceBuffer,
  ) {
    ({ inputs: this.inputs, outputs: this.outputs, weight: this.weight } = base);
  }

  static fromBase(base: Linear, low: LowRank, factors: Factors, minus?: DeviceBuffer): DoraLinear {
    return new DoraLinear(base, low, factors, minus);
  }

  forward(ops: Ops, x: Tensor, { residual, into }: LinearOptions = {}): Tensor {
    const { base, factors } = this;
    const { dropout, ...low } = this.low;
    const table =
      'table' in factors ? factors.table : ops.doraFactors(this.weight, low.a, low.b, factors.magnitude, factors.scaling);
    const ids = low.groups?.of(x.rows);
    const dropped = dropout ? ops.dropout(x, dropout.rate, dropout.op) : x;
    const plain = base.forward(ops, dropped);
    // With dropout: base(x) + (m / norm - 1) W dropout(x) + m / norm s B A dropout(x). In this order, since on the way back a gradient
    // can be added where there is one already for what is scaled, not for what is added to.
    const rest =
      dropped === x ? residual : ops.scaleColumns(plain, this.minus!, { residual: base.forward(ops, x, { residual }) });
    const adapted = addLowRank(ops, dropped, low, plain);
    return ops.scaleColumns(adapted, table, { ids, residual: rest, into });
  }
}

/** Gives each row of an adapted weight [outputs, inputs] its magnitude. In place. */
export function fuseDora(adapted: Float32Array, magnitude: Float32Array): Float32Array {
  const inputs = adapted.length / magnitude.length;
  for (let n = 0; n < magnitude.length; n++) {
    const row = adapted.subarray(n * inputs, (n + 1) * inputs);
    let squares = 0;
    for (const value of row) squares += value * value;
    const factor = magnitude[n] / Math.sqrt(squares);
    for (let k = 0; k < inputs; k++) row[k] *= factor;
  }
  return adapted;
}
