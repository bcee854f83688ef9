// The library's door in a browser: `const model = await load('apple/OpenELM-270M-Instruct', { dtype: 'q8' })`, then generate,
// complete, chat, score; `train` learns from a text. Everything computes in a worker, so the page stays free. Nothing of Node's.

/// <reference lib="esnext.disposable" preserve="true" />

import type { BackendOptions, Computing } from './browser/computing.js';
import type { KeptTraining, TrainingEstimate } from './browser/kept-trainings.js';
import { Caller, type Port } from './browser/messages.js';
import type { NamedBlob, ModelSource as NamedSource } from './browser/model-files.js';
import type { FileOptions } from './browser/model-source.js';
import type { OpenOptions } from './browser/open.js';
import type {
  BrowserPiece,
  GenerateRequest,
  Inside,
  InsideRequest,
  LoadAnswer,
  LoadEvent,
  LoadProgress,
  LoadRequest,
  Moved,
  TurnsRequest,
} from './browser/session.js';
import { isA, until } from './browser/session-life.js';
import { startWorker } from './browser/start-worker.js';
import type { TrainResult as SessionTrainResult } from './browser/train.js';
import type { TrainOptions as TrainSettings } from './browser/training-options.js';
import type {
  ContinueRequest,
  KeepOptions,
  TrainAnswer,
  TrainCallbacks,
  TrainEvent,
  TrainRequest,
} from './browser/training-session.js';
import { InputError, messageOf } from './errors.js';
import type { ChatMessage } from './infer/chat.js';
import type { ScoreResult } from './infer/engine.js';
import type { Prompt, TextOptions, TextResult, TurnOptions } from './infer/text.js';
import { removePlaces } from './io/browser/kept-places.js';
import type { ModelConfig } from './model/config.js';

export type { Computing } from './browser/computing.js';
export type { KeptTraining, TrainingEstimate } from './browser/kept-trainings.js';
export type { FileOptions, HubOptions } from './browser/model-source.js';
export type { BrowserPiece, Inside, LoadProgress, ShownLogprob } from './browser/session.js';
export type { ModelShape } from './browser/tools.js';
/** What `tools.js`, beside the worker, exports. */
export type PageTools = typeof import('./browser/tools.js');
export { InputError } from './errors.js';
export type { ChatMessage } from './infer/chat.js';
export type { FinishReason, ScoreResult } from './infer/engine.js';
export type { SamplingOptions } from './infer/sampler.js';
export type { Prompt, TextOptions, TextResult, Timings, TurnOptions } from './infer/text.js';
export type { ModelConfig } from './model/config.js';
export type { Precision } from './model/parameters.js';
export type { StepReport } from './train/trainer.js';

/** A model by its address (a folder's, ending in `/`, or a file's), its hub id, its files or its folder; safetensors, GGUF, PyTorch, MLX. */
export type ModelSource = string | URL | Iterable<File> | FileSystemDirectoryHandle;

interface WorkerOptions {
  /** The bundled worker's address, or a function that starts it; default: the package's file. */
  readonly worker?: string | URL | (() => Worker);
  readonly signal?: AbortSignal;
}

/** How a model is loaded: its precision, what computes, from where, and who is told. */
export interface LoadOptions extends OpenOptions, FileOptions, BackendOptions, WorkerOptions {
  /** Told of bytes as they come: first of the download, then of what the backend has. */
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Told in one sentence of what the user should know. */
  readonly onNotice?: (message: string) => void;
}

/**
 * Loads a model: an address (`./models/tales-6m/`, `https://…/model.safetensors`), a hub id, chosen or dropped files, or an opened
 * folder. What is downloaded is kept for the next time, in this origin's private files or its caches, and goes on where a reload left it.
 * @throws InputError in one sentence: not found, refused, damaged, no room, too large for this browser; the signal's reason.
 */
export async function load(source: ModelSource, options: LoadOptions = {}): Promise<BrowserModel> {
  checkCallbacks(options);
  const { worker, signal, onProgress, onNotice, ...others } = options;
  signal?.throwIfAborted();
  const address = addressed(source);
  // A promise of the browser's that it will not throw the files away; only a page can ask for it.
  if (typeof address === 'string' && others.keep !== false) void navigator.storage?.persist?.().catch(() => undefined);
  const session = openSession(worker);
  try {
    const onEvent = (event: unknown): void => {
      const told = event as LoadEvent;
      if ('progress' in told) onProgress?.(told.progress);
      else onNotice?.(told.notice);
    };
    const argument: LoadRequest = { source: address, options: placed(others) };
    const loading = session.caller.call<LoadAnswer>('load', argument, { signal, onEvent });
    return new BrowserModel(session, await until(signal, loading));
  } catch (error) {
    session.end();
    throw error;
  }
}

