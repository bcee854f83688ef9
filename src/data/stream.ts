// The whole pipeline: corpora, mixed by weight, to batches of rows. Deterministic, and resumable to the bit: `state()` between two
// batches is JSON from which a new stream gives the batches that this one would have given.

import { z } from 'zod';
import { InputError } from '../errors.js';
import { checkConfig } from '../io/config.js';
import { PythonRandom } from '../python-random.js';
import { type DataConfig, mixture } from './config.js';
import type { TextProcessor } from './process.js';
import type { CorpusFiles } from './readers.js';
import { Packer, packedRow, type Row, rowOf, type Sequence } from './rows.js';
import { type Counts, noCounts, SequenceSource, type SourceOptions } from './source.js';

/** Which corpora become which batches. */
export interface StreamOptions {
  readonly config: DataConfig;
  /** Training draws from `train_data_info` without end; validation goes through `val_data_info` once. */
  readonly split: 'train' | 'val';
  readonly batchSize: number;
  readonly corpora: CorpusFiles;
  /** Where relative file names start from. */
  readonly base?: string;
  /** Turns blocks of documents into tokens. */
  readonly processor: TextProcessor;
  /** What stands where there is no token; CoreNet takes the tokenizer's pad id, else the size of its vocabulary. */
  readonly padId: number;
  /** Target that does not count; default `padId`. */
  readonly ignoreIndex?: number;
  /** Which of `worldSize` processes this is, each with rows of its own; default 0 of 1. */
  readonly rank?: number;
  readonly worldSize?: number;
  readonly onBadFile?: (reason: string) => void;
  readonly onBadRow?: (reason: string) => void;
  readonly onSequence?: SourceOptions['onSequence'];
}

/** Rows of a batch, one after another. The last batch of a validation pass may have fewer rows than asked for. */
export interface Batch {
  readonly rows: number;
  /** Tokens of a row. */
  readonly length: number;
  /** Input tokens, [rows, length]. */
  readonly samples: Int32Array;
  /** The token that follows each, [rows, length]; `ignoreIndex` where none counts. */
  readonly targets: Int32Array;
  /** By row: its stretches [start, length] of one sequence each; attention stays inside, positions start over in each. */
  readonly sequences: readonly Row['sequences'][];
  /** By row and stretch: the document, as `file:row`. */
  readonly documents: readonly Row['documents'][];
}

const count = z.number().int().min(0);
const sequenceSchema = z.strictObject({ tokens: z.array(count), document: z.string() });
type StoredSequence = z.output<typeof sequenceSchema>;
const stateSchema = z.strictObject({
  version: z.literal(2),
  /** The settings that the state belongs to. */
  settings: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  sources: z.array(z.strictObject({ epoch: count, file: count, row: count, offset: count, sequence: count })),
  /** Tokens drawn from each source. */
  drawn: z.array(count),
  rest: sequenceSchema.optional(),
  /** By row held back: its sequences. */
  buffer: z.array(z.array(sequenceSchema)),
  random: z.array(count).length(625),
  counts: z.strictObject({
    documents: count,
    badRows: count.default(0),
    characters: count,
    sequences: count,
    tooFewCharacters: count,
    tooFewTokens: count,
    kept: count,
    tokens: count,
  }),
});

/** Everything that decides which batch is next, as JSON holds it. */
export type StreamState = z.output<typeof stateSchema>;

/**
 * Batches of documents from corpora, by CoreNet's rules: mixed by weight, filtered, packed or cut into rows. `state()` is JSON that goes
 * on with the same batches.
 */
export class BatchStream {
  /** What was read so far, in this stream and before its state. */
  readonly counts: Counts;
  private readonly sources: SequenceSource[];
  private readonly weights: number[];
  private readonly drawn: number[];
  private readonly ended: boolean[];
  private readonly packer: Packer;
  private readonly random: PythonRandom;
  private readonly buffer: Sequence[][];
  private readonly settings: StreamState['settings'];

  /** `state`: what `state()` gave. Throws `InputError` when it is none, or was taken with other settings. */
  constructor(
    private readonly options: StreamOptions,
    state?: unknown,
  ) {
    const { config, split, rank = 0, worldSize = 1 } = options;
    const corpora = split === 'train' ? config.train_data_info : config.val_data_info;
    if (!corpora) throw new InputError('val_data_info is missing: there is nothing to validate on');
    const parts = mixture(corpora, options.base);
    this.settings = settingsOf(options, parts);
    const from = state === undefined ? undefined : checkConfig(stateSchema, state, 'data state');
    if (from) requireSame(from.settings, this.settings);
    this.counts = from?.counts ?? noCounts();
    const training = split === 'train';
    const sourceOptions: SourceOptions = {
      corpora: options.corpora,
      processor: options.processor,
      shard: { seed: config.random_seed, shuffle: config.shuffle_data, training, scaledRank: rank, scaledWorldSize: worldSize },
      epochs: training ? Number.POSITIVE_INFINITY : 1,
      skipBadFiles: config.skip_bad_files,
      onBadFile: options.onBadFile,
      skipBadRows: config.skip_bad_rows,
      onBadRow: options.onBadRow,
      onSequence: options.onSequence,
    };
    this.sources = parts.map(({ files }, i) => new SequenceSource(files, sourceOptions, this.counts, from?.sources[i]));
    this.weights = parts.map(({ weight }) => weight);
    this.drawn = from?.drawn ?? parts.map(() => 0);
    this.ended = parts.map(() => false);
    this.packer = new Packer(config.sequence_length, from?.rest && sequenceFrom(from.rest));
    this.random = from ? PythonRandom.restore(from.random) : new PythonRandom(config.random_seed);
    this.buffer = (from?.buffer ?? []).map((row) => row.map(sequenceFrom));
  }

