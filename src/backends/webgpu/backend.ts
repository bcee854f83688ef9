// The WebGPU backend, in browsers (pages and workers) and in Node (node.ts): one device, its buffers, and what may be asked of
// it. Runs are ordered in queue.ts, planned in plan.ts; how ops are computed is in their planners and shaders/*.wgsl.

import { InputError, messageOf } from '../../errors.js';
import { elementsOf, type StoredTensor } from '../../io/bytes.js';
import type {
  Backend,
  DeviceBuffer,
  DType,
  Executable,
  ExecutionFailure,
  HostArray,
  HostArrays,
  HostType,
  Limits,
  Program,
  Submission,
} from '../../tensor/backend.js';
import { executionError } from '../../tensor/execution.js';
import type { OpName } from '../../tensor/optable.js';
import { bytesOf } from '../../tensor/plan.js';
import { checkParams, checkShape, checkTransfer, checkWrite, hostArray, planUpload } from '../../tensor/transfers.js';
import { BufferTable } from '../buffers.js';
import { attentionPlanners } from './attention.js';
import type { Arithmetic } from './choices.js';
import type { DeviceTraits, Planners } from './dispatch.js';
import { WebgpuExecutable } from './executable.js';
import { gradientPlanners } from './gradients.js';
import { linearPlanners } from './linear.js';
import { type Stored, WebgpuMemory } from './memory.js';
import { opPlanners } from './ops.js';
import { planProgram } from './plan.js';
import { type DispatchTime, profileDispatches } from './profile.js';
import { WebgpuQueue } from './queue.js';
import { Pipelines } from './shaders.js';
import { type UploadTarget, uploadRows, uploadWeight } from './upload.js';

/** Who plans which op. */
const planners: Planners = { ...opPlanners, ...linearPlanners, ...attentionPlanners, ...gradientPlanners };

export interface WebgpuOptions {
  /**
   * `f16`: products of prompts with gates of few bits are, where the GPU can, for numbers below 65504. All else, sums too, stays in f32, and
   * products of 8 bits exact. Default f32.
   */
  readonly arithmetic?: Arithmetic;
  /** `navigator.gpu.wgslLanguageFeatures`: what the language has. Default: that of this page or worker. */
  readonly language?: ReadonlySet<string>;
  /** Told of shaders that are compiled, of how many that were asked for. */
  readonly onProgress?: (compiled: number, wanted: number) => void;
  /** Traits to go without, though the device has them: for tests. */
  readonly traits?: Partial<DeviceTraits>;
  /** A device with no more than every GPU has: for tests. */
  readonly leastLimits?: boolean;
}

/** Limits that are asked for as high as the adapter has them. */
const raisedLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
] as const;

/** What kernels are written for: WebGPU's default limits, of which adapters of its compatibility mode have less. */
const neededLimits = {
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxStorageBufferBindingSize: 1 << 27,
  maxBufferSize: 1 << 28,
} as const;

/** Opens a backend on a device of this adapter. @throws InputError when the adapter gives none, or has too small limits. */
export async function webgpuBackend(adapter: GPUAdapter, options: WebgpuOptions = {}): Promise<WebgpuBackend> {
  const wanted = ['shader-f16', 'subgroups'] as GPUFeatureName[];
  for (const [name, needed] of Object.entries(neededLimits) as [keyof typeof neededLimits, number][]) {
    const has = adapter.limits[name];
    if (has >= needed) continue;
    throw new InputError(
      `this GPU cannot be used: its limit ${name} is ${has}, and models need ${needed} whatever their size: compute on the CPU`,
    );
  }
  if (options.arithmetic === 'f16' && !adapter.features.has('shader-f16')) {
    throw new InputError(
      'this GPU, or its driver, has no arithmetic in f16 (shader-f16): leave that out, or ask for f32; weights and the cache may be f16 without it',
    );
  }
  const asked = options.leastLimits ? [] : raisedLimits;
  const requiredLimits = Object.fromEntries(asked.map((name) => [name, adapter.limits[name]]));
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({
      requiredFeatures: wanted.filter((feature) => adapter.features.has(feature)),
      requiredLimits,
    });
  } catch (error) {
    throw new InputError(`the GPU gives no device: ${messageOf(error)}`);
  }
  const language = options.language ?? globalThis.navigator?.gpu?.wgslLanguageFeatures ?? new Set<string>();
  return new WebgpuBackend(device, adapter.info, language, options);
}

