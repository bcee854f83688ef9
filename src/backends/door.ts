// A backend whose executor lies behind a door: native/'s, in Node's addon (native.ts) or in WebAssembly (wasm.ts). Shapes, dtypes
// and ranges are checked here; memory, the queue and all computing are on the other side. Not a place for ops: what each one
// means is in reference.ts, how it is done fast in native/kernels.

import { InputError } from '../errors.js';
import { elementsOf, type Piece as StoredPiece, type StoredTensor } from '../io/bytes.js';
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
import { ExecutionError, executionError } from '../tensor/execution.js';
import { type OpName, opNames, opSpec } from '../tensor/optable.js';
import { bytesOf, checkRecord, encodeWords, maxOf, planArena } from '../tensor/plan.js';
import { groupSize } from '../tensor/quantize.js';
import type { MappedMemory, SharedMemory } from '../tensor/shared-memory.js';
import { checkParams, checkShape, checkTransfer, checkWrite, hostArray, planUpload } from '../tensor/transfers.js';

export type Handle = { readonly brand: 'backend' };

/** What both doors do: native/node.cc and, with wasm.ts, native/wasm/door.cc. Promises reject with [code, record, errno]. */
export interface Door {
  allocate(backend: Handle, dtype: number, elements: number): number;
  allocateWeight(backend: Handle, dtype: number, rows: number, columns: number, group: number): number;
  free(backend: Handle, id: number): void;
  write(backend: Handle, id: number, byteOffset: number, data: HostArray): void;
  read(backend: Handle, id: number, byteOffset: number, into: HostArray): Promise<HostArray>;
  /** `kind`: the stored dtype, or of codes the bits. */
  uploadRows(backend: Handle, id: number, part: number, kind: number, row: number, rows: number, data: Uint8Array): Promise<void>;
  /** Left out where the other side can read no files. */
  uploadFile?(
    backend: Handle,
    id: number,
    part: number,
    kind: number,
    row: number,
    rows: number,
    offset: number,
    path: string,
  ): Promise<void>;
  compile(backend: Handle, words: Int32Array, arenaBytes: number, params: number): number | string;
  forget(backend: Handle, executable: number): void;
  submit(backend: Handle, executable: number, params: Int32Array, run: number): Promise<void> | 0;
  cancel(backend: Handle, run: number): void;
  /** These are left out where memory is not to be shared: see `SharedMemory`. */
  address?(backend: Handle, id: number): bigint;
  clear?(backend: Handle, id: number, first: number, count: number): void;
  round?(backend: Handle, id: number, first: number, count: number, error: Float32Array, rounded: Uint16Array): Promise<void>;
  sum?(backend: Handle, id: number, first: number, count: number, parts: Uint16Array): Promise<void>;
  measure(backend: Handle, threads: number): Promise<number[]>;
  memoryBytes(backend: Handle): number;
  close(backend: Handle): Promise<void>;
}

export const dtypes: Record<DType, number> = {
  f32: 0,
  f16: 1,
  bf16: 2,
  q8: 3,
  q4: 4,
  i32: 5,
  affine8: 6,
  affine4: 7,
  affine3: 8,
};
/** Stored::Part of native/kernels/kernels.h. */
const storedParts = { elements: 0, codes: 1, scales: 2, minimums: 3 } as const;
export const storedDtypes: Partial<Record<StoredTensor['dtype'], number>> = {
  F32: dtypes.f32,
  F16: dtypes.f16,
  BF16: dtypes.bf16,
};
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
/** Rows of a weight that lie together (kPanel of native/kernels/kernels.h). */
const panelRows = 16;
/** kLargestHead of native/kernels/attention.cc. */
const largestHead = 128;

/** What of a weight is uploaded: `Stored` of native/kernels/kernels.h, over so many rows. */
interface PartOfWeight {
  readonly id: number;
  readonly part: number;
  /** Its dtype, or the bits of codes. */
  readonly kind: number;
  readonly rows: number;
}

/** How each operand is used, in the op table's order: what an executor is made with. */
export function accessOfOperands(): Uint8Array {
  return Uint8Array.from(opNames.flatMap((op) => opSpec(op).operands.map((operand) => accessCodes[operand.access])));
}

/** Bytes and operations a second that this machine is capable of; see `DoorBackend.measureRoofline`. */
export interface Roofline {
  /** Read from memory by 1, 2, .. threads. */
  readonly readBytesPerSecond: readonly number[];
  /** Multiply-adds of one thread. */
  readonly f32MultiplyAdds: number;
  readonly int8MultiplyAdds: number;
}

