// The contract between the model and whatever computes: types only. Ops are encoded into a program once per shape; a backend
// compiles it and runs it again and again with a small int32 parameter array. Nothing here computes, and nothing throws across
// the door: a failed run rejects its submission with an `ExecutionError`. `ops.ts` encodes, `backends/*` execute.

import type { StoredTensor } from '../io/bytes.js';
import type { OpName } from './optable.js';

/**
 * Element type. q8 and q4 are groups of 32 along the input with one f16 scale (GGUF's Q8_0 and Q4_0). affine8, affine4 and affine3
 * are groups of 32, 64 or 128 with an f16 scale and an f16 minimum (GGUF's Q4_1, MLX's affine modes), made elsewhere.
 */
export type DType = 'f32' | 'f16' | 'bf16' | 'q8' | 'q4' | AffineType | 'i32';
export type AffineType = 'affine8' | 'affine4' | 'affine3';

/**
 * How elements lie. `rows`: plain row-major, readable and writable by the host. `weight`: two-dimensional, made by `upload`
 * only, in an order that the backend chooses (panels, splits by rows where a binding is limited); ops alone can read it.
 */
export type Layout = 'rows' | 'weight';

/**
 * A block of device memory, or a view into one. `persistent` ones are made by the backend and live until freed; `arena` ones
 * exist only inside the program being encoded (their place is planned by liveness when it is compiled); `params` is the
 * int32 array handed over with each submission. Addresses are aligned to 256 bytes, views to one element.
 */
export interface DeviceBuffer<Type extends DType = DType> {
  readonly kind: 'persistent' | 'arena' | 'params';
  /** Persistent: the backend's number, from 1. Arena: the index in its program. Params: 0. */
  readonly id: number;
  readonly dtype: Type;
  readonly layout: Layout;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** First element of a view; 0 for a whole buffer. */
  readonly offset: number;
}

/** Element types of buffers that the host can make, write and read, and what it sees of them: f16 as bits. */
export interface HostArrays {
  readonly f32: Float32Array;
  readonly f16: Uint16Array;
  readonly i32: Int32Array;
}
export type HostType = keyof HostArrays;
export type HostArray = HostArrays[HostType];

/** A size known while encoding, or one read from the params at every run (`max` is what memory is planned for). */
export type Dim = number | { readonly param: number; readonly max: number };

/** One op with its operands (in the op table's order; null where an optional one is left out), integers and floats. */
export interface OpRecord {
  readonly op: OpName;
  readonly operands: readonly (DeviceBuffer | null)[];
  readonly ints: readonly Dim[];
  readonly floats: readonly number[];
}

/** What `ops.ts` encodes: records in order, the arena buffers they use, and how many int32 params a run takes. */
export interface Program {
  readonly records: readonly OpRecord[];
  readonly arena: readonly DeviceBuffer[];
  readonly paramsLength: number;
}

/** A program made ready by a backend; bound to it. */
export interface Executable {
  readonly program: Program;
  /** Planned bytes of arena memory. */
  readonly arenaBytes: number;
  dispose(): void;
}

export type ExecutionCode =
  | 'index-out-of-range' // an id, position, row or segment points outside its table
  | 'size-out-of-range' // a dynamic size in the params exceeds what was planned
  | 'out-of-memory'
  | 'cancelled'
  | 'poisoned' // it was queued behind a failed run and depends on what that one should have written
  | 'device-lost';

/** Why a submission, upload or read failed: which record, which op, which code. */
export interface ExecutionFailure {
  readonly opIndex: number;
  readonly op: OpName | 'upload' | 'write' | 'read' | 'allocate';
  readonly code: ExecutionCode;
}

export interface Submission {
  /** Resolves when the program has run; rejects with an `ExecutionError`. */
  readonly done: Promise<void>;
  /** For each cut of the program: resolves when the records before it have run, rejects as `done` does. */
  readonly reached?: readonly Promise<void>[];
  /** Asks the executor to stop between records; `done` then rejects with code `cancelled` (or resolves, if it was too late). */
  cancel(): void;
}

export interface Limits {
  /**
   * The largest block of memory, and the largest part of one that an op may see at once (WebGPU: often 128 MiB). A larger buffer is made
   * of blocks: across them only adamw and globalNorm see.
   */
  readonly maxBufferBytes: number;
  readonly maxBindingBytes: number;
  /** What all buffers together may take, where that is less than the machine has. */
  readonly memoryBytes?: number;
  readonly threads: number;
}

/**
 * Executes programs. Writes, submissions and reads go through one queue in order, so memory may be reused without waiting.
 * Same program, params and buffers: same bits, whatever the number of threads. The process is kept alive only while work is pending.
 */
export interface Backend {
  readonly name: string;
  /** For people: instruction set, threads. */
  readonly description: string;
  readonly limits: Limits;
  /** What a program computes with is made after `compile` and takes a while: what will be run soon is best compiled at once. */
  readonly compilesAhead?: boolean;
  /** How many runs that go on from each other are best under way at once, where the host's part of one takes as long as the device's; default 1. */
  readonly runsAhead?: number;
  supports(op: OpName): boolean;
  /** A zero-filled persistent buffer in `rows` layout. Throws `ExecutionError` (`out-of-memory`). */
  create<Type extends HostType>(dtype: Type, shape: readonly number[]): DeviceBuffer<Type>;
  /**
   * Reads a stored f32, f16 or bf16 tensor and converts or quantizes it on the backend's own threads. Two dimensions become
   * a `weight` of `dtype` ([outputs, inputs]); one dimension becomes f32 `rows`. Inputs that fill no whole group of 32 are
   * padded with zeros in q8 and q4. The affine types are for tensors that are stored so, with codes of at most as many bits. Rejects with `InputError` when the file is cut, `ExecutionError` otherwise.
   */
  upload(tensor: StoredTensor, dtype: Exclude<DType, 'i32'>): Promise<DeviceBuffer>;
  /** Queues a copy of `data` (taken at once) into a `rows` buffer. Throws when it does not lie inside, or is of another type. */
  write(buffer: DeviceBuffer, data: HostArray, elementOffset?: number): void;
  /** Checks records against the op table, throws where they break it, plans the arena. Submissions tell when they come to `cuts`. */
  compile(program: Program, cuts?: readonly number[]): Executable;
  /**
   * Throws when the program was made by another backend, takes another number of params, or uses a buffer that was freed. `pace`: asked
   * for each cut, what comes after it waits for the answer, and nothing else may be submitted before `done`; not all backends ask.
   */
  submit(executable: Executable, params: Int32Array, pace?: (cut: number) => Promise<unknown> | undefined): Submission;
  /** The elements [elementOffset, elementOffset + length) of a `rows` buffer, after everything queued before. Throws as `write`. */
  read<Type extends DType>(
    buffer: DeviceBuffer<Type>,
    elementOffset?: number,
    length?: number,
  ): Promise<HostArrays[Extract<Type, HostType>]>;
  free(buffer: DeviceBuffer): void;
  /** Finishes what runs, drops what waits, frees everything. */
  dispose(): Promise<void>;
}
