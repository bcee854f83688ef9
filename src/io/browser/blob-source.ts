// A Blob or File as bytes by position. Slices are read when they are asked for, so a file of gigabytes never lies in the heap; what a
// slice comes in is given back at once where a browser can, not when garbage is next collected.

import { InputError } from '../../errors.js';
import { type ByteSource, checkRange } from '../bytes.js';

export function blobSource(name: string, blob: Blob): ByteSource {
  const source: ByteSource = {
    name,
    size: blob.size,
    async read(offset, length) {
      checkRange(source, offset, length);
      const bytes = await bytesOf(name, blob.slice(offset, offset + length));
      if (bytes.byteLength !== length) throw new InputError(`${name}: the file was changed while it was read: choose it again`);
      return bytes;
    },
    async readInto(offset, bytes) {
      const piece = await source.read(offset, bytes.length);
      bytes.set(piece);
      (piece.buffer as ArrayBuffer & { transfer?(bytes: number): void }).transfer?.(0);
    },
    async close() {},
  };
  return source;
}

/** Throws `InputError` where the file behind a Blob is gone or was changed since it was chosen. */
export async function bytesOf(name: string, blob: Blob): Promise<Uint8Array> {
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch {
    throw new InputError(`${name} cannot be read any more: the file was changed or moved; choose it again`);
  }
}
