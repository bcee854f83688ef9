// From scores of documents to the object that lm-evaluation-harness calls results: one entry a task, one a group, versions,
// shots, numbers of samples (evaluator_utils.py and api/group.py there). Key by key the same; no files and no tables.

import { fewshotSplit } from './dataset.js';
import { aggregate, groupMean, groupStderr, higherIsBetter } from './metrics.js';
import { exampleTask, type Metric, type MetricValue, nameOf, type Task, type TaskGroup } from './task.js';

/** What is known of a task after a run: the metrics of its documents, in document order. */
export interface TaskScores {
  readonly task: Task;
  readonly numFewshot: number;
  /** Documents in the split, before any limit. */
  readonly original: number;
  readonly metrics: readonly Readonly<Record<string, MetricValue>>[];
}

/** The metrics of a task or group: `acc,none`, `acc_stderr,none` and so on, beside name, alias and counts. */
export type MetricsEntry = Readonly<Record<string, number | string | Readonly<Record<string, number>>>>;

/** lm-evaluation-harness's results, in its keys. */
export interface EvalResults {
  readonly results: Readonly<Record<string, MetricsEntry>>;
  readonly groups?: Readonly<Record<string, MetricsEntry>>;
  readonly group_subtasks: Readonly<Record<string, readonly string[]>>;
  readonly configs: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly versions: Readonly<Record<string, unknown>>;
  readonly 'n-shot': Readonly<Record<string, number>>;
  readonly higher_is_better: Readonly<Record<string, Readonly<Record<string, boolean | null>>>>;
  readonly 'n-samples': Readonly<Record<string, { readonly original: number; readonly effective: number }>>;
}

/** Resamples for the standard errors that have no formula. */
export const BOOTSTRAP_ITERATIONS = 100_000;

/** Results of all tasks and of the groups among `selected`, in their order. */
export function collectResults(
  scores: readonly TaskScores[],
  selected: readonly (Task | TaskGroup)[],
  bootstrapIterations = BOOTSTRAP_ITERATIONS,
): EvalResults {
  const results: Record<string, MetricsEntry> = {};
  for (const score of scores) results[score.task.task] = taskEntry(score, bootstrapIterations);
  const groups: Record<string, MetricsEntry> = {};
  for (const group of bottomUp(selected)) groups[group.group] = groupEntry(group, results);
  const topDown = groupsOf(selected);
  const isAggregated = new Set(topDown.filter((group) => group.aggregate_metric_list.length > 0).map(({ group }) => group));
  const aggregated = Object.fromEntries(Object.entries(groups).filter(([name]) => isAggregated.has(name)));
  const names = topDown.map((group): [string, string[]] => [group.group, group.task.map(nameOf)]);
  const shots = Object.fromEntries(scores.map(({ task, numFewshot }) => [task.task, numFewshot]));
  const better: Record<string, Record<string, boolean | null>> = Object.fromEntries(
    scores.map(({ task }) => [
      task.task,
      Object.fromEntries(task.metric_list.map((item) => [item.metric, higherIsBetter(item)])),
    ]),
  );
  // A group of groups comes before its parts here and so inherits nothing, as in the harness.
  for (const [group, children] of names) {
    const values = new Set(children.filter((child) => child in shots).map((child) => shots[child]));
    if (values.size === 1) [shots[group]] = values;
    const merged: Record<string, boolean | null> = {};
    for (const child of children) {
      for (const [metric, value] of Object.entries(better[child] ?? {})) {
        merged[metric] = metric in merged && merged[metric] !== value ? null : value;
      }
    }
    if (Object.keys(merged).length > 0) better[group] = merged;
  }
  return {
    results: { ...results, ...groups },
    ...(Object.keys(aggregated).length > 0 ? { groups: aggregated } : {}),
    group_subtasks: Object.fromEntries(names),
    configs: sorted(Object.fromEntries(scores.map(({ task, numFewshot }) => [task.task, taskConfig(task, numFewshot)]))),
    versions: sorted(
      Object.fromEntries([
        ...scores.map(({ task }) => [task.task, task.metadata.version]),
        ...topDown.map((group) => [group.group, String(group.metadata.version ?? 'N/A')]),
      ]),
    ),
    'n-shot': sorted(shots),
    higher_is_better: sorted(better),
    'n-samples': Object.fromEntries(
      scores.map(({ task, original, metrics }) => [task.task, { original, effective: metrics.length }]),
    ),
  };
}

/** Every group before the groups inside it. */
function groupsOf(items: readonly (Task | TaskGroup)[]): TaskGroup[] {
  return items.flatMap((item) => ('group' in item ? [item, ...groupsOf(item.task)] : []));
}

function bottomUp(items: readonly (Task | TaskGroup)[]): TaskGroup[] {
  return items.flatMap((item) => ('group' in item ? [...bottomUp(item.task), item] : []));
}

function leafNames(group: TaskGroup): string[] {
  return group.task.flatMap((item) => ('group' in item ? leafNames(item) : [item.task]));
}

