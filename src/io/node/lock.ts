// A lock between processes, as a file that only one of them can create. Node has no flock; so the file says who holds it and
// is touched while held, and a lock whose process is gone, or that nobody touched for long, is taken over.

import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, stat, unlink, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileError, isMissing } from './files.js';

const TOUCH_MS = 10_000;
const STALE_MS = 120_000;
const POLL_MS = 250;

/** Runs `task` while holding the lock file at `path`; waits (telling `onWait` once) while another holds it. The folder is made if missing. */
export async function withLock<T>(
  path: string,
  options: { signal?: AbortSignal; onWait?: () => void },
  task: () => Promise<T>,
): Promise<T> {
  const { signal, onWait } = options;
  try {
    await mkdir(dirname(path), { recursive: true });
    for (let waited = false; !(await tryLock(path)); waited = true) {
      if (!waited) onWait?.();
      await delay(POLL_MS);
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
    await unlink(path).catch(() => {});
  }
}

async function tryLock(path: string): Promise<boolean> {
  try {
    const handle = await open(path, 'wx');
    await handle.writeFile(`${process.pid}\n${hostname()}\n`).finally(() => handle.close());
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  if (await isStale(path)) {
    // Moved aside before it is removed: of several that saw the same stale lock, one moves it; the others find it gone or a fresh one.
    const aside = `${path}.${process.pid}-${randomBytes(4).toString('hex')}`;
    try {
      await rename(path, aside);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    await unlink(aside).catch(() => {});
    return tryLock(path);
  }
  return false;
}

async function isStale(path: string): Promise<boolean> {
  try {
    const [pid, host] = (await readFile(path, 'utf8')).split('\n');
    if (host === hostname() && /^\d+$/.test(pid) && !isAlive(Number(pid))) return true;
    return Date.now() - (await stat(path)).mtimeMs > STALE_MS;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
