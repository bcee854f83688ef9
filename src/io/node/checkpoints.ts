// A run's checkpoints on this machine: directories `step-00001234` that appear whole or not at all. Which files are in one and
// what they mean is not known here, but that training.json lists the others with their lengths.

import { rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { counted, InputError } from '../../errors.js';
import { alone, type Collective } from '../../train/collective.js';
import type { ByteSink } from '../bytes.js';
import { isObject } from '../json.js';
import {
  entriesOf,
  fileError,
  isMissing,
  makeDirectory,
  readJson,
  syncDirectory,
  temporaryBeside,
  writeAtomic,
} from './files.js';
import { withLock } from './lock.js';
import { kindOf } from './paths.js';

const NAME = /^step-(\d{8,})$/;
/** What `temporaryBeside` calls what is not whole yet. */
const LEFTOVER = /^\.(.+)\.\d+-[0-9a-f]+\.tmp$/;
const RECORD = 'training.json';

/** A checkpoint of a run: the step after which it was written, and its directory. */
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
 * synced, which then takes the name (and the place of what had it). When it throws or `signal` aborts, the temporary is removed. Several
 * processes may write together, on a file system that they share.
 * Throws `InputError` when the place cannot be written or the disk is full.
 */
export async function writeDirectory(
  path: string,
  write: (file: (name: string, fill: (sink: ByteSink) => Promise<void>) => Promise<void>) => Promise<unknown>,
  { collective = alone, signal }: { readonly collective?: Collective; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const first = collective.rank === 0;
  const own = temporaryBeside(path);
  try {
    if (first) await makeDirectory(own);
    const [temporary] = await collective.gatherTexts(own);
    await write(async (name, fill) => {
      if (dirname(name) !== '.') await makeDirectory(join(temporary, dirname(name)));
      await writeAtomic(join(temporary, name), fill, { signal });
    });
    signal?.throwIfAborted();
    await collective.barrier();
    if (first) {
      await syncDirectory(temporary);
      const old = await setAside(path);
      await rename(temporary, path).catch(async (error: unknown) => {
        if (old !== undefined) await rename(old, path);
        throw error;
      });
      await syncDirectory(dirname(path));
      if (old !== undefined) await rm(old, { recursive: true, force: true });
    }
    await collective.barrier();
  } catch (error) {
    if (first) await rm(own, { recursive: true, force: true }).catch(() => {});
    throw named(fileError(error, path, 'write'), own, path);
  }
}

/** An error as whoever asked for `path` knows it, who never heard of what stands in for it meanwhile. */
export function named(error: unknown, standIn: string, path: string): unknown {
  if (!(error instanceof InputError) || !error.message.includes(standIn)) return error;
  return new InputError(error.message.replaceAll(standIn, path));
}

/**
 * The checkpoints in a run's directory, the oldest first; none when there is no such directory. Throws `InputError` when one is
 * damaged or cannot be read: going on without it would be a guess, which is for the user to make.
 */
export async function listCheckpoints(directory: string): Promise<CheckpointPlace[]> {
  const all = await inspectCheckpoints(directory);
  for (const { problem } of [...all].reverse()) if (problem) throw problem;
  return all;
}

/**
 * The newest checkpoint, to be read: older ones may be damaged. Undefined when there is none. Throws `InputError` when it is damaged or
 * cannot be read.
 */
export async function newestCheckpoint(directory: string): Promise<CheckpointPlace | undefined> {
  const newest = (await inspectCheckpoints(directory)).at(-1);
  if (newest?.problem) throw newest.problem;
  return newest;
}

/** Removes all but the last `keep` checkpoints; what is damaged neither counts nor is touched. */
export async function keepLast(directory: string, keep: number): Promise<void> {
  const whole = (await inspectCheckpoints(directory)).filter(({ problem }) => !problem);
  for (const { path } of whole.slice(0, Math.max(0, whole.length - keep))) await removeDirectory(path);
}

/** Removes what runs that were killed left half written in a directory (of the one file or directory `only`, if given). */
export async function removeLeftovers(directory: string, only?: string): Promise<void> {
  for (const name of await entriesOf(directory)) {
    const target = LEFTOVER.exec(name)?.[1];
    if (target === undefined || (only !== undefined && target !== only)) continue;
    await rm(join(directory, name), { recursive: true, force: true });
  }
}

/**
 * Runs `task`, which makes `path`, while no other process does, after removing what killed ones left half made. Throws
 * `InputError` when another is at it.
 */
export async function makingAlone<T>(path: string, task: () => Promise<T>): Promise<T> {
  const whole = resolve(path);
  const [directory, name] = [dirname(whole), basename(whole)];
  await makeDirectory(directory);
  const onWait = (): never => {
    throw new InputError(`${path}: another process is making it; choose another place, or wait for it`);
  };
  const lock = join(directory, `.${name}.lock`);
  const made = withLock(lock, { onWait }, async () => {
    await removeLeftovers(directory, name);
    return task();
  });
  return made.catch((error: unknown) => {
    throw named(error, lock, path);
  });
}

/** `writeDirectory`, alone and where nothing is yet: another process may have made it since `requireNew` looked. */
export function writeNewDirectory(
  path: string,
  write: Parameters<typeof writeDirectory>[1],
  signal?: AbortSignal,
): Promise<void> {
  return makingAlone(path, async () => {
    await requireNew(path);
    await writeDirectory(path, write, { signal });
  });
}

/** Throws `InputError` when something is there. */
export async function requireNew(path: string): Promise<void> {
  if (await kindOf(path))
    throw new InputError((option) => `${path}: something is there already; choose another ${option('out')}`);
}

type Inspected = CheckpointPlace & { readonly problem?: unknown };

async function inspectCheckpoints(directory: string): Promise<Inspected[]> {
  const found: Inspected[] = [];
  for (const name of await entriesOf(directory)) {
    const step = NAME.exec(name)?.[1];
    const path = join(directory, name);
    if (step !== undefined) found.push({ step: Number(step), path, problem: await problemIn(path) });
  }
  return found.sort((a, b) => a.step - b.step);
}

/** Why nothing can go on from a checkpoint; undefined when it is whole. */
async function problemIn(path: string): Promise<unknown> {
  const damaged = (why: string): InputError =>
    new InputError(`${path}: this checkpoint is damaged (${why}): restore it, or remove it to do without it`);
  let record: unknown;
  try {
    await stat(join(path, RECORD));
    record = await readJson(join(path, RECORD));
  } catch (error) {
    if (isMissing(error)) return damaged(`it has no ${RECORD}`);
    return error instanceof InputError ? damaged(error.message) : fileError(error, join(path, RECORD), 'read');
  }
  const files = isObject(record) && isObject(record.files) ? Object.entries(record.files) : [];
  if (files.length === 0) return damaged(`${RECORD} names no files`);
  for (const [name, bytes] of files) {
    const file = join(path, basename(name));
    try {
      const { size } = await stat(file);
      if (size !== bytes) return damaged(`${basename(name)} has ${counted(size, 'byte')} instead of ${bytes}`);
    } catch (error) {
      return isMissing(error) ? damaged(`${basename(name)} is missing`) : fileError(error, file, 'read');
    }
  }
  return undefined;
}

/** Renamed first, so that one half removed is not taken for a whole one. */
async function removeDirectory(path: string): Promise<void> {
  const aside = await setAside(path);
  if (aside !== undefined) await rm(aside, { recursive: true, force: true });
}

/** Where it lies then; undefined when nothing is there. */
async function setAside(path: string): Promise<string | undefined> {
  const aside = temporaryBeside(path);
  try {
    await rename(path, aside);
    return aside;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw fileError(error, path, 'write');
  }
}
