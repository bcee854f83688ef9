// What installing does without a compiler: the packed addon is taken, or the reason why there is none is kept for `openelm info`.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { sourcesHash } from '../native/sources.mjs';

const native = fileURLToPath(new URL('../native/', import.meta.url));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'openelm-install-'));
  mkdirSync(join(folder, 'kernels'));
  for (const name of ['install.mjs', 'node-gyp.mjs', 'sources.mjs', 'binding.gyp'])
    cpSync(join(native, name), join(folder, name));
});
afterEach(() => rmSync(folder, { recursive: true }));

function install(): { status: number | null; stdout: string; stderr: string } {
  // No Python, make or compiler; npm's node-gyp is found beside node.
  const env = { PATH: folder, HOME: folder };
  return spawnSync(process.execPath, [join(folder, 'install.mjs')], { encoding: 'utf8', env });
}
const reasonFile = (): string => join(folder, 'build', 'not-built.txt');

it('keeps the reason when nothing can be built', () => {
  const { status, stderr } = install();
  expect(status).toBe(0);
  expect(stderr).toMatch(
    /^openelm: no native backend: it was not built: (Python 3|node-gyp) was not found; the slower one in WebAssembly.*\n$/,
  );
  expect(readFileSync(reasonFile(), 'utf8')).toMatch(/was not found\n$/);
});

it('takes the packed addon without compiling, and says what is wrong with one that cannot be loaded', () => {
  const place = join(folder, 'prebuilds', `${process.platform}-${process.arch}`);
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'openelm.node'), 'no addon');
  expect(install().stderr).toMatch(/^openelm: no native backend: it was not built/); // packed for other sources
  writeFileSync(join(place, 'sources.txt'), sourcesHash(folder));
  expect(install().stderr).toMatch(/the packed addon cannot be loaded here \(.+\), and it was not built/);
  expect(existsSync(reasonFile())).toBe(true);
  const built = join(native, 'build/Release/openelm.node');
  if (!existsSync(built)) return;
  cpSync(built, join(place, 'openelm.node'));
  expect(install()).toMatchObject({ status: 0, stdout: '', stderr: '' });
  expect(existsSync(reasonFile())).toBe(false);
});
