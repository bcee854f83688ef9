// What the model's loss on calibrating text rises by when one matrix alone has few bits: the trainer's program evaluates it, a matrix
// at a time is written over and restored.

import type { ModelConfig } from '../model/config.js';
import type { Backend } from '../tensor/backend.js';
import { languageModelling, type TrainingBatch } from '../train/language-modelling.js';
import { ModelParameters } from '../train/parameters.js';
import { TrainingStep } from '../train/step.js';

export interface SensitivityOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** By name: the rise of the mean cross-entropy with `changed(name)` in place of the matrix. `values`: all of the model's, f32. */
export async function sensitivities(
  backend: Backend,
  config: ModelConfig,
  values: (name: string) => Promise<Float32Array>,
  changed: ReadonlyMap<string, () => Float32Array>,
  sequences: readonly Int32Array[],
  { signal, onProgress }: SensitivityOptions = {},
): Promise<Map<string, number>> {
  const parameters = new ModelParameters(backend, config);
  const longest = sequences.reduce((most, { length }) => Math.max(most, length - 1), 1);
  const objective = languageModelling({
    ...{ maxRows: longest, maxSequences: 1, maxPositions: longest },
    ...{ zLoss: 0, labelSmoothing: 0 },
  });
  const optimizer = { maxGradNorm: 1, beta1: 0, beta2: 0, eps: 1, weightDecay: 0 };
  const step = new TrainingStep<TrainingBatch>(backend, { model: parameters.model(), parameters, objective, optimizer });
  const loss = async (): Promise<number> => {
    let [sum, count] = [0, 0];
    for (const ids of sequences) {
      signal?.throwIfAborted();
      const batch = { tokens: ids.slice(0, -1), targets: ids.slice(1), sequences: [[0, ids.length - 1] as const] };
      const report = await step.evaluate(batch);
      sum += report.means.crossEntropy * report.count;
      count += report.count;
    }
    return sum / count;
  };
  try {
    for (const { name } of parameters.list) parameters.write(name, await values(name));
    const before = await loss();
    const rises = new Map<string, number>();
    for (const [name, make] of changed) {
      parameters.write(name, make());
      rises.set(name, (await loss()) - before);
      parameters.write(name, await values(name));
      onProgress?.(rises.size, changed.size);
    }
    return rises;
  } finally {
    step.dispose();
    parameters.free();
  }
}
