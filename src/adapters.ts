// Opening an adapter: a directory in PEFT's layout, checked against the model that it is for. Part of the library's door, as it joins
// files and model.

import { InputError } from './errors.js';
import { openFile, readJson } from './io/node/files.js';
import { kindOf } from './io/node/paths.js';
import { readSafetensors } from './io/safetensors.js';
import { type Adapter, checkAdapter } from './model/adapter.js';
import type { ModelConfig } from './model/config.js';
import { peftFiles, readPeft } from './model/peft.js';

/** Reads an adapter whole. Throws `InputError` when it is not there, damaged, of a kind that is not known, or for another base. */
export async function openAdapter(directory: string, config: ModelConfig): Promise<Adapter> {
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
