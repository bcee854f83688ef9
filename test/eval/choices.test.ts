// Right answers of any kind, and what lm-evaluation-harness 0.4.13 counts with them (choices.jsonl: the answer, as Python prints it,
// made-up log-probabilities of three choices with and without a question, the metrics): indices, texts, booleans, templates, and
// answers that are none of the choices. F1 and Matthews' correlation beside scikit-learn's.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { evaluate, evaluateShard, mergeShards } from '../../src/eval/harness.js';
import { aggregate, documentMetrics } from '../../src/eval/metrics.js';
import { buildRequests } from '../../src/eval/requests.js';
import { taskFromObject } from '../../src/eval/user-task.js';
import { fakeScorer } from './fake-scorer.js';

const metrics = ['acc', 'acc_norm', 'acc_bytes', 'acc_mutual_info', 'exact_match', 'f1', 'mcc'];
const task = (fields: object = {}) =>
  taskFromObject(
    {
      ...{ task: 'x', dataset_path: 'x', test_split: 'test', output_type: 'multiple_choice' },
      ...{ doc_to_text: 'q', doc_to_target: 'a', doc_to_choice: ['no', 'yes', 'may be'] },
      metric_list: metrics.map((metric) => ({ metric })),
      ...fields,
    },
    'x.yaml',
  );

type Row = [unknown, string, number[], number[], Record<string, unknown>];

it('counts right answers of any kind as the harness does', () => {
  const rows = readFileSync(new URL('choices.jsonl', import.meta.url), 'utf8')
    .trim()
    .split('\n');
  for (const line of rows) {
    const [gold, printed, lls, greedy, expected] = JSON.parse(line) as Row;
    const isTemplate = typeof gold === 'string' && gold.startsWith('{{');
    const fields = isTemplate ? { doc_to_target: gold } : {};
    const metric_list = Object.keys(expected).map((metric) => ({ metric }));
    const asked = task({ ...fields, metric_list });
    const [{ doc, reading, loglikelihood, stray }] = buildRequests(asked, { test: [{ q: 'Q', a: gold }] });
    expect(reading.printed, line).toBe(printed);
    expect(loglikelihood.map(({ context }) => context)).toEqual(['Q', 'Q', 'Q', '', '', '']);
    const answers = lls.map((logprob, i) => ({ logprob, greedy: greedy[i] === 1 }));
    expect(documentMetrics(asked, doc, reading, { loglikelihood: answers }), line).toEqual(expected);
    expect(stray === true, line).toBe([-1, -2, 3, 99, 'maybe', '{{7}}'].includes(gold as string));
  }
});

it('tells how many documents have no right answer among their choices, in shards too, and keeps their samples', async () => {
  const data = { 'x|': { test: [0, 5, 'yes', 'never', true].map((a) => ({ q: 'Q', a })) } };
  const tasks = [task({ metric_list: [{ metric: 'acc' }] })];
  const whole = await evaluate(fakeScorer(), tasks, data);
  expect(whole.stray).toEqual({ x: 2 });
  expect(whole.samples?.x.map(({ target }) => target)).toEqual(['0', '5', 'yes', 'never', 'True']);
  const parts = await Promise.all(
    [0, 1].map((index) => evaluateShard(fakeScorer(), tasks, data, { shard: { index, count: 2 } })),
  );
  expect(mergeShards(JSON.parse(JSON.stringify(parts)), tasks)).toEqual(whole);
});
// Pairs, then F1, its standard error over 50 resamples, and the same of the correlation; null where scikit-learn refuses.
type Score = number | null;
const scored: [number[][], [Score, Score, Score, Score]][] = [
  [
    ['01', '00', '01', '11', '01', '11', '00', '01', '01', '10', '01', '00'].map((pair) => [...pair].map(Number)),
    [0.36363636363636365, 0.21645300429687808, 0, 0.283346344866513],
  ],
  [
    ['02', '13', '02', '00', '13', '30', '13', '12', '22'].map((pair) => [...pair].map(Number)),
    [null, null, 0.09435641951204965, 0.17430212584793645],
  ],
  [
    [
      ...[
        [0, 1],
        [1, 0],
        [2, 0],
        [0, 2],
        [-100, 1],
        [1, 1],
        [1, 2],
      ],
    ],
    [null, null, -0.24253562503633297, 0.16120648401079618],
  ],
  [new Array(5).fill([0, 0]), [0, 0, 0, 0]],
  [new Array(6).fill([1, 1]), [1, 0, 0, 0]],
];

it.each(scored)("agrees with scikit-learn's F1 and correlation: %#", (pairs, expected) => {
  const found = ['f1', 'mcc'].flatMap((metric) => {
    try {
      const { value, stderr } = aggregate({ metric }, pairs as [number, number][], 50);
      return [value, stderr];
    } catch {
      return [null, null];
    }
  });
  for (const [i, value] of expected.entries()) {
    if (value === null) expect(found[i]).toBeNull();
    else expect(found[i]).toBeCloseTo(value, 12);
  }
});

// Pairs; weighted, macro, micro.
const averaged: [string[], number[]][] = [
  [
    ['02', '20', '12', '12', '20', '20', '11', '20', '02'],
    [1 / 6, 1 / 6, 1 / 9],
  ],
  [
    ['10', '10', '00', '10', '11', '11'],
    [0.5428571428571428, 0.4857142857142857, 0.5],
  ],
  [
    ['92', '43', '31', '11', '43', '00', '14', '02', '02', '34', '33', '34'],
    [0.30357142857142855, 0.21428571428571427, 0.25],
  ],
  [
    ['11', '11'],
    [1, 1, 1],
  ],
];

it.each(averaged)('averages F1 over classes as scikit-learn: %j', (pairs, expected) => {
  const values = pairs.map((pair) => [...pair].map(Number) as [number, number]);
  for (const [i, aggregation] of ['weighted_f1', 'macro_f1', 'micro_f1'].entries()) {
    const { value, stderr } = aggregate({ metric: 'f1', aggregation }, values, 100);
    expect(value, aggregation).toBeCloseTo(expected[i], 14);
    expect(stderr).toBe('N/A'); // none there: it has no name for these
  }
});
