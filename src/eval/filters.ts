// Pipelines of filters between the answers to a document and its metrics (`filter_list` of lm-evaluation-harness's task files; its `filters`
// package): those that are functions of the answers' texts and the document's choices. Its `custom` is a Python function, and refused.

import { counted, InputError } from '../errors.js';
import { findAll, pythonRegex } from '../python/regex.js';
import { strip } from '../python/text.js';

/** A pipeline as a task file has it; its name stands in the metrics' keys. */
export interface FilterPipeline {
  readonly name: string;
  readonly filter: readonly Readonly<Record<string, unknown>>[];
}

/** A text, or several: what a filter takes from an answer (regex_pos), and all answers to a document. */
export type Answer = string | readonly Answer[];
/** Of a text, once one was taken, the characters are what comes one by one, as in Python. */
type Filter = (answers: Answer, doc: Doc) => Answer;
/** Throws `InputError` that says what is wrong with a task file. */
export type Fail = (what: string) => never;
type Options = Readonly<Record<string, unknown>>;
/** A row of a dataset. */
type Doc = Readonly<Record<string, unknown>>;

const known: Readonly<Record<string, (options: Options, fail: Fail) => Filter>> = {
  regex: (options, fail) => each(regexFilter(options, fail)),
  regex_pos: (options, fail) => each(tagsFilter(options, fail)),
  multi_choice_regex: multiChoiceFilter,
  map: (options, fail) => each(mapFilter(options, fail)),
  lowercase: plain((answer) => answer.toLowerCase()),
  uppercase: plain((answer) => answer.toUpperCase()),
  remove_whitespace: plain(strip),
  format_span: plain(formatSpans),
  majority_vote(options, fail) {
    onlyOptions(options, [], fail);
    return (answers) => [majority(texts(answers, fail), fail)];
  },
  take_first(options, fail) {
    onlyOptions(options, [], fail);
    return (answers) => [...answers][0] ?? fail('there is nothing to take the first of');
  },
  take_first_k(options, fail) {
    onlyOptions(options, ['k'], fail);
    const k = options.k as number;
    if (!(Number.isSafeInteger(k) && k > 0)) fail(`k is ${String(k)}; it must be a positive whole number`);
    return (answers) => {
      const taken = [...answers].slice(0, k);
      if (taken.length < k)
        fail(`there are ${counted(taken.length, 'answer')} to take the first ${k} of: repeats must be as many`);
      return typeof answers === 'string' ? taken.join('') : taken;
    };
  },
};

/** Checks a task file's `filter_list`, of a task with so many answers a document. Throws `InputError` by way of `fail`. */
export function checkFilters(list: unknown, repeats: number, fail: Fail): readonly FilterPipeline[] | undefined {
  if (list === undefined || list === null) return undefined;
  if (!Array.isArray(list) || list.length === 0) return fail('filter_list must be a list of pipelines');
  for (const [i, item] of list.entries()) {
    const { name, filter } = (item ?? {}) as Partial<FilterPipeline>;
    if (typeof name !== 'string' || name === '' || name.includes(','))
      fail(`filter_list[${i}].name must be a text without commas`);
    if (list.findIndex((other) => other?.name === name) !== i) fail(`filter_list: there are two pipelines "${name}"`);
    if (!Array.isArray(filter) || filter.length === 0) fail(`filter_list.${name}.filter must be a list of functions`);
    pipelineOf(item as FilterPipeline, fail);
    for (const { function: what, k } of filter ?? [])
      if (what === 'take_first_k' && Number(k) > repeats)
        fail(`filter_list.${name}.take_first_k: k is ${k}, but repeats is ${repeats}`);
  }
  return list as FilterPipeline[];
}

/** What the answers to a document are after a pipeline. Throws `InputError` where Python's filter throws. */
export function filtered(pipeline: FilterPipeline, answers: readonly string[], doc: Doc): Answer {
  const filters = pipelineOf(pipeline, (what) => {
    throw new InputError(what);
  });
  return filters.reduce<Answer>((rest, filter) => filter(rest, doc), answers);
}

function pipelineOf({ name, filter }: FilterPipeline, fail: Fail): Filter[] {
  return filter.map((step) => {
    const { function: what, ...options } = step ?? {};
    const found = typeof what === 'string' && Object.hasOwn(known, what) ? known[what] : undefined;
    const names = Object.keys(known).join(', ');
    if (!found) return fail(`filter_list.${name}: there is no filter "${String(what)}" here; there are ${names}`);
    return found(options, (message) => fail(`filter_list.${name}.${String(what)}: ${message}`));
  });
}

