// `openelm init`: a randomly initialised checkpoint on disk: config.json beside model.safetensors. Weights are generated and written a
// chunk at a time, so a model of any size takes a few megabytes of memory. The checkpoint is made in a temporary directory and moved
// into place at the end: it is there whole or not at all.

import { readdir, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { counted, InputError } from '../errors.js';
import { makingAlone, named } from '../io/node/checkpoints.js';
import { fileError, makeDirectory, temporaryBeside, writeAtomic } from '../io/node/files.js';
import { shapeFrom } from '../io/node/shape-file.js';
import { configNames, countParameters, type ModelConfig } from '../model/config.js';
import { parameterValues } from '../model/initialize.js';
import { type CheckpointType, checkpointTypes } from '../model/parameters.js';
import { type ParameterValues, type WriteFile, writeModel } from '../model/write.js';
import { required, wholeNumber } from './options.js';
import { formatBytes, formatNumber, progressBar } from './progress.js';
import { interruptible, type Terminal, writeLine } from './terminal.js';

interface InitOptions {
  config: ModelConfig;
  /** The directory to make. */
  out: string;
  dtype: CheckpointType;
  /** A whole number from 0 to 2^53 - 1; the same seed gives the same values, rounded to `dtype`. */
  seed: number;
  /** Write into a directory that is not empty, replacing its weights and config.json and leaving other files. */
  force?: boolean;
  signal?: AbortSignal;
  /** Called as weights are written, with bytes so far and in all. */
  onProgress?: (bytes: number, total: number) => void;
}

/** What was written. */
interface InitResult {
  directory: string;
  /** File names in the directory. */
  files: string[];
  /** Bytes of weights. */
  bytes: number;
}

/** Writes the checkpoint. Throws `InputError` when the directory is not empty (without `force`) or cannot be written. */
export async function initCheckpoint(options: InitOptions): Promise<InitResult> {
  const directory = resolve(options.out);
  // Inside a directory that exists (it may be a mount, which nothing can be renamed onto), else beside the one to come.
  const inside = (await listDirectory(directory)) !== undefined;
  return makingAlone(inside ? join(directory, 'init') : directory, () => makeCheckpoint(options, directory));
}

async function makeCheckpoint(options: InitOptions, directory: string): Promise<InitResult> {
  const { config, dtype, seed, onProgress } = options;
  const present = (await listDirectory(directory))?.filter((name) => name !== '.init.lock');
  if (present?.length && !options.force) {
    throw new InputError(
      `${directory}: not empty (it holds ${present[0]}); choose another directory, or --force to replace the weights there`,
    );
  }

  const temporary = temporaryBeside(present ? join(directory, 'init') : directory);
  try {
    await makeDirectory(temporary);
    const files: string[] = [];
    const write: WriteFile = async (file, content) => {
      await writeAtomic(join(temporary, file), content, { signal: options.signal });
      files.push(file);
    };
    const values: ParameterValues = (parameter) => parameterValues(config, parameter, seed);
    const bytes = await writeModel(write, config, dtype, values, { onProgress });
    await moveIntoPlace(temporary, directory, files, present);
    return { directory, files, bytes };
  } catch (error) {
    throw named(error, temporary, directory);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** The names in a directory, or undefined when nothing is there. */
async function listDirectory(path: string): Promise<string[] | undefined> {
  try {
    return await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileError(error, path, 'write');
  }
}

/** Weights that another checkpoint left: the new one must not be read through them. */
const OLD_WEIGHTS = /^(model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json)$/;

async function moveIntoPlace(
  temporary: string,
  directory: string,
  files: readonly string[],
  present?: readonly string[],
): Promise<void> {
  try {
    if (!present) return await rename(temporary, directory);
    for (const file of present) if (OLD_WEIGHTS.test(file)) await rm(join(directory, file));
    for (const file of files) await rename(join(temporary, file), join(directory, file));
  } catch (error) {
    throw fileError(error, directory, 'write');
  }
}

const help = `
Weights are drawn by CoreNet's rule: noise until the model is trained. Built-in shapes: ${configNames.join(', ')}.
A JSON file is a Hugging Face config.json of model_type openelm, or the fields of a config (num_transformer_layers, model_dim,
head_dim, ...).

Example:
  $ openelm init OpenELM-270M --out model-270m`;

type Options = Pick<InitOptions, 'dtype' | 'seed' | 'force'> & { readonly out?: string };

/** The verb with its options. */
export function initCommand(terminal: Terminal): Command {
  return new Command('init')
    .argument('<shape>', 'a built-in name, or a config in a JSON file')
    .option('-o, --out <directory>', 'the directory to make (required)')
    .addOption(new Option('--dtype <type>', 'precision on disk').choices(Object.keys(checkpointTypes)).default('f16'))
    .option('--seed <n>', 'the same weights again', wholeNumber(0), 0)
    .option('--force', 'replace the weights in a directory that is not empty')
    .addHelpText('after', help)
    .action((shape: string, options: Options) => init(terminal, shape, options));
}

async function init(terminal: Terminal, shape: string, options: Options): Promise<void> {
  const out = required(options.out, '-o, --out <directory>');
  const config = await shapeFrom(shape);
  const bar = progressBar(terminal.stderr);
  const onProgress = (done: number, total: number): void => bar.update('writing', done, total);
  const make = (signal: AbortSignal): Promise<InitResult> => initCheckpoint({ ...options, out, config, signal, onProgress });
  const { directory, bytes } = await interruptible(terminal, make, { writes: true }).finally(() => bar.finish());
  writeLine(
    terminal,
    `${directory}: ${counted(countParameters(config), 'parameter', formatNumber)}, ${formatBytes(bytes)} in ${options.dtype}`,
  );
}