/** A piece of a program between two cuts, on the other side. */
interface Piece {
  readonly id: number;
  readonly firstRecord: number;
}

/** The pieces have one plan of the arena, which keeps what they hand on: they run one right behind the other. */
class DoorExecutable implements Executable {
  constructor(
    readonly program: Program,
    readonly arenaBytes: number,
    readonly pieces: readonly Piece[],
    private readonly forget: () => void,
  ) {}

  dispose(): void {
    this.forget();
  }
}

interface MappedSharedMemory extends SharedMemory {
  of(buffer: DeviceBuffer<'f32'>): MappedMemory;
}

/** See `Backend`; made by `nativeBackend` and `wasmBackend`. */
export class DoorBackend<Isa extends string = string> implements Backend {
  readonly limits: Limits;
  readonly memory?: MappedSharedMemory;
  private runs = 0;
  private closing: Promise<void> | undefined;
  private pieces = 0;
  private readonly waiting: { readonly turn: number; go(): void }[] = [];
  private turns = 0;
  /** Memory of pieces that were uploaded, for the next. */
  private readonly spare: ArrayBuffer[] = [];

  /** `memory`: bytes that there are at most. `isa`: the instruction set of its kernels. */
  constructor(
    readonly name: string,
    readonly description: string,
    readonly isa: Isa,
    private readonly door: Door,
    private readonly handle: Handle,
    { threads, memory, memoryBytes }: { threads: number; memory: number; memoryBytes?: number },
  ) {
    const bytes = Math.min(memory, mostElements * 4);
    this.limits = { maxBufferBytes: bytes, maxBindingBytes: bytes, memoryBytes, threads };
    if (door.address) this.memory = this.shared();
  }

  /** Bytes of all buffers and the work space; pages that were never written take no memory. */
  get memoryBytes(): number {
    return this.closing ? 0 : this.door.memoryBytes(this.handle);
  }

  supports(_op: OpName): boolean {
    return true;
  }

  create<Type extends HostType>(dtype: Type, shape: readonly number[]): DeviceBuffer<Type> {
    checkShape(shape);
    const elements = elementsOf(shape);
    const id = elements > mostElements ? 0 : this.door.allocate(this.open(), dtypes[dtype], elements);
    if (!id) throw executionError('allocate', 'out-of-memory');
    return { kind: 'persistent', id, dtype, layout: 'rows', shape: [...shape], bytes: bytesOf(dtype, elements), offset: 0 };
  }

  async upload(tensor: StoredTensor, wanted: Exclude<DType, 'i32'>): Promise<DeviceBuffer> {
    const { layout, dtype, rows, columns, affine, blocks } = planUpload(tensor, wanted);
    const handle = this.open();
    const weight = layout === 'weight';
    let id = 0;
    if (rows * columns <= mostElements) {
      const { door } = this;
      const group = affine?.group ?? groupSize;
      id = weight ? door.allocateWeight(handle, dtypes[dtype], rows, columns, group) : door.allocate(handle, dtypes[dtype], rows);
    }
    if (!id) throw executionError('upload', 'out-of-memory');
    try {
      if (affine) {
        for (const part of ['codes', 'scales', 'minimums'] as const) {
          const kind = part === 'codes' ? affine.bits : storedDtypes[affine[part].dtype]!;
          await this.uploadPart({ id, part: storedParts[part], kind, rows }, affine[part].name, affine[part]);
        }
      } else {
        const kind = blocks ? dtypes[dtype] : storedDtypes[tensor.dtype]!;
        await this.uploadPart({ id, part: storedParts.elements, kind, rows }, tensor.name, blocks ?? tensor);
      }
    } catch (error) {
      if (!this.closing) this.door.free(handle, id);
      throw error;
    }
    const bytes = weight ? weightBytes(dtype, rows, columns, affine?.group) : rows * 4;
    return { kind: 'persistent', id, dtype, layout, shape: [...tensor.shape], bytes, offset: 0 };
  }

  write(buffer: DeviceBuffer, data: HostArray, elementOffset = 0): void {
    checkWrite(buffer, data, elementOffset);
    this.door.write(this.open(), buffer.id, (buffer.offset + elementOffset) * data.BYTES_PER_ELEMENT, data);
  }

