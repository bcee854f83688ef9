// LoRA (Hu et al. 2021): beside a frozen weight W a product of two narrow matrices, y = W x + s B A dropout(x), as PEFT and CoreNet
// compute it. Around a Linear or the embedding; the base may be stored in any type. One adapter that is trained, or several side by side
// of which each row takes its own: then A and B are those of all, one after another, and a table of factors by row keeps what is
// its adapter's. DoRA is `dora.ts`.

import type { DeviceBuffer, Dim } from '../tensor/backend.js';
import type { Ops, Tensor } from '../tensor/ops.js';
import type { Embedding, Linear, LinearOptions } from './linear.js';

/** The narrow matrices of one module. */
export interface LowRank {
  /** [rank, inputs]; of an embedding [vocabulary, rank] */
  readonly a: DeviceBuffer;
  /** [outputs, rank] */
  readonly b: DeviceBuffer;
  /** f32 [groups, rank]: the scaling, or in each group's row that of its own columns and zeros. */
  readonly scaling: DeviceBuffer;
  /** Which group each row belongs to; without it all belong to the first. */
  readonly groups?: RowGroups;
  /** In training. `op` is the module's number among those that draw. */
  readonly dropout?: { readonly rate: number; readonly op: number };
}

/** Which group (adapter) the rows of a program belong to, by the rows' size: a step's rows, and those of it that are wanted. */
export class RowGroups {
  private readonly ids = new WeakMap<object, DeviceBuffer>();

  /** ids: i32 params [>= rows] */
  assign(rows: Dim & object, ids: DeviceBuffer): void {
    this.ids.set(rows, ids);
  }

  of(rows: Dim): DeviceBuffer | undefined {
    return typeof rows === 'number' ? undefined : this.ids.get(rows);
  }
}

export class LoraLinear implements Linear {
  readonly inputs: number;
  readonly outputs: number;
  readonly weight: DeviceBuffer;

  private constructor(
    private readonly base: Linear,
    private readonly low: LowRank,
  ) {
    ({ inputs: this.inputs, outputs: this.outputs, weight: this.weight } = base);
  }

  static fromBase(base: Linear, low: LowRank): LoraLinear {
    return new LoraLinear(base, low);
  }

  forward(ops: Ops, x: Tensor, { residual, into }: LinearOptions = {}): Tensor {
    const base = this.base.forward(ops, x, { residual });
    // Training's matrices are rows: their product is added where the base's lies.
    return addLowRank(ops, x, this.low, base, into ?? (this.low.b.layout === 'rows' ? base.buffer : undefined));
  }
}

export class LoraEmbedding implements Embedding {
  private constructor(
    private readonly base: Embedding,
    private readonly low: LowRank,
  ) {}

  static fromBase(base: Embedding, low: LowRank): LoraEmbedding {
    return new LoraEmbedding(base, low);
  }

  forward(ops: Ops, ids: DeviceBuffer, rows: Dim): Tensor {
    const { a, b, scaling, groups } = this.low;
    const inner = ops.scaleColumns(ops.embedding(a, ids, rows), scaling, { ids: groups?.of(rows) });
    return ops.linear(inner, b, { residual: this.base.forward(ops, ids, rows) });
  }
}

/** base + s B A dropout(x) */
export function addLowRank(
  ops: Ops,
  x: Tensor,
  { a, b, scaling, groups, dropout }: LowRank,
  base: Tensor,
  into?: DeviceBuffer,
): Tensor {
  const dropped = dropout ? ops.dropout(x, dropout.rate, dropout.op) : x;
  const inner = ops.scaleColumns(ops.linear(dropped, a), scaling, { ids: groups?.of(x.rows) });
  return ops.linear(inner, b, { residual: base, into });
}

/** W + scaling low up, the weight with its adapter in it: low [rows, rank], up [rank, columns]. Sums in f64. */
export function fuseLora(base: Float32Array, low: Float32Array, up: Float32Array, rank: number, scaling: number): Float32Array {
  const columns = up.length / rank;
  const out = new Float32Array(base.length);
  const sums = new Float64Array(columns);
  for (let start = 0, r = 0; start < base.length; start += columns, r++) {
    sums.fill(0);
    for (let i = 0; i < rank; i++) {
      const by = low[r * rank + i];
      for (let c = 0, at = i * columns; c < columns; c++, at++) sums[c] += by * up[at];
    }
    for (let c = 0; c < columns; c++) out[start + c] = base[start + c] + scaling * sums[c];
  }
  return out;
}
