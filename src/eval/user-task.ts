// A user's own task: the parsed content of a YAML or JSON file in lm-evaluation-harness's field names, checked field by field.
// Text fields are columns or Jinja templates; code is not accepted. Reading files is the caller's affair.

import { InputError, messageOf, nearest, shown } from '../errors.js';
import { pythonRegex } from '../python/regex.js';
import { checkFilters, type Fail } from './filters.js';
import { AGGREGATIONS, suits } from './metrics.js';
import { TOKEN_LIMITS } from './requests.js';
import type { FewshotConfig, KeptDocs, Metric, OutputType, Task } from './task.js';
import { checkTemplate } from './template.js';

const OUTPUT_TYPES: readonly OutputType[] = ['multiple_choice', 'loglikelihood', 'loglikelihood_rolling', 'generate_until'];

const METRICS: Readonly<Record<OutputType, readonly string[]>> = {
  multiple_choice: ['acc', 'acc_norm', 'acc_bytes', 'acc_mutual_info', 'exact_match', 'f1', 'mcc'],
  loglikelihood: ['perplexity', 'acc'],
  loglikelihood_rolling: ['word_perplexity', 'byte_perplexity', 'bits_per_byte'],
  generate_until: ['exact_match', 'bleu', 'chrf', 'chrf++', 'ter'],
};

/** How many of them a task has that lists none. */
const defaults: Readonly<Record<OutputType, number>> = {
  multiple_choice: 2,
  loglikelihood: 2,
  loglikelihood_rolling: 3,
  generate_until: 1,
};

