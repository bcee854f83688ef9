// Builds the native addon with the node-gyp that npm brings. No compiler or no Python is not an error: the reference
// backend runs without it, and `openelm info` says so. Not a downloader: Node's headers are taken from beside `node`, and only
// where there are none does node-gyp fetch them. OPENELM_INSTALL_VERBOSE=1 prints everything.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = dirname(fileURLToPath(import.meta.url));
const prefix = dirname(dirname(process.execPath));
const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
// What an earlier build left is used again: make builds what has changed.
const args = ['configure', 'build', '--jobs', String(availableParallelism()), ...headers];
const script = [process.env.npm_config_node_gyp, join(prefix, 'lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js')].find(
  (path) => path && existsSync(path),
);
const options = { cwd: native, encoding: 'utf8', maxBuffer: 1 << 28 };
const built = script
  ? spawnSync(process.execPath, [script, ...args], options)
  : spawnSync('node-gyp', args, { ...options, shell: process.platform === 'win32' });
const said = `${built.stdout ?? ''}\n${built.stderr ?? ''}`;
if (process.env.OPENELM_INSTALL_VERBOSE) console.error(said);
if (built.status !== 0) {
  console.error(`openelm: the native backend was not built (${cause()}); the slower reference backend will be used.`);
}

function cause() {
  if (built.error) return built.error.code === 'ENOENT' ? 'node-gyp was not found' : built.error.message;
  if (/Could not find any Python/.test(said)) return 'Python 3 was not found';
  if (/not found: make|make.*ENOENT/i.test(said)) return 'make was not found';
  if (/(g\+\+|c\+\+|clang\+\+|cc)[^\n]*(not found|No such file or directory)/.test(said)) return 'no C++ compiler was found';
  const line = said.split('\n').find((text) => /\berror\b/i.test(text)) ?? said.split('\n').find((text) => text.includes('ERR!'));
  return line?.trim() ?? `exit code ${built.status}`;
}
