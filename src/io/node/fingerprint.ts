// Hashes of content and of files, to tell whether something is still what it was.

import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { fileError, openFile } from './files.js';

/** The sha256 of bytes end to end, in hexadecimal. */
export function sha256(parts: Iterable<Uint8Array>): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

const piece = 4096;
const pieces = 64;

/**
 * Tells files from others by size, time and pieces spread over their bytes, with a text that belongs to them: for files that take too
 * long to be read as a whole. `copies`: those of another time are the same. Throws `InputError` when one is missing.
 */
export async function fingerprint(
  files: readonly string[],
  about = '',
  { copies = false }: { readonly copies?: boolean } = {},
): Promise<string> {
  const hash = createHash('sha256').update(about);
  for (const file of files) {
    const { size, mtimeMs } = await stat(file).catch((error: unknown) => {
      throw fileError(error, file, 'read');
    });
    hash.update(`${size} ${copies ? 0 : mtimeMs}\n`);
    const source = await openFile(file);
    try {
      const step = Math.max(piece, Math.floor((size - piece) / (pieces - 1)));
      for (let at = 0; at < size; at += step) hash.update(await source.read(at, Math.min(piece, size - at)));
    } finally {
      await source.close();
    }
  }
  return hash.digest('hex');
}
