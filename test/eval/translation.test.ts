// Scores of translations against lm-evaluation-harness 0.4.13 with sacreBLEU 2.6.0 (translation.jsonl: right texts and answers, its scores and
// standard errors of 100 resamplings), and the way of a task to them. chrF and TER take no logarithm: equal to the bit.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { evaluate, evaluateShard, mergeShards } from '../../src/eval/harness.js';
import { aggregate, documentMetrics, higherIsBetter } from '../../src/eval/metrics.js';
import type { Texts } from '../../src/eval/task.js';
import { taskFromObject } from '../../src/eval/user-task.js';
import { fakeScorer } from './fake-scorer.js';

const lines = readFileSync(new URL('translation.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n');
const cases = lines.map((line) => JSON.parse(line));

it.each(cases)('scores translations as sacreBLEU: $what', ({ documents, scores }) => {
  for (const [metric, [value, stderr]] of Object.entries<[number, number | 'N/A']>(scores)) {
    const found = aggregate({ metric }, documents, 100_000);
    if (metric !== 'bleu') {
      expect(found, metric).toEqual({ value, stderr });
      continue;
    }
    // A logarithm and an exponential of C's library may differ from JavaScript's in the last bit.
    expect(Math.abs(found.value - value), 'bleu').toBeLessThanOrEqual(4e-15 * value);
    if (typeof stderr === 'string') expect(found.stderr).toBe(stderr);
    else expect(Math.abs(Number(found.stderr) - stderr)).toBeLessThanOrEqual(1e-13 * stderr);
  }
});

const fields = {
  ...{ task: 'x', dataset_path: 'x', test_split: 'test', doc_to_text: '{{q}}', doc_to_target: 'a', num_fewshot: 0 },
  metric_list: [{ metric: 'bleu' }, { metric: 'exact_match' }, { metric: 'chrf++' }, { metric: 'ter', aggregation: 'ter' }],
};
const texts = ['a quick brown fox', 'the lazy dog sleeps here'];
const docs = texts.map((a, i) => ({ q: `${i}`, a }));
const scorer = () => ({ ...fakeScorer(), generateUntil: async () => [`${texts[0]} runs`, 'the dog sleeps'] });

it('aggregates them over the documents of a task, in shards too', async () => {
  const task = taskFromObject(fields, 'x.yaml');
  const data = { 'x|': { test: docs } };
  const { results, samples } = await evaluate(scorer(), [task], data);
  const pairs = samples!.x.map(({ bleu }) => bleu) as [string, string][];
  expect(pairs).toEqual([
    ['a quick brown fox', 'a quick brown fox runs'],
    ['the lazy dog sleeps here', 'the dog sleeps'],
  ]);
  for (const metric of ['bleu', 'chrf++', 'ter']) {
    const { value, stderr } = aggregate({ metric }, pairs, 100);
    expect(results.results.x).toMatchObject({ [`${metric},none`]: value, [`${metric}_stderr,none`]: stderr });
  }
  expect(results.results.x['exact_match,none']).toBe(0);
  expect(results.results.x['ter,none']).toBe(100 * (3 / 9));
  expect(results.higher_is_better.x).toEqual({ bleu: true, exact_match: true, 'chrf++': true, ter: false });
  const parts = await Promise.all(
    [0, 1].map((index) =>
      evaluateShard(
        { ...scorer(), generateUntil: async () => [`${index ? 'the dog sleeps' : `${texts[0]} runs`}`] },
        [task],
        data,
        {
          shard: { index, count: 2 },
        },
      ),
    ),
  );
  expect(mergeShards(JSON.parse(JSON.stringify(parts)), [task]).results).toEqual(results);
});

it('takes several right answers as references, and one text as the answer', () => {
  const task = taskFromObject({ ...fields, metric_list: [{ metric: 'bleu' }] }, 'x.yaml');
  const score = (target: string[], generated: string | string[], choices?: string[]) =>
    documentMetrics(task, {}, { text: '', target, choices, printed: '' }, { loglikelihood: [], generated });
  expect(score(['a', 'b'], ['c'])).toEqual({ bleu: [['a', 'b'], ['c']] }); // a list stays one in samples files
  expect(() => score(['a'], ['c', 'd'])).toThrow('bleu compares one text, and filter_list leaves a list: end it with take_first');
  expect(score([], 'c')).toEqual({ bleu: ['[]', 'c'] });
  const pairs: Texts[] = [['a b c d', ['a b c d']]];
  expect(aggregate({ metric: 'bleu' }, pairs, 0).value).toBeCloseTo(100, 9);
  expect(higherIsBetter({ metric: 'ter' })).toBe(false);
});

it.each([
  [{ metric: 'bleu', aggregation: 'mean' }, 'metric_list: bleu cannot be aggregated by mean'],
  [{ metric: 'exact_match', aggregation: 'ter' }, 'metric_list: exact_match cannot be aggregated by ter'],
  [
    { metric: 'rouge' },
    /there is no metric "rouge" for output_type generate_until; there are exact_match, bleu, chrf, chrf\+\+, ter/,
  ],
])('refuses %j', (metric, message) => {
  expect(() => taskFromObject({ ...fields, metric_list: [metric] }, 'x.yaml')).toThrow(message);
});
