// Opening an adapter: a directory in PEFT's layout, or a run's last checkpoint, checked against the model that it is for. Part of the library's door, as it joins
// files and model.

import { InputError, shown } from './errors.js';
import type { ByteSource, StoredTensor } from './io/bytes.js';
import { newestCheckpoint } from './io/node/checkpoints.js';
import { openFile, readJson } from './io/node/files.js';
import { kindOf } from './io/node/paths.js';
import { readSafetensors } from './io/safetensors.js';
import { type Adapter, checkAdapter } from './model/adapter.js';
import type { ModelConfig } from './model/config.js';
import { peftFiles, readPeft } from './model/peft.js';

/** Where an adapter's files lie: the directory itself, or the last checkpoint of the run in it. */
export async function locateAdapter(directory: string): Promise<string> {
  if (await kindOf(`${directory}/${peftFiles.config}`)) return directory;
  return (await newestCheckpoint(directory))?.path ?? directory;
}

/** What an adapter's config calls its base: a name, a path of the machine that it was made on, or nothing. */
export async function baseOfAdapter(directory: string): Promise<string | undefined> {
  const file = `${await locateAdapter(directory)}/${peftFiles.config}`;
  if (!(await kindOf(file))) return undefined;
  const { base_model_name_or_path: base } = ((await readJson(file)) ?? {}) as Record<string, unknown>;
  return typeof base === 'string' && base !== '' ? base : undefined;
}

/** A model's name without the folders, the run's checkpoint or the owner that it is found under. */
export function nameOf(model: string): string {
  return model
    .replace(/[/\\]+(step-\d+[/\\]*)?$/, '')
    .split(/[/\\]/)
    .at(-1)!
    .toLowerCase();
}

/** What to tell where an adapter is put around another model than its config names as its base; undefined where it is the same, or none. */
export function otherBase(adapter: string | undefined, base: string | undefined, model: string): string | undefined {
  if (base === undefined || nameOf(base) === nameOf(model)) return undefined;
  return `note: the adapter ${adapter} was tuned for ${base}, and is put around ${model}`;
}

/**
 * The two files of an adapter; `place` as `locateAdapter` takes it. Weights as PEFT wrote them before 0.6 (`adapter_model.bin`) are taken where
 * there are no others. Throws `InputError` when one is not there.
 */
export async function adapterFiles(place: string): Promise<{ directory: string; config: string; weights: string }> {
  if (!(await kindOf(place)))
    throw new InputError(`${place}: no such directory; an adapter is one in PEFT's layout, or a run that tunes one`);
  const directory = await locateAdapter(place);
  const there = async (name: string): Promise<boolean> => (await kindOf(`${directory}/${name}`)) !== undefined;
  const weights = (await there(peftFiles.weights)) || !(await there(torchWeights)) ? peftFiles.weights : torchWeights;
  for (const name of [peftFiles.config, weights]) {
    if (await there(name)) continue;
    if (name === peftFiles.config && (await there('config.json')))
      throw new InputError((option) => `${directory} holds a whole model, no adapter: name it by ${option('model')}`);
    throw new InputError(
      `${directory}: no adapter: ${name} is missing (PEFT's adapter_config.json and adapter_model.safetensors are read)`,
    );
  }
  return { directory, config: `${directory}/${peftFiles.config}`, weights: `${directory}/${weights}` };
}

const torchWeights = 'adapter_model.bin';

/**
 * Reads an adapter whole; `place` as `locateAdapter` takes it. Throws `InputError` when it is not there, damaged, of a kind that is not
 * known, or for another base.
 */
export async function openAdapter(place: string, config: ModelConfig): Promise<Adapter> {
  const { directory, ...files } = await adapterFiles(place);
  const source = await openFile(files.weights);
  try {
    const tensors = files.weights.endsWith('.bin') ? await torchTensors(source) : (await readSafetensors(source)).tensors;
    const adapter = await readPeft(await readJson(files.config), tensors, directory);
    checkAdapter(adapter, config, directory);
    return adapter;
  } finally {
    await source.close();
  }
}

async function torchTensors(source: ByteSource): Promise<ReadonlyMap<string, StoredTensor>> {
  const { readTorch, TorchTensor } = await import('./io/torch.js');
  const { root } = await readTorch(source);
  if (!(root instanceof Map)) throw new InputError(`${source.name}: not a dict of tensors`);
  return new Map(
    [...root].map(([name, tensor]: [unknown, unknown]) => {
      if (typeof name === 'string' && tensor instanceof TorchTensor) return [name, tensor.stored(name)] as const;
      throw new InputError(`${source.name}: ${shown(name)} is no tensor`);
    }),
  );
}
