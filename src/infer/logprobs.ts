// Log-probabilities out of one row of logits, as they are told to who asks for them: the plain softmax's, before temperature, penalties
// and filters. Ids only; their texts are text.ts's.

import { expOfNegative } from './processors.js';

export interface IdLogprob {
  readonly id: number;
  /** Natural logarithm. */
  readonly logprob: number;
}

/** A token's log-probability, and the likeliest ids at its place, the best first (the lower id first among equals). */
export interface TokenLogprobs extends IdLogprob {
  readonly top: readonly IdLogprob[];
}

/** At most this many of the likeliest ids are told. */
export const maxTopLogprobs = 20;

/** Of `id` and of the `count` likeliest ids in a finite row of logits [vocabulary]. */
export function logprobsOf(logits: Float32Array, id: number, count: number): TokenLogprobs {
  const top = largest(logits, Math.max(1, count));
  const max = logits[top[0]];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += expOfNegative(logits[i] - max);
  const total = max + Math.log(sum);
  const of = (other: number): IdLogprob => ({ id: other, logprob: logits[other] - total });
  return { ...of(id), top: top.slice(0, count).map(of) };
}

/** The ids of the `count` largest logits, the largest first. Insertion: `count` is small, and most logits are below the last kept. */
function largest(logits: Float32Array, count: number): number[] {
  const ids: number[] = [];
  for (let i = 0; i < logits.length; i++) {
    if (ids.length === count && !(logits[i] > logits[ids[count - 1]])) continue;
    let place = ids.length;
    while (place > 0 && logits[i] > logits[ids[place - 1]]) place--;
    ids.splice(place, 0, i);
    if (ids.length > count) ids.pop();
  }
  return ids;
}
