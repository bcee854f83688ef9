import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { evaluate, evaluateShard, mergeShards } from '../../src/eval/harness.js';
import { makeTable, outputNames, resultsObject, samplesText, taskHashes } from '../../src/eval/report.js';
import { compareWithPublished, findSuite, suites, verdictOf } from '../../src/eval/suites.js';
import { leafTasks } from '../../src/eval/task.js';
import { findTasks } from '../../src/eval/tasks/index.js';
import { meanGroup } from '../../src/eval/tasks/mmlu.js';
import { fakeScorer } from './fake-scorer.js';
import { samples } from './samples.js';

const small = meanGroup('mmlu_small', findTasks(['mmlu_abstract_algebra']));
const tasks = [...findTasks(['arc_easy', 'hellaswag', 'winogrande', 'truthfulqa_mc2', 'wikitext', 'crows_pairs_english']), small];
const options = { numFewshot: 2, bootstrapIterations: 1000 };

describe('a run', () => {
  it('asks everything at once and nothing twice', async () => {
    const scorer = fakeScorer();
    const progress: [number, number][] = [];
    const twice = [...findTasks(['llm_adapters_arc_easy', 'llm_adapters_arc_challenge'])];
    const { results } = await evaluate(scorer, twice, samples, { onProgress: (done, total) => progress.push([done, total]) });
    expect(scorer.asked).toHaveLength(1);
    expect(scorer.asked[0]).toHaveLength(5 * 4);
    expect(progress).toEqual([[20, 20]]);
    const { llm_adapters_arc_easy: easy, llm_adapters_arc_challenge: challenge } = results.results;
    expect(easy['acc,none']).toBe(challenge['acc,none']);
  });

  it('gives the same in one piece and in shards, whatever their order', async () => {
    const whole = await evaluate(fakeScorer(), tasks, samples, options);
    const parts = await Promise.all(
      [2, 0, 1].map((index) => evaluateShard(fakeScorer(), tasks, samples, { ...options, shard: { index, count: 3 } })),
    );
    const written = JSON.parse(JSON.stringify(parts)) as typeof parts;
    expect(mergeShards(written, tasks, options)).toEqual(whole);
    expect(() => mergeShards(written.slice(1), tasks)).toThrow('of 3 shards, 2 are missing');
    expect(() => mergeShards([...written, written[0]], tasks)).toThrow('give each shard of one run once');
    const other = await evaluateShard(fakeScorer(), tasks, samples, { ...options, numFewshot: 1, shard: { index: 2, count: 3 } });
    expect(() => mergeShards([other, ...written.slice(1)], tasks)).toThrow('the shards are not of one run');
    const limited = await evaluateShard(fakeScorer(), tasks, samples, { ...options, limit: 2, shard: { index: 0, count: 3 } });
    expect(() => mergeShards([written[0], limited, written[2]], tasks)).toThrow('limits differ');
  });

  it('counts shots, samples and what did not fit', async () => {
    const {
      results,
      truncated,
      samples: lines,
    } = await evaluate(fakeScorer(), tasks, samples, {
      numFewshot: { arc_easy: 1, mmlu_small: 3 },
      limit: 4,
    });
    expect(results['n-shot']).toEqual({
      arc_easy: 1,
      crows_pairs_english: 0,
      hellaswag: 0,
      mmlu_abstract_algebra: 3,
      mmlu_small: 3,
      truthfulqa_mc2: 0,
      wikitext: 0,
      winogrande: 0,
    });
    expect(results['n-samples'].arc_easy).toEqual({ original: 5, effective: 4 });
    expect(results.group_subtasks).toEqual({ mmlu_small: ['mmlu_abstract_algebra'] });
    expect(results.versions.mmlu_small).toBe('2');
    const scorer = fakeScorer();
    await evaluate(scorer, findTasks(['arc_easy']), samples, { numFewshot: 1, limit: 4 });
    const answers = await scorer.loglikelihood(scorer.asked[0]);
    const tokens = answers.reduce((sum, { truncated: cut }) => sum + (cut ?? 0), 0);
    expect(truncated.arc_easy.tokens).toBe(tokens);
    expect(lines?.arc_easy).toHaveLength(4);
    const bare = await evaluate(fakeScorer(), tasks, samples, { logSamples: false });
    expect(bare.samples).toBeUndefined();
  });

  it('takes a scorer at its word only when it answers everything', async () => {
    const scorer = { ...fakeScorer(), loglikelihood: async () => [] };
    await expect(evaluate(scorer, findTasks(['arc_easy']), samples)).rejects.toThrow('fake gave 0 answers to 20 requests');
  });

  it('scores the perplexity of pages by their words and bytes', async () => {
    const { results, samples: lines } = await evaluate(fakeScorer(), findTasks(['wikitext']), samples);
    const pairs = lines!.wikitext.map((line) => line.word_perplexity as [number, number]);
    expect(pairs[0][1]).toBe(20);
    const total = pairs.reduce((sum, [logprob]) => sum + logprob, 0);
    expect(results.results.wikitext['word_perplexity,none']).toBeCloseTo(Math.exp(-total / (5 * 20)), 9);
    expect(results.results.wikitext['word_perplexity_stderr,none']).toBe('N/A');
  });
});

