// The reference backend: memory, queue and failures around the ops of `reference-ops.ts`. It runs where nothing else does
// (no compiler, an unknown machine) and judges the fast backends. It computes on the JavaScript thread, giving way to
// timers between records; not for models beyond some millions of parameters.

import { readAffineRows } from '../io/affine.js';
import { type AffineParts, elementsOf, type PackedTensor, type StoredTensor } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16, float16ToNumber } from '../io/float16.js';
import type {
  Backend,
  DeviceBuffer,
  DType,
  Executable,
  ExecutionCode,
  HostArray,
  HostArrays,
  HostType,
  OpRecord,
  Program,
  Submission,
} from '../tensor/backend.js';
import { ExecutionError, executionError } from '../tensor/execution.js';
import { type OpName, opSpec } from '../tensor/optable.js';
import { bytesOf, planArena, sizeOf } from '../tensor/plan.js';
import { groupSize, type QuantizedRow, quantizeWeights } from '../tensor/quantize.js';
import { checkParams, checkShape, checkTransfer, checkWrite, hostArray, planUpload } from '../tensor/transfers.js';
import { BufferTable } from './buffers.js';
import type { CacheRows, Call, ReferenceOp, ReferenceWeight } from './reference-call.js';
import { referenceOps } from './reference-ops.js';

/** Memory of a persistent buffer. */
interface Stored {
  readonly array?: HostArray;
  readonly weight?: ReferenceWeight;
  /** Elements. */
  readonly length: number;
  /** Serial of the failed run that last should have written it. */
  failed: number;
}

/** A program with the memory of its persistent operands, in the order of the records' operands. */
interface ReferenceExecutable extends Executable {
  readonly stored: readonly (readonly (Stored | undefined)[])[];
  readonly ids: ReadonlySet<number>;
  readonly cuts: readonly number[];
}

const maxBufferBytes = 2 ** 31;

/** A backend in plain TypeScript; the definition of every op. */
export function referenceBackend(): Backend {
  return new ReferenceBackend();
}

class ReferenceBackend implements Backend {
  readonly name = 'reference';
  readonly description = 'reference (plain TypeScript, 1 thread)';
  readonly limits = { maxBufferBytes, maxBindingBytes: maxBufferBytes, threads: 1 };
  private readonly buffers = new BufferTable<Stored>();
  private readonly executables = new WeakSet<Executable>();
  private queue: Promise<unknown> = Promise.resolve();
  /** Failed runs so far, and how many of them callers have been told of. */
  private failures = 0;
  private observed = 0;
  private lastPause = Date.now();
  private disposed = false;

  supports(op: OpName): boolean {
    return op in referenceOps;
  }

  create<Type extends HostType>(dtype: Type, shape: readonly number[]): DeviceBuffer<Type> {
    this.open();
    checkShape(shape);
    const length = elementsOf(shape);
    const bytes = bytesOf(dtype, length);
    try {
      if (bytes > maxBufferBytes) throw new RangeError();
      return this.buffers.add(dtype, 'rows', shape, bytes, { array: hostArray(dtype, length), length, failed: 0 });
    } catch {
      throw executionError('allocate', 'out-of-memory');
    }
  }

  async upload(tensor: StoredTensor, wanted: Exclude<DType, 'i32'>): Promise<DeviceBuffer> {
    const { layout, dtype, rows, columns, affine, blocks } = planUpload(tensor, wanted);
    this.open();
    const affineCodes = affine && (await quantizedRows(affine, rows, columns));
    const codes = affineCodes ?? (blocks && (await blockRows(blocks, rows, columns)));
    const values = codes ? valuesOfRows(codes, columns) : (await readFloat32(tensor)).slice();
    const { length } = values;
    if (layout === 'rows')
      return this.buffers.add('f32', layout, tensor.shape, values.byteLength, { array: values, length, failed: 0 });
    const weight = codes ? { rows, columns, values, quantized: codes } : convert(values, rows, columns, dtype);
    return this.buffers.add(dtype, layout, tensor.shape, weight.values.byteLength, { weight, length, failed: 0 });
  }

  write(buffer: DeviceBuffer, data: HostArray, elementOffset = 0): void {
    checkWrite(buffer, data, elementOffset);
    const stored = this.stored(buffer);
    const copy = data.slice();
    this.enqueue(() => {
      stored.array!.set(copy, buffer.offset + elementOffset);
      if (copy.length === stored.array!.length) stored.failed = 0;
    }).catch(() => {});
  }

  compile(program: Program, cuts: readonly number[] = []): Executable {
    this.open();
    const stored = this.buffers.ofOperands(program);
    const persistent = program.records.flatMap(({ operands }) => operands.filter((buffer) => buffer?.kind === 'persistent'));
    const ids = new Set(persistent.map((buffer) => buffer!.id));
    const executable: ReferenceExecutable = {
      program,
      arenaBytes: planArena(program).bytes,
      stored,
      ids,
      cuts,
      dispose: () => {
        this.executables.delete(executable);
      },
    };
    this.executables.add(executable);
    return executable;
  }

