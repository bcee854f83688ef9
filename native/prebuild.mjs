// Makes addons for machines without a compiler: `npm run prebuild [-- TARGET...]` builds native/prebuilds/TARGET/openelm.node for
// linux-x64, linux-arm64 and win32-x64 with Debian's cross compilers, as far as they are installed, and says what it left out and
// why. node-gyp compiles, as everywhere; only the linker is this file itself (LINK). On macOS it builds for the machine it runs on.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeGyp } from './node-gyp.mjs';
import { sourcesHash } from './sources.mjs';

const native = dirname(fileURLToPath(import.meta.url));
const newestGlibc = '2.28';
const threads = 'create detach join once attr_setstacksize key_create key_delete getspecific setspecific'.split(' ');
const wrapped = [...threads.map((name) => `pthread_${name}`), 'exp', 'log', 'pow'];

const here = `${process.platform}-${process.arch}`;
const targets = {
  ...(process.platform === 'darwin' ? { [here]: { arch: process.arch } } : {}),
  'linux-x64': { arch: 'x64', prefix: 'x86_64-linux-gnu-', packages: 'g++' },
  'linux-arm64': { arch: 'arm64', prefix: 'aarch64-linux-gnu-', packages: 'g++-aarch64-linux-gnu' },
  'win32-x64': {
    arch: 'x64',
    os: 'win',
    prefix: 'x86_64-w64-mingw32-',
    suffix: '-posix',
    packages: 'g++-mingw-w64-x86-64-posix',
  },
};
const tool = ({ prefix, suffix = '' }, name) => prefix + name + (name === 'g++' ? suffix : '');

if (process.argv[2] === '--link') link(process.argv[3], process.argv.slice(4));
else main(process.argv.slice(2));

