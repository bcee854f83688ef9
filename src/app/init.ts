// `openelm init`: a randomly initialised checkpoint on disk: config.json beside model.safetensors, or beside shards with their index. Weights
// are generated and written a chunk at a time, so a model of any size takes a few megabytes of memory. The checkpoint is made
// in a temporary directory and moved into place at the end: it is there whole or not at all.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { InputError } from '../errors.js';
import { DTYPE_BYTES } from '../io/bytes.js';
import { encodeBfloat16, encodeFloat16 } from '../io/float16.js';
import { fileError, writeAtomic } from '../io/node/files.js';
import { INDEX_FILE, WEIGHTS_FILE } from '../io/node/weights.js';
import { type TensorSpec, writeSafetensors } from '../io/safetensors.js';
import { configNames, countParameters, type ModelConfig, toHuggingFaceConfig } from '../model/config.js';
import { parameterValues } from '../model/initialize.js';
import { type CheckpointType, checkpointTypes, parameterShapes } from '../model/parameters.js';
import { required, wholeNumber } from './options.js';
import { formatBytes, progressBar } from './progress.js';
import { shapeFrom } from './shape.js';
import { interruptible, type Terminal } from './terminal.js';

const CONFIG_FILE = 'config.json';

export interface InitOptions {
  config: ModelConfig;
  /** The directory to make. */
  out: string;
  dtype: CheckpointType;
  /** A whole number from 0 to 2^53 - 1; the same seed gives the same values, rounded to `dtype`. */
  seed: number;
  /** Split into shards of at most this many bytes of weights; a larger tensor has a shard of its own. Default: one file. */
  shardBytes?: number;
  /** Write into a directory that is not empty, replacing its weights and config.json and leaving other files. */
  force?: boolean;
  signal?: AbortSignal;
  /** Called as weights are written, with bytes so far and in all. */
  onProgress?: (bytes: number, total: number) => void;
}

/** What was written. */
export interface InitResult {
  directory: string;
  /** File names in the directory. */
  files: string[];
  /** Bytes of weights. */
  bytes: number;
}

/** Writes the checkpoint. Throws `InputError` when the directory is not empty (without `force`) or cannot be written. */
export async function initCheckpoint(options: InitOptions): Promise<InitResult> {
  const { config, dtype, seed } = options;
  if (!(Number.isSafeInteger(seed) && seed >= 0))
    throw new InputError(`seed is ${seed}; expected a whole number from 0 to 2^53 - 1`);
  const { shardBytes = Number.POSITIVE_INFINITY } = options;
  if (!(shardBytes >= 1)) throw new InputError(`the size of a shard is ${shardBytes} bytes; expected at least 1`);
  const directory = resolve(options.out);
  const present = await listDirectory(directory);
  if (present?.length && !options.force) {
    throw new InputError(
      `${directory}: not empty (it holds ${present[0]}); choose another directory, or --force to replace the weights there`,
    );
  }

  const specs = parameterShapes(config).map((parameter): TensorSpec => ({ ...parameter, dtype: checkpointTypes[dtype].stored }));
  const total = specs.reduce((sum, spec) => sum + byteLength(spec), 0);
  // Inside a directory that exists (it may be a mount, which nothing can be renamed onto), else beside the one to come.
  const beside = present ? join(directory, '.init') : join(dirname(directory), `.${basename(directory)}`);
  const temporary = `${beside}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  let done = 0;
  async function* data(spec: TensorSpec): AsyncGenerator<Uint8Array> {
    for (const chunk of encoded(parameterValues(config, spec, seed), dtype)) {
      yield chunk;
      done += chunk.byteLength;
      options.onProgress?.(done, total);
    }
  }

  try {
    await mkdir(temporary, { recursive: true }).catch((error) => {
      throw fileError(error, directory, 'write');
    });
    const files: string[] = [];
    const write = async (file: string, content: Parameters<typeof writeAtomic>[1]) => {
      await writeAtomic(join(temporary, file), content, { signal: options.signal });
      files.push(file);
    };
    const shards = splitIntoShards(specs, shardBytes);
    for (const { file, tensors } of shards) {
      await write(file, (sink) => writeSafetensors(sink, tensors, data, { format: 'pt' }));
    }
    if (shards.length > 1) {
      const weightMap = Object.fromEntries(shards.flatMap(({ file, tensors }) => tensors.map(({ name }) => [name, file])));
      await write(INDEX_FILE, (sink) => sink.write(jsonBytes({ metadata: { total_size: total }, weight_map: weightMap })));
    }
    await write(CONFIG_FILE, (sink) => sink.write(jsonBytes(toHuggingFaceConfig(config, checkpointTypes[dtype].torch))));
    await moveIntoPlace(temporary, directory, files, present);
    return { directory, files, bytes: total };
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

function byteLength({ shape, dtype }: TensorSpec): number {
  return shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype]);
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

/** Chunks of values as little-endian bytes; like the values, each is overwritten by the next. */
function* encoded(chunks: Iterable<Float32Array>, dtype: CheckpointType): Generator<Uint8Array> {
  let halves = new Uint16Array(0);
  for (const values of chunks) {
    if (dtype === 'f32') {
      yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      continue;
    }
    if (halves.length < values.length) halves = new Uint16Array(values.length);
    const out = halves.subarray(0, values.length);
    if (dtype === 'f16') encodeFloat16(values, out);
    else encodeBfloat16(values, out);
    yield new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
  }
}

function splitIntoShards(specs: readonly TensorSpec[], shardBytes: number): { file: string; tensors: TensorSpec[] }[] {
  const shards: TensorSpec[][] = [];
  let room = 0;
  for (const spec of specs) {
    const bytes = byteLength(spec);
    if (shards.length === 0 || bytes > room) {
      shards.push([]);
      room = shardBytes;
    }
    shards[shards.length - 1].push(spec);
    room -= bytes;
  }
  if (shards.length === 1) return [{ file: WEIGHTS_FILE, tensors: shards[0] }];
  const number = (n: number) => String(n).padStart(5, '0');
  return shards.map((tensors, i) => ({ file: `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`, tensors }));
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

function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
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
    .option('-o, --out <directory>', 'the directory to make')
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
  const { directory, bytes } = await interruptible(terminal, (signal) =>
    initCheckpoint({ ...options, out, config, signal, onProgress: (done, total) => bar.update('writing', done, total) }),
  ).finally(() => bar.finish());
  const parameters = countParameters(config).toLocaleString('en');
  terminal.stdout.write(`${directory}: ${parameters} parameters, ${formatBytes(bytes)} in ${options.dtype}\n`);
}
