// Scoring a text that is longer than the context: in windows that overlap by as much as is asked, and what the scores amount to.

import { InputError } from '../errors.js';
import type { Engine, ScoreResult } from './engine.js';

export interface Windows {
  /** Tokens fed at once: the context at most. */
  readonly window: number;
  /** From one window's start to the next: the window at most. */
  readonly stride: number;
  readonly signal?: AbortSignal;
  /** Called after each window with the tokens that are done. */
  readonly onProgress?: (tokens: number) => void;
}

/**
 * Window k feeds tokens [k * stride, k * stride + window) and scores the token after each of them that is not scored yet.
 * Throws `InputError` when the window does not fit the model's context, or as `Engine.score` does.
 */
export async function scoreInWindows(
  engine: Pick<Engine, 'context' | 'score'>,
  ids: readonly number[],
  { window, stride, signal, onProgress }: Windows,
): Promise<ScoreResult> {
  if (window > engine.context)
    throw new InputError(`a window of ${window} tokens does not fit the context of ${engine.context}; raise --context`);
  if (stride > window) throw new InputError(`a stride of ${stride} tokens leaves out tokens: the window has only ${window}`);
  const result: ScoreResult = { logprobs: [], greedy: [] };
  for (let start = 0; result.logprobs.length < ids.length; start += stride) {
    const part = await engine.score(ids.slice(start, start + window + 1), signal);
    const known = result.logprobs.length - start;
    result.logprobs.push(...part.logprobs.slice(known));
    result.greedy.push(...part.greedy.slice(known));
    onProgress?.(result.logprobs.length);
  }
  return result;
}

/** exp of minus the mean log-probability; null when nothing was scored. */
export function perplexityOf(logprobs: readonly (number | null)[]): number | null {
  const scored = logprobs.filter((logprob) => logprob !== null);
  return scored.length === 0 ? null : Math.exp(-scored.reduce((sum, logprob) => sum + logprob, 0) / scored.length);
}
