// The data of a tuning run: its rows as examples or pairs, what was kept and dropped, and what a batch of them takes.

import {
  batchesInOrder,
  ExampleSource,
  type ExampleSourceOptions,
  type LoadedExamples,
  loadExamples,
  planBatches,
} from '../data/example-source.js';
import { type Example, exampleOf, type RowEncoders } from '../data/examples.js';
import { type Pair, pairOf } from '../data/preferences.js';
import type { FileRow } from '../data/readers.js';
import { InputError } from '../errors.js';
import { localCorpora } from '../io/node/corpora.js';
import type { TrainingBatch } from '../train/language-modelling.js';
import { type PreferenceBatch, pairRows, preferenceBatch } from '../train/preference-optimization.js';
import type { BatchLimits } from '../train/ragged.js';
import { progressBar } from './progress.js';
import type { Terminal } from './terminal.js';
import type { TuneConfig } from './tune-config.js';

/** Examples to train and to validate on. */
export interface TuningData<Item> {
  readonly train: LoadedExamples<Item>;
  readonly validation: readonly Item[];
}

/** Reads the files of the settings; what cannot be used is dropped and counted. */
export async function loadTuningData<Item extends object>(
  terminal: Terminal,
  { data }: TuneConfig,
  make: (row: FileRow) => Promise<Item | string>,
): Promise<TuningData<Item>> {
  const bar = progressBar(terminal.stderr, { format: (rows) => `${rows} rows` });
  const read = (files: readonly string[], limit?: number): Promise<LoadedExamples<Item>> =>
    loadExamples<Item, string>(localCorpora, files, make, {
      limit,
      onRow: (rows) => terminal.stderr.isTTY && bar.update('reading', rows),
    });
  try {
    const all = await read(data.train, data.limit);
    if (data.validation.length > 0) return { train: all, validation: (await read(data.validation)).examples };
    const kept = all.examples.length - data.held_out;
    if (kept < 1) throw new InputError(`data.held_out is ${data.held_out}, but there are only ${all.examples.length} examples`);
    return { train: { ...all, examples: all.examples.slice(0, kept) }, validation: all.examples.slice(kept) };
  } finally {
    bar.finish();
  }
}

export function makeExample(
  config: TuneConfig,
  encoders: RowEncoders,
  maxLength: number,
): (row: FileRow) => Promise<Example | string> {
  const { prompt, loss } = config.data;
  return (row) => exampleOf(row, encoders, { prompt, loss, maxLength });
}

export function makePair(
  config: TuneConfig,
  encoders: RowEncoders,
  maxLength: number,
): (row: FileRow) => Promise<JudgedPair | string> {
  const { prompt, keep, max_prompt_length: maxPromptLength, empty_system_message: emptySystemMessage } = config.data;
  return async (row) => {
    const pair = await pairOf(row, encoders, { prompt, keep, maxPromptLength, emptySystemMessage, maxLength });
    return typeof pair === 'string' ? pair : { ...pair, reference: new Float32Array(2) };
  };
}

/** How examples become batches of a kind. */
export interface Batching<Item, Batch> {
  rowsOf(item: Item): number;
  collate(items: readonly Item[]): Batch;
  /** Sequences that an item takes, and segments that they look at. */
  readonly sequences: number;
  readonly segments: number;
  /** The longest sequence of an item, with what it goes on from. */
  positionsOf(item: Item): number;
}

/** An example is one sequence: all but its last token are fed, what is learned is the next one. */
export const exampleBatching: Batching<Example, TrainingBatch> = {
  rowsOf: ({ tokens }) => tokens.length - 1,
  positionsOf: ({ tokens }) => tokens.length - 1,
  sequences: 1,
  segments: 1,
  collate(examples) {
    const rows = examples.reduce((sum, { tokens }) => sum + tokens.length - 1, 0);
    const batch = { tokens: new Int32Array(rows), targets: new Int32Array(rows), sequences: [] as [number, number][] };
    let at = 0;
    for (const { tokens, learned } of examples) {
      const length = tokens.length - 1;
      batch.tokens.set(tokens.subarray(0, length), at);
      for (let i = 0; i < length; i++) batch.targets[at + i] = learned[i + 1] ? tokens[i + 1] : -1;
      batch.sequences.push([at, length]);
      at += length;
    }
    return batch;
  },
};

/** A pair, and what the reference model thinks of it: log-probabilities of the chosen answer and of the rejected, filled in later. */
export interface JudgedPair extends Pair {
  readonly reference: Float32Array;
}

export const pairBatching: Batching<JudgedPair, PreferenceBatch> = {
  rowsOf: pairRows.rows,
  positionsOf: pairRows.positions,
  sequences: pairRows.sequences,
  segments: pairRows.segments,
  collate: (pairs) => preferenceBatch(pairs, Float32Array.from(pairs.flatMap(({ reference }) => [...reference]))),
};

/** The batches of a run, counted beforehand. */
export interface PlannedBatches<Batch> {
  /** From the beginning, or from a state. */
  source(state?: unknown): ExampleSource<{ readonly document: string }, Batch>;
  validation(): Iterable<Batch>;
  /** Batches of all epochs. */
  readonly batches: number;
  readonly limits: BatchLimits;
  /** Examples of a batch at most. */
  readonly mostItems: number;
}

/** Plans the batches of a run over its epochs. */
export function planTuning<Item extends { readonly document: string }, Batch>(
  config: TuneConfig,
  { train, validation }: TuningData<Item>,
  { rowsOf, positionsOf, collate, sequences, segments }: Batching<Item, Batch>,
  maxLength: number,
): PlannedBatches<Batch> {
  const { batch_size: size, packing, epochs, seed, steps, accumulation } = config;
  const options: ExampleSourceOptions<Item> = {
    batchSize: packing ? Number.POSITIVE_INFINITY : size,
    maxRows: packing ? size * maxLength : Number.POSITIVE_INFINITY,
    ...{ rowsOf, shuffle: true, seed },
  };
  const plan = planBatches(train.examples, options, { epochs, batches: steps && steps * accumulation });
  const judged = planBatches(validation, { ...options, shuffle: false }, { epochs: 1 });
  const items = Math.max(plan.mostExamples, judged.mostExamples);
  return {
    source: (state) =>
      new ExampleSource(train.examples, options, collate, state) as unknown as ExampleSource<{ document: string }, Batch>,
    validation: () => batchesInOrder(validation, options, collate),
    batches: plan.batches,
    mostItems: items,
    limits: {
      maxRows: Math.max(plan.mostRows, judged.mostRows),
      maxSequences: sequences * items,
      maxSegments: segments * items,
      maxPositions: [...train.examples, ...validation].reduce((most, item) => Math.max(most, positionsOf(item)), 0),
    },
  };
}
