// One training step as programs: forward, loss and gradients of a micro-batch, added to what the gradients hold; then clipping
// and AdamW over all parameters. Encoded once, run with new params. Where batches come from and how often to do what is
// `trainer.ts`; the learning rate is `schedule.ts`.

import { type AroundLayer, OpenELM, ropeTable, type StepInputs } from '../model/openelm.js';
import type { Backend, DeviceBuffer, Executable, OpRecord } from '../tensor/backend.js';
import { Tape } from '../tensor/gradients.js';
import { Ops, type Tensor } from '../tensor/ops.js';
import type { TrainingParameters } from './parameters.js';

/** Tokens of several sequences end to end. */
export interface TrainingBatch {
  readonly tokens: Int32Array;
  /** The token after each; below 0 where there is nothing to learn. */
  readonly targets: Int32Array;
  /** First row and rows of each sequence: attention does not cross them, positions begin at 0 in each. */
  readonly sequences: readonly (readonly [start: number, length: number])[];
}

export interface StepOptions {
  /** Rows (tokens) of a micro-batch, and sequences in it, at most. */
  readonly maxRows: number;
  readonly maxSequences: number;
  readonly maxPositions: number;
  readonly zLoss: number;
  readonly labelSmoothing: number;
  /** Computes what is inside a layer again on the way back instead of keeping it. */
  readonly activationCheckpointing?: boolean;
  /** Keeps what is inside a layer for the way back in half the memory; gradients are then those of the rounded values. */
  readonly activationStorage?: 'f32' | 'bf16';
  /** Ids whose embedding takes no gradient from the look-up. */
  readonly paddingId?: number;
  readonly maxGradNorm: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
}

/** The loss of a micro-batch, as CoreNet reports it. */
export interface Loss {
  readonly total: number;
  readonly crossEntropy: number;
  readonly zLoss: number;
  /** Targets that counted. */
  readonly validTokens: number;
}

export interface Update {
  /** Before clipping. */
  readonly gradNorm: number;
  /** Whether the gradient was finite; otherwise nothing was updated. */
  readonly finite: boolean;
}

interface BatchProgram {
  readonly executable: Executable;
  readonly places: Record<'tokens' | 'positions' | 'kvRows' | 'targets' | 'sequences' | 'segments', number>;
  readonly sizes: Record<'rows' | 'sequenceCount', number>;
}

export class TrainingStep {
  readonly model: OpenELM;
  private readonly rope: DeviceBuffer;
  private readonly losses: DeviceBuffer;
  private readonly scale: DeviceBuffer;
  private readonly norms: DeviceBuffer;
  private readonly schedule: DeviceBuffer;
  private readonly gradients: BatchProgram;
  private evaluation?: BatchProgram;
  private readonly optimizer: Executable;

  constructor(
    private readonly backend: Backend,
    private readonly parameters: TrainingParameters,
    private readonly options: StepOptions,
  ) {
    const { config } = parameters;
    this.model = new OpenELM(parameters.weights(), config);
    this.rope = backend.create('f32', [options.maxPositions, config.headDim]);
    backend.write(this.rope, ropeTable(options.maxPositions, config.headDim, config.ropeFreqConstant));
    this.losses = backend.create('f32', [2 * options.maxRows]);
    this.scale = backend.create('f32', [1]);
    this.norms = backend.create('f32', [3]);
    this.schedule = backend.create('f32', [3]);
    this.gradients = this.encode(true);
    this.optimizer = this.encodeOptimizer();
  }

  /** Adds `weight` times a micro-batch's gradient; resolves when its loss is known. Rejects with `ExecutionError`. */
  accumulate(batch: TrainingBatch, weight = 1): Promise<Loss> {
    return this.run(this.gradients, batch, weight);
  }

  /** The loss alone. */
  evaluate(batch: TrainingBatch): Promise<Loss> {
    this.evaluation ??= this.encode(false);
    return this.run(this.evaluation, batch, 1);
  }

  /** Clips, takes one AdamW step (the `step`th, counted from 1) and zeroes the gradients. */
  async update(learningRate: number, step: number): Promise<Update> {
    const { beta1, beta2 } = this.options;
    this.backend.write(this.schedule, Float32Array.of(learningRate, 1 - beta1 ** step, 1 - beta2 ** step));
    const submission = this.backend.submit(this.optimizer, new Int32Array(0));
    const [norms] = await Promise.all([this.backend.read(this.norms), submission.done]);
    return { gradNorm: norms[0], finite: norms[2] === 0 };
  }

  dispose(): void {
    for (const program of [this.gradients, this.evaluation]) program?.executable.dispose();
    this.optimizer.dispose();
    for (const buffer of [this.rope, this.losses, this.scale, this.norms, this.schedule]) this.backend.free(buffer);
  }

  private async run(program: BatchProgram, batch: TrainingBatch, weight: number): Promise<Loss> {
    const rows = batch.tokens.length;
    const validTokens = batch.targets.reduce((count, target) => count + (target >= 0 ? 1 : 0), 0);
    // Without a target there is nothing to learn, and the mean is taken over one.
    this.backend.write(this.scale, Float32Array.of(weight / Math.max(1, validTokens)));
    const submission = this.backend.submit(program.executable, this.fill(program, batch));
    const [losses] = await Promise.all([this.backend.read(this.losses, 0, 2 * rows), submission.done]);
    let crossEntropy = 0;
    let squares = 0;
    for (let r = 0; r < rows; r++) {
      crossEntropy += losses[2 * r];
      squares += losses[2 * r + 1];
    }
    // CoreNet masks the logits, not their sum: every ignored row adds (ln vocabulary)^2.
    squares += (rows - validTokens) * Math.log(this.parameters.config.vocabSize) ** 2;
    const mean = (sum: number): number => sum / Math.max(1, validTokens);
    const zLoss = this.options.zLoss * mean(squares);
    return { total: mean(crossEntropy) + zLoss, crossEntropy: mean(crossEntropy), zLoss, validTokens };
  }

