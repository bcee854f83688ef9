// recipes/cluster/local.sh, as it is.

import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { launchers } from './launch.js';

describe.skipIf(launchers().length === 0)('recipes/cluster', () => {
  it('trains on two ranks of this machine', () => {
    const openelm = `node --import ${import.meta.resolve('tsx')} src/app/cli.ts`;
    const { status, stdout, stderr } = spawnSync('recipes/cluster/local.sh', {
      encoding: 'utf8',
      env: { ...process.env, OPENELM: openelm },
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/on each of 2 ranks/);
    expect(stdout).toMatch(/^done: /m);
  });
});
