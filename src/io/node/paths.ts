// Paths of this machine for those who may not ask it themselves: what lies at a path, where this package lies, small files
// whole. Failures in one sentence come from `files.ts`.

import { lstat, readdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InputError } from '../../errors.js';
import { fileError, openFile } from './files.js';

/** What lies at a path; undefined when nothing does. Throws `InputError` for a link that leads nowhere and what cannot be looked at. */
export async function kindOf(path: string): Promise<'file' | 'directory' | undefined> {
  try {
    return (await stat(path)).isDirectory() ? 'directory' : 'file';
  } catch (error) {
    if (!absent.includes((error as NodeJS.ErrnoException).code ?? '')) throw fileError(error, path, 'read');
    const link = await lstat(path).catch(() => undefined);
    if (link === undefined) return undefined;
    throw new InputError(`${path}: a link to a file that is not there`);
  }
}

/** Errors of a path with nothing at its end; a name longer than a path may be is none either. */
const absent = ['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'];

/** What lies in a directory, sorted. Throws `InputError` when it cannot be read. */
export async function namesIn(path: string): Promise<string[]> {
  const names = await readdir(path).catch((error: unknown) => {
    throw fileError(error, path, 'read');
  });
  return names.sort();
}

/** The absolute path of something in this package. */
export function packagePath(relative: string): string {
  return fileURLToPath(new URL(`../../../${relative}`, import.meta.url));
}

export function absolutePath(path: string): string {
  return resolve(path);
}

export function parentOf(path: string): string {
  return dirname(path);
}

/** A whole small file, or undefined when there is none. Throws `InputError` when it is larger than `maxBytes` or unreadable. */
export async function readIfThere(path: string, maxBytes = 64 << 20): Promise<Uint8Array | undefined> {
  if ((await kindOf(path)) === undefined) return undefined;
  const source = await openFile(path);
  try {
    if (source.size > maxBytes) throw new InputError(`${path}: ${source.size} bytes is too large here (at most ${maxBytes})`);
    return await source.read(0, source.size);
  } finally {
    await source.close();
  }
}
