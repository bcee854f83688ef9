// Data parallel training: each process adds up the gradient of its part of a batch, and the sums over all of them are taken while the
// way back still runs: the flat gradient is cut into buckets, the training program where a bucket's last record has run, and a
// bucket is summed as soon as the program has come there. Around a `TrainingStep`; how sums travel is `collective.ts`.

import { InputError } from '../errors.js';
import type { Backend, Program } from '../tensor/backend.js';
import { sharedMemory } from '../tensor/shared-memory.js';
import { type Bucket, planBuckets } from './buckets.js';
import type { KeptState } from './checkpoint.js';
import type { Collective } from './collective.js';
import { GradientSums, type GradientSumsOptions } from './gradient-sums.js';
import type { Report } from './objective.js';
import type { Update } from './optimizer.js';
import { ShardedOptimizer } from './sharded-optimizer.js';
import { type Pace, type StepParts, TrainingStep } from './step.js';
import type { Learner } from './trainer.js';

/** As settings have it. */
export interface DataParallelOptions extends Pick<GradientSumsOptions, 'gradients'> {
  readonly bucket_bytes?: number;
  /** What is shared out: nothing, or (1) the moments, and gradients once they are summed. */
  readonly zero?: 0 | 1;
}

/** Bytes that each of `size` processes keeps of so many parameters that learn: themselves, gradients, moments, what rounding lost. */
export function trainingBytes(
  parameters: number,
  size = 1,
  { zero = 0, gradients }: DataParallelOptions = {},
  accumulation = 1,
): number {
  const shared = size > 1 && zero > 0 ? 1 / size : 1;
  const errors = size > 1 && gradients === 'bf16' ? 4 : 0;
  return Math.ceil(parameters * (4 + (accumulation > 1 ? 4 : 4 * shared) + 8 * shared + errors));
}

export interface OpenedLearner<Batch> {
  readonly learner: Learner<Batch>;
  readonly step: TrainingStep<Batch>;
  /** What of the training's state is this process's own. */
  readonly kept: KeptState;
  dispose(): void;
}

/** A training step for this process among those that train together, and the step of its own in it. */
export function openLearner<Batch>(
  backend: Backend,
  parts: StepParts<Batch>,
  collective: Collective,
  options: DataParallelOptions = {},
): OpenedLearner<Batch> {
  if (collective.size > 1) {
    const learner = new DataParallel(backend, parts, collective, options);
    return { learner, step: learner.step, kept: learner.kept, dispose: () => learner.dispose() };
  }
  const step = new TrainingStep(backend, parts);
  return { learner: step, step, kept: {}, dispose: () => step.dispose() };
}

/** Buckets that may be full at once where summing gives memory back. */
const bucketsAhead = 2;

/** A training step of one process among several. */
class DataParallel<Batch> implements Learner<Batch> {
  /** Seconds that nothing was computed while others were waited for. */
  waited = 0;
  readonly step: TrainingStep<Batch>;
  private buckets: readonly Bucket[] = [];
  private readonly cuts: number[] = [];
  private readonly sums?: GradientSums;
  private readonly sharded?: ShardedOptimizer;
  /** The last run of the training program, which waits for what is asked next. */
  private held?: (pace?: Pace) => void;
  private accumulated = false;
  private updating: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly backend: Backend,
    private readonly parts: StepParts<Batch>,
    private readonly collective: Collective,
    { bucket_bytes: bucketBytes, zero = 0, gradients = 'f32' }: DataParallelOptions = {},
  ) {
    const cuts = (program: Program): readonly number[] => {
      this.buckets = planBuckets(program, parts.parameters, bucketBytes);
      const inside = this.buckets.map(({ ready }) => ready).filter((ready) => ready > 0 && ready < program.records.length);
      this.cuts.push(...new Set(inside));
      return this.cuts;
    };
    this.step = new TrainingStep(backend, { ...parts, cuts });
    const memory = sharedMemory(backend);
    if (!memory) {
      if (zero === 0 && gradients === 'f32') return;
      const option = zero > 0 ? `zero: ${zero}` : `gradients: ${gradients}`;
      throw new InputError(`parallel.${option} wants the native backend; the ${backend.name} one shares no memory`);
    }
    const { parameters, optimizer } = parts;
    this.sums = new GradientSums(memory, parameters, collective, { gradients, scattered: zero > 0 });
    if (zero > 0) this.sharded = new ShardedOptimizer(backend, memory, parameters, this.buckets, optimizer, collective);
  }

  get kept(): KeptState {
    return { ranges: this.sharded?.ranges, errors: this.sums?.errors };
  }

  count(batch: Batch): number {
    return this.step.count(batch);
  }

  accumulate(batch: Batch, weight?: number, draw?: number): Promise<Report> {
    this.accumulated = true;
    if (!this.sharded) return this.step.accumulate(batch, weight, draw);
    this.release();
    return new Promise((resolve, reject) => {
      this.held = (pace) => this.step.accumulate(batch, weight, draw, pace).then(resolve, reject);
    });
  }

  private release(pace?: Pace): void {
    this.held?.(pace);
    this.held = undefined;
  }

  evaluate(batch: Batch): Promise<Report> {
    return this.step.evaluate(batch);
  }

  async combine(): Promise<void> {
    const { grad } = this.parts.parameters.all;
    const begin: ((sum: Promise<void>) => void)[] = [];
    const sums = this.buckets.map(() => new Promise<void>((resolve) => begin.push(resolve)));
    // What is summed gives its memory back: the way back goes on only as fast as that.
    this.release((cut) => {
      const filled = this.buckets.filter(({ ready }) => ready <= this.cuts[cut]).length;
      let idleSince = Number.POSITIVE_INFINITY;
      this.step.submission?.reached?.[cut].then(
        () => {
          idleSince = performance.now();
        },
        () => {},
      );
      return sums[filled - 1 - bucketsAhead]?.then(() => {
        this.waited += Math.max(0, performance.now() - idleSince) / 1000;
      });
    });
    // What waits for the last run waits for those before it.
    const { done = Promise.resolve(), reached = [] } = (this.accumulated && this.step.submission) || {};
    this.accumulated = false;
    let computed = performance.now();
    const watched = done.then(() => {
      computed = performance.now();
    });
    watched.catch(() => {}); // thrown below
    if (this.sums) {
      for (const [i, bucket] of this.buckets.entries()) {
        await (reached[this.cuts.indexOf(bucket.ready)] ?? done);
        begin[i](this.sums.sum(bucket));
        sums[i].catch(() => {}); // thrown below
      }
      await Promise.all(sums);
    } else {
      await done;
      const values = await this.backend.read(grad);
      await this.collective.allReduce(values);
      this.backend.write(grad, values);
    }
    await watched;
    this.waited += (performance.now() - computed) / 1000;
  }

  update(learningRate: number, step: number): Promise<Update> {
    const update = (this.sharded ?? this.step).update(learningRate, step);
    this.updating = update;
    return update;
  }

  async publish(): Promise<void> {
    if (!this.sharded) return;
    await this.updating;
    const began = performance.now();
    await this.sharded.publish();
    this.waited += (performance.now() - began) / 1000;
  }

  dispose(): void {
    this.sharded?.dispose();
    this.step.dispose();
  }
}
