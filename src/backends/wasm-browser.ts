// The WASM backend in a browser: modules fetched from beside the code, threads in workers where the page is cross-origin isolated.

import { InputError } from '../errors.js';
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
  const load = async (name: WasmModule): Promise<WasmBytes> => {
    const url = wasm === undefined ? files[name]() : new URL(`openelm-${name}.wasm`, new URL(wasm, globalThis.location?.href));
    const response = await fetch(url).catch(() => undefined);
    if (!response?.ok) {
      const why = response ? `status ${response.status}` : 'no answer';
      throw new InputError(
        `${url.href} cannot be loaded (${why}): serve the files of native/wasm and name their folder with \`wasm\``,
      );
    }
    return new Uint8Array(await response.arrayBuffer());
  };
  return wasmBackend(hasThreads() ? { startThread } : {}, load, { isa, threads: threads ?? usualThreads() });
}

const startThread: NonNullable<WasmHost['startThread']> = (start, finished, failed) => {
  const url = URL.createObjectURL(new Blob([threadSource], { type: 'text/javascript' }));
  const worker = new Worker(url, { name: 'openelm thread' });
  worker.onmessage = ({ data }: MessageEvent<ThreadMessage>) => finished(data.finished);
  worker.onerror = (event) =>
    failed(new InputError(`a worker could not be started: ${event.message || 'the page forbids blob: workers'}`));
  worker.postMessage(start);
  return {
    terminate: () => {
      worker.terminate();
      URL.revokeObjectURL(url);
    },
  };
};
