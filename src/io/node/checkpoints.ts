// A run's checkpoints on this machine: directories `step-00001234` that appear whole or not at all. Which files are in one and
// what they mean is not known here, but that training.json lists the others with their lengths.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { ByteSink } from '../bytes.js';
import { fileError, isMissing, readJson, syncDirectory, writeAtomic } from './files.js';

const NAME = /^step-(\d{8,})$/;
const LEFTOVER = /^\.step-\d{8,}\.[\w-]+\.tmp$/;
const RECORD = 'training.json';

export interface CheckpointPlace {
  readonly step: number;
  readonly path: string;
}

/** The directory's name of a step's checkpoint. */
export function checkpointName(step: number): string {
  return `step-${String(step).padStart(8, '0')}`;
}

/**
 * Makes a directory with files that is there whole or not at all: `write` fills files of a temporary directory beside it, each
 * synced, which then takes the name (and the place of what had it). When it throws, the temporary is removed.
 * Throws `InputError` when the place cannot be written or the disk is full.
 */
export async function writeDirectory(
  path: string,
  write: (file: (name: string, fill: (sink: ByteSink) => Promise<void>) => Promise<void>) => Promise<unknown>,
): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    await mkdir(temporary, { recursive: true });
    await write((name, fill) => writeAtomic(join(temporary, name), fill));
    await syncDirectory(temporary);
    await removeDirectory(path);
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    throw fileError(error, path, 'write');
  }
}

/** The whole checkpoints in a run's directory, the oldest first; none when there is no such directory. */
export async function listCheckpoints(directory: string): Promise<CheckpointPlace[]> {
  const found: CheckpointPlace[] = [];
  for (const name of await names(directory)) {
    const step = NAME.exec(name)?.[1];
    const path = join(directory, name);
    if (step !== undefined && (await isWhole(path))) found.push({ step: Number(step), path });
  }
  return found.sort((a, b) => a.step - b.step);
}

/** Removes all but the last `keep` checkpoints. */
export async function keepLast(directory: string, keep: number): Promise<void> {
  const all = await listCheckpoints(directory);
  for (const { path } of all.slice(0, Math.max(0, all.length - keep))) await removeDirectory(path);
}

/** Removes what runs that were killed left half written. */
export async function removeLeftovers(directory: string): Promise<void> {
  for (const name of await names(directory)) {
    if (LEFTOVER.test(name)) await rm(join(directory, name), { recursive: true, force: true });
  }
}

async function names(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw fileError(error, directory, 'read');
  }
}

async function isWhole(path: string): Promise<boolean> {
  try {
    const record = (await readJson(join(path, RECORD))) as { files?: Record<string, number> } | null;
    const files = Object.entries(record?.files ?? {});
    for (const [name, bytes] of files) if ((await stat(join(path, basename(name)))).size !== bytes) return false;
    return files.length > 0;
  } catch {
    return false; // not there, or cut: whatever it is, nothing can go on from it
  }
}

/** Renamed first, so that one half removed is not taken for a whole one. */
async function removeDirectory(path: string): Promise<void> {
  const aside = temporaryBeside(path);
  try {
    await rename(path, aside);
  } catch (error) {
    if (isMissing(error)) return;
    throw fileError(error, path, 'write');
  }
  await rm(aside, { recursive: true, force: true });
}

function temporaryBeside(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
}