/** Fields of the harness's task files that are taken. */
const FIELDS = [
  'task',
  'task_alias',
  'dataset_path',
  'dataset_name',
  'dataset_kwargs',
  'training_split',
  'validation_split',
  'test_split',
  'fewshot_split',
  'process_docs',
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

/** Fields of `fewshot_config`; the harness knows `fewshot_indices` too, but takes all examples whatever they are. */
const FEWSHOT_FIELDS = [
  'sampler',
  'split',
  'samples',
  'fewshot_indices',
  'doc_to_text',
  'doc_to_target',
  'doc_to_choice',
  'gen_prefix',
  'target_delimiter',
  'fewshot_delimiter',
];

/** Answers to a document at most: what is asked is kept in memory. */
const MAX_REPEATS = 1000;

/** Fields that change nothing here. */
const IGNORED = ['tag', 'group', 'unsafe_code', 'task_list'];

/** Fields of the harness that ask for what is not done here. */
const REFUSED = ['class', 'custom_dataset', 'doc_to_image', 'doc_to_audio', 'use_prompt', 'process_results'];

/**
 * A task from a parsed file; `file` names it in messages. Throws `InputError` that names file and field: a field missing,
 * unknown or of the wrong kind, a template that does not parse, a metric that its output_type does not have.
 */
export function taskFromObject(object: unknown, file: string): Task {
  const fail: Fail = (what) => {
    throw new InputError(`${file}: ${what}`);
  };
  if (typeof object !== 'object' || object === null || Array.isArray(object))
    return fail('expected fields such as task and doc_to_text');
  const fields = object as Readonly<Record<string, unknown>>;
  refuseFunctions(fields, '', fail);
  checkNames(fields, fail);
  const text = (name: string): string | undefined => textField(fields[name], name, fail);
  const outputType = (text('output_type') ?? 'generate_until') as OutputType;
  if (!OUTPUT_TYPES.includes(outputType)) fail(`output_type is "${outputType}"; it must be one of ${OUTPUT_TYPES.join(', ')}`);
  for (const name of ['task', 'dataset_path']) if (!text(name)) fail(`${name} is missing`);
  if (!/^[\w.:+@-]+$/.test(text('task')!)) fail(`task "${text('task')}" must be a word of letters, digits and "_-.:+@"`);
  if (text('test_split') === undefined && text('validation_split') === undefined)
    fail('test_split or validation_split is missing');
  if (fields.doc_to_target === undefined || fields.doc_to_target === null) fail('doc_to_target is missing');
  if (outputType === 'multiple_choice' && (fields.doc_to_choice ?? undefined) === undefined) fail('doc_to_choice is missing');
  const written = writtenFields(fields, '', fail);
  template(fields.description, 'description', fail);
  const shots = fields.num_fewshot ?? undefined;
  if (shots !== undefined && !(Number.isInteger(shots) && Number(shots) >= 0))
    fail('num_fewshot must be 0 or a positive whole number');
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
  if (typeof metadata !== 'object' || Array.isArray(metadata)) fail('metadata must be fields');
  return {
    task: text('task')!,
    task_alias: text('task_alias'),
    dataset_path: text('dataset_path')!,
    dataset_name: text('dataset_name'),
    dataset_kwargs: ownFiles(text('dataset_path')!, fields.dataset_kwargs ?? {}, fail),
    training_split: text('training_split'),
    validation_split: text('validation_split'),
    test_split: text('test_split'),
    fewshot_split: text('fewshot_split'),
    process_docs: keptDocs(fields.process_docs ?? undefined, fail),
    doc_to_text: '',
    ...(written as Pick<Task, 'doc_to_target'>),
    description: text('description'),
    fewshot_config: fewshotConfig(fields.fewshot_config ?? {}, fail),
    num_fewshot: shots as number | undefined,
    metric_list: metricsOf(fields.metric_list, outputType, fail),
    output_type: outputType,
    repeats: repeats > 1 ? repeats : undefined,
    filter_list: filters,
    generation_kwargs: generation as Task['generation_kwargs'],
    should_decontaminate: fields.should_decontaminate === true,
    doc_to_decontamination_query: text('doc_to_decontamination_query'),
    metadata: { version: 'Yaml', config_source: file, ...metadata },
  };
}

/** Fields that a group gives to a task that is not of a file, checked as those of files are. */
export function checkedOverrides(
  overrides: Readonly<Record<string, unknown>>,
  output_type: OutputType,
  file: string,
): Partial<Task> {
  const whole = {
    task: 'x',
    dataset_path: 'x',
    test_split: 'x',
    doc_to_target: 'x',
    doc_to_choice: 'x',
    output_type,
    ...overrides,
  };
  const checked = Object.entries(taskFromObject(whole, file));
  return Object.fromEntries(checked.filter(([name]) => Object.hasOwn(overrides, name)));
}

function checkNames(fields: Readonly<Record<string, unknown>>, fail: Fail): void {
  for (const [name, value] of Object.entries(fields)) {
    if (FIELDS.includes(name) || IGNORED.includes(name)) continue;
    if (!REFUSED.includes(name)) {
      const guess = nearest(name, FIELDS);
      const way = guess ? `; did you mean "${guess}"?` : ` that this program knows; it takes ${FIELDS.join(', ')}`;
      fail(`there is no field "${name}"${way}`);
    }
    if (value != null) fail(`"${name}" is not supported by this program`);
  }
}

function textField(value: unknown, name: string, fail: Fail): string | undefined {
  if (value !== undefined && value !== null && typeof value !== 'string') fail(`${name} must be a text`);
  return (value ?? undefined) as string | undefined;
}

function template(value: unknown, name: string, fail: Fail): void {
  if (typeof value !== 'string') return;
  if (value.startsWith('!function')) fail(`${name} is a Python function; write it as a template`);
  try {
    checkTemplate(value);
  } catch (error) {
    fail(`${name}: ${messageOf(error)}`);
  }
}

/** How a document is written: those of a task's fields that `fewshot_config` may have too, `path` before their names. */
function writtenFields(fields: Readonly<Record<string, unknown>>, path: string, fail: Fail): Partial<Task> {
  const { doc_to_text: text, doc_to_target: target, doc_to_choice: given } = fields;
  const choices = typeof given === 'object' && given !== null && !Array.isArray(given) ? Object.values(given) : given;
  if (!['string', 'number', 'undefined'].includes(typeof (text ?? undefined))) fail(`${path}doc_to_text must be a text`);
  const targets = Array.isArray(target) ? target : [target ?? ''];
  if (!targets.every((item) => typeof item === 'string' || Number.isInteger(item)))
    fail(`${path}doc_to_target must be a text or an index`);
  const isList = Array.isArray(choices) && choices.length > 0 && choices.every((choice) => typeof choice === 'string');
  if (choices !== undefined && choices !== null && typeof choices !== 'string' && !isList)
    fail(`${path}doc_to_choice must be a template or a list of texts`);
  const delimiters = ['gen_prefix', 'target_delimiter', 'fewshot_delimiter'];
  const texts = delimiters.map((name) => [name, textField(fields[name], path + name, fail)]);
  for (const name of ['doc_to_text', 'doc_to_target', 'doc_to_choice', 'gen_prefix']) template(fields[name], path + name, fail);
  const entries = [['doc_to_text', text], ['doc_to_target', target], ['doc_to_choice', choices], ...texts];
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined && value !== null));
}

