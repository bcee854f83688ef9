// DiLoCo (Douillard et al. 2023): each process steps alone on its part of the data, and only every so many steps the differences to
// where all began are averaged, and an outer optimizer (SGD with Nesterov's momentum) steps along them; moments stay each process's own.
// The inner step is a `TrainingStep`; the outer one is computed on the host.

import type { Backend } from '../tensor/backend.js';
import type { Collective } from './collective.js';
import type { Report } from './objective.js';
import type { Update } from './optimizer.js';
import type { TrainingParameters } from './parameters.js';
import type { TrainingStep } from './step.js';
import type { Learner } from './trainer.js';

/** As settings have it; the paper's 0.7 and 0.9. */
export interface SyncOptions {
  /** Steps between two exchanges. */
  readonly every: number;
  readonly learning_rate: number;
  readonly momentum: number;
}

/** What the outer optimizer keeps, the same on all processes. */
export interface OuterState {
  /** The parameters after the last exchange. */
  readonly parameters: Float32Array;
  readonly velocity: Float32Array;
}

/** Elements between two breaths for timers. */
const pieceElements = 1 << 20;

export class LowCommunication<Batch> implements Learner<Batch> {
  waited = 0;
  private updating: Promise<unknown> = Promise.resolve();

  /** `last`: the last step, after which all exchange too, so that the model that is left is everyone's. */
  constructor(
    private readonly backend: Backend,
    readonly step: TrainingStep<Batch>,
    private readonly parameters: TrainingParameters,
    private readonly collective: Collective,
    private readonly options: SyncOptions,
    private readonly last: number,
    readonly outer: OuterState,
  ) {}

  /** The outer state at the beginning of a run. */
  static async begin(parameters: TrainingParameters): Promise<OuterState> {
    const start = await parameters.readFlat('parameters', 0, parameters.length);
    return { parameters: start, velocity: new Float32Array(start.length) };
  }

  count(batch: Batch): number {
    return this.step.count(batch);
  }

  accumulate(batch: Batch, weight?: number, draw?: number): Promise<Report> {
    return this.step.accumulate(batch, weight, draw);
  }

  evaluate(batch: Batch): Promise<Report> {
    return this.step.evaluate(batch);
  }

  update(learningRate: number, step: number): Promise<Update> {
    const update = this.step.update(learningRate, step);
    this.updating = update;
    return update;
  }

  async publish(step: number): Promise<void> {
    if (step % this.options.every !== 0 && step !== this.last) return;
    await this.updating;
    const began = performance.now();
    const { parameters, velocity } = this.outer;
    const difference = await this.backend.read(this.parameters.all.parameters);
    await inPieces(difference.length, (i) => {
      difference[i] = parameters[i] - difference[i];
    });
    await this.collective.allReduce(difference);
    const { size } = this.collective;
    const { learning_rate: rate, momentum } = this.options;
    await inPieces(difference.length, (i) => {
      const mean = difference[i] / size;
      velocity[i] = momentum * velocity[i] + mean;
      parameters[i] -= rate * (mean + momentum * velocity[i]);
    });
    this.backend.write(this.parameters.all.parameters, parameters);
    this.waited += (performance.now() - began) / 1000;
  }
}

async function inPieces(length: number, work: (index: number) => void): Promise<void> {
  for (let from = 0; from < length; from += pieceElements) {
    const end = Math.min(length, from + pieceElements);
    for (let i = from; i < end; i++) work(i);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}
