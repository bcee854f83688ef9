// Judges goldens of lm-evaluation-harness: each request to the byte, few-shot rows, hashes, metrics of documents and of runs,
// Python's random numbers, the pinned version's differences, and the shape of results and samples files. No model takes part;
// log-likelihoods are those written in the goldens.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { messageOf } from '../../src/errors.js';
import { type Datasets, datasetKey } from '../../src/eval/dataset.js';
import { hashesOf, sampleOf } from '../../src/eval/harness.js';
import {
  aggregate,
  bitsPerByte,
  bootstrapStderr,
  choiceMetrics,
  documentMetrics,
  groupMean,
  groupStderr,
  mean,
  meanStderr,
  median,
  perplexity,
  weightedMean,
  weightedPerplexity,
} from '../../src/eval/metrics.js';
import { buildRequests, type Instance } from '../../src/eval/requests.js';
import { collectResults, type TaskScores } from '../../src/eval/results.js';
import { type HarnessVersion, leafTasks, type Task, type TaskGroup } from '../../src/eval/task.js';
import { findTasks } from '../../src/eval/tasks/index.js';
import { meanGroup } from '../../src/eval/tasks/mmlu.js';
import { PythonRandom } from '../../src/python-random.js';
import { exists } from './models.js';

/** One judged part: how many values were compared, and a sentence for each that differs. */
export interface JudgedEval {
  item: string;
  judged: number;
  failures: string[];
}

const BOUND = 1e-9;

class Judge {
  readonly result: JudgedEval;

  constructor(item: string) {
    this.result = { item, judged: 0, failures: [] };
  }

  equal(what: string, found: unknown, expected: unknown): void {
    this.result.judged++;
    const difference = differ(found, expected, '');
    if (difference !== undefined) this.result.failures.push(`${what}${difference}`);
  }

  attempt(what: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.result.judged++;
      this.result.failures.push(`${what}: ${messageOf(error)}`);
    }
  }
}

/** Where two values differ first: fractions by more than 1e-9 (absolute or relative), all else, whole numbers too, at all. */
function differ(found: unknown, expected: unknown, path: string): string | undefined {
  if (typeof found === 'number' && typeof expected === 'number' && !(Number.isInteger(found) && Number.isInteger(expected))) {
    const near = Math.abs(found - expected) <= BOUND * Math.max(1, Math.abs(expected));
    return near || Object.is(found, expected) ? undefined : `${path} is ${found}, expected ${expected}`;
  }
  if (typeof found === 'object' && typeof expected === 'object' && found !== null && expected !== null) {
    const keys = new Set([...Object.keys(found), ...Object.keys(expected)]);
    for (const key of keys) {
      const difference = differ(at(found, key), at(expected, key), `${path}.${key}`);
      if (difference !== undefined) return difference;
    }
    return undefined;
  }
  if (found === expected) return undefined;
  const show = (value: unknown) => JSON.stringify(value)?.slice(0, 120);
  return `${path} is ${show(found)}, expected ${show(expected)}`;
}

const at = (object: object, key: string) => (object as Record<string, unknown>)[key];

async function readText(file: string): Promise<string> {
  const bytes = await readFile(file);
  return (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
}

const readJson = async <T>(file: string): Promise<T> => JSON.parse(await readText(file)) as T;

async function readLines<T>(file: string): Promise<T[]> {
  const lines = (await readText(file)).split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as T);
}

interface GoldenRequest {
  run: string;
  task: string;
  num_fewshot: number;
  doc_id: number;
  doc: Record<string, unknown>;
  target: unknown;
  fewshot_idx: number[];
  requests: [string, string][];
  lls: number[];
  greedy: boolean[];
  metrics: Record<string, number>;
  doc_hash: string;
  prompt_hash: string;
  target_hash: string;
}

type Requests = readonly (readonly [string, string])[];

