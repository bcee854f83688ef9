// The WASM backend: native/ in WebAssembly, for browsers and for Node without the addon. Its threads are workers over one shared
// memory, which the host starts (wasm-node.ts, wasm-browser.ts); where memory cannot be shared (a page that is not cross-origin
// isolated) everything runs on the calling thread, between turns of its event loop. What a backend does with it is in door.ts.

import { counted, InputError } from '../errors.js';
import type { HostArray } from '../tensor/backend.js';
import { executionError } from '../tensor/execution.js';
import { abiHash } from '../tensor/optable.js';
import { accessOfOperands, type Door, DoorBackend, type Handle } from './door.js';
import { type DoorExports, unshared } from './wasm-module.js';

/** Instruction sets: SIMD of 128 bits; relaxed, with fused multiply-adds; and with dot products of four bytes. */
export type WasmIsa = 'simd' | 'relaxed' | 'dot';
const isaNames: Record<WasmIsa, string> = { simd: 'SIMD', relaxed: 'relaxed SIMD', dot: 'relaxed SIMD with dot products' };
const isas = Object.keys(isaNames) as WasmIsa[];
/** The files: `relaxed` holds both relaxed sets. */
export type WasmModule = 'simd' | 'relaxed';

/** See `wasmBackend`. */
export type WasmBackend = DoorBackend<WasmIsa>;

/** What a thread is started with, and what it says: that a task is finished. */
export interface ThreadStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly entry: number;
  readonly stack: number;
}
export interface WasmThread {
  terminate(): unknown;
  /** Whether it keeps the process alive. */
  ref?(alive: boolean): void;
}

/** How threads are started. */
export interface WasmHost {
  /** Runs wasm-thread.ts in a worker. Left out: there are no threads. */
  startThread?(start: ThreadStart, finished: (task: number) => void, failed: (error: Error) => void): WasmThread;
  /** Why there are no threads; default: memory cannot be shared. */
  readonly alone?: string;
  /** Whether threads can read files by name. */
  readonly files?: boolean;
}

export interface WasmOptions {
  /** Default 1. Without threads in the host everything runs on this one. */
  readonly threads?: number;
  /** Default: the fastest that this engine has and computes right. */
  readonly isa?: WasmIsa;
}

const simdModule = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];
const relaxedModule = [
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253],
  ...[128, 2, 11],
];

/** What this engine has: none without SIMD. Whether it computes relaxed products right is only known once they were tried. */
export function wasmIsas(): WasmIsa[] {
  if (typeof WebAssembly !== 'object' || !WebAssembly.validate(Uint8Array.from(simdModule))) return [];
  return WebAssembly.validate(Uint8Array.from(relaxedModule)) ? isas : ['simd'];
}

/** The bytes of native/wasm/openelm-NAME.wasm. */
export type WasmBytes = Uint8Array<ArrayBuffer>;

const stackBytes = 1 << 20;
const pageBytes = 65536;

/**
 * Opens a backend on `host`.
 * @throws InputError where WebAssembly has no SIMD, or not the instruction set that is asked for, or computes it wrong.
 */
export async function wasmBackend(
  host: WasmHost,
  load: (name: WasmModule) => Promise<WasmBytes>,
  options: WasmOptions = {},
): Promise<WasmBackend> {
  const steps = opening(host, options);
  let next = steps.next();
  while (!next.done) {
    const bytes = forHost(host, await load(next.value));
    next = steps.next(await WebAssembly.compile(bytes).catch(asCompileError));
  }
  return next.value;
}

/** The same at once, where files can be read at once. */
export function wasmBackendNow(host: WasmHost, load: (name: WasmModule) => WasmBytes, options: WasmOptions = {}): WasmBackend {
  const steps = opening(host, options);
  let next = steps.next();
  while (!next.done) next = steps.next(compileNow(forHost(host, load(next.value))));
  return next.value;
}

function compileNow(bytes: WasmBytes): WebAssembly.Module | WebAssembly.CompileError {
  try {
    return new WebAssembly.Module(bytes);
  } catch (error) {
    return asCompileError(error);
  }
}

