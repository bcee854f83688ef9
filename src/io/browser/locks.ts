// Tabs of one origin that want the same thing: by turns, or one alone (Web Locks; a worker's are let go when it ends). Where there are no
// locks, nobody is kept out.

import { InputError } from '../../errors.js';

/** Does the work when no other tab does what has this name. Rejects with the signal's reason when it aborts while waiting. */
export async function locked<T>(
  name: string,
  shared: boolean,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  if (!shared || typeof navigator !== 'object' || !navigator.locks) return work();
  return navigator.locks.request(name, signal ? { signal } : {}, work) as Promise<T>;
}

/** Milliseconds: a page that was just left may still have what it had; browsers let a worker that computes go on for two seconds. */
export const patience = 4000;

/** Does the work unless another tab does what has this name, and goes on doing it; then throws `InputError` with the sentence `otherwise`. */
export async function alone<T>(name: string, otherwise: string, work: () => Promise<T>): Promise<T> {
  if (typeof navigator !== 'object' || !navigator.locks) return work();
  let begun = false;
  const run = (): Promise<T> => {
    begun = true;
    return work();
  };
  try {
    return (await navigator.locks.request(name, { signal: AbortSignal.timeout(patience) }, run)) as T;
  } catch (error) {
    throw begun ? error : new InputError(otherwise);
  }
}
