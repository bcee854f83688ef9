// The WASM backend in a browser: modules fetched from beside the code, threads in workers where the page is cross-origin isolated.

import { InputError } from '../errors.js';
import { workerOf } from '../io/worker-script.js';
import { type WasmBackend, type WasmBytes, type WasmHost, type WasmModule, type WasmOptions, wasmBackend } from './wasm.js';
import { type ThreadMessage, threadSource } from './wasm-thread.js';

export interface BrowserWasmOptions extends WasmOptions {
  /** The folder of openelm-simd.wasm and openelm-relaxed.wasm; default the package's. */
  readonly wasm?: string;
}

// Written out, so that bundlers see the files.
const files: Record<WasmModule, () => URL> = {
  simd: () => new URL('../../native/wasm/openelm-simd.wasm', import.meta.url),
  relaxed: () => new URL('../../native/wasm/openelm-relaxed.wasm', import.meta.url),
};

/** Whether memory can be shared with workers here. */
function hasThreads(): boolean {
  return (
    (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === true &&
    typeof SharedArrayBuffer === 'function' &&
    typeof Worker === 'function'
  );
}

/** Half of many, since two threads of one core share its units; all of few. */
function usualThreads(): number {
  const available = globalThis.navigator?.hardwareConcurrency ?? 1;
  return Math.max(1, Math.min(8, available > 4 ? Math.ceil(available / 2) : available));
}

/** Throws `InputError` as `wasmBackend`, and when a module cannot be fetched. */
export async function browserWasmBackend({ wasm, threads, isa }: BrowserWasmOptions = {}): Promise<WasmBackend> {
  const advice =
    wasm === undefined
      ? 'serve the files of native/wasm and name their folder with `wasm`'
      : 'it is not there, or its server is away';
  const load = async (name: WasmModule): Promise<WasmBytes> => {
    const url = wasm === undefined ? files[name]() : new URL(`openelm-${name}.wasm`, new URL(wasm, globalThis.location?.href));
    const response = await fetch(url).catch(() => undefined);
    if (!response?.ok) {
      const why = response ? `status ${response.status}` : 'no answer';
      throw new InputError(`${url.href} cannot be loaded (${why}): ${advice}`);
    }
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes[0] !== 0 || bytes[1] !== 0x61)
      throw new InputError(`${url.href} is no WebAssembly module: its server sends something else in its place`);
    return bytes;
  };
  const host: { -readonly [Key in keyof WasmHost]: WasmHost[Key] } = {};
  const first = hasThreads() ? firstThread() : undefined;
  const loadBoth = async (name: WasmModule): Promise<WasmBytes> => {
    const bytes = await load(name); // meanwhile a thread is tried
    const thread = await first;
    if (thread) host.startThread = startThread(thread);
    else if (first) host.alone = 'the page forbids blob: workers';
    return bytes;
  };
  try {
    return await wasmBackend(host, loadBoth, { isa, threads: threads ?? usualThreads() });
  } catch (error) {
    (await first)?.end();
    if (error instanceof Error && /content.security.policy|blocked by csp/i.test(error.message))
      throw new InputError(
        "the page's Content-Security-Policy forbids WebAssembly: allow 'wasm-unsafe-eval' in the script-src that the worker's file is served with",
      );
    throw error;
  }
}

type Thread = ReturnType<typeof workerOf>;

/** A thread that runs, and waits for its start; undefined where the page's policy forbids workers of a text. */
function firstThread(): Promise<Thread | undefined> {
  return new Promise((resolve) => {
    try {
      const thread = workerOf(threadSource, { name: 'openelm thread' });
      thread.worker.onmessage = () => resolve(thread);
      thread.worker.onerror = () => {
        thread.end();
        resolve(undefined);
      };
    } catch {
      resolve(undefined);
    }
  });
}

/** The first to be started is there already. */
function startThread(first: Thread): NonNullable<WasmHost['startThread']> {
  let spare: Thread | undefined = first;
  return (start, finished, failed) => {
    const { worker, end } = spare ?? workerOf(threadSource, { name: 'openelm thread' });
    spare = undefined;
    worker.onmessage = ({ data }: MessageEvent<ThreadMessage>) => data.finished !== undefined && finished(data.finished);
    worker.onerror = (event) => failed(new InputError(`a worker could not be started: ${event.message}`));
    worker.postMessage(start);
    return { terminate: end };
  };
}
