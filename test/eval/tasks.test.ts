// Each built-in task on made-up documents: prompts written out by hand, and what is said of wrong data.

import { describe, expect, it } from 'vitest';
import { type Datasets, datasetKey } from '../../src/eval/dataset.js';
import { buildRequests, type RequestOptions } from '../../src/eval/requests.js';
import { type Doc, leafTasks, type Task } from '../../src/eval/task.js';
import { builtinTasks, findTasks } from '../../src/eval/tasks/index.js';
import { samples } from './samples.js';

const task = (name: string) => leafTasks(findTasks([name]))[0];
const build = (name: string, options: RequestOptions = {}, datasets: Datasets = samples) =>
  buildRequests(task(name), datasets[datasetKey(task(name))], options);
/** Context and continuations of document 0. */
const first = (name: string, options: RequestOptions = {}) => {
  const { loglikelihood } = build(name, options)[0];
  return [loglikelihood[0].context, ...loglikelihood.map(({ continuation }) => continuation)];
};
/** The task's data with one document changed. */
const spoiled = (of: Task, change: (doc: Doc) => Doc, row = 2): Datasets => {
  const key = datasetKey(of);
  const dataset = Object.fromEntries(
    Object.entries(samples[key]).map(([split, docs]) => [split, docs.map((doc, i) => (i === row ? change(doc) : doc))]),
  );
  return { [key]: dataset };
};

describe('built-in tasks', () => {
  const withData = leafTasks(builtinTasks).filter((item) => datasetKey(item) in samples);

  it('are 79 with 57 subjects of MMLU', () => {
    expect(leafTasks(builtinTasks)).toHaveLength(14 + 57 + 8);
    expect(leafTasks(findTasks(['mmlu']))).toHaveLength(57);
    expect(withData).toHaveLength(14 + 1 + 8);
  });

  it.each(withData.map((item) => [item.task]))('%s asks about each of its five documents', (name) => {
    const instances = build(name);
    expect(instances.map(({ docId }) => docId)).toEqual([0, 1, 2, 3, 4]);
    for (const { loglikelihood, rolling } of instances) expect(loglikelihood.length > 1 || rolling !== undefined).toBe(true);
  });

  it('write the prompts of single-context tasks', () => {
    const pond = 'Question: What sinks in pond 0?\nAnswer:';
    expect(first('arc_easy')).toEqual([pond, ' a stone', ' a leaf', ' an egg', ' a key']);
    expect(first('sciq')).toEqual([`Stones sink in pond 0. \n${pond}`, ' a leaf', ' a boat', ' an egg', ' a stone']);
    expect(first('boolq')).toEqual(['Pond 0 is deep.\nQuestion: is pond 0 deep?\nAnswer:', ' no', ' yes']);
    expect(first('piqa')).toEqual(['Question: cross pond 0\nAnswer:', ' take a boat', ' take a stone']);
    expect(first('openbookqa')).toEqual(['In pond 0 swims', ' a stone', ' a leaf', ' an egg', ' a key']);
    expect(first('social_iqa')).toEqual(['Q: Anna lent Ben boat 0. How does Ben feel?\nA:', ' glad', ' sad', ' asleep']);
    expect(first('hellaswag').slice(0, 2)).toEqual(['Rowing: How to row. Sit down in boat 0. The man', '  takes a stone.']);
  });

  it('write those with something of their own', () => {
    expect(first('mmlu_abstract_algebra', { numFewshot: 1 })).toEqual([
      'The following are multiple choice questions (with answers) about abstract algebra.\n\n' +
        'What is 0 - 1?\nA. a stone\nB. a leaf\nC. an egg\nD. a key\nAnswer: A\n\n' +
        'What is 0 + 1?\nA. a stone\nB. a leaf\nC. an egg\nD. a key\nAnswer:',
      ' A',
      ' B',
      ' C',
      ' D',
    ]);
    expect(first('race')).toEqual([
      "Article: Anna had 0 boats.\n\nAnna's boats were blue\nQuestion: Who had boats?\nAnswer: Anna\nHow many?",
      ' 0',
      ' 1',
      ' 2',
      ' 3',
    ]);
    expect(first('truthfulqa_mc2', { numFewshot: 5 })[0]).toMatch(/^Q: What is human life.*\n\nQ: Do boats number 0 fly\?\nA:$/s);
    expect(build('wikitext')[0].rolling).toBe(' = Pond 0 =\n\nThe pond holds 1,000 fish (and "boats").\n');
    expect(build('winogrande')[1].loglikelihood).toEqual([
      { context: 'The drum does not fit the box 1 since the drum', continuation: ' is too big.' },
      { context: 'The drum does not fit the box 1 since the box', continuation: ' is too big.' },
    ]);
    expect(first('llm_adapters_boolq')).toEqual([
      'Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n\n' +
        '                ### Instruction:\n                Which floats in pond 0?\n\nAnswer format: true/false\n' +
        '                \n                ### Response:',
      '\n                the correct answer is true',
      '\n                the correct answer is false',
    ]);
    expect(build('llm_adapters_piqa')[1].reading.target).toBe(1);
  });

  it('draw examples as Python does, and keep out the document where the harness does', () => {
    // random.Random(1234).sample(range(10), 2), five times: the pool of a task that names a test split.
    expect(build('arc_easy', { numFewshot: 2 }).map(({ fewshot }) => fewshot)).toEqual([
      [7, 1],
      [0, 1],
      [9, 0],
      [1, 9],
      [5, 3],
    ]);
    const [{ fewshot, loglikelihood }] = build('crows_pairs_english', { numFewshot: 2 });
    expect(loglikelihood[0]).toEqual({
      context: fewshot.map((row) => `Boat ${row} is slow.\n\n`).join(''),
      continuation: 'Boat 0 is slow.',
    });
    // Five documents are the pool and evaluated: all five are drawn by the pinned version, which then drops the one.
    const pinned = build('crows_pairs_english', { numFewshot: 5, harnessVersion: 'pinned' });
    for (const instance of pinned) expect(instance.fewshot).not.toContain(instance.docId);
    expect(pinned.map((instance) => instance.fewshot.length)).toEqual([4, 4, 4, 4, 4]);
  });

  it('differ in the pinned version where it did', () => {
    const pinned = { harnessVersion: 'pinned' } as const;
    expect(first('social_iqa', pinned).slice(1)).toEqual([' {{answerA}}', ' {{answerB}}', ' {{answerC}}']);
    expect(first('race', pinned)[0]).toContain('\n\n _  .blue\n');
    expect(first('mmlu_abstract_algebra', pinned)[0]).toContain('algebra.\nWhat is 0 + 1?');
    expect(first('arc_easy', pinned)).toEqual(first('arc_easy'));
  });

  it('take limits and shards, with the same prompts as the whole run', () => {
    const options = { numFewshot: 3 };
    const all = build('hellaswag', options);
    expect(build('hellaswag', { ...options, limit: 2 })).toEqual(all.slice(0, 2));
    expect(build('hellaswag', { ...options, limit: 0.5 })).toEqual(all.slice(0, 3));
    expect(build('hellaswag', { ...options, shard: { index: 1, count: 3 } })).toEqual([all[1], all[4]]);
    expect(() => build('hellaswag', { limit: 0 })).toThrow(/^limit is 0/);
    expect(() => build('hellaswag', { shard: { index: 3, count: 3 } })).toThrow(/shard 3 of 3/);
  });
});

