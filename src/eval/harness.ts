// A run: all requests of all tasks to the scorer in one go, its answers to scores, scores to results. A run can be done in
// shards, on several machines; their parts merge into exactly the whole run's results. No files, no data sources, no models.

import { counted, InputError, locating } from '../errors.js';
import { jsonText } from '../python/format.js';
import { pythonFloat } from '../python/text.js';
import { fromData } from '../python/values.js';
import { type Datasets, datasetKey, evaluatedDocs } from './dataset.js';
import { filtered } from './filters.js';
import { documentMetrics, type Responses } from './metrics.js';
import { eachInstance, generation, type Instance, type RequestOptions, type Shard, shotsOf } from './requests.js';
import { BOOTSTRAP_ITERATIONS, collectResults, type EvalResults } from './results.js';
import type { GenerateRequest, Scorer } from './scorer.js';
import { leafTasks, type MetricValue, type Task, type TaskGroup, taskOfVersion } from './task.js';
import { watched } from './watched.js';

/** What is asked, and what is kept of the answers. */
export interface EvaluateOptions extends Omit<RequestOptions, 'numFewshot'> {
  /** For all tasks, or by name of a task or group. */
  readonly numFewshot?: number | Readonly<Record<string, number>>;
  /** Keep each document with its requests and answers; true unless given. */
  readonly logSamples?: boolean;
  /** Draws for the standard errors that have no formula; 100,000 unless given, and 0 for no standard errors at all, as in the harness. */
  readonly bootstrapIterations?: number;
  /** Requests answered so far and in all, over all kinds of requests. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** A line of a samples file, in the harness's keys; the document's metrics are added to them by name. */
export interface Sample {
  readonly doc_id: number;
  readonly doc: Readonly<Record<string, unknown>>;
  readonly target: string;
  readonly arguments: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly resps: readonly unknown[];
  readonly filtered_resps: readonly unknown[];
  readonly filter: string;
  readonly metrics: readonly string[];
  readonly doc_hash: string;
  readonly prompt_hash: string;
  readonly target_hash: string;
  readonly [metric: string]: unknown;
}

interface DocumentRecord {
  readonly docId: number;
  readonly metrics: Readonly<Record<string, MetricValue>>;
  /** Tokens that did not fit the model's context, over all requests of the document. */
  readonly truncated: number;
  /** Its right answer is none of the choices, so that it counts as wrong whatever the model says. */
  readonly stray?: true;
  /** One of each pipeline of filters. */
  readonly samples?: readonly Sample[];
}

interface TaskRecord {
  readonly task: string;
  readonly numFewshot: number;
  readonly original: number;
  readonly documents: readonly DocumentRecord[];
}

/** The scores of one shard: plain data, to be written as JSON and merged. */
export interface PartialResults {
  readonly shard: Shard;
  readonly harnessVersion: string;
  readonly tasks: readonly TaskRecord[];
}

/** What an evaluation found. */
export interface Evaluation {
  readonly results: EvalResults;
  /** By task, in document order; absent when not kept. */
  readonly samples?: Readonly<Record<string, readonly Sample[]>>;
  /** By task: how many documents were longer than the model's context, and by how many tokens in all. */
  readonly truncated: Readonly<Record<string, { readonly documents: number; readonly tokens: number }>>;
  /** By task: documents whose right answer is none of the choices, which count as wrong; tasks without any are left out. */
  readonly stray: Readonly<Record<string, number>>;
}

/**
 * Evaluates tasks and groups. Throws `InputError` before anything is scored when data is missing or wrong (see buildRequests).
 */
export async function evaluate(
  scorer: Scorer,
  tasks: readonly (Task | TaskGroup)[],
  datasets: Datasets,
  options: Omit<EvaluateOptions, 'shard'> = {},
): Promise<Evaluation> {
  const part = await evaluateShard(scorer, tasks, datasets, { ...options, shard: undefined } as EvaluateOptions);
  return mergeShards([part], tasks, options);
}

/** Shots asked for, by name of each task; the nearest group's where the task itself is not named. */
export function shotsByName(
  items: readonly (Task | TaskGroup)[],
  asked: EvaluateOptions['numFewshot'],
  inherited?: number,
): Map<string, number | undefined> {
  const own = (name: string) => (typeof asked === 'object' ? (asked[name] ?? inherited) : asked);
  return new Map(
    items.flatMap((item): [string, number | undefined][] =>
      'group' in item ? [...shotsByName(item.task, asked, own(item.group))] : [[item.task, own(item.task)]],
    ),
  );
}

/** Scores the documents of one shard (all of them unless `options.shard` is given). */
export async function evaluateShard(
  scorer: Scorer,
  tasks: readonly (Task | TaskGroup)[],
  datasets: Datasets,
  options: EvaluateOptions = {},
): Promise<PartialResults> {
  const version = options.harnessVersion ?? '0.4.13';
  const shots = shotsByName(tasks, options.numFewshot);
  const plans: { task: Task; original: number; numFewshot: number; instances: Instance[] }[] = [];
  for (const item of leafTasks(tasks)) {
    const task = taskOfVersion(item, version);
    const original = evaluatedDocs(task, datasets).length;
    const numFewshot = shotsOf(task, shots.get(task.task));
    const instances = await gathered(eachInstance(task, datasets[datasetKey(task)], { ...options, numFewshot }), options.signal);
    plans.push({ task, original, numFewshot, instances });
  }
  const responses = await askAll(
    scorer,
    plans.flatMap(({ instances }) => instances),
    new Map(plans.map(({ task }) => [task.task, task.repeats ?? 1])),
    options,
  );
  const records: TaskRecord[] = [];
  for (const { task, original, numFewshot, instances } of plans) {
    const documents: DocumentRecord[] = [];
    for (const instance of instances) {
      const answers = responses.get(instance)!;
      const truncated = answers.loglikelihood.reduce((total, answer) => total + (answer.truncated ?? 0), 0);
      const metrics: Record<string, MetricValue> = {};
      const samples: Sample[] = [];
      for (const pipeline of task.filter_list ?? [undefined]) {
        const score = () => {
          const generated = pipeline ? filtered(pipeline, answers.generated ?? [], instance.doc) : answers.generated?.[0];
          return { generated, own: documentMetrics(task, instance.doc, instance.reading, { ...answers, generated }) };
        };
        const where = `task ${task.task}, answer to document ${instance.docId}`;
        const { generated, own } = usesRegexes(task) ? locating(where, () => watched(score)) : score();
        for (const [name, value] of Object.entries(own)) metrics[pipeline ? `${name},${pipeline.name}` : name] = value;
        if (options.logSamples === false) continue;
        const sample = await sampleOf(task, instance, answers, own);
        samples.push(pipeline ? { ...sample, filter: pipeline.name, filtered_resps: [generated] } : sample);
      }
      const more = { ...(instance.stray ? { stray: true as const } : {}), ...(samples.length > 0 ? { samples } : {}) };
      documents.push({ docId: instance.docId, metrics, truncated, ...more });
    }
    records.push({ task: task.task, numFewshot, original, documents });
  }
  return { shard: options.shard ?? { index: 0, count: 1 }, harnessVersion: version, tasks: records };
}

/** Whether a stranger's regular expressions read the answers. */
function usesRegexes({ filter_list, metric_list }: Task): boolean {
  return filter_list !== undefined || metric_list.some(({ regexes_to_ignore }) => regexes_to_ignore !== undefined);
}

/** All items, with a breath for timers and signals ten times a second. */
async function gathered<T>(items: Iterable<T>, signal: AbortSignal | undefined): Promise<T[]> {
  const all: T[] = [];
  let last = performance.now();
  for (const item of items) {
    all.push(item);
    if (performance.now() - last < 100) continue;
    await new Promise((done) => setTimeout(done));
    signal?.throwIfAborted();
    last = performance.now();
  }
  return all;
}

/** Gives places to equal things once, so that nothing is asked twice. */
class Distinct<T> {
  readonly items: T[] = [];
  private readonly places = new Map<string, Map<string, number>>();

