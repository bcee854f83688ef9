import { describe, expect, it } from 'vitest';
import { poolSplit } from '../../src/eval/dataset.js';
import { evaluate } from '../../src/eval/harness.js';
import { buildRequests, generation } from '../../src/eval/requests.js';
import type { GenerateRequest } from '../../src/eval/scorer.js';
import { taskFromObject } from '../../src/eval/user-task.js';
import { PythonFloat } from '../../src/python-float.js';
import { fakeScorer } from './fake-scorer.js';
import { samples } from './samples.js';

const base = {
  task: 'ponds',
  dataset_path: 'aps/super_glue',
  dataset_name: 'boolq',
  validation_split: 'validation',
  fewshot_split: 'train',
  test_split: 'test',
  output_type: 'multiple_choice',
  doc_to_text: '{{passage}} {{question|upper}}?',
  doc_to_choice: ['no', 'yes'],
  doc_to_target: '{{label}}',
  description: 'Ponds.\n\n',
  fewshot_delimiter: '\n',
  num_fewshot: 1,
  metric_list: [{ metric: 'acc' }, { metric: 'acc_bytes', aggregation: 'mean', higher_is_better: true }],
};

describe('a task of the user', () => {
  it("has the harness's metrics and stops where it gives none", () => {
    const metrics = (output_type: string) =>
      taskFromObject({ ...base, output_type, metric_list: undefined }, 'ponds.yaml').metric_list.map(({ metric }) => metric);
    expect(metrics('multiple_choice')).toEqual(['acc', 'acc_norm']);
    expect(metrics('loglikelihood')).toEqual(['perplexity', 'acc']);
    expect(metrics('loglikelihood_rolling')).toEqual(['word_perplexity', 'byte_perplexity', 'bits_per_byte']);
    expect(metrics('generate_until')).toEqual(['exact_match']);
    const stops = (generation_kwargs?: object) => {
      const fields = { ...base, output_type: 'generate_until', metric_list: undefined, generation_kwargs };
      return generation(taskFromObject(fields, 'ponds.yaml')).until;
    };
    expect([stops(), stops({ max_gen_toks: 5 }), stops({ until: null }), stops({ until: [] })]).toEqual([['\n'], ['\n'], [], []]);
  });

  it('has answers of so many tokens, drawn or not, as the harness reads generation_kwargs', () => {
    const asked = (generation_kwargs: object) => {
      const { maxTokens, temperature } = generation(
        taskFromObject({ ...base, output_type: 'generate_until', metric_list: undefined, generation_kwargs }, 'ponds.yaml'),
      );
      return [maxTokens, temperature];
    };
    expect(asked({})).toEqual([256, 0]);
    expect(asked({ max_new_tokens: 7, num_beams: 1 })).toEqual([7, 0]);
    expect(asked({ max_completion_tokens: 6, max_tokens: 5, temperature: 0 })).toEqual([5, 0]);
    expect(asked({ temperature: 0.5 })).toEqual([256, 0.5]);
    expect(asked({ do_sample: false, temperature: 0.5 })).toEqual([256, 0]);
  });

  it('draws its examples from the split that it names, else from training, validation or test, the first that it has', () => {
    const splits = { fewshot_split: 'shots', training_split: 'train', validation_split: 'validation', test_split: 'test' };
    const pools = Object.keys(splits).map((_, i, names) => {
      const without = Object.fromEntries(names.slice(0, i).map((name) => [name, undefined]));
      return poolSplit(taskFromObject({ ...base, ...splits, ...without }, 'ponds.yaml'));
    });
    expect(pools).toEqual(['shots', 'train', 'validation', 'test']);
  });

  it('may have a number of any kind as what a text is compared with', () => {
    const fields = { ...base, output_type: 'generate_until', doc_to_choice: undefined, doc_to_target: 'd', num_fewshot: 0 };
    const task = taskFromObject({ ...fields, doc_to_text: 'q', metric_list: [{ metric: 'exact_match' }] }, 'ponds.yaml');
    const [{ reading }] = buildRequests(task, { test: [{ q: 'Half of five?', d: 2.5 }] });
    expect(reading.printed).toBe('2.5');
  });

  it('is asked like a built-in one', async () => {
    const task = taskFromObject(base, 'ponds.yaml');
    const [instance] = buildRequests(task, samples['aps/super_glue|boolq']);
    const [row] = instance.fewshot;
    const { idx, label } = samples['aps/super_glue|boolq'].train[row] as { idx: number; label: number };
    expect(instance.loglikelihood[1]).toEqual({
      context: `Ponds.\n\nPond ${idx} is deep. IS POND ${idx} DEEP? ${['no', 'yes'][label]}\nPond 0 is deep. IS POND 0 DEEP?`,
      continuation: ' yes',
    });
    const { results } = await evaluate(fakeScorer(), [task], samples);
    expect(Object.keys(results.results.ponds)).toContain('acc_bytes_stderr,none');
    expect(results.configs.ponds.metadata).toMatchObject({ config_source: 'ponds.yaml' });
  });

  it('may generate and match', async () => {
    const task = taskFromObject(
      {
        ...base,
        output_type: 'generate_until',
        doc_to_choice: undefined,
        doc_to_target: 'deep',
        num_fewshot: 0,
        doc_to_text: '{{question}}',
        metric_list: [{ metric: 'exact_match', ignore_case: true, ignore_punctuation: true }],
        generation_kwargs: { until: ['.'], max_gen_toks: 4 },
      },
      'ponds.yaml',
    );
    const deep = {
      'aps/super_glue|boolq': { test: samples['aps/super_glue|boolq'].test.map((doc) => ({ ...doc, deep: 'deep' })) },
    };
    const [instance] = buildRequests(task, deep['aps/super_glue|boolq']);
    expect(instance.generate).toEqual({ context: 'Ponds.\n\nis pond 0 deep', until: ['.'], maxTokens: 4, temperature: 0 });
    const { results, samples: lines } = await evaluate(fakeScorer(), [task], deep);
    expect(results.results.ponds['exact_match,none']).toBe(0.2);
    expect(lines?.ponds[1]).toMatchObject({ resps: [['Deep!']], filtered_resps: ['Deep!'], exact_match: 1 });
  });

  it('may bring its examples, and write them otherwise', () => {
    // What lm-evaluation-harness 0.4.13 asks.
    const rows = ['a', 'b', 'c', 'd'].map((q, i) => ({ q, a: ['no', 'yes'][i % 2], x: new PythonFloat(i), is: i % 2 === 1 }));
    const own = { ...base, fewshot_split: null, description: '', num_fewshot: 2, doc_to_text: '{{q}}?', doc_to_target: 'is' };
    const ask = (fewshot_config: object, changes: object = {}): string => {
      const task = taskFromObject({ ...own, ...changes, fewshot_config }, 'own.yaml');
      return buildRequests(task, { test: rows, train: rows, validation: rows })[0].loglikelihood[0].context;
    };
    const samples = rows.slice(1);
    expect(ask({ samples })).toBe('c? no\nb? yes\na?');
    expect(ask({ samples, sampler: 'first_n' })).toBe('b? yes\nc? no\na?');
    expect(ask({ samples, split: 'train', sampler: 'first_n' })).toBe('a? no\nb? yes\na?');
    expect(ask({ samples, split: null, sampler: 'first_n' }, { fewshot_split: 'train' })).toBe('b? yes\nc? no\na?');
    const written = {
      doc_to_text: '{{q|upper}} {{x}}',
      doc_to_choice: ['NO', 'YES'],
      target_delimiter: '=',
      fewshot_delimiter: '|',
    };
    expect(ask({ samples, sampler: 'first_n', ...written })).toBe('B 1.0=YES|C 2.0=NO|a?');
    expect(ask({ samples, gen_prefix: 'So', sampler: 'first_n' }, { num_fewshot: 1 })).toBe('b? So yes\na?');
    expect(ask({ samples: [{ q: 'none', is: null }], sampler: 'first_n' }, { num_fewshot: 1 })).toBe('none?a?');
    // Copies of the evaluated document were drawn: again among the others.
    const copies = taskFromObject({ ...own, fewshot_split: 'test', num_fewshot: 1 }, 'own.yaml');
    const test = [...new Array(9).fill(rows[0]), rows[1]];
    expect(buildRequests(copies, { test })[0].loglikelihood[0].context).toBe('b? yes\na?');
    expect(() => ask({ samples: [5] })).toThrow('own.yaml: fewshot_config.samples must be a list of documents');
    expect(() => ask({ samples: { '!function': 'utils.f' } })).toThrow('fewshot_config.samples is a Python function (utils.f)');
    expect(() => ask({ num_fewshot: 2 })).toThrow('own.yaml: fewshot_config.num_fewshot is not supported');
    expect(() => ask({ samples: samples.slice(0, 1) })).toThrow('the few-shot pool, fewshot_config.samples, has 1 document');
  });

  it('says so where a document has no question or no answer', () => {
    const ask = (doc: object) => () =>
      buildRequests(taskFromObject({ ...base, num_fewshot: 0, doc_to_text: 'q', doc_to_target: 'a' }, 'x'), {
        test: [{ q: 'a', a: 0, ...doc }],
      });
    expect(ask({ q: null })).toThrow('task ponds, document 0 of split "test": the question is null, no text');
    expect(ask({ a: null })).toThrow('task ponds, document 0 of split "test": the answer is null');
    expect(ask({ a: { b: 1 } })).toThrow('the answer is "{\'b\': 1}", neither the place of a choice nor its text');
    expect(ask({ a: 1.5 })).toThrow('the answer is "1.5", neither');
    expect(ask({ a: true })()[0].reading).toMatchObject({ target: 1, printed: 'True' });
  });

  it('may read its answers by several pipelines of filters', async () => {
    const regex = { function: 'regex', regex_pattern: '([A-Z])', fallback: '-' };
    const first = { function: 'take_first' };
    const fields = {
      ...base,
      ...{
        output_type: 'generate_until',
        doc_to_choice: undefined,
        doc_to_target: 'd',
        num_fewshot: 0,
        doc_to_text: '{{question}}',
      },
      ...{ metric_list: [{ metric: 'exact_match' }] },
      filter_list: [
        { name: 'strict', filter: [regex, first] },
        { name: 'loose', filter: [regex, { function: 'lowercase' }, first] },
      ],
    };
    const docs = samples['aps/super_glue|boolq'].test.map((doc) => ({ ...doc, d: 'd' }));
    const { results, samples: lines } = await evaluate(fakeScorer(), [taskFromObject(fields, 'ponds.yaml')], {
      'aps/super_glue|boolq': { test: docs },
    });
    expect(results.results.ponds).toMatchObject({ 'exact_match,strict': 0, 'exact_match,loose': 0.2 });
    expect(results.results.ponds).not.toHaveProperty('exact_match,none');
    expect(results.configs.ponds.filter_list).toEqual(fields.filter_list);
    expect(lines?.ponds.map(({ filter }) => filter)).toEqual([...docs.map(() => 'strict'), ...docs.map(() => 'loose')]);
    expect(lines?.ponds[1]).toMatchObject({
      resps: [['Deep!']],
      filtered_resps: ['D'],
      exact_match: 0,
      metrics: ['exact_match'],
    });
    expect(lines?.ponds[docs.length + 1]).toMatchObject({ filtered_resps: ['d'], exact_match: 1 });
    const refusal = (filter_list: unknown): unknown => {
      try {
        return taskFromObject({ ...fields, filter_list }, 'ponds.yaml');
      } catch (error) {
        return (error as Error).message;
      }
    };
    const three = { function: 'take_first_k', k: 3 };
    expect(refusal([{ name: 'x', filter: [three] }])).toBe('ponds.yaml: filter_list.x.take_first_k: k is 3, but repeats is 1');
    expect(refusal([{ name: 'x', filter: [{ function: 'custom' }, first] }])).toMatch(/there is no filter "custom" here/);
    expect(refusal([{ name: 'x', filter: [{ ...regex, group: 1 }, first] }])).toMatch(/regex: there is no option "group"/);
    expect(refusal([{ name: 'x', filter: [{ ...regex, regex_pattern: '(' }, first] }])).toMatch(
      /regular expression "\(" is none/,
    );
  });

  it('may ask for several answers and vote', async () => {
    const fields = {
      ...{ ...base, output_type: 'generate_until', doc_to_choice: undefined, doc_to_target: 'd', num_fewshot: 0 },
      ...{ doc_to_text: '{{question}}', metric_list: [{ metric: 'exact_match' }], repeats: 3 },
      generation_kwargs: { do_sample: true, temperature: 0.5, top_p: 0.9, max_gen_toks: 4 },
      filter_list: [
        { name: 'first', filter: [{ function: 'take_first' }] },
        { name: 'maj@3', filter: [{ function: 'majority_vote' }, { function: 'take_first' }] },
        { name: 'all', filter: [{ function: 'take_first_k', k: 3 }] },
      ],
    };
    const asked: GenerateRequest[] = [];
    const scorer = {
      ...fakeScorer(),
      generateUntil: async (requests: readonly GenerateRequest[]) => {
        asked.push(...requests);
        return requests.map(({ sample = 0 }) => (sample === 0 ? 'wrong' : 'd'));
      },
    };
    const docs = { 'aps/super_glue|boolq': { test: [{ question: 'deep?', d: 'd' }] } };
    const run = (changes: object) => evaluate(scorer, [taskFromObject({ ...fields, ...changes }, 'ponds.yaml')], docs);
    const { results, samples: lines } = await run({});
    expect(results.results.ponds).toMatchObject({ 'exact_match,first': 0, 'exact_match,maj@3': 1, 'exact_match,all': 2 / 3 });
    expect(results.configs.ponds.repeats).toBe(3);
    expect(asked).toMatchObject([{ temperature: 0.5, topP: 0.9 }, { sample: 1 }, { sample: 2, context: 'Ponds.\n\ndeep?' }]);
    expect(lines?.ponds.map(({ resps }) => resps)).toEqual(new Array(3).fill([['wrong', 'd', 'd']]));
    expect(lines?.ponds.map(({ filtered_resps }) => filtered_resps)).toEqual([['wrong'], ['d'], [['wrong', 'd', 'd']]]);
    // Without chance all answers are the first one, and it is asked for once.
    asked.length = 0;
    const greedy = await run({ generation_kwargs: { do_sample: false } });
    expect(greedy.samples?.ponds[0].resps).toEqual([['wrong', 'wrong', 'wrong']]);
    expect(asked).toHaveLength(1);
    await expect(async () => run({ repeats: 0 })).rejects.toThrow('repeats is 0; it must be a whole number from 1 to 1000');
  });

  it('may score single continuations and whole texts', async () => {
    const single = taskFromObject(
      {
        ...base,
        task: 'single',
        output_type: 'loglikelihood',
        doc_to_target: ' {{passage}}',
        metric_list: [{ metric: 'perplexity' }, { metric: 'acc' }],
      },
      'a.yaml',
    );
    const whole = taskFromObject(
      { ...base, task: 'whole', output_type: 'loglikelihood_rolling', doc_to_target: 'passage', metric_list: undefined },
      'b.yaml',
    );
    const { results } = await evaluate(fakeScorer(), [single, whole], samples, { bootstrapIterations: 100 });
    expect(results.results.single['perplexity_stderr,none']).toBeGreaterThan(0);
    expect(results.results.whole['word_perplexity,none']).toBeGreaterThan(1);
  });

  it.each([
    [{ doc_to_txt: 'a' }, 'ponds.yaml: there is no field "doc_to_txt"; did you mean "doc_to_text"?'],
    [{ task: undefined }, 'ponds.yaml: task is missing'],
    [{ task: 'a b' }, 'must be a word'],
    [{ output_type: 'choice' }, 'output_type is "choice"; it must be one of multiple_choice'],
    [{ doc_to_choice: undefined }, 'doc_to_choice is missing'],
    [{ doc_to_choice: [] }, 'doc_to_choice must be a template or a list of texts'],
    [{ doc_to_target: undefined }, 'doc_to_target is missing'],
    [{ doc_to_text: '{{a' }, 'doc_to_text: the template "{{a" is not valid Jinja'],
    [{ doc_to_text: '!function utils.f' }, 'doc_to_text is a Python function'],
    [{ description: 3 }, 'description must be a text'],
    [{ num_fewshot: -1 }, 'num_fewshot must be 0 or a positive whole number'],
    [{ test_split: undefined, validation_split: undefined }, 'test_split or validation_split is missing'],
    [{ metric_list: [{ metric: 'bleu' }] }, 'there is no metric "bleu" for output_type multiple_choice; there are acc'],
    [{ metric_list: [{ metric: 'acc', aggregation: 'max' }] }, 'there is no aggregation "max"'],
    [{ fewshot_config: { sampler: 'last' } }, 'fewshot_config.sampler is "last"'],
    [
      { generation_kwargs: { max_gen_toks: -1 } },
      'generation_kwargs.max_gen_toks is -1; it must be a whole number of at least 1',
    ],
    [{ generation_kwargs: { temperature: 'hot' } }, 'generation_kwargs.temperature is "hot"; it must be 0 (greedy) or a number'],
    [{ generation_kwargs: { top_p: 5 } }, 'generation_kwargs.top_p is 5; it must be a number from 0 to 1'],
    [{ generation_kwargs: { max_tokens: 0.5 } }, 'generation_kwargs.max_tokens is 0.5; it must be a whole number of at least 1'],
    [{ generation_kwargs: { num_beams: 4 } }, 'generation_kwargs.num_beams is 4; it must be 1'],
    [
      { generation_kwargs: { top_k: 4 } },
      'generation_kwargs.top_k is not supported by this program; it takes max_gen_toks, max_new',
    ],
    [{ generation_kwargs: { until: [3] } }, 'generation_kwargs.until is [3]; it must be a text or a list of texts'],
  ])('is refused with %o', (fields, message) => {
    expect(() => taskFromObject({ ...base, ...fields }, 'ponds.yaml')).toThrow(message);
  });
});
