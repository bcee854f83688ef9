// What an addon is made from, as one hash: a packed addon is taken only where it lies beside the sources that it was built from.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** SHA-256 of the C++ sources and the build file in `native`, in hexadecimal. */
export function sourcesHash(native) {
  const hash = createHash('sha256');
  const files = ['', 'kernels'].flatMap((folder) => readdirSync(join(native, folder)).map((name) => join(folder, name)));
  for (const file of files.filter((name) => /\.(cc|h|gyp)$/.test(name)).sort()) {
    hash.update(`${file.replaceAll('\\', '/')}\0`).update(readFileSync(join(native, file)));
  }
  return hash.digest('hex');
}
