// What a task is: data in the words of lm-evaluation-harness's task files (config/task.py there), so that a built-in task, a
// user's file and the `configs` of a results file are one thing. Plus how its fields are read for one document
// (api/task.py: doc_to_text, doc_to_target, doc_to_choice). No prompts and no scores here.

import { InputError, messageOf, shown } from '../errors.js';
import { literalEval } from '../python/literal.js';
import { pythonString } from '../python/text.js';
import type { FilterPipeline } from './filters.js';
import type { Loglikelihood } from './scorer.js';
import { renderTemplate } from './template.js';

/** One row of a dataset, by column. */
export type Doc = Readonly<Record<string, unknown>>;

/** A column's name, a Jinja template, or (built-in tasks only) a function. */
export type Field<T> = string | T | ((doc: Doc) => T | string);

/** The right answer: an index into the choices, a text, or several of either. */
export type Target = number | string | readonly (number | string)[];

export type OutputType = 'multiple_choice' | 'loglikelihood' | 'loglikelihood_rolling' | 'generate_until';

/** What a metric of the corpus is computed from: the right answer, or several, and the model's. */
export type Texts = readonly [right: string | readonly string[], answer: string | readonly [string]];

/** A metric of one document: a number, a sum and its weight, or the texts that a metric of the whole corpus compares. */
export type MetricValue = number | readonly [number, number] | Texts;

/** A metric of a task, in lm-evaluation-harness's field names. */
export interface Metric {
  readonly metric: string;
  readonly aggregation?: string;
  readonly higher_is_better?: boolean;
  readonly ignore_case?: boolean;
  readonly ignore_punctuation?: boolean;
  readonly ignore_numbers?: boolean;
  readonly regexes_to_ignore?: readonly string[];
}

/** What a model answered for one document, in the order of its requests. */
export type Answers = readonly Loglikelihood[];

/** Where examples come from, and what they have instead of the task's own (FewshotConfig in config/task.py there). */
export interface FewshotConfig
  extends Partial<
    Pick<Task, 'doc_to_text' | 'doc_to_target' | 'doc_to_choice' | 'gen_prefix' | 'target_delimiter' | 'fewshot_delimiter'>
  > {
  readonly sampler?: 'default' | 'first_n';
  /** Instead of `fewshot_split`; null: none, whatever that says. */
  readonly split?: string | null;
  /** The examples themselves, where no split is named. */
  readonly samples?: readonly Doc[];
}

/** Only documents with a text in a column. */
export interface KeptDocs {
  readonly keep: { readonly column: string; readonly equals: string };
}

/** A task, in lm-evaluation-harness's field names (TaskConfig in config/task.py there). */
export interface Task {
  readonly task: string;
  readonly task_alias?: string;
  readonly dataset_path: string;
  readonly dataset_name?: string;
  /** Files of rows, by split, where `dataset_path` says what they are (`json`, `csv`, `parquet`); names start from the current folder. */
  readonly dataset_kwargs?: { readonly data_files: Readonly<Record<string, readonly string[]>> };
  readonly training_split?: string;
  readonly validation_split?: string;
  readonly test_split?: string;
  readonly fewshot_split?: string;
  /** Applied to each document, few-shot pool included; or which of the documents there are. */
  readonly process_docs?: ((doc: Doc) => Doc) | KeptDocs;
  readonly doc_to_text: Field<string | number>;
  readonly doc_to_target: Field<Target>;
  readonly doc_to_choice?: Field<readonly string[]>;
  readonly process_results?: (doc: Doc, answers: Answers) => Record<string, MetricValue>;
  readonly description?: string;
  readonly target_delimiter?: string;
  readonly fewshot_delimiter?: string;
  readonly fewshot_config?: FewshotConfig;
  readonly num_fewshot?: number;
  readonly metric_list: readonly Metric[];
  readonly output_type: OutputType;
  readonly generation_kwargs?: Readonly<Record<string, unknown>>;
  /** Answers to each document, generated with samples of their own; default 1. Without filters the first one counts. */
  readonly repeats?: number;
  /** How answers are read before they are compared; each pipeline has metrics of its own. Default: as they are. */
  readonly filter_list?: readonly FilterPipeline[];
  /** How an answer begins, put behind the question: a column, or a template. */
  readonly gen_prefix?: string;
  readonly should_decontaminate?: boolean;
  readonly doc_to_decontamination_query?: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** What commit 3196e907 of the harness, which OpenELM's model card pins, had instead. */
  readonly pinned?: Partial<Task>;
}