describe('wrong data', () => {
  it.each([
    ['boolq', { label: 2 }],
    ['boolq', { label: -1 }],
    ['hellaswag', { label: '4' }],
  ])('%s with %o has no right answer among its choices', (name, fields) => {
    const instances = build(
      name,
      {},
      spoiled(task(name), (doc) => ({ ...doc, ...fields })),
    );
    expect(instances.map(({ stray }) => stray === true)).toEqual([false, false, true, false, false]);
  });

  it.each([
    ['arc_easy', 'question', 'task arc_easy, document 2 of split "test": there is no column "question"'],
    ['arc_easy', 'choices', 'task arc_easy, document 2 of split "test": there is no column "choices"'],
    ['openbookqa', 'question_stem', 'document 2 of split "test": there is no column "question_stem"'],
    ['winogrande', 'option1', 'document 2 of split "validation": there is no column "option1"'],
    ['hellaswag', 'endings', 'document 2 of split "validation": there is no column "endings"'],
    ['boolq', 'label', 'document 2 of split "validation": there is no column "label"'],
    ['wikitext', 'page', 'document 2 of split "test": there is no column "page"'],
    ['llm_adapters_boolq', 'instruction', 'document 2 of split "test": there is no column "instruction"'],
  ])('%s without %s', (name, column, message) => {
    const without = spoiled(task(name), ({ [column]: _, ...rest }) => rest);
    expect(() => build(name, {}, without)).toThrow(message);
  });

  it.each([
    ['hellaswag', { label: '' }, 'column "label" holds no number'],
    ['arc_easy', { answerKey: 'E' }, "'E' is not in list"],
    ['winogrande', { answer: '3' }, 'column "answer" is "3", not "1" or "2"'],
    ['race', { problems: '[{' }, 'not a Python literal'],
    ['llm_adapters_piqa', { answer: 'solution3' }, 'none of solution1, solution2'],
  ])('%s with %o', (name, fields, message) => {
    expect(() =>
      build(
        name,
        {},
        spoiled(task(name), (doc) => ({ ...doc, ...fields })),
      ),
    ).toThrow(message);
  });

  it('in the few-shot pool names its row', () => {
    const { [datasetKey(task('boolq'))]: dataset } = samples;
    const train = dataset.train.map((doc) => ({ ...doc, label: 7 }));
    const work = () => buildRequests(task('boolq'), { ...dataset, train }, { numFewshot: 1 });
    expect(work).toThrow(/task boolq, document \d of split "train": the answer's index is 7/);
  });

  it('names a missing dataset, split or pool, and a pool that is too small', () => {
    const arc = task('arc_easy');
    const { [datasetKey(arc)]: dataset } = samples;
    expect(() => buildRequests(arc, { train: dataset.train })).toThrow('ai2_arc/ARC-Easy has no documents in split "test"');
    expect(() => buildRequests(arc, { test: dataset.test }, { numFewshot: 2 })).toThrow(
      /2 examples wanted, but dataset .* has no documents in split "train", the few-shot pool \(it has test\)/,
    );
    expect(() => build('arc_easy', { numFewshot: 11 })).toThrow('split "train", has 10 documents');
    // Tasks that name no test split draw one more than they show.
    expect(() => build('piqa', { numFewshot: 10 })).toThrow('10 examples and one to spare wanted');
    expect(() => build('arc_easy', { numFewshot: 1.5 })).toThrow('the number of examples is 1.5');
    expect(() => build('arc_easy', { numFewshot: -1 })).toThrow('the number of examples is -1');
    for (const index of [-1, 2, 0.5]) {
      expect(() => build('arc_easy', { shard: { index, count: 2 } })).toThrow(`shard ${index} of 2: the index must be 0 or more`);
    }
  });

  it('guesses the task that was meant', () => {
    expect(() => findTasks(['arc_chalenge'])).toThrow('there is no task "arc_chalenge"; did you mean "arc_challenge"?');
  });
});
