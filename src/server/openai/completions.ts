// OpenAI's `/v1/completions`: texts or ids are continued; with `echo` and `logprobs` they are scored, which is how
// lm-evaluation-harness measures a model at a server.

import type { IdLogprob, TokenLogprobs } from '../../infer/logprobs.js';
import type { TextOptions, TextResult } from '../../infer/text.js';
import { answers, type Call, newId, openAIEvents, type Reply, seconds } from '../call.js';
import { badField } from '../errors.js';
import { anything, type Body, boolean, readFields, refuse } from '../fields.js';
import { finishOf, tokenizerOf } from './chat.js';
import {
  choiceCount,
  sampling,
  samplingOptions,
  streaming,
  tokenLimit,
  topCount,
  type Usage,
  usageOf,
  wantsUsage,
} from './parameters.js';
import { readPrompts } from './prompts.js';
import { type CompletionLogprobs, CompletionTokens, emptyLogprobs } from './tokens.js';

const fields = {
  ...sampling,
  ...streaming,
  max_tokens: tokenLimit,
  prompt: anything,
  n: choiceCount,
  best_of: choiceCount,
  echo: boolean,
  logprobs: topCount,
} as const;

/** OpenAI's default. */
const defaultMaxTokens = 16;

interface CompletionChoice {
  readonly index: number;
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  readonly finish_reason: 'stop' | 'length' | null;
}

/** A whole answer, or one chunk of a stream: they have the same shape. */
export interface Completion {
  readonly id: string;
  readonly object: 'text_completion';
  readonly created: number;
  readonly model: string;
  readonly choices: readonly CompletionChoice[];
  readonly usage?: Usage | null;
}

/** Throws `ApiError` when the request is wrong, before anything is computed. */
export async function completion(call: Call, body: Body): Promise<Reply<Completion, Completion>> {
  refuse(body, { suffix: 'text is continued, not filled in' });
  const values = readFields(body, fields);
  const { n = 1, best_of: bestOf = n, echo = false, logprobs, stream } = values;
  if (bestOf < n) throw badField('best_of', `best_of is ${bestOf}, but n is ${n}; it must be at least n`);
  if (stream && bestOf > n) throw badField('best_of', 'best_of cannot be streamed: the best is known at the end');
  const maxTokens = values.max_tokens ?? defaultMaxTokens;
  // A text that is only scored may have one token more: nothing comes after the last.
  const prompts = await readPrompts(call.model, values.prompt ?? '', echo && maxTokens === 0 ? 1 : 0);
  const options: TextOptions = {
    ...{ ...samplingOptions(values), maxTokens, continuation: true },
    topLogprobs: logprobs ?? (bestOf > n ? 0 : undefined),
  };
  const withUsage = wantsUsage(values);
  const head = { id: newId('cmpl-'), object: 'text_completion' as const, created: seconds(), model: call.name };
  const asked: Asked = { head, prompts, n, bestOf, echo, logprobs, options };
  call.admit(prompts.length * bestOf);
  return stream ? openAIEvents(chunks(call, asked, withUsage)) : { whole: await whole(call, asked) };
}

interface Asked {
  readonly head: Pick<Completion, 'id' | 'object' | 'created' | 'model'>;
  readonly prompts: readonly (readonly number[])[];
  readonly n: number;
  readonly bestOf: number;
  readonly echo: boolean;
  readonly logprobs?: number;
  readonly options: TextOptions;
}

/** A choice as it grows. */
class Growing {
  readonly lists = emptyLogprobs();
  readonly chosen: number[] = [];
  private readonly tokens: CompletionTokens;

  constructor(
    readonly call: Call,
    private readonly asked: Asked,
    readonly prompt: readonly number[],
  ) {
    this.tokens = new CompletionTokens(tokenizerOf(call), !asked.echo);
  }

  /** The prompt's own text and log-probabilities, where they are wanted. */
  echo(score: Score | undefined): string {
    for (const [i, id] of (score ? this.prompt : []).entries())
      this.tokens.add(this.lists, id, score!.logprobs[i], score!.top?.[i] ?? null);
    return tokenizerOf(this.call)?.decode(this.prompt) ?? '';
  }

  add(token: TokenLogprobs, lists = this.lists): void {
    this.chosen.push(token.logprob);
    if (this.asked.logprobs !== undefined) this.tokens.add(lists, token.id, token.logprob, token.top);
  }
}

interface Score {
  readonly logprobs: readonly (number | null)[];
  readonly top?: readonly (readonly IdLogprob[] | null)[];
}

