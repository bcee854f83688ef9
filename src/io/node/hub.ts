// A small client of the Hugging Face hub: one verb, "have this model's needed files in the cache", for the protocol of
// https://huggingface.co/docs/hub/api and the cache that Python's huggingface_hub shares. Only safetensors weights are ever
// fetched, never pickled ones. Node's fetch heeds no proxy variables; pass a `fetch` that does where one is needed.

import { InputError } from '../../errors.js';
import { filesOfModel, isRepoId } from '../hub-listing.js';
import { quoted } from '../json.js';
import { INDEX_FILE } from '../safetensors-index.js';
import { type RepoCache, shardsOf } from './hub-cache.js';
import { cachedSnapshot, type DownloadOptions, type SnapshotDownload } from './hub-repository.js';

export { isRepoId } from '../hub-listing.js';
export type { DownloadOptions, DownloadProgress } from './hub-repository.js';

/**
 * Makes sure that the model's config, tokenizer and safetensors weights are in the cache and returns the snapshot's directory.
 * Nothing is downloaded twice; an interrupted download goes on where it stopped. Without a network a complete cached copy is used.
 * Throws `InputError` in one sentence: no such model, gated, unreachable, wrong bytes, disk full; rethrows the signal's reason.
 */
export async function downloadModel(repoId: string, options: DownloadOptions = {}): Promise<string> {
  const { revision = 'main' } = options;
  if (!isRepoId(repoId))
    throw new InputError(`${quoted(repoId)} is no model id of the hub, expected one like apple/OpenELM-270M`);
  if (!isRevision(revision)) throw new InputError(`${quoted(revision)} is no branch, tag or commit`);
  const firstMissing = (cache: RepoCache, commit: string) => cache.firstMissing(commit);
  return cachedSnapshot({ kind: 'models', repoId, revision, firstMissing, fetch: fetchModel }, options);
}

/** A revision ends up in a path (refs/...) and in an address. */
function isRevision(text: string): boolean {
  const parts = text.split('/');
  return text.length <= 255 && parts.every((part) => /^[\w.+=@-]+$/.test(part) && part !== '.' && part !== '..');
}

async function fetchModel(download: SnapshotDownload): Promise<void> {
  const { listing, hub, cache } = download;
  const { first, weights } = filesOfModel(listing, hub.repoId);
  await download.fetchAll([...first, weights]);
  if (weights === INDEX_FILE) await download.fetchAll(await shardsOf(cache.snapshot(listing.commit, INDEX_FILE)));
}
