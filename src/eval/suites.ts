// OpenELM's three suites, named by their task lists, with the accuracies on Apple's model card (huggingface.co/apple/OpenELM;
// the card's headings of the last two are swapped against the paper's Table 1), and whether a run agrees with them.

import type { EvalResults } from './results.js';

/** A task of a suite, with its examples and the metrics that may be what the card reports. */
interface SuiteTask {
  /** Name of the task or group. */
  readonly task: string;
  readonly numFewshot: number;
  /** Title of the column. */
  readonly title: string;
  readonly metrics: readonly string[];
  /** Documents of the whole test, for the published number's own error. */
  readonly documents: number;
}

/** A table of OpenELM's: its tasks, and the numbers that Apple published. */
export interface Suite {
  readonly name: string;
  readonly tasks: readonly SuiteTask[];
  /** Percentages in the order of the tasks, by model. */
  readonly published: Readonly<Record<string, readonly number[]>>;
}

const arcChallenge = { task: 'arc_challenge', title: 'ARC-c', metrics: ['acc', 'acc_norm'], documents: 1172 };
const hellaswag = { task: 'hellaswag', title: 'HellaSwag', metrics: ['acc', 'acc_norm'], documents: 10042 };
const piqa = { task: 'piqa', numFewshot: 0, title: 'PIQA', metrics: ['acc', 'acc_norm'], documents: 1838 };
const winogrande = { task: 'winogrande', title: 'WinoGrande', metrics: ['acc'], documents: 1267 };
const mmlu = { task: 'mmlu', numFewshot: 5, title: 'MMLU', metrics: ['acc'], documents: 14042 };
const truthfulqa = { task: 'truthfulqa_mc2', numFewshot: 0, title: 'TruthfulQA', metrics: ['acc'], documents: 817 };

/** The tables of OpenELM's model cards: zero-shot, five-task, eight-task. */
export const suites: readonly Suite[] = [
  {
    name: 'zero-shot',
    tasks: [
      { ...arcChallenge, numFewshot: 0 },
      { task: 'arc_easy', numFewshot: 0, title: 'ARC-e', metrics: ['acc', 'acc_norm'], documents: 2376 },
      { task: 'boolq', numFewshot: 0, title: 'BoolQ', metrics: ['acc'], documents: 3270 },
      { ...hellaswag, numFewshot: 0 },
      piqa,
      { task: 'sciq', numFewshot: 0, title: 'SciQ', metrics: ['acc', 'acc_norm'], documents: 1000 },
      { ...winogrande, numFewshot: 0 },
    ],
    published: {
      'OpenELM-270M': [26.45, 45.08, 53.98, 46.71, 69.75, 84.7, 53.91],
      'OpenELM-270M-Instruct': [30.55, 46.68, 48.56, 52.07, 70.78, 84.4, 52.72],
      'OpenELM-450M': [27.56, 48.06, 55.78, 53.97, 72.31, 87.2, 58.01],
      'OpenELM-450M-Instruct': [30.38, 50.0, 60.37, 59.34, 72.63, 88.0, 58.96],
      'OpenELM-1_1B': [32.34, 55.43, 63.58, 64.81, 75.57, 90.6, 61.72],
      'OpenELM-1_1B-Instruct': [37.97, 52.23, 70.0, 71.2, 75.03, 89.3, 62.75],
      'OpenELM-3B': [35.58, 59.89, 67.4, 72.44, 78.24, 92.7, 65.51],
      'OpenELM-3B-Instruct': [39.42, 61.74, 68.17, 76.36, 79.0, 92.5, 66.85],
    },
  },
  {
    name: 'five-task',
    tasks: [
      { ...arcChallenge, numFewshot: 25 },
      { ...hellaswag, numFewshot: 10 },
      mmlu,
      truthfulqa,
      { ...winogrande, numFewshot: 5 },
    ],
    published: {
      'OpenELM-270M': [27.65, 47.15, 25.72, 39.24, 53.83],
      'OpenELM-270M-Instruct': [32.51, 51.58, 26.7, 38.72, 53.2],
      'OpenELM-450M': [30.2, 53.86, 26.01, 40.18, 57.22],
      'OpenELM-450M-Instruct': [33.53, 59.31, 25.41, 40.48, 58.33],
      'OpenELM-1_1B': [36.69, 65.71, 27.05, 36.98, 63.22],
      'OpenELM-1_1B-Instruct': [41.55, 71.83, 25.65, 45.95, 64.72],
      'OpenELM-3B': [42.24, 73.28, 26.76, 34.98, 67.25],
      'OpenELM-3B-Instruct': [47.7, 76.87, 24.8, 38.76, 67.96],
    },
  },
  {
    name: 'eight-task',
    tasks: [
      { ...arcChallenge, numFewshot: 25 },
      { task: 'crows_pairs_english', numFewshot: 25, title: 'CrowS-Pairs', metrics: ['pct_stereotype'], documents: 1508 },
      { ...hellaswag, numFewshot: 10 },
      mmlu,
      piqa,
      { task: 'race', numFewshot: 0, title: 'RACE', metrics: ['acc'], documents: 1045 },
      truthfulqa,
      { ...winogrande, numFewshot: 5 },
    ],
    published: {
      'OpenELM-270M': [27.65, 66.79, 47.15, 25.72, 69.75, 30.91, 39.24, 53.83],
      'OpenELM-270M-Instruct': [32.51, 66.01, 51.58, 26.7, 70.78, 33.78, 38.72, 53.2],
      'OpenELM-450M': [30.2, 68.63, 53.86, 26.01, 72.31, 33.11, 40.18, 57.22],
      'OpenELM-450M-Instruct': [33.53, 67.44, 59.31, 25.41, 72.63, 36.84, 40.48, 58.33],
      'OpenELM-1_1B': [36.69, 71.74, 65.71, 27.05, 75.57, 36.46, 36.98, 63.22],
      'OpenELM-1_1B-Instruct': [41.55, 71.02, 71.83, 25.65, 75.03, 39.43, 45.95, 64.72],
      'OpenELM-3B': [42.24, 73.29, 73.28, 26.76, 78.24, 38.76, 34.98, 67.25],
      'OpenELM-3B-Instruct': [47.7, 72.33, 76.87, 24.8, 79.0, 38.47, 38.76, 67.96],
    },
  },
];

