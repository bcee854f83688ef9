// The native CPU backend: the door to native/ (a C++ executor with its own threads, kernels per instruction set). Shapes,
// dtypes and ranges are checked here; memory, the queue and all computing are on the other side. Not a place for ops: what
// each one means is in reference.ts, how it is done fast in native/kernels.

import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { InputError, messageOf } from '../errors.js';
import type { StoredTensor } from '../io/bytes.js';
import type {
  Backend,
  DeviceBuffer,
  DType,
  Executable,
  ExecutionCode,
  ExecutionFailure,
  HostArray,
  HostArrays,
  HostType,
  Limits,
  Program,
  Submission,
} from '../tensor/backend.js';
import { ExecutionError } from '../tensor/execution.js';
import { abiHash, type OpName, opNames, opSpec } from '../tensor/optable.js';
import { bytesOf, checkRecord, elementsOf, encodeWords, maxOf, planArena } from '../tensor/plan.js';
import { checkShape, checkTransfer, checkWrite, hostArray, planUpload } from '../tensor/transfers.js';

const isas = ['plain', 'avx2', 'avxvnni', 'avx512', 'vnni', 'neon', 'dotprod', 'i8mm'] as const;
/** Instruction sets: plain C++, those of x64, those of ARM; each above the one before of its kind. */
export type Isa = (typeof isas)[number];
const isaNames: Record<Isa, string> = {
  plain: 'plain C++',
  avx2: 'AVX2',
  avxvnni: 'AVX-VNNI',
  avx512: 'AVX-512',
  vnni: 'AVX-512 VNNI',
  neon: 'NEON',
  dotprod: 'NEON with dot products',
  i8mm: 'NEON with int8 matrix products',
};

type Handle = { readonly brand: 'backend' };

/** The functions of native/node.cc. Its promises reject with [code, record, errno]. */
export interface NativeAddon {
  readonly abiHash: string;
  readonly isas: readonly Isa[];
  create(isa: Isa, threads: number, access: Uint8Array): Handle | string;
  allocate(backend: Handle, dtype: number, elements: number): number;
  allocateWeight(backend: Handle, dtype: number, rows: number, columns: number): number;
  free(backend: Handle, id: number): void;
  write(backend: Handle, id: number, byteOffset: number, data: HostArray): void;
  read(backend: Handle, id: number, byteOffset: number, into: HostArray): Promise<HostArray>;
  uploadRows(backend: Handle, id: number, stored: number, row: number, rows: number, data: Uint8Array): Promise<void>;
  uploadFile(backend: Handle, id: number, stored: number, row: number, rows: number, offset: number, path: string): Promise<void>;
  compile(backend: Handle, words: Int32Array, arenaBytes: number, params: number): number | string;
  forget(backend: Handle, executable: number): void;
  submit(backend: Handle, executable: number, params: Int32Array, run: number): Promise<void> | 0;
  cancel(backend: Handle, run: number): void;
  measure(backend: Handle, threads: number): Promise<number[]>;
  memoryBytes(backend: Handle): number;
  close(backend: Handle): Promise<void>;
}

const dtypes: Record<DType, number> = { f32: 0, f16: 1, bf16: 2, q8: 3, q4: 4, i32: 5 };
const storedDtypes: Partial<Record<StoredTensor['dtype'], number>> = { F32: dtypes.f32, F16: dtypes.f16, BF16: dtypes.bf16 };
const codes: Record<number, ExecutionCode> = {
  1: 'index-out-of-range',
  2: 'size-out-of-range',
  3: 'out-of-memory',
  4: 'cancelled',
  5: 'poisoned',
};
const fileCut = 100;
const fileUnreadable = 101;

const accessCodes = { read: 0, write: 1, readwrite: 2 } as const;
const mostElements = 2 ** 31 - 1;
const pieceBytes = 4 << 20;
const piecesAtOnce = 4;
/** kLargestHead of native/kernels/attention.cc. */
const largestHead = 128;