  place(first: string, second: string, item: T): number {
    let inner = this.places.get(first);
    if (!inner) {
      inner = new Map();
      this.places.set(first, inner);
    }
    let place = inner.get(second);
    if (place === undefined) {
      place = this.items.push(item) - 1;
      inner.set(second, place);
    }
    return place;
  }
}

/** What a model answered about a document, every answer to what it generates. */
type Answered = Responses & { readonly generated?: readonly string[] };

/** The request to generate, as often as the task repeats it; without chance all are one. */
function samplesOf({ generate }: Instance, repeats: number): GenerateRequest[] {
  if (!generate) return [];
  return Array.from({ length: repeats }, (_, sample) =>
    generate.temperature && sample > 0 ? { ...generate, sample } : generate,
  );
}

async function askAll(
  scorer: Scorer,
  instances: readonly Instance[],
  repeats: ReadonlyMap<string, number>,
  options: EvaluateOptions,
): Promise<Map<Instance, Answered>> {
  const pairs = new Distinct<Instance['loglikelihood'][number]>();
  const texts = new Distinct<string>();
  const prompts = new Distinct<NonNullable<Instance['generate']>>();
  const plans = instances.map((instance) => ({
    instance,
    pairs: instance.loglikelihood.map((request) => pairs.place(request.context, request.continuation, request)),
    text: instance.rolling === undefined ? -1 : texts.place(instance.rolling, '', instance.rolling),
    prompts: samplesOf(instance, repeats.get(instance.task) ?? 1).map((request) =>
      prompts.place(request.context, JSON.stringify(request), request),
    ),
  }));
  const total = pairs.items.length + texts.items.length + prompts.items.length;
  let before = 0;
  const call = async <Q, A>(
    requests: readonly Q[],
    method: (requests: readonly Q[], passed: object) => Promise<A[]>,
  ): Promise<A[]> => {
    if (requests.length === 0) return [];
    const offset = before;
    before += requests.length;
    const onProgress = options.onProgress && ((done: number) => options.onProgress?.(offset + done, total));
    const answers = await method(requests, { onProgress, signal: options.signal });
    if (answers.length !== requests.length) {
      throw new Error(`${scorer.name} gave ${counted(answers.length, 'answer')} to ${counted(requests.length, 'request')}`);
    }
    return answers;
  };
  const loglikelihoods = await call(pairs.items, (requests, passed) => scorer.loglikelihood(requests, passed));
  const rolling = await call(texts.items, (requests, passed) => scorer.loglikelihoodRolling(requests, passed));
  const generated = await call(prompts.items, (requests, passed) => scorer.generateUntil(requests, passed));
  return new Map(
    plans.map((plan) => [
      plan.instance,
      {
        loglikelihood: plan.pairs.map((place) => loglikelihoods[place]),
        ...(plan.text >= 0 ? { rolling: rolling[plan.text] } : {}),
        ...(plan.prompts.length > 0 ? { generated: plan.prompts.map((place) => generated[place]) } : {}),
      },
    ]),
  );
}

/** In hexadecimal digits. */
export async function sha256(text: string): Promise<string> {
  const digest = await globalThis.crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Hashes of a document, its first prompt and its target, as in samples files. */
export async function hashesOf({ doc, loglikelihood, rolling, generate, reading }: Instance) {
  const prompt = loglikelihood[0]?.context ?? rolling ?? generate?.context ?? '';
  return {
    doc_hash: await sha256(jsonText(fromData(doc), { indent: '  ' })),
    prompt_hash: await sha256(prompt),
    target_hash: await sha256(reading.printed),
  };
}

/** A document's line of a samples file; numbers inside answers are texts as Python prints them. */
export async function sampleOf(
  task: Task,
  instance: Instance,
  { loglikelihood, rolling, generated }: Answered,
  metrics: Readonly<Record<string, MetricValue>>,
): Promise<Sample> {
  const requests = [
    ...instance.loglikelihood.map(({ context, continuation }) => [context, continuation]),
    ...(instance.rolling === undefined ? [] : [[instance.rolling]]),
    ...(instance.generate ? [[instance.generate.context, generationArguments(task)]] : []),
  ];
  const answers: (string | string[])[] = [
    ...loglikelihood.map(({ logprob, greedy }) => [pythonFloat(logprob), greedy ? 'True' : 'False']),
    ...(rolling === undefined ? [] : [pythonFloat(rolling)]),
    ...(generated === undefined ? [] : [generated[0]]),
  ];
  return {
    doc_id: instance.docId,
    doc: instance.doc,
    target: instance.reading.printed,
    arguments: Object.fromEntries(
      requests.map((list, i) => [`gen_args_${i}`, Object.fromEntries(list.map((item, j) => [`arg_${j}`, item]))]),
    ),
    resps: generated ? [generated] : answers.map((answer) => new Array(task.repeats ?? 1).fill(answer)),
    filtered_resps: answers,
    filter: 'none',
    metrics: Object.keys(metrics),
    ...(await hashesOf(instance)),
    ...metrics,
  };
}

function generationArguments(task: Task): Record<string, unknown> {
  const { until, maxTokens, temperature } = generation(task);
  return task.generation_kwargs
    ? { until, ...task.generation_kwargs }
    : { temperature, do_sample: false, max_gen_toks: maxTokens, until };
}

/**
 * The results of a whole run from those of all its shards, whatever their order: the same as if it had been one.
 * Throws `InputError` when a shard is missing, doubled or of another run.
 */
export function mergeShards(
  parts: readonly PartialResults[],
  tasks: readonly (Task | TaskGroup)[],
  options: Pick<EvaluateOptions, 'bootstrapIterations'> = {},
): Evaluation {
  const count = parts[0]?.shard.count ?? 1;
  const missing = Array.from({ length: count }, (_, i) => i).filter((i) => !parts.some(({ shard }) => shard.index === i));
  if (missing.length > 0) throw new InputError(`of ${counted(count, 'shard')}, ${missing.join(', ')} are missing`);
  if (parts.length !== count || parts.some(({ shard }) => shard.count !== count)) {
    throw new InputError(
      `there are ${counted(parts.length, 'part')} of a run in ${counted(count, 'shard')}; give each shard of one run once`,
    );
  }
  const version = parts[0].harnessVersion;
  const samples: Record<string, Sample[]> = {};
  const truncated: Record<string, { documents: number; tokens: number }> = {};
  const stray: Record<string, number> = {};
  const scores = leafTasks(tasks).map((item) => {
    const records = parts.map((part) => part.tasks.find((record) => record.task === item.task));
    const [first] = records;
    if (!first || records.some((record) => record?.numFewshot !== first.numFewshot || record.original !== first.original)) {
      throw new InputError(`task ${item.task}: the shards are not of one run (tasks, data or number of examples differ)`);
    }
    if (parts.some((part) => part.harnessVersion !== version))
      throw new InputError('the shards are of different harness versions');
    const documents = records.flatMap((record) => record?.documents ?? []).sort((a, b) => a.docId - b.docId);
    if (documents.some((document, i) => document.docId !== i)) {
      throw new InputError(`task ${item.task}: the shards do not make up documents 0 to ${documents.length - 1}; limits differ`);
    }
    const long = documents.filter((document) => document.truncated > 0);
    truncated[item.task] = { documents: long.length, tokens: long.reduce((total, document) => total + document.truncated, 0) };
    const strays = documents.filter((document) => document.stray).length;
    if (strays > 0) stray[item.task] = strays;
    const pipelines = Math.max(0, ...documents.map((document) => document.samples?.length ?? 0));
    const kept = Array.from({ length: pipelines }, (_, i) => documents.flatMap((document) => document.samples?.[i] ?? [])).flat();
    if (kept.length > 0) samples[item.task] = kept;
    const task = taskOfVersion(item, version === 'pinned' ? 'pinned' : '0.4.13');
    return { task, numFewshot: first.numFewshot, original: first.original, metrics: documents.map(({ metrics }) => metrics) };
  });
  return {
    results: collectResults(scores, tasks, options.bootstrapIterations ?? BOOTSTRAP_ITERATIONS),
    ...(Object.keys(samples).length > 0 ? { samples } : {}),
    truncated,
    stray,
  };
}
