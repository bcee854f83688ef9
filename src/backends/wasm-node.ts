// The WASM backend's host in Node: modules from the package, threads that are worker threads and read files themselves.

import { readFile } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import type { WasmHost } from './wasm.js';
import { type ThreadMessage, threadSource } from './wasm-thread.js';

export const nodeHost: WasmHost = {
  files: true,
  async load(name) {
    return new Uint8Array(await readFile(new URL(`../../native/wasm/openelm-${name}.wasm`, import.meta.url)));
  },
  startThread(start, finished, failed) {
    const worker = new Worker(threadSource, { eval: true });
    worker.on('message', ({ finished: task }: ThreadMessage) => finished(task));
    worker.on('error', failed);
    worker.on('exit', () => failed(new Error('a thread of the WASM backend ended')));
    worker.postMessage(start);
    worker.unref();
    return {
      terminate: () => worker.terminate(),
      ref: (alive) => (alive ? worker.ref() : worker.unref()),
    };
  },
};
