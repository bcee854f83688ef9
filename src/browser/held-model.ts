// The model that a worker holds, on the backend that was chosen for it. Where the GPU was not asked for by name and fails, while the model
// is loaded or when it is lost later, WebAssembly goes on.

import { InputError, messageOf } from '../errors.js';
import { weightBytes } from '../model/parameters.js';
import { gpuFailure } from '../tensor/execution.js';
import type { BackendOptions, ChosenBackend, OpenBackend } from './computing.js';
import { describe } from './describe.js';
import type { ModelFiles } from './model-files.js';
import { type Opened, type OpenOptions, openFiles, TooLargeError } from './open.js';

/** A model of so many bytes is kept when it is open, so that who leaves at once finds it again; a larger one may be on its way to the disk. */
const keptAtOnce = 64 << 20;

export interface Held extends Opened {
  readonly backend: ChosenBackend;
}

export class HeldModel {
  private held?: Held;
  /** Waits for what is still being kept. */
  private settled?: () => Promise<unknown>;
  private reopen?: () => Promise<void>;
  private reopening?: Promise<void>;

  constructor(private readonly openBackend: OpenBackend) {}

  /** Throws `InputError` when no model was opened. */
  get current(): Held {
    if (!this.held) throw new InputError('no model is loaded');
    return this.held;
  }

  /** Throws as `openFiles` and the opening of a backend do. */
  async open(
    files: ModelFiles,
    options: OpenOptions & BackendOptions,
    onNotice: (notice: string) => void,
    onProgress: (loaded: number, total: number) => void,
  ): Promise<Held> {
    const whole = async <T>(work: Promise<T>): Promise<T> => {
      try {
        return await work;
      } catch (error) {
        if (error instanceof InputError && !(error instanceof TooLargeError)) await files.doubt?.();
        throw error;
      }
    };
    const described = await whole(describe(files));
    const weights = described.bytes(options.dtype) ?? weightBytes(described.config, 'f16');
    const put = (backend: ChosenBackend): Promise<Held> =>
      whole(putOn(backend, () => openFiles(described, backend, options, onProgress)).finally(described.close));
    const onCpu = async (): Promise<Held> => put(await this.openBackend({ ...options, backend: 'wasm' }, weights));
    const backend = await this.openBackend(options, weights);
    const mayFall = backend.name === 'webgpu' && options.backend !== 'webgpu';
    this.held = await put(backend).catch((error: unknown) => {
      if (!mayFall) throw error;
      onNotice(`WebAssembly computes: ${messageOf(error)}`);
      return onCpu();
    });
    this.settled = async () => files.settled?.();
    if (weights <= keptAtOnce) await this.settled();
    if (this.held.backend === backend && mayFall) {
      this.reopen = async () => {
        const lost = this.held;
        this.held = await onCpu();
        await lost?.close().catch(() => {});
        await lost?.backend.dispose().catch(() => {});
      };
    }
    return this.held;
  }

  /** Runs `work`, and again on WebAssembly when the GPU is lost or runs out of memory, unless it had `begun` to tell of what it does. */
  async run<T>(work: (held: Held) => Promise<T>, begun = (): boolean => false): Promise<T> {
    const held = this.current;
    try {
      return await work(held);
    } catch (error) {
      const { reopen } = this;
      const what = gpuFailure(error);
      if (!reopen || what === undefined) throw error;
      if (this.held === held) {
        this.reopening ??= reopen();
        await this.reopening;
      }
      if (begun())
        throw new InputError(`the GPU ${what} in the middle of this answer: ask again, and WebAssembly will compute it`);
      return await work(this.current);
    }
  }

  async close(): Promise<void> {
    await this.reopening?.catch(() => {});
    await this.settled?.();
    await this.held?.close();
    await this.held?.backend.dispose();
  }
}

async function putOn(backend: ChosenBackend, open: () => Promise<Opened>): Promise<Held> {
  try {
    return { ...(await open()), backend };
  } catch (error) {
    await backend.dispose().catch(() => {});
    throw error;
  }
}