/** Device buffers that a larger one may be made of. */
const mostBlocks = 16;
/** Of one buffer: indices are u32, and a device does not always say at once what it lacks. */
const mostElements = 2 ** 32;

/** See `Backend`; made by `webgpuBackend`. */
export class WebgpuBackend implements Backend {
  readonly name = 'webgpu';
  readonly compilesAhead = true;
  /** The device computes one, the host encodes another and reads what a third one made. */
  readonly runsAhead = 3;
  readonly description: string;
  readonly limits: Limits;
  readonly traits: DeviceTraits;
  private readonly buffers = new BufferTable<Stored>();
  private readonly executables = new WeakSet<Executable>();
  private readonly pipelines: Pipelines;
  private readonly allocator: WebgpuMemory;
  private readonly queue: WebgpuQueue;
  private arena: GPUBuffer[] = [];
  /** Until it is known whether there is memory for the arena; and what it was too large for. */
  private growing: Promise<void> | undefined;
  private tooLarge: readonly number[] | undefined;
  private disposing: Promise<void> | undefined;

  constructor(
    readonly device: GPUDevice,
    info: GPUAdapterInfo,
    language: ReadonlySet<string>,
    { onProgress, traits, arithmetic }: WebgpuOptions,
  ) {
    const { limits, features } = device;
    this.traits = {
      f16: features.has('shader-f16'),
      subgroups: (features as ReadonlySet<string>).has('subgroups') && language.has('subgroup_id'),
      dot4: language.has('packed_4x8_integer_dot_product'),
      bindingBytes: Math.floor(limits.maxStorageBufferBindingSize / 256) * 256,
      storageBuffers: limits.maxStorageBuffersPerShaderStage - 1,
      workgroupBytes: limits.maxComputeWorkgroupStorageSize,
      workgroupSize: limits.maxComputeInvocationsPerWorkgroup,
      bufferBytes: Math.floor(limits.maxBufferSize / 256) * 256,
      workgroups: limits.maxComputeWorkgroupsPerDimension,
      // A CPU waits long at each barrier, which plain kernels hardly have, and compiles them in a fraction of the time.
      plain: info.isFallbackAdapter,
      halves: arithmetic === 'f16',
      ...traits,
    };
    const { bufferBytes, bindingBytes } = this.traits;
    this.limits = { maxBufferBytes: bufferBytes, maxBindingBytes: Math.min(bufferBytes, bindingBytes), threads: 1 };
    this.description = `webgpu, ${info.description || info.device || info.architecture || info.vendor || 'unknown GPU'}`;
    this.pipelines = new Pipelines(device, this.traits, onProgress);
    this.allocator = new WebgpuMemory(device, this.pipelines, this.traits);
    this.queue = new WebgpuQueue(device, this.allocator, (blocks) => this.arenaFor(blocks));
  }

  /** Bytes of all buffers and the work space. */
  get memoryBytes(): number {
    return this.disposing ? 0 : this.allocator.bytes;
  }

  supports(op: OpName): boolean {
    return op in planners;
  }

  create<Type extends HostType>(dtype: Type, shape: readonly number[]): DeviceBuffer<Type> {
    this.open('allocate');
    checkShape(shape);
    const length = elementsOf(shape);
    const bytes = bytesOf(dtype, length);
    if (length > mostElements || bytes > mostBlocks * this.traits.bufferBytes) throw executionError('allocate', 'out-of-memory');
    return this.buffers.add(dtype, 'rows', shape, bytes, this.storedRows(bytes, length));
  }

