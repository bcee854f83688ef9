// A model's shape without its weights: a built-in name, or a JSON file in Hugging Face's format or with the fields of a config.

import { configFromFields, configFromHuggingFace, configFromName, type ModelConfig } from '../../model/config.js';
import { readJson } from './files.js';

/** Throws `InputError` on an unknown name, or a file that is missing or no config. */
export async function shapeFrom(nameOrFile: string): Promise<ModelConfig> {
  if (!nameOrFile.endsWith('.json')) return configFromName(nameOrFile);
  const json = await readJson(nameOrFile);
  const fromHub = typeof json === 'object' && json !== null && 'model_type' in json;
  return fromHub ? configFromHuggingFace(json, nameOrFile) : configFromFields(json, nameOrFile);
}