  compile(program: Program, cuts: readonly number[] = []): Executable {
    for (const record of program.records) {
      checkRecord(record, program);
      const headDim = record.op === 'attention' ? maxOf(record.ints[opSpec('attention').ints.indexOf('headDim')]) : 0;
      if (headDim > largestHead) {
        throw new InputError(
          `heads of ${headDim} are too wide for the ${this.name} backend (at most ${largestHead}): use the reference backend`,
        );
      }
    }
    const plan = planArena(program);
    const handle = this.open();
    const pieces = [0, ...cuts].map((firstRecord, i): Piece => {
      const records = program.records.slice(firstRecord, cuts[i]);
      const id = this.door.compile(handle, encodeWords({ ...program, records }, plan), plan.bytes, program.paramsLength);
      if (typeof id === 'string') throw new Error(id);
      return { id, firstRecord };
    });
    return new DoorExecutable(program, plan.bytes, pieces, () => {
      if (!this.closing) for (const { id } of pieces) this.door.forget(handle, id);
    });
  }

  submit(executable: Executable, params: Int32Array, pace?: (cut: number) => Promise<unknown> | undefined): Submission {
    if (!(executable instanceof DoorExecutable)) throw new Error('this program was compiled by another backend');
    const { program, pieces } = executable;
    checkParams(program, params);
    const runs: number[] = [];
    let cancelled = false;
    const start = ({ id, firstRecord }: Piece): Promise<void> => {
      if (cancelled) throw new ExecutionError({ opIndex: firstRecord, op: program.records[firstRecord].op, code: 'cancelled' });
      this.runs = (this.runs % mostElements) + 1;
      const done = this.door.submit(this.open(), id, params, this.runs);
      if (!done) throw new Error('the program, or a buffer that it uses, was freed');
      runs.push(this.runs);
      return this.settled(done, (record) => program.records[firstRecord + record]?.op ?? 'allocate');
    };
    let queued: Promise<unknown> = Promise.resolve();
    const ended = pieces.map((piece, i) => {
      if (!pace || i === 0) return start(piece);
      queued = queued.then(() => pace(i - 1));
      return queued.then(() => start(piece));
    });
    const cancel = (): void => {
      cancelled = true;
      if (!this.closing) for (const run of runs) this.door.cancel(this.handle, run);
    };
    if (ended.length === 1) return { done: ended[0], cancel };
    const reached = ended.slice(0, -1);
    for (const promise of reached) promise.catch(() => {}); // `done` tells too
    return { done: Promise.all(ended).then(() => {}), cancel, reached };
  }

  read<Type extends DType>(
    buffer: DeviceBuffer<Type>,
    elementOffset = 0,
    length = elementsOf(buffer.shape) - elementOffset,
  ): Promise<HostArrays[Extract<Type, HostType>]> {
    const into = hostArray(checkTransfer(buffer, elementOffset, length), length);
    const offset = (buffer.offset + elementOffset) * into.BYTES_PER_ELEMENT;
    const read = this.door.read(this.open(), buffer.id, offset, into) as Promise<HostArrays[Extract<Type, HostType>]>;
    return this.settled(read, 'read');
  }

  free(buffer: DeviceBuffer): void {
    if (buffer.kind === 'persistent' && !this.closing) this.door.free(this.handle, buffer.id);
  }

  dispose(): Promise<void> {
    this.closing ??= this.door.close(this.handle);
    return this.closing;
  }

  /** Measures this machine (some seconds; everything queued before runs first): the bench's yardsticks. */
  async measureRoofline(threads: number = this.limits.threads): Promise<Roofline> {
    const numbers = await this.settled(this.door.measure(this.open(), threads), 'allocate');
    const [f32MultiplyAdds, int8MultiplyAdds] = numbers.slice(threads);
    return { readBytesPerSecond: numbers.slice(0, threads), f32MultiplyAdds, int8MultiplyAdds };
  }

  private shared(): MappedSharedMemory {
    const { door } = this;
    const placeOf = ({ id, offset, shape }: DeviceBuffer) => [this.open(), id, offset, elementsOf(shape)] as const;
    return {
      of: (buffer) => {
        const [handle, id, offset, length] = placeOf(buffer);
        return { address: door.address!(handle, id) + BigInt(4 * offset), length };
      },
      clear: (buffer) => door.clear!(...placeOf(buffer)),
      round: (values, error, rounded) => door.round!(...placeOf(values), error, rounded),
      sum: (parts, into) => door.sum!(...placeOf(into), parts),
    };
  }

  private open(): Handle {
    if (this.closing) throw new Error('this backend was disposed of');
    return this.handle;
  }