function asCompileError(error: unknown): WebAssembly.CompileError {
  if (error instanceof WebAssembly.CompileError) return error;
  throw error;
}

const forHost = (host: WasmHost, bytes: WasmBytes): WasmBytes => (host.startThread ? bytes : unshared(bytes));

/** Asks for modules by name until there is a backend; is told why where an engine does not take one. */
function* opening(
  host: WasmHost,
  options: WasmOptions,
): Generator<WasmModule, WasmBackend, WebAssembly.Module | WebAssembly.CompileError> {
  const known = wasmIsas();
  if (known.length === 0) throw new InputError('WebAssembly has no SIMD here: a newer browser or Node has');
  const wanted = options.isa;
  if (wanted !== undefined && !known.includes(wanted)) {
    const why = isas.includes(wanted) ? 'is not supported here' : 'is not known';
    throw new InputError(`the instruction set '${wanted}' ${why}: use one of ${known.join(', ')}`);
  }
  if (wanted !== 'simd' && known.includes('relaxed')) {
    const module = yield 'relaxed';
    if (module instanceof WebAssembly.Module) {
      const instance = new Instance(host, module);
      const isa = wanted ?? fastest(instance);
      if (isa && instance.probe(isa) >= 0) return instance.start(isa, options.threads ?? 1);
    } else if (wanted) {
      // JavaScriptCore 2.50 has some instructions of the set, behind a switch.
      throw new InputError(`the instruction set '${wanted}' is not whole here (${module.message}): use simd`);
    }
    if (wanted) throw new InputError(`this engine computes the instruction set '${wanted}' wrong: use simd`);
  }
  const module = yield 'simd';
  if (!(module instanceof WebAssembly.Module)) throw module;
  const instance = new Instance(host, module);
  if (instance.probe('simd') < 0) throw new InputError('WebAssembly computes wrong here: int8 products have wrong sums');
  return instance.start('simd', options.threads ?? 1);
}

/**
 * Of the relaxed sets, that of dot products only where it is clearly faster, as it is with one instruction for them (twice as fast) and
 * nowhere else; tried in turns, since other work may take any one of them its time. Undefined: neither computes right.
 */
function fastest(instance: Instance): WasmIsa | undefined {
  const best = { relaxed: Number.POSITIVE_INFINITY, dot: Number.POSITIVE_INFINITY };
  for (let round = 0; round < 3; round++) {
    for (const isa of ['relaxed', 'dot'] as const) {
      const time = instance.probe(isa);
      best[isa] = time < 0 ? Number.POSITIVE_INFINITY : Math.min(best[isa], time);
    }
  }
  if (best.dot < 0.8 * best.relaxed) return 'dot';
  return Number.isFinite(best.relaxed) ? 'relaxed' : undefined;
}

/** A module with its memory, and what is under way in it. */
class Instance {
  private readonly threads: WasmThread[] = [];
  private readonly pending = new Map<number, { settle(task: number): void; reject(reason: unknown): void }>();
  private executor = 0;
  private pumping = false;
  private lost: Error | undefined;
  private readonly exports: DoorExports;

  private readonly memory: WebAssembly.Memory;
  private readonly mostBytes: number;

  constructor(
    private readonly host: WasmHost,
    private readonly module: WebAssembly.Module,
  ) {
    const [memory, most] = newMemory(host.startThread !== undefined);
    this.memory = memory;
    this.mostBytes = most;
    const noFiles = (): number => -1;
    const imports = {
      env: { memory },
      host: {
        finished: (task: number) => queueMicrotask(() => this.finished(task)),
        start_thread: (entry: number) => this.startThread(entry),
        may_wait: () => 0,
        now: () => performance.now(),
        open_file: noFiles,
        read_at: noFiles,
        close_file: noFiles,
      },
    };
    this.exports = new WebAssembly.Instance(module, imports).exports as unknown as DoorExports;
    this.exports.__wasm_call_ctors();
    if (this.textAt(this.exports.abi_hash()) !== abiHash) throw new Error('the WASM module was built for another version');
  }

  probe(isa: WasmIsa): number {
    return this.exports.probe(isas.indexOf(isa));
  }

