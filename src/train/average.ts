// Averages of weights: the mean of several checkpoints (CoreNet's average_ckpts, by which OpenELM was released) and the
// exponential moving average during training (CoreNet's averaging_utils). On the host, in f64 and f32; no files here.

import { InputError } from '../errors.js';
import type { StoredTensor } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import type { TrainingParameters } from './parameters.js';

/** One parameter's mean over checkpoints, summed in f64, as f32. Throws `InputError` when shapes differ or a file is cut. */
export async function meanTensor(tensors: readonly StoredTensor[]): Promise<Float32Array> {
  const [first] = tensors;
  let sum: Float64Array | undefined;
  for (const tensor of tensors) {
    if (String(tensor.shape) !== String(first.shape)) {
      throw new InputError(
        `${tensor.source.name}: tensor ${tensor.name} has shape [${tensor.shape}], but [${first.shape}] in ${first.source.name}`,
      );
    }
    const values = await readFloat32(tensor);
    sum ??= new Float64Array(values.length);
    for (let i = 0; i < values.length; i++) sum[i] += values[i];
  }
  const mean = new Float32Array(sum!.length);
  for (let i = 0; i < mean.length; i++) mean[i] = sum![i] / tensors.length;
  return mean;
}

/** average <- (1 - momentum) * average + momentum * parameters, after every step. */
export class MovingAverage {
  private constructor(
    private readonly parameters: TrainingParameters,
    private readonly momentum: number,
    private readonly values: Map<string, Float32Array>,
  ) {}

  private following: Promise<unknown> = Promise.resolve();

  /** Starts at the parameters as they are, or goes on from `values`. */
  static async create(
    parameters: TrainingParameters,
    momentum: number,
    values?: Map<string, Float32Array>,
  ): Promise<MovingAverage> {
    const start = values ?? new Map<string, Float32Array>();
    if (!values) for (const { name } of parameters.list) start.set(name, await parameters.read(name));
    return new MovingAverage(parameters, momentum, start);
  }

  /** Takes the parameters in as everything queued so far leaves them. */
  follow(): void {
    // Queued at once, so that the next step's update comes after these reads.
    const reads = this.parameters.list.map(async ({ name }) => [name, await this.parameters.read(name)] as const);
    const before = this.following;
    this.following = before.then(async () => {
      for (const [name, now] of await Promise.all(reads)) {
        const average = this.values.get(name)!;
        for (let i = 0; i < average.length; i++) average[i] = (1 - this.momentum) * average[i] + this.momentum * now[i];
      }
    });
    this.following.catch(() => {});
  }

  /** The averages by name, once all that was followed is in them; they go on changing with the next `follow`. */
  async current(): Promise<ReadonlyMap<string, Float32Array>> {
    await this.following;
    return this.values;
  }
}
