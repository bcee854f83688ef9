// Opening a model: its files are found, its weights checked and put on a backend, its tokenizer and template read, each once. Part of
// the library's door: `load` puts an engine on it, an evaluation a scorer. Computes nothing itself.

import { baseOfAdapter, locateAdapter, nameOf, openAdapter, otherBase } from './adapters.js';
import {
  type BackendChoice,
  type BackendOptions,
  backendRules,
  type ChosenBackend,
  noticeOf,
  openBackend,
} from './backend-choice.js';
import { type Checkpoint, folder, openChatTemplate, openCheckpoint, openTokenizer } from './checkpoint.js';
import { counted, InputError, type OptionNamer, type Sentence } from './errors.js';
import type { ChatTemplates } from './infer/chat.js';
import type { DownloadOptions } from './io/node/hub.js';
import { availableMemory, checkMemory } from './io/node/memory.js';
import { kindOf } from './io/node/paths.js';
import { embeddedModels } from './locate.js';
import { AdapterSet } from './model/adapter-set.js';
import type { ModelConfig } from './model/config.js';
import { type LoadedModel, loadModel, type LoadOptions as WeightOptions } from './model/load.js';
import type { OpenELM } from './model/openelm.js';
import {
  type CacheType,
  type CheckedWeights,
  checkWeights,
  kvBytesPerToken,
  memoryBytes,
  precisions,
  type WeightType,
} from './model/parameters.js';
import { checkOptions, oneOf, type Rules, rules, wholeFrom } from './options.js';
import type { Backend } from './tensor/backend.js';
import { ExecutionError } from './tensor/execution.js';
import type { Tokenizer } from './tokenizer/tokenizer.js';

/** How a model is opened: its precision, what computes, its adapters, and who is told. */
export interface OpenOptions extends WeightOptions, BackendOptions {
  readonly backend?: BackendChoice | Backend;
  /** For models from the hub. */
  readonly hub?: DownloadOptions;
  /** The directory of an adapter in PEFT's layout, or of a run that tunes one, which all requests use that name no other. */
  readonly adapter?: string;
  /** Directories of further adapters, by the names that requests choose them with. */
  readonly adapters?: Readonly<Record<string, string>>;
  /** Told in one sentence of what the user should know: which checkpoint is taken, why computing is slow, that the hub is away. */
  readonly onNotice?: (message: string) => void;
}

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
  ...backendRules,
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
  readonly chatTemplate?: ChatTemplates;
  /** Opens the same on the CPU, where `auto` took a GPU. */
  readonly onCpu?: () => Promise<OpenedModel>;
  /** Frees the weights, and the backend if it was opened here. */
  close(): Promise<void>;
}

/**
 * Opens a model: nothing for the adapter's base, or else the embedded one, a directory, a file, or a hub id. Throws `InputError` when it cannot
 * be found or read, does not fit its config, or does not fit in memory with its cache (estimated before anything is loaded).
 */
export async function openModel(model?: string, options: OpenOptions = {}, cache: CacheNeeds = {}): Promise<OpenedModel> {
  const { onNotice, backend: asked = 'auto' } = options;
  const checkpoint = await find(model, options);
  const files = await checkpoint.openWeights();
  try {
    const checked = checkWeights(checkpoint.config, files.tensors, checkpoint.place);
    const weightBytes = memoryBytes(checked, options.dtype);
    const open = async (bytes: number): Promise<ChosenBackend> => {
      if (typeof asked === 'object') return { backend: asked };
      const chosen = await openBackend(asked, options, bytes);
      const notice = noticeOf(asked, options, chosen);
      if (notice !== undefined) onNotice?.(notice);
      return chosen;
    };
    const parts = { checkpoint, checked, weightBytes, options, cache };
    const chosen = await open(weightBytes);
    if (asked !== 'auto' || chosen.backend.name !== 'webgpu') return await putOn(chosen.backend, parts);
    try {
      return { ...(await putOn(chosen.backend, parts)), onCpu: () => openOnCpu(model, options, cache) };
    } catch (error) {
      if (!(error instanceof InputError || error instanceof ExecutionError)) throw error;
      onNotice?.(`the CPU computes: ${error instanceof InputError ? error.naming(plainly) : error.message}`);
      return await putOn((await open(0)).backend, parts);
    }
  } finally {
    await files.close();
  }
}

/** Looks at what `openModel` would open, reading headers, small files and the adapter. Throws `InputError` where something is missing or does not fit. */
export async function checkModel(model: string | undefined, options: Pick<OpenOptions, 'adapter' | 'hub'>): Promise<Checkpoint> {
  const checkpoint = await find(model, options);
  const files = await checkpoint.openWeights();
  try {
    checkWeights(checkpoint.config, files.tensors, checkpoint.place);
    if (options.adapter !== undefined) await openAdapter(options.adapter, checkpoint.config);
  } finally {
    await files.close();
  }
  return checkpoint;
}

/** The model that is asked for: the one named, else the adapter's base, else the embedded one. */
async function find(model: string | undefined, { adapter, onNotice, hub: asked }: OpenOptions): Promise<Checkpoint> {
  if (asked) checkOptions('the options of the hub', asked, hubRules);
  const base = adapter === undefined ? undefined : await baseOfAdapter(adapter);
  const hub = { onNotice, ...asked };
  const checkpoint =
    model === undefined && base !== undefined ? await openBase(base, adapter!, hub) : await openCheckpoint(model, hub);
  const other = otherBase(adapter, base, checkpoint.name);
  if (other) onNotice?.(other);
  return checkpoint;
}

