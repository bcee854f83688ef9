// A model from its files onto a backend, in a browser: weights, tokenizer and chat template, an engine over them. What open.ts is in Node;
// where the files come from is model-files.ts's, what is in them describe.ts's.

import { InputError } from '../errors.js';
import { chatTemplateBeside } from '../infer/chat.js';
import { Engine } from '../infer/engine.js';
import { TextModel } from '../infer/text.js';
import { configFromName, type ModelConfig } from '../model/config.js';
import { type LoadedModel, loadModel } from '../model/load.js';
import {
  type CacheType,
  checkWeights,
  kvBytesPerToken,
  memoryBytes,
  type Precision,
  type WeightType,
  weightBytes,
} from '../model/parameters.js';
import type { Backend } from '../tensor/backend.js';
import { tokenizerBeside } from '../tokenizer/beside.js';
import type { Described } from './describe.js';

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

/** Throws `InputError` when a file is missing or damaged, or the model is too large for the memory that there is. */
export async function openFiles(
  described: Described,
  backend: Backend,
  options: OpenOptions,
  onProgress: (loaded: number, total: number) => void,
): Promise<Opened> {
  const cacheOf = (dtype: WeightType | undefined): CacheType => options.cacheType ?? (dtype === 'f32' ? 'f32' : 'f16');
  const { config, stated, where } = described;
  const context = options.context ?? config.maxContextLength;
  const checkRoom = (bytes: number, dtype: WeightType | undefined): void => {
    const cache = kvBytesPerToken(config, cacheOf(dtype)) * context * (options.slots ?? 1);
    checkMemory(backend, config, { bytes, dtype, cache });
  };
  // Before gigabytes are downloaded for nothing.
  const expected = described.bytes(options.dtype);
  if (expected !== undefined) checkRoom(expected, options.dtype ?? stated);
  const checked = checkWeights(config, await described.tensors(), described.weights);
  const dtype = options.dtype ?? checked.dtype;
  const cacheType = cacheOf(dtype);
  checkRoom(memoryBytes(checked, options.dtype), dtype);
  const texts = Promise.all([
    tokenizerBeside(described.text, where, config.vocabSize),
    chatTemplateBeside(described.text, where),
  ]);
  // What comes and what is put onto the backend would be told of in turns.
  let here = described.arrived === undefined;
  const arrived = described.arrived?.().then(() => {
    here = true;
  });
  const loading = loadModel(backend, config, checked, {
    dtype: options.dtype,
    onProgress: (loaded, total) => here && onProgress(loaded, total),
  });
  arrived?.catch(() => undefined);
  await Promise.allSettled([loading, texts]);
  const loaded = await loading;
  try {
    await arrived; // or what came has another hash
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

/** Nothing is wrong with its files. */
export class TooLargeError extends InputError {}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

interface Needs {
  /** Of the weights, and of the cache. */
  readonly bytes: number;
  readonly cache: number;
  readonly dtype: WeightType | undefined;
}

function checkMemory({ name, limits }: Backend, config: ModelConfig, { bytes, dtype, cache }: Needs): void {
  if (name === 'webgpu') return; // how much there is WebGPU does not tell: too much is found out
  const most = limits.memoryBytes ?? limits.maxBufferBytes;
  if (bytes + cache <= most) return;
  const fitting = (['f16', 'q8', 'q4'] as const).filter((smaller) => weightBytes(config, smaller) + cache <= most);
  const smaller = ['OpenELM-1_1B', 'OpenELM-450M', 'OpenELM-270M'].filter(
    (name) => weightBytes(configFromName(name), 'q8') + cache <= most,
  );
  throw new TooLargeError((option) => {
    const advice =
      fitting.length > 0
        ? `take ${fitting.map((type) => option('dtype', type)).join(' or ')}, which fit, or a smaller ${option('context')}`
        : `take a smaller ${option('context')} or model${smaller.length > 0 ? `: ${smaller.join(', ')} fit in q8` : ''}`;
    return `the model is too large here: ${gigabytes(bytes)} of ${dtype ? `${dtype} ` : ''}weights and ${gigabytes(cache)} of cache, and WebAssembly has ${gigabytes(most)}; ${advice}`;
  });
}
