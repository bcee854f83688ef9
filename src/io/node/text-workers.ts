// Processes texts in worker threads. Blocks are answered in the order in which they were asked for, whichever thread is done
// first, so the number of threads changes nothing but the time. Idle threads do not keep the process alive.

import type { Worker } from 'node:worker_threads';
import type { ProcessedBlock, ProcessOptions, TextProcessor } from '../../data/process.js';
import type { NamedBytes } from '../bytes.js';
import { errorOf, startWorker, type ToldError } from './workers.js';

export interface Setup {
  readonly tokenizer: NamedBytes;
  readonly options: ProcessOptions;
}

export interface Job {
  readonly id: number;
  readonly texts: readonly string[];
}

export type Answer = { readonly id: number } & ({ readonly block: ProcessedBlock } | ToldError);

interface Waiting {
  readonly worker: Worker;
  readonly resolve: (block: ProcessedBlock) => void;
  readonly reject: (error: Error) => void;
}

/** A processor of `threads` worker threads. Its promises reject with `InputError` as `processBlock` throws it. */
export function workerProcessor(setup: Setup, threads: number): TextProcessor {
  const waiting = new Map<number, Waiting>();
  let nextId = 0;

  const fail = (worker: Worker, error: Error): void => {
    for (const [id, { worker: own, reject }] of waiting) {
      if (own !== worker) continue;
      waiting.delete(id);
      reject(error);
    }
  };
  const settle = (worker: Worker, answer: Answer): void => {
    const { resolve, reject } = waiting.get(answer.id)!;
    waiting.delete(answer.id);
    if (![...waiting.values()].some((other) => other.worker === worker)) worker.unref();
    if ('block' in answer) resolve(answer.block);
    else reject(errorOf(answer));
  };
  const workers = Array.from({ length: threads }, () => {
    const worker = startWorker(import.meta.url, 'text-worker', setup);
    worker.unref();
    worker.on('message', (answer: Answer) => settle(worker, answer));
    worker.on('error', (error) => fail(worker, error));
    worker.on('exit', (code) => fail(worker, new Error(`a text worker ended with code ${code}`)));
    return worker;
  });

  return {
    depth: threads * 2,
    process(texts) {
      const id = nextId++;
      const worker = workers[id % threads];
      return new Promise((resolve, reject) => {
        waiting.set(id, { worker, resolve, reject });
        worker.ref();
        worker.postMessage({ id, texts } satisfies Job);
      });
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}
