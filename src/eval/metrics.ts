// Scores: of one document from the model's answers, and over documents with their standard error. The rules are
// lm-evaluation-harness's (api/task.py `process_results`, api/metrics.py), ties and missing errors included. No prompts here.

import { counted, InputError } from '../errors.js';
import { pythonRegex } from '../python/regex.js';
import { codePoints, countWords, pythonString } from '../python/text.js';
import { PythonRandom } from '../python-random.js';
import type { Answer } from './filters.js';
import type { Loglikelihood } from './scorer.js';
import type { Metric, MetricValue, Reading, Target, Task, Texts } from './task.js';
import { CORPUS_METRICS } from './translation.js';

/** What a model answered about one document: the kind that its task asks for. */
export interface Responses {
  readonly loglikelihood: readonly Loglikelihood[];
  readonly rolling?: number;
  /** All answers, or what a pipeline of filters made of them. */
  readonly generated?: Answer;
}

/** The place of the largest number, the first of equals; a NaN wins, as in NumPy. */
export function argmax(values: readonly number[]): number {
  let best = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) return i;
    if (values[i] > values[best]) best = i;
  }
  return best;
}

const utf8 = new TextEncoder();

/** In place of the index of a right answer that is none of the choices, as the harness has it. */
const NO_CHOICE = -100;

/**
 * Multiple choice. Lengths are of the choices without the delimiter: code points for acc_norm, UTF-8 bytes for acc_bytes. Behind the
 * choices' answers may be those of each choice without a question. A right answer that is none of the choices makes all wrong.
 */
export function choiceMetrics(
  choices: readonly string[],
  gold: Target,
  answers: readonly Loglikelihood[],
): Record<string, MetricValue> {
  const logprobs = answers.slice(0, choices.length).map((answer) => answer.logprob);
  const golds = [gold].flat().map((item) => {
    const index = typeof item === 'number' ? item : choices.indexOf(item);
    return (typeof item === 'number' ? index < choices.length : index >= 0) ? index : NO_CHOICE;
  });
  const right = (index: number) => (golds.includes(index) ? 1 : 0);
  const best = argmax(logprobs);
  return {
    acc: right(best),
    acc_norm: right(argmax(logprobs.map((value, i) => value / codePoints(choices[i])))),
    acc_bytes: right(argmax(logprobs.map((value, i) => value / utf8.encode(choices[i]).length))),
    acc_mutual_info: right(argmax(logprobs.map((value, i) => value - (answers[choices.length + i]?.logprob ?? 0)))),
    exact_match: golds.some((index) => answers.at(index)?.greedy) ? 1 : 0,
    ...(typeof gold === 'object' ? {} : { f1: [golds[0], best] as const, mcc: [golds[0], best] as const }),
  };
}

/** All metrics that a task lists, of one document. */
export function documentMetrics(
  task: Task,
  doc: Readonly<Record<string, unknown>>,
  reading: Reading,
  responses: Responses,
): Record<string, MetricValue> {
  const { loglikelihood, rolling, generated } = responses;
  if (task.process_results) {
    return task.process_results(doc, rolling === undefined ? loglikelihood : [{ logprob: rolling, greedy: false }]);
  }
  return pick(task, () => {
    switch (task.output_type) {
      case 'multiple_choice':
        return choiceMetrics(
          reading.choices ?? [],
          typeof reading.text === 'number' ? reading.text : reading.target,
          loglikelihood,
        );
      case 'loglikelihood':
        return { perplexity: loglikelihood[0].logprob, acc: loglikelihood[0].greedy ? 1 : 0 };
      case 'loglikelihood_rolling':
        return rollingMetrics(rolling ?? 0, pythonString(reading.target));
      case 'generate_until':
        return generatedMetrics(task, reading, generated ?? '');
    }
  });
}

/** Log-probability of a text with what it is divided by. */
function rollingMetrics(logprob: number, text: string): Record<string, MetricValue> {
  const bytes = utf8.encode(text).length;
  const words = countWords(text);
  return { word_perplexity: [logprob, words], byte_perplexity: [logprob, bytes], bits_per_byte: [logprob, bytes] };
}

function pick(task: Task, compute: () => Record<string, MetricValue>): Record<string, MetricValue> {
  const all = compute();
  return Object.fromEntries(
    task.metric_list.map(({ metric }) => {
      if (!Object.hasOwn(all, metric)) {
        if (metric === 'f1' || metric === 'mcc')
          throw new InputError(
            `task ${task.task}: ${metric} compares one right answer with the model's, and a document has several`,
          );
        throw new InputError(
          `task ${task.task}: there is no metric "${metric}" for output_type ${task.output_type}; there are ${Object.keys(all).join(', ')}`,
        );
      }
      return [metric, all[metric]];
    }),
  );
}

