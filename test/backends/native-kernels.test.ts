// The kernels by themselves, of each instruction set that this machine has, against plain loops in double precision: the quick
// part of native/test/check.cc, which sees what the door would never pass on (guards around every operand, odd views).

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadNative } from '../../src/backends/native.js';
import { temporaryFolder } from '../temporary.js';

const directory = fileURLToPath(new URL('../../native', import.meta.url));
const built = join(directory, 'build/Release');
const libraries = existsSync(built) ? readdirSync(built).filter((name) => /kernels_.*\.a$/.test(name)) : [];
const loaded = loadNative();
const isas = 'addon' in loaded && libraries.length > 0 ? loaded.addon.isas : [];

const temporary = temporaryFolder();
const program = join(temporary, 'check');

describe.skipIf(isas.length === 0)('native kernels', () => {
  beforeAll(() => {
    const archives = libraries.map((name) => join(built, name));
    const sources = [join(directory, 'test/check.cc'), join(directory, 'cpu.cc')];
    const args = ['-std=c++17', '-O1', `-I${directory}`, ...sources, ...archives, ...archives, '-o', program]; // twice: they take from one another;
    const { status, stderr, error } = spawnSync(process.env.CXX ?? 'c++', args, { encoding: 'utf8' });
    expect({ status, stderr, error }).toEqual({ status: 0, stderr: '', error: undefined });
  });

  it.each(isas)('%s computes what plain loops do', (isa) => {
    const { status, stdout } = spawnSync(program, ['--quick', isa], { encoding: 'utf8' });
    expect(stdout).not.toMatch(/WRONG/);
    expect(stdout.match(/ ok,/g)?.length).toBe(8);
    expect(status).toBe(0);
  });
});