async function openOnCpu(model: string | undefined, options: OpenOptions, cache: CacheNeeds): Promise<OpenedModel> {
  const { backend } = await openBackend('auto', options);
  try {
    const opened = await openModel(model, { ...options, backend }, cache);
    return { ...opened, close: () => opened.close().finally(() => backend.dispose()) };
  } catch (error) {
    await backend.dispose();
    throw error;
  }
}

interface ModelParts {
  readonly checkpoint: Checkpoint;
  readonly checked: CheckedWeights;
  readonly weightBytes: number;
  readonly options: OpenOptions;
  readonly cache: CacheNeeds;
}

/** Loads onto a backend, which is disposed of with the model, or when that fails, unless it was given in the options. */
async function putOn(backend: Backend, { checkpoint, checked, weightBytes, options, cache }: ModelParts): Promise<OpenedModel> {
  const own = backend === options.backend ? undefined : backend;
  const { config } = checkpoint;
  const dtype = options.dtype ?? checked.dtype;
  const cacheType = cache.cacheType ?? (dtype === 'f32' ? 'f32' : 'f16');
  const needs = { ...cache, cacheType };
  try {
    const slots = slotsFor(checkpoint, { dtype, bytes: weightBytes }, needs, backend);
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
    if (backend.name !== 'webgpu' || !(error instanceof ExecutionError) || error.code !== 'out-of-memory') throw error;
    const smaller = precisions.filter((type) => memoryBytes(checked, type) < weightBytes);
    throw new InputError((option) => {
      const ofWeights = smaller.map((type) => `${option('dtype', type)} (${gigabytes(memoryBytes(checked, type))})`);
      const ofCache = [`a smaller ${option('context')}`, ...(cacheType === 'q8' ? [] : [option('cacheType', 'q8')])];
      const hints = cacheSize(checkpoint, needs)[0] > weightBytes ? [...ofCache, ...ofWeights] : [...ofWeights, ...ofCache];
      return `not enough memory on the GPU for ${needed(checkpoint, { dtype, bytes: weightBytes }, needs)}; try ${hints.join(', or ')}`;
    });
  }
}

/** The base that an adapter names, which may have been somewhere else where that was made. */
async function openBase(base: string, adapter: string, hub: DownloadOptions): Promise<Checkpoint> {
  const name = nameOf(base);
  const found = embeddedModels.includes(name) && !(await kindOf(base)) ? name : base;
  return openCheckpoint(found, hub).catch((error: unknown) => {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(
      `the adapter ${adapter} is for ${base}, which cannot be opened (${error.message}): name its base model where it is`,
    );
  });
}

/** The template that an adapter was tuned with, else the model's. */
export async function openTemplate(checkpoint: Checkpoint, adapter: string | undefined): Promise<ChatTemplates | undefined> {
  const own = adapter === undefined ? undefined : await openChatTemplate(folder(await locateAdapter(adapter)));
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

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

/** For a notice, which a program's user reads as well as a command's. */
const plainly: OptionNamer = (option, value) => (value === undefined ? option : `${option} ${value}`);

const smallerBy = (option: OptionNamer): string => `try a smaller ${option('dtype')} (q8, q4) or ${option('context')}`;

type WeightSize = Pick<LoadedModel, 'dtype' | 'bytes'>;

function cacheSize(
  { config }: Checkpoint,
  { context, slots = 1, cacheType = 'f16' }: CacheNeeds,
): [bytes: number, tokens: number] {
  const tokens = context ?? config.maxContextLength;
  return [kvBytesPerToken(config, cacheType) * tokens * slots, tokens];
}

function needed(checkpoint: Checkpoint, { dtype, bytes }: WeightSize, needs: CacheNeeds): string {
  const [cache, tokens] = cacheSize(checkpoint, needs);
  return `${checkpoint.name}: ${gigabytes(bytes)} of ${dtype} weights and ${gigabytes(cache)} for a context of ${counted(tokens, 'token')}`;
}

/** How many slots there is room for. Throws `InputError` when it is too little for those that are needed. */
function slotsFor(checkpoint: Checkpoint, weights: WeightSize, needs: CacheNeeds, { name, limits }: Backend): number {
  const { slots = 1, spareSlots = 0 } = needs;
  const { memoryBytes: most = Infinity } = limits;
  const [cache] = cacheSize(checkpoint, needs);
  const all = weights.bytes + cache;
  if (all > most) {
    throw new InputError(
      (option) =>
        `${checkpoint.name} is too large for WebAssembly, whose memory ends at ${(most / 1e9).toFixed(1)} GB: ${(all / 1e9).toFixed(1)} GB ` +
        `of ${weights.dtype} weights and cache; ${smallerBy(option)}, or build the native backend`,
    );
  }
  // How much memory a GPU has WebGPU does not tell: what is wanted beside is little, and what is too much is found out.
  let free = weights.bytes / 4;
  if (name !== 'webgpu') {
    const say =
      (available: number): Sentence =>
      (option) =>
        `not enough memory for ${needed(checkpoint, weights, needs)}, ${gigabytes(available)} are free; ${smallerBy(option)}`;
    checkMemory(all, say);
    free = Math.min(availableMemory(), most * 0.9) - all;
  }
  return slots + Math.max(0, Math.min(spareSlots, Math.floor(free / (cache / slots))));
}
