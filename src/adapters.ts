// Opening an adapter: a directory in PEFT's layout, or a run's last checkpoint, checked against the model that it is for. Part of the library's door, as it joins
// files and model.

import { InputError } from './errors.js';
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

/**
 * Reads an adapter whole; `place` as `locateAdapter` takes it. Throws `InputError` when it is not there, damaged, of a kind that is not
 * known, or for another base.
 */
export async function openAdapter(place: string, config: ModelConfig): Promise<Adapter> {
  const directory = await locateAdapter(place);
  const [configFile, weightsFile] = [peftFiles.config, peftFiles.weights].map((name) => `${directory}/${name}`);
  for (const file of [configFile, weightsFile]) {
    if (await kindOf(file)) continue;
    throw new InputError(
      `${directory}: no adapter: ${file.slice(directory.length + 1)} is missing (PEFT's adapter_config.json and adapter_model.safetensors are read)`,
    );
  }
  const source = await openFile(weightsFile);
  try {
    const adapter = await readPeft(await readJson(configFile), (await readSafetensors(source)).tensors, directory);
    checkAdapter(adapter, config, directory);
    return adapter;
  } finally {
    await source.close();
  }
}
