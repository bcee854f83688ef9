// A lock between processes, as a file. Where the addon is built and the file system knows flock, the system holds it: what a dead
// process held is free at once, whatever the file says. Elsewhere the file itself is the lock: only one can create it, it says
// who holds it and is touched while held, and it is taken over when that process is gone or nobody touched it for long.

import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, open, readFile, rename, stat, unlink, utimes } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileError, isMissing, makeDirectory } from './files.js';
import { packagePath } from './paths.js';
import { processState } from './processes.js';

const TOUCH_MS = 10_000;
const STALE_MS = 120_000;
const POLL_MS = 250;
/** How exactly times of files and of processes can be compared. */
const SLACK_MS = 2_000;

export interface LockOptions {
  readonly signal?: AbortSignal;
  /** Told once, when another holds the lock; may throw, not to wait. */
  readonly onWait?: () => void;
  /** Do without the system's locks, as where there are none. */
  readonly byFile?: boolean;
}

/** Runs `task` while holding the lock file at `path`; waits (telling `onWait` once) while another holds it. The folder is made if missing. */
export async function withLock<T>(path: string, options: LockOptions, task: () => Promise<T>): Promise<T> {
  const { signal, onWait, byFile = false } = options;
  let held: Held | undefined;
  try {
    await makeDirectory(dirname(path));
    for (let waited = false; ; waited = true) {
      held = await tryLock(path, byFile);
      if (held) break;
      if (!waited) onWait?.();
      await delay(POLL_MS, undefined, { signal }).catch(() => {});
      signal?.throwIfAborted();
    }
  } catch (error) {
    throw fileError(error, path, 'write');
  }
  const timer = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {});
  }, TOUCH_MS);
  timer.unref();
  try {
    return await task();
  } finally {
    clearInterval(timer);
    await held.release();
  }
}

interface Held {
  release(): Promise<void>;
}

/** Who holds a lock. `id` is of one holding; `flock`: the system holds it too, so that a file without its lock is no lock. */
interface Owner {
  readonly pid: number;
  readonly host: string;
  readonly id: string;
  readonly flock: boolean;
}

async function tryLock(path: string, byFile: boolean, again = 0): Promise<Held | undefined> {
  let handle: FileHandle | undefined;
  let made = true;
  try {
    handle = await open(path, 'wx+');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    made = false;
  }
  try {
    handle ??= await open(path, 'r+');
  } catch (error) {
    if (isMissing(error) && again < 100) return tryLock(path, byFile, again + 1); // it was given back in between
    throw error;
  }
  try {
    switch (byFile ? 'unknown' : flock(handle.fd)) {
      case 'held': {
        const held = await ownFlocked(path, handle);
        if (held) handle = undefined; // stays open: closing it gives the lock back
        return held === 'replaced' ? tryLock(path, byFile, again + 1) : held;
      }
      case 'busy':
        return undefined;
      case 'unknown':
        return made ? await ownFile(path, handle) : await takeOver(path);
    }
  } finally {
    await handle?.close();
  }
}

/** The system gave us the lock of the open file: it is ours if the file still has the name, and nobody holds it without the system. */
async function ownFlocked(path: string, handle: FileHandle): Promise<Held | 'replaced' | undefined> {
  const found = await stat(path).catch((error) => (isMissing(error) ? undefined : Promise.reject(error)));
  const opened = await handle.stat();
  if (found?.ino !== opened.ino || found.dev !== opened.dev) {
    await handle.close();
    return 'replaced';
  }
  const owner = ownerOf(await handle.readFile('utf8'));
  if (owner && !owner.flock && owner.id !== '' && (await isHeld(owner, found.mtimeMs))) return undefined;
  await handle.truncate(0);
  await writeOwner(path, handle, newOwner(true));
  return {
    release: async () => {
      await unlink(path).catch(() => {});
      await handle.close();
    },
  };
}

/** Into a file that is ours; it does not stay where there is no room to say so. */
async function writeOwner(path: string, handle: FileHandle, owner: Owner): Promise<void> {
  try {
    await handle.write(textOf(owner), 0);
  } catch (error) {
    await unlink(path).catch(() => {});
    throw error;
  }
}