function onlyOptions(options: object, names: readonly string[], fail: Fail): void {
  for (const key of Object.keys(options)) if (!names.includes(key)) fail(`there is no option "${key}"`);
}

function each(of: (answer: Answer) => Answer): Filter {
  return (answers) => [...answers].map(of);
}

function plain(of: (answer: string) => string): (options: Options, fail: Fail) => Filter {
  return (options, fail) => {
    onlyOptions(options, [], fail);
    return (answers) => texts(answers, fail).map(of);
  };
}

function texts(answers: Answer, fail: Fail): string[] {
  return [...answers].map((answer) => asText(answer, fail));
}

function asText(answer: Answer, fail: Fail): string {
  return typeof answer === 'string' ? answer : fail('an answer is a list here, not a text');
}

/** The most frequent one; of several the first. */
function majority(answers: readonly string[], fail: Fail): string {
  const counts = new Map<string, number>();
  for (const answer of answers) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  const most = Math.max(...counts.values());
  return [...counts].find(([, count]) => count === most)?.[0] ?? fail('there is nothing to vote on');
}

function compiled(pattern: unknown, fail: Fail): RegExp {
  if (typeof pattern !== 'string') return fail('regex_pattern must be a text');
  try {
    return pythonRegex(pattern);
  } catch (error) {
    return fail((error as Error).message);
  }
}

/** What both filters by regular expressions take. */
function regexOptions({ regex_pattern: pattern = '#### (\\-?[0-9\\.\\,]+)', ...options }: Options, fail: Fail) {
  const { group_select: select = 0, fallback = '[invalid]' } = options;
  if (!Number.isInteger(select)) return fail('group_select must be a whole number');
  if (typeof fallback !== 'string') return fail('fallback must be a text');
  /** The chosen match; its first group that took part, or `without`. Undefined where nothing matches. */
  const search = (regex: RegExp, answer: Answer, without: string): string | undefined => {
    const matches = findAll(regex, typeof answer === 'string' ? answer : '');
    if (matches.length === 0) return undefined;
    const match = matches.at(select as number);
    const listed = (select as number) < 0 ? -(select as number) : (select as number) + 1;
    if (match === undefined || listed > matches.length)
      return fail(`group_select is ${select}, but an answer has only ${matches.length} matches`);
    return strip(typeof match === 'string' ? match : (match.find((group) => group !== '') ?? without));
  };
  return { expression: compiled(pattern, fail), fallback, search };
}

function regexFilter(options: Options, fail: Fail): (answer: Answer) => string {
  onlyOptions(options, ['regex_pattern', 'group_select', 'fallback'], fail);
  const { expression, fallback, search } = regexOptions(options, fail);
  return (answer) => search(expression, answer, fallback) ?? fallback;
}

const tagged = pythonRegex("\\('([^']*)', '([^']*)'\\)");

/** `POSFilter`: the tags of a list of pairs as Python prints it. Its options but the fallback change nothing, there as here. */
function tagsFilter(options: Options, fail: Fail): (answer: Answer) => Answer {
  onlyOptions(options, ['regex_pattern', 'group_select', 'fallback'], fail);
  const { regex_pattern: pattern, fallback = ['invalid'] } = options;
  if (pattern !== undefined) compiled(pattern, fail);
  const isAnswer = typeof fallback === 'string' || (Array.isArray(fallback) && fallback.every((tag) => typeof tag === 'string'));
  if (!isAnswer) return fail('fallback must be a text or a list of texts');
  return (answer) => {
    const pairs = typeof answer === 'string' ? (findAll(tagged, answer) as string[][]) : answer.map((pair) => [...pair]);
    if (pairs.some((pair) => pair.length !== 2)) return fail('an answer is a list, but not of pairs');
    return pairs.length > 0 ? pairs.map(([, tag]) => tag) : (fallback as Answer);
  };
}

