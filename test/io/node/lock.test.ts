// Locks between processes: several that meet what a dead one left, restarts under the same number, zombies; once with the
// system's locks (where the addon is built) and once by the file alone.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadNative } from '../../../src/backends/native.js';
import { withLock } from '../../../src/io/node/lock.js';
import { processState } from '../../../src/io/node/processes.js';

const busy = new Error('busy');
const onWait = (): never => {
  throw busy;
};

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'openelm-lock-'));
  path = join(folder, '.lock');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const linux = process.platform === 'linux';

for (const byFile of 'addon' in loadNative() ? [false, true] : [true]) {
  const get = (task = async (): Promise<void> => {}): Promise<void> => withLock(path, { byFile, onWait }, task);

  describe(byFile ? 'a lock by its file alone' : 'a lock that the system holds', () => {
    it('is refused to a second, free after the first, and leaves nothing', async () => {
      await get(async () => {
        await expect(get()).rejects.toBe(busy);
      });
      await get();
      expect(readdirSync(folder)).toEqual([]);
    });

    it('goes to one of several that meet one left behind', async () => {
      for (let round = 0; round < 20; round++) {
        writeFileSync(path, `999999999\n${hostname()}\n`);
        let inside = 0;
        let most = 0;
        let entered = 0;
        const enter = async (): Promise<void> => {
          most = Math.max(most, ++inside);
          entered++;
          await delay(5);
          inside--;
        };
        await Promise.all(Array.from({ length: 4 }, () => withLock(path, { byFile, onWait }, enter).catch(() => {})));
        expect([most, entered > 0]).toEqual([1, true]);
        await get(); // who was refused did not leave it locked
        expect(readdirSync(folder)).toEqual([]);
      }
    });

    it('is free when its number is our own, from an earlier life', async () => {
      writeFileSync(path, `${process.pid}\n${hostname()}\n`);
      await get();
    });

    it.runIf(linux)('is free when a younger process has its number', async () => {
      const child = spawn('sleep', ['60']);
      try {
        writeFileSync(path, `${child.pid}\n${hostname()}\n`);
        utimesSync(path, new Date(Date.now() - 60_000), new Date(Date.now() - 60_000));
        await get();
      } finally {
        child.kill();
      }
    });

    it.runIf(linux)('is free when its process is a zombie', async () => {
      // The shell starts a child and becomes a program that never asks how it ended.
      const parent = spawn('sh', ['-c', 'sleep 0.01 & echo $!; exec sleep 60']);
      try {
        const [said] = (await new Promise<Buffer>((resolve) => parent.stdout.once('data', resolve))).toString().split('\n');
        for (let i = 0; (await processState(Number(said))) !== 'gone' && i < 100; i++) await delay(20);
        expect(readFileSync(`/proc/${said}/stat`, 'utf8')).toMatch(/\) Z /);
        writeFileSync(path, `${said}\n${hostname()}\n`);
        await get();
      } finally {
        parent.kill();
      }
    });

    it('says so when it cannot be made', async () => {
      symlinkSync(join(folder, 'nowhere', 'x'), path);
      await expect(get()).rejects.toMatchObject({ name: 'InputError' });
    });

    it('stops waiting when its signal aborts', async () => {
      await get(async () => {
        const waiting = withLock(path, { byFile, signal: AbortSignal.timeout(20) }, async () => {});
        await expect(waiting).rejects.toMatchObject({ name: 'TimeoutError' });
      });
    });
  });
}

describe('a lock of who has no system locks', () => {
  it('counts for who has them, as long as its process lives', async () => {
    await withLock(path, { byFile: true }, async () => {
      await expect(withLock(path, { onWait }, async () => {})).rejects.toBe(busy);
      expect(existsSync(path)).toBe(true);
    });
  });

  it('of another machine is taken over after two minutes without a sign', async () => {
    writeFileSync(path, '1\nelsewhere\n');
    await expect(withLock(path, { byFile: true, onWait }, async () => {})).rejects.toBe(busy);
    utimesSync(path, new Date(Date.now() - 150_000), new Date(Date.now() - 150_000));
    await withLock(path, { byFile: true, onWait }, async () => {});
  });
});
