// A conversation that stays within a model's context: its messages, asking and adding, and what is forgotten when it overflows. It counts in
// tokens of the prompt that the model's chat template makes of it. What pages call, queueing and aborting, is language-model.ts's.

import { counted, InputError } from '../errors.js';
import type { ChatMessage } from '../infer/chat.js';
import type { TextOptions, TextPiece, TextResult, TurnOptions } from '../infer/text.js';
import { type GivenConstraint, type Message, quotaExceeded } from './prompt-input.js';

/** What a conversation needs of a model; `BrowserModel` has it. */
export interface PromptModel {
  encodeChat(messages: readonly ChatMessage[], options?: TurnOptions): Promise<number[]>;
  generate(
    prompt: readonly number[],
    options?: TextOptions,
  ): AsyncGenerator<Pick<TextPiece, 'text'>, Pick<TextResult, 'ids' | 'finishReason' | 'complete'>>;
  dispose(): Promise<void>;
}

export interface AskOptions {
  readonly temperature: number;
  readonly topK: number;
  readonly constraint?: GivenConstraint;
  readonly signal: AbortSignal;
  /** Told of the answer as it comes. */
  readonly onText: (text: string) => void;
}

/** When an answer fills the context, so much of it is made free at once: every time the prompt is computed anew. */
const spareShare = 1 / 8;

interface State {
  /** Never forgotten. */
  readonly initial: readonly ChatMessage[];
  /** What was asked and answered, or added, together; forgotten together, the oldest first. */
  readonly exchanges: readonly (readonly ChatMessage[])[];
  /** All messages as the model has read and written them: what was computed of them is found by these. */
  readonly ids: readonly number[];
  /** The same as the template and the tokenizer make it, who may cut an answer into other tokens than the model did. */
  readonly encoded: readonly number[];
}

const nothing: State = { initial: [], exchanges: [], ids: [], encoded: [] };

/** A prompt that fits: its tokens, and those that template and tokenizer make of it. */
interface Fitting {
  readonly ids: readonly number[];
  readonly encoded: readonly number[];
}

export class Conversation {
  /** `context`: the tokens that the model takes; `onOverflow` is told when something was forgotten. */
  constructor(
    private readonly model: PromptModel,
    readonly context: number,
    private readonly onOverflow: () => void,
    private state: State = nothing,
  ) {}

  /** Tokens of the context that are taken. */
  get usage(): number {
    return Math.min(this.state.ids.length, this.context);
  }

  get isEmpty(): boolean {
    return this.state.initial.length === 0 && this.state.exchanges.length === 0;
  }

  /** Another one with the same messages. */
  clone(onOverflow: () => void): Conversation {
    return new Conversation(this.model, this.context, onOverflow, this.state);
  }

  /** Tokens that messages take by themselves. Throws a NotSupportedError where the template refuses them. */
  async measure(messages: readonly Message[]): Promise<number> {
    return (await this.encode(messages.map(plain), { answering: false })).length;
  }

  /** Begins with messages that are never forgotten. Throws a QuotaExceededError when they do not fit. */
  async begin(messages: readonly Message[], signal: AbortSignal | undefined): Promise<void> {
    const fitting = await this.fit(messages.map(plain), { answering: false });
    await this.compute(fitting.ids, signal);
    this.state = { initial: messages.map(plain), exchanges: [], ...fitting };
  }

  /** Adds messages, and computes them. Throws a QuotaExceededError when they do not fit beside what is never forgotten. */
  async add(messages: readonly Message[], signal: AbortSignal): Promise<void> {
    const turns = messages.map(plain);
    const fitting = await this.fit(turns, { answering: false });
    await this.compute(fitting.ids, signal);
    this.keep(turns, fitting);
  }

  /**
   * The answer to messages; both are added to the conversation, unless it fails or the signal aborts. Throws the signal's reason, a
   * QuotaExceededError when they do not fit, a SyntaxError when the context is full before the constraint is satisfied.
   */
  async ask(messages: readonly Message[], { signal, onText, constraint, ...sampling }: AskOptions): Promise<string> {
    const last = messages[messages.length - 1];
    const begun = last.prefix ? last.content : '';
    const turns = (last.prefix ? messages.slice(0, -1) : messages).map(plain);
    const ids: number[] = [];
    let text = '';
    for (let spare = 0; ; spare = Math.ceil(this.context * spareShare)) {
      const fitting = await this.fit(turns, { begun }, ids.length, spare);
      const prompt = [...fitting.ids, ...ids];
      signal.throwIfAborted();
      const pieces = this.model.generate(prompt, {
        ...{ ...sampling, topP: 0.9, ...constraint, signal },
        ...(begun + text === '' ? {} : { continuation: true }),
        ...(constraint ? { begun: begun + text } : {}),
      });
      let next = await pieces.next();
      for (; !next.done; next = await pieces.next()) {
        text += next.value.text;
        if (next.value.text !== '') onText(next.value.text);
      }
      signal.throwIfAborted();
      const { finishReason, complete, ids: written } = next.value;
      ids.push(...written);
      if (finishReason === 'length' && this.state.exchanges.length > 0) continue; // forgets, and goes on
      if (complete === false)
        throw new DOMException('the context was full before the answer satisfied its constraint', 'SyntaxError');
      const exchange = [...turns, { role: 'assistant' as const, content: begun + text }];
      const opened = await this.encode([...this.messages, ...turns], { begun: begun + text });
      const encoded = await this.encode([...this.messages, ...exchange], { answering: false });
      signal.throwIfAborted(); // what was rejected is not kept
      this.keep(exchange, { ids: inPlaceOf(opened, [...prompt, ...written], encoded), encoded });
      return text;
    }
  }

