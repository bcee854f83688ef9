// A user's own task: the parsed content of a YAML or JSON file in lm-evaluation-harness's field names, checked field by field.
// Text fields are columns or Jinja templates; code is not accepted. Reading files is the caller's affair.

import { InputError, nearest, shown } from '../errors.js';
import { checkFilters } from './filters.js';
import { AGGREGATIONS } from './metrics.js';
import type { Metric, OutputType, Task } from './task.js';
import { checkTemplate } from './template.js';

const OUTPUT_TYPES: readonly OutputType[] = ['multiple_choice', 'loglikelihood', 'loglikelihood_rolling', 'generate_until'];

const METRICS: Readonly<Record<OutputType, readonly string[]>> = {
  multiple_choice: ['acc', 'acc_norm', 'acc_bytes', 'exact_match'],
  loglikelihood: ['perplexity', 'acc'],
  loglikelihood_rolling: ['word_perplexity', 'byte_perplexity', 'bits_per_byte'],
  generate_until: ['exact_match'],
};

/** Fields of the harness's task files that are taken. */
const FIELDS = [
  'task',
  'task_alias',
  'dataset_path',
  'dataset_name',
  'training_split',
  'validation_split',
  'test_split',
  'fewshot_split',
  'doc_to_text',
  'doc_to_target',
  'doc_to_choice',
  'description',
  'target_delimiter',
  'fewshot_delimiter',
  'fewshot_config',
  'num_fewshot',
  'metric_list',
  'output_type',
  'generation_kwargs',
  'repeats',
  'filter_list',
  'gen_prefix',
  'should_decontaminate',
  'doc_to_decontamination_query',
  'metadata',
];

/** Answers to a document at most: what is asked is kept in memory. */
const MAX_REPEATS = 1000;

/** Fields that change nothing here. */
const IGNORED = ['tag', 'group', 'dataset_kwargs', 'unsafe_code', 'task_list'];

/** Fields of the harness that ask for what is not done here. */
const REFUSED = ['class', 'custom_dataset', 'doc_to_image', 'doc_to_audio', 'use_prompt', 'process_docs', 'process_results'];

/**
 * A task from a parsed file; `file` names it in messages. Throws `InputError` that names file and field: a field missing,
 * unknown or of the wrong kind, a template that does not parse, a metric that its output_type does not have.
 */
export function taskFromObject(object: unknown, file: string): Task {
  const fail = (what: string): never => {
    throw new InputError(`${file}: ${what}`);
  };
  if (typeof object !== 'object' || object === null || Array.isArray(object))
    return fail('expected fields such as task and doc_to_text');
  const fields = object as Readonly<Record<string, unknown>>;
  refuseFunctions(fields, '', fail);
  for (const name of Object.keys(fields)) {
    if (REFUSED.includes(name)) {
      if (fields[name] == null) continue;
      fail(`"${name}" is not supported by this program`);
    }
    if (FIELDS.includes(name) || IGNORED.includes(name)) continue;
    const guess = nearest(name, FIELDS);
    fail(
      `there is no field "${name}"${guess ? `; did you mean "${guess}"?` : ` that this program knows; it takes ${FIELDS.join(', ')}`}`,
    );
  }
  const text = (name: string): string | undefined => {
    const value = fields[name] ?? undefined;
    if (value !== undefined && typeof value !== 'string') fail(`${name} must be a text`);
    return value as string | undefined;
  };
  const template = (value: unknown, name: string): void => {
    if (typeof value !== 'string') return;
    if (value.startsWith('!function')) fail(`${name} is a Python function; write it as a template`);
    try {
      checkTemplate(value);
    } catch (error) {
      fail(`${name}: ${(error as Error).message}`);
    }
  };
  const outputType = (text('output_type') ?? 'generate_until') as OutputType;
  if (!OUTPUT_TYPES.includes(outputType)) fail(`output_type is "${outputType}"; it must be one of ${OUTPUT_TYPES.join(', ')}`);
  for (const name of ['task', 'dataset_path']) if (!text(name)) fail(`${name} is missing`);
  if (!/^[\w.:+@-]+$/.test(text('task')!)) fail(`task "${text('task')}" must be a word of letters, digits and "_-.:+@"`);
  if (text('test_split') === undefined && text('validation_split') === undefined)
    fail('test_split or validation_split is missing');
  const { doc_to_text: docToText = '', doc_to_target: docToTarget, doc_to_choice: given } = fields;
  const choices = typeof given === 'object' && given !== null && !Array.isArray(given) ? Object.values(given) : given;
  if (typeof docToText !== 'string' && typeof docToText !== 'number') fail('doc_to_text must be a text');
  if (docToTarget === undefined || docToTarget === null) fail('doc_to_target is missing');
  const targets = Array.isArray(docToTarget) ? docToTarget : [docToTarget];
  if (!targets.every((item) => typeof item === 'string' || Number.isInteger(item)))
    fail('doc_to_target must be a text or an index');
  if (outputType === 'multiple_choice' && (choices === undefined || choices === null)) fail('doc_to_choice is missing');
  const isList = Array.isArray(choices) && choices.length > 0 && choices.every((choice) => typeof choice === 'string');
  if (choices !== undefined && choices !== null && typeof choices !== 'string' && !isList) {
    fail('doc_to_choice must be a template or a list of texts');
  }
  for (const name of ['doc_to_text', 'doc_to_target', 'doc_to_choice', 'description', 'gen_prefix']) template(fields[name], name);
  const shots = fields.num_fewshot ?? undefined;
  if (shots !== undefined && !(Number.isInteger(shots) && Number(shots) >= 0))
    fail('num_fewshot must be 0 or a positive whole number');
  const sampler = (fields.fewshot_config as { sampler?: unknown } | undefined)?.sampler ?? 'default';
  if (sampler !== 'default' && sampler !== 'first_n')
    fail(`fewshot_config.sampler is "${sampler}"; it must be default or first_n`);
  for (const key of Object.keys(fields.fewshot_config ?? {})) {
    if (key !== 'sampler') fail(`fewshot_config.${key} is not supported by this program`);
  }
  const generation = fields.generation_kwargs ?? undefined;
  if (generation !== undefined && (typeof generation !== 'object' || Array.isArray(generation)))
    fail('generation_kwargs must be fields');
  checkGeneration((generation ?? {}) as Readonly<Record<string, unknown>>, fail);
  const repeats = (fields.repeats ?? 1) as number;
  if (!(Number.isInteger(repeats) && repeats >= 1 && repeats <= MAX_REPEATS))
    fail(`repeats is ${shown(repeats)}; it must be a whole number from 1 to ${MAX_REPEATS}`);
  const filters = checkFilters(fields.filter_list, repeats, fail);
  if (filters && outputType !== 'generate_until') fail('filter_list is for output_type generate_until here');
  const metadata = (fields.metadata ?? {}) as Readonly<Record<string, unknown>>;
  return {
    task: text('task')!,
    task_alias: text('task_alias'),
    dataset_path: text('dataset_path')!,
    dataset_name: text('dataset_name'),
    training_split: text('training_split'),
    validation_split: text('validation_split'),
    test_split: text('test_split'),
    fewshot_split: text('fewshot_split'),
    doc_to_text: docToText as string | number,
    doc_to_target: docToTarget as Task['doc_to_target'],
    doc_to_choice: (choices ?? undefined) as string | readonly string[] | undefined,
    description: text('description'),
    target_delimiter: text('target_delimiter'),
    fewshot_delimiter: text('fewshot_delimiter'),
    fewshot_config: { sampler: sampler === 'first_n' ? 'first_n' : 'default' },
    num_fewshot: shots as number | undefined,
    metric_list: metricsOf(fields.metric_list, outputType, fail),
    output_type: outputType,
    repeats: repeats > 1 ? repeats : undefined,
    filter_list: filters,
    gen_prefix: text('gen_prefix'),
    generation_kwargs: generation as Task['generation_kwargs'],
    should_decontaminate: fields.should_decontaminate === true,
    doc_to_decontamination_query: text('doc_to_decontamination_query'),
    metadata: { version: 'Yaml', config_source: file, ...metadata },
  };
}