/** What `load_dataset` reads files of one's own by; with other paths its arguments change nothing here. */
const FILE_KINDS = ['json', 'csv', 'parquet'];

/** The files of each split: a name or several, of all splits by name, or of `train` alone, as there. */
function ownFiles(path: string, given: unknown, fail: Fail): Task['dataset_kwargs'] {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return fail('dataset_kwargs must be fields');
  const { data_files: files, ...others } = given as Readonly<Record<string, unknown>>;
  if (!FILE_KINDS.includes(path) || files === undefined) return undefined;
  const [other] = Object.keys(others).filter((name) => others[name] != null);
  if (other !== undefined) fail(`dataset_kwargs.${other} is not supported by this program where dataset_path is ${path}`);
  const bySplit = typeof files === 'object' && files !== null && !Array.isArray(files) ? files : { train: files };
  const split = ([name, value]: [string, unknown]): [string, string[]] => {
    const names: unknown[] = [value].flat();
    const isFile = (item: unknown): item is string => typeof item === 'string' && item !== '' && !/[*?]|^\w+:\/\//.test(item);
    if (names.length === 0 || !names.every(isFile))
      return fail(`dataset_kwargs.data_files: ${name} is ${shown(value)}; it must be a file of this machine, or a list of them`);
    return [name, names];
  };
  return { data_files: Object.fromEntries(Object.entries(bySplit).map(split)) };
}

/** Which examples, and what is different in them. */
function fewshotConfig(given: unknown, fail: Fail): FewshotConfig {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return fail('fewshot_config must be fields');
  const config = given as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(config)) {
    if (FEWSHOT_FIELDS.includes(name)) continue;
    if (name === 'process_docs' && config[name] === null) continue;
    fail(`fewshot_config.${name} is not supported by this program; it takes ${FEWSHOT_FIELDS.join(', ')}`);
  }
  const { sampler = 'default', samples, split } = config;
  if (sampler !== 'default' && sampler !== 'first_n')
    return fail(`fewshot_config.sampler is ${shown(sampler)}; it must be default or first_n`);
  const isDocs = Array.isArray(samples) && samples.every((item) => typeof item === 'object' && item && !Array.isArray(item));
  if (samples !== undefined && samples !== null && (!isDocs || samples.length === 0))
    fail('fewshot_config.samples must be a list of documents, each with fields by name');
  return {
    sampler,
    ...(split === undefined ? {} : { split: textField(split, 'fewshot_config.split', fail) ?? null }),
    ...(isDocs ? { samples } : {}),
    ...writtenFields(config, 'fewshot_config.', fail),
    ...(config.gen_prefix === null ? { gen_prefix: '' } : {}),
  };
}

/** Which documents there are. */
function keptDocs(given: unknown, fail: Fail): KeptDocs | undefined {
  if (given === undefined) return undefined;
  const { column, equals } = (given as Partial<KeptDocs>).keep ?? {};
  if (typeof column !== 'string' || typeof equals !== 'string')
    return fail('process_docs must be keep: {column: a name, equals: a text}');
  return { keep: { column, equals } };
}

