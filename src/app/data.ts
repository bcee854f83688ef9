// `openelm data stats CONFIG`: reads the corpora of a data config once and says what is in them: documents, tokens, what the
// filters drop, and how long the sequences are, with a picture. Trains nothing.

import { availableParallelism } from 'node:os';
import { dirname, isAbsolute, resolve } from 'node:path';
import { Command } from 'commander';
import { type DataConfig, dataConfigFrom, processOptions } from '../data/config.js';
import { collectStats, type DataStats } from '../data/stats.js';
import { counted, InputError } from '../errors.js';
import { parseYaml } from '../io/config.js';
import { localCorpora } from '../io/node/corpora.js';
import { workerProcessor } from '../io/node/text-workers.js';
import { readTokenizerFile } from '../io/node/tokenizer-file.js';
import { histogramSvg, sparkline } from '../report/histogram.js';
import { addSkipBadRows, badRowsOf, wholeNumber } from './options.js';
import { checkPictureName, writePicture } from './picture.js';
import { progressBar } from './progress.js';
import { interruptible, readTextFile, type Terminal, tell, writeJson } from './terminal.js';

interface StatsOptions {
  readonly tokenizer?: string;
  readonly validation?: boolean;
  readonly picture?: string;
  readonly limit?: number;
  readonly threads?: number;
  readonly skipBadFiles?: boolean;
  readonly skipBadRows?: number | true;
  readonly json?: boolean;
}

const help = `
CONFIG is YAML: train_data_info lists corpora as CoreNet's configs do, and the filters stand beside it. File names are
relative to CONFIG. Kinds of files: .parquet, .jsonl, .json, .txt; the last three also as .gz and .zst.

  train_data_info:
    - file_name: books-{file_id:05d}.parquet
      file_id_range: [0, 100]
      text_key: content
  tokenizer: tokenizer.model
  sequence_length: 2048
  min_characters_per_text: 200
  min_tokens_per_text: 256

Example:
  $ openelm data stats corpora.yaml --picture lengths.svg`;

/** The verb with its subcommands. */
export function dataCommand(terminal: Terminal): Command {
  const stats = addSkipBadRows(new Command('stats'))
    .description('documents, tokens, what the filters drop, lengths')
    .argument('<config>', 'data config, YAML')
    .option('--tokenizer <file>', "tokenizer.model or tokenizer.json (default: the config's)")
    .option('--validation', 'read val_data_info instead')
    .option('--picture <file>', 'draw the lengths of the sequences into this file, SVG or PNG')
    .option('--limit <n>', 'stop after this many documents', wholeNumber(1))
    .option('--threads <n>', 'threads that tokenize (default: one a core)', wholeNumber(1, 256))
    .option('--skip-bad-files', 'go on when a file cannot be read')
    .option('--json', 'write one JSON object')
    .addHelpText('after', help)
    .action((config: string, options: StatsOptions) => dataStats(terminal, config, options));
  return new Command('data').addCommand(stats);
}

/** Reads a data config file. Also `base`, which its relative file names start from. Throws `InputError` naming what is wrong. */
export async function readDataConfig(path: string): Promise<{ config: DataConfig; base: string }> {
  return { config: dataConfigFrom(parseYaml(await readTextFile(path), path), path), base: dirname(resolve(path)) };
}

async function dataStats(terminal: Terminal, path: string, options: StatsOptions): Promise<void> {
  if (options.picture !== undefined) checkPictureName(options.picture);
  const { config: written, base } = await readDataConfig(path);
  const config = {
    ...written,
    skip_bad_files: written.skip_bad_files || options.skipBadFiles === true,
    skip_bad_rows: badRowsOf(options.skipBadRows) ?? written.skip_bad_rows,
  };
  if (options.validation && !config.val_data_info) throw new InputError(`${path}: val_data_info is missing`);
  const named =
    options.tokenizer ??
    (config.tokenizer && (isAbsolute(config.tokenizer) ? config.tokenizer : resolve(base, config.tokenizer)));
  if (named === undefined)
    throw new InputError(`${path}: tokenizer is missing; name a tokenizer.model there or with --tokenizer`);
  const { file } = await readTokenizerFile(named);
  const processor = workerProcessor(
    { tokenizer: file, options: processOptions(config) },
    options.threads ?? availableParallelism(),
  );
  const bar = progressBar(terminal.stderr, { unit: 'documents' });
  const split = options.validation ? 'val' : 'train';
  try {
    const stats = await interruptible(terminal, (signal) =>
      collectStats({
        config,
        split,
        corpora: localCorpora,
        base,
        processor,
        limit: options.limit,
        signal,
        onProgress: ({ documents }) => bar.update('Reading', documents),
      }),
    ).finally(() => bar.finish());
    if (options.picture !== undefined) await writePicture(options.picture, picture(stats, config));
    if (options.json) writeJson(terminal, stats);
    else terminal.stdout.write(describe(stats, config));
    for (const reason of [...stats.badFiles, ...stats.badRowReasons]) tell(terminal, `skipped: ${reason}`);
    const more = stats.badRows - stats.badRowReasons.length;
    if (more > 0) tell(terminal, `skipped: ${counted(more, 'more row', number)}`);
  } finally {
    await processor.close();
  }
}

function picture(stats: DataStats, config: DataConfig): string {
  return histogramSvg(stats.histogram, {
    title: `${counted(stats.kept, 'sequence', number)}, ${counted(stats.tokens, 'token', number)}`,
    axis: 'tokens of a sequence',
    mark: { at: config.sequence_length, text: `row: ${config.sequence_length}` },
  });
}

function number(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 1 });
}

/** The figures as lines for people. */
export function describe(stats: DataStats, config: DataConfig): string {
  const share = (part: number, whole: number): string => (whole === 0 ? '' : ` (${((100 * part) / whole).toFixed(1)}%)`);
  const { histogram, sequences, tokens } = stats;
  const rows: [string, string][] = [
    ['files', `${number(stats.files)}${stats.badFiles.length > 0 ? `, ${stats.badFiles.length} of them not readable` : ''}`],
    ['documents', `${number(stats.documents)}, ${counted(stats.characters, 'character', number)}`],
    ...(stats.badRows > 0 ? [['bad rows', `${number(stats.badRows)}, passed over`] as [string, string]] : []),
    ['sequences', number(sequences)],
    ['  too few characters', `${number(stats.tooFewCharacters)}${share(stats.tooFewCharacters, sequences)}`],
    ['  too few tokens', `${number(stats.tooFewTokens)}${share(stats.tooFewTokens, sequences)}`],
    ['  kept', `${number(stats.kept)}${share(stats.kept, sequences)}`],
    ['tokens', number(tokens)],
    [
      '  cut off',
      `${number(stats.cutTokens)}${share(stats.cutTokens, tokens)}${config.packing ? '' : `, beyond ${config.sequence_length} a row`}`,
    ],
    [
      'tokens a sequence',
      `${number(stats.shortest)} to ${number(stats.longest)}, median ${number(stats.median)}, mean ${number(stats.mean)}`,
    ],
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  const lines = rows.map(([label, text]) => `${label.padEnd(width)}  ${text}`);
  if (stats.kept > 0)
    lines.push('', sparkline(histogram), `0 to ${counted(histogram.width * histogram.counts.length, 'token', number)} and more`);
  return `${lines.join('\n')}\n`;
}
