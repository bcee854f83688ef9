// Golden numbers and models that are too large for the repository: OPENELM_FIXTURES names the folder that has them. What needs them is
// skipped where it is not set, and visibly so.

import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Where `name` lies; a place where nothing is when it is not there. */
export function fixture(name: string): { readonly path: string; readonly isThere: boolean } {
  const folder = process.env.OPENELM_FIXTURES;
  const path = folder === undefined ? '' : join(folder, name);
  return { path, isThere: path !== '' && existsSync(path) };
}
