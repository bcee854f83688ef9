// The reference backend: memory, queue and failures around the ops of `reference-ops.ts`. It runs where nothing else does
// (no compiler, an unknown machine) and judges the fast backends. It computes on the JavaScript thread, giving way to
// timers between records; not for models beyond some millions of parameters.

import type { StoredTensor } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from '../io/float16.js';
import type {
  Backend,
  DeviceBuffer,
  DType,
  Executable,
  ExecutionCode,
  ExecutionFailure,
  OpRecord,
  Submission,
} from '../tensor/backend.js';
import { ExecutionError } from '../tensor/execution.js';
import { type OpName, opSpec } from '../tensor/optable.js';
import { bytesOf, elementsOf, planArena, sizeOf } from '../tensor/plan.js';
import { quantizeWeights } from '../tensor/quantize.js';
import type { Call, ReferenceWeight } from './reference-call.js';
import { referenceOps } from './reference-ops.js';

type RowsArray = Float32Array | Uint16Array | Int32Array;

interface Stored {
  readonly array?: RowsArray;
  readonly weight?: ReferenceWeight;
  /** Serial of the failed run that last should have written it. */
  failed: number;
}

/** A backend in plain TypeScript; the definition of every op. */
export function referenceBackend(): Backend {
  return new ReferenceBackend();
}

class ReferenceBackend implements Backend {
  readonly name = 'reference';
  readonly description = 'reference (plain TypeScript, 1 thread)';
  readonly limits = { maxBufferBytes: 2 ** 31, maxBindingBytes: 2 ** 31, threads: 1 };
  private readonly memory = new Map<number, Stored>();
  private nextId = 1;
  private queue: Promise<unknown> = Promise.resolve();
  /** Failed runs so far, and how many of them callers have been told of. */
  private failures = 0;
  private observed = 0;
  private lastPause = Date.now();
  private disposed = false;

  supports(op: OpName): boolean {
    return op in referenceOps;
  }

  create(dtype: 'f32' | 'f16' | 'i32', shape: readonly number[]): DeviceBuffer {
    const elements = elementsOf(shape);
    try {
      const array =
        dtype === 'f32' ? new Float32Array(elements) : dtype === 'f16' ? new Uint16Array(elements) : new Int32Array(elements);
      return this.keep(dtype, 'rows', shape, bytesOf(dtype, elements), { array, failed: 0 });
    } catch {
      throw new ExecutionError({ opIndex: -1, op: 'allocate', code: 'out-of-memory' });
    }
  }

  async upload(tensor: StoredTensor, dtype: Exclude<DType, 'i32'>): Promise<DeviceBuffer> {
    const values = (await readFloat32(tensor)).slice();
    if (tensor.shape.length === 1) return this.keep('f32', 'rows', tensor.shape, values.byteLength, { array: values, failed: 0 });
    const [rows, columns] = tensor.shape;
    const weight = convert(values, rows, columns, dtype);
    return this.keep(dtype, 'weight', tensor.shape, weight.values.byteLength, { weight, failed: 0 });
  }

  write(buffer: DeviceBuffer, data: RowsArray, elementOffset = 0): void {
    const copy = data.slice();
    this.enqueue(() => {
      this.array(buffer).set(copy, elementOffset);
    }).catch(() => {});
  }

  compile(program: Executable['program']): Executable {
    const plan = planArena(program);
    return { program, arenaBytes: plan.bytes, dispose() {} };
  }

  submit(executable: Executable, params: Int32Array): Submission {
    let cancelled = false;
    const values = params.slice();
    const done = this.enqueue((acknowledged) => this.run(executable, values, acknowledged, () => cancelled));
    return {
      done,
      cancel() {
        cancelled = true;
      },
    };
  }

  read(buffer: DeviceBuffer, elementOffset = 0, length = elementsOf(buffer.shape) - elementOffset): Promise<RowsArray> {
    return this.enqueue((acknowledged) => {
      const stored = this.memory.get(buffer.id);
      if (!stored?.array) throw new Error('read: this buffer was freed, or the host cannot read it');
      if (stored.failed > acknowledged) throw new ExecutionError({ opIndex: -1, op: 'read', code: 'poisoned' });
      return stored.array.slice(buffer.offset + elementOffset, buffer.offset + elementOffset + length);
    });
  }

