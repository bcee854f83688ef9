// The data of a tuning run, as its settings name it: its rows as examples or pairs, and what was kept and dropped. How they become
// batches is train/batching.ts.

import { limitBadRows } from '../data/bad-rows.js';
import { type LoadedExamples, loadExamples } from '../data/example-source.js';
import { type Example, exampleOf, type RowEncoders, withFields } from '../data/examples.js';
import { pairOf } from '../data/preferences.js';
import type { FileRow } from '../data/readers.js';
import { counted, InputError } from '../errors.js';
import { localCorpora } from '../io/node/corpora.js';
import type { JudgedPair, PlanOptions } from '../train/batching.js';
import { sentenceOf } from './failure.js';
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
  const bar = progressBar(terminal.stderr, { unit: 'rows' });
  const onBadRow = limitBadRows(data.skip_bad_rows, (error) => bar.note(`openelm: passed over: ${sentenceOf(error)}`));
  const read = (files: readonly string[], limit?: number): Promise<LoadedExamples<Item>> =>
    loadExamples<Item>(localCorpora, files, (row) => make(withFields(row, data.fields)), {
      limit,
      onBadRow,
      onRow: (rows) => bar.update('reading', rows),
    });
  try {
    const all = await read(data.train, data.limit);
    if (data.validation.length > 0) return { train: all, validation: (await read(data.validation)).examples };
    const kept = all.examples.length - data.held_out;
    if (kept < 1)
      throw new InputError(`data.held_out is ${data.held_out}, but there are only ${counted(all.examples.length, 'example')}`);
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
  const { prompt, loss, normalization } = config.data;
  return (row) => exampleOf(row, encoders, { prompt, loss, maxLength, normalization });
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

/** How batches are made: so many examples, or (packing) as many as so many of the longest would take. */
export function planOptions(
  { batch_size: size, packing, epochs, seed, steps, accumulation }: TuneConfig,
  maxLength: number,
  share: PlanOptions['share'],
): PlanOptions {
  const limit = packing ? { maxRows: size * maxLength } : { batchSize: size };
  return { ...limit, epochs, seed, batches: steps && steps * accumulation, share };
}
