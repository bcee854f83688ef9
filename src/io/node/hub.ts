// A small client of the Hugging Face hub: one verb, "have this model's needed files in the cache", for the protocol of
// https://huggingface.co/docs/hub/api and the cache that Python's huggingface_hub shares. Only safetensors weights are ever
// fetched, never pickled ones. Node's fetch heeds no proxy variables; pass a `fetch` that does where one is needed.

import { InputError } from '../../errors.js';
import { quoted } from '../json.js';
import { INDEX_FILE, WEIGHTS_FILE } from '../safetensors-index.js';
import { isRepoId, type RepoCache, shardsOf } from './hub-cache.js';
import { cachedSnapshot, type DownloadOptions, type SnapshotDownload } from './hub-repository.js';

export { isRepoId } from './hub-cache.js';
export type { DownloadOptions, DownloadProgress } from './hub-repository.js';

const TEXT_FILES = [
  'generation_config.json',
  'tokenizer.model',
  'tokenizer.json',
  'tokenizer_config.json',
  'added_tokens.json',
  'special_tokens_map.json',
  'chat_template.jinja',
];

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
  const has = (name: string) => listing.files.has(name);
  const weights = [WEIGHTS_FILE, INDEX_FILE].find(has);
  if (!has('config.json')) throw new InputError(`${hub.repoId} has no config.json: it holds no model that can be loaded`);
  if (!weights) {
    const other = [...listing.files.keys()].filter((name) => /\.(bin|pt|pth|safetensors|gguf)$/.test(name)).slice(0, 3);
    throw new InputError(
      `${hub.repoId} has no ${WEIGHTS_FILE} and no ${INDEX_FILE}${other.length > 0 ? ` (only ${other.map(quoted).join(', ')})` : ''}: only safetensors weights are downloaded`,
    );
  }
  const first = ['config.json', ...TEXT_FILES.filter(has)];
  await download.fetchAll([...first, weights]);
  if (weights === INDEX_FILE) await download.fetchAll(await shardsOf(cache.snapshot(listing.commit, INDEX_FILE)));
}
