// Where a browser keeps files of a model or of a training: the origin's private file system (OPFS), whose files can be appended to from
// a worker and survive a reload; where a browser has none or forbids it, Cache storage, which does as well, in pieces; or memory, where it
// keeps nothing. The latter two are blob-files.ts's; where a worker writes is open-place.ts's.

import { InputError } from '../../errors.js';
import { patience } from './locks.js';
import { type Appender, inTime, isMissing, isOpenElsewhere, type Place, received } from './place.js';

/** Of FileSystemSyncAccessHandle, which workers alone have, what is needed. */
interface SyncHandle {
  getSize(): number;
  read(into: Uint8Array, options: { at: number }): number;
  write(data: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}
export type SyncFile = FileSystemFileHandle & { createSyncAccessHandle?(options?: { mode: 'read-only' }): Promise<SyncHandle> };

/** One at a time may, and another tab may have it open for a moment: who comes second waits. Throws what the browser does where that takes long. */
async function whenClosed<T>(work: () => Promise<T>): Promise<T> {
  for (const end = Date.now() + patience; ; ) {
    try {
      return await work();
    } catch (error) {
      if (!isOpenElsewhere(error) || Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** A handle that is given in time; one that comes later is closed. */
function answered(asked: Promise<SyncHandle>): Promise<SyncHandle> {
  return inTime(asked).catch((error: unknown) => {
    void asked.then((handle) => handle.close()).catch(() => {});
    throw error;
  });
}

/** Throws where a browser has no private file system, or none in a window like this one. */
export async function privateFiles(): Promise<FileSystemDirectoryHandle> {
  const storage = navigator.storage as Partial<StorageManager> | undefined; // Undefined on pages that are not secure too.
  if (!storage?.getDirectory) throw new Error('it has no private files, or none for a page that is not https:');
  return storage.getDirectory();
}

/** Folders of the private file system. */
export type PlaceRoot = 'openelm-models' | 'openelm-trainings' | 'openelm-speeds';

/** What is kept, to be read: of `key`, or of all. A page may ask as well as a worker. */
export async function* keptPlaces(root: PlaceRoot, key?: string): AsyncGenerator<Pick<Place, 'read'>> {
  const places = await privateFiles()
    .then((all) => all.getDirectoryHandle(root))
    .catch(() => undefined); // nothing is, or nothing can be
  for await (const folder of places?.values() ?? []) {
    if (folder.kind === 'directory' && (key === undefined || folder.name === folderOf(key)))
      yield keptFiles(folder as FileSystemDirectoryHandle, async () => folder as FileSystemDirectoryHandle);
  }
  for (const name of await cachesOf(root, key)) yield (await blobFiles()).filesInCache(name);
}

/** Removes what is kept of `key`, or of all. @throws InputError where another tab goes on writing or reading it. */
export async function removePlaces(root: PlaceRoot, key?: string): Promise<void> {
  for (const name of await cachesOf(root, key)) await caches.delete(name);
  const all = await privateFiles().catch(() => undefined);
  if (!all) return; // nothing can be kept there
  try {
    await whenClosed(async () => {
      if (key === undefined) return all.removeEntry(root, { recursive: true });
      await (await all.getDirectoryHandle(root)).removeEntry(folderOf(key), { recursive: true });
    });
  } catch (error) {
    if (isOpenElsewhere(error))
      throw new InputError(
        'what is kept is open in another tab, which downloads or reads it: wait until it is done, or close it',
      );
    if (!isMissing(error)) throw error;
  }
}

/** Fetched where they are needed: most pages have private files. */
export function blobFiles(): Promise<typeof import('./blob-files.js')> {
  return import('./blob-files.js');
}

export function cacheName(root: PlaceRoot, key: string): string {
  return `${root} ${folderOf(key)}`;
}

/** The caches that hold what is kept of `key`, or of all; none where a browser has none, or forbids them. */
async function cachesOf(root: PlaceRoot, key?: string): Promise<string[]> {
  const names = await Promise.resolve()
    .then(() => caches.keys())
    .catch(() => []);
  return names.filter((name) => (key === undefined ? name.startsWith(`${root} `) : name === cacheName(root, key)));
}

/** A name that every file system takes, of bounded length. */
export function folderOf(key: string): string {
  let hash = 0xcbf29ce484222325n; // FNV-1a, 64 bits
  for (const byte of new TextEncoder().encode(key)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  const readable = key.replace(/[^\w.-]+/g, '_').slice(-80);
  return `${readable}-${hash.toString(16)}`;
}

/** All of `data`, from `at` on. */
function writeAll(handle: SyncHandle, data: Uint8Array, at: number): void {
  for (let done = 0; done < data.byteLength; ) {
    const rest = data.byteLength - done;
    const written = handle.write(done === 0 ? data : data.subarray(done), { at: at + done });
    // Where there is no more room, Chromium tells of 2^32 - 1 bytes.
    if (!(written > 0 && written <= rest)) throw new DOMException('no more room', 'QuotaExceededError');
    done += written;
  }
}

/** Goes on behind what a file has. */
function appender(handle: SyncHandle): Appender {
  let size = handle.getSize();
  return {
    get size() {
      return size;
    },
    write(chunk) {
      writeAll(handle, chunk, size);
      size += chunk.byteLength;
    },
    read: (into, at) => handle.read(into, { at }),
    clear() {
      handle.truncate(0);
      size = 0;
    },
    close() {
      handle.flush();
      handle.close();
    },
  };
}

/** Over what was there, with blanks up to its end, and then cut: at no moment half of either. */
function replace(handle: SyncHandle, bytes: Uint8Array): void {
  const over = new Uint8Array(bytes.length === 0 ? 0 : Math.max(bytes.length, handle.getSize())).fill(32);
  over.set(bytes);
  writeAll(handle, over, 0);
  handle.truncate(bytes.length);
  handle.flush();
}

/** `again` makes the folder where another tab removed it. */
export function keptFiles(given: FileSystemDirectoryHandle, again: () => Promise<FileSystemDirectoryHandle>): Place {
  let folder = given;
  const made = async (name: string): Promise<SyncFile> => {
    try {
      return await folder.getFileHandle(name, { create: true });
    } catch (error) {
      if (!isMissing(error)) throw error;
      folder = await again();
      return folder.getFileHandle(name, { create: true });
    }
  };
  const toWrite = (name: string): Promise<SyncHandle> =>
    answered(whenClosed(async () => (await made(name)).createSyncAccessHandle!()));
  const open = async (name: string): Promise<Appender> => appender(await toWrite(name));
  return {
    kept: true,
    async read(name) {
      try {
        return await (await folder.getFileHandle(name)).getFile();
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
    async open(name) {
      try {
        const file: SyncFile = await folder.getFileHandle(name);
        const handle = await file.createSyncAccessHandle!({ mode: 'read-only' });
        return { read: (into, at) => handle.read(into, { at }), close: () => handle.close() };
      } catch {
        return undefined; // its Blob says what is wrong, if anything
      }
    },
    append: open,
    async receive(name, large) {
      if (!large) return received(await open(name));
      try {
        const { receiveInThread } = await import('./file-thread.js'); // pages do not need it
        return await receiveInThread(await made(name));
      } catch {
        return received(await open(name)); // pages may forbid such threads
      }
    },
    async write(name, text) {
      const handle = await toWrite(name);
      try {
        replace(handle, new TextEncoder().encode(text));
      } finally {
        handle.close();
      }
    },
  };
}
