// A model from its files onto a backend, in a browser: config, weights, tokenizer and chat template, an engine over them. What
// open.ts and checkpoint.ts are in Node; where the files come from is model-files.ts's.

import { InputError } from '../errors.js';
import { chatTemplateBeside } from '../infer/chat.js';
import { Engine } from '../infer/engine.js';
import { TextModel } from '../infer/text.js';
import { blobSource } from '../io/browser/blob-source.js';
import { decodeUtf8, parseJson } from '../io/json.js';
import { readSafetensors, type SafetensorsContents } from '../io/safetensors.js';
import { INDEX_FILE, readShardedIndex, readShards, WEIGHTS_FILE } from '../io/safetensors-index.js';
import { configFromHuggingFace, configFromName, type ModelConfig, withGenerationConfig } from '../model/config.js';
import { type LoadedModel, loadModel } from '../model/load.js';
import { type CacheType, checkWeights, kvBytesPerToken, type Precision, weightBytes } from '../model/parameters.js';
import type { Backend } from '../tensor/backend.js';
import { tokenizerBeside } from '../tokenizer/beside.js';
import { type ModelFiles, readSmall } from './model-files.js';

export interface OpenOptions {
  /** Default: as the weights are stored. */
  readonly dtype?: Precision;
  /** Tokens of a sequence; default the config's. */
  readonly context?: number;
  /** Answers at once; each has a cache of `context` tokens. Default 1. */
  readonly slots?: number;
  readonly cacheType?: CacheType;
}

export interface Opened {
  readonly model: TextModel;
  readonly config: ModelConfig;
  readonly weights: Pick<LoadedModel, 'dtype' | 'bytes'>;
  /** Whether a chat template lies beside the weights. */
  readonly hasChatTemplate: boolean;
  close(): Promise<void>;
}

/** What config.json says: the model's shape, and the type of its weights. */
export interface StatedConfig {
  readonly config: ModelConfig;
  readonly stated: Precision | undefined;
}

/** Throws `InputError` when a file is missing or damaged, or the model is too large for the memory that there is. */
export async function openFiles(
  files: ModelFiles,
  { config, stated }: StatedConfig,
  backend: Backend,
  options: OpenOptions,
  onProgress: (loaded: number, total: number) => void,
): Promise<Opened> {
  const cacheOf = (dtype: Precision): CacheType => options.cacheType ?? (dtype === 'f32' ? 'f32' : 'f16');
  const context = options.context ?? config.maxContextLength;
  const checkRoom = (dtype: Precision): void =>
    checkMemory(backend, config, dtype, kvBytesPerToken(config, cacheOf(dtype)) * context * (options.slots ?? 1));
  // Before gigabytes are downloaded for nothing.
  const expected = options.dtype ?? stated;
  if (files.remote && expected) checkRoom(expected);
  const stored = await readWeights(files);
  const checked = checkWeights(config, stored.tensors, files.where || WEIGHTS_FILE);
  const dtype = options.dtype ?? (checked.dtype.toLowerCase() as Precision);
  const cacheType = cacheOf(dtype);
  checkRoom(dtype);
  const read = (name: string): Promise<Uint8Array | undefined> => readSmall(files, name);
  const texts = Promise.all([tokenizerBeside(read, files.where, config.vocabSize), chatTemplateBeside(read, files.where)]);
  const loading = loadModel(backend, config, checked, { dtype, onProgress });
  await Promise.allSettled([loading, texts]);
  const loaded = await loading;
  try {
    const [tokenizer, chatTemplate] = await texts;
    const engine = new Engine(backend, loaded.model, { context, slots: options.slots ?? 1, cacheType });
    const close = async (): Promise<void> => {
      await engine.dispose();
      loaded.free();
    };
    const model = new TextModel({ engine, tokenizer, chatTemplate });
    return { model, config, weights: loaded, hasChatTemplate: chatTemplate !== undefined, close };
  } catch (error) {
    loaded.free();
    throw error;
  }
}

const torchTypes: Readonly<Record<string, Precision>> = { float32: 'f32', float16: 'f16', bfloat16: 'bf16' };

/** Throws `InputError` when it is missing or damaged. */
export async function readConfig(files: ModelFiles): Promise<StatedConfig> {
  const json = async (name: string): Promise<unknown> => {
    const bytes = await readSmall(files, name);
    return bytes && parseJson(decodeUtf8(bytes, files.where + name), files.where + name);
  };
  const fields = await json('config.json');
  if (fields === undefined) throw new InputError(`${files.where}config.json is missing: it says what shape the model has`);
  const generation = await json('generation_config.json');
  const config = configFromHuggingFace(fields, `${files.where}config.json`);
  const { torch_dtype: stated } = fields as { torch_dtype?: unknown };
  return {
    config: generation === undefined ? config : withGenerationConfig(config, generation, `${files.where}generation_config.json`),
    stated: typeof stated === 'string' ? torchTypes[stated] : undefined,
  };
}

async function readWeights(files: ModelFiles): Promise<SafetensorsContents> {
  const { where } = files;
  const whole = await files.open(WEIGHTS_FILE);
  if (whole) return readSafetensors(blobSource(where + WEIGHTS_FILE, whole));
  const index = await files.open(INDEX_FILE);
  if (!index) throw new InputError(`${where || 'these files'}: there are no weights, neither ${WEIGHTS_FILE} nor ${INDEX_FILE}`);
  return readShards(await readShardedIndex(blobSource(where + INDEX_FILE, index)), async (name) => {
    const shard = await files.open(name);
    if (!shard) throw new InputError(`${where}${name} is missing: ${INDEX_FILE} names it`);
    return blobSource(where + name, shard);
  });
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

function checkMemory({ name, limits }: Backend, config: ModelConfig, dtype: Precision, cache: number): void {
  if (name === 'webgpu') return; // how much there is WebGPU does not tell: too much is found out
  const most = limits.memoryBytes ?? limits.maxBufferBytes;
  const weights = weightBytes(config, dtype);
  if (weights + cache <= most) return;
  const fitting = (['f16', 'q8', 'q4'] as const).filter((smaller) => weightBytes(config, smaller) + cache <= most);
  const smaller = ['OpenELM-1_1B', 'OpenELM-450M', 'OpenELM-270M'].filter(
    (name) => weightBytes(configFromName(name), 'q8') + cache <= most,
  );
  const advice =
    fitting.length > 0
      ? `take dtype ${fitting.join(' or ')}, which fit, or a smaller context`
      : `take a smaller context or model${smaller.length > 0 ? `: ${smaller.join(', ')} fit in q8` : ''}`;
  throw new InputError(
    `the model is too large here: ${gigabytes(weights)} of ${dtype} weights and ${gigabytes(cache)} of cache, and WebAssembly has ${gigabytes(most)}; ${advice}`,
  );
}
