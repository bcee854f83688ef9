// AdamW whose moments are shared out among processes (ZeRO stage 1: Rajbhandari et al. 2020): each clips by the norm of all, updates its
// part of every bucket, and is told the others' parameters. What a process never touches of the flat moments takes no memory.

import type { Backend, DeviceBuffer, Executable } from '../tensor/backend.js';
import { Ops } from '../tensor/ops.js';
import { view } from '../tensor/plan.js';
import type { SharedMemory } from '../tensor/shared-memory.js';
import type { Bucket } from './buckets.js';
import { type Collective, part } from './collective.js';
import { sharesOf } from './gradient-sums.js';
import type { OptimizerOptions, Update } from './optimizer.js';
import type { TrainingParameters } from './parameters.js';

interface Shard {
  readonly bucket: Bucket;
  /** Of all ranks. */
  readonly lengths: readonly number[];
  /** This process's part of the flat buffers. */
  readonly start: number;
  readonly length: number;
}

export class ShardedOptimizer {
  private readonly shards: readonly Shard[];
  private readonly buffers: readonly DeviceBuffer<'f32'>[];
  private readonly norming: Executable;
  private readonly stepping: Executable;

  constructor(
    private readonly backend: Backend,
    private readonly memory: SharedMemory,
    private readonly parameters: TrainingParameters,
    buckets: readonly Bucket[],
    private readonly options: OptimizerOptions,
    private readonly collective: Collective,
  ) {
    const { rank } = collective;
    this.shards = buckets.map((bucket) => {
      const lengths = sharesOf(bucket, collective);
      const before = lengths.slice(0, rank).reduce((sum, length) => sum + length, 0);
      return { bucket, lengths, start: bucket.start + before, length: lengths[rank] };
    });
    const own = this.shards.filter(({ length }) => length > 0);
    const partial = backend.create('f32', [3 * Math.max(1, own.length)]);
    const norms = backend.create('f32', [3]);
    const schedule = backend.create('f32', [3]);
    this.buffers = [partial, norms, schedule];
    const { all, decayed } = parameters;
    const { maxGradNorm, beta1, beta2, eps, weightDecay } = options;

    // A part's summed gradient lies at the beginning of its bucket; the rest of that is zeros.
    const norming = new Ops();
    for (const [i, { bucket, length }] of own.entries()) {
      norming.globalNorm(view(all.grad, bucket.start, [length]), view(partial, 3 * i, [3]), maxGradNorm);
    }
    this.norming = backend.compile(norming.finish());
    const stepping = new Ops();
    for (const { bucket, start, length } of own) {
      const of = (buffer: DeviceBuffer<'f32'>, from = start): DeviceBuffer<'f32'> => view(buffer, from, [length]);
      const state = { parameters: of(all.parameters), firstMoment: of(all.firstMoment), secondMoment: of(all.secondMoment) };
      const decay = bucket.end <= decayed.grad.offset + decayed.grad.shape[0] ? weightDecay : 0;
      stepping.adamw({ ...state, grad: of(all.grad, bucket.start) }, norms, schedule, { beta1, beta2, eps, weightDecay: decay });
    }
    this.stepping = backend.compile(stepping.finish());
  }

  /** The ranges [start, end) of the flat moments that lie here. */
  get ranges(): [number, number][] {
    return this.shards.filter(({ length }) => length > 0).map(({ start, length }) => [start, start + length]);
  }

  /** As `Optimizer.update`; the parameters are whole once `publish` resolves. */
  async update(learningRate: number, step: number): Promise<Update> {
    const { backend, options, collective } = this;
    const [partial, norms, schedule] = this.buffers;
    const normed = backend.submit(this.norming, new Int32Array(0));
    const [found] = await Promise.all([backend.read(partial), normed.done]);
    let squares = 0;
    for (let i = 0; i < found.length; i += 3) squares += found[i] ** 2;
    const all = await collective.gather([squares]);
    const gradNorm = Math.fround(Math.sqrt(all.reduce((sum, [value]) => sum + value, 0)));
    const finite = Number.isFinite(gradNorm);
    backend.write(norms, Float32Array.of(gradNorm, Math.min(1, options.maxGradNorm / (gradNorm + 1e-6)), finite ? 0 : 1));
    backend.write(schedule, Float32Array.of(learningRate, 1 - options.beta1 ** step, 1 - options.beta2 ** step));
    await backend.submit(this.stepping, new Int32Array(0)).done;
    this.memory.clear(this.parameters.all.grad);
    return { gradNorm, finite };
  }

  /** Tells all processes the parameters that each has updated. */
  async publish(): Promise<void> {
    const parameters = this.memory.of(this.parameters.all.parameters);
    const telling = this.shards.map(({ bucket, lengths }) =>
      this.collective.allGather(part(parameters, bucket.start, bucket.end), lengths),
    );
    await Promise.all(telling);
  }

  dispose(): void {
    this.norming.dispose();
    this.stepping.dispose();
    for (const buffer of this.buffers) this.backend.free(buffer);
  }
}
