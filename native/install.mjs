// Builds the native addon with the node-gyp that npm brings. No compiler or no Python is not an error: the reference
// backend runs without it, and `openelm info` says so. Not a downloader: nothing is fetched but Node's headers.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = dirname(fileURLToPath(import.meta.url));
const prefix = dirname(dirname(process.execPath));
const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
const args = ['rebuild', `--jobs=${Math.max(1, cpus().length)}`, ...headers];
const built = spawnSync('node-gyp', args, { cwd: native, encoding: 'utf8', shell: process.platform === 'win32' });
if (built.status !== 0) {
  const said = `${built.stdout ?? ''}\n${built.stderr ?? ''}`;
  const cause = built.error?.message ?? said.split('\n').find((line) => /error|ERR!/i.test(line))?.trim() ?? `exit code ${built.status}`;
  console.error(`openelm: the native backend was not built (${cause}); the slower reference backend will be used.`);
  if (process.env.OPENELM_INSTALL_VERBOSE) console.error(said);
}
