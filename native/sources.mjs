// What an addon and the WASM modules are made from, as hashes: a packed addon is taken only where it lies beside the sources that it
// was built from, and committed modules that are older than theirs fail a test.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

function filesIn(native, folders, pattern) {
  const names = folders.flatMap((folder) => readdirSync(join(native, folder)).map((name) => join(folder, name)));
  return names.filter((name) => pattern.test(name)).sort();
}

function hashOf(native, files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${file.replaceAll('\\', '/')}\0`).update(readFileSync(join(native, file)));
  return hash.digest('hex');
}

/** SHA-256 of the C++ sources and the build file in `native`, in hexadecimal. */
export function sourcesHash(native) {
  return hashOf(native, filesIn(native, ['', 'kernels'], /\.(cc|h|gyp)$/));
}

/** The C++ files in `native` that WASM modules are made from, by path. */
export function wasmSources(native) {
  const addon = /^(node|cpu|encode|memory|system)\.cc$|^(node_values|cpu|encode)\.h$|kernels.*neon\.h$/;
  return filesIn(native, ['', 'kernels', 'wasm', join('wasm', 'include')], /\.(cc|h)$/).filter((name) => !addon.test(name));
}

/** SHA-256 of those and of how they are built, in hexadecimal. */
export function wasmHash(native) {
  return hashOf(native, [...wasmSources(native), join('wasm', 'build.mjs')]);
}
