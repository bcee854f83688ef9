// Opening a model: its files are found, its weights checked and put on a backend, its tokenizer and template read, each once. Part of
// the library's door: `load` puts an engine on it, an evaluation a scorer. Computes nothing itself.

import { openAdapter } from './adapters.js';
import { nativeBackend } from './backends/native.js';
import { referenceBackend } from './backends/reference.js';
import { nodeWasmBackend } from './backends/wasm-node.js';
import { type Checkpoint, folder, openChatTemplate, openCheckpoint, openTokenizer } from './checkpoint.js';
import { InputError, messageOf } from './errors.js';
import type { DownloadOptions } from './io/node/hub.js';
import { availableMemory, checkMemory } from './io/node/memory.js';
import { AdapterSet } from './model/adapter-set.js';
import type { ModelConfig } from './model/config.js';
import { type LoadedModel, loadModel, type LoadOptions as WeightOptions } from './model/load.js';
import type { OpenELM } from './model/openelm.js';
import { type CacheType, checkWeights, kvBytesPerToken, memoryBytes, precisions, type WeightType } from './model/parameters.js';
import { checkOptions, oneOf, type Rules, rules, shown, wholeFrom } from './options.js';
import type { Backend } from './tensor/backend.js';
import type { Tokenizer } from './tokenizer/tokenizer.js';

/** Which backend computes: `auto` takes native where it was built, else WebAssembly, else reference. */
export type BackendChoice = 'auto' | 'native' | 'wasm' | 'reference';

export interface OpenOptions extends WeightOptions {
  readonly backend?: BackendChoice | Backend;
  /** Threads of the backend; default all that this process may use. */
  readonly threads?: number;
  /** For models from the hub. */
  readonly hub?: DownloadOptions;
  /** The directory of an adapter in PEFT's layout, which all requests use that name no other. */
  readonly adapter?: string;
  /** Directories of further adapters, by the names that requests choose them with. */
  readonly adapters?: Readonly<Record<string, string>>;
  /** Told in one sentence of what the user should know: which checkpoint is taken, why computing is slow, that the hub is away. */
  readonly onNotice?: (message: string) => void;
}

const backends = oneOf('auto', 'native', 'wasm', 'reference');

const hubRules: Rules<DownloadOptions> = {
  revision: rules.text,
  cacheDir: rules.text,
  endpoint: rules.text,
  token: rules.text,
  offline: rules.boolean,
  fetch: rules.function,
  onProgress: rules.function,
  onNotice: rules.function,
  signal: rules.signal,
  patience: rules.object,
};

/** What the options may be. */
export const openRules: Rules<OpenOptions> = {
  dtype: oneOf(...precisions),
  activations: oneOf('int8', 'f32'),
  wrapLinear: rules.function,
  wrapEmbedding: rules.function,
  onProgress: rules.function,
  backend: { says: `${backends.says}, or a backend`, holds: (value) => backends.holds(value) || isBackend(value) },
  threads: wholeFrom(1, 256),
  hub: rules.object,
  adapter: { says: "an adapter's directory", holds: (value) => typeof value === 'string' },
  adapters: {
    says: "adapters' directories by name",
    holds: (value) =>
      typeof value === 'object' && value !== null && Object.values(value).every((path) => typeof path === 'string'),
  },
  onNotice: rules.function,
};

function isBackend(value: unknown): value is Backend {
  return typeof value === 'object' && value !== null && 'submit' in value && 'limits' in value;
}

/** The key/value cache that is wanted beside the weights: so much memory must be there too. */
export interface CacheNeeds {
  /** Tokens of a sequence; default the config's. */
  readonly context?: number;
  /** Default 1. */
  readonly slots?: number;
  /** Slots beyond those that are only wanted where there is memory for them. */
  readonly spareSlots?: number;
  /** Default f32 for f32 weights, else f16. */
  readonly cacheType?: CacheType;
}

/** A model and its parts. */
export interface OpenedModel {
  readonly checkpoint: Checkpoint;
  readonly backend: Backend;
  readonly model: OpenELM;
  /** Precision and bytes of the weights. */
  readonly weights: Pick<LoadedModel, 'dtype' | 'bytes'>;
  readonly cacheType: CacheType;
  readonly slots: number;
  readonly tokenizer?: Tokenizer;
  readonly chatTemplate?: string;
  /** Frees the weights, and the backend if it was opened here. */
  close(): Promise<void>;
}

/** The chosen backend, and why it is not the faster one. */
export interface ChosenBackend {
  readonly backend: Backend;
  readonly reason?: string;
}

/** Throws `InputError` when `native` or `wasm` is asked for and is not there, with the reason, and on any other word. */
export function openBackend(choice: BackendChoice = 'auto', options: { threads?: number } = {}): ChosenBackend {
  if (!backends.holds(choice)) throw new InputError(`the backend is ${shown(choice)}; expected ${backends.says}`);
  if (choice === 'reference') return { backend: referenceBackend(), reason: 'it was asked for' };
  if (choice === 'wasm') return { backend: nodeWasmBackend(options), reason: 'it was asked for' };
  const native = nativeBackend(options);
  if ('backend' in native) return native;
  const { reason } = native;
  if (choice === 'native') throw new InputError(`the native backend is not available: ${reason}`);
  try {
    return { backend: nodeWasmBackend(options), reason };
  } catch (error) {
    return { backend: referenceBackend(), reason: `${reason}; nor WebAssembly: ${messageOf(error)}` };
  }
}