function main(asked) {
  const unknown = asked.find((name) => !(name in targets));
  if (unknown) fail(`${unknown} is no target; there are ${Object.keys(targets).join(', ')}`);
  for (const name of asked.length > 0 ? asked : Object.keys(targets)) {
    const compiler = targets[name].prefix ? tool(targets[name], 'g++') : 'c++';
    if (spawnSync(compiler, ['--version']).status !== 0) {
      const reason = `${compiler} is not installed${targets[name].packages ? ` (Debian's ${targets[name].packages})` : ''}`;
      if (asked.length > 0) fail(`${name}: ${reason}`);
      console.log(`${name}: skipped, ${reason}`);
      continue;
    }
    build(name);
  }
}

function build(name) {
  const target = targets[name];
  // A copy, so that the addon of this machine stays.
  const place = mkdtempSync(join(tmpdir(), 'openelm-prebuild-'));
  try {
    cpSync(native, place, { recursive: true, filter: (path) => !/(^|[\\/])(build|prebuilds)$/.test(path) });
    if (target.os === 'win') {
      // node-gyp's hook, which finds a node.exe of another name, is written for Microsoft's compiler.
      const file = join(place, 'binding.gyp');
      writeFileSync(
        file,
        readFileSync(file, 'utf8').replaceAll("'target_name'", "'win_delay_load_hook': 'false', 'target_name'"),
      );
    }
    const crossing = target.prefix && {
      // Windows aligns the stack to 16 bytes and GCC believes in more: aligned moves of AVX would fault.
      ...(target.os === 'win' ? { CXXFLAGS: '-Wa,-muse-unaligned-vector-move' } : {}),
      CC: tool(target, 'gcc'),
      CXX: tool(target, 'g++'),
      AR: tool(target, 'ar'),
      LINK: `${process.execPath} ${join(native, 'prebuild.mjs')} --link ${name}`,
    };
    const env = { ...process.env, ...crossing };
    // What follows `--` is gyp's, and make's where it builds.
    const steps = [['configure', `--arch=${target.arch}`, ...(target.os ? ['--', `-DOS=${target.os}`] : [])], ['build']];
    for (const step of steps) {
      const { status, stdout, stderr } = nodeGyp(place, step, { env });
      if (status !== 0) fail(`${name}: ${`${stdout ?? ''}\n${stderr ?? ''}`.trim().split('\n').slice(-12).join('\n')}`);
    }
    const file = join(place, 'build/Release/openelm.node');
    if (name.startsWith('linux')) checkVersions(name, file);
    const to = join(native, 'prebuilds', name, 'openelm.node');
    mkdirSync(dirname(to), { recursive: true });
    cpSync(file, to);
    writeFileSync(join(dirname(to), 'sources.txt'), `${sourcesHash(native)}\n`);
    console.log(`${name}: ${to}`);
  } finally {
    rmSync(place, { recursive: true });
  }
}

/** The linker's part: its arguments are those of a link on this machine; objects, archives and the output's name are taken from them. */
function link(name, args) {
  const target = targets[name];
  const output = args[args.indexOf('-o') + 1];
  const inputs = args.filter((word) => /\.(o|a)$/.test(word));
  const run = (command, words) => {
    const { status } = spawnSync(command, words, { stdio: 'inherit' });
    if (status !== 0) process.exit(status ?? 1);
  };
  const compiler = tool(target, 'g++');
  const grouped = ['-Wl,--start-group', ...inputs, '-Wl,--end-group'];
  if (name.startsWith('win32')) {
    // What the addon takes from node.exe, as an import library.
    const definition = `${output}.def`;
    const { stdout } = spawnSync(tool(target, 'nm'), ['-u', ...inputs], { encoding: 'utf8', maxBuffer: 1 << 28 });
    const names = [...new Set(stdout.match(/napi_\w+/g))].sort();
    writeFileSync(definition, `LIBRARY node.exe\nEXPORTS\n${names.map((symbol) => `  ${symbol}\n`).join('')}`);
    run(tool(target, 'dlltool'), ['-d', definition, '-l', `${output}.lib`]);
    run(compiler, ['-shared', '-static', '-s', '-o', output, ...grouped, `${output}.lib`]);
    return;
  }
  const shim = `${output}.shim.obj`;
  run(compiler, ['-c', '-O2', '-fPIC', '-fvisibility=hidden', join(native, 'prebuild/linux.cc'), '-o', shim]);
  run(compiler, [
    ...['-shared', '-s', '-o', output, '-nodefaultlibs', '-Wl,--gc-sections', '-Wl,--exclude-libs,ALL', '-Wl,-z,noexecstack'],
    ...wrapped.map((symbol) => `-Wl,--wrap=${symbol}`),
    ...[...grouped, shim, '-Wl,-Bstatic', '-lstdc++', '-lgcc', '-lgcc_eh', '-Wl,-Bdynamic', '-l:libm.so.6', '-l:libc.so.6'],
  ]);
}

/** No symbol of a C library newer than promised, and no other library than the C library's. */
function checkVersions(name, file) {
  const target = targets[name];
  const symbols = spawnSync(tool(target, 'objdump'), ['-T', file], { encoding: 'utf8' }).stdout;
  const isNewer = (version) => {
    const [a, b] = [version, newestGlibc].map((text) => text.split('.').map(Number));
    return a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]);
  };
  const newer = [...symbols.matchAll(/\(GLIBC_([\d.]+)\)\s+(\w+)/g)].filter(([, version]) => isNewer(version));
  if (newer.length > 0)
    fail(`${name}: newer than glibc ${newestGlibc}: ${newer.map(([, version, symbol]) => `${symbol}@${version}`).join(', ')}`);
  const needed = spawnSync(tool(target, 'objdump'), ['-p', file], { encoding: 'utf8' }).stdout.matchAll(/NEEDED\s+(\S+)/g);
  const others = [...needed].map(([, library]) => library).filter((library) => !/^lib[cm]\.so\.6$/.test(library));
  if (others.length > 0) fail(`${name}: needs ${others.join(', ')}`);
}

function fail(message) {
  console.error(`prebuild: ${message}`);
  process.exit(1);
}