/** Whether an answer is right, and what metrics of the corpus compare; only what the task lists, since not every answer suits all. */
function generatedMetrics(task: Task, reading: Reading, generated: Answer): Record<string, MetricValue> {
  const listed = task.metric_list.map(({ metric }) => metric);
  return {
    ...(listed.includes('exact_match') ? { exact_match: exactMatch(task, reading, generated) } : {}),
    ...Object.fromEntries(
      listed.filter((name) => Object.hasOwn(CORPUS_METRICS, name)).map((name) => [name, compared(name, reading, generated)]),
    ),
  };
}

/** The right texts; several stay several, and an empty list is what Python prints. */
function rightTexts({ choices, target }: Reading): string | readonly string[] {
  const text = (item: Target) => (typeof item === 'number' && choices ? choices[item] : pythonString(item));
  return typeof target === 'object' && target.length > 0 ? target.map(text) : text(target);
}

function compared(metric: string, reading: Reading, generated: Answer): Texts {
  if (typeof generated === 'string') return [rightTexts(reading), generated];
  const [answer, ...others] = generated;
  if (typeof answer !== 'string' || others.length > 0)
    throw new InputError(`${metric} compares one text, and filter_list leaves a list: end it with take_first`);
  return [rightTexts(reading), [answer]];
}

/**
 * Of a text whether it is one of the targets. A list is compared as NumPy compares arrays there: with one target the share of what
 * equals it; with several one element with all of them, or each with the target in its place, and whether any is equal.
 */
function exactMatch(task: Task, reading: Reading, generated: Answer): number {
  const { choices, target } = reading;
  const options = task.metric_list.find(({ metric }) => metric === 'exact_match');
  const several = typeof target === 'object';
  const golds = [rightTexts(reading)].flat().map((text) => normalized(text, options));
  if (typeof generated === 'string') return golds.includes(normalized(generated, options)) ? 1 : 0;
  if (options?.regexes_to_ignore)
    throw new InputError('regexes_to_ignore reads a text, and filter_list leaves a list: end it with take_first');
  if (!choices && [target].flat().some((item) => typeof item === 'number'))
    throw new InputError('the target is a number, and filter_list leaves a list of texts: none can be equal');
  const answers = leaves(generated).map((text) => normalized(text, options));
  if (!several) return mean(answers.map((answer) => (answer === golds[0] ? 1 : 0)));
  if (answers.length !== 1 && golds.length !== 1 && answers.length !== golds.length)
    throw new InputError(
      `${counted(answers.length, 'answer')} cannot be compared with ${counted(golds.length, 'target')}: end filter_list with take_first`,
    );
  if (answers.length === 1) return golds.includes(answers[0]) ? 1 : 0;
  return answers.some((answer, i) => answer === golds[golds.length === 1 ? 0 : i]) ? 1 : 0;
}

/** The texts of a list of lists, which must be as long as each other. */
function leaves(list: readonly Answer[]): string[] {
  const lengths = new Set(list.map((item) => (typeof item === 'string' ? -1 : item.length)));
  if (lengths.size > 1) throw new InputError('answers of different lengths cannot be compared: end filter_list with take_first');
  return list.flatMap((item) => (typeof item === 'string' ? item : leaves(item)));
}

