// The library's door in Node: `const model = await load('apple/OpenELM-270M-Instruct')`, then generate, complete, chat, score
// and dispose. It joins files, tokenizer, model, backend and engine; rooms never import it. Not the command line (app/).

import { nativeBackend } from './backends/native.js';
import { referenceBackend } from './backends/reference.js';
import { type Checkpoint, openChatTemplate, openCheckpoint, openTokenizer } from './checkpoint.js';
import { InputError } from './errors.js';
import { Engine, type EngineOptions } from './infer/engine.js';
import { TextModel, type TextModelParts } from './infer/text.js';
import type { DownloadOptions } from './io/node/hub.js';
import { availableMemory } from './io/node/memory.js';
import { openWeights } from './io/node/weights.js';
import { type LoadedModel, loadModel, type LoadOptions as WeightOptions } from './model/load.js';
import { checkWeights, kvBytesPerToken, weightBytes } from './model/parameters.js';
import type { Backend } from './tensor/backend.js';

export { type Checkpoint, defaultModel, openChatTemplate, openCheckpoint, openTokenizer } from './checkpoint.js';
export { InputError } from './errors.js';
export type { ChatMessage } from './infer/chat.js';
export type { EngineOptions, FinishReason, GenerateOptions, ScoreResult } from './infer/engine.js';
export type { SamplingOptions } from './infer/sampler.js';
export type { Prompt, TextOptions, TextPiece, TextResult, Timings } from './infer/text.js';
export type { DownloadOptions } from './io/node/hub.js';
export { configFromFields, configFromName, configNames, type ModelConfig } from './model/config.js';
export type { Precision } from './model/parameters.js';
export type { Backend } from './tensor/backend.js';
export { Tokenizer } from './tokenizer/tokenizer.js';

/** Which backend computes: `auto` takes native where it was built, else reference. */
export type BackendChoice = 'auto' | 'native' | 'reference';

export interface LoadOptions extends WeightOptions, Omit<EngineOptions, 'cacheType'> {
  readonly backend?: BackendChoice | Backend;
  /** Threads of the native backend; default all that this process may use. */
  readonly threads?: number;
  /** Default f32 for f32 weights, else f16. */
  readonly cacheType?: 'f16' | 'f32';
  /** For models from the hub. */
  readonly hub?: DownloadOptions;
}

/** The chosen backend, and why it is not the faster one. */
export interface ChosenBackend {
  readonly backend: Backend;
  readonly reason?: string;
}

/** Throws `InputError` when `native` is asked for and is not there, with the reason. */
export function openBackend(choice: BackendChoice = 'auto', options: { threads?: number } = {}): ChosenBackend {
  if (choice === 'reference') return { backend: referenceBackend(), reason: 'it was asked for' };
  const native = nativeBackend(options);
  if ('backend' in native) return native;
  if (choice === 'native') throw new InputError(`the native backend is not available: ${native.reason}`);
  return { backend: referenceBackend(), reason: native.reason };
}

/** A loaded model; `dispose` (or `await using`) frees its memory and threads. */
export class Model extends TextModel {
  private disposal?: Promise<void>;

  /** Made by `load`. */
  constructor(
    parts: TextModelParts,
    readonly checkpoint: Checkpoint,
    readonly backend: Backend,
    /** Precision and bytes of the weights. */
    readonly weights: Pick<LoadedModel, 'dtype' | 'bytes'>,
    private readonly close: () => Promise<void>,
  ) {
    super(parts);
  }

  /** Ends what runs, then frees everything. May be called more than once. */
  dispose(): Promise<void> {
    this.disposal ??= this.engine.dispose().then(this.close);
    return this.disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * Loads a model: nothing for the embedded one, a directory, a safetensors file, or a hub id. Throws `InputError` when it cannot
 * be found or read, does not fit its config, or does not fit in memory (estimated before anything is loaded).
 */
export async function load(model?: string, options: LoadOptions = {}): Promise<Model> {
  const checkpoint = await openCheckpoint(model, options.hub);
  const files = await openWeights(checkpoint.weights);
  const own = typeof options.backend === 'object' ? undefined : openBackend(options.backend, options).backend;
  const backend = own ?? (options.backend as Backend);
  try {
    const { config, directory } = checkpoint;
    const { dtype: stored } = checkWeights(config, files.tensors, directory);
    const dtype = options.dtype ?? (stored.toLowerCase() as 'f32' | 'f16' | 'bf16');
    const engineOptions = { ...options, cacheType: options.cacheType ?? (dtype === 'f32' ? 'f32' : 'f16') } as const;
    checkMemory(checkpoint, dtype, engineOptions);
    // The backend's threads read the weights while this one makes the tokenizer.
    const loading = loadModel(backend, config, files.tensors, directory, { ...options, dtype });
    const texts = Promise.all([openTokenizer(checkpoint), openChatTemplate(checkpoint)]);
    await Promise.allSettled([loading, texts]);
    const loaded = await loading;
    const close = async (): Promise<void> => {
      loaded.free();
      await own?.dispose();
    };
    try {
      const [tokenizer, chatTemplate] = await texts;
      const engine = new Engine(backend, loaded.model, engineOptions);
      return new Model({ engine, tokenizer, chatTemplate }, checkpoint, backend, loaded, close);
    } catch (error) {
      loaded.free();
      throw error;
    }
  } catch (error) {
    await own?.dispose();
    throw error;
  } finally {
    await files.close();
  }
}

function checkMemory(
  { config, name }: Checkpoint,
  dtype: NonNullable<WeightOptions['dtype']>,
  { context = config.maxContextLength, slots = 1, cacheType }: EngineOptions & { cacheType: 'f16' | 'f32' },
): void {
  const weights = weightBytes(config, dtype);
  const cache = kvBytesPerToken(config, cacheType) * context * slots;
  const available = availableMemory();
  if (weights + cache <= available) return;
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
  throw new InputError(
    `not enough memory for ${name}: ${gigabytes(weights)} of ${dtype} weights and ${gigabytes(cache)} for a context of ${context} tokens, ` +
      `${gigabytes(available)} are free; try a smaller --dtype (q8, q4) or --context`,
  );
}
