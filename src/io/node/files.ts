// Files on this machine, each failure one sentence: random-access reads through one descriptor, writes that are either whole
// or not there at all (a temporary beside the target, synced, then renamed), small JSON files. Knows no weight format.

import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { InputError, shown } from '../../errors.js';
import { type ByteSink, type ByteSource, checkRange } from '../bytes.js';
import { decodeUtf8, parseJson } from '../json.js';

/** The largest single read the operating system is asked for; longer ranges take several. */
const MAX_READ = 1 << 30;

/** A file opened for reading by position; reads may overlap. Throws `InputError` when it is missing, unreadable or no plain file. */
export async function openFile(path: string): Promise<ByteSource> {
  const handle = await openPlain(path);
  try {
    const { size } = await handle.stat();
    return new FileSource(path, size, handle);
  } catch (error) {
    await handle.close();
    throw fileError(error, path, 'read');
  }
}

async function openPlain(path: string): Promise<FileHandle> {
  try {
    const found = await stat(path); // before opening: opening a pipe would wait for its writer
    if (found.isDirectory()) throw new InputError(`${path}: a directory, expected a file`);
    if (!found.isFile()) {
      const what = found.isFIFO() ? 'a pipe' : 'a device or socket';
      throw new InputError(`${path}: ${what}, not a regular file: save what it gives to a file, and name that`);
    }
    return await open(path, 'r');
  } catch (error) {
    throw fileError(error, path, 'read');
  }
}

class FileSource implements ByteSource {
  readonly file: string;