/** Shots asked for: what follows the last @ of a run's name. */
const askedOf = (run: string) => Number(run.split('@').at(-1));
const nameOfRun = (run: string) => run.slice(run.indexOf('/') + 1, run.lastIndexOf('@'));

const leaf = (name: string): Task => leafTasks(findTasks([name]))[0];

/** Instances of (run, task), built once. */
function builder(datasets: Datasets, version: HarnessVersion) {
  const built = new Map<string, Instance[]>();
  return (run: string, name: string): Instance[] => {
    const key = `${run} ${name}`;
    let instances = built.get(key);
    if (!instances) {
      const task = leaf(name);
      const dataset = datasets[datasetKey(task)] ?? {};
      instances = buildRequests(task, dataset, { numFewshot: askedOf(run), harnessVersion: version });
      built.set(key, instances);
    }
    return instances;
  };
}

const pairsOf = (instance: Instance): Requests =>
  instance.loglikelihood.map(({ context, continuation }) => [context, continuation]);

async function judgeRequests(rows: readonly GoldenRequest[], datasets: Datasets): Promise<JudgedEval> {
  const judge = new Judge('requests');
  const build = builder(datasets, '0.4.13');
  for (const row of rows) {
    const what = `${row.run} ${row.task} ${row.doc_id}`;
    try {
      const instance = build(row.run, row.task)[row.doc_id];
      const { reading } = instance;
      const loglikelihood = row.lls.map((logprob, i) => ({ logprob, greedy: row.greedy[i] }));
      judge.equal(`${what}: requests`, pairsOf(instance), row.requests);
      judge.equal(`${what}: doc`, JSON.stringify(instance.doc), JSON.stringify(row.doc));
      judge.equal(`${what}: target`, reading.target, row.target);
      judge.equal(`${what}: few-shot rows`, instance.fewshot, row.fewshot_idx);
      judge.equal(`${what}: metrics`, documentMetrics(leaf(row.task), instance.doc, reading, { loglikelihood }), row.metrics);
      const { doc_hash, prompt_hash, target_hash } = row;
      judge.equal(`${what}: hashes`, await hashesOf(instance), { doc_hash, prompt_hash, target_hash });
    } catch (error) {
      judge.attempt(what, () => {
        throw error;
      });
    }
  }
  return judge.result;
}

interface GoldenRun extends Record<string, unknown> {
  'n-shot': Record<string, number>;
  'n-samples': Record<string, { original: number; effective: number }>;
  samples?: Record<string, { doc_id: number; target: unknown; lls: number[] }[]>;
}

const COMPARED = ['results', 'groups', 'group_subtasks', 'versions', 'n-shot', 'higher_is_better', 'n-samples'];

/** Results of runs from the made-up log-likelihoods of their documents. */
function judgeRuns(runs: Readonly<Record<string, GoldenRun>>, rows: readonly GoldenRequest[], datasets: Datasets): JudgedEval {
  const judge = new Judge('metrics of runs');
  const build = builder(datasets, '0.4.13');
  for (const [run, expected] of Object.entries(runs)) {
    judge.attempt(run, () => {
      const selected = findTasks([nameOfRun(run)]);
      const scores = leafTasks(selected).map((task): TaskScores => {
        const samples = expected.samples?.[task.task];
        const metrics = samples
          ? samples.map(({ target, lls }) => {
              const reading = { text: '', choices: ['A', 'B', 'C', 'D'], target: target as number, printed: '' };
              return documentMetrics(task, {}, reading, { loglikelihood: lls.map((logprob) => ({ logprob, greedy: false })) });
            })
          : rows
              .filter((row) => row.run === run && row.task === task.task)
              .map((row) => {
                const instance = build(run, task.task)[row.doc_id];
                const loglikelihood = row.lls.map((logprob, i) => ({ logprob, greedy: row.greedy[i] }));
                return documentMetrics(task, instance.doc, instance.reading, { loglikelihood });
              });
        const { original } = expected['n-samples'][task.task];
        return { task, numFewshot: task.num_fewshot === 0 ? 0 : askedOf(run), original, metrics };
      });
      const found = collectResults(scores, selected) as unknown as Record<string, unknown>;
      for (const key of COMPARED) judge.equal(`${run}: ${key}`, found[key], expected[key]);
    });
  }
  return judge.result;
}

