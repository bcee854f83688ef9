// Sources whose bytes are nowhere as such: pieces of others put end to end, and elements that are decoded from groups of bytes as
// they are read. What is asked for is all that is ever made. Knows no format: who groups and decodes is the caller.

import { type ByteSource, checkRange, elementsOf, type Piece, type StoredTensor } from './bytes.js';
import { toFloat32 } from './decode.js';

/** Pieces of sources as one source, in order. `close` leaves theirs open: they are their owner's. */
export function joined(name: string, pieces: readonly Piece[]): ByteSource {
  if (pieces.length === 1 && pieces[0].offset === 0 && pieces[0].bytes === pieces[0].source.size) return pieces[0].source;
  const source: ByteSource = {
    name,
    size: pieces.reduce((sum, { bytes }) => sum + bytes, 0),
    pieces,
    async read(offset, length) {
      checkRange(source, offset, length);
      const parts: Uint8Array[] = [];
      let start = 0;
      for (const piece of pieces) {
        const from = Math.max(offset, start);
        const to = Math.min(offset + length, start + piece.bytes);
        if (from < to) parts.push(await piece.source.read(piece.offset + from - start, to - from));
        start += piece.bytes;
      }
      if (parts.length === 1) return parts[0];
      const whole = new Uint8Array(length);
      let at = 0;
      for (const part of parts) {
        whole.set(part, at);
        at += part.length;
      }
      return whole;
    },
    async close() {},
  };
  return source;
}

/** Bytes that are made in groups when they are read: `make` gives those of the groups [first, first + count). */
export function derived(
  name: string,
  groups: number,
  groupBytes: number,
  make: (first: number, count: number) => Promise<Uint8Array>,
): ByteSource {
  const source: ByteSource = {
    name,
    size: groups * groupBytes,
    async read(offset, length) {
      checkRange(source, offset, length);
      const first = Math.floor(offset / groupBytes);
      const count = Math.ceil((offset + length) / groupBytes) - first;
      const bytes = await make(first, count);
      return bytes.subarray(offset - first * groupBytes, offset - first * groupBytes + length);
    },
    async close() {},
  };
  return source;
}

/** Fills `out` with the values of the groups [first, first + count). */
export type DecodeGroups = (first: number, count: number, out: Float32Array) => Promise<void>;

/** Values that come in groups of `groupValues` as F32 bytes, decoded when they are read. */
export function decoded(name: string, groups: number, groupValues: number, decode: DecodeGroups): ByteSource {
  return derived(name, groups, 4 * groupValues, async (first, count) => {
    const values = new Float32Array(count * groupValues);
    await decode(first, count, values);
    return new Uint8Array(values.buffer);
  });
}

/** The rows [from, from + count) of a matrix, as a matrix. */
export function rowsOf(tensor: StoredTensor, from: number, count: number): StoredTensor {
  const rows = tensor.shape[0];
  const part = ({ source, offset, bytes }: Piece): Piece => {
    const each = bytes / rows;
    return { source, offset: offset + from * each, bytes: count * each };
  };
  const packed = tensor.packed && { ...tensor.packed, ...part(tensor.packed) };
  return { ...tensor, ...part(tensor), shape: [count, ...tensor.shape.slice(1)], packed, affine: undefined };
}

/** A tensor's values in order, a few MiB at a time. */
export async function* valuesOf(tensor: StoredTensor, pieceValues = 1 << 20): AsyncGenerator<Float32Array> {
  const elements = elementsOf(tensor.shape);
  const size = elements === 0 ? 1 : tensor.bytes / elements;
  for await (const bytes of bytesOf(tensor, pieceValues * size)) yield toFloat32(bytes, tensor.dtype);
}

/** Bytes of a piece in order, a few MiB at a time; the next are being read while these are used. */
export async function* bytesOf({ source, offset, bytes }: Piece, pieceBytes = 4 << 20): AsyncGenerator<Uint8Array> {
  const read = (done: number): Promise<Uint8Array> | undefined => {
    if (done >= bytes) return undefined;
    const next = source.read(offset + done, Math.min(pieceBytes, bytes - done));
    next.catch(() => {}); // it is awaited below, unless nobody asks any more
    return next;
  };
  let next = read(0);
  for (let done = pieceBytes; next; done += pieceBytes) {
    const current = await next;
    next = read(done);
    yield current;
  }
}

/** What `work` makes of each, in order; that of the next few is under way while one is used. */
export async function* ahead<T, R>(from: AsyncIterable<T>, work: (piece: T) => R | Promise<R>, most = 4): AsyncGenerator<R> {
  const under: Promise<R>[] = [];
  for await (const piece of from) {
    const made = Promise.resolve(work(piece));
    made.catch(() => {}); // it is awaited below, unless nobody asks any more
    under.push(made);
    if (under.length === most) yield under.shift()!;
  }
  yield* under;
}