  free(buffer: DeviceBuffer): void {
    this.enqueue(() => {
      this.memory.delete(buffer.id);
    }).catch(() => {});
  }

  async dispose(): Promise<void> {
    this.disposed = true;
    await this.queue.catch(() => {});
    this.memory.clear();
  }

  private keep(dtype: DType, layout: 'rows' | 'weight', shape: readonly number[], bytes: number, stored: Stored): DeviceBuffer {
    const id = this.nextId++;
    this.memory.set(id, stored);
    return { kind: 'persistent', id, dtype, layout, shape, bytes, offset: 0 };
  }

  /** Runs after everything queued before; hands the work the number of failures that its caller knew of. */
  private enqueue<T>(work: (acknowledged: number) => T | Promise<T>): Promise<T> {
    const acknowledged = this.observed;
    const result = this.queue.then(() => {
      if (this.disposed) throw new ExecutionError({ opIndex: -1, op: 'read', code: 'cancelled' });
      return work(acknowledged);
    });
    this.queue = result.catch(() => {});
    return result.catch((error: unknown) => {
      this.observed = this.failures;
      throw error;
    });
  }

  private async run(executable: Executable, params: Int32Array, acknowledged: number, cancelled: () => boolean): Promise<void> {
    const { records, arena } = executable.program;
    const scratch = arena.map((buffer) => new Float32Array(elementsOf(buffer.shape)));
    const fail = (opIndex: number, code: ExecutionCode): never => {
      const serial = ++this.failures;
      for (const record of records) {
        record.operands.forEach((buffer, i) => {
          const stored =
            buffer?.kind === 'persistent' && opSpec(record.op).operands[i].access !== 'read' && this.memory.get(buffer.id);
          if (stored) stored.failed = serial;
        });
      }
      throw new ExecutionError({ opIndex, op: records[opIndex]?.op ?? 'write', code } satisfies ExecutionFailure);
    };
    for (const [index, record] of records.entries()) {
      if (cancelled()) fail(index, 'cancelled');
      const sizes = record.ints.map((dim) => sizeOf(dim, params) ?? fail(index, 'size-out-of-range'));
      for (const buffer of record.operands) {
        if (buffer?.kind === 'persistent' && this.stored(buffer).failed > acknowledged) fail(index, 'poisoned');
      }
      const code = referenceOps[record.op](this.call(record, sizes, scratch, params));
      if (code) fail(index, code);
      await this.giveWay();
    }
  }

  private call(record: OpRecord, sizes: number[], arena: Float32Array[], params: Int32Array): Call {
    const array = (operand: number): RowsArray => {
      const buffer = record.operands[operand]!;
      const whole = buffer.kind === 'params' ? params : buffer.kind === 'arena' ? arena[buffer.id] : this.array(buffer);
      return whole.subarray(buffer.offset, buffer.offset + elementsOf(buffer.shape));
    };
    return {
      floats: (operand) => array(operand) as Float32Array,
      ints: (operand) => array(operand) as Int32Array,
      cache: (operand) => array(operand) as Float32Array | Uint16Array,
      weight: (operand) => {
        const buffer = record.operands[operand]!;
        if (buffer.layout === 'weight') return this.stored(buffer).weight!;
        return { rows: buffer.shape[0], columns: buffer.shape[1], values: array(operand) as Float32Array };
      },
      has: (operand) => record.operands[operand] !== null,
      sizes,
      constants: record.floats.map(Math.fround),
    };
  }

  private stored(buffer: DeviceBuffer): Stored {
    const stored = this.memory.get(buffer.id);
    if (!stored) throw new Error('this buffer was freed');
    return stored;
  }

  private array(buffer: DeviceBuffer): RowsArray {
    const array = this.stored(buffer).array;
    if (!array) throw new Error('the host cannot reach a weight');
    return array;
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
  const dequantized = new Float32Array(rows * columns);
  quantized.forEach(({ codes, scales }, r) => {
    for (let c = 0; c < columns; c++) dequantized[r * columns + c] = codes[c] * scales[c >> 5];
  });
  return { rows, columns, values: dequantized, quantized };
}