  async upload(tensor: StoredTensor, wanted: Exclude<DType, 'i32'>): Promise<DeviceBuffer> {
    const plan = planUpload(tensor, wanted);
    this.open('upload');
    const buffers: GPUBuffer[] = [];
    const { device, allocator } = this;
    const target: UploadTarget = {
      allocate: async (bytes) => {
        if (bytes > this.limits.maxBufferBytes) throw executionError('upload', 'out-of-memory');
        this.open('upload');
        const { buffer, missing } = allocator.allocate(bytes);
        buffers.push(buffer);
        if (await missing) throw executionError('upload', 'out-of-memory');
        return buffer;
      },
      write: (buffer, offset, data) => {
        this.open('upload');
        allocator.write(buffer, offset, data);
      },
      run: async (dispatch) => {
        for (let waiting = allocator.run(dispatch); waiting; waiting = allocator.run(dispatch)) await waiting;
      },
      release: (buffer) => {
        buffers.splice(buffers.indexOf(buffer), 1);
        if (!this.disposing) allocator.destroy(buffer);
      },
      landed: () => {
        device.queue.submit([]);
        return device.queue.onSubmittedWorkDone();
      },
    };
    try {
      const { layout, dtype, rows, columns } = plan;
      const weight = layout === 'weight' ? await uploadWeight(tensor, plan, target, this.limits.maxBindingBytes) : undefined;
      if (!weight) await uploadRows(tensor, plan, target);
      this.open('upload');
      const bytes = buffers.reduce((sum, { size }) => sum + size, 0);
      const memory = { kind: 'persistent', buffers } as const;
      const stored: Stored = { memory, weight, buffers, length: rows * columns, failed: 0, missing: false, pending: undefined };
      return this.buffers.add(dtype, layout, tensor.shape, weight ? bytes : 4 * rows, stored);
    } catch (error) {
      for (const buffer of buffers) if (!this.disposing) allocator.destroy(buffer);
      throw error;
    }
  }

