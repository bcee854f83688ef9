// What a group has of its tasks: numbers of lm-evaluation-harness 0.4.13 for the same scores.

import { describe, expect, it } from 'vitest';
import { collectResults, type TaskScores } from '../../src/eval/results.js';
import type { GroupMetric, Task, TaskGroup } from '../../src/eval/task.js';

const task = (name: string, metric: string): Task => ({
  task: name,
  dataset_path: 'made/up',
  test_split: 'test',
  doc_to_text: '',
  doc_to_target: '',
  metric_list: [{ metric }],
  output_type: 'generate_until',
  metadata: { version: 1 },
});
const tasks = { one: task('one', 'exact_match'), two: task('two', 'exact_match') };
const scores = (of: Task, rows: readonly Record<string, number>[]): TaskScores => ({
  task: of,
  numFewshot: 0,
  original: rows.length,
  metrics: rows,
});
const collected = (aggregate_metric_list: readonly GroupMetric[]) => {
  const group: TaskGroup = { group: 'both', task: Object.values(tasks), aggregate_metric_list, metadata: {} };
  const one = [1, 0, 0, 1, 1, 0, 0].map((value, i) => ({ 'exact_match,strict': value, 'exact_match,flexible': i % 2 }));
  const two = [1, 1, 0].map((value) => ({ 'exact_match,strict': value }));
  return collectResults([scores(tasks.one, one), scores(tasks.two, two)], [group]);
};

describe('a group', () => {
  it('takes a metric behind each pipeline of filters, or behind those that it names', () => {
    const all = collected([{ metric: 'exact_match', weight_by_size: true }]);
    expect(all.results.both).toMatchObject({
      sample_len: 10,
      'exact_match,flexible': 3 / 7,
      'exact_match,strict': 0.5,
      sample_count: { 'exact_match,flexible': 7, 'exact_match,strict': 10 },
    });
    expect(all.versions.both).toBe('N/A');
    const some = collected([{ metric: 'exact_match', weight_by_size: true, filter_list: ['strict', 'none'] }]);
    expect(some.groups?.both).toEqual({
      alias: 'both',
      name: 'both',
      sample_len: 10,
      'exact_match,strict': 0.5,
      'exact_match_stderr,strict': expect.closeTo(0.172516, 6),
      sample_count: { 'exact_match,strict': 10 },
    });
  });

  it('has the error of the mean of means where tasks count alike', () => {
    const { results } = collected([{ metric: 'exact_match', weight_by_size: false, filter_list: ['strict'] }]);
    expect(results.both['exact_match,strict']).toBeCloseTo((3 / 7 + 2 / 3) / 2, 12);
    expect(results.both['exact_match_stderr,strict']).toBeCloseTo(0.194889, 6);
  });

  it('without metrics of its own is a name', () => {
    const { results, groups } = collected([]);
    expect(results.both).toEqual({ alias: 'both', name: 'both' });
    expect(groups).toBeUndefined();
  });
});
