// Scoring a text that is longer than the context: in windows that overlap by as much as is asked, and what the scores amount to. Ids may come
// bit by bit: of a text of any length no more than two windows are held.

import { counted, InputError } from '../errors.js';
import type { Engine, ScoreResult } from './engine.js';

export interface Windows {
  /** Tokens fed at once: the context at most. */
  readonly window: number;
  /** From one window's start to the next: the window at most. */
  readonly stride: number;
  readonly signal?: AbortSignal;
}

/** The scores of the tokens that a window scores first, and their ids. */
export interface WindowScores extends ScoreResult {
  readonly ids: readonly number[];
}

/**
 * Window k feeds tokens [k * stride, k * stride + window) and scores the token after each of them that is not scored yet. `ids` are all
 * of a text, list by list. Throws `InputError` when the window does not fit the model's context, or as `Engine.score` does.
 */
export async function* windowScores(
  engine: Pick<Engine, 'context' | 'score'>,
  ids: Iterable<readonly number[]> | AsyncIterable<readonly number[]>,
  { window, stride, signal }: Windows,
): AsyncGenerator<WindowScores> {
  if (window > engine.context)
    throw new InputError(
      (option) =>
        `a window of ${counted(window, 'token')} does not fit the context of ${engine.context}; raise ${option('context')}`,
    );
  if (stride > window)
    throw new InputError(`a stride of ${counted(stride, 'token')} leaves out tokens: the window has only ${window}`);
  let held: number[] = [];
  let start = 0; // where in them the next window begins
  let known = 0; // how many from there on are scored
  const next = async (): Promise<WindowScores> => {
    const fed = held.slice(start, start + window + 1);
    const { logprobs, greedy } = await engine.score(fed, signal);
    const scores = { ids: fed.slice(known), logprobs: logprobs.slice(known), greedy: greedy.slice(known) };
    known = Math.max(0, fed.length - stride);
    start += stride;
    return scores;
  };
  for await (const list of ids) {
    held = held.slice(start).concat(list);
    start = 0;
    while (start + window < held.length) yield await next();
  }
  while (start + known < held.length) yield await next();
}

/** All scores at once, of ids that are all there. */
export async function scoreInWindows(
  engine: Pick<Engine, 'context' | 'score'>,
  ids: readonly number[],
  windows: Windows,
): Promise<ScoreResult> {
  const result: ScoreResult = { logprobs: [], greedy: [] };
  for await (const { logprobs, greedy } of windowScores(engine, [ids], windows)) {
    result.logprobs.push(...logprobs);
    result.greedy.push(...greedy);
  }
  return result;
}
