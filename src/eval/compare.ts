// Several models' results side by side: rows of values with standard errors, as a Markdown table and as a picture. It
// reads results in lm-evaluation-harness's shape, whoever wrote them. Text only; files are app's.

import { barsSvg } from '../report/bars.js';
import { fourDigits, markdown } from './report.js';
import type { EvalResults } from './results.js';

/** One model's results, and what it is called. */
export interface ComparedResults {
  readonly label: string;
  readonly results: Pick<EvalResults, 'results' | 'group_subtasks' | 'n-shot'>;
}

/** A metric of a task at a number of examples; by model, where it was measured. */
export interface CompareRow {
  readonly task: string;
  readonly shots: number | undefined;
  readonly metric: string;
  readonly values: readonly ({ readonly value: number; readonly stderr: number | undefined } | undefined)[];
}

/** Metrics from 0 to 1, shown in percent. */
const shares = new Set(['acc', 'acc_norm', 'acc_bytes', 'exact_match', 'pct_stereotype']);

/** Rows in the order of the first model that has them. A task inside a group is left out: the group stands for it. */
export function compareRows(models: readonly ComparedResults[]): CompareRow[] {
  const inGroups = new Set(models.flatMap(({ results }) => Object.values(results.group_subtasks ?? {}).flat()));
  const rows = new Map<
    string,
    { task: string; shots: number | undefined; metric: string; values: CompareRow['values'][number][] }
  >();
  for (const [at, { results }] of models.entries()) {
    for (const [task, entry] of Object.entries(results.results)) {
      if (inGroups.has(task)) continue;
      const shots = results['n-shot']?.[task];
      for (const [key, value] of Object.entries(entry)) {
        const [metric, filter] = key.split(',');
        if (filter === undefined || metric.endsWith('_stderr') || typeof value !== 'number') continue;
        const place = JSON.stringify([task, shots, metric, filter]);
        const row = rows.get(place) ?? { task, shots, metric, values: models.map(() => undefined) };
        rows.set(place, row);
        const stderr = entry[`${metric}_stderr,${filter}`];
        row.values[at] = { value, stderr: typeof stderr === 'number' ? stderr : undefined };
      }
    }
  }
  return [...rows.values()];
}

/** The rows as a Markdown table; shares in percent, the rest as it is, each with its standard error. */
export function compareTable(rows: readonly CompareRow[], labels: readonly string[]): string {
  const cells = rows.map(({ task, shots, metric, values }, i) => [
    task === rows[i - 1]?.task ? '' : task,
    String(shots ?? ''),
    metric,
    ...values.map((item) => {
      if (!item) return '';
      const show = (value: number): string => (shares.has(metric) ? (100 * value).toFixed(2) : fourDigits(value));
      return item.stderr === undefined ? show(item.value) : `${show(item.value)} ± ${show(item.stderr)}`;
    }),
  ]);
  return markdown(['Task', 'n-shot', 'Metric', ...labels], cells);
}

/** The shares among the rows as a picture: an SVG document. */
export function compareSvg(rows: readonly CompareRow[], labels: readonly string[], title: string): string {
  const groups = rows
    .filter(({ metric }) => shares.has(metric))
    .map(({ task, shots, metric, values }) => ({
      name: task,
      note: `${metric}${shots === undefined ? '' : `, ${shots}-shot`}`,
      values,
    }));
  return barsSvg(groups, labels, title);
}