  submit(executable: Executable, params: Int32Array): Submission {
    this.open();
    const { stored, ids, cuts } = executable as ReferenceExecutable;
    const { program } = executable;
    if (!stored) throw new Error('this program was compiled by another backend');
    checkParams(program, params);
    if (!this.executables.has(executable) || [...ids].some((id) => !this.buffers.has(id))) {
      throw new Error('the program, or a buffer that it uses, was freed');
    }
    let cancelled = false;
    const values = params.slice();
    const passed: (() => void)[] = [];
    const came = cuts.map(() => new Promise<void>((resolve) => passed.push(resolve)));
    const onRecord = (record: number): void => {
      for (const [i, cut] of cuts.entries()) if (cut === record) passed[i]();
    };
    const done = this.enqueue((acknowledged) => this.run(program, stored, values, acknowledged, () => cancelled, onRecord));
    const reached = came.map((cut) => Promise.race([cut, done]).then(() => {}));
    for (const promise of reached) promise.catch(() => {}); // `done` tells too
    return {
      done,
      reached,
      cancel() {
        cancelled = true;
      },
    };
  }

  read<Type extends DType>(
    buffer: DeviceBuffer<Type>,
    elementOffset = 0,
    length = elementsOf(buffer.shape) - elementOffset,
  ): Promise<HostArrays[Extract<Type, HostType>]> {
    checkTransfer(buffer, elementOffset, length);
    const stored = this.stored(buffer);
    const start = buffer.offset + elementOffset;
    return this.enqueue((acknowledged) => {
      if (stored.failed > acknowledged) throw executionError('read', 'poisoned');
      return stored.array!.slice(start, start + length) as HostArrays[Extract<Type, HostType>];
    });
  }

  readonly memory = {
    of: (buffer: DeviceBuffer<'f32'>): Float32Array =>
      (this.stored(buffer).array as Float32Array).subarray(buffer.offset, buffer.offset + elementsOf(buffer.shape)),
    clear: (buffer: DeviceBuffer<'f32'>): void => void this.memory.of(buffer).fill(0),
    round: async (values: DeviceBuffer<'f32'>, error: Float32Array, rounded: Uint16Array): Promise<void> => {
      const sums = this.memory.of(values).map((value, i) => value + error[i]);
      const kept = decodeBfloat16(encodeBfloat16(sums, rounded));
      for (const [i, sum] of sums.entries()) error[i] = Number.isFinite(kept[i]) ? sum - kept[i] : 0;
    },
    sum: async (parts: Uint16Array, into: DeviceBuffer<'f32'>): Promise<void> => {
      const sums = this.memory.of(into);
      sums.set(decodeBfloat16(parts.subarray(0, sums.length)));
      for (let at = sums.length; at < parts.length; at += sums.length) {
        for (const [i, value] of decodeBfloat16(parts.subarray(at, at + sums.length)).entries()) sums[i] += value;
      }
    },
  };

  free(buffer: DeviceBuffer): void {
    this.buffers.remove(buffer); // what is queued holds its memory still
  }

  async dispose(): Promise<void> {
    this.disposed = true;
    await this.queue;
    this.buffers.clear();
  }

  private open(): void {
    if (this.disposed) throw new Error('this backend was disposed of');
  }

  private stored(buffer: DeviceBuffer): Stored {
    this.open();
    return this.buffers.of(buffer);
  }

  /** Runs after everything queued before; hands the work the number of failures that its caller knew of. */
  private enqueue<T>(work: (acknowledged: number) => T | Promise<T>): Promise<T> {
    const acknowledged = this.observed;
    const result = this.queue.then(() => {
      if (this.disposed) throw executionError('allocate', 'cancelled');
      return work(acknowledged);
    });
    this.queue = result.catch(() => {});
    return result.catch((error: unknown) => {
      this.observed = this.failures;
      throw error;
    });
  }

  private async run(
    { records, arena }: Program,
    stored: ReferenceExecutable['stored'],
    params: Int32Array,
    acknowledged: number,
    cancelled: () => boolean,
    onRecord: (record: number) => void,
  ): Promise<void> {
    const fail = (opIndex: number, code: ExecutionCode): never => {
      const serial = ++this.failures;
      for (const [index, record] of records.entries()) {
        for (const [i, memory] of stored[index].entries()) {
          if (memory && opSpec(record.op).operands[i].access !== 'read') memory.failed = serial;
        }
      }
      throw new ExecutionError({ opIndex, op: records[opIndex].op, code });
    };
    for (const [index, record] of records.entries()) {
      for (const [i, memory] of stored[index].entries()) {
        if (memory && memory.failed > acknowledged && opSpec(record.op).operands[i].access !== 'write') fail(index, 'poisoned');
      }
    }
    const sizes = records.map((record, index) =>
      record.ints.map((dim) => sizeOf(dim, params) ?? fail(index, 'size-out-of-range')),
    );
    const scratch = arena.map((buffer) => new Float32Array(elementsOf(buffer.shape)));
    for (const [index, record] of records.entries()) {
      if (cancelled()) fail(index, 'cancelled');
      onRecord(index);
      const compute = referenceOps[record.op] as ReferenceOp<OpName>;
      const code = compute(callOf(record, stored[index], sizes[index], scratch, params));
      if (code) fail(index, code);
      await this.giveWay();
    }
  }

