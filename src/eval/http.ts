// A server's model behind the scorer's three methods: OpenAI's completions with `echo` and `logprobs`, as
// lm-evaluation-harness's local-completions asks for them (models/api_models.py, openai_completions.py). With a tokenizer,
// requests are ids and equal the harness's; without one they are text, and where the continuation begins is read off the
// server's offsets.

import { counted, InputError, locating, shown } from '../errors.js';
import { type PostOptions, postJson, type Target, targetOf } from '../io/post.js';
import { codePoints } from '../python/text.js';
import {
  cutAtStops,
  type EncodedRequest,
  type EvalTokenizer,
  encodePrompt,
  moveTrailingSpace,
  PairEncoder,
  rollingWindows,
} from './encoding.js';
import type { GenerateRequest, Loglikelihood, Scorer, ScorerOptions } from './scorer.js';

/** Which server is asked, and how. */
export interface HttpScorerOptions extends PostOptions {
  /** The server: `http://localhost:8000`, with or without `/v1` or `/v1/completions`. */
  readonly baseUrl: string;
  /** The model's name there. */
  readonly model: string;
  /** The model's own; needed for texts without a context and for perplexities. */
  readonly tokenizer?: EvalTokenizer;
  /** With a tokenizer: put a BOS in front of every text. Default false, as the harness. */
  readonly addBos?: boolean;
  /** With a tokenizer: tokens that the server takes, the one it generates included. Default 2048. */
  readonly context?: number;
  /** Tokens to generate after an echo: 1 (default) as the harness does, or 0 for servers that allow it. */
  readonly echoTokens?: 0 | 1;
  /** Requests under way at once. Default 4. */
  readonly concurrency?: number;
}

/** One choice's logprobs in a completion that echoes its prompt; the first token has none. */
interface EchoedTokens {
  readonly tokens?: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
  readonly text_offset?: readonly number[];
}

/** A scorer on a server. Throws `InputError` on a malformed address; its methods also when the server is unreachable or refuses. */
export function httpScorer(options: HttpScorerOptions): Scorer {
  const { model, tokenizer, addBos = false, context = 2048, echoTokens = 1, concurrency = 4 } = options;
  const target = completionsUrl(options.baseUrl);
  const url = target.shown;
  const rules = tokenizer && { tokenizer, addBos, maxLength: context - echoTokens - 1 };

  const complete = async (body: Record<string, unknown>, signal: AbortSignal): Promise<Record<string, unknown>> => {
    const answer = await postJson(target, { model, seed: serverSeed, ...body }, options, signal);
    const choice: unknown = Array.isArray(answer.choices) ? answer.choices[0] : undefined;
    if (choice === null || typeof choice !== 'object') throw new InputError(`${url}: the answer has no choices`);
    return choice as Record<string, unknown>;
  };
  const echo = async (prompt: string | readonly number[], signal: AbortSignal): Promise<EchoedTokens> => {
    const body = { prompt, temperature: 0, max_tokens: echoTokens, logprobs: 1, echo: true };
    return echoedTokens((await complete(body, signal)).logprobs, url);
  };
  const scoreIds = async ({ ids, scored }: EncodedRequest, signal: AbortSignal): Promise<Loglikelihood> => {
    const echoed = await echo(ids, signal);
    const extra = echoed.token_logprobs.length - ids.length;
    if (extra !== 0 && extra !== echoTokens) {
      throw new InputError(
        `${url}: ${counted(ids.length, 'token')} sent, ${echoed.token_logprobs.length} came back: does it echo the prompt?`,
      );
    }
    return sumOf(echoed, ids.length - scored, ids.length, url);
  };
  const scoreText = async (given: string, after: string, signal: AbortSignal): Promise<Loglikelihood> => {
    const [before, continuation] = moveTrailingSpace(given, after);
    if (before === '') {
      throw new InputError('a text without context needs the prefix token: give the tokenizer of the model at the server');
    }
    const prompt = before + continuation;
    const echoed = await echo(prompt, signal);
    const [start, end] = tokensBetween(echoed, prompt, before, url);
    return sumOf(echoed, start, end, url);
  };

  return {
    name: `${model} at ${url}${tokenizer ? `, ids${addBos ? ' with bos' : ''}, context ${context}` : ', text'}`,
    loglikelihood(requests, run) {
      const pairs = rules && new PairEncoder(rules);
      return inParallel(requests, concurrency, run, async ({ context: before, continuation }, signal, i) => {
        const encoded = pairs && locating(`request ${i}`, () => pairs.encode(before, continuation));
        if (!encoded) return scoreText(before, continuation, signal);
        const { truncated } = encoded;
        const score = await scoreIds(encoded, signal);
        return truncated ? { ...score, truncated } : score;
      });
    },
    async loglikelihoodRolling(texts, run) {
      if (!rules) throw new InputError('perplexities need windows of tokens: give the tokenizer of the model at the server');
      return inParallel(texts, concurrency, run, async (text, signal, i) => {
        let sum = 0;
        for (const window of locating(`request ${i}`, () => rollingWindows(rules, text)))
          sum += (await scoreIds(window, signal)).logprob;
        return sum;
      });
    },
    generateUntil(requests, run) {
      return inParallel(requests, concurrency, run, async (request: GenerateRequest, signal, i) => {
        const { until, maxTokens, temperature = 0, topP, sample = 0 } = request;
        const prompt = rules
          ? locating(`request ${i}`, () => encodePrompt({ ...rules, maxLength: context }, request.context, maxTokens))
          : request.context;
        const stop = until.length ? { stop: until } : {};
        const drawn = { ...(topP === undefined ? {} : { top_p: topP }), ...(sample > 0 ? { seed: serverSeed + sample } : {}) };
        const { text } = await complete({ prompt, max_tokens: maxTokens, temperature, ...drawn, ...stop }, signal);
        if (typeof text !== 'string') throw new InputError(`${url}: the answer has no text`);
        return cutAtStops(text, until);
      });
    },
  };
}