  // Stored bytes, whose rows are those of the buffer: read there where they are rows of files, else here.
  private async uploadPart(part: PartOfWeight, name: string, stored: StoredPiece): Promise<void> {
    const rowBytes = stored.bytes / part.rows;
    const { source } = stored;
    const whole = stored.offset === 0 && stored.bytes === source.size;
    let row = 0;
    const runs = (whole && source.pieces ? source.pieces : [stored]).map((piece) => {
      const run = { ...piece, row, rows: piece.bytes / rowBytes };
      row += run.rows;
      return run;
    });
    const { uploadFile } = this.door;
    const isPanel = (at: number): boolean => at % panelRows === 0;
    if (!uploadFile || !runs.every((run) => run.source.file !== undefined && Number.isInteger(run.rows) && isPanel(run.row)))
      return this.uploadPieces(part, rowBytes, stored);
    const { id, part: kindOfPart, kind } = part;
    const done = runs.map((run) =>
      this.settled(
        uploadFile(this.open(), id, kindOfPart, kind, run.row, run.rows, run.offset, run.source.file!),
        'upload',
        `${run.source.name}: tensor '${name}'`,
      ),
    );
    const failed = (await Promise.allSettled(done)).find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }

  // Rows through the source's own `read`, a few pieces at once over all tensors, the first to ask first: a source may still be arriving.
  private async uploadPieces({ id, part, kind, rows }: PartOfWeight, rowBytes: number, stored: StoredPiece): Promise<void> {
    const turn = this.turns++;
    const step = Math.max(panelRows, Math.floor(pieceBytes / rowBytes / panelRows) * panelRows);
    for (let row = 0; row < rows; row += step) {
      const count = Math.min(step, rows - row);
      if (this.pieces >= piecesAtOnce) await new Promise<void>((go) => this.waiting.push({ turn, go }));
      else this.pieces++;
      try {
        const data = await this.piece(stored, row * rowBytes, count * rowBytes);
        await this.settled(this.door.uploadRows(this.open(), id, part, kind, row, count, data), 'upload');
        if (stored.source.readInto && data.buffer.byteLength <= 2 * pieceBytes) this.spare.push(data.buffer as ArrayBuffer);
      } finally {
        if (this.waiting.length === 0) this.pieces--;
        else {
          const first = this.waiting.reduce((best, { turn }, i, all) => (turn < all[best].turn ? i : best), 0);
          this.waiting.splice(first, 1)[0].go();
        }
      }
    }
  }

  private async piece({ source, offset }: StoredPiece, from: number, bytes: number): Promise<Uint8Array> {
    if (!source.readInto) return source.read(offset + from, bytes);
    const kept = this.spare.pop();
    const data = new Uint8Array(kept && kept.byteLength >= bytes ? kept : new ArrayBuffer(Math.max(bytes, pieceBytes)), 0, bytes);
    await source.readInto(offset + from, data);
    return data;
  }

  // What the door rejects with becomes an error; capturing `this` keeps the backend alive until then.
  private settled<T>(
    promise: Promise<T>,
    op: ExecutionFailure['op'] | ((record: number) => ExecutionFailure['op']),
    where = '',
  ): Promise<T> {
    return promise.catch((reason: unknown) => {
      if (!Array.isArray(reason)) throw reason;
      const [code, record, errno] = reason as number[];
      if (code === fileCut) throw new InputError(`${where} lies past the end of the file: the file was cut`);
      if (code === fileUnreadable) throw new InputError(`${where} cannot be read (errno ${errno})`);
      throw new ExecutionError({
        opIndex: record,
        op: typeof op === 'string' ? op : op(record),
        code: codes[code] ?? 'device-lost',
      });
    });
  }
}

/** Bytes of an uploaded matrix: panels of 16 rows, whole groups of columns in quantized ones (native/kernels/kernels.h). */
function weightBytes(dtype: Exclude<DType, 'i32'>, rows: number, columns: number, group = groupSize): number {
  const height = Math.ceil(rows / 16) * 16;
  if (dtype === 'f32') return height * columns * 4;
  if (dtype === 'f16' || dtype === 'bf16') return height * columns * 2;
  const elements = height * Math.ceil(columns / groupSize) * groupSize;
  if (dtype === 'q8' || dtype === 'q4') return elements / (dtype === 'q8' ? 1 : 2) + (elements / groupSize) * 2;
  return (elements * Number(dtype.slice(-1))) / 8 + (elements / group) * 4;
}