interface GoldenPrimitives {
  mean_stderr: { xs: number[]; mean: number; stderr: number }[];
  weighted: { items: [number, number][]; weighted_perplexity: number; bits_per_byte: number; weighted_mean: number };
  perplexity: { xs: number[]; perplexity: number; bootstrap: { iters: number; stderr: number }[] };
  median: { xs: number[]; median: number } & Record<string, number>;
  group: Record<'metrics' | 'stderrs' | 'sizes', number[]> &
    Record<'weight_by_size' | 'unweighted' | 'pooled_sample_stderr' | 'unweighted_mean_stderr', number>;
  choice_cases: ({ choices: string[]; gold: number; lls: number[]; greedy: boolean[] } & Record<string, unknown>)[];
}

function judgePrimitives(golden: GoldenPrimitives): JudgedEval {
  const judge = new Judge('metric primitives');
  for (const { xs, mean: expected, stderr } of golden.mean_stderr) {
    judge.equal('mean', mean(xs), expected);
    judge.equal('stderr of the mean', meanStderr(xs), stderr);
  }
  const { weighted, group } = golden;
  judge.equal('weighted mean', weightedMean(weighted.items), weighted.weighted_mean);
  judge.equal('weighted perplexity', weightedPerplexity(weighted.items), weighted.weighted_perplexity);
  judge.equal('bits per byte', bitsPerByte(weighted.items), weighted.bits_per_byte);
  judge.equal('perplexity', perplexity(golden.perplexity.xs), golden.perplexity.perplexity);
  for (const { iters, stderr } of golden.perplexity.bootstrap) {
    judge.equal(`bootstrap of the perplexity, ${iters}`, bootstrapStderr(perplexity, golden.perplexity.xs, iters), stderr);
  }
  judge.equal('median', median(golden.median.xs), golden.median.median);
  for (const [key, stderr] of Object.entries(golden.median)) {
    const iterations = key.match(/^bootstrap_(\d+)$/)?.[1];
    if (iterations) judge.equal(key, bootstrapStderr(median, golden.median.xs, Number(iterations)), stderr);
  }
  judge.equal('group mean by size', groupMean(group.metrics, group.sizes), group.weight_by_size);
  judge.equal('group mean, unweighted', groupMean(group.metrics, group.sizes, false), group.unweighted);
  judge.equal('pooled stderr', groupStderr(group.stderrs, group.sizes), group.pooled_sample_stderr);
  golden.choice_cases.forEach((row, i) => {
    const answers = row.lls.map((logprob, j) => ({ logprob, greedy: row.greedy[j] }));
    const found = choiceMetrics(row.choices, row.gold, answers);
    for (const metric of ['acc', 'acc_norm', 'acc_bytes', 'exact_match']) {
      judge.equal(`choice case ${i}: ${metric}`, found[metric], row[metric]);
    }
  });
  // A metric with one document has no standard error, nor have weighted ones with any number.
  judge.equal('stderr of one document', aggregate({ metric: 'acc' }, [1], 1000).stderr, 'N/A');
  judge.equal('stderr of bits per byte', aggregate({ metric: 'bits_per_byte' }, weighted.items, 1000).stderr, 'N/A');
  return judge.result;
}

interface GoldenRandom {
  seed: number;
  getrandbits32: number[];
  random: number[];
  choices_10_of_10: number[];
  shuffle_12: number[];
  sample: { n: number; k: number; draws: number[][] }[];
}