/** Only what is heeded here: one that is passed over without a word would give other answers. */
function checkGeneration(given: Readonly<Record<string, unknown>>, fail: Fail): void {
  const isNumber = (value: unknown, least: number, most: number): boolean =>
    typeof value === 'number' && value >= least && value <= most;
  const isText = (value: unknown): boolean => typeof value === 'string';
  type Rule = readonly [says: string, holds: (value: unknown) => boolean];
  const limit: Rule = ['a whole number of at least 1', (value) => Number.isInteger(value) && isNumber(value, 1, 2 ** 31)];
  const rules: Readonly<Record<string, Rule>> = {
    ...Object.fromEntries(TOKEN_LIMITS.map((name) => [name, limit])),
    until: ['a text or a list of texts', (value) => isText(value) || (Array.isArray(value) && value.every(isText))],
    do_sample: ['true or false', (value) => typeof value === 'boolean'],
    temperature: ['0 (greedy) or a number from 0.0001 to 10000', (value) => value === 0 || isNumber(value, 0.0001, 10_000)],
    top_p: ['a number from 0 to 1', (value) => isNumber(value, 0, 1)],
    num_beams: ['1, as nothing is searched for here', (value) => value === 1],
  };
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    if (!Object.hasOwn(rules, name))
      fail(`generation_kwargs.${name} is not supported by this program; it takes ${Object.keys(rules).join(', ')}`);
    const [says, holds] = rules[name];
    if (!holds(value)) fail(`generation_kwargs.${name} is ${shown(value)}; it must be ${says}`);
  }
}

/** A Python function (`!function utils.process`), wherever it stands, is refused by its name. */
function refuseFunctions(value: unknown, path: string, fail: Fail): void {
  if (typeof value !== 'object' || value === null) return;
  const name = (value as { '!function'?: unknown })['!function'];
  if (name !== undefined) fail(`${path} is a Python function (${String(name)}); write it as a template`);
  for (const [key, item] of Object.entries(value)) refuseFunctions(item, path === '' ? key : `${path}.${key}`, fail);
}

/** The metrics listed, or the harness's own for the output type. */
function metricsOf(list: unknown, outputType: OutputType, fail: Fail): Metric[] {
  const known = METRICS[outputType];
  if (list === undefined || list === null) return known.slice(0, defaults[outputType]).map((metric) => ({ metric }));
  if (!Array.isArray(list) || list.length === 0) return fail('metric_list must be a list of entries such as {metric: acc}');
  return list.map((item: Metric | null) => {
    const name = item?.metric;
    if (typeof name !== 'string' || !known.includes(name)) {
      return fail(`metric_list: there is no metric "${name}" for output_type ${outputType}; there are ${known.join(', ')}`);
    }
    const aggregation = item?.aggregation;
    if (aggregation !== undefined && !AGGREGATIONS.includes(aggregation)) {
      fail(`metric_list: there is no aggregation "${aggregation}"; there are ${AGGREGATIONS.join(', ')}`);
    }
    if (aggregation !== undefined && !suits(name, aggregation))
      fail(`metric_list: ${name} cannot be aggregated by ${aggregation}`);
    for (const option of ['ignore_case', 'ignore_punctuation', 'ignore_numbers'] as const) {
      const value: unknown = item?.[option];
      if (value != null && typeof value !== 'boolean')
        fail(`metric_list: ${option} is ${shown(value)}; it must be true or false`);
    }
    checkPatterns(item?.regexes_to_ignore ?? [], fail);
    return item as Metric;
  });
}

function checkPatterns(patterns: unknown, fail: Fail): void {
  if (!Array.isArray(patterns) || !patterns.every((pattern) => typeof pattern === 'string'))
    fail('metric_list: regexes_to_ignore must be a list of texts');
  try {
    (patterns as string[]).forEach(pythonRegex);
  } catch (error) {
    fail(`metric_list: ${messageOf(error)}`);
  }
}