/** As the harness sends it. */
const serverSeed = 1234;

function completionsUrl(base: string): Target {
  const { shown: trimmed } = targetOf(base);
  return targetOf(base, trimmed.endsWith('/completions') ? '' : trimmed.endsWith('/v1') ? '/completions' : '/v1/completions');
}

function echoedTokens(logprobs: unknown, url: string): EchoedTokens {
  const { token_logprobs: tokens, top_logprobs: top } = (logprobs ?? {}) as Partial<Record<keyof EchoedTokens, unknown>>;
  if (!Array.isArray(tokens)) {
    throw new InputError(`${url}: the answer has no token_logprobs: the server must support \`logprobs\` with \`echo\``);
  }
  if (!Array.isArray(top) || top.length !== tokens.length) {
    throw new InputError(
      `${url}: the answer has no top_logprobs for its ${counted(tokens.length, 'token')}; they say what is greedy`,
    );
  }
  return logprobs as EchoedTokens;
}

/** The tokens [start, end) of what comes after `before` in the prompt, by the server's offsets in code points. */
function tokensBetween(
  { tokens, text_offset: offsets }: EchoedTokens,
  prompt: string,
  before: string,
  url: string,
): [number, number] {
  if (!Array.isArray(offsets) || !Array.isArray(tokens) || tokens.length === 0) {
    throw new InputError(`${url}: the answer has no text_offset: give the tokenizer of the model at the server`);
  }
  // A BOS that the server put in front is counted by its name.
  const shift = prompt.startsWith(tokens[0]) ? 0 : (offsets[1] ?? 0);
  const [from, to] = [codePoints(before), codePoints(prompt)];
  const start = offsets.findIndex((offset, i) => i > 0 && offset - shift >= from);
  let end = offsets.length;
  while (end > 0 && offsets[end - 1] - shift >= to) end--;
  if (start < 0 || start >= end) {
    throw new InputError(`${url}: no token of ${shown(prompt.slice(-40))} begins after the context: does it echo the prompt?`);
  }
  return [start, end];
}

function sumOf({ token_logprobs, top_logprobs }: EchoedTokens, start: number, end: number, url: string): Loglikelihood {
  let logprob = 0;
  let greedy = true;
  for (let i = start; i < end; i++) {
    const value = token_logprobs[i];
    if (value === null || !Number.isFinite(value)) throw new InputError(`${url}: token ${i} came back without a logprob`);
    logprob += value;
    for (const other of Object.values(top_logprobs[i] ?? {})) if (!(value >= other)) greedy = false;
  }
  return { logprob, greedy };
}

/** The results in order; the first failure stops the rest. */
async function inParallel<Item, Result>(
  items: readonly Item[],
  concurrency: number,
  { onProgress, signal }: ScorerOptions = {},
  work: (item: Item, signal: AbortSignal, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = new Array(items.length);
  const stop = new AbortController();
  const either = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  let next = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < items.length; i = next++) {
      either.throwIfAborted();
      results[i] = await work(items[i], either, i);
      onProgress?.(++done, items.length);
    }
  };
  const workers = Array.from({ length: Math.min(concurrency, items.length) }, worker);
  try {
    await Promise.all(workers);
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(workers);
    throw error;
  }
  return results;
}
