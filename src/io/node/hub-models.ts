// The models that the Hugging Face cache holds, for people who look after their disk: a list with sizes, and removal. The cache is
// shared with Python's huggingface_hub, so it may hold models of any kind; which of them are OpenELM's is said. No network.

import { randomBytes } from 'node:crypto';
import { lstat, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError, nearest } from '../../errors.js';
import { isRepoId } from '../hub-listing.js';
import { entriesOf, fileError, isMissing, readJson, statIfThere } from './files.js';
import { type HubSettings, hubSettings, RepoCache } from './hub-cache.js';

/** One repository of models in the cache. */
export interface CachedModel {
  readonly id: string;
  readonly directory: string;
  /** Bytes on disk: whole files, and parts of what was not downloaded to its end. */
  readonly bytes: number;
  /** The commit that `main` stood for when it was last downloaded; undefined when only other revisions are here. */
  readonly commit?: string;
  /** The first file that `main` lacks before it can be loaded. */
  readonly missing?: string;
  /** Why its config cannot be read. */
  readonly problem?: string;
  /** Whether its config is an OpenELM's; undefined when there is no config to ask, or none that can be read. */
  readonly isOpenElm?: boolean;
}

const FOLDER = /^models--(.+)$/;

/** The cached models, by name. Throws `InputError` when the cache cannot be read; an absent cache holds none. */
export async function cachedModels(options: Partial<HubSettings> = {}): Promise<{ cacheDir: string; models: CachedModel[] }> {
  const { cacheDir } = await hubSettings(options);
  const models: CachedModel[] = [];
  for (const name of (await entriesOf(cacheDir)).sort()) {
    const id = FOLDER.exec(name)?.[1].replaceAll('--', '/');
    if (id !== undefined && isRepoId(id)) models.push(await describeModel(cacheDir, id, join(cacheDir, name)));
  }
  return { cacheDir, models };
}

async function describeModel(cacheDir: string, id: string, directory: string): Promise<CachedModel> {
  const cache = new RepoCache(cacheDir, id);
  const bytes = await bytesIn(directory);
  const commit = await cache.commitOf('main');
  if (commit === undefined) return { id, directory, bytes };
  const missing = await cache.firstMissing(commit);
  const known = { id, directory, bytes, commit, missing };
  // A model in one file may have its config in there.
  if (!(await statIfThere(cache.snapshot(commit, 'config.json')))) return known;
  try {
    const config = await readJson(cache.snapshot(commit, 'config.json'));
    return { ...known, isOpenElm: (config as { model_type?: unknown } | null)?.model_type === 'openelm' };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { ...known, problem: error.message };
  }
}

/** Removes a model from the cache and returns the bytes that are free again. Throws `InputError` when it is not there. */
export async function removeCachedModel(id: string, options: Partial<HubSettings> = {}): Promise<number> {
  const { cacheDir, models } = await cachedModels(options);
  const model = models.find((one) => one.id === id);
  if (!model) {
    const guess = nearest(
      id,
      models.map((one) => one.id),
    );
    const instead = guess ? `did you mean ${guess}?` : '`openelm list` shows what is';
    throw new InputError(`${id} is not in the cache at ${cacheDir}; ${instead}`);
  }
  // Renamed first: a removal that is cut off leaves nothing that looks like a model.
  const aside = join(cacheDir, `.removed.${randomBytes(4).toString('hex')}.tmp`);
  try {
    await rename(model.directory, aside);
    await rm(aside, { recursive: true });
    await rm(join(cacheDir, '.locks', `models--${id.replaceAll('/', '--')}`), { recursive: true, force: true });
  } catch (error) {
    throw fileError(error, model.directory, 'write');
  }
  return model.bytes;
}

async function bytesIn(directory: string): Promise<number> {
  let sum = 0;
  for (const name of await entriesOf(directory)) {
    const path = join(directory, name);
    // Links are not followed: a snapshot's files are links to the blobs that are counted anyway.
    const found = await lstat(path).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw fileError(error, path, 'read');
    });
    if (found?.isDirectory()) sum += await bytesIn(path);
    else if (found?.isFile()) sum += found.size;
  }
  return sum;
}
