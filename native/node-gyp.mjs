// Runs the node-gyp that npm brings in a folder with a binding.gyp: Node's headers are taken from beside `node`, and only where there
// are none does node-gyp fetch them. Whether a failure matters is the caller's to say.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';

/** Runs node-gyp's commands: `configure` and `build`, which builds what has changed. Returns what `spawnSync` does, the output as text. */
export function nodeGyp(folder, args, options = {}) {
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
  const words = ['--jobs', String(availableParallelism()), ...headers, ...args];
  const script = [
    process.env.npm_config_node_gyp,
    join(prefix, 'lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js'),
  ].find((path) => path && existsSync(path));
  const how = { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 28, ...options };
  if (script) return spawnSync(process.execPath, [script, ...words], how);
  return spawnSync('node-gyp', words, { ...how, shell: process.platform === 'win32' });
}
