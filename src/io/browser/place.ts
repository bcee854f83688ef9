// Where a browser keeps files of a model or of a training: the origin's private file system (OPFS), whose files can be appended to from
// a worker and survive a reload; or, where a browser has none or forbids it, memory. Names are plain; what is in the files is
// download.ts's, and browser/training-store.ts's.

import { InputError, messageOf } from '../../errors.js';
import type { Receiver } from './file-thread.js';
import { patience } from './locks.js';

/** Files by name. */
export interface Place {
  /** Whether they are still there after a reload. */
  readonly kept: boolean;
  /** What is there of a file, whole or not. */
  read(name: string): Promise<Blob | undefined>;
  /**
   * The same opened to be read; undefined where it cannot be: it is written to, or this is no worker, or another tab has it open and the
   * browser knows no two readers at once.
   */
  open(name: string): Promise<Reader | undefined>;
  /** Opens a file, made if it is missing, to write behind its end. One at a time for a file. */
  append(name: string): Promise<Appender>;
  /** The same for what is downloaded; `large`: by a thread of its own, where there can be one. */
  receive(name: string, large: boolean): Promise<Receiver>;
  /** A small file of JSON, or of nothing, replaced: whoever goes away on the way leaves what was there or what is there now. */
  write(name: string, text: string): Promise<void>;
}

export interface Reader {
  /** What is there from `at` on; how many bytes. */
  read(into: Uint8Array, at: number): number;
  close(): void;
}

export interface Appender {
  /** Bytes so far. */
  readonly size: number;
  write(chunk: Uint8Array): void;
  /** What is there from `at` on; how many bytes. */
  read(into: Uint8Array, at: number): number | Promise<number>;
  /** Forgets what is there. */
  clear(): void;
  close(): void;
}

/** The file beside a downloaded one that says how far it is. */
export function stateName(name: string): string {
  return `${name}.state`;
}

