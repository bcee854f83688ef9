// Pipelines of filters between an answer and its metrics (`filter_list` of lm-evaluation-harness's task files; its `filters` package): those
// that are functions of the answer's text alone. One answer to a document, so voting and taking the first have nothing to choose from.

import { InputError } from '../errors.js';
import { findAll, pythonRegex } from '../python/regex.js';
import { strip } from '../python/text.js';

/** A pipeline as a task file has it; its name stands in the metrics' keys. */
export interface FilterPipeline {
  readonly name: string;
  readonly filter: readonly Readonly<Record<string, unknown>>[];
}

type Filter = (answer: string) => string;
type Fail = (what: string) => never;

const plain: Readonly<Record<string, Filter>> = {
  lowercase: (answer) => answer.toLowerCase(),
  uppercase: (answer) => answer.toUpperCase(),
  remove_whitespace: strip,
  majority_vote: (answer) => answer,
};

const known = ['regex', 'map', ...Object.keys(plain), 'take_first'];

/** Checks a task file's `filter_list`. Throws `InputError` by way of `fail`, also for a pipeline that does not end with take_first. */
export function checkFilters(list: unknown, fail: Fail): readonly FilterPipeline[] | undefined {
  if (list === undefined || list === null) return undefined;
  if (!Array.isArray(list) || list.length === 0) return fail('filter_list must be a list of pipelines');
  for (const [i, item] of list.entries()) {
    const { name, filter } = (item ?? {}) as Partial<FilterPipeline>;
    if (typeof name !== 'string' || name === '' || name.includes(','))
      fail(`filter_list[${i}].name must be a text without commas`);
    if (list.findIndex((other) => other?.name === name) !== i) fail(`filter_list: there are two pipelines "${name}"`);
    if (!Array.isArray(filter) || filter.length === 0) fail(`filter_list.${name}.filter must be a list of functions`);
    if (filter?.at(-1)?.function !== 'take_first') fail(`filter_list.${name}: a pipeline must end with take_first here`);
    pipelineOf(item as FilterPipeline, fail);
  }
  return list as FilterPipeline[];
}

/** What an answer is after a pipeline. */
export function filtered(pipeline: FilterPipeline, answer: string): string {
  const filters = pipelineOf(pipeline, (what) => {
    throw new InputError(what);
  });
  return filters.reduce((rest, filter) => filter(rest), answer);
}

function pipelineOf({ name, filter }: FilterPipeline, fail: Fail): Filter[] {
  const steps = filter.slice(0, -1).map((step) => {
    const { function: what, ...options } = step;
    const said: Fail = (message) => fail(`filter_list.${name}.${String(what)}: ${message}`);
    if (what === 'regex') return regexFilter(options, said);
    if (what === 'map') return mapFilter(options, said);
    const found = typeof what === 'string' && Object.hasOwn(plain, what) ? plain[what] : undefined;
    if (!found) return fail(`filter_list.${name}: there is no filter "${String(what)}" here; there are ${known.join(', ')}`);
    onlyOptions(options, [], said);
    return found;
  });
  onlyOptions(filter.at(-1)!, ['function'], (message) => fail(`filter_list.${name}.take_first: ${message}`));
  return steps;
}

function onlyOptions(options: object, names: readonly string[], fail: Fail): void {
  for (const key of Object.keys(options)) if (!names.includes(key)) fail(`there is no option "${key}"`);
}

function regexFilter(options: Readonly<Record<string, unknown>>, fail: Fail): Filter {
  onlyOptions(options, ['regex_pattern', 'group_select', 'fallback'], fail);
  const { regex_pattern: pattern = '#### (\\-?[0-9\\.\\,]+)', group_select: select = 0, fallback = '[invalid]' } = options;
  if (typeof pattern !== 'string') return fail('regex_pattern must be a text');
  if (!Number.isInteger(select)) return fail('group_select must be a whole number');
  if (typeof fallback !== 'string') return fail('fallback must be a text');
  let expression: RegExp;
  try {
    expression = pythonRegex(pattern);
  } catch (error) {
    return fail((error as Error).message);
  }
  return (answer) => {
    const matches = findAll(expression, answer);
    if (matches.length === 0) return fallback;
    const match = matches.at(select as number);
    if (match === undefined) return fail(`group_select is ${select}, but an answer has only ${matches.length} matches`);
    return strip(typeof match === 'string' ? match : (match.find((group) => group !== '') ?? fallback));
  };
}

function mapFilter(options: Readonly<Record<string, unknown>>, fail: Fail): Filter {
  onlyOptions(options, ['mapping_dict', 'default_value'], fail);
  const { mapping_dict: mapping = {}, default_value: otherwise } = options;
  const texts =
    typeof mapping === 'object' && mapping !== null && Object.values(mapping).every((value) => typeof value === 'string');
  if (!texts || typeof otherwise !== 'string') return fail('mapping_dict must map texts to texts, default_value be a text');
  const map = new Map(Object.entries(mapping as Readonly<Record<string, string>>));
  return (answer) => map.get(answer) ?? otherwise;
}