function judgeRandom(golden: readonly GoldenRandom[]): JudgedEval {
  const judge = new Judge('Python random');
  for (const row of golden) {
    const fresh = () => new PythonRandom(row.seed);
    const bits = fresh();
    judge.equal(
      `seed ${row.seed}: getrandbits`,
      row.getrandbits32.map(() => bits.getRandBits(32)),
      row.getrandbits32,
    );
    const uniform = fresh();
    judge.equal(
      `seed ${row.seed}: random`,
      row.random.map((expected) => uniform.random() === expected),
      row.random.map(() => true),
    );
    judge.equal(`seed ${row.seed}: choices`, fresh().choices(10, 10), row.choices_10_of_10);
    const list = Array.from({ length: 12 }, (_, i) => i);
    fresh().shuffle(list);
    judge.equal(`seed ${row.seed}: shuffle`, list, row.shuffle_12);
    for (const { n, k, draws } of row.sample) {
      const random = fresh();
      judge.equal(
        `seed ${row.seed}: sample ${k} of ${n}`,
        draws.map(() => random.sample(n, k)),
        draws,
      );
    }
  }
  return judge.result;
}

interface GoldenPinned {
  request_differences: Record<string, { doc_id: number; pinned_requests: [string, string][] }[]>;
}

/** Long contexts are cut in the goldens: the first 200 characters, an ellipsis, the last 200. */
function cut(requests: Requests, expected: Requests): Requests {
  return requests.map(([context, continuation], i): readonly [string, string] => {
    const wanted = [...(expected[i]?.[0] ?? '')];
    const characters = [...context];
    if (wanted.length !== 401 || wanted[200] !== '…' || characters.length <= 401) return [context, continuation];
    return [`${characters.slice(0, 200).join('')}…${characters.slice(-200).join('')}`, continuation];
  });
}

/** Documents that the goldens name differ as they say; all others of all runs do not differ. */
function judgePinned(golden: GoldenPinned, rows: readonly GoldenRequest[], datasets: Datasets): JudgedEval {
  const judge = new Judge('pinned harness version');
  const build = builder(datasets, 'pinned');
  const different = new Map<string, Requests>();
  for (const [key, list] of Object.entries(golden.request_differences)) {
    const [run, task] = key.includes(':') ? key.split(':') : [key, nameOfRun(key)];
    for (const { doc_id, pinned_requests } of list) different.set(`${run} ${task} ${doc_id}`, pinned_requests);
  }
  for (const row of rows) {
    const what = `${row.run} ${row.task} ${row.doc_id}`;
    judge.attempt(what, () => {
      const expected = different.get(what) ?? row.requests;
      const found = pairsOf(build(row.run, row.task)[row.doc_id]);
      judge.equal(`${what}: requests`, different.has(what) ? cut(found, expected) : found, expected);
      different.delete(what);
    });
  }
  judge.equal('differences not met', [...different.keys()], []);
  return judge.result;
}

interface GoldenResults extends Record<string, unknown> {
  config: { limit: number };
  configs: Record<string, { num_fewshot: number; metadata: { version: unknown } }>;
  group_subtasks: Record<string, string[]>;
  results: Record<string, Record<string, unknown>>;
}
interface GoldenSample extends Record<string, unknown> {
  doc_id: number;
  filtered_resps: ([string, string] | string)[];
}

/** Functions have no text here, and their address there. */
function withoutFunctions(config: object): unknown {
  return JSON.parse(JSON.stringify(config), (key, value) => {
    if (key === 'config_source') return undefined;
    return typeof value === 'string' && /^(?:<function|def )/.test(value) ? '<function>' : value;
  });
}