// ---- Without the system's help

/** Holdings of this process; one that names its number but is not among them is from an earlier life of that number. */
const own = new Set<string>();

async function ownFile(path: string, handle: FileHandle): Promise<Held> {
  const owner = newOwner(false);
  await writeOwner(path, handle, owner);
  own.add(owner.id);
  return heldFile(path, owner);
}

function heldFile(path: string, owner: Owner): Held {
  return {
    release: async () => {
      const text = await readFile(path, 'utf8').catch(() => '');
      if (ownerOf(text)?.id === owner.id) await unlink(path).catch(() => {});
      own.delete(owner.id);
    },
  };
}

/**
 * Takes a lock from who is gone. The right to do so is itself a lock, named after what was found, so that of several that found
 * the same one alone replaces it; and once it is replaced, what was found is there no more.
 */
async function takeOver(path: string): Promise<Held | undefined> {
  const stale = await staleFile(path);
  if (stale === 'gone') return tryLock(path, true);
  if (stale === undefined) return undefined;
  const claim = `${path}.${stale}`;
  const claimed = await tryLock(claim, true);
  if (!claimed) return undefined;
  try {
    if ((await staleFile(path)) !== stale) return undefined;
    const owner = newOwner(false);
    const fresh = `${claim}.${owner.id}`;
    const handle = await open(fresh, 'wx');
    await writeOwner(fresh, handle, owner).finally(() => handle.close());
    own.add(owner.id);
    await rename(fresh, path);
    return heldFile(path, owner);
  } finally {
    await claimed.release();
  }
}

/** A name for what lies there when its holder is gone, else undefined. */
async function staleFile(path: string): Promise<string | 'gone' | undefined> {
  try {
    const [text, { ino, mtimeMs }] = await Promise.all([readFile(path, 'utf8'), stat(path)]);
    if (await isHeld(ownerOf(text), mtimeMs)) return undefined;
    return createHash('sha256').update(`${ino} ${mtimeMs} ${text}`).digest('hex').slice(0, 16);
  } catch (error) {
    if (isMissing(error)) return 'gone';
    throw error;
  }
}

async function isHeld(owner: Owner | undefined, touchedMs: number): Promise<boolean> {
  const touched = Date.now() - touchedMs <= STALE_MS;
  if (!owner || owner.host !== hostname()) return touched;
  if (owner.pid === process.pid) return own.has(owner.id);
  const state = await processState(owner.pid);
  if (state === 'gone') return false;
  if (state === 'unknown') return touched;
  return state.startedMs <= touchedMs + SLACK_MS; // younger than the lock: another process of the same number
}

function newOwner(flock: boolean): Owner {
  return { pid: process.pid, host: hostname(), id: randomUUID(), flock };
}

function textOf({ pid, host, id, flock }: Owner): string {
  return `${pid}\n${host}\n${id}\n${flock ? 'flock' : 'file'}\n`;
}

/** Undefined while it is being written. Earlier versions wrote two lines. */
function ownerOf(text: string): Owner | undefined {
  const [pid, host, id, kind] = text.split('\n');
  if (!/^[1-9]\d*$/.test(pid) || host === undefined) return undefined;
  return { pid: Number(pid), host, id: id ?? '', flock: kind === 'flock' };
}

type Flock = (fd: number) => number;
let systemLock: Flock | undefined | null = null;

/** Asks the system for the lock of an open file, without waiting. */
function flock(fd: number): 'held' | 'busy' | 'unknown' {
  if (systemLock === null) {
    systemLock = undefined;
    for (const place of ['build/Release', `prebuilds/${process.platform}-${process.arch}`]) {
      try {
        systemLock ??= (createRequire(import.meta.url)(packagePath(`native/${place}/openelm.node`)) as { lockFile?: Flock })
          .lockFile;
      } catch {
        // not there, or for another machine
      }
    }
  }
  const result = systemLock?.(fd);
  return result === 0 ? 'held' : result === 1 ? 'busy' : 'unknown';
}
