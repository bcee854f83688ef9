// `openelm eval compare`: results files of several models, ours or lm-evaluation-harness's own, as one Markdown table and one picture.

import type { Command } from 'commander';
import { z } from 'zod';
import { counted, InputError } from '../errors.js';
import { type ComparedResults, compareRows, compareSvg, compareTable } from '../eval/compare.js';
import { checkConfig } from '../io/config.js';
import { readJson } from '../io/node/files.js';
import { mostSeries } from '../report/bars.js';
import { checkPictureName, writePicture } from './picture.js';
import { type Terminal, writeJson } from './terminal.js';

const resultsFile = z.looseObject({
  results: z.record(z.string(), z.record(z.string(), z.unknown())),
  group_subtasks: z.record(z.string(), z.array(z.string())).default({}),
  'n-shot': z.record(z.string(), z.number()).default({}),
  model_name: z.string().nullish(),
  config: z.looseObject({ model_dtype: z.string().nullish() }).nullish(),
});

interface CompareOptions {
  readonly out?: string;
  readonly labels?: string;
  readonly title: string;
  readonly json?: boolean;
}

export function addCompareCommand(parent: Command, terminal: Terminal): void {
  parent
    .command('compare')
    .description('results files of several models side by side, as a table and a picture')
    .argument('<files...>', 'results_*.json, one a model')
    .option('--out <file>', 'draw bars with whiskers of two standard errors into this file, SVG or PNG')
    .option('--labels <names>', 'names of the models, with commas between (default: as the files have them)')
    .option('--title <text>', "the picture's title", 'Accuracy (whiskers: two standard errors)')
    .option('--json', 'write the rows as one JSON object')
    .action((files: string[], options: CompareOptions) => compare(terminal, files, options));
}

async function compare(terminal: Terminal, files: readonly string[], options: CompareOptions): Promise<void> {
  if (options.out !== undefined) checkPictureName(options.out);
  if (files.length > mostSeries)
    throw new InputError(`${counted(files.length, 'results file')} are too many for one picture: at most ${mostSeries}`);
  const contents = await Promise.all(files.map(async (file) => checkConfig(resultsFile, await readJson(file), file)));
  const labels = options.labels?.split(',') ?? labelsOf(contents);
  if (labels.length !== files.length) {
    throw new InputError(`--labels has ${labels.length} names for ${counted(files.length, 'file')}; names have no commas inside`);
  }
  const models = contents.map((results, i) => ({ label: labels[i], results }) as ComparedResults);
  const rows = compareRows(models);
  if (rows.length === 0) throw new InputError(`${files.join(', ')}: no metrics are in there`);
  if (options.out !== undefined) await writePicture(options.out, compareSvg(rows, labels, options.title));
  if (options.json) writeJson(terminal, { labels, rows });
  else terminal.stdout.write(`${compareTable(rows, labels)}\n`);
}

/** The models' names; with the precision, and a number, where that is needed to tell them apart. */
function labelsOf(contents: readonly z.output<typeof resultsFile>[]): string[] {
  const names = contents.map(({ model_name: name }) => name ?? 'model');
  const isTwice = (name: string, all: readonly string[]): boolean => all.filter((other) => other === name).length > 1;
  const typed = names.map((name, i) =>
    isTwice(name, names) ? [name, contents[i].config?.model_dtype].filter(Boolean).join(' ') : name,
  );
  return typed.map((name, i) => (isTwice(name, typed) ? `${name} (${i + 1})` : name));
}
