// The library's door in Node: `const model = await load('apple/OpenELM-270M-Instruct')`, then generate, complete, chat, score
// and dispose. It joins files, tokenizer, model, backend and engine; rooms never import it. Not the command line (app/).

import { type Checkpoint, explained } from './checkpoint.js';
import { InputError, shown } from './errors.js';
import type { CompileElsewhere } from './infer/constraint.js';
import { Engine, type EngineOptions } from './infer/engine.js';
import { type Prompt, TextModel, type TextModelParts, type TextOptions, type TextPiece, type TextResult } from './infer/text.js';
import type { LoadedModel } from './model/load.js';
import { type CacheType, cacheTypes } from './model/parameters.js';
import { type OpenedModel, type OpenOptions, openModel, openRules } from './open.js';
import { checkOptions, oneOf, type Rules, rules, wholeFrom } from './options.js';
import { promptCaching } from './prompt-cache.js';
import type { Backend } from './tensor/backend.js';
import { gpuFailure } from './tensor/execution.js';

export { type BackendChoice, type BackendOptions, type ChosenBackend, openBackend } from './backend-choice.js';
export { type Checkpoint, openChatTemplate, openCheckpoint, openTokenizer, sideFiles } from './checkpoint.js';
export { InputError } from './errors.js';
export type { ChatMessage } from './infer/chat.js';
export type { EngineOptions, FinishReason, GenerateOptions, ScoreResult } from './infer/engine.js';
export type { SamplingOptions } from './infer/sampler.js';
export type {
  HiddenStatesOptions,
  HiddenStatesResult,
  Prompt,
  TextEmbedOptions,
  TextOptions,
  TextPiece,
  TextResult,
  Timings,
} from './infer/text.js';
export type { DownloadOptions } from './io/node/hub.js';
export { defaultChatModel, defaultModel } from './locate.js';
export { configFromFields, configFromName, configNames, type ModelConfig } from './model/config.js';
export type { CacheType, Precision } from './model/parameters.js';
export type { Backend } from './tensor/backend.js';
export { Tokenizer } from './tokenizer/tokenizer.js';

/** So that a few calls at once share the model's steps without being asked for it. */
const defaultSlots = 4;

/** How a model is loaded: its precision, what computes, how many calls at once and how long they may be. */
export interface LoadOptions extends OpenOptions, Omit<EngineOptions, 'cacheType' | 'slots' | 'assistant'> {
  /** Calls that run at once, sharing steps; each has a cache of `context` tokens. Default 4, fewer where memory is short. */
  readonly slots?: number;
  /** What keys and values are kept in: `q8` takes about half the memory of `f16`. Default f32 for f32 weights, else f16. */
  readonly cacheType?: CacheType;
  /** A smaller model with the same vocabulary that guesses tokens for this one, named as models are; the ids are the same with it. */
  readonly assistant?: string;
}

const loadRules: Rules<LoadOptions> = {
  ...openRules,
  context: wholeFrom(2),
  slots: wholeFrom(1),
  cacheType: oneOf(...cacheTypes),
  assistant: rules.text,
};

/** A loaded model; `dispose` (or `await using`) frees its memory and threads. */
export class Model extends TextModel {
  /** What it was loaded from. */
  readonly checkpoint: Checkpoint;
  private opened: OpenedModel;
  private onCpu?: Promise<void>;
  private disposal?: Promise<void>;

  /** Made by `load`. */
  constructor(
    parts: TextModelParts,
    opened: OpenedModel,
    private readonly engineOn: (opened: OpenedModel) => Promise<OpenedEngine>,
    private readonly onNotice?: (message: string) => void,
  ) {
    super(parts);
    this.opened = opened;
    this.checkpoint = opened.checkpoint;
  }

  /** What computes; another one after a GPU was lost. */
  get backend(): Backend {
    return this.opened.backend;
  }

  /** Precision and bytes of the weights. */
  get weights(): Pick<LoadedModel, 'dtype' | 'bytes'> {
    return this.opened.weights;
  }

  /**
   * As `TextModel.generate`; an error about output that is not finite says which weights are bad. Where `auto` took a GPU and it is lost or runs
   * out of memory, the CPU begins an answer of which nothing was yielded; one that had begun is an error, and the next one is computed on the CPU.
   */
  override async *generate(prompt: Prompt, options: TextOptions = {}): AsyncGenerator<TextPiece, TextResult> {
    let pieces = super.generate(prompt, options);
    let begun = false;
    try {
      for (;;) {
        const next = await this.explained(
          () => pieces.next(),
          (what) => {
            if (begun)
              throw new InputError(`the GPU ${what} in the middle of this answer: ask again, and the CPU will compute it`);
            pieces = super.generate(prompt, options);
            return pieces.next();
          },
        );
        if (next.done) return next.value;
        begun = true;
        yield next.value;
      }
    } finally {
      await pieces.return(undefined as never);
    }
  }

  /** As `TextModel.score`, and with `generate`'s errors. */
  override score(...parameters: Parameters<TextModel['score']>): ReturnType<TextModel['score']> {
    return this.explained(() => super.score(...parameters));
  }