/** The addon that was built here, or else the one that was packed for this platform, or why there is neither. */
export function loadNative(): { addon: NativeAddon } | { reason: string } {
  let reason: string | undefined;
  for (const place of ['build/Release', `prebuilds/${process.platform}-${process.arch}`]) {
    try {
      const addon = createRequire(import.meta.url)(nativePath(`${place}/openelm.node`)) as NativeAddon;
      if (addon.abiHash === abiHash) return { addon };
      reason = 'the addon was built for another version: run npm rebuild';
    } catch (error) {
      if ((error as NodeJS.ErrnoException)?.code === 'MODULE_NOT_FOUND') continue;
      reason = `the addon cannot be loaded: ${messageOf(error)}`;
    }
  }
  return { reason: reason ?? whyNotBuilt() };
}

function nativePath(file: string): string {
  return fileURLToPath(new URL(`../../native/${file}`, import.meta.url));
}

/** What native/install.mjs wrote down when it could not build. */
function whyNotBuilt(): string {
  try {
    const reason = readFileSync(nativePath('build/not-built.txt'), 'utf8').trim();
    return `${reason}; with Python 3, make and a C++17 compiler \`npm rebuild openelm\` builds it`;
  } catch {
    return 'the addon was not built (npm rebuild openelm builds it)';
  }
}

export interface NativeOptions {
  /** Default: `OPENELM_THREADS`, else one a core. */
  readonly threads?: number;
  /** Default: `OPENELM_ISA`, else the best that the CPU supports. */
  readonly isa?: Isa;
}

/**
 * A native backend with its own threads, or the reason why there is none on this machine.
 * @throws InputError for a number of threads or an instruction set that cannot be.
 */
export function nativeBackend(options: NativeOptions = {}): { backend: NativeBackend } | { reason: string } {
  const loaded = loadNative();
  if ('reason' in loaded) return loaded;
  const { addon } = loaded;
  const threads = options.threads ?? threadsFromEnvironment() ?? cores();
  if (!(Number.isInteger(threads) && threads >= 1 && threads <= 256)) {
    throw new InputError(`${threads} is no number of threads: give a whole number from 1 to 256.`);
  }
  const wanted = options.isa ?? process.env.OPENELM_ISA;
  const isa = wanted ? addon.isas.find((known) => known === wanted) : addon.isas[addon.isas.length - 1];
  if (!isa) {
    const why = (isas as readonly (string | undefined)[]).includes(wanted) ? 'is not supported by this CPU' : 'is not known';
    throw new InputError(`The instruction set '${wanted}' ${why}: use one of ${addon.isas.join(', ')}.`);
  }
  const access = opNames.flatMap((op) => opSpec(op).operands.map((operand) => accessCodes[operand.access]));
  const handle = addon.create(isa, threads, Uint8Array.from(access));
  return typeof handle === 'string' ? { reason: handle } : { backend: new NativeBackend(addon, handle, isa, threads) };
}

function threadsFromEnvironment(): number | undefined {
  const text = process.env.OPENELM_THREADS;
  if (!text) return undefined;
  if (!/^[0-9]{1,4}$/.test(text)) throw new InputError(`OPENELM_THREADS is '${text}': give a whole number from 1 to 256.`);
  return Number(text);
}

/** Cores, as two hardware threads of one core share the units and the memory port; at most what this process may use. */
function cores(): number {
  const available = Math.min(256, availableParallelism());
  try {
    const folder = '/sys/devices/system/cpu';
    const cpus = readdirSync(folder).filter((name) => /^cpu[0-9]+$/.test(name));
    const siblings = cpus.map((cpu) => readFileSync(`${folder}/${cpu}/topology/thread_siblings_list`, 'utf8'));
    return Math.max(1, Math.min(available, new Set(siblings).size));
  } catch {
    return available;
  }
}

/** Bytes and operations a second that this machine is capable of; see `NativeBackend.measureRoofline`. */
export interface Roofline {
  /** Read from memory by 1, 2, .. threads. */
  readonly readBytesPerSecond: readonly number[];
  /** Multiply-adds of one thread. */
  readonly f32MultiplyAdds: number;
  readonly int8MultiplyAdds: number;
}

class NativeExecutable implements Executable {
  constructor(
    readonly program: Program,
    readonly arenaBytes: number,
    readonly id: number,
    private readonly forget: () => void,
  ) {}

  dispose(): void {
    this.forget();
  }
}

