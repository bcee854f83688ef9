// Answers that were given once are not computed again: a scorer in front of a scorer, and the store it keeps them in. A run that
// was interrupted goes on where it stopped. Where a store lies (a file, memory) is the caller's: io/node/answer-cache.ts.

import type { GenerateRequest, Loglikelihood, LoglikelihoodRequest, Scorer, ScorerOptions } from './scorer.js';

/** Answers by request. Keys are long texts (a whole prompt); values survive JSON. */
export interface EvalStore {
  /** Undefined when there is none. */
  get(key: string): unknown;
  set(key: string, value: unknown): void;
  /** Makes what was set so far survive the process. */
  flush(): Promise<void>;
}

/**
 * Requests, and characters that are new after the request before, after which answers are flushed: what an interrupted run loses
 * at most. A quarter of a million characters are minutes on a slow machine; shared beginnings are computed once and count once.
 */
const flushAfter = { requests: 1024, characters: 1 << 18 };

/** The scorer's answers, from the store where it has them. The scorer's name must say all that its answers depend on. */
export function cachedScorer(scorer: Scorer, store: EvalStore): Scorer {
  async function answer<Request, Answer>(
    method: string,
    requests: readonly Request[],
    fields: (request: Request) => readonly unknown[],
    isAnswer: (value: unknown) => value is Answer,
    compute: (requests: readonly Request[], options: ScorerOptions) => Promise<Answer[]>,
    { onProgress, signal }: ScorerOptions = {},
  ): Promise<Answer[]> {
    const keyOf = (request: Request): string => JSON.stringify([scorer.name, method, ...fields(request)]);
    const answers: Answer[] = new Array(requests.length);
    const missing: number[] = [];
    for (const [i, request] of requests.entries()) {
      const found = store.get(keyOf(request));
      if (isAnswer(found)) answers[i] = found;
      else missing.push(i);
    }
    const known = requests.length - missing.length;
    if (known > 0) onProgress?.(known, requests.length);
    const texts = missing.map((i) => String(fields(requests[i])[0]));
    for (let start = 0, end = 0; start < missing.length; start = end) {
      end = chunkEnd(texts, start);
      const chunk = missing.slice(start, end);
      const progress = (done: number): void => onProgress?.(known + start + done, requests.length);
      const computed = await compute(
        chunk.map((i) => requests[i]),
        { onProgress: progress, signal },
      );
      for (const [k, i] of chunk.entries()) {
        answers[i] = computed[k];
        store.set(keyOf(requests[i]), computed[k]);
      }
      await store.flush();
    }
    return answers;
  }

  const pairFields = ({ context, continuation }: LoglikelihoodRequest) => [context, continuation];
  const generateFields = ({ context, until, maxTokens, temperature = 0, topP = 1, sample = 0 }: GenerateRequest) => [
    ...[context, until, maxTokens, temperature],
    ...(topP === 1 && sample === 0 ? [] : [topP, sample]),
  ];
  return {
    name: scorer.name,
    loglikelihood: (requests, options) =>
      answer('loglikelihood', requests, pairFields, isLoglikelihood, (chunk, rest) => scorer.loglikelihood(chunk, rest), options),
    loglikelihoodRolling: (texts, options) =>
      answer(
        'rolling',
        texts,
        (text) => [text],
        isNumber,
        (chunk, rest) => scorer.loglikelihoodRolling(chunk, rest),
        options,
      ),
    generateUntil: (requests, options) =>
      answer('generate', requests, generateFields, isText, (chunk, rest) => scorer.generateUntil(chunk, rest), options),
  };
}

/** Where the chunk that begins at `start` ends; it has at least one text. */
function chunkEnd(texts: readonly string[], start: number): number {
  let characters = 0;
  for (let i = start; i < texts.length; i++) {
    if (i === start + flushAfter.requests) return i;
    characters += texts[i].length - (i > start ? commonLength(texts[i - 1], texts[i]) : 0);
    if (i > start && characters > flushAfter.characters) return i;
  }
  return texts.length;
}

function commonLength(a: string, b: string): number {
  if (a === b) return a.length;
  const end = Math.min(a.length, b.length);
  let i = 0;
  while (i < end && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i;
}

function isNumber(value: unknown): value is number {
  return Number.isFinite(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isLoglikelihood(value: unknown): value is Loglikelihood {
  const { logprob, greedy, truncated } = (value ?? {}) as Partial<Record<keyof Loglikelihood, unknown>>;
  return isNumber(logprob) && typeof greedy === 'boolean' && (truncated === undefined || isNumber(truncated));
}