/** Removes what was kept of downloaded models. */
export function removeKept(): Promise<void> {
  return removePlaces('openelm-models');
}

/** A loaded model; `dispose` (or `await using`) frees its memory and ends its worker. */
export class BrowserModel {
  readonly config: ModelConfig;
  /** Precision and bytes of the weights. */
  readonly weights: { readonly dtype: string; readonly bytes: number };
  /** Whether text can be given; ids always can. */
  readonly hasTokenizer: boolean;
  /** Whether a chat template came with it; Apple's instruction recipe is used otherwise. */
  readonly hasChatTemplate: boolean;
  private computing: Computing;
  private disposal: Promise<void> | undefined;

  /** Made by `load`. */
  constructor(
    private readonly session: Session,
    { config, dtype, bytes, hasTokenizer, hasChatTemplate, backend }: LoadAnswer,
  ) {
    this.config = config;
    this.weights = { dtype, bytes };
    this.hasTokenizer = hasTokenizer;
    this.hasChatTemplate = hasChatTemplate;
    this.computing = backend;
  }

  /** Whether its worker failed, so that nothing can be asked of it any more. */
  get isLost(): boolean {
    return this.session.caller.isLost;
  }

  /** What computes and why; another one after a GPU was lost. */
  get backend(): Computing {
    return this.computing;
  }

