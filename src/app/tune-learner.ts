// What learns in a tuning run: all of the model, in f32 with gradient and moments of its own, or an adapter beside a model that stays as
// it was loaded, in any precision.

import type { Checkpoint } from '../index.js';
import { elementsOf, type NamedBytes } from '../io/bytes.js';
import { chooseModules, initialValues } from '../model/adapter.js';
import { loadModel } from '../model/load.js';
import type { OpenELM } from '../model/openelm.js';
import { checkWeights, parameterShapes, weightBytes } from '../model/parameters.js';
import type { WriteFile } from '../model/write.js';
import type { Backend } from '../tensor/backend.js';
import { AdapterParameters } from '../train/adapter.js';
import {
  type OpenFile,
  readAdapterState,
  readState,
  type SharedReading,
  type SharedWriting,
  type TrainingRecord,
  writeAdapterCheckpoint,
  writeCheckpoint,
} from '../train/checkpoint.js';
import { trainingBytes } from '../train/data-parallel.js';
import { ModelParameters, type TrainingParameters } from '../train/parameters.js';
import { adapterRules, type TuneConfig } from './tune-config.js';

export interface Learning {
  readonly model: OpenELM;
  readonly parameters: TrainingParameters;
  /** The model as it was before it learned, where a step asks it (`dpo.reference: online`). */
  readonly reference?: OpenELM;
  /** Goes on from a checkpoint. */
  restore(open: OpenFile, share: SharedReading): Promise<void>;
  save(write: WriteFile, record: Omit<TrainingRecord, 'format' | 'files'>, shared: SharedWriting): Promise<void>;
}

const elements = (shapes: readonly { readonly shape: readonly number[] }[]): number =>
  shapes.reduce((sum, { shape }) => sum + elementsOf(shape), 0);

/** Whether each step asks what the model thought before it learned. */
export function asksReference({ method, dpo }: Pick<TuneConfig, 'method' | 'dpo'>): boolean {
  return method !== 'sft' && dpo.reference === 'online';
}

/** Parameters that learn, and bytes that they and the rest of the model take on each of some processes: as training keeps them, or as loaded. */
export function learningSize(
  { adapter, ...settings }: TuneConfig,
  { config }: Checkpoint,
  processes: number,
): { learned: number; bytes: number } {
  const bytesOf = (learned: number): number => trainingBytes(learned, processes, settings.parallel, settings.accumulation);
  if (adapter === 'none') {
    const learned = elements(parameterShapes(config));
    return { learned, bytes: bytesOf(learned) + (asksReference(settings) ? weightBytes(config, 'f32') : 0) };
  }
  const learned = chooseModules(config, adapterRules(adapter)).reduce(
    (sum, { inputs, outputs, rank, dora }) => sum + rank * (inputs + outputs) + (dora ? outputs : 0),
    0,
  );
  return { learned, bytes: bytesOf(learned) + weightBytes(config, adapter.dtype) };
}

/** Loads the model, ready to learn. Throws `InputError` when its weights do not fit its config, or a pattern matches nothing. */
export async function openLearning(
  backend: Backend,
  { adapter, checkpoints: { dtype }, seed, ...settings }: TuneConfig,
  { name, place, config, openWeights }: Checkpoint,
  beside: readonly NamedBytes[],
): Promise<Learning> {
  const files = await openWeights();
  try {
    const checked = checkWeights(config, files.tensors, place);
    const asked = asksReference(settings);
    if (adapter === 'none') {
      const parameters = new ModelParameters(backend, config);
      await parameters.load(checked.tensors);
      return {
        ...{ model: parameters.model(), parameters },
        reference: asked ? (await loadModel(backend, config, checked, { activations: 'f32' })).model : undefined,
        restore: async (open, share) => void (await readState(open, parameters, share)),
        save: (write, record, shared) => writeCheckpoint(write, { parameters, dtype, beside, record, shared }),
      };
    }
    const modules = chooseModules(config, adapterRules(adapter));
    const parameters = new AdapterParameters(backend, modules);
    const { model, base } = await loadModel(backend, config, checked, { dtype: adapter.dtype, ...parameters.wrapping });
    await parameters.begin(initialValues(modules, seed));
    return {
      ...{ model, parameters, reference: asked ? base : undefined },
      restore: (open, share) => readAdapterState(open, parameters, share),
      save: (write, record, shared) => writeAdapterCheckpoint(write, { parameters, base: name, beside, record, shared }),
    };
  } finally {
    await files.close();
  }
}