  start(isa: WasmIsa, wanted: number): WasmBackend {
    const { exports } = this;
    const threads = this.host.startThread ? wanted : 1;
    const access = accessOfOperands();
    const at = this.copyIn(access);
    this.executor = exports.create(isas.indexOf(isa), threads, at, access.length, idsOfInstance());
    exports.free(at);
    const how = this.host.startThread ? counted(threads, 'thread') : `1 thread, ${this.host.alone ?? 'no shared memory'}`;
    const description = `wasm, ${isaNames[isa]}, ${how}`;
    return new DoorBackend('wasm', description, isa, this.door(), {} as Handle, {
      threads,
      memory: this.mostBytes,
      memoryBytes: this.mostBytes,
    });
  }

  private door(): Door {
    const { exports } = this;
    const { executor } = this;
    const runs = new Map<number, number>();
    const undefinedValue = (): void => undefined;
    return {
      allocate: (_, dtype, elements) => this.alive(exports.allocate(executor, dtype, elements)),
      allocateWeight: (_, dtype, rows, columns, group) =>
        this.alive(exports.allocate_weight(executor, dtype, rows, columns, group)),
      free: (_, id) => {
        exports.free_buffer(executor, id);
        this.queued();
      },
      write: (_, id, offset, data) => {
        const at = this.copyIn(data);
        if (!at) throw executionError('allocate', 'out-of-memory');
        if (!exports.write(executor, id, offset, at, data.byteLength)) throw wrongCall();
        this.queued();
      },
      read: (_, id, offset, into) => {
        const at = this.malloc(into.byteLength);
        if (!at) return Promise.reject(noMemory);
        const task = exports.read(executor, id, offset, at, into.byteLength);
        const value = (): HostArray => {
          const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
          bytes.set(new Uint8Array(this.memory.buffer, at, into.byteLength));
          return into;
        };
        return this.promiseOf(task, value, () => exports.free(at));
      },
      uploadRows: (_, id, part, kind, row, rows, data) => {
        const at = this.copyIn(data);
        if (!at) return Promise.reject(noMemory);
        const task = exports.upload(executor, id, part, kind, row, rows, at, 0, 0);
        return this.promiseOf(task, undefinedValue, () => exports.free(at));
      },
      uploadFile:
        this.host.files && this.host.startThread
          ? (_, id, part, kind, row, rows, offset, path) => {
              const at = this.copyIn(new TextEncoder().encode(`${path}\0`));
              const task = exports.upload(executor, id, part, kind, row, rows, 0, at, offset);
              exports.free(at);
              return this.promiseOf(task, undefinedValue);
            }
          : undefined,
      compile: (_, words, arenaBytes, params) => {
        const at = this.copyIn(words);
        if (!at) throw executionError('allocate', 'out-of-memory');
        const made = exports.compile(executor, at, words.length, arenaBytes, params);
        exports.free(at);
        return made || this.textAt(exports.compile_message());
      },
      forget: (_, id) => {
        exports.forget(executor, id);
        this.queued();
      },
      submit: (_, id, params, run) => {
        const at = this.copyIn(params);
        if (!at) return Promise.reject(noMemory);
        const task = exports.submit(executor, id, at, params.length);
        exports.free(at);
        if (!task) return 0;
        runs.set(run, task);
        return this.promiseOf(task, undefinedValue, () => runs.delete(run));
      },
      cancel: (_, run) => {
        const task = runs.get(run);
        if (task) exports.cancel(task);
      },
      measure: (_, threads) =>
        this.promiseOf(exports.measure(executor, threads), ([, , , count, at]) =>
          Array.from(new Float64Array(this.memory.buffer, addressOf(at), count)),
        ),
      memoryBytes: () => exports.memory_bytes(executor),
      close: async () => {
        try {
          if (!this.lost) await this.promiseOf(exports.close(executor), undefinedValue);
        } finally {
          for (const thread of this.threads) thread.terminate();
        }
      },
    };
  }

