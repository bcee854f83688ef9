// Few files may be open: what is said then. Node's loader says that it cannot find a package when it cannot open its package.json.

import { existsSync } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';

export const fewFiles = 'too many files are open: allow more (ulimit -n 256) and try again';

/** Whether an error comes of that. */
export function isFewFiles(error: unknown): boolean {
  const { code, message } = (error ?? {}) as NodeJS.ErrnoException;
  if (code === 'EMFILE' || code === 'ENFILE') return true;
  const [, path] =
    (code === 'ERR_MODULE_NOT_FOUND' && /^Cannot find (?:package|module) '(.+)' imported from /.exec(message ?? '')) || [];
  return path !== undefined && isAbsolute(path) && existsSync(dirname(path));
}