/** What a user should know of a backend that was not asked for, in one sentence; nothing of the native one. */
export function slowness({ backend, reason }: ChosenBackend): string | undefined {
  if (reason === undefined) return undefined;
  const how = backend.name === 'wasm' ? 'in WebAssembly, about half as fast as' : 'slowly, without';
  return `this runs ${how} the native backend: ${reason}`;
}

/**
 * Opens a model: nothing for the embedded one, a directory, a file, or a hub id. Throws `InputError` when it cannot
 * be found or read, does not fit its config, or does not fit in memory with its cache (estimated before anything is loaded).
 */
export async function openModel(model?: string, options: OpenOptions = {}, cache: CacheNeeds = {}): Promise<OpenedModel> {
  const { onNotice } = options;
  if (options.hub) checkOptions('the options of the hub', options.hub, hubRules);
  const checkpoint = await openCheckpoint(model, { onNotice, ...options.hub });
  const files = await checkpoint.openWeights();
  const chosen: ChosenBackend =
    typeof options.backend === 'object' ? { backend: options.backend } : openBackend(options.backend, options);
  const { backend } = chosen;
  const own = backend === options.backend ? undefined : backend;
  const notice = (options.backend ?? 'auto') === 'auto' ? slowness(chosen) : undefined;
  if (notice !== undefined) onNotice?.(notice);
  try {
    const { config, place } = checkpoint;
    const checked = checkWeights(config, files.tensors, place);
    const dtype = options.dtype ?? checked.dtype;
    const cacheType = cache.cacheType ?? (dtype === 'f32' ? 'f32' : 'f16');
    const weights = { dtype, bytes: memoryBytes(checked, options.dtype) };
    const slots = slotsFor(checkpoint, weights, { ...cache, cacheType }, backend.limits.memoryBytes);
    // The backend's threads read the weights while this one makes the tokenizer.
    const adapters = await openAdapters(backend, config, dtype, options);
    const loading = loadModel(backend, config, checked, { ...options, ...adapters?.wrapping });
    const texts = Promise.all([openTokenizer(checkpoint), openTemplate(checkpoint, options.adapter)]);
    await Promise.allSettled([loading, texts]);
    const loaded = await loading.catch((error: unknown) => {
      adapters?.free();
      throw error;
    });
    await adapters?.attach(loaded.model);
    const [tokenizer, chatTemplate] = await texts.catch((error: unknown) => {
      loaded.free();
      throw error;
    });
    const close = async (): Promise<void> => {
      loaded.free();
      adapters?.free();
      await own?.dispose();
    };
    return { checkpoint, backend, model: loaded.model, weights: loaded, cacheType, slots, tokenizer, chatTemplate, close };
  } catch (error) {
    await own?.dispose();
    throw error;
  } finally {
    await files.close();
  }
}

/** The template that an adapter was tuned with, else the model's. */
async function openTemplate(checkpoint: Checkpoint, adapter: string | undefined): Promise<string | undefined> {
  const own = adapter === undefined ? undefined : await openChatTemplate(folder(adapter));
  return own ?? openChatTemplate(checkpoint);
}

/** The adapters that are asked for; the one without a name is called by its directory. */
async function openAdapters(
  backend: Backend,
  config: ModelConfig,
  dtype: WeightType,
  { adapter: usual, adapters: named = {} }: OpenOptions,
): Promise<AdapterSet | undefined> {
  const directories = Object.entries({ ...named, ...(usual === undefined ? {} : { [usual]: usual }) });
  if (directories.length === 0) return undefined;
  const opened = await Promise.all(directories.map(async ([name, path]) => [name, await openAdapter(path, config)] as const));
  return AdapterSet.create(backend, new Map(opened), { dtype: dtype === 'f32' ? 'f32' : 'f16', usual });
}

/** How many slots there is room for. Throws `InputError` when it is too little for those that are needed. */
function slotsFor(
  { config, name }: Checkpoint,
  { dtype, bytes: weights }: Pick<LoadedModel, 'dtype' | 'bytes'>,
  needs: CacheNeeds,
  most = Infinity,
): number {
  const { context, slots = 1, spareSlots = 0, cacheType = 'f16' } = needs;
  const tokens = context ?? config.maxContextLength;
  const slotBytes = kvBytesPerToken(config, cacheType) * tokens;
  const cache = slotBytes * slots;
  if (weights + cache > most) {
    throw new InputError(
      `${name} is too large for WebAssembly, whose memory ends at ${(most / 1e9).toFixed(1)} GB: ${((weights + cache) / 1e9).toFixed(1)} GB ` +
        `of ${dtype} weights and cache; try a smaller --dtype (q8, q4) or --context, or build the native backend`,
    );
  }
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
  checkMemory(
    weights + cache,
    (available) =>
      `not enough memory for ${name}: ${gigabytes(weights)} of ${dtype} weights and ${gigabytes(cache)} for a context of ${tokens} tokens, ` +
      `${gigabytes(available)} are free; try a smaller --dtype (q8, q4) or --context`,
  );
  const spare = Math.floor((Math.min(availableMemory(), most * 0.9) - weights - cache) / slotBytes);
  return slots + Math.max(0, Math.min(spareSlots, spare));
}