  private startThread(entry: number): number {
    const { host, module, memory } = this;
    if (!host.startThread) return 0;
    const stack = this.malloc(stackBytes);
    if (!stack) return 0;
    const start = { module, memory, entry, stack: Math.floor((stack + stackBytes) / 64) * 64 };
    const thread = host.startThread(
      start,
      (task) => this.finished(task),
      (error) => this.lose(error),
    );
    this.threads.push(thread);
    return 1;
  }

  // A thread could not be started, or ended: nothing that waits will ever be finished.
  private lose(error: Error): void {
    this.lost ??= error;
    for (const { reject } of this.pending.values()) reject(this.lost);
    this.pending.clear();
    this.threads[0]?.ref?.(false);
  }

  private alive<T>(value: T): T {
    if (this.lost) throw this.lost;
    return value;
  }

  private promiseOf<T>(task: number, value: (result: Int32Array) => T, always?: () => void): Promise<T> {
    if (!task) throw wrongCall();
    if (this.lost) return Promise.reject(this.lost);
    if (this.pending.size === 0) this.threads[0]?.ref?.(true);
    const promise = new Promise<T>((resolve, reject) => {
      const settle = (done: number): void => {
        const at = this.malloc(20);
        this.exports.result(this.executor, done, at);
        const result = new Int32Array(this.memory.buffer, at, 5).slice();
        this.exports.free(at);
        if (result[0] === 0) resolve(value(result));
        else reject([...result.subarray(0, 3)]);
        always?.();
        this.exports.drop(done);
      };
      this.pending.set(task, { settle, reject });
    });
    this.queued();
    return promise;
  }

  private finished(task: number): void {
    const waiting = this.pending.get(task);
    this.pending.delete(task);
    if (this.pending.size === 0) this.threads[0]?.ref?.(false);
    waiting?.settle(task);
  }

  // Without threads: one task a turn of the event loop.
  private queued(): void {
    if (this.threads.length > 0 || this.pumping) return;
    this.pumping = true;
    const pump = (): void => {
      this.pumping = this.exports.pump(this.executor) > 0;
      if (this.pumping) nextTurn(pump);
    };
    nextTurn(pump);
  }

  /** A place in the module's memory; 0: there is no more. */
  private malloc(bytes: number): number {
    return addressOf(this.exports.malloc(Math.max(1, bytes)));
  }

  /** Bytes put into the module's memory, to be freed there; 0: there is no more memory. */
  private copyIn(data: ArrayBufferView): number {
    const at = this.malloc(data.byteLength);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (at) new Uint8Array(this.memory.buffer, at, data.byteLength).set(bytes);
    return at;
  }

  private textAt(at: number): string {
    const bytes = new Uint8Array(this.memory.buffer);
    const start = addressOf(at);
    return new TextDecoder().decode(bytes.slice(start, bytes.indexOf(0, start)));
  }
}

/** Addresses are signed where they come from: those above 2 GiB are negative there. */
const addressOf = (at: number): number => at >>> 0;

/** As the executor rejects for want of memory: its code, and no record. */
const noMemory = [3, -1, 0];
const wrongCall = (): Error => new Error('a buffer that is unknown or freed');

const idsEach = 1 << 20;
let instances = 0;
/** Where an instance's ids of buffers begin: those of another one are unknown to it. */
const idsOfInstance = (): number => (instances++ % 2047) * idsEach;

/** As much as there is room for: phones refuse to reserve four gigabytes. */
function newMemory(shared: boolean): [WebAssembly.Memory, number] {
  for (let maximum = 65536; ; maximum /= 2) {
    try {
      return [new WebAssembly.Memory({ initial: 64, maximum, shared }), (maximum - 1) * pageBytes];
    } catch (error) {
      if (maximum <= 4096) throw error;
    }
  }
}

let channel: MessageChannel | undefined;
const turns: (() => void)[] = [];

/** `run` in a later turn of the event loop; timers would wait for milliseconds. */
function nextTurn(run: () => void): void {
  const { setImmediate } = globalThis as { setImmediate?: (run: () => void) => void }; // Node's
  if (setImmediate) {
    setImmediate(run);
    return;
  }
  if (!channel) {
    channel = new MessageChannel();
    channel.port1.onmessage = () => turns.shift()?.();
  }
  turns.push(run);
  channel.port2.postMessage(0);
}
