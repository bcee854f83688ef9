// Datasets of the Hugging Face hub as Parquet files: the hub keeps a converted copy of each on the branch refs/convert/parquet, as
// <config>/<split>/<number>.parquet (https://huggingface.co/docs/dataset-viewer/parquet). They come into the cache by the same
// way as models: resumed, checked by hash, offline afterwards. What is in the files is read elsewhere.

import { join } from 'node:path';
import { InputError } from '../../errors.js';
import { isRepoId } from '../hub-listing.js';
import { quoted } from '../json.js';
import { entriesOf } from './files.js';
import { cachedSnapshot, type DownloadOptions, type SnapshotDownload } from './hub-repository.js';

export interface DatasetSplits {
  /** The configuration (`ARC-Challenge`); without one `default`, or the only one there is. */
  readonly config?: string;
  /** Those wanted. One that the dataset does not have is left out. */
  readonly splits: readonly string[];
}

const PARQUET_BRANCH = 'refs/convert/parquet';

/**
 * By entry of `wanted`: the Parquet files of each split, in order, downloaded where they are not in the cache. Throws `InputError` in
 * one sentence: no such dataset or configuration, gated, unreachable, wrong bytes, disk full; rethrows the signal's reason.
 */
export async function downloadDataset(
  repoId: string,
  wanted: readonly DatasetSplits[],
  options: Omit<DownloadOptions, 'revision'> = {},
): Promise<Map<string, string[]>[]> {
  if (!isRepoId(repoId)) throw new InputError(`${quoted(repoId)} is no dataset id of the hub, expected one like allenai/ai2_arc`);
  const snapshot = await cachedSnapshot(
    {
      kind: 'datasets',
      repoId,
      revision: PARQUET_BRANCH,
      async firstMissing(cache, commit) {
        const names = parquetNames(await listFiles(cache.snapshot(commit)));
        for (const { config, splits } of wanted) {
          const chosen = configAmong(names, config);
          const missing = splits.find((split) => !names.includes(`${chosen}/${split}/0000.parquet`));
          if (missing !== undefined) return [config, missing].filter(Boolean).join('/');
        }
        return undefined;
      },
      fetch: (download) => fetchSplits(download, wanted),
    },
    options,
  );
  const names = parquetNames(await listFiles(snapshot));
  return wanted.map(({ config, splits }) => {
    const chosen = configAmong(names, config);
    const files = splits.map((split): [string, string[]] => [
      split,
      namesOf(names, chosen, split).map((name) => join(snapshot, name)),
    ]);
    return new Map(files.filter(([, list]) => list.length > 0));
  });
}

async function fetchSplits(download: SnapshotDownload, wanted: readonly DatasetSplits[]): Promise<void> {
  const names = parquetNames(download.listing.files.keys());
  const needed = wanted.flatMap(({ config, splits }) => {
    const chosen = chooseConfig(names, config, download.hub.repoId);
    // The first file of a split comes last: where it is, the split is complete.
    return splits.flatMap((split) => namesOf(names, chosen, split).reverse());
  });
  await download.fetchAll([...new Set(needed)]);
}

function namesOf(names: readonly string[], config: string | undefined, split: string): string[] {
  return names.filter((name) => name.startsWith(`${config}/${split}/`));
}

/** Sorted; nothing but names that are safe in a path. */
function parquetNames(names: Iterable<string>): string[] {
  const part = /^(?!\.)[\w.+-]+$/;
  return [...names]
    .filter(
      (name) => name.endsWith('.parquet') && /^([^/]+\/){2}[^/]+$/.test(name) && name.split('/').every((item) => part.test(item)),
    )
    .sort();
}

function configsOf(names: readonly string[]): string[] {
  return [...new Set(names.map((name) => name.split('/')[0]))];
}

function configAmong(names: readonly string[], asked: string | undefined): string | undefined {
  const configs = configsOf(names);
  if (asked !== undefined) return configs.includes(asked) ? asked : undefined;
  if (configs.includes('default')) return 'default';
  return configs.length === 1 ? configs[0] : undefined;
}

function chooseConfig(names: readonly string[], asked: string | undefined, repoId: string): string {
  const chosen = configAmong(names, asked);
  if (chosen !== undefined) return chosen;
  const configs = configsOf(names);
  if (configs.length === 0) throw new InputError(`the hub has no Parquet copy of ${repoId}`);
  const what = asked === undefined ? 'no configuration is named' : `there is no configuration ${quoted(asked)}`;
  throw new InputError(`${repoId}: ${what}; it has ${configs.slice(0, 8).map(quoted).join(', ')}`);
}

async function listFiles(directory: string): Promise<string[]> {
  const names = await entriesOf(directory, { recursive: true });
  return names.map((name) => name.replaceAll('\\', '/'));
}