  /**
   * Continues a prompt, piece by piece; the generator's return value is the whole result. Leaving the loop, or aborting the signal,
   * ends the work within one token. Options and errors as in Node (`openelm`).
   */
  async *generate(prompt: Prompt, given: TextOptions = {}): AsyncGenerator<BrowserPiece, TextResult> {
    checkCallbacks(given);
    const { signal, ...options } = given;
    const left = new AbortController();
    const pieces: BrowserPiece[] = [];
    let wake = (): void => undefined;
    let result: TextResult | undefined;
    let failure: unknown;
    let over = false;
    const abort = (): void => left.abort(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    const argument: GenerateRequest = { prompt, options };
    const onEvent = (event: unknown): void => {
      const told = event as BrowserPiece | Moved;
      if ('moved' in told) {
        this.computing = told.moved;
        return;
      }
      pieces.push(told);
      wake();
    };
    const done = this.session.caller
      .call<TextResult>('generate', argument, { signal: left.signal, onEvent })
      .then(
        (value) => {
          result = value;
        },
        (error: unknown) => {
          failure = error;
        },
      )
      .finally(() => {
        over = true;
        wake();
      });
    try {
      for (;;) {
        for (let piece = pieces.shift(); piece; piece = pieces.shift()) yield piece;
        if (over) break;
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (over || pieces.length > 0) resolve();
        });
      }
      if (!result) throw failure;
      return result;
    } finally {
      signal?.removeEventListener('abort', abort);
      if (!over) left.abort();
      await done;
    }
  }

  /** The whole answer at once. */
  async complete(prompt: Prompt, options: TextOptions = {}): Promise<TextResult> {
    const pieces = this.generate(prompt, options);
    for (;;) {
      const next = await pieces.next();
      if (next.done) return next.value;
    }
  }

  /** The assistant's next turn of a conversation, by the model's chat template or Apple's instruction recipe. */
  chat(messages: readonly ChatMessage[], options: TextOptions = {}): AsyncGenerator<BrowserPiece, TextResult> {
    return this.generate(messages, options);
  }

  /** Log-probabilities of a text's tokens (a BOS is put in front), or of ids as they are; they must fit the context. */
  async score(input: string | readonly number[], signal?: AbortSignal): Promise<ScoreResult & { ids: readonly number[] }> {
    checkSignal(signal);
    return this.session.caller.call('score', input, { signal });
  }

  /** What happens inside over a text (a BOS is put in front) or ids as they are: hidden states' lengths, and attention in one layer. */
  async inside(input: InsideRequest['input'], layer: number, signal?: AbortSignal): Promise<Inside> {
    checkSignal(signal);
    const argument: InsideRequest = { input, layer };
    return this.session.caller.call('inside', argument, { signal });
  }

  /** Token ids of a prompt. */
  encode(prompt: Prompt): Promise<number[]> {
    return this.session.caller.call('encode', prompt);
  }

  /** Token ids of a conversation: with the opening of the answer and how it begins, or (`answering: false`) without. */
  encodeChat(messages: readonly ChatMessage[], options: TurnOptions = {}): Promise<number[]> {
    return this.session.caller.call('encodeChat', { messages, options } satisfies TurnsRequest);
  }

  /** The text of token ids. */
  decode(ids: readonly number[]): Promise<string> {
    return this.session.caller.call('decode', ids);
  }

  /** Ends what runs, frees the model and ends its worker. May be called more than once. */
  dispose(): Promise<void> {
    this.disposal ??= this.session.caller
      .call<void>('close', undefined)
      .catch((error: unknown) => {
        if (!this.isLost) throw error; // else there is nothing to free any more
      })
      .finally(() => this.session.end());
    return this.disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** What is trained on what, what is kept, and who is told. */
export interface TrainOptions extends TrainSettings, KeepOptions, TrainCallbacks, BackendOptions, WorkerOptions {}

/** What was learned, and the model. */
export interface TrainResult extends Omit<SessionTrainResult, 'files' | 'checkpoint'> {
  /** config.json, model.safetensors and tokenizer.model: to be loaded (`load(result.files)`), or saved for `openelm run -m`. */
  readonly files: readonly File[];
  /** Where the last checkpoint could not be kept: what `continueTraining` goes on from. */
  readonly checkpoint?: readonly File[];
}

/**
 * Pretrains a small model on a text. Aborting the signal ends it after the steps under way; the model is whole all the same. With
 * `keep` it is kept as it goes, and `continueTraining` goes on after a reload, to the bit as if there had been none.
 * @throws InputError in one sentence: a text that is too short, no memory, a name that is kept already or trained in another tab.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  checkCallbacks(options);
  const { worker, signal, ...others } = options;
  return training('train', worker, signal, others, (plain) => ({ options: plain }) as TrainRequest);
}

/**
 * Goes on with a kept training, or with one that could not be kept (`result.checkpoint`).
 * @throws InputError in one sentence: none of that name, or it is trained in another tab.
 */
export async function continueTraining(from: string | Iterable<File>, options: ContinueOptions = {}): Promise<TrainResult> {
  checkCallbacks(options);
  const { worker, signal, ...others } = options;
  const named = typeof from === 'string' ? from : namedFiles(from);
  if (!named) throw new InputError('what is to be continued is neither the name of a kept training nor its files');
  return training('continue', worker, signal, others, (plain) => ({ from: named, options: plain }) as ContinueRequest);
}

/** How a kept training goes on. */
export interface ContinueOptions extends Pick<KeepOptions, 'saveEvery'>, TrainCallbacks, BackendOptions, WorkerOptions {}

async function training(
  call: 'train' | 'continue',
  worker: WorkerOptions['worker'],
  signal: AbortSignal | undefined,
  options: TrainCallbacks & BackendOptions,
  request: (plain: object) => TrainRequest | ContinueRequest,
): Promise<TrainResult> {
  const isCallback = ([, value]: [string, unknown]): boolean => typeof value === 'function';
  const callbacks = Object.fromEntries(Object.entries(options).filter(isCallback)) as Record<string, (told: unknown) => void>;
  const plain = placed(Object.fromEntries(Object.entries(options).filter((entry) => !isCallback(entry))) as BackendOptions);
  const session = openSession(worker);
  // A page that is hidden may not come back.
  const keepNow = (): void => {
    if (document.visibilityState === 'hidden') void session.caller.call('keepNow', undefined).catch(() => undefined);
  };
  document.addEventListener('visibilitychange', keepNow);
  try {
    const onEvent = (event: unknown): void => {
      const [name, told] = event as TrainEvent;
      callbacks[name]?.(told);
    };
    const answer = await session.caller.call<TrainAnswer>(call, request(plain), { signal, onEvent });
    const { files, checkpoint, ...result } = answer;
    return { ...result, files: asFiles(files), ...(checkpoint && { checkpoint: asFiles(checkpoint) }) };
  } finally {
    document.removeEventListener('visibilitychange', keepNow);
    session.end();
  }
}

const trainings = (): Promise<typeof import('./browser/kept-trainings.js')> => import('./browser/kept-trainings.js');

/** The trainings that are kept here (`keep`), the newest first: what they are, where they stand, their losses. */
export async function keptTrainings(): Promise<KeptTraining[]> {
  return (await trainings()).keptTrainings();
}

/** The names of the trainings with `keep` that are under way in any tab of this origin, also those that have no checkpoint yet. */
export async function runningTrainings(): Promise<string[]> {
  return (await trainings()).runningTrainings();
}

/** The names of trainings that another version of this library keeps here, which this one cannot read: `removeTraining` takes them away. */
export async function foreignTrainings(): Promise<string[]> {
  return (await trainings()).foreignTrainings();
}

/** A kept training's model as far as it is trained, to be loaded or saved; undefined where there is none. */
export async function trainedModel(name: string): Promise<File[] | undefined> {
  const files = await (await trainings()).trainedModel(name);
  return files && asFiles(files);
}

/** Removes what is kept of a training. Throws `InputError` while it is trained. */
export async function removeTraining(name: string): Promise<void> {
  return (await trainings()).removeTraining(name);
}

/** What a training would take. Throws `InputError` on a shape that cannot be. */
export async function estimateTraining(
  options: Pick<TrainSettings, 'shape' | 'vocabSize' | 'batch' | 'length'>,
): Promise<TrainingEstimate> {
  return (await trainings()).estimateTraining(options);
}

/** Files in a folder of that name as one zip archive, to be saved: what `openelm run -m` runs when it is unpacked. */
export async function zipOf(folder: string, files: readonly File[]): Promise<Blob> {
  return (await import('./browser/archive.js')).zipOf(folder, files);
}

/** What callers cannot do without being told: that there are options at all, and what is called of them. Others are checked in the worker. */
function checkCallbacks(options: object): void {
  if (typeof options !== 'object' || options === null) throw new InputError(`the options are ${options}; expected an object`);
  for (const [name, value] of Object.entries(options)) {
    if (/^on[A-Z]/.test(name) && value !== undefined && typeof value !== 'function')
      throw new InputError(`${name} is no function`);
  }
  checkSignal((options as WorkerOptions).signal);
}

function checkSignal(signal: unknown): void {
  if (signal !== undefined && !isA('AbortSignal', signal)) throw new InputError('signal is no AbortSignal');
}

/** As a worker is given it. */
function addressed(source: unknown): NamedSource {
  if (source instanceof URL) return source.href;
  if (typeof source === 'string') return /^\.{0,2}\//.test(source) ? inPage(source) : source;
  if ((source as FileSystemHandle | undefined)?.kind === 'directory') return source as FileSystemDirectoryHandle;
  const files = namedFiles(source);
  if (files) return files;
  throw new InputError('the model is none of: an address, a hub id, files, a folder');
}

/** Undefined where they are no files. */
function namedFiles(given: unknown): NamedBlob[] | undefined {
  if (typeof (given as Iterable<unknown> | undefined)?.[Symbol.iterator] !== 'function') return undefined;
  const files = [...(given as Iterable<unknown>)];
  return files.every((file) => isA<File>('File', file)) ? files.map((file) => ({ name: file.name, blob: file })) : undefined;
}

/** A worker may have another address than its page. */
const inPage = (address: string): string => new URL(address, document.baseURI).href;
const placed = <T extends BackendOptions>(options: T): T =>
  options.wasm === undefined ? options : { ...options, wasm: inPage(options.wasm) };

function asFiles(list: readonly NamedBlob[]): File[] {
  return list.map(({ name, blob }) => new File([blob], name));
}

interface Session {
  readonly caller: Caller;
  end(): void;
}

function started(address: string | URL | undefined): Worker {
  try {
    return startWorker(address);
  } catch (error) {
    const trusted = /TrustedScript/.test(messageOf(error)) ? ': allow the Trusted Types policy `openelm`' : '';
    throw new InputError(`the worker cannot be started (${messageOf(error)})${trusted}`);
  }
}

function openSession(given: WorkerOptions['worker']): Session {
  const worker = typeof given === 'function' ? given() : started(given);
  const caller = new Caller(worker as Port);
  const fail = (message: string): void => caller.lose(new InputError(message));
  const advice =
    given === undefined || typeof given === 'function'
      ? 'name its address with `worker`'
      : `${given} is not there, or its server is away`;
  worker.onerror = (event) => fail(`the worker failed: ${event.message || `it could not be loaded: ${advice}`}`);
  return {
    caller,
    end: () => {
      worker.terminate();
      caller.lose(new Error('this model was disposed of'));
    },
  };
}