describe('what a run leaves', () => {
  it('is the files of the harness', async () => {
    const run = await evaluate(fakeScorer(), tasks, samples, options);
    const date = new Date(2026, 0, 2, 3, 4, 5, 6);
    expect(outputNames('some/model:1', ['arc_easy'], date)).toEqual({
      results: 'some__model__1/results_2026-01-02T03-04-05.006000.json',
      samples: { arc_easy: 'some__model__1/samples_arc_easy_2026-01-02T03-04-05.006000.jsonl' },
    });
    const hashes = await taskHashes(run.samples!);
    expect(Object.keys(hashes)).toEqual(leafTasks(tasks).map(({ task }) => task));
    expect(hashes.arc_easy).toMatch(/^[0-9a-f]{64}$/);
    const object = resultsObject(run, { modelName: 'some/model', date, seconds: 1.5, tokens: { eos: ['</s>', 2] } }, hashes);
    const golden = JSON.parse(readFileSync(new URL('../golden/eval/results_example/results.json', import.meta.url), 'utf8'));
    expect(Object.keys(object).sort()).toEqual([...Object.keys(golden), 'groups'].sort());
    expect(Object.keys(object.config)).toEqual(Object.keys(golden.config));
    expect(object.tokenizer_eos_token).toEqual(['</s>', '2']);
    expect(object).toMatchObject({
      date: date.getTime() / 1000,
      model_name_sanitized: 'some__model',
      config: { fewshot_seed: 1234 },
    });
    const lines = samplesText(run.samples!.winogrande).trimEnd().split('\n');
    expect(lines).toHaveLength(5);
    expect(JSON.parse(lines[1])).toEqual(run.samples!.winogrande[1]);
  });

  it('prints as the harness prints', async () => {
    const two = [...findTasks(['arc_easy']), small];
    const { results } = await evaluate(fakeScorer(), two, samples, { numFewshot: 1 });
    const entry = (name: string, acc: number, stderr: number | 'N/A') => ({
      ...results.results[name],
      'acc,none': acc,
      'acc_stderr,none': stderr,
    });
    const fixed = {
      ...results,
      results: {
        arc_easy: { ...entry('arc_easy', 0.28125, 0.05), 'acc_norm,none': 0.5, 'acc_norm_stderr,none': 'N/A' },
        mmlu_abstract_algebra: entry('mmlu_abstract_algebra', 0.4, 0.24494897),
        mmlu_small: entry('mmlu_small', 0.4, 0.24494897),
      },
    };
    expect(makeTable(fixed)).toBe(
      [
        '|      Tasks       |Version|Filter|n-shot| Metric |   |Value |   |Stderr|',
        '|------------------|------:|------|-----:|--------|---|-----:|---|------|',
        '|mmlu_small        |      2|none  |     1|acc     |↑  |0.4000|±  |0.2449|',
        '| - abstract_algebra|      1|none  |     1|acc     |↑  |0.4000|±  |0.2449|',
        '|arc_easy          |      1|none  |     1|acc     |↑  |0.2812|±  |0.0500|',
        '|                  |       |none  |     1|acc_norm|↑  |0.5000|±  |   N/A|',
      ]
        .map((line) => line.replace(/^\|(.{18,19})\|/, (_, cell: string) => `|${pad(cell)}|`))
        .join('\n'),
    );
  });
});

