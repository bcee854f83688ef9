// Makes the native backend ready: the addon that was packed for this platform is taken when it can be loaded, else node-gyp (npm
// brings it) builds one. No compiler or no Python is not an error: other backends run without it; the reason is kept beside where
// the addon would be, for `openelm info`. OPENELM_INSTALL_VERBOSE=1 prints everything, OPENELM_BUILD=1 builds in any case.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeGyp } from './node-gyp.mjs';
import { sourcesHash } from './sources.mjs';

const native = dirname(fileURLToPath(import.meta.url));
const packed = join(native, 'prebuilds', `${process.platform}-${process.arch}`);
const prebuilt = join(packed, 'openelm.node');
const reasonFile = join(native, 'build', 'not-built.txt');
rmSync(reasonFile, { force: true });

let refused = '';
if (process.env.OPENELM_BUILD || !isCurrent()) build();
else {
  // In a process of its own: what cannot be loaded may take the process with it.
  const { status, stderr } = spawnSync(process.execPath, ['-e', 'require(process.argv[1])', prebuilt], { encoding: 'utf8' });
  if (status !== 0) {
    refused = `the packed addon cannot be loaded here (${stderr.match(/Error: (.*)/)?.[1] ?? `exit code ${status}`}), and `;
    build();
  }
}

/** Whether an addon was packed for this platform, from these very sources. */
function isCurrent() {
  const hash = join(packed, 'sources.txt');
  return existsSync(prebuilt) && existsSync(hash) && readFileSync(hash, 'utf8').trim() === sourcesHash(native);
}

function build() {
  // A person at a terminal sees why the installation takes a while; npm shows it with --foreground-scripts.
  console.log('openelm: compiling the native backend, which takes a minute or two');
  const built = nodeGyp(native, ['configure', 'build']);
  const said = `${built.stdout ?? ''}\n${built.stderr ?? ''}`;
  if (process.env.OPENELM_INSTALL_VERBOSE) console.error(said);
  if (built.status === 0) return;
  const reason = `${refused}it was not built: ${cause(built, said)}`;
  console.error(`openelm: no native backend: ${reason}; the slower one in WebAssembly will be used`);
  mkdirSync(dirname(reasonFile), { recursive: true });
  writeFileSync(reasonFile, `${reason}\n`);
}

function cause(built, said) {
  if (built.error) return built.error.code === 'ENOENT' ? 'node-gyp was not found' : built.error.message;
  if (/Could not find any Python/.test(said)) return 'Python 3 was not found';
  if (/not found: make|make.*ENOENT/i.test(said)) return 'make was not found';
  if (/(g\+\+|c\+\+|clang\+\+|cc)[^\n]*(not found|No such file or directory)/.test(said)) return 'no C++ compiler was found';
  // What a compiler or linker says is wrong; what passes it on (collect2, make, node-gyp) says only that something was.
  const lines = said.split('\n').map((text) => text.trim());
  const line = lines.find(
    (text) => /\berror\b|undefined reference|cannot find|ld: /i.test(text) && !/^(collect2|make|gyp)\b/.test(text),
  );
  if (line) return line;
  if (lines.some((text) => /^make.*Error \d+/.test(text))) return 'the C++ compiler failed, and did not say why';
  return lines.find((text) => text.includes('ERR!')) ?? `exit code ${built.status}`;
}
