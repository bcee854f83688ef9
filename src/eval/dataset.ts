// The data that tasks read: rows in the schema of the Hugging Face hub, by dataset and split. Where the rows come from is the
// caller's affair (files, the hub, a test); here is how they are named and which of them a task uses.

import { counted, InputError } from '../errors.js';
import type { Doc, Task } from './task.js';

/** Rows by split (`train`, `validation`, `test`, `dev`). */
export type Dataset = Readonly<Record<string, readonly Doc[]>>;

/** Datasets by `datasetKey`. */
export type Datasets = Readonly<Record<string, Dataset>>;

/**
 * `<dataset_path>|<dataset_name>`; the name is empty for a dataset that has only one configuration. Files of one's own
 * (`dataset_kwargs`) stand behind it.
 */
export function datasetKey({ dataset_path: path, dataset_name: name = '', dataset_kwargs: files }: Task): string {
  return `${path}|${name}${files ? `|${JSON.stringify(files.data_files)}` : ''}`;
}

/** Whether a task names the files of its rows itself. */
export function namesFiles(task: Task): boolean {
  return task.dataset_kwargs !== undefined;
}

/** The dataset as a person would name it. */
export function datasetLabel(task: Task): string {
  return [task.dataset_path, task.dataset_name].filter(Boolean).join('/');
}

/** The split whose documents are evaluated. */
export function evaluatedSplit(task: Task): string {
  const split = task.test_split ?? task.validation_split;
  if (split === undefined) throw new InputError(`task ${task.task}: neither test_split nor validation_split is given`);
  return split;
}

/** The split that a task names for its examples. */
export function fewshotSplit({ fewshot_split, fewshot_config: { split = fewshot_split } = {} }: Task): string | undefined {
  return split ?? undefined;
}

/** The split that few-shot examples are drawn from; none where the task has them itself. */
export function poolSplit(task: Task): string | undefined {
  const named = fewshotSplit(task);
  if (named !== undefined || !task.fewshot_config?.samples)
    return named ?? task.training_split ?? task.validation_split ?? evaluatedSplit(task);
  return undefined;
}

/** The pool as messages name it. */
export function poolName(task: Task): string {
  const split = poolSplit(task);
  return split === undefined ? 'fewshot_config.samples' : `split "${split}"`;
}

/** The evaluated documents as they are in the dataset. Throws `InputError` when the dataset or split is missing or empty. */
export function evaluatedDocs(task: Task, datasets: Datasets): readonly Doc[] {
  const dataset = datasets[datasetKey(task)];
  const split = evaluatedSplit(task);
  if (dataset === undefined) {
    throw new InputError(`task ${task.task}: there is no dataset ${datasetLabel(task)} among those that were given`);
  }
  return nonEmpty(
    kept(task, dataset, split),
    `task ${task.task}: dataset ${datasetLabel(task)} has no documents${keptLabel(task)} in split "${split}"`,
  );
}

/** The few-shot pool as it is in the dataset. Throws `InputError` when it is missing or empty. */
export function poolDocs(task: Task, dataset: Dataset, numFewshot: number): readonly Doc[] {
  const split = poolSplit(task);
  if (split === undefined) return task.fewshot_config!.samples!;
  const others = Object.keys(dataset).filter((name) => dataset[name].length > 0);
  return nonEmpty(
    kept(task, dataset, split),
    `task ${task.task}: ${counted(numFewshot, 'example')} wanted, but dataset ${datasetLabel(task)} has no documents${keptLabel(task)} in split ` +
      `"${split}", the few-shot pool (it has ${others.join(', ') || 'nothing'}); ask for 0 or supply that split`,
  );
}

/** Those documents of a split that the task is about. */
function kept({ task, process_docs: docs }: Task, dataset: Dataset, split: string): readonly Doc[] | undefined {
  if (typeof docs !== 'object') return dataset[split];
  const { column, equals } = docs.keep;
  return dataset[split]?.filter((doc, row) => {
    if (Object.hasOwn(doc, column)) return doc[column] === equals;
    throw new InputError(`task ${task}, document ${row} of split "${split}": there is no column "${column}"`);
  });
}

function keptLabel({ process_docs: docs }: Task): string {
  return typeof docs === 'object' ? ` whose "${docs.keep.column}" is "${docs.keep.equals}"` : '';
}

function nonEmpty(docs: readonly Doc[] | undefined, complaint: string): readonly Doc[] {
  if (!docs || docs.length === 0) throw new InputError(complaint);
  return docs;
}