  constructor(
    readonly name: string,
    readonly size: number,
    private readonly handle: FileHandle,
  ) {
    this.file = name;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length);
    // Unpooled and not zeroed: the kernel writes straight into the memory that is handed out.
    const buffer = Buffer.allocUnsafeSlow(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await this.readSome(buffer, done, Math.min(length - done, MAX_READ), offset + done);
      if (bytesRead === 0) {
        throw new InputError(
          `${this.name}: ended at byte ${offset + done}, expected ${this.size} bytes as when it was opened: was it cut or replaced meanwhile?`,
        );
      }
      done += bytesRead;
    }
    return new Uint8Array(buffer.buffer, buffer.byteOffset, length);
  }

  private async readSome(buffer: Buffer, at: number, length: number, position: number): Promise<{ bytesRead: number }> {
    try {
      return await this.handle.read(buffer, at, length, position);
    } catch (error) {
      throw fileError(error, this.name, 'read');
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/**
 * Writes a file that appears whole or not at all: `write` fills a temporary in the same directory, which is synced and renamed
 * over `path`. When it throws or `signal` aborts, the temporary is removed and an old file stays as it was.
 * Throws `InputError` when the place cannot be written or the disk is full.
 */
export async function writeAtomic(
  path: string,
  write: (sink: ByteSink) => Promise<void>,
  options: { signal?: AbortSignal } = {},
): Promise<void> {
  const { signal } = options;
  const temporary = temporaryBeside(path);
  let handle: FileHandle;
  try {
    handle = await open(temporary, 'wx');
  } catch (error) {
    throw fileError(error, path, 'write');
  }
  try {
    try {
      await write(sinkOf(handle, path, signal));
      signal?.throwIfAborted();
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw fileError(error, path, 'write');
  }
  await syncDirectory(dirname(path));
}

/** `writeAtomic`, of what is all there; a text in UTF-8. */
export function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return writeAtomic(path, (sink) => sink.write(bytes));
}

function sinkOf(handle: FileHandle, path: string, signal?: AbortSignal): ByteSink {
  let position = 0;
  return {
    async write(chunk) {
      signal?.throwIfAborted();
      for (let done = 0; done < chunk.byteLength; ) {
        const length = Math.min(chunk.byteLength - done, MAX_READ);
        const { bytesWritten } = await handle.write(chunk, done, length, position).catch((error) => {
          throw fileError(error, path, 'write');
        });
        done += bytesWritten;
        position += bytesWritten;
      }
    },
  };
}

/**
 * Makes a directory if it is missing; throws `InputError` when no file can be written in it, naming `what` is to be written. For work that
 * would be lost otherwise.
 */
export async function ensureWritable(directory: string, what = directory): Promise<void> {
  const probe = join(directory, `.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
  try {
    await makeDirectory(directory);
    await (await open(probe, 'wx')).close();
    await unlink(probe);
  } catch (error) {
    throw fileError(error, what, 'write');
  }
}

/**
 * Makes a directory and those above it; it may be there. Throws `InputError` with the system's own reason. Not by Node's recursive
 * `mkdir`, which says of a read-only disk that there is no such directory, and never ends where none can be made (as in /proc).
 */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await makeWithParents(resolve(path));
  } catch (error) {
    throw fileError(error, path, 'write');
  }
}

async function makeWithParents(path: string): Promise<void> {
  const isThere = async (place: string): Promise<boolean> => (await stat(place).catch(() => undefined))?.isDirectory() ?? false;
  try {
    await mkdir(path);
  } catch (error) {
    if (await isThere(path)) return;
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const above = dirname(path);
    if (!(await isThere(above))) await makeWithParents(above);
    await mkdir(path).catch(async (again: unknown) => {
      if (!(await isThere(path))) throw again; // another process may have been first
    });
  }
}

/** Makes a rename durable. Not every system lets a directory be opened or synced (Windows); the file itself is safe already. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const handle = await open(path, 'r');
    await handle.sync().finally(() => handle.close());
  } catch {
    // best effort
  }
}

/** A JSON file of at most `maxBytes` (default 64 MiB). Throws `InputError` when it is missing, too large, or not JSON (with line and column). */
export async function readJson(path: string, options: { maxBytes?: number } = {}): Promise<unknown> {
  const { maxBytes = 64 << 20 } = options;
  const source = await openFile(path);
  try {
    if (source.size > maxBytes)
      throw new InputError(`${path}: ${source.size} bytes is too large for a JSON file here (at most ${maxBytes})`);
    return parseJson(decodeUtf8(await source.read(0, source.size), path), path);
  } finally {
    await source.close();
  }
}

/** A name beside `path` that nothing has, for what takes its place once it is whole. */
export function temporaryBeside(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
}

/** What `path` leads to, or undefined when it is not there. */
export async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw fileError(error, path, 'read');
  }
}

/** The names in a directory; none when it is not there. */
export async function entriesOf(directory: string, options: { recursive?: boolean } = {}): Promise<string[]> {
  try {
    return await readdir(directory, options);
  } catch (error) {
    if (isMissing(error)) return [];
    throw fileError(error, directory, 'read');
  }
}

/** What a system's codes mean, as the end of a sentence. */
export const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  ENOTDIR: 'a part of the path is not a directory',
  EISDIR: 'it is a directory',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full: free some space and try again',
  EDQUOT: 'the disk quota is used up: free some space and try again',
  EFBIG: 'the file would be larger than is allowed here',
  EMFILE: 'too many files are open: allow more (ulimit -n 256)',
  ENFILE: 'too many files are open',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the name is too long',
  EIO: 'the disk reports an error',
  ENOTEMPTY: 'a directory of that name is in the way',
  EEXIST: 'something of that name is in the way',
};

/** What the file system said as an `InputError` of one sentence; anything that is no file system error comes back unchanged. */
export function fileError(error: unknown, path: string, doing: 'read' | 'write'): unknown {
  if (!(error instanceof Error) || error instanceof InputError) return error;
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === 'ERR_INVALID_ARG_VALUE') return new InputError(`${shown(path)} cannot be the name of a file`);
  if (code === undefined || (syscall === undefined && !(code in REASONS))) return error;
  return new InputError(`${path}: cannot ${doing} it: ${REASONS[code] ?? error.message}`);
}

/** Whether a file system error means that the thing is not there. */
export function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}
