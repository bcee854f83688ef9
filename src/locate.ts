// Where the word for a model leads: a directory, a weights file, a run's last checkpoint, a hub id; and one sentence of its own for
// each thing that is none. Part of the library's door, as it joins files, names and the hub; what is in the place is checkpoint.ts's.

import { InputError, nearest } from './errors.js';
import { isCoreNetFile, isGgufFile } from './formats/model-file.js';
import { hasLayout, wholeModels } from './io/hub-listing.js';
import { checkpointName, newestCheckpoint } from './io/node/checkpoints.js';
import type { DownloadOptions } from './io/node/hub.js';
import { absolutePath, kindOf, namesIn, packagePath, parentOf } from './io/node/paths.js';
import { configNames } from './model/config.js';

/** The model that is used when none is named: it lies in the package. */
export const defaultModel = 'tales-6m';
/** The one that is talked to when none is named: the same model, taught to tell stories by instruction. */
export const defaultChatModel = 'tales-6m-instruct';
/** Those that lie in the package. */
export const embeddedModels: readonly string[] = [defaultModel, defaultChatModel];

/** Files that hold weights of other programs, by their ending. */
const foreign: readonly (readonly [ending: RegExp, what: string])[] = [
  [/\.onnx$/i, 'an ONNX file'],
  [/\.(npz|h5|msgpack)$/i, 'a file of another framework'],
];
/** What a file of another program's weights is, by its ending. */
export function foreignFile(path: string): string | undefined {
  return foreign.find(([ending]) => ending.test(path))?.[1];
}

const isModelFile = (path: string): boolean => isGgufFile(path) || isCoreNetFile(path);

const instead = 'take the safetensors file of that model, with its config.json beside it';

/** The directory or the weights file that `model` stands for; what was found out on the way goes to `onNotice`. Throws `InputError`. */
export async function locateModel(model: string, hub: DownloadOptions): Promise<string> {
  if (embeddedModels.includes(model)) return embedded(model);
  const kind = await kindOf(model);
  if (kind === 'file') return locateFile(model);
  if (kind === 'directory') return locateDirectory(model, hub.onNotice);
  if (configNames.includes(model)) {
    const published = model.startsWith('OpenELM-') ? `apple/${model} has weights, ` : '';
    throw new InputError(
      `${model} names a shape, not weights: ${published}\`openelm init ${model} --out DIR\` makes random ones`,
    );
  }
  if (isHubId(model)) {
    const { downloadModel, isRepoId, repoFile } = await import('./io/node/hub.js'); // only now: local models need no network code
    if (isRepoId(model) || repoFile(model)) return downloadModel(model, hub);
  }
  const guess = nearest(model, [...embeddedModels, ...configNames]);
  throw new InputError(
    `${model || 'a model without a name'}: no such directory or file, and no hub id (like apple/OpenELM-270M-Instruct)${guess ? `; did you mean ${guess}?` : ''}`,
  );
}

/** Whether a text that was given as something else is the name of a model, or of a thing that people take for one. */
export async function looksLikeModel(text: string): Promise<boolean> {
  if (/\s/.test(text)) return false;
  const named = configNames.includes(text) || embeddedModels.includes(text) || isHubId(text);
  return named || /\.safetensors$/.test(text) || isModelFile(text) || foreignFile(text) !== undefined || (await isPlace(text));
}

async function isPlace(text: string): Promise<boolean> {
  return /[/\\]/.test(text) && (await kindOf(text)) !== undefined;
}

function isHubId(text: string): boolean {
  return /^[\w.-]+\/[\w.-]+(\/.+\.(gguf|pt|pth|bin))?$/.test(text);
}

async function embedded(name: string): Promise<string> {
  const path = packagePath(`models/${name}`);
  if ((await kindOf(path)) === 'directory') return path;
  throw new InputError(
    `the embedded model is not at ${path}; where openelm was bundled with a program, leave it out of the bundle (external: openelm)`,
  );
}

async function locateFile(path: string): Promise<string> {
  const what = foreignFile(path);
  if (what) throw new InputError(`${path} is ${what}, which cannot be run: ${instead}`);
  if (path.endsWith('.json') && !path.endsWith('.safetensors.index.json'))
    throw new InputError(
      `${path} describes a model without its weights: \`openelm info ${path}\` shows it, \`openelm init ${path} --out DIR\` makes random weights`,
    );
  if (isModelFile(path)) return absolutePath(path);
  if (!/\.safetensors(\.index\.json)?$/.test(path))
    throw new InputError(
      `${path}: expected a directory, a .safetensors, .gguf or .pt file, or a hub id (like apple/OpenELM-270M-Instruct)`,
    );
  if ((await kindOf(`${parentOf(path)}/config.json`)) === undefined)
    throw new InputError(`${path} says nothing of the model's shape, and there is no config.json beside it: put it there`);
  return absolutePath(path);
}

async function locateDirectory(path: string, onNotice?: (message: string) => void): Promise<string> {
  if ((await kindOf(`${path}/config.json`)) !== undefined) {
    const all = await namesIn(path);
    const only = hasLayout(new Set(all)) ? [] : wholeModels(all);
    return absolutePath(only.length === 1 ? `${path}/${only[0]}` : path);
  }
  const last = await newestCheckpoint(path);
  if (last) {
    onNotice?.(`${path} is a training run: taking its last checkpoint, ${checkpointName(last.step)}`);
    return locateDirectory(last.path);
  }
  const names = await namesIn(path);
  if (names.length === 0) throw new InputError(`${path} is an empty directory: there is no model in it`);
  if (names.includes('config.yaml') && names.includes('log.jsonl'))
    throw new InputError(`${path} is a training run that has no checkpoint yet: wait for the first, or go on with it`);
  if (names.includes('adapter_config.json'))
    throw new InputError((option) => `${path} holds an adapter, no model: ${option('adapter', path)} puts it around its base`);
  const files = wholeModels(names);
  if (files.length === 1) return absolutePath(`${path}/${files[0]}`);
  if (files.length > 1) {
    throw new InputError(`${path} holds ${files.length} models: name one of them, like ${path}/${files[0]}`);
  }
  const weights = names.find(foreignFile);
  if (weights) throw new InputError(`${path} has no config.json, only ${weights}, which cannot be run: ${instead}`);
  const few = names.slice(0, 4).join(', ');
  throw new InputError(
    `${path} is no model: it has no config.json (there are ${few}${names.length > 4 ? ` and ${names.length - 4} more` : ''})`,
  );
}
