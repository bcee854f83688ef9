// Builds native/wasm/openelm-simd.wasm and openelm-relaxed.wasm, which are committed: node native/wasm/build.mjs [--clang PATH].
// With a clang that has wasm32 and its C++ library (Debian: clang-19 lld-19 wasi-libc libc++-19-dev-wasm32) half a minute, a
// second or two when one kernel changed; without one @yowasp/clang, a clang in WebAssembly, is fetched from npm: minutes.
// Beside them goes the hash of what they were made from, which a test holds against the sources.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { wasmHash, wasmSources } from '../sources.mjs';

const native = join(dirname(fileURLToPath(import.meta.url)), '..');
const objects = join(native, 'build', 'wasm');
const yowasp = '@yowasp/clang@22.0.0-git20542-10';

const compile = [
  '-std=c++17 -O2 -Wall -Wextra -Wno-unused-parameter -fvisibility=hidden -ffp-contract=off -fno-math-errno',
  '-fno-rtti -fignore-exceptions -fno-threadsafe-statics -matomics -mbulk-memory -mmutable-globals -msimd128 -iquote . -I wasm/include',
].flatMap((line) => line.split(' '));
const link = [
  '-nostartfiles -Wl,--no-entry -Wl,--import-memory -Wl,--shared-memory -Wl,--no-check-features -Wl,--gc-sections',
  '-Wl,--strip-all -Wl,--initial-memory=4194304 -Wl,--max-memory=4294967296 -Wl,-z,stack-size=1048576 -Wl,--export=__stack_pointer',
  '-Wl,--export=__wasm_call_ctors',
].flatMap((line) => line.split(' '));
const relaxed = ['-mrelaxed-simd'];

const kernels = readdirSync(join(native, 'kernels'))
  .filter((name) => name.endsWith('.cc'))
  .map((name) => `kernels/${name}`);
const int8 = ['linear', 'linear_quant', 'peak', 'table'].map((name) => `kernels/${name}.cc`); // as in binding.gyp
const others = ['executor.cc', 'program.cc', 'runs.cc', 'pool.cc', 'roofline.cc'];
const door = readdirSync(join(native, 'wasm'))
  .filter((name) => name.endsWith('.cc'))
  .map((name) => `wasm/${name}`);
const modules = {
  simd: [...kernels.map((file) => [file, ['-DOPENELM_ISA=simd']]), ...[...others, ...door].map((file) => [file, []])],
  relaxed: [
    ...kernels.map((file) => [file, [...relaxed, '-DOPENELM_ISA=relaxed']]),
    ...int8.map((file) => [file, [...relaxed, '-DOPENELM_ISA=dot', '-DOPENELM_BASE=relaxed', '-DOPENELM_DOT']]),
    ...[...others, ...door].map((file) => [file, relaxed]),
  ],
};

const at = process.argv.indexOf('--clang');
const names = at > 0 ? [process.argv[at + 1]] : ['clang++', ...[22, 21, 20, 19, 18].map((n) => `clang++-${n}`)];
// Debian's library is where the older name of the target leads, wasi-sdk's and npm's where the newer one does.
const found = names.flatMap((name) => ['wasm32-wasi', 'wasm32-wasip1'].map((of) => [name, of])).find(canBuild);
const [clang, target] = found ?? [undefined, 'wasm32-wasip1'];
if (at > 0 && !clang) throw new Error(`${process.argv[at + 1]} cannot compile C++ for wasm32`);
const run = clang ? runClang : await fetchedClang();

/** Whether it compiles and has the C++ library. */
function canBuild([name, of]) {
  const args = [`--target=${of}`, '-std=c++17', '-fsyntax-only', '-x', 'c++', '-'];
  return spawnSync(name, args, { input: '#include <vector>\n#include <string>\n' }).status === 0;
}

