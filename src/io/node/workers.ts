// How a worker thread is started, from the compiled files or from the sources, and how it tells what went wrong.

import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { InputError, messageOf } from '../../errors.js';

/** A thread that runs a file beside the one whose `import.meta.url` is given, named without its ending. */
export function startWorker(beside: string, name: string, workerData: unknown): Worker {
  if (!beside.endsWith('.ts')) return new Worker(new URL(`./${name}.js`, beside), { workerData });
  // From the sources (tests, benchmarks) a thread has to load its own reader of TypeScript.
  const loader = createRequire(import.meta.url)
    .resolve('tsx/esm/api')
    .replace(/cjs$/, 'mjs');
  const script = new URL(`./${name}.ts`, beside).href;
  const start = `import(${JSON.stringify(loader)}).then(({ register }) => { register(); return import(${JSON.stringify(script)}); })`;
  return new Worker(start, { eval: true, workerData });
}

/** An error on its way from a thread. */
export interface ToldError {
  readonly error: string;
  readonly isInput: boolean;
}

export function toldError(error: unknown): ToldError {
  return { error: messageOf(error), isInput: error instanceof InputError };
}

export function errorOf({ error, isInput }: ToldError): Error {
  return isInput ? new InputError(error) : new Error(error);
}