function sorted<T>(object: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

function taskEntry({ task, metrics }: TaskScores, bootstrapIterations: number): MetricsEntry {
  const entry: Record<string, number | string> = {
    name: task.task,
    alias: task.task_alias ?? task.task,
    sample_len: metrics.length,
  };
  for (const key of Object.keys(metrics[0] ?? {})) {
    const [name, filter = 'none'] = key.split(',');
    const metric: Metric = task.metric_list.find((item) => item.metric === name) ?? { metric: name, aggregation: 'mean' };
    const { value, stderr } = aggregate(
      metric,
      metrics.map((of) => of[key]),
      bootstrapIterations,
    );
    entry[`${name},${filter}`] = value;
    entry[`${name}_stderr,${filter}`] = stderr;
  }
  return entry;
}

function groupEntry(group: TaskGroup, results: Readonly<Record<string, MetricsEntry>>): MetricsEntry {
  const entry: Record<string, number | string | Record<string, number>> = {
    alias: group.group_alias ?? group.group,
    name: group.group,
  };
  if (group.aggregate_metric_list.length === 0) return entry;
  const tasks = leafNames(group).flatMap((name) => (name in results ? [results[name]] : []));
  entry.sample_len = tasks.reduce((total, task) => total + Number(task.sample_len), 0);
  const counts: Record<string, number> = {};
  for (const { metric, weight_by_size, filter_list } of group.aggregate_metric_list) {
    for (const filter of filter_list ?? filtersOf(metric, tasks)) {
      const key = `${metric},${filter}`;
      const having = tasks.filter((task) => key in task);
      if (having.length === 0) continue;
      const sizes = having.map((task) => Number(task.sample_len));
      const values = having.map((task) => Number(task[key]));
      const stderrs = having.map((task) => task[`${metric}_stderr,${filter}`]);
      entry[key] = groupMean(values, sizes, weight_by_size);
      entry[`${metric}_stderr,${filter}`] = stderrs.every((item) => typeof item === 'number')
        ? groupStderr(stderrs as number[], sizes, weight_by_size)
        : 'N/A';
      counts[key] = sizes.reduce((a, b) => a + b, 0);
    }
  }
  return Object.keys(counts).length > 0 ? { ...entry, sample_count: counts } : entry;
}

/** The pipelines of filters behind which tasks have a metric, sorted. */
function filtersOf(metric: string, tasks: readonly MetricsEntry[]): string[] {
  const keys = tasks.flatMap((task) => Object.keys(task)).filter((key) => key.startsWith(`${metric},`));
  return [...new Set(keys)].map((key) => key.slice(metric.length + 1)).sort();
}

/** A function has no place in JSON: its field's name stands for it. */
function shown(field: unknown, name: string): unknown {
  return typeof field === 'function' ? `<function ${name}>` : (field ?? null);
}

/** The task as the harness's results show it, defaults filled in, what is not set left out. */
function taskConfig(task: Task, numFewshot: number): Record<string, unknown> {
  const target = task.target_delimiter ?? ' ';
  const fewshot = task.fewshot_delimiter ?? '\n\n';
  const example = exampleTask(task);
  const config: Record<string, unknown> = {
    task: task.task,
    task_alias: task.task_alias,
    dataset_path: task.dataset_path,
    dataset_name: task.dataset_name,
    dataset_kwargs: task.dataset_kwargs,
    training_split: task.training_split,
    validation_split: task.validation_split,
    test_split: task.test_split,
    fewshot_split: task.fewshot_split,
    process_docs: shown(task.process_docs, 'process_docs'),
    doc_to_text: shown(task.doc_to_text, 'doc_to_text'),
    doc_to_target: shown(task.doc_to_target, 'doc_to_target'),
    unsafe_code: false,
    doc_to_choice: shown(task.doc_to_choice, 'doc_to_choice'),
    process_results: shown(task.process_results, 'process_results'),
    description: task.description ?? '',
    target_delimiter: target,
    fewshot_delimiter: fewshot,
    fewshot_config: {
      sampler: task.fewshot_config?.sampler ?? 'default',
      split: fewshotSplit(task) ?? null,
      process_docs: shown(task.process_docs, 'process_docs'),
      fewshot_indices: null,
      samples: task.fewshot_config?.samples ?? null,
      doc_to_text: shown(example.doc_to_text, 'doc_to_text'),
      doc_to_choice: shown(example.doc_to_choice, 'doc_to_choice'),
      doc_to_target: shown(example.doc_to_target, 'doc_to_target'),
      gen_prefix: example.gen_prefix ?? null,
      fewshot_delimiter: example.fewshot_delimiter ?? '\n\n',
      target_delimiter: example.target_delimiter ?? ' ',
    },
    num_fewshot: numFewshot,
    metric_list: task.metric_list,
    output_type: task.output_type,
    generation_kwargs: task.generation_kwargs,
    repeats: task.repeats ?? 1,
    filter_list: task.filter_list,
    gen_prefix: task.gen_prefix,
    should_decontaminate: task.should_decontaminate ?? false,
    doc_to_decontamination_query: task.doc_to_decontamination_query,
    metadata: { config_source: 'built in', ...task.metadata },
  };
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined && value !== null));
}
