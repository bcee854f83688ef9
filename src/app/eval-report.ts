// What a finished evaluation leaves: the table on stdout (or JSON), a note on documents that were too long, and the harness's files.
// Numbers and texts are made in eval/; here they are put in place.

import { dirname, join } from 'node:path';
import { counted } from '../errors.js';
import type { Evaluation } from '../eval/harness.js';
import { makeTable, markdown, outputNames, type RunInfo, resultsObject, samplesText, taskHashes } from '../eval/report.js';
import { compareWithPublished, type Suite, type SuiteRow } from '../eval/suites.js';
import { stringifyData } from '../io/json.js';
import { makeDirectory, writeWhole } from '../io/node/files.js';
import { type Terminal, tell, writeJson } from './terminal.js';

export interface ReportOptions {
  /** The folder of the harness's files. */
  readonly output?: string;
  readonly logSamples?: boolean;
  /** The model on the card that is compared with; default the one of the model's name. */
  readonly published?: string;
  readonly json?: boolean;
}

/** Prints an evaluation and writes its files. */
export async function reportEvaluation(
  terminal: Terminal,
  evaluation: Evaluation,
  { info, suite }: { readonly info: RunInfo; readonly suite?: Suite },
  { output, json, published = info.modelName }: ReportOptions,
): Promise<void> {
  const results = resultsObject(evaluation, info, await taskHashes(evaluation.samples ?? {}));
  // First what hours of work have found; then the files, which a full disk may refuse.
  printEvaluation(terminal, evaluation, results, { info, suite }, { json, published });
  if (output === undefined) return;
  const names = outputNames(info.modelName, Object.keys(evaluation.samples ?? {}), info.date);
  await writeText(join(output, names.results), `${stringifyData(results, 2)}\n`);
  for (const [task, name] of Object.entries(names.samples)) {
    await writeText(join(output, name), samplesText(evaluation.samples![task]));
  }
  tell(terminal, `written to ${join(output, names.results)}`);
}

function printEvaluation(
  terminal: Terminal,
  evaluation: Evaluation,
  results: ReturnType<typeof resultsObject>,
  { info, suite }: { readonly info: RunInfo; readonly suite?: Suite },
  { json, published }: { readonly json?: boolean; readonly published: string },
): void {
  const truncated = Object.fromEntries(Object.entries(evaluation.truncated).filter(([, { documents }]) => documents > 0));
  const rows = suite && compareWithPublished(suite, evaluation.results, published);
  if (json) {
    writeJson(terminal, {
      ...results,
      truncated,
      stray: evaluation.stray,
      ...(suite ? { suite: { name: suite.name, rows } } : {}),
    });
    return;
  }
  const lines = [rows ? suiteTable(rows) : makeTable(evaluation.results)];
  if (!rows && evaluation.results.groups) lines.push(makeTable(evaluation.results, 'groups'));
  const notes = [
    ...(info.limit === undefined ? [] : [`Only the first documents of each task were evaluated (--limit ${info.limit}).`]),
    ...truncationNote(truncated, info.maxLength),
    ...strayNote(evaluation.stray),
  ];
  if (notes.length > 0) lines.push(notes.join('\n'));
  terminal.stdout.write(`${lines.join('\n\n')}\n`);
}

/** A Markdown table, in percent. The last two columns are there when the card has the model. */
function suiteTable(rows: readonly SuiteRow[]): string {
  const compared = rows.some(({ published }) => published !== undefined);
  const headers = ['Task', 'n-shot', 'Metric', 'Value', 'Stderr', ...(compared ? ['Published', 'Verdict'] : [])];
  const cells = rows.map(({ title, numFewshot, metric, value, stderr, published, verdict }, i) => [
    title === rows[i - 1]?.title ? '' : title,
    String(numFewshot),
    metric,
    value.toFixed(2),
    stderr === 'N/A' ? stderr : stderr.toFixed(2),
    ...(compared ? [published?.toFixed(2) ?? '', verdict ?? ''] : []),
  ]);
  return markdown(headers, cells);
}

function truncationNote(truncated: Evaluation['truncated'], context: number | undefined): string[] {
  const entries = Object.entries(truncated);
  if (entries.length === 0) return [];
  const documents = entries.reduce((sum, [, entry]) => sum + entry.documents, 0);
  const tokens = entries.reduce((sum, [, entry]) => sum + entry.tokens, 0);
  const where = entries.slice(0, 8).map(([task, entry]) => `${task} ${entry.documents}`);
  const more = entries.length > 8 ? ` and ${counted(entries.length - 8, 'more task')}` : '';
  return [
    `${counted(documents, 'document')} longer than the context${context === undefined ? '' : ` of ${counted(context, 'token')}`} lost the ` +
      `beginning, ${counted(tokens, 'token')} in all: ${where.join(', ')}${more}.`,
  ];
}

function strayNote(stray: Evaluation['stray']): string[] {
  return Object.entries(stray).map(
    ([task, documents]) =>
      `${task}: the right answer of ${counted(documents, 'document')} is none of the choices; counted as wrong.`,
  );
}

/** Writes a file whole, with its folder. Throws `InputError` when that cannot be done. */
export async function writeText(file: string, text: string): Promise<void> {
  await makeDirectory(dirname(file));
  await writeWhole(file, text);
}
