// Filters of answers and beginnings of answers, against lm-evaluation-harness 0.4.13: what its filters gave in Python (filters.jsonl; null: they
// threw), what they and `process_results` gave of several answers (repeats.jsonl), and what its `build_qa_turn` wrote for an example and a question (gen-prefix.json: question, gen_prefix, answer, text).

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { type Answer, filtered } from '../../src/eval/filters.js';
import { documentMetrics } from '../../src/eval/metrics.js';
import { buildRequests } from '../../src/eval/requests.js';
import { taskFromObject } from '../../src/eval/user-task.js';

const read = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8');

it('reads answers as the filters of the harness', () => {
  for (const line of read('filters.jsonl').trim().split('\n')) {
    const { filter, choices, answer, filtered: expected } = JSON.parse(line);
    const found = (): Answer => filtered({ name: 'x', filter }, [answer], { choices });
    if (expected === null) expect(found, line).toThrow(/group_select is|nothing to/);
    else expect(found(), line).toBe(expected);
  }
});

it('reads several answers, and compares lists of them, as the harness', () => {
  for (const line of read('repeats.jsonl').trim().split('\n')) {
    const { filter, choices, answers, filtered: expected, target, options, exact_match: match } = JSON.parse(line);
    const found = (): Answer => filtered({ name: 'x', filter }, answers, { choices });
    if (expected === null) {
      expect(found, line).toThrow(/repeats must be|nothing to|is a list/);
      continue;
    }
    expect(found(), line).toEqual(expected);
    const fields = { task: 'x', dataset_path: 'x', test_split: 'test', doc_to_text: 'q', doc_to_target: 'a' };
    const task = taskFromObject({ ...fields, metric_list: [{ metric: 'exact_match', ...options }] }, 'x.yaml');
    const score = (): unknown =>
      documentMetrics(task, {}, { text: '', target, printed: '' }, { loglikelihood: [], generated: expected });
    // There a number equals no text of a list, which is refused here.
    if (match === null || (Array.isArray(expected) && target === 4))
      expect(score, line).toThrow(/cannot be compared|leaves a list/);
    else expect(score(), line).toEqual({ exact_match: match });
  }
});

it('begins answers as the harness', () => {
  const rows = JSON.parse(read('gen-prefix.json')) as [string, string | null, string | number, string][];
  for (const [question, begun, answer, text] of rows) {
    const fields = {
      doc_to_text: 'q',
      doc_to_target: 'a',
      doc_to_choice: ['no', 'yes'],
      target_delimiter: ' = ',
      gen_prefix: begun,
    };
    const splits = { dataset_path: 'x', test_split: 'test', fewshot_split: 'train', fewshot_config: { sampler: 'first_n' } };
    const task = taskFromObject({ task: 'x', ...splits, output_type: 'generate_until', num_fewshot: 1, ...fields }, 'x.yaml');
    const docs = { test: [{ q: question, a: 'yes' }], train: [{ q: question, a: answer }] };
    expect(buildRequests(task, docs)[0].generate?.context, JSON.stringify([question, begun, answer])).toBe(text);
  }
  const several = { doc_to_text: 0, doc_to_target: 'a', doc_to_choice: '["one", "two"]', gen_prefix: '{{p}}!' };
  const task = taskFromObject(
    { task: 'x', dataset_path: 'x', test_split: 'test', output_type: 'multiple_choice', ...several },
    'x.yaml',
  );
  const [{ loglikelihood }] = buildRequests(task, { test: [{ a: 'b', p: 'so' }] });
  expect(loglikelihood).toEqual(['oneso!', 'twoso!'].map((context) => ({ context, continuation: ' b' })));
});
