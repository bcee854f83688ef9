// A model whose outputs are no numbers: never text, always an error that says where it came up. Why it is so (which weights) is
// for who has the files to find out: the doors.

import { InputError } from '../errors.js';

/** A logit or a log-probability is NaN or infinite. */
export class NotFiniteError extends InputError {
  /** `where`: which step or token, as in "at step 3". */
  constructor(where: string, what = 'not all of its logits are finite numbers') {
    super(`the model's output cannot be used ${where}: ${what}`);
  }
}

/** What is wrong with a row of logits; undefined when all are finite. */
export function notFiniteIn(logits: Float32Array): string | undefined {
  let sum = 0; // of zeros, as long as all are finite: a row is looked at for every token that is sampled
  for (let i = 0; i < logits.length; i++) sum += logits[i] * 0;
  if (sum === 0) return undefined;
  const at = logits.findIndex((logit) => !Number.isFinite(logit));
  return at < 0 ? undefined : `logit ${at} of ${logits.length} is ${logits[at]}`;
}
