// Clipping and AdamW over all trainable parameters, as one program: a few records over long ranges. The learning rate of a step
// is `schedule.ts`.

import type { Backend, DeviceBuffer, Executable } from '../tensor/backend.js';
import { Ops } from '../tensor/ops.js';
import type { TrainingParameters } from './parameters.js';

/**
 * AdamW (Loshchilov and Hutter 2019); gradients longer than `maxGradNorm`, all parameters together, are shortened to it. Matrices decay,
 * vectors do not.
 */
export interface OptimizerOptions {
  readonly maxGradNorm: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
}

/** What a step of the optimizer did. */
export interface Update {
  /** Before clipping. */
  readonly gradNorm: number;
  /** Whether the gradient was finite; otherwise nothing was updated. */
  readonly finite: boolean;
}

export class Optimizer {
  private readonly norms: DeviceBuffer;
  private readonly schedule: DeviceBuffer;
  private readonly executable: Executable;

  constructor(
    private readonly backend: Backend,
    { all, decayed, undecayed }: Pick<TrainingParameters, 'all' | 'decayed' | 'undecayed'>,
    private readonly options: OptimizerOptions,
  ) {
    this.norms = backend.create('f32', [3]);
    this.schedule = backend.create('f32', [3]);
    const { maxGradNorm, beta1, beta2, eps, weightDecay } = options;
    const ops = new Ops();
    ops.globalNorm(all.grad, this.norms, maxGradNorm);
    ops.adamw(decayed, this.norms, this.schedule, { beta1, beta2, eps, weightDecay });
    ops.adamw(undecayed, this.norms, this.schedule, { beta1, beta2, eps, weightDecay: 0 });
    this.executable = backend.compile(ops.finish());
  }

  /** Clips, takes one step (the `step`th, counted from 1) and zeroes the gradients. */
  async update(learningRate: number, step: number): Promise<Update> {
    const { beta1, beta2 } = this.options;
    this.backend.write(this.schedule, Float32Array.of(learningRate, 1 - beta1 ** step, 1 - beta2 ** step));
    const submission = this.backend.submit(this.executable, new Int32Array(0));
    const [norms] = await Promise.all([this.backend.read(this.norms), submission.done]);
    return { gradNorm: norms[0], finite: norms[2] === 0 };
  }

  dispose(): void {
    this.executable.dispose();
    for (const buffer of [this.norms, this.schedule]) this.backend.free(buffer);
  }
}