  /** The next batch, or undefined at the end of a validation pass. Throws `InputError` for what is wrong with a corpus. */
  async next(): Promise<Batch | undefined> {
    const { config, batchSize } = this.options;
    const length = config.sequence_length;
    const rows: Row[] = [];
    while (rows.length < batchSize) {
      const row = await this.nextRow();
      if (!row) break;
      rows.push(row);
    }
    if (rows.length === 0) {
      if (this.counts.kept === 0)
        throw new InputError('no text of val_data_info passes the filters; lower min_characters_per_text or min_tokens_per_text');
      return undefined;
    }
    const samples = new Int32Array(rows.length * length);
    const targets = new Int32Array(rows.length * length);
    rows.forEach((row, i) => {
      samples.set(row.samples, i * length);
      targets.set(row.targets, i * length);
    });
    const sequences = rows.map((row) => row.sequences);
    return { rows: rows.length, length, samples, targets, sequences, documents: rows.map((row) => row.documents) };
  }

  /** What comes after the last batch, to be given to a new stream. Not while `next` is under way. */
  state(): StreamState {
    const rest = this.packer.state();
    return structuredClone({
      version: 2,
      settings: this.settings,
      sources: this.sources.map((source) => source.state()),
      drawn: this.drawn,
      rest: rest && storedFrom(rest),
      buffer: this.buffer.map((row) => row.map(storedFrom)),
      random: [...this.random.state()],
      counts: this.counts,
    });
  }

  /** Ends reading; the processor stays its owner's to close. */
  async close(): Promise<void> {
    await Promise.all(this.sources.map((source) => source.close()));
  }

  private async nextRow(): Promise<Row | undefined> {
    const { config, padId, ignoreIndex = padId } = this.options;
    const options = { length: config.sequence_length, padId, ignoreIndex };
    const row = await this.shuffled();
    return row && (config.packing ? packedRow(row, options) : rowOf(row[0], options));
  }

  // Whole rows are held back, so that a long document's do not come one after another.
  private async shuffled(): Promise<Sequence[] | undefined> {
    const { buffer } = this;
    const size = this.options.config.shuffle_buffer;
    if (size === 0 || this.options.split === 'val') return this.gathered();
    while (buffer.length < size) {
      const row = (await this.gathered())!; // training never ends
      buffer.push(row.map(({ tokens, document }) => ({ tokens: tokens.slice(), document })));
    }
    const place = this.random.below(buffer.length);
    const drawn = buffer[place];
    const last = buffer.pop()!;
    if (place < buffer.length) buffer[place] = last;
    return drawn;
  }

  // The sequences of a row, in the corpora's order.
  private async gathered(): Promise<Sequence[] | undefined> {
    if (this.options.config.packing) return this.packer.next(() => this.mixed());
    const sequence = await this.mixed();
    return sequence && [sequence];
  }

  // From the source that is furthest behind its share of the tokens.
  private async mixed(): Promise<Sequence | undefined> {
    for (;;) {
      let behind = -1;
      for (let i = 0; i < this.sources.length; i++) {
        if (this.ended[i]) continue;
        if (behind < 0 || this.drawn[i] / this.weights[i] < this.drawn[behind] / this.weights[behind]) behind = i;
      }
      if (behind < 0) return undefined;
      const sequence = await this.sources[behind].next();
      if (sequence) {
        this.drawn[behind] += sequence.tokens.length;
        return sequence;
      }
      this.ended[behind] = true;
    }
  }
}

function sequenceFrom({ tokens, document }: StoredSequence): Sequence {
  return { tokens: Int32Array.from(tokens), document };
}

function storedFrom({ tokens, document }: Sequence): StoredSequence {
  return { tokens: [...tokens], document };
}

function settingsOf(options: StreamOptions, parts: ReturnType<typeof mixture>): StreamState['settings'] {
  const { config, split, rank = 0, worldSize = 1, padId, ignoreIndex = padId } = options;
  const { train_data_info, val_data_info, tokenizer, skip_bad_files, skip_bad_rows, ...settings } = config;
  // By name, so that a corpus may be moved.
  const files = parts.map(({ files, weight }) => [weight, ...files.map(({ path, ...rest }) => [path.split('/').at(-1), rest])]);
  return { ...settings, split, rank, worldSize, padId, ignoreIndex, corpora: hash(JSON.stringify(files)) };
}

function requireSame(old: StreamState['settings'], now: StreamState['settings']): void {
  for (const key of Object.keys(now)) {
    if (old[key] === now[key]) continue;
    const what = key === 'corpora' ? 'other corpora' : `${key} ${old[key]}, which is now ${now[key]}`;
    throw new InputError(`this data state was saved with ${what}; it fits only the config it was saved with`);
  }
}

// FNV-1a, 32 bits: enough to tell lists of files apart by mistake.
function hash(text: string): string {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 0x01000193);
  return (value >>> 0).toString(16);
}
