// A kept file as bytes by position, read into memory that is used again: several times as fast as slices of its Blob, which are read where
// it cannot be opened. It is opened when it is first read, and again when it is read after `close`.

import { InputError, messageOf } from '../../errors.js';
import { type ByteSource, checkRange } from '../bytes.js';
import { blobSource } from './blob-source.js';
import type { Reader } from './place.js';

export function keptSource(name: string, blob: Blob, open: () => Promise<Reader | undefined>): ByteSource {
  const slices = blobSource(name, blob);
  let opened: Promise<Reader | undefined> | undefined;
  const source: ByteSource = {
    name,
    size: blob.size,
    async read(offset, length) {
      checkRange(source, offset, length);
      const bytes = new Uint8Array(length);
      await source.readInto!(offset, bytes);
      return bytes;
    },
    async readInto(offset, bytes) {
      checkRange(source, offset, bytes.length);
      opened ??= open();
      const reader = await opened;
      if (reader) await readWhole(name, reader, offset, bytes);
      else await slices.readInto!(offset, bytes);
    },
    async close() {
      const closing = opened;
      opened = undefined;
      (await closing)?.close();
    },
  };
  return source;
}

/** @throws InputError where fewer bytes were read than there were. */
export async function readWhole(
  name: string,
  reader: { read(into: Uint8Array, at: number): number | Promise<number> },
  offset: number,
  bytes: Uint8Array,
): Promise<void> {
  let found: number;
  try {
    found = await reader.read(bytes, offset);
  } catch (error) {
    throw new InputError(`${name} cannot be read: ${messageOf(error)}`);
  }
  if (found !== bytes.length) throw new InputError(`${name}: the file was changed while it was read: load again`);
}