/** The prompts' log-probabilities, if they are wanted: each computed once, however many answers it gets. */
async function scoresOf({ model, adapter, signal }: Call, { prompts, echo, logprobs }: Asked): Promise<(Score | undefined)[]> {
  if (!echo || logprobs === undefined) return prompts.map(() => undefined);
  return Promise.all(prompts.map((prompt) => model.score(prompt, signal, adapter, Math.max(1, logprobs))));
}

function growing(call: Call, asked: Asked): Growing[] {
  return asked.prompts.flatMap((prompt) => Array.from({ length: asked.bestOf }, () => new Growing(call, asked, prompt)));
}

async function whole(call: Call, asked: Asked): Promise<Completion> {
  const { head, prompts, n, bestOf, echo, logprobs } = asked;
  const grown = growing(call, asked);
  const scores = await scoresOf(call, asked);
  const prefixes = grown.map((choice, i) => (echo ? choice.echo(scores[Math.floor(i / bestOf)]) : ''));
  const results = await finished(call, asked, grown);
  const choices = prompts.flatMap((_, p) => {
    const own = Array.from({ length: bestOf }, (_, i) => p * bestOf + i);
    const mean = (i: number): number =>
      grown[i].chosen.reduce((sum, logprob) => sum + logprob, 0) / (grown[i].chosen.length || 1);
    const best = bestOf > n ? own.sort((a, b) => mean(b) - mean(a)).slice(0, n) : own;
    return best.map((i, rank) => ({
      index: p * n + rank,
      text: prefixes[i] + (results?.[i].text ?? ''),
      logprobs: logprobs === undefined ? null : grown[i].lists,
      finish_reason: results ? finishOf(results[i].finishReason) : ('length' as const),
    }));
  });
  return { ...head, choices, usage: usage(asked, results) };
}

/** Undefined when no tokens are wanted: then a prompt need not fit with an answer. */
async function finished(call: Call, asked: Asked, grown: readonly Growing[]): Promise<TextResult[] | undefined> {
  const { prompts, bestOf, options } = asked;
  if (options.maxTokens === 0) return undefined;
  const pieces = answers(call, prompts, bestOf, options);
  for (;;) {
    const next = await pieces.next();
    if (next.done) {
      // The token that ended a text is no text, but it has its log-probability: who asks for one gets one.
      for (const [i, { eosLogprobs }] of next.value.entries()) if (eosLogprobs) grown[i].add(eosLogprobs);
      return next.value;
    }
    for (const token of next.value.piece.logprobs ?? []) grown[next.value.index].add(token);
  }
}

async function* chunks(call: Call, asked: Asked, withUsage: boolean): AsyncGenerator<Completion, void> {
  const { head, prompts, bestOf, echo, logprobs, options } = asked;
  const chunk = (choices: readonly CompletionChoice[], used: Usage | null = null): Completion => ({
    ...{ ...head, choices },
    ...(withUsage ? { usage: used } : {}),
  });
  const grown = growing(call, asked);
  if (echo) {
    const scores = await scoresOf(call, asked);
    for (const [index, choice] of grown.entries()) {
      const text = choice.echo(scores[Math.floor(index / bestOf)]);
      yield chunk([{ index, text, logprobs: logprobs === undefined ? null : choice.lists, finish_reason: null }]);
    }
  }
  const pieces = answers(call, prompts, bestOf, options);
  try {
    for (;;) {
      const next = await pieces.next();
      if (next.done) {
        for (const [index, { finishReason, eosLogprobs }] of next.value.entries()) {
          const lists = eosLogprobs && logprobs !== undefined ? emptyLogprobs() : null;
          if (lists) grown[index].add(eosLogprobs!, lists);
          yield chunk([{ index, text: '', logprobs: lists, finish_reason: finishOf(finishReason) }]);
        }
        if (withUsage) yield chunk([], usage(asked, next.value));
        return;
      }
      const { index, piece } = next.value;
      const lists = logprobs === undefined ? null : emptyLogprobs();
      for (const token of piece.logprobs ?? []) grown[index].add(token, lists ?? undefined);
      if (piece.text !== '' || lists?.tokens.length)
        yield chunk([{ index, text: piece.text, logprobs: lists, finish_reason: null }]);
    }
  } finally {
    await pieces.return([]); // whoever reads may have left
  }
}

function usage({ prompts, bestOf }: Asked, results: readonly TextResult[] | undefined): Usage {
  const prompted = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  const generated = (results ?? []).reduce((sum, { timings }) => sum + timings.generatedTokens, 0);
  const reused = prompts.reduce((sum, _, p) => sum + (results?.[p * bestOf].timings.reusedTokens ?? 0), 0);
  return usageOf(prompted, generated, reused);
}