  private get messages(): readonly ChatMessage[] {
    return [...this.state.initial, ...this.state.exchanges.flat()];
  }

  /** The prompt of all messages and `turns`, beside which `taken` tokens fit, and `spare` if there is so much to forget. */
  private async fit(turns: readonly ChatMessage[], options: TurnOptions, taken = 0, spare = 0): Promise<Fitting> {
    const { initial } = this.state;
    let { exchanges } = this.state;
    for (;;) {
      const encoded = await this.encode([...initial, ...exchanges.flat(), ...turns], options);
      const isWhole = exchanges.length === this.state.exchanges.length;
      const ids = isWhole ? inPlaceOf(this.state.encoded, this.state.ids, encoded) : encoded;
      const room = this.context - ids.length - taken;
      if (room >= spare || (exchanges.length === 0 && room >= 0)) {
        if (!isWhole) {
          const kept = await this.closed([...initial, ...exchanges.flat()]);
          this.state = { initial, exchanges, ids: kept, encoded: kept };
          this.onOverflow();
        }
        return { ids, encoded };
      }
      const least = exchanges.length === 0 ? ids : await this.encode([...initial, ...turns], options);
      if (least.length + taken > this.context)
        throw this.tooLarge(least.length, (await this.closed([...initial, ...turns])).length);
      exchanges = exchanges.slice(1);
    }
  }

  /** `asked`: tokens with the opening of the answer; `bare`: without, which is told where that alone is too much. */
  private tooLarge(asked: number, bare: number): DOMException {
    const requested = bare > this.context ? bare : asked;
    return quotaExceeded(
      `the prompt takes ${counted(requested, 'token')}, and the model has ${this.context}`,
      requested,
      this.context,
    );
  }

  private keep(messages: readonly ChatMessage[], { ids, encoded }: Fitting): void {
    const [first] = messages;
    const system = this.isEmpty && first.role === 'system' ? [first] : [];
    const rest = messages.slice(system.length);
    const initial = [...this.state.initial, ...system];
    const exchanges = rest.length > 0 ? [...this.state.exchanges, rest] : this.state.exchanges;
    this.state = { initial, exchanges, ids, encoded };
  }

  private async closed(messages: readonly ChatMessage[]): Promise<readonly number[]> {
    return messages.length === 0 ? [] : this.encode(messages, { answering: false });
  }

  /** Leaves the prompt in the model's cache, so that what is asked next begins there. */
  private async compute(ids: readonly number[], signal: AbortSignal | undefined): Promise<void> {
    const pieces = this.model.generate(ids, { maxTokens: 1, signal });
    while (!(await pieces.next()).done);
    signal?.throwIfAborted();
  }

  /** Where a template wants roles by turns, neighbours of one role are one message. */
  private async encode(messages: readonly ChatMessage[], options: TurnOptions): Promise<number[]> {
    // Templates are written for somebody who asks.
    const asked =
      options.answering === false || messages.some(({ role }) => role === 'user')
        ? messages
        : [...messages, { role: 'user' as const, content: '' }];
    try {
      return await this.model.encodeChat(asked, options);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      const joined = withoutNeighbours(asked);
      try {
        if (joined.length < asked.length) return await this.model.encodeChat(joined, options);
      } catch (other) {
        if (!(other instanceof InputError)) throw other;
      }
      throw new DOMException(error.message, 'NotSupportedError');
    }
  }
}

/** `whole` with other ids in the place of its beginning, if that is how it begins. */
function inPlaceOf(beginning: readonly number[], ids: readonly number[], whole: readonly number[]): readonly number[] {
  return beginning.every((id, i) => whole[i] === id) ? [...ids, ...whole.slice(beginning.length)] : whole;
}

function plain({ role, content }: Message): ChatMessage {
  return { role, content };
}

function withoutNeighbours(messages: readonly ChatMessage[]): ChatMessage[] {
  const joined: ChatMessage[] = [];
  for (const message of messages) {
    const last = joined[joined.length - 1];
    if (last?.role === message.role) last.content += `\n\n${message.content}`;
    else joined.push({ ...message });
  }
  return joined;
}