/** Of FileSystemSyncAccessHandle, which workers alone have, what is needed. */
interface SyncHandle {
  getSize(): number;
  read(into: Uint8Array, options: { at: number }): number;
  write(data: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}
type SyncFile = FileSystemFileHandle & { createSyncAccessHandle?(options?: { mode: 'read-only' }): Promise<SyncHandle> };

function isNamed(error: unknown, name: string): boolean {
  return error instanceof DOMException && error.name === name;
}
/** What browsers say of a file that another tab has open, or of a folder with such a file. */
export const isOpenElsewhere = (error: unknown): boolean => isNamed(error, 'NoModificationAllowedError');
const isMissing = (error: unknown): boolean => isNamed(error, 'NotFoundError');

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

/** Throws where a browser has no private file system, or none in a window like this one. */
async function privateFiles(): Promise<FileSystemDirectoryHandle> {
  const storage = navigator.storage as Partial<StorageManager> | undefined; // Undefined on pages that are not secure too.
  if (!storage?.getDirectory) throw new Error('it has no private files, or none for a page that is not https:');
  return storage.getDirectory();
}

/** Folders of the private file system. */
export type PlaceRoot = 'openelm-models' | 'openelm-trainings' | 'openelm-speeds';

/** The place of what `key` names, in a worker. `notKept` is told why it is memory, if it is. */
export async function openPlace(root: PlaceRoot, key: string, notKept: (reason: string) => void): Promise<Place> {
  try {
    const make = async (): Promise<FileSystemDirectoryHandle> => {
      const places = await (await privateFiles()).getDirectoryHandle(root, { create: true });
      return places.getDirectoryHandle(folderOf(key), { create: true });
    };
    const folder = await make();
    const probe: SyncFile = await folder.getFileHandle('.probe', { create: true });
    if (!probe.createSyncAccessHandle) throw new Error('its private files cannot be written here');
    await probe.createSyncAccessHandle().then(
      async (handle) => {
        const isSync = typeof handle.getSize() === 'number'; // before Chrome 108 and Safari 16.4 it was a promise
        await handle.close();
        if (!isSync) throw new Error('its private files cannot be written at once');
      },
      (error: unknown) => {
        if (!isOpenElsewhere(error)) throw error; // another tab tries the same: it can be opened, then
      },
    );
    return keptFiles(folder, make);
  } catch (error) {
    notKept(messageOf(error));
    return filesInMemory();
  }
}

/** What is kept, to be read: of `key`, or of all. A page may ask as well as a worker. */
export async function* keptPlaces(root: PlaceRoot, key?: string): AsyncGenerator<Pick<Place, 'read'>> {
  let places: FileSystemDirectoryHandle;
  try {
    places = await (await privateFiles()).getDirectoryHandle(root);
  } catch {
    return; // nothing is, or nothing can be
  }
  for await (const folder of places.values()) {
    if (folder.kind === 'directory' && (key === undefined || folder.name === folderOf(key)))
      yield keptFiles(folder as FileSystemDirectoryHandle, async () => folder as FileSystemDirectoryHandle);
  }
}

/** Removes what is kept of `key`, or of all. @throws InputError where another tab goes on writing or reading it. */
export async function removePlaces(root: PlaceRoot, key?: string): Promise<void> {
  const all = await privateFiles().catch(() => undefined);
  if (!all) return; // nothing can be kept
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

/** How often what another tab was writing meanwhile is read again. */
const readings = 5;

/** What a file of JSON says; undefined where there is none, or nothing in it. @throws InputError where it is damaged. */
export async function readJson(place: Pick<Place, 'read'>, name: string): Promise<unknown> {
  for (let reading = 1; ; reading++) {
    try {
      const text = await (await place.read(name))?.text();
      return text ? JSON.parse(text) : undefined;
    } catch (error) {
      // A Blob is of a file as it was: written meanwhile, it cannot be read any more, or is half of what was and half of what is.
      if (!(error instanceof SyntaxError || isNamed(error, 'NotReadableError'))) throw error;
      if (reading === readings) throw new InputError(`${name} cannot be read (${messageOf(error)}): it is damaged`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** A name that every file system takes, of bounded length. */
function folderOf(key: string): string {
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

/** `again` makes the folder where another tab removed it. */
function keptFiles(given: FileSystemDirectoryHandle, again: () => Promise<FileSystemDirectoryHandle>): Place {
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
  const toWrite = (name: string): Promise<SyncHandle> => whenClosed(async () => (await made(name)).createSyncAccessHandle!());
  const open = async (name: string): Promise<Appender> => {
    const handle = await toWrite(name);
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
  };
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
        const bytes = new TextEncoder().encode(text);
        // Over what was there, with blanks up to its end, and then cut: at no moment half of either.
        const over = new Uint8Array(bytes.length === 0 ? 0 : Math.max(bytes.length, handle.getSize())).fill(32);
        over.set(bytes);
        writeAll(handle, over, 0);
        handle.truncate(bytes.length);
        handle.flush();
      } finally {
        handle.close();
      }
    },
  };
}

/** Written here. */
function received(appender: Appender): Receiver {
  return {
    get size() {
      return appender.size; // what could not be written is not counted
    },
    failed: false,
    async write(chunk) {
      appender.write(chunk);
      return chunk.buffer;
    },
    read: async (into, at) => appender.read(into, at),
    clear: async () => appender.clear(),
    close: async () => appender.close(),
  };
}

/** So much at most is held before it is put into a Blob. */
const looseBytes = 16 << 20;

/** Blobs, which a browser holds outside the heap. */
export function filesInMemory(): Place {
  const files = new Map<string, Blob>();
  const place: Place = {
    kept: false,
    async read(name) {
      return files.get(name);
    },
    open: async () => undefined,
    async append(name) {
      const parts: BlobPart[] = [files.get(name) ?? new Blob()];
      let size = (parts[0] as Blob).size;
      let loose = 0;
      const gather = (): void => {
        parts.splice(0, parts.length, new Blob(parts));
        loose = 0;
      };
      return {
        get size() {
          return size;
        },
        write(chunk) {
          parts.push(chunk.slice());
          size += chunk.byteLength;
          loose += chunk.byteLength;
          if (loose > looseBytes) gather();
        },
        async read(into, at) {
          gather();
          const bytes = new Uint8Array(await (parts[0] as Blob).slice(at, at + into.length).arrayBuffer());
          into.set(bytes);
          return bytes.length;
        },
        clear() {
          parts.length = 0;
          size = 0;
          loose = 0;
        },
        close() {
          files.set(name, new Blob(parts));
        },
      };
    },
    receive: async (name) => received(await place.append(name)),
    async write(name, text) {
      files.set(name, new Blob([text]));
    },
  };
  return place;
}