export type Verdict = 'within noise' | 'differs';

/** One metric of a suite, ours beside the published one; all numbers in percent. */
export interface SuiteRow {
  readonly title: string;
  readonly task: string;
  readonly numFewshot: number;
  readonly metric: string;
  readonly value: number;
  readonly stderr: number | 'N/A';
  /** Absent for a model that the card does not name. */
  readonly published?: number;
  readonly verdict?: Verdict;
}

/**
 * Whether two accuracies in percent agree: apart by no more than two standard errors of both together.
 * The published one's error is that of `documents` yes-or-no questions.
 */
export function verdictOf(value: number, stderr: number | 'N/A', published: number, documents: number): Verdict {
  const share = published / 100;
  const theirs = 100 * Math.sqrt((share * (1 - share)) / documents);
  const ours = stderr === 'N/A' ? 0 : stderr;
  return Math.abs(value - published) <= 2 * Math.hypot(ours, theirs) ? 'within noise' : 'differs';
}

/** The rows of a suite's table; tasks that were not run are left out. `model`: a name on the card, such as `OpenELM-270M`. */
export function compareWithPublished(suite: Suite, results: EvalResults, model?: string): SuiteRow[] {
  const numbers = model === undefined ? undefined : suite.published[model.replace(/^.*\//, '')];
  return suite.tasks.flatMap(({ task, title, numFewshot, metrics, documents }, i) =>
    metrics.flatMap((metric) => {
      const entry = results.results[task];
      const found = entry?.[`${metric},none`];
      if (typeof found !== 'number') return [];
      const error = entry[`${metric}_stderr,none`];
      const stderr = typeof error === 'number' ? 100 * error : 'N/A';
      const published = numbers?.[i];
      const verdict = published === undefined ? undefined : verdictOf(100 * found, stderr, published, documents);
      return [{ title, task, numFewshot, metric, value: 100 * found, stderr, published, verdict }];
    }),
  );
}

/** The suite of a name. */
export function findSuite(name: string): Suite | undefined {
  return suites.find((suite) => suite.name === name);
}