/** Samples files line by line, and all of the results file that does not depend on documents the goldens leave out. */
async function judgeExample(dir: string, datasets: Datasets): Promise<JudgedEval> {
  const judge = new Judge('results and samples files');
  const golden = await readJson<GoldenResults>(join(dir, 'results.json'));
  const groups: TaskGroup[] = Object.entries(golden.group_subtasks).map(([name, tasks]) =>
    meanGroup(
      name,
      tasks.flatMap((task) => findTasks([task])),
    ),
  );
  const inGroups = new Set(leafTasks(groups).map(({ task }) => task));
  const names = Object.keys(golden.configs);
  const selected = [...findTasks(names.filter((name) => !inGroups.has(name))), ...groups];
  const scores: TaskScores[] = [];
  for (const task of leafTasks(selected)) {
    const samples = await readLines<GoldenSample>(join(dir, `samples_${task.task}.jsonl`));
    const pages = task.output_type === 'loglikelihood_rolling' ? samples.map(({ doc }) => doc as Record<string, unknown>) : [];
    const dataset = datasets[datasetKey(task)] ?? { test: pages };
    const { num_fewshot: numFewshot } = golden.configs[task.task];
    try {
      const instances = buildRequests(task, dataset, { numFewshot, limit: golden.config.limit });
      for (const [line, expected] of samples.entries()) {
        const instance = instances[expected.doc_id];
        const answers = expected.filtered_resps.map((item) => (typeof item === 'string' ? [item, 'False'] : item));
        const responses =
          instance.rolling === undefined
            ? { loglikelihood: answers.map(([logprob, greedy]) => ({ logprob: Number(logprob), greedy: greedy === 'True' })) }
            : { loglikelihood: [], rolling: Number(answers[0][0]) };
        const metrics = documentMetrics(task, instance.doc, instance.reading, responses);
        judge.equal(`${task.task} line ${line}`, await sampleOf(task, instance, responses, metrics), expected);
      }
      const blank = Object.fromEntries(task.metric_list.map(({ metric }) => [metric, [-1, 1] as const]));
      const scalar = Object.fromEntries(task.metric_list.map(({ metric }) => [metric, 0]));
      const count = Number(golden.results[task.task].sample_len);
      const metrics = Array.from({ length: count }, () => (task.output_type === 'loglikelihood_rolling' ? blank : scalar));
      const original = dataset.test && task.test_split ? dataset.test.length : (dataset.validation?.length ?? 0);
      scores.push({ task, numFewshot, original: pages.length > 0 ? count : original, metrics });
    } catch (error) {
      judge.attempt(task.task, () => {
        throw error;
      });
    }
  }
  const found = collectResults(scores, selected) as unknown as GoldenResults;
  const shape = (entries: Record<string, object>) =>
    Object.fromEntries(Object.entries(entries).map(([name, entry]) => [name, Object.keys(entry).sort()]));
  judge.equal('results: keys', shape(found.results), shape(golden.results));
  for (const key of ['group_subtasks', 'versions', 'n-shot', 'higher_is_better', 'n-samples']) {
    judge.equal(key, found[key], golden[key]);
  }
  judge.equal('configs', withoutFunctions(found.configs), withoutFunctions(golden.configs));
  return judge.result;
}

/** Judges a folder of evaluation goldens: whatever files of the known names are in it. */
export async function judgeEvalRequests(dir: string): Promise<JudgedEval[]> {
  const has = async (name: string) => exists(join(dir, name));
  const results: JudgedEval[] = [];
  const datasets = (await has('datasets.json.gz')) ? await readJson<Datasets>(join(dir, 'datasets.json.gz')) : {};
  const rows = (await has('requests.jsonl.gz')) ? await readLines<GoldenRequest>(join(dir, 'requests.jsonl.gz')) : [];
  if (rows.length > 0) results.push(await judgeRequests(rows, datasets));
  if (await has('metrics.json')) results.push(judgeRuns(await readJson(join(dir, 'metrics.json')), rows, datasets));
  if (await has('metric_primitives.json')) results.push(judgePrimitives(await readJson(join(dir, 'metric_primitives.json'))));
  if (await has('python_random.json')) results.push(judgeRandom(await readJson(join(dir, 'python_random.json'))));
  if (await has('pinned_harness_diff.json')) {
    results.push(judgePinned(await readJson(join(dir, 'pinned_harness_diff.json')), rows, datasets));
  }
  if (await has('results_example')) results.push(await judgeExample(join(dir, 'results_example'), datasets));
  return results;
}