/** The first column is 19 wide: dashes, titles in the middle, names to the left. */
function pad(cell: string): string {
  if (cell.startsWith('-')) return '-'.repeat(19);
  return cell.trim() === 'Tasks' ? `       Tasks       ` : cell.padEnd(19);
}

describe('suites', () => {
  it('have the published averages', () => {
    const average = (name: string, model: string) => {
      const numbers = findSuite(name)!.published[model];
      return numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
    };
    const published: [string, string, number][] = [
      ['zero-shot', 'OpenELM-270M', 54.37],
      ['zero-shot', 'OpenELM-270M-Instruct', 55.11],
      ['zero-shot', 'OpenELM-450M', 57.56],
      ['zero-shot', 'OpenELM-450M-Instruct', 59.95],
      ['zero-shot', 'OpenELM-1_1B', 63.44],
      ['zero-shot', 'OpenELM-1_1B-Instruct', 65.5],
      ['zero-shot', 'OpenELM-3B', 67.39],
      ['zero-shot', 'OpenELM-3B-Instruct', 69.15],
      ['five-task', 'OpenELM-270M', 38.72],
      ['five-task', 'OpenELM-270M-Instruct', 40.54],
      ['five-task', 'OpenELM-450M', 41.5],
      ['five-task', 'OpenELM-450M-Instruct', 43.41],
      ['five-task', 'OpenELM-1_1B', 45.93],
      ['five-task', 'OpenELM-1_1B-Instruct', 49.94],
      ['five-task', 'OpenELM-3B', 48.9],
      ['five-task', 'OpenELM-3B-Instruct', 51.22],
      ['eight-task', 'OpenELM-270M', 45.13],
      ['eight-task', 'OpenELM-270M-Instruct', 46.66],
      ['eight-task', 'OpenELM-450M', 47.69],
      ['eight-task', 'OpenELM-450M-Instruct', 49.25],
      ['eight-task', 'OpenELM-1_1B', 51.68],
      ['eight-task', 'OpenELM-1_1B-Instruct', 54.4],
      ['eight-task', 'OpenELM-3B', 54.35],
      ['eight-task', 'OpenELM-3B-Instruct', 55.73],
    ];
    for (const [suite, model, expected] of published) expect(Math.abs(average(suite, model) - expected)).toBeLessThan(0.0101);
    for (const { tasks: list } of suites) expect(() => findTasks(list.map(({ task }) => task))).not.toThrow();
  });

  it('say whether a number is within noise', () => {
    expect(verdictOf(27.4, 1.3, 26.45, 1172)).toBe('within noise');
    expect(verdictOf(33, 1.3, 26.45, 1172)).toBe('differs');
  });

  it('put ours beside the published', async () => {
    const suite = findSuite('zero-shot')!;
    const { results } = await evaluate(fakeScorer(), findTasks(['arc_easy', 'boolq']), samples);
    const rows = compareWithPublished(suite, results, 'apple/OpenELM-270M');
    expect(rows.map(({ title, metric, published }) => [title, metric, published])).toEqual([
      ['ARC-e', 'acc', 45.08],
      ['ARC-e', 'acc_norm', 45.08],
      ['BoolQ', 'acc', 53.98],
    ]);
    expect(compareWithPublished(suite, results, 'mine')[0]).toMatchObject({ published: undefined, verdict: undefined });
  });
});