/** Tasks reported together, with a mean over all their documents. */
export interface TaskGroup {
  readonly group: string;
  readonly group_alias?: string;
  readonly task: readonly (Task | TaskGroup)[];
  readonly aggregate_metric_list: readonly GroupMetric[];
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** A metric that a group has of its tasks. */
export interface GroupMetric {
  readonly metric: string;
  readonly weight_by_size: boolean;
  /** The pipelines of filters whose values are taken; all that its tasks have unless given. */
  readonly filter_list?: readonly string[];
}

export type HarnessVersion = '0.4.13' | 'pinned';

/** The name by which a task or group is asked for. */
export function nameOf(item: Task | TaskGroup): string {
  return 'group' in item ? item.group : item.task;
}

/** All tasks of a list, groups opened, each once. */
export function leafTasks(tasks: readonly (Task | TaskGroup)[]): Task[] {
  const leaves = tasks.flatMap((item) => ('group' in item ? leafTasks(item.task) : [item]));
  return leaves.filter((task, i) => leaves.findIndex((other) => other.task === task.task) === i);
}

/** Whether each choice is asked about by itself too. */
export function usesMutualInformation({ metric_list }: Task): boolean {
  return metric_list.some(({ metric }) => metric === 'acc_mutual_info');
}

/** The task as a version of the harness has it. */
export function taskOfVersion(task: Task, version: HarnessVersion): Task {
  return version === 'pinned' && task.pinned ? { ...task, ...task.pinned } : task;
}

/** The task as its examples are written. */
export function exampleTask(task: Task): Task {
  const { sampler: _, split: __, samples: ___, ...fields } = task.fewshot_config ?? {};
  return { ...task, ...fields };
}

/** What a task's fields say of one document. */
export interface Reading {
  /** The question; for tasks of several contexts (winogrande), the index of the right one. */
  readonly text: string | number;
  /** The answers to choose from; for tasks of several contexts, the contexts. */
  readonly choices?: readonly string[];
  readonly target: Target;
  /** The target as Python prints it: `True` where it counts as the index 1. */
  readonly printed: string;
}

/** What they say of an example, which may have no answer. */
type ExampleReading = Omit<Reading, 'target'> & { readonly target: Target | null };

/** Reads a processed document. Throws `InputError` that names a missing column; the caller adds which document it was. */
export function readDoc(task: Task, doc: Doc, version: HarnessVersion): Reading {
  const { target, ...reading } = readExample(task, doc, version);
  if (target !== null) return { ...reading, target };
  if (task.output_type === 'generate_until' && !reading.choices) return { ...reading, target: reading.printed };
  throw new InputError('the answer is null');
}

/** As `readDoc`, for a document with or without an answer. */
export function readExample(task: Task, doc: Doc, version: HarnessVersion): ExampleReading {
  const choices = task.doc_to_choice === undefined ? undefined : readChoices(task.doc_to_choice, doc, version);
  const text = readField(task.doc_to_text, doc, version);
  const target = readField(task.doc_to_target, doc, version);
  const question =
    typeof text === 'string' ? digits(text, task.doc_to_choice !== undefined, task.doc_to_text, doc) : indexOf(text, choices);
  if (typeof question === 'object') throw new InputError(`the question is ${shown(text)}, no text`);
  const read =
    typeof target === 'string' ? readTarget(target, task.doc_to_choice !== undefined, task.doc_to_target, doc) : target;
  if (task.output_type === 'multiple_choice' && typeof question === 'string' && !namesChoice(read))
    throw new InputError(`the answer is ${shown(pythonString(read))}, neither the place of a choice nor its text`);
  return { text: question, choices, target: plainTarget(read, choices), printed: pythonString(read) };
}

/** Whether a target can name a choice at all: by index, text, or several of either. */
function namesChoice(target: unknown): boolean {
  return (
    target === null ||
    target === undefined ||
    Array.isArray(target) ||
    typeof target === 'string' ||
    typeof target === 'boolean' ||
    Number.isInteger(target)
  );
}

/** What names a choice by its index: Python takes a bool for a number. */
function indexOf(value: unknown, choices: readonly string[] | undefined): number | null {
  if (typeof value === 'boolean' && choices) return Number(value);
  return typeof value === 'number' ? value : null;
}

/** A target that is no text; null where the document has none. */
function plainTarget(value: unknown, choices: readonly string[] | undefined): Target | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return value;
  if (Array.isArray(value))
    return value.map((item) => (typeof item === 'string' ? item : (indexOf(item, choices) ?? pythonString(item))));
  return indexOf(value, choices) ?? pythonString(value);
}