  write(buffer: DeviceBuffer, data: HostArray, elementOffset = 0): void {
    checkWrite(buffer, data, elementOffset);
    const stored = this.stored(buffer);
    const size = data.BYTES_PER_ELEMENT;
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength).slice();
    const offset = (buffer.offset + elementOffset) * size;
    const issue = (): boolean => {
      if (stored.pending) return this.queue.retryAfter(stored.pending);
      if (stored.missing) return true; // whoever reads it is told
      this.queue.flush();
      for (const { buffer, at, first, last } of this.blocksOf(stored, offset, bytes.length)) {
        const waiting = this.allocator.write(buffer, at, bytes.subarray(first, last));
        if (waiting) return this.queue.retryAfter(waiting);
      }
      return true;
    };
    const complete = (): void => {
      if (bytes.length === stored.length * size) stored.failed = 0;
    };
    this.queue.enqueue('write', issue, complete).catch(() => {});
  }

  compile(program: Program, cuts: readonly number[] = []): Executable {
    this.open('allocate');
    const stored = this.buffers.ofOperands(program);
    const { traits, device, pipelines } = this;
    const plan = planProgram(program, (buffer) => this.buffers.of(buffer), planners, traits, cuts);
    const forget = (executable: WebgpuExecutable): void => {
      this.executables.delete(executable);
      if (!this.disposing) this.later(() => executable.destroy());
    };
    const executable = new WebgpuExecutable(device, traits, pipelines, program, plan, cuts, stored, forget);
    this.executables.add(executable);
    return executable;
  }

  submit(executable: Executable, params: Int32Array): Submission {
    this.open();
    if (!(executable instanceof WebgpuExecutable)) throw new Error('this program was compiled by another backend');
    const { program } = executable;
    checkParams(program, params);
    if (!this.executables.has(executable) || executable.ids.some((id) => !this.buffers.has(id))) {
      throw new Error('the program, or a buffer that it uses, was freed');
    }
    return this.queue.submit(executable, params);
  }

  /** Times of a program's dispatches (see `profileDispatches`), once it has run and nothing is queued. */
  profile(executable: Executable, params: Int32Array): Promise<DispatchTime[]> {
    if (!(executable instanceof WebgpuExecutable)) throw new Error('this program was compiled by another backend');
    const arena = this.arenaFor(executable.plan.arena);
    if (arena instanceof Promise) throw new Error('a program is profiled once it has run');
    return profileDispatches(this.device, executable, params.slice(), arena);
  }

  read<Type extends DType>(
    buffer: DeviceBuffer<Type>,
    elementOffset = 0,
    length = elementsOf(buffer.shape) - elementOffset,
  ): Promise<HostArrays[Extract<Type, HostType>]> {
    const into = hostArray(checkTransfer(buffer, elementOffset, length), length);
    const stored = this.stored(buffer);
    const offset = (buffer.offset + elementOffset) * into.BYTES_PER_ELEMENT;
    let reads: Promise<unknown> = Promise.resolve();
    const issue = (): boolean => {
      if (stored.pending) return this.queue.retryAfter(stored.pending);
      if (stored.missing) throw executionError('read', 'out-of-memory');
      const copies = this.blocksOf(stored, offset, into.byteLength).map(({ buffer, at, first, last }) => ({
        first,
        read: this.allocator.read(this.queue.commands, buffer, at, last - first),
      }));
      this.queue.onceSubmitted(() => {
        reads = Promise.all(copies.map(async ({ first, read }) => new Uint8Array(into.buffer).set(await read(), first)));
        reads.catch(() => {}); // awaited below
      });
      return true;
    };
    return this.queue.enqueue('read', issue, async (acknowledged) => {
      if (stored.failed > acknowledged) throw executionError('read', 'poisoned');
      await reads;
      return into as HostArrays[Extract<Type, HostType>];
    });
  }

  free(buffer: DeviceBuffer): void {
    const stored = this.buffers.remove(buffer);
    if (stored && !this.disposing) this.later(() => stored.buffers.map((each) => this.allocator.destroy(each)));
  }

  dispose(): Promise<void> {
    this.disposing ??= this.queue.close().then(() => {
      this.buffers.clear();
      this.device.destroy();
    });
    return this.disposing;
  }

  private open(op?: ExecutionFailure['op']): void {
    if (this.disposing) throw new Error('this backend was disposed of');
    if (op) this.queue.check(op);
  }

  /** After all that was queued before was handed over. */
  private later(work: () => void): void {
    const issue = (): boolean => {
      this.queue.flush();
      work();
      return true;
    };
    this.queue.enqueue('allocate', issue, () => {}).catch(() => {});
  }

  /** Of bytes [offset, offset + length) of a buffer: where they lie in each of its blocks. */
  private blocksOf(
    { buffers }: Stored,
    offset: number,
    length: number,
  ): { buffer: GPUBuffer; at: number; first: number; last: number }[] {
    const { bufferBytes } = this.traits;
    return buffers.flatMap((buffer, i) => {
      const first = Math.max(0, i * bufferBytes - offset);
      const last = Math.min(length, (i + 1) * bufferBytes - offset);
      return first < last ? [{ buffer, at: offset + first - i * bufferBytes, first, last }] : [];
    });
  }

  private storedRows(bytes: number, length: number): Stored {
    const { bufferBytes } = this.traits;
    const blocks = Array.from({ length: Math.max(1, Math.ceil(bytes / bufferBytes)) }, (_, i) =>
      this.allocator.allocate(Math.min(bufferBytes, bytes - i * bufferBytes)),
    );
    const buffers = blocks.map(({ buffer }) => buffer);
    const pending = Promise.all(blocks.map(({ missing }) => missing)).then((missing) => {
      stored.missing = missing.includes(true);
      stored.pending = undefined;
    });
    const stored: Stored = { memory: { kind: 'persistent', buffers }, buffers, length, failed: 0, missing: false, pending };
    return stored;
  }

  private stored(buffer: DeviceBuffer): Stored {
    this.open();
    return this.buffers.of(buffer);
  }

  // One arena for all programs, since they run one after another; bind groups are made anew when it is another array. Where there is
  // no memory for a program, others go on.
  private arenaFor(blocks: readonly number[]): readonly GPUBuffer[] | Promise<void> {
    if (this.growing) return this.growing;
    if (this.tooLarge === blocks) {
      this.tooLarge = undefined;
      throw executionError('allocate', 'out-of-memory');
    }
    if (blocks.every((bytes, i) => bytes <= (this.arena[i]?.size ?? 0))) return this.arena;
    const made: Promise<boolean>[] = [];
    const grown = blocks.map((bytes, i) => {
      const old = this.arena[i];
      if (old && old.size >= bytes) return old;
      if (old) this.allocator.destroy(old);
      const { buffer, missing } = this.allocator.allocate(bytes);
      made.push(missing);
      return buffer;
    });
    this.arena = [...grown, ...this.arena.slice(blocks.length)];
    this.growing = Promise.all(made).then((missing) => {
      this.growing = undefined;
      if (!missing.includes(true)) return;
      for (const buffer of this.arena.splice(0)) this.allocator.destroy(buffer);
      this.tooLarge = blocks;
    });
    return this.growing;
  }
}
