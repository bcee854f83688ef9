// The way back over a forward pass: the records in pieces, the last first, each with the derivatives of its ops. What a layer made
// is kept, kept rounded, or computed again, as the caller chose. The rules themselves are `tensor/gradients.ts`.

import type { AroundLayer, OpenELM, StepInputs } from '../model/openelm.js';
import type { Backend, DeviceBuffer, OpRecord } from '../tensor/backend.js';
import { Tape } from '../tensor/gradients.js';
import { Ops, type Tensor } from '../tensor/ops.js';
import type { Encoder } from './objective.js';
import type { TrainingParameters } from './parameters.js';
import type { RaggedInputs } from './ragged.js';

/** What is kept of a forward pass for the way back. */
export interface KeepOptions {
  /** Computes what is inside a layer again on the way back instead of keeping it. */
  readonly activationCheckpointing?: boolean;
  /** Keeps what is inside a layer for the way back in half the memory, in 16 bits: gradients differ by some 1e-5. */
  readonly activationStorage?: 'f32' | 'int16';
  /** Ids whose embedding takes no gradient from the look-up. */
  readonly paddingId?: number;
  /** What dropout draws by, from 0 to 2^31 - 1; default 0. */
  readonly seed?: number;
}

/** Encodes one program of an objective, forward and back. */
export class StepEncoder implements Encoder {
  readonly ops = new Ops();
  /** The run's number, which dropout draws by too. */
  readonly draw = this.ops.size(2 ** 31 - 1);
  private readonly tape: Tape;
  private readonly walk: BackwardWalk;

  constructor(
    readonly backend: Backend,
    readonly model: OpenELM,
    private readonly parameters: TrainingParameters,
    /** f32 [positions, headDim], from `ropeTable`. */
    private readonly rope: DeviceBuffer,
    readonly differentiable: boolean,
    { activationCheckpointing: checkpointing, activationStorage: storage, paddingId, seed = 0 }: KeepOptions,
  ) {
    if (differentiable) this.ops.randomness = { seed, draw: this.draw };
    this.tape = new Tape(this.ops, parameters.grads(), paddingId);
    const kept = checkpointing ? 'inputs' : storage === 'int16' ? 'rounded' : 'all';
    this.walk = new BackwardWalk(this.ops, this.tape, differentiable ? kept : 'all');
  }

  forward(inputs: RaggedInputs): Tensor {
    const hidden = this.model.forward(this.ops, this.stepOf(inputs, this.differentiable), undefined, this.walk.around);
    this.walk.end();
    return hidden;
  }

  // Its records lie before those of `forward`, and no gradient leads to them.
  frozen(model: OpenELM, inputs: RaggedInputs): Tensor {
    return model.forward(this.ops, this.stepOf(inputs, false));
  }

  private stepOf({ rows, ids, positions, kvRows, ragged }: RaggedInputs, differentiable: boolean): StepInputs {
    const { ops, model, rope } = this;
    const cacheOf: StepInputs['cacheOf'] = (layer) => ops.keyValues(rows, model.config.layers[layer]);
    return { rows, ids, positions, kvRows, ragged, rope, differentiable, cacheOf };
  }

  gradOf(parameter: DeviceBuffer): DeviceBuffer | undefined {
    return this.differentiable ? this.parameters.grads().of(parameter) : undefined;
  }

  backward(result: Tensor, grad: DeviceBuffer): void {
    if (!this.differentiable) return;
    this.walk.end();
    this.tape.seed(result.buffer, grad);
    this.walk.backward();
  }
}

/** A part of a forward pass; a layer, if it has an output. */
interface Piece {
  readonly records: readonly OpRecord[];
  readonly layer?: { readonly input: Tensor; readonly output: Tensor; readonly rerun: () => Tensor };
}

/**
 * The records of a forward pass, in pieces that are walked back one by one; a checkpointed layer is encoded again first. The last
 * layer comes first on the way back: what is inside it is needed at once, so it is kept as it is.
 */
class BackwardWalk {
  private readonly pieces: Piece[] = [];
  private taken = 0;

  constructor(
    private readonly ops: Ops,
    private readonly tape: Tape,
    /** What of a layer. */
    private readonly kept: 'inputs' | 'rounded' | 'all',
  ) {}

  readonly around: AroundLayer = (forward, x) => {
    this.end();
    const before = this.lastLayer();
    if (before?.layer && this.kept === 'rounded') {
      this.tape.keepRounded(before.layer.input, before.records, before.layer.output);
      this.take();
    }
    const output = forward(x);
    this.pieces.push({ records: this.take(), layer: { input: x, output, rerun: () => forward(x) } });
    return output;
  };

  /** Closes the piece before a layer, or before the head. */
  end(): void {
    const records = this.take();
    if (records.length > 0) this.pieces.push({ records });
  }

  backward(): void {
    const { tape } = this;
    const last = this.lastLayer();
    for (const piece of [...this.pieces].reverse()) {
      const { records, layer } = piece;
      if (!layer || piece === last || this.kept !== 'inputs') {
        tape.backward(records);
        continue;
      }
      const grad = tape.gradOf(layer.output.buffer);
      if (!grad) continue; // nothing that is trained lies here or before
      const before = this.ops.encoded.length;
      const again = layer.rerun();
      const rerunRecords = this.ops.encoded.slice(before);
      tape.observe(rerunRecords);
      tape.seed(again.buffer, grad);
      tape.backward(rerunRecords);
    }
  }

  private lastLayer(): Piece | undefined {
    return this.pieces.findLast(({ layer }) => layer);
  }

  private take(): readonly OpRecord[] {
    const records = this.ops.encoded.slice(this.taken);
    this.taken = this.ops.encoded.length;
    this.tape.observe(records);
    return records;
  }
}
