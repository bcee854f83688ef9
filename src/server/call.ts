// What every endpoint gets, and what it gives back: a model to ask, a signal, a place to count; a whole answer or a stream of events.
// Endpoints know nothing of HTTP, so that they also answer inside a program (openelm/openai).

import type { TextModel, TextOptions, TextPiece, TextResult } from '../infer/text.js';
import type { ApiError } from './errors.js';

/** What was done for a request, for the log and the metrics. */
export class Tally {
  promptTokens = 0;
  reusedTokens = 0;
  generatedTokens = 0;
  /** Milliseconds from the call to the first token, and from there to the last. */
  firstTokenMs?: number;
  generateMs = 0;

  add({ timings }: TextResult): void {
    this.promptTokens += timings.promptTokens;
    this.reusedTokens += timings.reusedTokens;
    this.generatedTokens += timings.generatedTokens;
    this.generateMs = Math.max(this.generateMs, timings.generateMs);
    if (timings.generatedTokens > 0) this.firstTokenMs = Math.min(this.firstTokenMs ?? timings.promptMs, timings.promptMs);
  }
}

export interface Call {
  readonly model: TextModel;
  /** The model's name, as the client knows it. */
  readonly name: string;
  readonly adapter?: string | null;
  readonly signal: AbortSignal;
  /** Tokens of one answer at most, whatever the request says. */
  readonly maxTokens?: number;
  readonly tally: Tally;
  /** Takes the places of `count` answers, before the first is begun. Throws `ApiError` 429 when there is no room. */
  readonly admit: (count: number) => void;
}

/** Events, and how they are written. */
export interface Streamed<Event = object> {
  readonly type: 'text/event-stream' | 'application/x-ndjson';
  readonly events: AsyncGenerator<Event, void>;
  encode(event: Event): string;
  /** What ends the stream, and what ends it after a failure. */
  readonly end: string;
  failed(error: ApiError): string;
}

export type Reply<Whole = object, Event = object> = { readonly whole: Whole } | Streamed<Event>;

/** Server-sent events as OpenAI's: data lines, and `[DONE]`. */
export function openAIEvents<Event>(events: AsyncGenerator<Event, void>): Streamed<Event> {
  const data = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
  return {
    ...{ type: 'text/event-stream', events, encode: data, end: 'data: [DONE]\n\n' },
    failed: (error) => data(error.body),
  };
}

interface ChoicePiece {
  readonly index: number;
  readonly piece: TextPiece;
}

/**
 * The answers to several prompts side by side, each `n` times: pieces as they come, then the results in order. Seeds of the n
 * differ by one. Throws the signal's reason when it aborts.
 */
export async function* answers(
  call: Call,
  prompts: readonly (readonly number[])[],
  n: number,
  options: TextOptions,
): AsyncGenerator<ChoicePiece, TextResult[]> {
  const { model, adapter, signal, maxTokens, tally } = call;
  const limit = Math.min(options.maxTokens ?? Number.POSITIVE_INFINITY, maxTokens ?? Number.POSITIVE_INFINITY);
  const begun = prompts.flatMap((prompt) =>
    Array.from({ length: n }, (_, i) => {
      const seed = options.seed === undefined ? undefined : (options.seed + i) % Number.MAX_SAFE_INTEGER;
      return model.generate(prompt, { ...options, seed, maxTokens: limit, adapter, signal });
    }),
  );
  const results: TextResult[] = [];
  const next = async (index: number) => ({ index, step: await begun[index].next() });
  const waiting = new Map(begun.map((_, index) => [index, next(index)]));
  try {
    while (waiting.size > 0) {
      const { index, step } = await (waiting.size === 1 ? [...waiting.values()][0] : Promise.race(waiting.values()));
      if (!step.done) {
        waiting.set(index, next(index));
        yield { index, piece: step.value };
        continue;
      }
      waiting.delete(index);
      results[index] = step.value;
      tally.add(step.value);
      if (step.value.finishReason === 'abort') signal.throwIfAborted();
    }
  } finally {
    // A reader that has gone: what runs ahead for it ends before its places are given back.
    for (const pending of waiting.values()) pending.catch(() => {});
    await Promise.allSettled(begun.map((generator) => generator.return(undefined as never)));
  }
  return results;
}

let counter = 0;

/** An id for an answer, unlike any other. */
export function newId(prefix: string): string {
  const random = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${prefix}${random}${(counter++ % 0x10000).toString(16).padStart(4, '0')}`;
}

/** Seconds since 1970. */
export function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
