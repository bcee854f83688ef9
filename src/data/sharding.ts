// Which files a worker of a rank reads, and in what order in each epoch: CoreNet's rule (general_lm.py), draw for draw.

import { PythonRandom } from '../python-random.js';

export interface ShardOptions {
  readonly seed: number;
  /** Shuffle all files before they are dealt out (in training only). */
  readonly shuffle: boolean;
  /** In training, each epoch after the first shuffles the worker's files anew. */
  readonly training: boolean;
  /** rank * workers + worker, of world size * workers. */
  readonly scaledRank: number;
  readonly scaledWorldSize: number;
}

/**
 * Where there are fewer files than workers, CoreNet gives some of them to several, which then read the same texts. Here every
 * worker reads all files, and of them each document in its turn: undefined for all documents.
 */
export function documentsOf(files: number, { training, scaledRank, scaledWorldSize }: ShardOptions): DocumentTurn | undefined {
  if (!training || files >= scaledWorldSize) return undefined;
  return { of: scaledWorldSize, turn: scaledRank };
}

/** Documents whose row, divided by `of`, leaves `turn`. */
export interface DocumentTurn {
  readonly of: number;
  readonly turn: number;
}

/**
 * The worker's files in each epoch, without end. Files are dealt out in turn; when they do not go round, some are drawn again,
 * so that every worker has as many. All workers draw the same, being seeded alike, until they shuffle their own files.
 */
export function* shardedFiles<T>(files: readonly T[], options: ShardOptions): Generator<readonly T[], never> {
  const random = new PythonRandom(options.seed);
  const all = [...files];
  if (options.shuffle && options.training) random.shuffle(all);
  const { scaledRank, scaledWorldSize } = options;
  const missing = Math.ceil(all.length / scaledWorldSize) * scaledWorldSize - all.length;
  if (missing > 0) all.push(...random.choices(all.length, missing).map((i) => all[i]));
  const own = all.filter((_, i) => i % scaledWorldSize === scaledRank);
  for (;;) {
    yield [...own];
    if (options.training) random.shuffle(own);
  }
}
