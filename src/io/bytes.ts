// Where bytes come from and go to, whatever they are: a file, a buffer in memory, a range of a URL. Formats (safetensors,
// gguf, ...) are written over this, so they run in Node and in the browser alike. A source is not a stream: reads are by
// position. Nothing here knows a format; the dtypes are safetensors' because every other format's map onto them.

import { InputError } from '../errors.js';

/** Random-access bytes of known size. */
export interface ByteSource {
  /** What to call it in messages: a path or a URL. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /**
   * The bytes at [offset, offset + length), whole; throws `InputError` past the end or when the file was cut meanwhile.
   * Ranges of a few MiB are the fastest: larger ones are fresh memory that must be paged in first.
   */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** The same into memory that is used again, where the source can: fresh memory for each piece would be gigabytes to be collected. */
  readInto?(offset: number, bytes: Uint8Array): Promise<void>;
  /** The path, when the bytes are a plain file on this machine: a backend may then read ranges of it on its own threads. */
  readonly file?: string;
  /** The pieces that the bytes are put together from, in order, when they are no run of their own. */
  readonly pieces?: readonly Piece[];
  close(): Promise<void>;
}

/** Bytes [offset, offset + bytes) of a source. */
export interface Piece {
  readonly source: ByteSource;
  readonly offset: number;
  readonly bytes: number;
}

/** Where bytes are written, one after another. A chunk belongs to the sink until the promise settles. */
export interface ByteSink {
  write(chunk: Uint8Array): Promise<void>;
}

/** A file by its name, and what is in it. */
export interface NamedBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Bytes of one element of each stored type, in safetensors' spelling. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  U16: 2,
  U32: 4,
  U64: 8,
  BOOL: 1,
} as const;

/** Element types of stored tensors, in safetensors' spelling. */
export type StoredDType = keyof typeof DTYPE_BYTES;

export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Bytes that a tensor takes in a file. */
export function byteLengthOf({ dtype, shape }: { readonly dtype: StoredDType; readonly shape: readonly number[] }): number {
  return elementsOf(shape) * DTYPE_BYTES[dtype];
}

/** One stored tensor: where its bytes lie, nothing read yet. Row-major, little-endian. */
export interface StoredTensor extends Piece {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Of a tensor that is stored in groups of few bits: what it is made of. `source` decodes them, to F32, as it is read. */
  readonly packed?: PackedTensor;
  /** Of a packed matrix whose values are scale * code + minimum: the parts, which backends take as they are. */
  readonly affine?: AffineParts;
}

/** A matrix by groups of inputs: value = scale * code + minimum. */
export interface AffineParts {
  /** Of a code: 2, 3, 4, 5, 6 or 8. */
  readonly bits: number;
  /** Inputs that share a scale and a minimum: 32, 64 or 128. */
  readonly group: number;
  /** A row's codes end to end, the first in the lowest bits. */
  readonly codes: StoredTensor;
  /** F16, BF16 or F32 [rows, columns / group] */
  readonly scales: StoredTensor;
  readonly minimums: StoredTensor;
}

/** A tensor as it is stored where that is no type of `DTYPE_BYTES`. */
export interface PackedTensor extends Piece {
  /** GGUF's name of the type (`Q4_0`), or MLX's numbers (`4 bits, groups of 64`). */
  readonly format: string;
  /** Bytes of scales and the like that lie elsewhere. */
  readonly besideBytes?: number;
}

/** Throws `InputError` unless [offset, offset + length) lies in the source. Sources call it before they allocate anything. */
export function checkRange(source: { name: string; size: number }, offset: number, length: number): void {
  if (!(Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0)) {
    throw new InputError(`${source.name}: cannot read ${length} bytes at byte ${offset}`);
  }
  if (offset + length > source.size) {
    throw new InputError(`${source.name}: bytes ${offset} to ${offset + length} lie outside its ${source.size} bytes`);
  }
}

/** Passes on the bytes of what is written; throws `InputError` when they are not so many in all, before one too many is passed on. */
export async function* exactly(
  what: string,
  expected: number,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let given = 0;
  for await (const chunk of chunks) {
    given += chunk.byteLength;
    if (given > expected) break;
    yield chunk;
  }
  if (given === expected) return;
  throw new InputError(`${what} takes ${expected} bytes, but ${given > expected ? 'more' : given} were given`);
}

/** Bytes that are already in memory, as a source; reads are views of them, not copies. */
export function bytesInMemory(name: string, data: Uint8Array): ByteSource {
  const source: ByteSource = {
    name,
    size: data.byteLength,
    async read(offset, length) {
      checkRange(source, offset, length);
      return data.subarray(offset, offset + length);
    },
    async close() {},
  };
  return source;
}
