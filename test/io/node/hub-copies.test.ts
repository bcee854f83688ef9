// Where the system makes no symbolic links (Windows without developer mode), a snapshot holds copies.

import { lstatSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { downloadModel } from '../../../src/io/node/hub.js';
import { FakeHub } from './hub-server.js';

vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  symlink: () => Promise.reject(Object.assign(new Error('EPERM'), { code: 'EPERM', syscall: 'symlink' })),
}));

test('a snapshot without links is whole and is used again', async () => {
  const cacheDir = mkdtempSync(join(tmpdir(), 'openelm-copies-'));
  const hub = await new FakeHub(
    'a/b',
    new Map([
      ['config.json', Buffer.from('{}')],
      ['model.safetensors', Buffer.from('weights')],
    ]),
  ).start();
  try {
    const options = { cacheDir, endpoint: hub.endpoint, token: 'none' };
    const path = await downloadModel('a/b', options);
    expect(lstatSync(join(path, 'model.safetensors')).isSymbolicLink()).toBe(false);
    expect(readFileSync(join(path, 'model.safetensors'), 'utf8')).toBe('weights');
    hub.take();
    await downloadModel('a/b', options);
    expect(hub.take()).toEqual(['hub GET /api/models/a/b/revision/main']);
  } finally {
    await hub.stop();
    rmSync(cacheDir, { recursive: true });
  }
});