  /** As `TextModel.embed`, and with `generate`'s errors. */
  override embed(...parameters: Parameters<TextModel['embed']>): ReturnType<TextModel['embed']> {
    return this.explained(() => super.embed(...parameters));
  }

  /** Ends what runs, then frees everything. May be called more than once. */
  dispose(): Promise<void> {
    this.disposal ??= this.end();
    return this.disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  private async end(): Promise<void> {
    await this.onCpu?.catch(() => {});
    await this.engine.dispose();
    await this.opened.close();
  }

  /** Runs `work`, and `again` on the CPU when something befell the GPU that `auto` took: `again` is told what. */
  private async explained<T>(work: () => Promise<T>, again: (what: string) => Promise<T> = work): Promise<T> {
    const { opened } = this;
    try {
      return await explained(this.checkpoint, this.weights.dtype, work);
    } catch (error) {
      const what = gpuFailure(error);
      if (!opened.onCpu || what === undefined || this.disposal) throw error;
      if (this.opened === opened) {
        this.onCpu ??= this.goOn(opened, opened.onCpu, what);
        await this.onCpu;
      }
      return await explained(this.checkpoint, this.weights.dtype, () => again(what));
    }
  }

  private async goOn(lost: OpenedModel, onCpu: () => Promise<OpenedModel>, what: string): Promise<void> {
    this.onNotice?.(`the GPU ${what}: the CPU computes from here on`);
    const opened = await onCpu();
    const { close, ...parts } = await this.engineOn(opened);
    const old = this.engine;
    this.replaceEngine(parts);
    this.opened = { ...opened, close };
    await old.dispose().catch(() => {});
    await lost.close().catch(() => {});
  }
}

/**
 * Loads a model: nothing for the embedded one, a directory, a `.safetensors`, `.gguf` or `.pt` file, or a hub id. Throws `InputError` when it cannot
 * be found or read, does not fit its config, or does not fit in memory (estimated before anything is loaded).
 */
export async function load(model?: string, options: LoadOptions = {}): Promise<Model> {
  const spareSlots = options.slots === undefined ? defaultSlots - 1 : 0;
  if (model !== undefined && typeof model !== 'string')
    throw new InputError(`the model is ${shown(model)}; expected its name as a text`);
  checkOptions('the options of load', options, loadRules);
  const opened = await openModel(model, options, { ...options, spareSlots });
  const engineOn = (on: OpenedModel): Promise<OpenedEngine> => openEngine(on, options);
  const { close, ...parts } = await engineOn(opened);
  const { tokenizer, chatTemplate } = opened;
  const compileElsewhere: CompileElsewhere = async (request) =>
    (await import('./io/node/grammar-workers.js')).compileInWorker(request);
  return new Model({ ...parts, tokenizer, chatTemplate, compileElsewhere }, { ...opened, close }, engineOn, options.onNotice);
}

/** An engine over a model, and what closes both; the model is closed when that fails. */
type OpenedEngine = Required<Pick<TextModelParts, 'engine' | 'promptCaching'>> & Pick<OpenedModel, 'close'>;

async function openEngine(opened: OpenedModel, options: LoadOptions): Promise<OpenedEngine> {
  const { checkpoint, backend, weights, cacheType } = opened;
  let assistant: OpenedModel | undefined;
  const close = async (): Promise<void> => {
    await assistant?.close();
    await opened.close();
  };
  try {
    if (options.assistant !== undefined) assistant = await openAssistant(options.assistant, opened, options);
    const engine = new Engine(backend, opened.model, { ...options, cacheType, slots: opened.slots, assistant: assistant?.model });
    const { activations = 'int8', adapter, adapters, onNotice } = options;
    const caching = promptCaching({
      ...{ engine, checkpoint, backend, cacheType, onNotice },
      precision: /^q/.test(weights.dtype) ? `${weights.dtype} (${activations} activations)` : weights.dtype,
      adapters: { ...adapters, ...(adapter === undefined ? {} : { [adapter]: adapter }) },
      usualAdapter: adapter,
    });
    return { engine, promptCaching: caching, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The model that guesses, on the same backend. Throws `InputError` when its ids mean something else. */
async function openAssistant(
  name: string,
  { backend, tokenizer, slots }: OpenedModel,
  options: LoadOptions,
): Promise<OpenedModel> {
  const { dtype, activations, hub, onNotice, cacheType } = options;
  const assistant = await openModel(
    name,
    { backend, dtype, activations, hub, onNotice },
    { context: options.context, slots, cacheType },
  );
  const other = assistant.tokenizer;
  const count = Math.max(tokenizer?.vocabSize ?? 0, other?.vocabSize ?? 0);
  for (let id = 0; tokenizer && other && id < count; id++) {
    if (tokenizer.piece(id) === other.piece(id)) continue;
    await assistant.close();
    const [own, its] = [tokenizer, other].map((one) => JSON.stringify(one.piece(id)) ?? 'nothing');
    throw new InputError(`the assistant ${name} has another vocabulary: id ${id} is ${its} there and ${own} here`);
  }
  return assistant;
}