  /** Lets timers and input through, at most every few milliseconds. */
  private async giveWay(): Promise<void> {
    if (Date.now() - this.lastPause < 4) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.lastPause = Date.now();
  }
}

function convert(values: Float32Array, rows: number, columns: number, dtype: Exclude<DType, 'i32'>): ReferenceWeight {
  if (dtype === 'f32') return { rows, columns, values };
  if (dtype === 'f16') return { rows, columns, values: decodeFloat16(encodeFloat16(values)) };
  if (dtype === 'bf16') return { rows, columns, values: decodeBfloat16(encodeBfloat16(values)) };
  const quantized = Array.from({ length: rows }, (_, r) =>
    quantizeWeights(values.subarray(r * columns, (r + 1) * columns), dtype === 'q8' ? 8 : 4),
  );
  return { rows, columns, values: valuesOfRows(quantized, columns), quantized };
}

function valuesOfRows(quantized: readonly QuantizedRow[], columns: number): Float32Array {
  const values = new Float32Array(quantized.length * columns);
  quantized.forEach(({ codes, scales, minimums }, r) => {
    for (let c = 0; c < columns; c++) {
      const scaled = Math.fround(codes[c] * scales[c >> 5]);
      values[r * columns + c] = minimums ? scaled + minimums[c >> 5] : scaled;
    }
  });
  return values;
}

/** Rows of GGUF's blocks as they are stored. */
async function blockRows(
  { format, source, offset, bytes }: PackedTensor,
  rows: number,
  columns: number,
): Promise<QuantizedRow[]> {
  const data = await source.read(offset, bytes);
  const size = format === 'Q8_0' ? 34 : 18;
  const groups = columns / groupSize;
  const row = (r: number): QuantizedRow => {
    const codes = new Int8Array(columns);
    const scales = new Float32Array(groups);
    for (let g = 0; g < groups; g++) {
      const at = (r * groups + g) * size;
      scales[g] = float16ToNumber(data[at] | (data[at + 1] << 8));
      for (let i = 0; i < groupSize; i++) {
        const byte = data[at + 2 + (size === 34 ? i : i % 16)];
        codes[g * groupSize + i] = size === 34 ? byte : (i < 16 ? byte & 15 : byte >> 4) - 8;
      }
    }
    return { codes, scales };
  };
  return Array.from({ length: rows }, (_, r) => row(r));
}

/** Rows as they are stored, their scales and minimums given to each group of 32. */
async function quantizedRows(parts: AffineParts, rows: number, columns: number): Promise<QuantizedRow[]> {
  const { codes, scales, minimums } = await readAffineRows(parts, columns, 0, rows);
  const row = (r: number): QuantizedRow => {
    const first = (r * columns) / parts.group;
    const of = (factors: Float32Array): Float32Array =>
      Float32Array.from({ length: columns / groupSize }, (_, g) => factors[first + Math.floor((g * groupSize) / parts.group)]);
    return { codes: codes.subarray(r * columns, (r + 1) * columns), scales: of(scales), minimums: of(minimums) };
  };
  return Array.from({ length: rows }, (_, r) => row(r));
}

function callOf(
  record: OpRecord,
  stored: readonly (Stored | undefined)[],
  sizes: readonly number[],
  arena: readonly Float32Array[],
  params: Int32Array,
): Call {
  const spec = opSpec(record.op);
  const indexOf = (name: string): number => spec.operands.findIndex((operand) => operand.name === name);
  const named = (names: readonly string[], values: readonly number[]): Record<string, number> =>
    Object.fromEntries(names.map((name, i) => [name, values[i]]));
  const array = (operand: string): HostArray | undefined => {
    const i = indexOf(operand);
    const buffer = record.operands[i];
    if (!buffer) return undefined;
    const whole = buffer.kind === 'params' ? params : buffer.kind === 'arena' ? arena[buffer.id] : stored[i]!.array!;
    return whole.subarray(buffer.offset, buffer.offset + elementsOf(buffer.shape));
  };
  return {
    floats: (operand) => array(operand) as Float32Array,
    maybe: (operand) => array(operand) as Float32Array | undefined,
    ints: (operand) => array(operand) as Int32Array,
    maybeInts: (operand) => array(operand) as Int32Array | undefined,
    cache: (operand) => array(operand) as CacheRows,
    weight: (operand) => {
      const i = indexOf(operand);
      const { shape } = record.operands[i]!;
      return stored[i]?.weight ?? { rows: shape[0], columns: shape[1], values: array(operand) as Float32Array };
    },
    sizes: named(spec.ints, sizes) as Call['sizes'],
    constants: named(spec.floats, record.floats.map(Math.fround)) as Call['constants'],
  };
}
