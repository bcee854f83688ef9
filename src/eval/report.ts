// What a run leaves behind, in the shapes of lm-evaluation-harness: the object of a results file, the lines of samples files, the
// names of both, and the Markdown table (loggers/evaluation_tracker.py and utils.py `make_table`). Text only; writing is app's.

import { visible } from '../errors.js';
import { stringifyData } from '../io/json.js';
import { type Evaluation, type Sample, sha256 } from './harness.js';
import { FEWSHOT_SEED, type RequestOptions } from './requests.js';
import { BOOTSTRAP_ITERATIONS, type EvalResults, type MetricsEntry } from './results.js';

/** What a results file says about the run beside its numbers. */
export interface RunInfo {
  /** Name of the model, as it is to stand in the files. */
  readonly modelName: string;
  /** Kind of model, the harness's `--model`; `openelm` unless given. */
  readonly model?: string;
  readonly modelArgs?: string;
  readonly parameters?: number;
  readonly dtype?: string;
  readonly limit?: number;
  readonly fewshotSeed?: number;
  readonly bootstrapIterations?: number;
  readonly maxLength?: number;
  /** Special tokens as text and id. */
  readonly tokens?: Readonly<Partial<Record<'pad' | 'eos' | 'bos', readonly [string, number]>>>;
  /** When it ended. */
  readonly date: Date;
  readonly seconds: number;
  /** Version of this package. */
  readonly version?: string;
  readonly harnessVersion?: string;
  /** How prompts were written, as `promptInfo` tells; in plain text unless given. */
  readonly prompts?: PromptInfo;
}

/** The harness's keys for what stands before questions and how they are put. */
interface PromptInfo {
  readonly system_instruction: string | null;
  readonly system_instruction_sha: string | null;
  readonly fewshot_as_multiturn: boolean;
  readonly chat_template: string | null;
  readonly chat_template_sha: string | null;
}

const plainPrompts: PromptInfo = {
  system_instruction: null,
  system_instruction_sha: null,
  fewshot_as_multiturn: false,
  chat_template: null,
  chat_template_sha: null,
};

/** What results files say of the options that `evaluate` wrote prompts by. */
export async function promptInfo(options: Pick<RequestOptions, 'systemInstruction' | 'chat'>): Promise<PromptInfo> {
  const { systemInstruction: system, chat } = options;
  return {
    ...plainPrompts,
    ...(system && { system_instruction: system, system_instruction_sha: await sha256(system) }),
    ...(chat && {
      fewshot_as_multiturn: chat.multiturn,
      chat_template: chat.template,
      chat_template_sha: await sha256(chat.template),
    }),
  };
}