const headers = createHash('sha256').update(JSON.stringify([clang ?? yowasp, target, compile]));
for (const file of wasmSources(native).filter((name) => name.endsWith('.h'))) headers.update(readFileSync(join(native, file)));
const base = headers.digest('hex');

/** An object's name is the hash of all that it depends on: one that is there is right. */
function objectOf(file, flags) {
  const key = createHash('sha256')
    .update(JSON.stringify([base, file, flags]))
    .update(readFileSync(join(native, file)));
  return join('build', 'wasm', `${basename(file, '.cc')}-${key.digest('hex').slice(0, 16)}.o`);
}

function runClang(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(clang, args, { cwd: native, stdio: ['ignore', 'inherit', 'inherit'] });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(`${clang} ended with ${code}: ${args.at(-1)}`))));
  });
}

/** The clang of npm, which sees a tree of files in memory instead of the disk: those that an output depends on are given to it. */
async function fetchedClang() {
  console.log(`no clang for wasm32 here: ${yowasp} does it, which takes minutes`);
  const prefix = join(native, 'build', 'yowasp');
  mkdirSync(prefix, { recursive: true });
  const npm = ['install', '--prefix', prefix, '--no-save', '--no-audit', '--no-fund', yowasp];
  const { status } = spawnSync('npm', npm, { stdio: ['ignore', 'ignore', 'inherit'], shell: process.platform === 'win32' });
  if (status !== 0) throw new Error(`${yowasp} could not be fetched`);
  const { runClang: inMemory } = await import(pathToFileURL(join(prefix, 'node_modules/@yowasp/clang/gen/bundle.js')).href);
  const print = (bytes) => bytes && process.stderr.write(bytes);
  const sources = wasmSources(native).map((file) => [file, readFileSync(join(native, file), 'utf8')]);
  return async (args) => {
    const out = args[args.indexOf('-o') + 1];
    const inputs = args.filter((name) => name.endsWith('.o') && name !== out);
    const files = [
      ...sources,
      ...inputs.map((file) => [file, readFileSync(join(native, file))]),
      [join(dirname(out), '.keep'), ''],
    ];
    const tree = {};
    for (const [file, data] of files) {
      const path = file.split(/[\\/]/);
      const name = path.pop();
      path.reduce((at, folder) => (at[folder] ??= {}), tree)[name] = data;
    }
    let made;
    try {
      made = await inMemory(['clang++', ...args], tree, { stdout: print, stderr: print, fetchProgress() {} });
    } catch (error) {
      throw new Error(`${yowasp} failed at ${args.at(-1)}: ${error.message}`); // the error itself has all files in it
    }
    const data = out.split(/[\\/]/).reduce((at, name) => at[name], made);
    writeFileSync(join(native, out), data);
  };
}

mkdirSync(objects, { recursive: true });
const wanted = new Map();
for (const [file, flags] of Object.values(modules).flat()) wanted.set(objectOf(file, flags), [file, flags]);
const missing = [...wanted].filter(([object]) => !existsSync(join(native, object)));
console.log(`${missing.length} of ${wanted.size} files to compile with ${clang ?? yowasp}`);
await Promise.all(
  Array.from({ length: clang ? availableParallelism() : 1 }, async () => {
    for (let next = missing.shift(); next; next = missing.shift()) {
      const [object, [file, flags]] = next;
      await run([`--target=${target}`, ...compile, ...flags, '-o', object, '-c', file]);
    }
  }),
);
for (const name of readdirSync(objects)) if (!wanted.has(join('build', 'wasm', name))) rmSync(join(objects, name));
for (const [name, files] of Object.entries(modules)) {
  const out = `wasm/openelm-${name}.wasm`;
  await run([`--target=${target}`, ...files.map(([file, flags]) => objectOf(file, flags)), ...link, '-o', out]);
  console.log(`native/${out}: ${statSync(join(native, out)).size} bytes`);
}
writeFileSync(join(native, 'wasm', 'sources.txt'), `${wasmHash(native)}\n`);