  private fill({ executable, places, sizes }: BatchProgram, { tokens, targets, sequences }: TrainingBatch): Int32Array {
    const params = new Int32Array(executable.program.paramsLength);
    params.set(tokens, places.tokens);
    params.set(targets, places.targets);
    sequences.forEach(([start, length], s) => {
      params.set([start, length, s, 1], places.sequences + 4 * s);
      params.set([start, length], places.segments + 2 * s);
      for (let i = 0; i < length; i++) params[places.positions + start + i] = i;
    });
    for (let row = 0; row < tokens.length; row++) params[places.kvRows + row] = row;
    params[sizes.rows] = tokens.length;
    params[sizes.sequenceCount] = sequences.length;
    return params;
  }

  private encode(withGradient: boolean): BatchProgram {
    const { maxRows, maxSequences, zLoss, labelSmoothing } = this.options;
    const { config } = this.parameters;
    const ops = new Ops();
    const rows = ops.size(maxRows);
    const sequenceCount = ops.size(maxSequences);
    const [tokens, positions, kvRows, targets] = [1, 2, 3, 4].map(() => ops.params(maxRows));
    const [sequences, segments] = [ops.params(4 * maxSequences), ops.params(2 * maxSequences)];
    const inputs: StepInputs = {
      ...{ rows, ids: tokens, positions, kvRows, rope: this.rope, differentiable: withGradient },
      ragged: { sequences, sequenceCount, segments, segmentCount: sequenceCount },
      cacheOf: (layer) => ops.keyValues(rows, config.layers[layer]),
    };
    const tape = new Tape(ops, this.parameters.grads(), this.options.paddingId);
    const { activationCheckpointing: checkpointing, activationStorage: storage } = this.options;
    const kept = checkpointing ? 'inputs' : storage === 'bf16' ? 'rounded' : 'all';
    const walk = new BackwardWalk(ops, tape, withGradient ? kept : 'all');
    const hidden = this.model.forward(ops, inputs, undefined, walk.around);
    walk.end();
    const normed = this.model.normalize(ops, hidden);
    const head = `transformer.${config.tieEmbeddings ? 'token_embeddings' : 'classifier'}.weight`;
    const tail = ops.encoded.slice(walk.length);
    const weightGrad = withGradient ? this.parameters.view(head, 'grad') : undefined;
    const { scale, losses } = this;
    const dnormed = ops.crossEntropy(normed, this.parameters.view(head), targets, {
      scale,
      losses,
      zLoss,
      labelSmoothing,
      weightGrad,
    });
    if (dnormed) {
      tape.seed(normed.buffer, dnormed.buffer);
      tape.backward(tail);
      walk.backward();
    }
    return {
      executable: this.backend.compile(ops.finish()),
      places: {
        ...{ tokens: tokens.offset, positions: positions.offset, kvRows: kvRows.offset, targets: targets.offset },
        ...{ sequences: sequences.offset, segments: segments.offset },
      },
      sizes: { rows: rows.param, sequenceCount: sequenceCount.param },
    };
  }

  private encodeOptimizer(): Executable {
    const { maxGradNorm, beta1, beta2, eps, weightDecay } = this.options;
    const ops = new Ops();
    ops.globalNorm(this.parameters.all.grad, this.norms, maxGradNorm);
    ops.adamw(this.parameters.decayed, this.norms, this.schedule, { beta1, beta2, eps, weightDecay });
    ops.adamw(this.parameters.undecayed, this.norms, this.schedule, { beta1, beta2, eps, weightDecay: 0 });
    return this.backend.compile(ops.finish());
  }
}

/** The records of a forward pass, in pieces that are walked back one by one; a checkpointed layer is encoded again first. */
class BackwardWalk {
  private readonly pieces: { records: readonly OpRecord[]; rerun?: () => Tensor; output?: Tensor }[] = [];
  private taken = 0;

  constructor(
    private readonly ops: Ops,
    private readonly tape: Tape,
    /** What of a layer. */
    private readonly kept: 'inputs' | 'rounded' | 'all',
  ) {}

  /** Records that belong to a piece already. */
  get length(): number {
    return this.taken;
  }

  readonly around: AroundLayer = (forward, x) => {
    this.end();
    const output = forward(x);
    const records = this.take();
    this.pieces.push({ records, rerun: this.kept === 'inputs' ? () => forward(x) : undefined, output });
    if (this.kept === 'rounded') {
      this.tape.keepRounded(x, records, output);
      this.take();
    }
    return output;
  };

  /** Closes the piece before a layer, or before the head. */
  end(): void {
    const records = this.take();
    if (records.length > 0) this.pieces.push({ records });
  }

  backward(): void {
    const { tape } = this;
    for (const { records, rerun, output } of [...this.pieces].reverse()) {
      if (!rerun) {
        tape.backward(records);
        continue;
      }
      const before = this.ops.encoded.length;
      const again = rerun();
      const rerunRecords = this.ops.encoded.slice(before);
      const grad = tape.gradOf(output!.buffer);
      if (!grad) throw new Error('a layer without a gradient');
      tape.seed(again.buffer, grad);
      tape.backward(rerunRecords);
    }
  }

  private take(): readonly OpRecord[] {
    const records = this.ops.encoded.slice(this.taken);
    this.taken = this.ops.encoded.length;
    return records;
  }
}