/** Folder and file names in place of a model's name. */
function sanitizeModelName(name: string): string {
  return name.replace(/["<>:/|\\?*[\]]+/g, '__');
}

/** The object of `results_<date>.json`; `hashes` are what `taskHashes` gives. */
export function resultsObject(evaluation: Evaluation, info: RunInfo, hashes: Readonly<Record<string, string>> = {}) {
  return {
    ...evaluation.results,
    config: {
      model: info.model ?? 'openelm',
      model_args: info.modelArgs ?? '',
      model_num_parameters: info.parameters ?? null,
      model_dtype: info.dtype ?? null,
      model_revision: '',
      model_sha: '',
      batch_size: null,
      batch_sizes: [],
      device: null,
      use_cache: null,
      limit: info.limit ?? null,
      bootstrap_iters: info.bootstrapIterations ?? BOOTSTRAP_ITERATIONS,
      gen_kwargs: null,
      random_seed: 0,
      numpy_seed: 1234,
      torch_seed: 1234,
      fewshot_seed: info.fewshotSeed ?? FEWSHOT_SEED,
    },
    git_hash: null,
    date: info.date.getTime() / 1000,
    pretty_env_info: `openelm ${info.version ?? ''}`.trim(),
    transformers_version: null,
    lm_eval_version: info.harnessVersion ?? '0.4.13',
    upper_git_hash: null,
    tokenizer_pad_token: tokenOf(info, 'pad'),
    tokenizer_eos_token: tokenOf(info, 'eos'),
    tokenizer_bos_token: tokenOf(info, 'bos'),
    eot_token_id: info.tokens?.eos?.[1] ?? null,
    max_length: info.maxLength ?? null,
    task_hashes: hashes,
    model_source: 'openelm',
    model_name: info.modelName,
    model_name_sanitized: sanitizeModelName(info.modelName),
    ...(info.prompts ?? plainPrompts),
    total_evaluation_time_seconds: String(info.seconds),
  };
}

/** Text and id, both as texts. */
function tokenOf({ tokens }: RunInfo, name: 'pad' | 'eos' | 'bos'): [string, string] | null {
  const token = tokens?.[name];
  return token ? [token[0], String(token[1])] : null;
}

/** One hash a task over the hashes of its samples. */
export async function taskHashes(samples: Readonly<Record<string, readonly Sample[]>>): Promise<Record<string, string>> {
  const hashes = Object.entries(samples).map(async ([task, list]): Promise<[string, string]> => {
    return [task, await sha256(list.map((sample) => sample.doc_hash + sample.prompt_hash + sample.target_hash).join(''))];
  });
  return Object.fromEntries(await Promise.all(hashes));
}

/** The text of `samples_<task>_<date>.jsonl`. */
export function samplesText(samples: readonly Sample[]): string {
  return samples.map((sample) => `${stringifyData(sample)}\n`).join('');
}

/** Where the harness would put the files of a run, relative to its output folder. The date is in local time. */
export function outputNames(
  modelName: string,
  tasks: readonly string[],
  date: Date,
): { results: string; samples: Record<string, string> } {
  const two = (value: number, digits = 2) => String(value).padStart(digits, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}-${two(date.getMinutes())}-${two(date.getSeconds())}.${two(date.getMilliseconds(), 3)}000`;
  const folder = sanitizeModelName(modelName);
  return {
    results: `${folder}/results_${day}T${time}.json`,
    samples: Object.fromEntries(tasks.map((task) => [task, `${folder}/samples_${task}_${day}T${time}.jsonl`])),
  };
}

const HEADERS = ['Tasks', 'Version', 'Filter', 'n-shot', 'Metric', '', 'Value', '', 'Stderr'];

/** The harness's Markdown table: groups first, their tasks indented below them, the rest by name. */
export function makeTable(results: EvalResults, column: 'results' | 'groups' = 'results'): string {
  const entries: Readonly<Record<string, MetricsEntry>> = results[column] ?? {};
  const rows: string[][] = [];
  for (const [name, depth] of inOrder(results, new Set(Object.keys(entries)))) {
    const entry = entries[name];
    let shown = `${depth > 0 ? `${' '.repeat(depth)}- ` : ''}${entry.alias ?? name}`;
    let version = String(results.versions[name] ?? '    N/A');
    for (const key of Object.keys(entry).sort()) {
      const [metric, filter] = key.split(',');
      if (filter === undefined || metric.endsWith('_stderr')) continue;
      const better = results.higher_is_better[name]?.[metric];
      const stderr = entry[`${metric}_stderr,${filter}`];
      rows.push([
        shown,
        version,
        filter,
        String(results['n-shot'][name] ?? ' '),
        metric,
        better === true ? '↑' : better === false ? '↓' : '',
        fourDigits(entry[key] as number),
        stderr === undefined ? '' : '±',
        stderr === undefined ? '' : stderr === 'N/A' ? '   N/A' : fourDigits(stderr as number),
      ]);
      shown = '';
      version = '';
    }
  }
  return markdown([column === 'groups' ? 'Groups' : 'Tasks', ...HEADERS.slice(1)], rows);
}

/** Names with their depth: trees of groups by name, then what is in no group. */
function inOrder(results: EvalResults, available: ReadonlySet<string>): [string, number][] {
  const children = results.group_subtasks;
  const inside = new Set(Object.values(children).flat());
  const order: [string, number][] = [];
  const met = new Set<string>();
  const visit = (name: string, depth: number): void => {
    met.add(name);
    if (available.has(name)) order.push([name, depth]);
    for (const child of [...(children[name] ?? [])].sort()) visit(child, depth + 1);
  };
  for (const name of Object.keys(children).sort()) if (!inside.has(name)) visit(name, 0);
  for (const name of [...available].sort()) if (!met.has(name)) order.push([name, 0]);
  return order;
}

/** Python's `.4f`: a tie, which only odd 32nds can be, goes to the even digit. */
export function fourDigits(value: number): string {
  const odd = value * 32;
  if (Number.isInteger(odd) && odd % 2 !== 0) {
    const below = Math.floor(value * 10_000);
    return ((below % 2 === 0 ? below : below + 1) / 10_000).toFixed(4);
  }
  return value.toFixed(4);
}

/** Columns of numbers to the right, titles in the middle, as pytablewriter writes them. */
export function markdown(titles: readonly string[], texts: readonly (readonly string[])[]): string {
  const headers = titles.map(visible);
  const rows = texts.map((cells) => cells.map(visible));
  const widths = headers.map((header, i) =>
    Math.max(3, ...[header, ...rows.map((row) => row[i])].map((cell) => [...cell].length)),
  );
  const numeric = headers.map((_, i) => {
    const cells = rows.map((row) => row[i].trim()).filter((cell) => cell !== '');
    return cells.length > 0 && cells.every((cell) => /^-?\d+(?:\.\d+)?$/.test(cell));
  });
  const pad = (cell: string, i: number) => {
    const space = ' '.repeat(widths[i] - [...cell].length);
    return numeric[i] ? space + cell : cell + space;
  };
  const center = (cell: string, i: number) => {
    const space = widths[i] - [...cell].length;
    return ' '.repeat(Math.floor(space / 2)) + cell + ' '.repeat(Math.ceil(space / 2));
  };
  const line = (cells: readonly string[]) => `|${cells.join('|')}|`;
  return [
    line(headers.map(center)),
    line(widths.map((width, i) => (numeric[i] ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)))),
    ...rows.map((row) => line(row.map(pad))),
  ].join('\n');
}
