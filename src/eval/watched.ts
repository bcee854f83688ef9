// A task file's regular expressions can work without end on a text, and nothing of this thread can stop them; a platform that can
// end a call from outside says how (io/node/deadline.ts). Templates themselves count their work (python/budget.ts).

import { InputError } from '../errors.js';

/** Runs `work`; undefined when it was ended because it took too long. */
export type Watch = <T>(work: () => T) => { readonly value: T } | undefined;

let watch: Watch = (work) => ({ value: work() });

export function watchWith(by: Watch): void {
  watch = by;
}

/** The result of work with a stranger's regular expressions. Throws `InputError` when it takes too long. */
export function watched<T>(work: () => T): T {
  const done = watch(work);
  if (!done) throw new InputError('a regular expression takes too long on this text (a repetition inside a repetition, often)');
  return done.value;
}