function normalized(text: string, options: Metric | undefined): string {
  let result = (options?.regexes_to_ignore ?? []).reduce((rest, pattern) => rest.replace(pythonRegex(pattern), ''), text);
  if (options?.ignore_case) result = result.toLowerCase();
  if (options?.ignore_punctuation) result = result.replace(/[!-/:-@[-`{-~]/g, '');
  if (options?.ignore_numbers) result = result.replace(/[0-9]/g, '');
  return result;
}

type Pairs = readonly (readonly [number, number])[];

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

export function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}

/** The element in the middle; the upper one of two. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

/** From the sample's deviation (n - 1). */
export function meanStderr(values: readonly number[]): number {
  return sampleDeviation(values) / Math.sqrt(values.length);
}

function sampleDeviation(values: readonly number[]): number {
  const center = mean(values);
  return Math.sqrt(sum(values.map((value) => (value - center) ** 2)) / (values.length - 1));
}

export function perplexity(values: readonly number[]): number {
  return Math.exp(-mean(values));
}

export function weightedMean(items: Pairs): number {
  return sum(items.map(([value]) => value)) / sum(items.map(([, weight]) => weight));
}

export function weightedPerplexity(items: Pairs): number {
  return Math.exp(-weightedMean(items));
}

/** F1 of the class 1, from pairs of what is right and what was chosen. Throws `InputError` where there are other classes than 0 and 1. */
export function f1(pairs: Pairs): number {
  const other = pairs.flat().find((item) => item !== 0 && item !== 1);
  if (other !== undefined)
    throw new InputError(
      `f1 is for the choices 0 and 1; there is ${other === NO_CHOICE ? 'a right answer that is none of the choices' : other}`,
    );
  const hits = pairs.filter(([gold, chosen]) => gold === 1 && chosen === 1).length;
  const claims = sum(pairs.flat());
  return claims === 0 ? 0 : (2 * hits) / claims;
}

/** F1 of each class against all others, averaged by how often the class is right, alike, or over all documents together. */
function averagedF1(pairs: Pairs, average: 'weighted' | 'macro' | 'micro'): number {
  const right = (of: Pairs) => of.filter(([gold, chosen]) => gold === chosen).length;
  if (average === 'micro') return right(pairs) / pairs.length;
  const classes = [...new Set(pairs.flat())].sort((a, b) => a - b);
  const support = (side: 0 | 1, item: number) => pairs.filter((pair) => pair[side] === item).length;
  const scores = classes.map((item) => {
    const hits = right(pairs.filter(([gold]) => gold === item));
    return (2 * hits) / (support(0, item) + support(1, item));
  });
  const weights = classes.map((item) => (average === 'macro' ? 1 : support(0, item)));
  return sum(scores.map((score, i) => score * weights[i])) / sum(weights);
}

/** Matthews' correlation coefficient of any number of classes (Gorodkin 2004); 0 where it has no value. */
function matthewsCorrelation(pairs: Pairs): number {
  const counts = new Map<number, [number, number]>();
  for (const pair of pairs) {
    for (const [side, item] of pair.entries()) {
      const both = counts.get(item) ?? [0, 0];
      both[side]++;
      counts.set(item, both);
    }
  }
  const square = pairs.length ** 2;
  const right = pairs.filter(([gold, chosen]) => gold === chosen).length;
  const products = (a: 0 | 1, b: 0 | 1) => sum([...counts.values()].map((both) => both[a] * both[b]));
  const scale = (square - products(0, 0)) * (square - products(1, 1));
  return scale === 0 ? 0 : (right * pairs.length - products(0, 1)) / Math.sqrt(scale);
}

export function bitsPerByte(items: Pairs): number {
  return -weightedMean(items) / Math.log(2);
}

/** Deviation of a statistic over resamples; chunks of 1,000, each with its own stream of random numbers, as the harness has it. */
export function bootstrapStderr<T>(
  statistic: (values: readonly T[]) => number,
  values: readonly T[],
  iterations: number,
): number {
  const chunk = Math.min(1000, iterations);
  const results: number[] = [];
  for (let i = 0; i < Math.floor(iterations / chunk); i++) {
    const random = new PythonRandom(i);
    for (let j = 0; j < chunk; j++)
      results.push(statistic(random.choices(values.length, values.length).map((row) => values[row])));
  }
  return sampleDeviation(results);
}

/** Mean of a group's tasks, by size or each alike. */
export function groupMean(metrics: readonly number[], sizes: readonly number[], weightBySize = true): number {
  const weights = weightBySize ? sizes : metrics.map(() => 1);
  return sum(metrics.map((metric, i) => metric * weights[i])) / sum(weights);
}

/** Standard error of a group from those of its tasks: over all their documents, or of the mean of the tasks' means. */
export function groupStderr(stderrs: readonly number[], sizes: readonly number[], weightBySize = true): number {
  if (!weightBySize) return Math.sqrt(sum(stderrs.map((stderr) => stderr ** 2))) / stderrs.length;
  const total = sum(sizes);
  const variance = sum(sizes.map((size, i) => (size - 1) * stderrs[i] ** 2 * size)) / (total - sizes.length);
  return Math.sqrt(variance / total);
}

/** How a metric is aggregated, and whether more is better, where the task does not say. */
const defaults: Readonly<Record<string, { aggregation: string; higher_is_better: boolean }>> = {
  acc: { aggregation: 'mean', higher_is_better: true },
  acc_norm: { aggregation: 'mean', higher_is_better: true },
  acc_bytes: { aggregation: 'mean', higher_is_better: true },
  acc_mutual_info: { aggregation: 'mean', higher_is_better: true },
  exact_match: { aggregation: 'mean', higher_is_better: true },
  f1: { aggregation: 'f1', higher_is_better: true },
  mcc: { aggregation: 'matthews_corrcoef', higher_is_better: true },
  perplexity: { aggregation: 'perplexity', higher_is_better: false },
  word_perplexity: { aggregation: 'weighted_perplexity', higher_is_better: false },
  byte_perplexity: { aggregation: 'weighted_perplexity', higher_is_better: false },
  bits_per_byte: { aggregation: 'bits_per_byte', higher_is_better: false },
  bleu: { aggregation: 'bleu', higher_is_better: true },
  chrf: { aggregation: 'chrf', higher_is_better: true },
  'chrf++': { aggregation: 'chrf++', higher_is_better: true },
  ter: { aggregation: 'ter', higher_is_better: false },
};

/** How the values of all documents become one, and the standard error of that; the harness has none for some. */
interface Aggregation<T> {
  readonly value: (values: readonly T[]) => number;
  readonly stderr?: (values: readonly T[], iterations: number) => number;
}

const bootstrapped = <T>(value: Aggregation<T>['value']): Aggregation<T> => ({
  value,
  stderr: (values, iterations) => bootstrapStderr(value, values, iterations),
});

const ofNumbers: Readonly<Record<string, Aggregation<number>>> = {
  mean: { value: mean, stderr: meanStderr },
  median: bootstrapped(median),
  perplexity: bootstrapped(perplexity),
};

const ofPairs: Readonly<Record<string, Aggregation<Pairs[number]>>> = {
  weighted_perplexity: { value: weightedPerplexity },
  bits_per_byte: { value: bitsPerByte },
  f1: bootstrapped(f1),
  matthews_corrcoef: bootstrapped(matthewsCorrelation),
  weighted_f1: { value: (pairs) => averagedF1(pairs, 'weighted') },
  macro_f1: { value: (pairs) => averagedF1(pairs, 'macro') },
  micro_f1: { value: (pairs) => averagedF1(pairs, 'micro') },
};

export const AGGREGATIONS: readonly string[] = [ofNumbers, ofPairs, CORPUS_METRICS].flatMap((known) => Object.keys(known));

/** What an aggregation takes of each document: a number, two, or texts. */
function takenBy(aggregation: string): string {
  if (Object.hasOwn(CORPUS_METRICS, aggregation)) return 'texts';
  return Object.hasOwn(ofPairs, aggregation) ? 'pairs' : 'numbers';
}

/** Whether a metric's values are what an aggregation takes. */
export function suits(metric: string, aggregation: string): boolean {
  return takenBy(aggregation) === takenBy(defaults[metric]?.aggregation ?? 'mean');
}

/** Resamplings of metrics of the corpus at most, as in the harness. */
const CORPUS_BOOTSTRAPS = 100;

function aggregateTexts(kind: string, texts: readonly Texts[], iterations: number): { value: number; stderr: number | 'N/A' } {
  const { counts, score } = CORPUS_METRICS[kind];
  const documents = texts.map(([right, answer]) => counts([answer].flat()[0], [right].flat()));
  const ofSums = (rows: readonly number[][]) => score(rows[0].map((_, i) => rows.reduce((total, row) => total + row[i], 0)));
  const resamplings = Math.min(iterations, CORPUS_BOOTSTRAPS);
  const enough = texts.length > 1 && resamplings > 0;
  return { value: ofSums(documents), stderr: enough ? bootstrapStderr(ofSums, documents, resamplings) : 'N/A' };
}

/** Whether more is better. */
export function higherIsBetter(metric: Metric): boolean {
  return metric.higher_is_better ?? defaults[metric.metric]?.higher_is_better ?? true;
}

/** The metric over all documents and its standard error, "N/A" where the harness has none. */
export function aggregate(
  metric: Metric,
  values: readonly MetricValue[],
  bootstrapIterations: number,
): { value: number; stderr: number | 'N/A' } {
  const kind = metric.aggregation ?? defaults[metric.metric]?.aggregation ?? 'mean';
  if (Object.hasOwn(CORPUS_METRICS, kind)) return aggregateTexts(kind, values as readonly Texts[], bootstrapIterations);
  const all: Readonly<Record<string, Aggregation<never>>> = { ...ofNumbers, ...ofPairs };
  if (!Object.hasOwn(all, kind))
    throw new InputError(`metric ${metric.metric}: there is no aggregation "${kind}"; there are ${AGGREGATIONS.join(', ')}`);
  const { value, stderr } = all[kind] as Aggregation<MetricValue>;
  const enough = values.length > 1 && bootstrapIterations > 0;
  return { value: value(values), stderr: enough && stderr ? stderr(values, bootstrapIterations) : 'N/A' };
}
