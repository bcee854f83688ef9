// A small client of the Hugging Face hub: one verb, "have this model's needed files in the cache", for the protocol of
// https://huggingface.co/docs/hub/api and the cache that Python's huggingface_hub shares. Safetensors weights where there are some,
// else the one file with a model that there is. Node's fetch heeds no proxy variables; pass a `fetch` that does where one is needed.

import { join } from 'node:path';
import { InputError } from '../../errors.js';
import { CARRIED_FILES, filesOfModel, isRepoId, repoFile } from '../hub-listing.js';
import { quoted } from '../json.js';
import { INDEX_FILE } from '../safetensors-index.js';
import { onlyModelIn, type RepoCache, shardsOf } from './hub-cache.js';
import { cachedSnapshot, type DownloadOptions, type SnapshotDownload } from './hub-repository.js';

export { isRepoId, repoFile } from '../hub-listing.js';
export type { DownloadOptions, DownloadProgress } from './hub-repository.js';

/**
 * Makes sure that the model's config, tokenizer and weights are in the cache and returns the snapshot's directory, or the file in it
 * where the model is one (GGUF, PyTorch). `org/name/FILE` names such a file of a repository that has several.
 * Nothing is downloaded twice; an interrupted download goes on where it stopped. Without a network a complete cached copy is used.
 * Throws `InputError` in one sentence: no such model, gated, unreachable, wrong bytes, disk full; rethrows the signal's reason.
 */
export async function downloadModel(id: string, options: DownloadOptions = {}): Promise<string> {
  const { revision = 'main' } = options;
  const { repoId, file } = repoFile(id) ?? { repoId: id, file: undefined };
  if (!isRepoId(repoId))
    throw new InputError(`${quoted(repoId)} is no model id of the hub, expected one like apple/OpenELM-270M`);
  if (!isRevision(revision)) throw new InputError(`${quoted(revision)} is no branch, tag or commit`);
  const firstMissing = (cache: RepoCache, commit: string) => cache.firstMissing(commit, file);
  let found = file;
  const fetch = async (download: SnapshotDownload): Promise<void> => {
    const { listing, cache } = download;
    const { first, weights, single } = filesOfModel(listing, repoId, CARRIED_FILES, file);
    await download.fetchAll([...first, weights]);
    if (weights === INDEX_FILE) await download.fetchAll(await shardsOf(cache.snapshot(listing.commit, INDEX_FILE)));
    found = single;
  };
  const snapshot = await cachedSnapshot({ kind: 'models', repoId, revision, firstMissing, fetch }, options);
  found ??= await onlyModelIn(snapshot);
  return found === undefined ? snapshot : join(snapshot, found);
}

/** A revision ends up in a path (refs/...) and in an address. */
function isRevision(text: string): boolean {
  const parts = text.split('/');
  return text.length <= 255 && parts.every((part) => /^[\w.+=@-]+$/.test(part) && part !== '.' && part !== '..');
}
