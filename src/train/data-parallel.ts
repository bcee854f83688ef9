// Data parallel training: each process adds up the gradient of its part of a batch, and the sums over all of them are taken while the
// way back still runs: the flat gradient is cut into buckets, the training program where a bucket's last record has run, and a
// bucket is summed as soon as the program has come there. Around a `TrainingStep`; how sums travel is `collective.ts`.

import type { Backend, DeviceBuffer, Program } from '../tensor/backend.js';
import { opSpec } from '../tensor/optable.js';
import { elementsOf, view } from '../tensor/plan.js';
import type { Collective, Elements } from './collective.js';
import type { Report } from './objective.js';
import type { Update } from './optimizer.js';
import type { TrainingParameters } from './parameters.js';
import { type StepParts, TrainingStep } from './step.js';
import type { Learner } from './trainer.js';

/** A range of the flat buffers whose gradient is summed at once. */
export interface Bucket {
  readonly start: number;
  readonly end: number;
  /** The records after which it is complete: their number. */
  readonly ready: number;
}

/** Bytes of a bucket: enough that a message's own cost does not count, and few enough that the last one is soon there. */
export const defaultBucketBytes = 16 << 20;

/**
 * The buckets of a training program, those first that are complete first: neighbours in the flat order together up to
 * `bucketBytes`, those with and without weight decay apart.
 */
export function planBuckets(
  program: Program,
  { all, list, decayed }: Pick<TrainingParameters, 'all' | 'list' | 'decayed'>,
  bucketBytes = defaultBucketBytes,
): Bucket[] {
  const total = elementsOf(all.grad.shape);
  const decayEnd = elementsOf(decayed.grad.shape);
  const places = list.map(({ offset }, i) => ({ start: offset, end: list[i + 1]?.offset ?? total, ready: 0 }));
  for (const [index, { op, operands }] of program.records.entries()) {
    for (const [i, { access }] of opSpec(op).operands.entries()) {
      const buffer = operands[i];
      if (access === 'read' || buffer?.kind !== 'persistent' || buffer.id !== all.grad.id) continue;
      for (const place of places) {
        if (place.start < buffer.offset + elementsOf(buffer.shape) && buffer.offset < place.end) place.ready = index + 1;
      }
    }
  }
  const buckets: Bucket[] = [];
  for (const place of places) {
    const last = buckets.at(-1);
    const joins = last && last.end !== decayEnd && 4 * (place.end - last.start) <= bucketBytes;
    if (joins) buckets[buckets.length - 1] = { ...last, end: place.end, ready: Math.max(last.ready, place.ready) };
    else buckets.push(place);
  }
  return buckets.sort((a, b) => a.ready - b.ready || a.start - b.start);
}

/** As settings have it. */
export interface DataParallelOptions {
  readonly bucket_bytes?: number;
}

/** A training step for this process among those that train together, and the step of its own in it. */
export function openLearner<Batch>(
  backend: Backend,
  parts: StepParts<Batch>,
  collective: Collective,
  options: DataParallelOptions = {},
): { readonly learner: Learner<Batch>; readonly step: TrainingStep<Batch> } {
  if (collective.size > 1) {
    const learner = new DataParallel(backend, parts, collective, options);
    return { learner, step: learner.step };
  }
  const step = new TrainingStep(backend, parts);
  return { learner: step, step };
}

/** A training step of one process among several. */
export class DataParallel<Batch> implements Learner<Batch> {
  /** Seconds that nothing was computed while others were waited for. */
  waited = 0;
  readonly step: TrainingStep<Batch>;
  private buckets: readonly Bucket[] = [];
  private readonly cuts: number[] = [];

  constructor(
    private readonly backend: Backend,
    private readonly parts: StepParts<Batch>,
    private readonly collective: Collective,
    { bucket_bytes: bucketBytes }: DataParallelOptions = {},
  ) {
    const cuts = (program: Program): readonly number[] => {
      this.buckets = planBuckets(program, parts.parameters, bucketBytes);
      const inside = this.buckets.map(({ ready }) => ready).filter((ready) => ready > 0 && ready < program.records.length);
      this.cuts.push(...new Set(inside));
      return this.cuts;
    };
    this.step = new TrainingStep(backend, { ...parts, cuts });
  }

  count(batch: Batch): number {
    return this.step.count(batch);
  }

  accumulate(batch: Batch, weight?: number, draw?: number): Promise<Report> {
    this.accumulated = true;
    return this.step.accumulate(batch, weight, draw);
  }

  private accumulated = false;

  evaluate(batch: Batch): Promise<Report> {
    return this.step.evaluate(batch);
  }

  async combine(): Promise<void> {
    const { grad } = this.parts.parameters.all;
    // What waits for the last run waits for those before it.
    const { done = Promise.resolve(), reached = [] } = (this.accumulated && this.step.submission) || {};
    this.accumulated = false;
    let computed = performance.now();
    const watched = done.then(() => {
      computed = performance.now();
    });
    watched.catch(() => {}); // thrown below
    if (this.backend.memory) {
      const summing: Promise<void>[] = [];
      for (const { start, end, ready } of this.buckets) {
        await (reached[this.cuts.indexOf(ready)] ?? done);
        summing.push(this.collective.allReduce(this.elements(view(grad, start, [end - start]))));
        summing.at(-1)!.catch(() => {}); // thrown below
      }
      await Promise.all(summing);
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
    return this.step.update(learningRate, step);
  }

  dispose(): void {
    this.step.dispose();
  }

  private elements(buffer: DeviceBuffer<'f32'>): Elements {
    return this.backend.memory!(buffer);
  }
}