/** See `Backend`; made by `nativeBackend`. */
export class NativeBackend implements Backend {
  readonly name = 'native';
  readonly description: string;
  readonly limits: Limits;
  private runs = 0;
  private closing: Promise<void> | undefined;
  private pieces = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(
    private readonly addon: NativeAddon,
    private readonly handle: Handle,
    readonly isa: Isa,
    threads: number,
  ) {
    this.description = `native, ${isaNames[isa]}, ${threads} thread${threads === 1 ? '' : 's'}`;
    const bytes = Math.min(totalmem(), mostElements * 4);
    this.limits = { maxBufferBytes: bytes, maxBindingBytes: bytes, threads };
  }

  /** Bytes of all buffers and the work space; pages that were never written take no memory. */
  get memoryBytes(): number {
    return this.closing ? 0 : this.addon.memoryBytes(this.handle);
  }

  supports(_op: OpName): boolean {
    return true;
  }

  create<Type extends HostType>(dtype: Type, shape: readonly number[]): DeviceBuffer<Type> {
    checkShape(shape);
    const elements = elementsOf(shape);
    const id = elements > mostElements ? 0 : this.addon.allocate(this.open(), dtypes[dtype], elements);
    if (!id) throw new ExecutionError({ opIndex: -1, op: 'allocate', code: 'out-of-memory' });
    return { kind: 'persistent', id, dtype, layout: 'rows', shape: [...shape], bytes: bytesOf(dtype, elements), offset: 0 };
  }

  async upload(tensor: StoredTensor, wanted: Exclude<DType, 'i32'>): Promise<DeviceBuffer> {
    const { layout, dtype, rows, columns, elementBytes } = planUpload(tensor, wanted);
    const { name, shape, source, offset } = tensor;
    const stored = storedDtypes[tensor.dtype]!;
    const handle = this.open();
    const weight = layout === 'weight';
    let id = 0;
    if (rows * columns <= mostElements) {
      const { addon } = this;
      id = weight ? addon.allocateWeight(handle, dtypes[dtype], rows, columns) : addon.allocate(handle, dtypes[dtype], rows);
    }
    if (!id) throw new ExecutionError({ opIndex: -1, op: 'upload', code: 'out-of-memory' });
    try {
      if (source.file === undefined) await this.uploadPieces(id, stored, rows, columns * elementBytes, tensor);
      else {
        const done = this.addon.uploadFile(handle, id, stored, 0, rows, offset, source.file);
        await this.settled(done, 'upload', `${source.name}: tensor '${name}'`);
      }
    } catch (error) {
      if (!this.closing) this.addon.free(handle, id);
      throw error;
    }
    const bytes = weight ? weightBytes(dtype, rows, columns) : rows * 4;
    return { kind: 'persistent', id, dtype, layout, shape: [...shape], bytes, offset: 0 };
  }

  write(buffer: DeviceBuffer, data: HostArray, elementOffset = 0): void {
    checkWrite(buffer, data, elementOffset);
    this.addon.write(this.open(), buffer.id, (buffer.offset + elementOffset) * data.BYTES_PER_ELEMENT, data);
  }

  compile(program: Program): Executable {
    for (const record of program.records) {
      checkRecord(record, program);
      const headDim = record.op === 'attention' ? maxOf(record.ints[opSpec('attention').ints.indexOf('headDim')]) : 0;
      if (headDim > largestHead) {
        throw new InputError(
          `heads of ${headDim} are too wide for the native backend (at most ${largestHead}): use the reference backend`,
        );
      }
    }
    const plan = planArena(program);
    const handle = this.open();
    const id = this.addon.compile(handle, encodeWords(program, plan), plan.bytes, program.paramsLength);
    if (typeof id === 'string') throw new Error(id);
    return new NativeExecutable(program, plan.bytes, id, () => {
      if (!this.closing) this.addon.forget(handle, id);
    });
  }

