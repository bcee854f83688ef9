// The sum of a bucket's gradient over processes: whole on all of them, or each process its part (ZeRO), as f32 or rounded to bf16, half the
// bytes. What rounding loses is kept on the process that rounded and is part of its next gradient (error feedback: Seide et al. 2014,
// Karimireddy et al. 2019), so that nothing is lost over time. When a bucket is summed is data-parallel.ts.

import type { DeviceBuffer } from '../tensor/backend.js';
import { view } from '../tensor/plan.js';
import type { SharedMemory } from '../tensor/shared-memory.js';
import { type Bucket, pageElements } from './buckets.js';
import { type Collective, evenParts, part } from './collective.js';
import { alignedElements, type TrainingParameters } from './parameters.js';

/** What gradients travel as. */
export type GradientType = 'f32' | 'bf16';

export interface GradientSumsOptions {
  readonly gradients?: GradientType;
  /** Each process gets its part, at the bucket's beginning; the rest is zeros then and takes no memory. */
  readonly scattered?: boolean;
}

/** Elements of a bucket that belong to each process: whole pages, where there are enough. */
export function sharesOf({ start, end }: Pick<Bucket, 'start' | 'end'>, { size }: Pick<Collective, 'size'>): number[] {
  const length = end - start;
  return evenParts(length, size, length >= size * pageElements ? pageElements : alignedElements);
}

export class GradientSums {
  /** What rounding lost here and the next gradient gets back, by place in the flat buffers; undefined where nothing is rounded. */
  readonly errors?: Float32Array;
  private readonly grad: DeviceBuffer<'f32'>;
  private rounding: Promise<void> = Promise.resolve();
  private sent = new Uint16Array(0);
  private received = new Uint16Array(0);

  constructor(
    private readonly memory: SharedMemory,
    { all, length }: Pick<TrainingParameters, 'all' | 'length'>,
    private readonly collective: Collective,
    private readonly options: GradientSumsOptions,
  ) {
    this.grad = all.grad;
    if (options.gradients === 'bf16') this.errors = new Float32Array(length); // pages that nobody touched take no memory
  }

  /** All processes call for the same buckets in the same order, and need not wait for one before the next. */
  async sum(bucket: Bucket): Promise<void> {
    const { memory, collective, grad } = this;
    const { start, end } = bucket;
    const lengths = sharesOf(bucket, collective);
    const elements = part(memory.of(grad), start, end);
    if (this.errors) await this.oneByOne(() => this.sumRounded(bucket, lengths, this.errors!));
    else if (this.options.scattered) await collective.reduceScatter(elements, lengths);
    else await collective.allReduce(elements);
    if (!this.options.scattered) return;
    const own = lengths[collective.rank];
    memory.clear(view(grad, start + own, [end - start - own]));
  }

  // Several calls of the collective, which must not mix with another bucket's: all processes make theirs in one order.
  private oneByOne(work: () => Promise<void>): Promise<void> {
    const done = this.rounding.then(work);
    this.rounding = done;
    return done;
  }

  /** Every process rounds what it has and sends each other one its part; that one adds the parts up in f32, in the order of ranks. */
  private async sumRounded({ start, end }: Bucket, lengths: readonly number[], errors: Float32Array): Promise<void> {
    const { memory, collective, grad, options } = this;
    const { rank, size } = collective;
    const own = lengths[rank];
    const before = start + lengths.slice(0, rank).reduce((sum, length) => sum + length, 0);
    if (this.sent.length < end - start) this.sent = new Uint16Array(end - start);
    if (this.received.length < own * size) this.received = new Uint16Array(own * size);
    const sent = this.sent.subarray(0, end - start);
    const received = this.received.subarray(0, own * size);
    await memory.round(view(grad, start, [end - start]), errors.subarray(start, end), sent);
    await collective.allToAll(sent, received, lengths);
    const sum = view(grad, options.scattered ? start : before, [own]);
    if (own > 0) await memory.sum(received, sum);
    if (options.scattered) return;
    // The sum is rounded too, after what this process lost of its own part has come to it.
    if (own > 0) {
      await memory.round(sum, errors.subarray(before, before + own), sent.subarray(before - start, before - start + own));
    }
    await collective.allGather(sent, lengths);
    await memory.sum(sent, view(grad, start, [end - start]));
  }
}
