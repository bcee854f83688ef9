// What a page can ask about trainings without a worker: which are kept, their models, and what one would take. Fetched when it is first
// asked for (browser.ts); the trainings themselves are train.ts's.

import { alone } from '../io/browser/locks.js';
import { countParameters, type ModelConfig } from '../model/config.js';
import { flopsPerToken } from '../train/trainer.js';
import type { NamedBlob } from './model-files.js';
import { checkCounts, configOf, type TrainOptions } from './training-options.js';
import { type TrainingHistory, type TrainingJob, TrainingStore, trainingLock } from './training-store.js';

/** A training that this browser keeps. */
export interface KeptTraining extends TrainingJob {
  /** Steps done at the newest checkpoint; `options.steps` when it is finished. */
  readonly step: number;
  /** When that was kept, in milliseconds since 1970. */
  readonly changed: number;
  /** Up to that step. */
  readonly history: TrainingHistory;
}

/** The newest first; what cannot be read is left out (of another version: `foreignTrainings`). */
export async function keptTrainings(): Promise<KeptTraining[]> {
  const found: KeptTraining[] = [];
  for await (const store of TrainingStore.kept()) {
    const kept = await read(store)
      .catch(() => read(store)) // another tab may have kept a checkpoint meanwhile
      .catch(() => undefined); // another version's, or it was removed
    if (kept) found.push(kept);
  }
  return found.sort((a, b) => b.changed - a.changed);
}

/** What trainings are called that another version of this library keeps here: that alone goes on with them, any can remove them. */
export async function foreignTrainings(): Promise<string[]> {
  const found: string[] = [];
  for await (const store of TrainingStore.kept()) {
    const name = await store.foreignName().catch(() => undefined); // damaged, or it was removed
    if (name !== undefined) found.push(name);
  }
  return found.sort();
}

async function read(store: TrainingStore): Promise<KeptTraining | undefined> {
  const job = await store.job();
  if (!job) return undefined;
  const newest = await store.newest();
  return {
    ...job,
    step: newest?.record.step ?? 0,
    changed: newest?.written ?? job.begun,
    history: await store.history(),
  };
}

/** The names of the trainings that are under way in any tab, kept already or not; none where the browser has no locks. */
export async function runningTrainings(): Promise<string[]> {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  const prefix = trainingLock('');
  return held.flatMap(({ name }) => (name?.startsWith(prefix) ? [name.slice(prefix.length)] : []));
}

/** The model as the newest checkpoint has it. */
export async function trainedModel(name: string): Promise<NamedBlob[] | undefined> {
  for await (const store of TrainingStore.kept(name)) return store.model();
  return undefined;
}

export function removeTraining(name: string): Promise<void> {
  const otherwise = `${name} is being trained: stop it first, here or in another tab`;
  return alone(trainingLock(name), otherwise, () => TrainingStore.remove(name));
}

/** What a training would take. */
export interface TrainingEstimate {
  readonly config: ModelConfig;
  readonly parameters: number;
  /** Weights, gradients and moments, and about what a batch takes on its way. */
  readonly bytes: number;
  /** Forward and back. */
  readonly flopsPerToken: number;
}

/** What a training would take. Throws `InputError` on a shape, or a count, that cannot be. */
export function estimateTraining(options: Pick<TrainOptions, 'shape' | 'vocabSize' | 'batch' | 'length'>): TrainingEstimate {
  const { shape, vocabSize = 1024, batch = 8, length = 128 } = options;
  checkCounts({ vocabSize, batch, length });
  const config = configOf(shape, vocabSize, length);
  const parameters = countParameters(config);
  // What a layer keeps of a token for the way back: its inputs and norms, queries, keys, values, gates and their product.
  const kept = config.layers.reduce(
    (sum, { qkvDim, ffnDim, proj1Dim }) => sum + 4 * config.modelDim + 2 * qkvDim + ffnDim + proj1Dim,
    0,
  );
  const bytes = 16 * parameters + 4 * batch * length * kept;
  return { config, parameters, bytes, flopsPerToken: flopsPerToken(config, length) };
}
