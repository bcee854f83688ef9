// What is in a corpus: documents, tokens, what the filters drop, and how long the sequences are. Counting only; pictures are in
// histogram.ts.

import type { Histogram } from '../report/histogram.js';
import { type DataConfig, mixture } from './config.js';
import type { TextProcessor } from './process.js';
import type { CorpusFiles } from './readers.js';
import { type Counts, noCounts, SequenceSource } from './source.js';

export interface DataStats extends Counts {
  /** Files read, those that could not be read among them. */
  readonly files: number;
  readonly badFiles: readonly string[];
  /** What was wrong with the first few bad rows. */
  readonly badRowReasons: readonly string[];
  /** Tokens of the kept sequences that go past a row's end, which are lost unless rows are packed. */
  readonly cutTokens: number;
  readonly shortest: number;
  readonly longest: number;
  readonly median: number;
  readonly mean: number;
  /** Kept sequences by their tokens. */
  readonly histogram: Histogram;
}

export interface StatsOptions {
  readonly config: DataConfig;
  readonly split: 'train' | 'val';
  readonly corpora: CorpusFiles;
  readonly base?: string;
  readonly processor: TextProcessor;
  /** Documents to stop after; default all. */
  readonly limit?: number;
  /** Called now and then with what was read so far. */
  readonly onProgress?: (counts: Counts) => void;
  readonly signal?: AbortSignal;
}

const SHOWN_ROWS = 5;
const PROGRESS_EVERY = 2000; // sequences

/** Reads each file once, in the config's order. Throws `InputError` for what cannot be read, unless bad files are skipped. */
export async function collectStats(options: StatsOptions): Promise<DataStats> {
  const { config, split, corpora, processor, limit = Number.POSITIVE_INFINITY } = options;
  const parts = mixture((split === 'train' ? config.train_data_info : config.val_data_info) ?? [], options.base);
  const files = parts.flatMap((part) => part.files);
  const counts = noCounts();
  const badFiles: string[] = [];
  const badRowReasons: string[] = [];
  const lengths: number[] = []; // how many sequences have each length, by length
  let cutTokens = 0;
  const source = new SequenceSource(
    files,
    {
      corpora,
      processor,
      shard: { seed: 0, shuffle: false, training: false, scaledRank: 0, scaledWorldSize: 1 },
      epochs: 1,
      skipBadFiles: config.skip_bad_files,
      onBadFile: (reason) => badFiles.push(reason),
      skipBadRows: config.skip_bad_rows,
      onBadRow: (reason) => {
        if (badRowReasons.length < SHOWN_ROWS) badRowReasons.push(reason);
      },
      onSequence: (tokens, dropped) => {
        if (counts.sequences % PROGRESS_EVERY === 0) options.onProgress?.(counts);
        if (dropped) return;
        lengths[tokens] = (lengths[tokens] ?? 0) + 1;
        cutTokens += Math.max(0, tokens - config.sequence_length - 1);
      },
    },
    counts,
  );
  try {
    while (counts.documents < limit && (await source.next())) options.signal?.throwIfAborted();
  } finally {
    await source.close();
  }
  const present = Object.keys(lengths).map(Number);
  return {
    ...counts,
    files: files.length,
    badFiles,
    badRowReasons,
    cutTokens: config.packing ? 0 : cutTokens,
    shortest: present[0] ?? 0,
    longest: present.at(-1) ?? 0,
    median: medianOf(lengths, counts.kept),
    mean: counts.kept === 0 ? 0 : counts.tokens / counts.kept,
    histogram: histogramOf(lengths),
  };
}

function medianOf(lengths: readonly number[], total: number): number {
  let seen = 0;
  for (const [length, times = 0] of lengths.entries()) {
    seen += times;
    if (seen * 2 >= total && seen > 0) return length;
  }
  return 0;
}

const BINS = 48;

// Bins of a round width, as many as show the shape; a hundredth at the far end shares the last.
function histogramOf(lengths: readonly number[]): Histogram {
  const total = lengths.reduce((sum, times = 0) => sum + times, 0);
  let far = 0;
  let seen = 0;
  for (const [length, times = 0] of lengths.entries()) {
    seen += times;
    far = length;
    if (seen >= total * 0.99) break;
  }
  const width = roundUp((far + 1) / BINS);
  const counts = new Array<number>(Math.max(1, Math.ceil((far + 1) / width))).fill(0);
  for (const [length, times = 0] of lengths.entries()) counts[Math.min(Math.floor(length / width), counts.length - 1)] += times;
  return { width, counts };
}

// The next of 1, 2, 5, 10, 20, 50, ...
function roundUp(value: number): number {
  let power = 1;
  while (power * 10 <= value) power *= 10;
  return power * ([1, 2, 5, 10].find((step) => power * step >= value) ?? 10);
}