  submit(executable: Executable, params: Int32Array): Submission {
    if (!(executable instanceof NativeExecutable)) throw new Error('this program was compiled by another backend');
    const { program, id } = executable;
    if (params.length !== program.paramsLength) {
      throw new Error(`the program takes ${program.paramsLength} params, not ${params.length}`);
    }
    const handle = this.open();
    this.runs = (this.runs % mostElements) + 1;
    const run = this.runs;
    const done = this.addon.submit(handle, id, params, run);
    if (!done) throw new Error('the program, or a buffer that it uses, was freed');
    return {
      done: this.settled(done, (record) => program.records[record]?.op ?? 'allocate'),
      cancel: () => {
        if (!this.closing) this.addon.cancel(handle, run);
      },
    };
  }

  read<Type extends DType>(
    buffer: DeviceBuffer<Type>,
    elementOffset = 0,
    length = elementsOf(buffer.shape) - elementOffset,
  ): Promise<HostArrays[Extract<Type, HostType>]> {
    const into = hostArray(checkTransfer(buffer, elementOffset, length), length);
    const offset = (buffer.offset + elementOffset) * into.BYTES_PER_ELEMENT;
    const read = this.addon.read(this.open(), buffer.id, offset, into) as Promise<HostArrays[Extract<Type, HostType>]>;
    return this.settled(read, 'read');
  }

  free(buffer: DeviceBuffer): void {
    if (buffer.kind === 'persistent' && !this.closing) this.addon.free(this.handle, buffer.id);
  }

  dispose(): Promise<void> {
    this.closing ??= this.addon.close(this.handle);
    return this.closing;
  }

  /** Measures this machine (some seconds; everything queued before runs first): the bench's yardsticks. */
  async measureRoofline(threads: number = this.limits.threads): Promise<Roofline> {
    const numbers = await this.settled(this.addon.measure(this.open(), threads), 'allocate');
    const [f32MultiplyAdds, int8MultiplyAdds] = numbers.slice(threads);
    return { readBytesPerSecond: numbers.slice(0, threads), f32MultiplyAdds, int8MultiplyAdds };
  }

  private open(): Handle {
    if (this.closing) throw new Error('this backend was disposed of');
    return this.handle;
  }

  // Rows through the source's own `read`, a few pieces at once over all tensors; each waits for its own before it reads on.
  private async uploadPieces(id: number, stored: number, rows: number, rowBytes: number, tensor: StoredTensor): Promise<void> {
    const step = Math.max(16, Math.floor(pieceBytes / rowBytes / 16) * 16);
    for (let row = 0; row < rows; row += step) {
      const count = Math.min(step, rows - row);
      if (this.pieces >= piecesAtOnce) await new Promise<void>((resolve) => this.waiting.push(resolve));
      else this.pieces++;
      try {
        const data = await tensor.source.read(tensor.offset + row * rowBytes, count * rowBytes);
        await this.settled(this.addon.uploadRows(this.open(), id, stored, row, count, data), 'upload');
      } finally {
        const next = this.waiting.shift();
        if (next) next();
        else this.pieces--;
      }
    }
  }

  // What the addon rejects with becomes an error; capturing `this` keeps the backend alive until then.
  private settled<T>(
    promise: Promise<T>,
    op: ExecutionFailure['op'] | ((record: number) => ExecutionFailure['op']),
    where = '',
  ): Promise<T> {
    return promise.catch((reason: unknown) => {
      if (!Array.isArray(reason)) throw reason;
      const [code, record, errno] = reason as number[];
      if (code === fileCut) throw new InputError(`${where} lies past the end of the file: the file was cut.`);
      if (code === fileUnreadable) throw new InputError(`${where} cannot be read (errno ${errno}).`);
      throw new ExecutionError({
        opIndex: record,
        op: typeof op === 'string' ? op : op(record),
        code: codes[code] ?? 'device-lost',
      });
    });
  }
}

/** Bytes of an uploaded matrix: panels of 16 rows, groups of 32 columns in q8 and q4 (native/kernels/kernels.h). */
function weightBytes(dtype: Exclude<DType, 'i32'>, rows: number, columns: number): number {
  const height = Math.ceil(rows / 16) * 16;
  if (dtype === 'f32') return height * columns * 4;
  if (dtype === 'f16' || dtype === 'bf16') return height * columns * 2;
  const width = Math.ceil(columns / 32) * 32;
  return (height * width) / (dtype === 'q8' ? 1 : 2) + (height * width) / 16;
}
