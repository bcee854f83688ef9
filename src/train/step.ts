// One training step: an objective's program, which adds its gradient to what the gradients hold, and the optimizer's, which takes
// a step with them. Encoded once, run with new params. Where batches come from and how often to do what is `trainer.ts`.

import { type OpenELM, ropeTable } from '../model/openelm.js';
import type { Backend, DeviceBuffer, Executable, Program, Submission } from '../tensor/backend.js';
import { withoutUnread } from '../tensor/plan.js';
import { type KeepOptions, StepEncoder } from './backward.js';
import type { Computation, Objective, Report } from './objective.js';
import { Optimizer, type OptimizerOptions, type Update } from './optimizer.js';
import type { TrainingParameters } from './parameters.js';

/** What is trained, on what, and how. */
export interface StepParts<Batch> extends KeepOptions {
  readonly model: OpenELM;
  /** The model's parameters that learn; it was built on them. */
  readonly parameters: TrainingParameters;
  readonly objective: Objective<Batch>;
  readonly optimizer: OptimizerOptions;
  /** Where the program of training is cut, to be told when it comes there. */
  readonly cuts?: (program: Program) => readonly number[];
}

/** Holds a program up at a cut. */
export type Pace = Parameters<Backend['submit']>[2];

interface Encoded<Batch> {
  /** Where the run's number goes. */
  readonly draw: number;
  readonly executable: Executable;
  readonly computation: Computation<Batch>;
}

/** Gradients of batches, and updates with their sum, on a backend. Throws `ExecutionError` when memory is short. */
export class TrainingStep<Batch> {
  private readonly rope: DeviceBuffer;
  private readonly training: Encoded<Batch>;
  private evaluation?: Encoded<Batch>;
  private readonly optimizer: Optimizer;
  private submitted?: Submission;

  constructor(
    private readonly backend: Backend,
    private readonly parts: StepParts<Batch>,
  ) {
    const { model, parameters, objective, optimizer } = parts;
    const { headDim, ropeFreqConstant } = model.config;
    const { maxPositions } = objective.limits;
    this.rope = backend.create('f32', [maxPositions, headDim]);
    backend.write(this.rope, ropeTable(maxPositions, headDim, ropeFreqConstant));
    this.training = this.encode(true);
    this.optimizer = new Optimizer(backend, parameters, optimizer);
  }

  get model(): OpenELM {
    return this.parts.model;
  }

  /** The last run of the training program. */
  get submission(): Submission | undefined {
    return this.submitted;
  }

  /** Planned bytes of what a batch makes on its way, forward and back. */
  get arenaBytes(): number {
    return this.training.executable.arenaBytes;
  }

  /** How many things of a batch count. */
  count(batch: Batch): number {
    return this.parts.objective.count(batch);
  }

  /**
   * Adds `weight` times the gradient of a batch's mean loss; resolves when its numbers are known. `draw` is what dropout draws
   * by: the batch's number; `pace` is the backend's. Rejects with `ExecutionError`.
   */
  accumulate(batch: Batch, weight = 1, draw = 0, pace?: Pace): Promise<Report> {
    return this.run(this.training, batch, weight, draw, pace);
  }

  /** The numbers alone. */
  evaluate(batch: Batch): Promise<Report> {
    this.evaluation ??= this.encode(false);
    return this.run(this.evaluation, batch, 1, 0);
  }

  /** Clips, takes one step (the `step`th, counted from 1) and zeroes the gradients. */
  update(learningRate: number, step: number): Promise<Update> {
    return this.optimizer.update(learningRate, step);
  }

  dispose(): void {
    for (const encoded of [this.training, this.evaluation]) {
      encoded?.executable.dispose();
      encoded?.computation.dispose();
    }
    this.optimizer.dispose();
    this.backend.free(this.rope);
  }

  private async run(encoded: Encoded<Batch>, batch: Batch, weight: number, draw: number, pace?: Pace): Promise<Report> {
    const { executable, computation } = encoded;
    const params = new Int32Array(executable.program.paramsLength);
    params[encoded.draw] = draw;
    computation.fill(batch, params, weight);
    const submission = this.backend.submit(executable, params, pace);
    if (encoded === this.training) this.submitted = submission;
    if (pace) await submission.done; // what is queued now would come between its pieces
    const [report] = await Promise.all([computation.report(batch), submission.done]);
    return report;
  }

  private encode(differentiable: boolean): Encoded<Batch> {
    const { model, parameters, objective } = this.parts;
    const encoder = new StepEncoder(this.backend, model, parameters, this.rope, differentiable, this.parts);
    const computation = objective.encode(encoder);
    // A layer that is computed again ends with a product which is known already.
    const program = withoutUnread(encoder.ops.finish());
    const cuts = differentiable ? this.parts.cuts?.(program) : undefined;
    return { executable: this.backend.compile(program, cuts), computation, draw: encoder.draw.param };
  }
}