/** The rendered description: what stands before all examples. */
export function readDescription(task: Task, doc: Doc, version: HarnessVersion): string {
  return readText(task.description, doc, version);
}

/** How an answer begins, rendered; nothing where the task does not say. */
export function readGenPrefix(task: Task, doc: Doc, version: HarnessVersion): string {
  return readText(task.gen_prefix, doc, version);
}

function readText(field: string | undefined, doc: Doc, version: HarnessVersion): string {
  if (!field) return '';
  return Object.hasOwn(doc, field) ? String(doc[field]) : render(field, doc, version);
}

function render(template: string, doc: Doc, version: HarnessVersion): string {
  return renderTemplate(template, doc, { keepTrailingNewline: version !== 'pinned' });
}

function readField(field: Field<unknown>, doc: Doc, version: HarnessVersion): unknown {
  if (typeof field === 'function') return callField(field as (doc: Doc) => unknown, doc);
  if (typeof field !== 'string') return field;
  if (Object.hasOwn(doc, field)) return doc[field];
  // A bare word is a column's name; as a template it would only print itself.
  if (/^[A-Za-z_]\w*$/.test(field)) throw new InputError(`there is no column "${field}"`);
  return render(field, doc, version);
}

function callField(field: (doc: Doc) => unknown, doc: Doc): unknown {
  try {
    return field(doc);
  } catch (error) {
    throw error instanceof InputError ? error : new InputError(messageOf(error));
  }
}

function readChoices(field: Field<readonly string[]>, doc: Doc, version: HarnessVersion): readonly string[] {
  const value = readField(field, doc, version);
  const choices = isTemplate(field, doc) && typeof value === 'string' ? literalEval(value) : value; // a missing column prints "Undefined"
  if (!Array.isArray(choices) || choices.length === 0 || !choices.every((choice) => typeof choice === 'string')) {
    throw new InputError('the choices are not a list of texts');
  }
  return choices;
}

const isTemplate = (field: unknown, doc: Doc) => typeof field === 'string' && !Object.hasOwn(doc, field);

/** A template that prints a number names a choice by its index. */
function digits(text: string, chooses: boolean, field: unknown, doc: Doc): string | number {
  return isTemplate(field, doc) && chooses && /^\d+$/.test(text) ? Number(text) : text;
}

/** What a text that a template made stands for. */
function readTarget(text: string, chooses: boolean, field: unknown, doc: Doc): unknown {
  if (!isTemplate(field, doc)) return text;
  if (text.length >= 2 && text.startsWith('[') && text.endsWith(']')) {
    try {
      return literalEval(text);
    } catch {
      return text;
    }
  }
  return digits(text, chooses, field, doc);
}

/** A column that must hold a text; for the functions of built-in tasks. */
export function textOf(doc: Doc, column: string): string {
  const value = doc[column];
  if (value === undefined) throw new InputError(`there is no column "${column}"`);
  if (typeof value !== 'string') throw new InputError(`column "${column}" holds no text`);
  return value;
}
