// `LanguageModel`, the interface of browsers' Prompt API, over a model of ours: https://webmachinelearning.github.io/prompt-api, and where
// that and browsers differ, what web-platform-tests ask. The interface alone; texts only. What a conversation does is conversation.ts,
// what a session queues and how it ends session-life.ts, what values may be prompt-input.ts.

import { Conversation } from './conversation.js';
import { type CreateMonitor, Monitor } from './create-monitor.js';
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
import { combined, failure, SessionLife, until } from './session-life.js';
import { type ModelProvider, type OpenedModel, SharedModel } from './shared-model.js';
import { textStream } from './text-stream.js';
import { addEventHandlers, asInterface } from './web-idl.js';

/** Whether sessions can be made, and whether the model must be downloaded for them. */
export type Availability = 'unavailable' | 'downloadable' | 'downloading' | 'available';

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
      const { core, initial, signal, tell } = requestOf(options);
      signal?.throwIfAborted();
      const monitor = new Monitor();
      tell?.(monitor.target);
      const reason = refusal(core);
      if (reason) throw new DOMException(reason, 'NotSupportedError');
      const model = await taken(shared, monitor, signal);
      try {
        monitor.fire(1);
        await new Promise((resolve) => setTimeout(resolve)); // who hears of the end may still abort
        signal?.throwIfAborted();
        const conversation = (onOverflow: () => void): Conversation => new Conversation(model, model.contextWindow, onOverflow);
        const session = new LanguageModel(made, { core, conversation, release });
        if (initial.length > 0) await until(signal, session.#conversation.begin(initial, signal));
        signal?.addEventListener('abort', () => session.#end(signal.reason), { once: true, signal: session.#life.ended });
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
    readonly #life = new SessionLife();

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
      this.#life.ended.throwIfAborted();
      signal?.throwIfAborted();
      const { responseConstraint, omitResponseConstraintInput } = options;
      return textStream(signal, (cancelled, onText) =>
        this.#ask(messages, { responseConstraint, omitResponseConstraintInput, signal: cancelled }, onText),
      );
    }

    async append(...given: [input?: unknown, options?: unknown]): Promise<undefined> {
      const messages = messagesOf(given);
      const signal = signalFrom(dictionary(given[1], 'the options of append'));
      await this.#life.queue(signal, 'UnknownError', (composite) =>
        this.#conversation.add(canonical(messages, !this.#conversation.isEmpty), composite),
      );
    }

    async measureContextUsage(...given: [input?: unknown, options?: unknown]): Promise<number> {
      const messages = messagesOf(given);
      const options = dictionary(given[1], 'the options of measureContextUsage');
      givenConstraint(options);
      return this.#life.now(signalFrom(options), 'UnknownError', () => this.#conversation.measure(canonical(messages, false)));
    }

    async measureInputUsage(...given: [input?: unknown, options?: unknown]): Promise<number> {
      return this.measureContextUsage(...given);
    }

    async clone(options?: unknown): Promise<LanguageModel> {
      const signal = signalFrom(dictionary(options, 'the options of clone'));
      this.#life.ended.throwIfAborted();
      signal?.throwIfAborted();
      const signals = combined([this.#life.ended, signal]);
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
      if (this.#life.ended.aborted) return;
      this.#life.end(reason);
      forgotten.unregister(this);
      this.#release();
    }

    async #ask(messages: GivenMessages, options: Dictionary, onText: (text: string) => void): Promise<string> {
      const constraint = givenConstraint(options);
      const { temperature, topK } = this.#core;
      return this.#life.queue(signalFrom(options), constraint ? 'NotSupportedError' : 'UnknownError', (signal) =>
        this.#conversation.ask(canonical(messages, !this.#conversation.isEmpty), {
          temperature,
          topK,
          constraint,
          signal,
          onText,
        }),
      );
    }
  }

  addEventHandlers(LanguageModel.prototype, 'contextoverflow', 'quotaoverflow');
  const requires = { prompt: 1, promptStreaming: 1, append: 1, measureContextUsage: 1, measureInputUsage: 1 };
  asInterface(LanguageModel, 'LanguageModel', requires);
  return LanguageModel as unknown as LanguageModelStatic;
}

/** What `create` is asked for, checked as far as it can be without a model. */
function requestOf(options: unknown) {
  const given = dictionary(options, 'the options of create');
  const core = coreOptions(given);
  checkRanges(core);
  checkTools(core);
  const { initialPrompts, monitor: tell } = given;
  const prompts = initialPrompts === undefined ? [] : sequence(initialPrompts, 'initialPrompts');
  const initial = prompts.length === 0 ? [] : canonical(givenMessages(prompts), false);
  const signal = signalFrom(given);
  if (tell !== undefined && typeof tell !== 'function') throw new TypeError('monitor is no function');
  return { core, initial, signal, tell };
}

/** The model for one more session. The monitor tells of its download from the beginning on. */
async function taken(shared: SharedModel, monitor: Monitor, signal: AbortSignal | undefined): Promise<OpenedModel> {
  const wasHere = (await shared.availability()) === 'available';
  signal?.throwIfAborted();
  monitor.fire(0);
  return shared
    .take(signal, (progress) => monitor.hear(progress))
    .catch((error: unknown) => {
      throw signal?.aborted ? signal.reason : failure(error, wasHere ? 'OperationError' : 'NetworkError');
    });
}

function messagesOf(given: readonly unknown[]): GivenMessages {
  if (given.length === 0) throw new TypeError('1 argument required, but only 0 present');
  return givenMessages(given[0]);
}
