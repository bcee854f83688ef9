// How a worker thread is started, from the compiled files or from the sources.

import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';

/** A thread that runs a file of this folder, named without its ending. */
export function startWorker(name: string, workerData: unknown): Worker {
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL(`./${name}.js`, import.meta.url), { workerData });
  // From the sources (tests, benchmarks) a thread has to load its own reader of TypeScript.
  const loader = createRequire(import.meta.url)
    .resolve('tsx/esm/api')
    .replace(/cjs$/, 'mjs');
  const script = new URL(`./${name}.ts`, import.meta.url).href;
  const start = `import(${JSON.stringify(loader)}).then(({ register }) => { register(); return import(${JSON.stringify(script)}); })`;
  return new Worker(start, { eval: true, workerData });
}
