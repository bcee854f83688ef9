// The Hugging Face cache on disk, as Python's huggingface_hub lays it out (both may use one cache): blobs named by etag,
// snapshots of relative links into them, refs from branch names to commits. Settings from the environment are read here too.
// https://huggingface.co/docs/hub/local-cache. No network.

import { randomBytes } from 'node:crypto';
import { copyFile, readdir, readFile, rename, symlink, unlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { InputError, shown } from '../../errors.js';
import { shownAddress } from '../address.js';
import { COMMIT, hasLayout, wholeModels } from '../hub-listing.js';
import { INDEX_FILE, readShardedIndex, WEIGHTS_FILE } from '../safetensors-index.js';
import { fileError, isMissing, makeDirectory, openFile, statIfThere, writeWhole } from './files.js';

/** Where the hub is, and who asks. */
export interface HubSettings {
  readonly endpoint: string;
  readonly cacheDir: string;
  readonly token?: string;
  readonly offline: boolean;
}

/** Options over environment over defaults: HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE, and the token that `hf auth login` left. */
export async function hubSettings(options: Partial<HubSettings>): Promise<HubSettings> {
  const env = (name: string) => process.env[name]?.trim() || undefined;
  const home = env('HF_HOME') ?? join(env('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface');
  const endpoint = (options.endpoint ?? env('HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, '');
  if (!/^https?:/.test(endpoint) || !URL.canParse(endpoint)) {
    throw new InputError(`the hub's endpoint ${shown(shownAddress(endpoint))} is no http(s) address: check HF_ENDPOINT`);
  }
  const { username, password, search, hash } = new URL(endpoint);
  if (username || password || search || hash) {
    throw new InputError(
      `the hub's endpoint ${shownAddress(endpoint)} must be an address alone, without a user, a password or a query: check HF_ENDPOINT; a token goes into HF_TOKEN`,
    );
  }
  const token = options.token ?? env('HF_TOKEN') ?? (await readIfThere(env('HF_TOKEN_PATH') ?? join(home, 'token')));
  if (token && !/^[\x21-\x7e]+$/.test(token))
    throw new InputError('the Hugging Face token holds blanks or other characters that no token has: check HF_TOKEN');
  return {
    endpoint,
    cacheDir: options.cacheDir ?? env('HF_HUB_CACHE') ?? join(home, 'hub'),
    token: token || undefined,
    offline: options.offline ?? /^(1|on|yes|true)$/i.test(env('HF_HUB_OFFLINE') ?? ''),
  };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw fileError(error, path, 'read');
  }
}

/** What a repository holds; the word in the hub's addresses. */
export type RepoKind = 'models' | 'datasets';

/** One repository's folder in the cache. */
export class RepoCache {
  private readonly folder: string;
  private readonly locks: string;

  constructor(cacheDir: string, repoId: string, kind: RepoKind = 'models') {
    const name = `${kind}--${repoId.replaceAll('/', '--')}`;
    this.folder = join(cacheDir, name);
    this.locks = join(cacheDir, '.locks', name);
  }

  blob(etag: string): string {
    return join(this.folder, 'blobs', etag);
  }

  /** The name differs from Python's `<etag>.incomplete`: its lock is not one that Node can take, and two writers must not share a file. */
  incompleteBlob(etag: string): string {
    return join(this.folder, 'blobs', `${etag}.openelm.incomplete`);
  }

  lock(etag: string): string {
    return join(this.locks, `${etag}.openelm.lock`);
  }

  snapshot(commit: string, file = ''): string {
    return join(this.folder, 'snapshots', commit, file);
  }

  /** The commit that a revision stood for when it was last downloaded. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (COMMIT.test(revision)) return revision;
    const commit = await readIfThere(join(this.folder, 'refs', revision));
    return commit !== undefined && COMMIT.test(commit) ? commit : undefined;
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (COMMIT.test(revision) || (await this.commitOf(revision)) === commit) return;
    const path = join(this.folder, 'refs', revision);
    await makeDirectory(dirname(path));
    await writeWhole(path, commit);
  }

  /** Puts a blob into a snapshot under its file name: a relative link, or a copy where links cannot be made. */
  async link(commit: string, file: string, etag: string): Promise<void> {
    const path = this.snapshot(commit, file);
    const temporary = `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
    try {
      await makeDirectory(dirname(path));
      await symlink(relative(dirname(path), this.blob(etag)), temporary).catch(() => copyFile(this.blob(etag), temporary));
      await rename(temporary, path);
    } catch (error) {
      await unlink(temporary).catch(() => {});
      throw fileError(error, path, 'write');
    }
  }

  /** The first needed file that the snapshot lacks (`only`, or config.json, the weights, each shard), or undefined when it can be loaded. */
  async firstMissing(commit: string, only?: string): Promise<string | undefined> {
    const has = async (file: string) => (await fileSize(this.snapshot(commit, file))) !== undefined;
    if (only !== undefined) return (await has(only)) ? undefined : only;
    if ((await onlyModelIn(this.snapshot(commit))) !== undefined) return undefined;
    if (!(await has('config.json'))) return 'config.json';
    if (await has(WEIGHTS_FILE)) return undefined;
    if (!(await has(INDEX_FILE))) return WEIGHTS_FILE;
    for (const shard of await shardsOf(this.snapshot(commit, INDEX_FILE))) {
      if (!(await has(shard))) return shard;
    }
    return undefined;
  }
}

/** The one file of a snapshot that holds its model, where that is not in Hugging Face's layout. */
export async function onlyModelIn(directory: string): Promise<string | undefined> {
  const names = new Set(await readdir(directory).catch(() => []));
  const found = hasLayout(names) ? [] : wholeModels(names);
  return found.length === 1 ? found[0] : undefined;
}

/** The shards that an index file names. */
export async function shardsOf(indexFile: string): Promise<string[]> {
  const source = await openFile(indexFile);
  const index = await readShardedIndex(source).finally(() => source.close());
  return [...index.shards.keys()];
}

/** Bytes of a file (links followed), or undefined when it is not there. */
export async function fileSize(path: string): Promise<number | undefined> {
  return (await statIfThere(path))?.size;
}
