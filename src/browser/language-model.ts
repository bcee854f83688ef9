// `LanguageModel`, the interface of browsers' Prompt API, over a model of ours: https://webmachinelearning.github.io/prompt-api, and where
// that and browsers differ, what web-platform-tests ask. Sessions, their queues, aborting and events; texts only. What a conversation
// does is conversation.ts, what values may be prompt-input.ts.

import { InputError, messageOf } from '../errors.js';
import { Conversation } from './conversation.js';
import { addEventHandlers } from './event-handlers.js';
import {
  type CoreOptions,
  canonical,
  checkRanges,
  checkTools,
  coreOptions,
  type Dictionary,
  defaultTemperature,
  defaultTopK,
  dictionary,
  type GivenMessages,
  givenConstraint,
  givenMessages,
  type LanguageModelCoreOptions,
  type LanguageModelMessage,
  type LanguageModelPrompt,
  type LanguageModelPromptOptions,
  maxTemperature,
  maxTopK,
  type SamplingMode,
  sequence,
  signalFrom,
  unsupported,
} from './prompt-input.js';
import type { LoadProgress } from './session.js';
import { type ModelProvider, SharedModel } from './shared-model.js';

/** Whether sessions can be made, and whether the model must be downloaded for them. */
export type Availability = 'unavailable' | 'downloadable' | 'downloading' | 'available';

/** Tells of a download: `downloadprogress` events, whose `loaded` goes from 0 to 1. */
export interface CreateMonitor extends EventTarget {
  ondownloadprogress: ((event: ProgressEvent) => unknown) | null;
  addEventListener(
    type: 'downloadprogress',
    listener: ((event: ProgressEvent) => unknown) | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  addEventListener(...listener: Parameters<EventTarget['addEventListener']>): void;
}

/** What `LanguageModel.create()` takes. */
export interface LanguageModelCreateOptions extends LanguageModelCoreOptions {
  signal?: AbortSignal;
  monitor?: (monitor: CreateMonitor) => unknown;
  /** Never forgotten, however long the session becomes. */
  initialPrompts?: Iterable<LanguageModelMessage>;
}

/** What `LanguageModel.params()` gives. */
export interface LanguageModelParams {
  readonly defaultTopK: number;
  readonly maxTopK: number;
  readonly defaultTemperature: number;
  readonly maxTemperature: number;
}

/** A session. */
export interface LanguageModel extends EventTarget {
  prompt(input: LanguageModelPrompt, options?: LanguageModelPromptOptions): Promise<string>;
  promptStreaming(
    input: LanguageModelPrompt,
    options?: LanguageModelPromptOptions,
  ): ReadableStream<string> & AsyncIterable<string>;
  append(input: LanguageModelPrompt, options?: { signal?: AbortSignal }): Promise<undefined>;
  measureContextUsage(input: LanguageModelPrompt, options?: LanguageModelPromptOptions): Promise<number>;
  readonly contextUsage: number;
  readonly contextWindow: number;
  oncontextoverflow: ((event: Event) => unknown) | null;
  /** The older names. */
  measureInputUsage(input: LanguageModelPrompt, options?: LanguageModelPromptOptions): Promise<number>;
  readonly inputUsage: number;
  readonly inputQuota: number;
  onquotaoverflow: ((event: Event) => unknown) | null;
  readonly topK: number;
  readonly temperature: number;
  readonly samplingMode: SamplingMode | null;
  clone(options?: { signal?: AbortSignal }): Promise<LanguageModel>;
  destroy(): undefined;
}

/** `LanguageModel` itself. */
export interface LanguageModelStatic {
  [Symbol.hasInstance](value: unknown): value is LanguageModel;
  readonly prototype: LanguageModel;
  create(options?: LanguageModelCreateOptions): Promise<LanguageModel>;
  availability(options?: LanguageModelCoreOptions): Promise<Availability>;
  params(): Promise<LanguageModelParams>;
}

/** Between two events of a download. */
const progressMs = 50;
const progressSteps = 0x10000;

class Monitor extends EventTarget {
  private last = -1;
  private at = 0;