/** What of `generation_kwargs` is heeded here. */
function checkGeneration(given: Readonly<Record<string, unknown>>, fail: (what: string) => never): void {
  const isNumber = (value: unknown, least: number, most: number): boolean =>
    typeof value === 'number' && value >= least && value <= most;
  const isText = (value: unknown): boolean => typeof value === 'string';
  const rules: Readonly<Record<string, readonly [says: string, holds: (value: unknown) => boolean]>> = {
    until: ['a text or a list of texts', (value) => isText(value) || (Array.isArray(value) && value.every(isText))],
    max_gen_toks: ['a whole number of at least 1', (value) => Number.isInteger(value) && isNumber(value, 1, 2 ** 31)],
    do_sample: ['true or false', (value) => typeof value === 'boolean'],
    temperature: ['0 (greedy) or a number from 0.0001 to 10000', (value) => value === 0 || isNumber(value, 0.0001, 10_000)],
    top_p: ['a number from 0 to 1', (value) => isNumber(value, 0, 1)],
  };
  for (const [name, [says, holds]] of Object.entries(rules)) {
    const value = given[name] ?? undefined;
    if (value !== undefined && !holds(value)) fail(`generation_kwargs.${name} is ${shown(value)}; it must be ${says}`);
  }
}

/** A Python function (`!function utils.process`), wherever it stands, is refused by its name. */
function refuseFunctions(value: unknown, path: string, fail: (what: string) => never): void {
  if (typeof value !== 'object' || value === null) return;
  const name = (value as { '!function'?: unknown })['!function'];
  if (name !== undefined) fail(`${path} is a Python function (${String(name)}); write it as a template`);
  for (const [key, item] of Object.entries(value)) refuseFunctions(item, path === '' ? key : `${path}.${key}`, fail);
}

/** The metrics listed, or the first one of the output type. */
function metricsOf(list: unknown, outputType: OutputType, fail: (what: string) => never): Metric[] {
  const known = METRICS[outputType];
  if (list === undefined || list === null) return [{ metric: known[0] }];
  if (!Array.isArray(list) || list.length === 0) return fail('metric_list must be a list of entries such as {metric: acc}');
  return list.map((item: Metric | null) => {
    const name = item?.metric;
    if (typeof name !== 'string' || !known.includes(name)) {
      return fail(`metric_list: there is no metric "${name}" for output_type ${outputType}; there are ${known.join(', ')}`);
    }
    const aggregation = item?.aggregation;
    if (aggregation !== undefined && !(AGGREGATIONS as readonly string[]).includes(aggregation)) {
      fail(`metric_list: there is no aggregation "${aggregation}"; there are ${AGGREGATIONS.join(', ')}`);
    }
    return item as Metric;
  });
}
