// What must be the same on all ranks before they train together: the program, the settings, the files that they read, and the
// directory that they write to. Each difference is one sentence that names the rank and the thing.

import { createHash, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InputError } from '../errors.js';
import { openFile, writeWhole } from '../io/node/files.js';
import type { Backend } from '../tensor/backend.js';
import { difference } from '../train/checkpoint.js';
import type { Ranks } from './ranks.js';
import { version } from './version.js';

/** Throws on all ranks when they run other programs or other settings; `free` settings may differ. */
export async function sameProgram(ranks: Ranks, settings: unknown, free: readonly string[]): Promise<void> {
  if (ranks.size === 1) return;
  const program = `${version()} (${programHash()})`;
  await ranks.same(
    program,
    (theirs, first) => `runs openelm ${theirs}, but rank 0 runs ${first}: install the same on all machines`,
  );
  const text = JSON.stringify(settings);
  const all = await ranks.collective.gatherTexts(text);
  const differs = all
    .map((theirs) => difference(JSON.parse(theirs), JSON.parse(all[0]), free))
    .findIndex((found) => found !== undefined);
  if (differs < 0) return;
  const what = difference(JSON.parse(all[differs]), JSON.parse(all[0]), free)!.replace('in the checkpoint', 'on rank 0');
  await ranks.agree(() => Promise.reject(new InputError(`${ranks.name(differs)} has other settings: ${what}`)));
}

/** Throws on all ranks when a file has another size, or begins or ends otherwise, than rank 0's. */
export async function sameFiles(ranks: Ranks, paths: readonly string[]): Promise<void> {
  if (ranks.size === 1) return;
  const lines = await ranks.agree(() => Promise.all(paths.map(async (path) => `${path}\t${await fingerprint(path)}`)));
  await ranks.same(lines.join('\n'), (theirs, first) => {
    const expected = first.split('\n');
    const line = theirs.split('\n').find((own, i) => own !== expected[i]) ?? '';
    return `has other data than rank 0: ${line.split('\t')[0]} differs; give all machines the same files`;
  });
}

/** Throws on all ranks when they compute with kernels whose last bits differ: models that are updated apart would drift apart. */
export async function sameBackend(ranks: Ranks, backend: Backend): Promise<void> {
  const kernels = `${backend.name}${'isa' in backend ? `, ${String(backend.isa)}` : ''}`;
  await ranks.same(kernels, (theirs, first) => {
    return `computes with ${theirs}, but rank 0 with ${first}, whose last bits differ: set OPENELM_ISA to what all machines have`;
  });
}

const lookedAt = 64 << 10;

async function fingerprint(path: string): Promise<string> {
  const source = await openFile(path);
  try {
    const hash = createHash('sha256').update(String(source.size));
    hash.update(await source.read(0, Math.min(lookedAt, source.size)));
    const last = Math.max(0, source.size - lookedAt);
    hash.update(await source.read(last, source.size - last));
    return hash.digest('hex').slice(0, 16);
  } finally {
    await source.close();
  }
}

/** Throws on all ranks when some do not see what rank 0 writes into a directory. */
export async function sameDirectory(ranks: Ranks, directory: string): Promise<void> {
  if (ranks.size === 1) return;
  const file = join(directory, '.ranks');
  const [word] = await ranks.collective.gatherTexts(randomUUID());
  await ranks.first(() => writeWhole(file, word));
  await ranks.agree(async () => {
    const seen = await readFile(file, 'utf8').catch(() => undefined);
    if (seen !== word)
      throw new InputError(`${directory} is not the directory that rank 0 writes to: choose an \`out\` that all machines share`);
  });
}

/** Of all files of this program. */
function programHash(): string {
  const hash = createHash('sha256');
  const root = fileURLToPath(new URL('..', import.meta.url));
  const add = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) add(path);
      else if (/\.[jt]s$/.test(entry.name)) hash.update(entry.name).update(readFileSync(path));
    }
  };
  add(root);
  return hash.digest('hex').slice(0, 12);
}