  /** `loaded`: from 0 to 1. */
  fire(loaded: number): void {
    const rounded = Math.floor(loaded * progressSteps) / progressSteps;
    const now = performance.now();
    if (rounded <= this.last || (rounded > 0 && rounded < 1 && now - this.at < progressMs)) return;
    [this.last, this.at] = [rounded, now];
    this.dispatchEvent(progressEvent(rounded));
  }

  hear({ phase, bytes, total }: LoadProgress): void {
    if (phase === 'load') this.fire(1);
    else if (bytes < total) this.fire(bytes / total); // files become known one by one: the end is when loading begins
  }
}
addEventHandlers(Monitor.prototype, 'downloadprogress');
Object.defineProperty(Monitor.prototype, Symbol.toStringTag, { value: 'CreateMonitor', configurable: true });

function progressEvent(loaded: number): Event {
  const about = { loaded, total: 1, lengthComputable: true };
  if (typeof ProgressEvent === 'function') return new ProgressEvent('downloadprogress', about);
  return Object.assign(new Event('downloadprogress'), about);
}

interface SessionParts {
  readonly core: CoreOptions;
  readonly conversation: (onOverflow: () => void) => Conversation;
  /** Called once, when the session is destroyed or forgotten; it must not hold the session. */
  readonly release: () => void;
}

const made = Symbol('made by create');

/** Sessions that nobody can reach any more need no model either. */
const forgotten = new FinalizationRegistry<() => void>((release) => release());

/** The class for pages, over one model. */
export function languageModelOver(provider: ModelProvider): LanguageModelStatic {
  const shared = new SharedModel(provider);
  // Made here: functions that are made beside a session hold it.
  const release = (): void => shared.release();
  const refusal = (core: CoreOptions): string | undefined => provider.missing ?? unsupported(core, provider.languages);

  class LanguageModel extends EventTarget {
    static async create(options?: unknown): Promise<LanguageModel> {
      const given = dictionary(options, 'the options of create');
      const core = coreOptions(given);
      checkRanges(core);
      checkTools(core);
      const { initialPrompts, monitor: tell } = given;
      const prompts = initialPrompts === undefined ? [] : sequence(initialPrompts, 'initialPrompts');
      const initial = prompts.length === 0 ? [] : canonical(givenMessages(prompts), false);
      const signal = signalFrom(given);
      if (tell !== undefined && typeof tell !== 'function') throw new TypeError('monitor is no function');
      signal?.throwIfAborted();
      const monitor = new Monitor();
      tell?.(monitor);
      const reason = refusal(core);
      if (reason) throw new DOMException(reason, 'NotSupportedError');
      const wasHere = (await shared.availability()) === 'available';
      signal?.throwIfAborted();
      monitor.fire(0);
      const model = await shared
        .take(signal, (progress) => monitor.hear(progress))
        .catch((error: unknown) => {
          throw signal?.aborted ? signal.reason : failure(error, wasHere ? 'OperationError' : 'NetworkError');
        });
      try {
        monitor.fire(1);
        await new Promise((resolve) => setTimeout(resolve)); // who hears of the end may still abort
        signal?.throwIfAborted();
        const conversation = (onOverflow: () => void): Conversation => new Conversation(model, model.contextWindow, onOverflow);
        const session = new LanguageModel(made, { core, conversation, release });
        if (initial.length > 0) await until(signal, session.#conversation.begin(initial, signal));
        signal?.addEventListener('abort', () => session.#end(signal.reason), { once: true, signal: session.#destruction.signal });
        return session;
      } catch (error) {
        release();
        throw signal?.aborted ? signal.reason : failure(error, 'OperationError');
      }
    }

    static async availability(options?: unknown): Promise<Availability> {
      const core = coreOptions(dictionary(options, 'the options of availability'));
      return refusal(core) ? 'unavailable' : shared.availability();
    }

    static async params(): Promise<LanguageModelParams> {
      return { defaultTopK, maxTopK, defaultTemperature, maxTemperature };
    }

    readonly #core: CoreOptions;
    readonly #conversation: Conversation;
    readonly #release: () => void;
    readonly #destruction = new AbortController();
    #last: Promise<unknown> = Promise.resolve();

    constructor(key: unknown, parts: SessionParts) {
      if (key !== made) throw new TypeError('Illegal constructor: sessions are made by LanguageModel.create()');
      super();
      this.#core = parts.core;
      this.#release = parts.release;
      forgotten.register(this, parts.release, this);
      this.#conversation = parts.conversation(() => {
        for (const type of ['contextoverflow', 'quotaoverflow']) this.dispatchEvent(new Event(type));
      });
    }

    get contextUsage(): number {
      return this.#conversation.usage;
    }

    get contextWindow(): number {
      return this.#conversation.context;
    }

    get inputUsage(): number {
      return this.contextUsage;
    }

    get inputQuota(): number {
      return this.contextWindow;
    }

    get topK(): number {
      return this.#core.topK;
    }

    get temperature(): number {
      return this.#core.temperature;
    }

    get samplingMode(): SamplingMode | null {
      return this.#core.samplingMode;
    }

    async prompt(...given: [input?: unknown, options?: unknown]): Promise<string> {
      return this.#ask(messagesOf(given), dictionary(given[1], 'the options of prompt'), () => {});
    }

    promptStreaming(...given: [input?: unknown, options?: unknown]): ReadableStream<string> {
      const messages = messagesOf(given);
      const options = dictionary(given[1], 'the options of promptStreaming');
      const signal = signalFrom(options);
      this.#destruction.signal.throwIfAborted();
      signal?.throwIfAborted();
      const left = new AbortController();
      const cancelled = combined([signal, left.signal]);
      let over = false;
      const stream = new ReadableStream<string>({
        start: (controller) => {
          const onText = (text: string): void => {
            if (!over) controller.enqueue(text);
          };
          const end = (how: () => void) => (): void => {
            if (!over) how();
            over = true;
            cancelled.release();
          };
          const { responseConstraint, omitResponseConstraintInput } = options;
          this.#ask(messages, { responseConstraint, omitResponseConstraintInput, signal: cancelled.signal }, onText).then(
            end(() => controller.close()),
            (error: unknown) => end(() => controller.error(error))(),
          );
        },
        cancel: () => {
          over = true;
          left.abort();
        },
      });
      return iterable(stream);
    }

    async append(...given: [input?: unknown, options?: unknown]): Promise<undefined> {
      const messages = messagesOf(given);
      const signal = signalFrom(dictionary(given[1], 'the options of append'));
      await this.#queue(signal, 'UnknownError', (composite) =>
        this.#conversation.add(canonical(messages, !this.#conversation.isEmpty), composite),
      );
    }