/** `MultiChoiceRegexFilter`: the pattern, else one of the choices' texts, else a letter behind a colon. */
function multiChoiceFilter(options: Options, fail: Fail): Filter {
  const own = ['ignore_case', 'ignore_punctuation', 'regexes_to_ignore'];
  onlyOptions(options, ['regex_pattern', 'group_select', 'fallback', ...own], fail);
  const { expression, fallback, search } = regexOptions(options, fail);
  const { ignore_case: ignoreCase = false, ignore_punctuation: ignorePunctuation = false } = options;
  const ignored = options.regexes_to_ignore ?? [];
  if (!Array.isArray(ignored)) return fail('regexes_to_ignore must be a list');
  const removed = ignored.map((pattern) => compiled(pattern, fail));
  const reduced = (text: string): string => {
    let rest = removed.reduce((left, pattern) => left.replace(pattern, ''), text);
    if (ignoreCase) rest = rest.toLowerCase();
    return ignorePunctuation ? rest.replace(/\p{P}/gu, '') : rest;
  };
  return (answers, { choices }) => {
    if (!Array.isArray(choices) || !choices.every((choice) => typeof choice === 'string'))
      return fail('the document has no list of texts in "choices"');
    if (choices.length > 26) return fail(`there are ${choices.length} choices, and 26 letters`);
    const letters = choices.map((_, i) => String.fromCharCode(65 + i));
    const named = choices.map((choice) => reduced(strip(choice)));
    const byText = new Map(named.map((text, i) => [text, `(${letters[i]})`]));
    // In the harness's order: by length as `re.escape` writes them.
    const length = (text: string): number => [...text.replace(/[-()[\]{}?*+|^$\\.&~# \t\n\r\v\f]/g, '\\$&')].length;
    const sorted = [...named].sort((a, b) => length(b) - length(a));
    const anyText = new RegExp(sorted.map((text) => text.replace(/[\^$\\.*+?()[\]{}|/]/g, '\\$&')).join('|'), 'gu');
    const anyLetter = pythonRegex(`:[\\s]*(${letters.join('|')})`);
    return [...answers].map((answer) => {
      const reads = ignoreCase || ignorePunctuation || removed.length > 0;
      const text = (): string => search(anyText, reads ? reduced(asText(answer, fail)) : answer, '') ?? '';
      const letter = (): string => search(anyLetter, answer, '') ?? '';
      const nameOf = (found: string): string => byText.get(found) ?? found;
      const lettered = (found: string): string => (letters.includes(found) ? `(${found})` : found);
      // Nothing found is no name, even of a choice that is nothing.
      const chosen = (found: string, of: (found: string) => string): string => found && of(found);
      return search(expression, answer, '') || chosen(text(), nameOf) || chosen(letter(), lettered) || fallback;
    });
  };
}

function mapFilter(options: Options, fail: Fail): (answer: Answer) => string {
  onlyOptions(options, ['mapping_dict', 'default_value'], fail);
  const { mapping_dict: mapping = {}, default_value: otherwise } = options;
  const texts =
    typeof mapping === 'object' && mapping !== null && Object.values(mapping).every((value) => typeof value === 'string');
  if (!texts || typeof otherwise !== 'string') return fail('mapping_dict must map texts to texts, default_value be a text');
  const map = new Map(Object.entries(mapping as Readonly<Record<string, string>>));
  return (answer) => map.get(asText(answer, fail)) ?? otherwise;
}

/** In this order: what one has written none of the next finds. */
const labels = (
  'person PER, location LOC, organization ORG, counties LOC, places LOC, people PER, persons PER, company ORG, country LOC, ' +
  'continent LOC, time DATE, date DATE, per PER, loc LOC, org ORG'
)
  .split(', ')
  .map((pair) => pair.split(' '))
  .map(([name, label]) => ({ pattern: pythonRegex(`\\b${name}\\s*:`), label }));
const spans = pythonRegex('\\b(PER|LOC|ORG|DATE):\\s*([^$]+)');

/** `SPANFilter`: named entities, one `label: value` each. */
function formatSpans(answer: string): string {
  const labelled = labels.reduce((text, { pattern, label }) => text.replace(pattern, `${label}:`), answer.toLowerCase());
  const lines = labelled.replaceAll('$$', '$').replace(/\$+$/, '').replaceAll('\n', '$');
  return (findAll(spans, strip(lines)) as string[][])
    .flatMap(([label, values]) =>
      values
        .split(',')
        .map(strip)
        .filter((value) => value.toLowerCase() !== 'none')
        .map((value) => `${label.toLowerCase()}: ${value}`),
    )
    .join(' $ ');
}
