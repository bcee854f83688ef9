// The WASM backend in Node: modules from the package, threads that are worker threads and read files themselves.

import { readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { threadCount } from './native-threads.js';
import {
  type WasmBackend,
  type WasmBytes,
  type WasmHost,
  type WasmIsa,
  type WasmModule,
  type WasmOptions,
  wasmBackendNow,
  wasmIsas,
} from './wasm.js';
import { type ThreadMessage, threadSource } from './wasm-thread.js';

export const nodeHost: WasmHost = {
  files: true,
  startThread(start, finished, failed) {
    // No flags of the process: with --input-type=module the text would be read as a module, which has no `require`.
    const worker = new Worker(threadSource, { eval: true, execArgv: [] });
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

export function readWasmModule(name: WasmModule): WasmBytes {
  return new Uint8Array(readFileSync(new URL(`../../native/wasm/openelm-${name}.wasm`, import.meta.url)));
}

/**
 * Threads: `OPENELM_THREADS` or one a core, if none are asked for; instruction set: `OPENELM_ISA`, where it is one of WebAssembly's,
 * or the best.
 * @throws InputError as `wasmBackend`, and for what is no number of threads.
 */
export function nodeWasmBackend({ threads, isa = isaFromEnvironment() }: WasmOptions = {}): WasmBackend {
  return wasmBackendNow(nodeHost, readWasmModule, { threads: threadCount(threads), isa });
}

function isaFromEnvironment(): WasmIsa | undefined {
  return wasmIsas().find((isa) => isa === process.env.OPENELM_ISA);
}