    async measureContextUsage(...given: [input?: unknown, options?: unknown]): Promise<number> {
      const messages = messagesOf(given);
      const options = dictionary(given[1], 'the options of measureContextUsage');
      givenConstraint(options);
      const signals = combined([this.#destruction.signal, signalFrom(options)]);
      try {
        signals.signal.throwIfAborted();
        return await until(signals.signal, this.#conversation.measure(canonical(messages, false)));
      } catch (error) {
        throw signals.signal.aborted ? signals.signal.reason : failure(error, 'UnknownError');
      } finally {
        signals.release();
      }
    }

    async measureInputUsage(...given: [input?: unknown, options?: unknown]): Promise<number> {
      return this.measureContextUsage(...given);
    }

    async clone(options?: unknown): Promise<LanguageModel> {
      const signal = signalFrom(dictionary(options, 'the options of clone'));
      this.#destruction.signal.throwIfAborted();
      signal?.throwIfAborted();
      const signals = combined([this.#destruction.signal, signal]);
      // As it is now; the model is taken before anybody can put it away.
      const copy = shared.take(signals.signal, () => {});
      const conversation = (onOverflow: () => void): Conversation => this.#conversation.clone(onOverflow);
      const clone = new LanguageModel(made, { core: this.#core, conversation, release });
      try {
        await copy;
        await new Promise((resolve) => setTimeout(resolve));
        if (signals.signal.aborted) release();
        signals.signal.throwIfAborted();
        return clone;
      } finally {
        signals.release();
      }
    }

    destroy(): undefined {
      this.#end(new DOMException('the session has been destroyed', 'InvalidStateError'));
    }

    #end(reason: unknown): void {
      if (this.#destruction.signal.aborted) return;
      this.#destruction.abort(reason);
      forgotten.unregister(this);
      this.#release();
    }

    async #ask(messages: GivenMessages, options: Dictionary, onText: (text: string) => void): Promise<string> {
      const constraint = givenConstraint(options);
      const { temperature, topK } = this.#core;
      return this.#queue(signalFrom(options), constraint ? 'NotSupportedError' : 'UnknownError', (signal) =>
        this.#conversation.ask(canonical(messages, !this.#conversation.isEmpty), {
          temperature,
          topK,
          constraint,
          signal,
          onText,
        }),
      );
    }

    /** After all that was asked before. Rejects at once when the signal aborts or the session is destroyed. */
    async #queue<T>(signal: AbortSignal | undefined, refused: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
      const signals = combined([this.#destruction.signal, signal]);
      const composite = signals.signal;
      try {
        composite.throwIfAborted();
        const result = this.#last.then(() => {
          composite.throwIfAborted();
          return work(composite);
        });
        this.#last = result.catch(() => {});
        return await until(composite, result);
      } catch (error) {
        throw composite.aborted ? composite.reason : failure(error, refused);
      } finally {
        signals.release();
      }
    }
  }

  addEventHandlers(LanguageModel.prototype, 'contextoverflow', 'quotaoverflow');
  Object.defineProperty(LanguageModel.prototype, Symbol.toStringTag, { value: 'LanguageModel', configurable: true });
  return LanguageModel as unknown as LanguageModelStatic;
}

function messagesOf(given: readonly unknown[]): GivenMessages {
  if (given.length === 0) throw new TypeError('1 argument required, but only 0 present');
  return givenMessages(given[0]);
}

/** What the specification says an error is: its own kinds as they are, a refusal of the engine's by the name that is given. */
function failure(error: unknown, refused: string): unknown {
  if (error instanceof DOMException || error instanceof TypeError || error instanceof RangeError) return error;
  return new DOMException(messageOf(error), error instanceof InputError ? refused : 'UnknownError');
}

/** A signal that aborts with the first of several, and what takes it off them. */
function combined(signals: readonly (AbortSignal | undefined)[]): { readonly signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const released = new AbortController();
  for (const signal of signals) {
    if (signal?.aborted) controller.abort(signal.reason);
    signal?.addEventListener('abort', () => controller.abort(signal.reason), { once: true, signal: released.signal });
  }
  return { signal: controller.signal, release: () => released.abort() };
}

/** The work's outcome, or the signal's reason as soon as it aborts. */
function until<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal?.removeEventListener('abort', abort));
  });
}

/** For browsers whose streams cannot be iterated. */
function iterable(stream: ReadableStream<string>): ReadableStream<string> {
  if (Symbol.asyncIterator in stream) return stream;
  return Object.defineProperty(stream as ReadableStream<string>, Symbol.asyncIterator, {
    async *value() {
      const reader = (stream as ReadableStream<string>).getReader();
      try {
        for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
      } finally {
        await reader.cancel().catch(() => {});
        reader.releaseLock();
      }
    },
  });
}
