// Folders of task files: include, groups, tags, and what is refused by name.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.js';
import { buildRequests } from '../../src/eval/requests.js';
import type { Task, TaskGroup } from '../../src/eval/task.js';
import { TaskRegistry } from '../../src/eval/task-registry.js';
import { findTasks } from '../../src/eval/tasks/index.js';
import { taskFromObject } from '../../src/eval/user-task.js';
import { endedAfter } from '../../src/io/node/deadline.js';
import { readTaskFiles } from '../../src/io/node/task-files.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'openelm-tasks-'));
});
afterEach(() => rm(folder, { recursive: true }));

const base = `
dataset_path: local/ponds
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: ["no", "yes"]
doc_to_target: label
`;

async function registry(files: Record<string, string>): Promise<TaskRegistry> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  const found = await readTaskFiles(folder);
  return new TaskRegistry(found.files, found.problems, (name) => {
    try {
      return findTasks([name]);
    } catch {
      return undefined;
    }
  });
}

const names = (items: readonly (Task | TaskGroup)[] | undefined): unknown =>
  items?.map((item) => ('group' in item ? { [item.group]: names(item.task) } : item.task));

describe('a folder of task files', () => {
  it('merges what is included, later over earlier, the own fields over all', async () => {
    const tasks = await registry({
      _base_yaml: `${base}num_fewshot: 5\ndescription: base\n`,
      'more.yaml': 'include: _base_yaml\ndescription: more\ntask_list: [x]\n',
      'deep/a.yaml': 'task: a\ninclude: ../more.yaml\nnum_fewshot: 2\n',
      'deep/b.yaml': 'task: b\ninclude: [../_base_yaml, over.yaml]\n',
      'deep/over.yaml': 'num_fewshot: 0\n',
    });
    expect(tasks.problems).toEqual([]);
    expect(tasks.names().sort()).toEqual(['a', 'b']);
    expect(tasks.find('a')).toMatchObject([{ task: 'a', description: 'more', num_fewshot: 2, dataset_path: 'local/ponds' }]);
    expect(tasks.find('b')).toMatchObject([{ task: 'b', description: 'base', num_fewshot: 0 }]);
    expect(tasks.find('c')).toBeUndefined();
  });

  it('has groups of tasks, groups, tags, built-in tasks and definitions of their own', async () => {
    const tasks = await registry({
      'a.yaml': `task: a\ntag: [wet, small]\n${base}`,
      'b.yaml': `task: b\ntag: wet\n${base}`,
      'old.yaml': `task: old\ngroup: [wet]\n${base}`,
      'all.yaml': `
group: all
group_alias: All of it
num_fewshot: 3
task:
  - a
  - task: b
    num_fewshot: 1
    task_alias: The second
  - wet
  - group: inner
    task: [a, boolq]
  - task: fresh
${base.replaceAll(/^(?=.)/gm, '    ')}
aggregate_metric_list:
  - metric: acc
    weight_by_size: false
`,
      'outer.yaml': 'group: outer\ntask: all\n',
      'given.yaml': 'group: given\ntask: [{group: low, num_fewshot: 9}]\n',
      'low.yaml': 'group: low\nnum_fewshot: 1\ntask: [a]\n',
    });
    expect(names(tasks.find('wet'))).toEqual(['a', 'b', 'old']);
    const [all] = tasks.find('all') as [TaskGroup];
    expect(names([all])).toEqual([{ all: ['a', 'b', 'a', 'b', 'old', { 'all::inner': ['a', 'boolq'] }, 'all::fresh'] }]);
    expect(all).toMatchObject({ group_alias: 'All of it', aggregate_metric_list: [{ metric: 'acc', weight_by_size: false }] });
    expect((all.task as Task[]).map((item) => item.num_fewshot)).toEqual([3, 1, 3, 3, 3, undefined, 3]);
    expect(all.task[1]).toMatchObject({ task_alias: 'The second' });
    expect(names(tasks.find('outer'))).toEqual([{ outer: [{ all: expect.anything() }] }]);
    // What an entry gives a group, its tasks have.
    expect(tasks.find('given')).toMatchObject([{ task: [{ group: 'low', task: [{ task: 'a', num_fewshot: 9 }] }] }]);
    expect(tasks.describe()).toContainEqual({ name: 'wet', what: '3 tasks with this tag' });
  });

  it('refuses by name what needs Python, when it is asked for', async () => {
    const tasks = await registry({
      'good.yaml': `task: good\n${base}`,
      'bad.yaml': `task: bad\n${base}process_docs: !function utils.process\n`,
      'worse.yaml': `task: worse\n${base}metric_list:\n  - metric: acc\n    aggregation: !function utils.mean\n`,
      'filtered.yaml': `task: filtered\n${base}filter_list: [{name: x, filter: [{function: '!function'}]}]\n`,
      'group.yaml': 'group: both\ntask: [good, bad]\n',
      'missing.yaml': 'group: wrong\ntask: [goood]\n',
      'circle.yaml': 'group: round\ntask: [round]\n',
      'given.yaml': 'group: given\ntask: [{task: boolq, num_fewshot: 2}]\n',
      'misgiven.yaml': 'group: misgiven\ntask: [{task: boolq, description: 5}]\n',
    });
    expect(tasks.find('given')).toMatchObject([{ task: [{ task: 'boolq', num_fewshot: 2, doc_to_choice: ['no', 'yes'] }] }]);
    expect(() => tasks.find('misgiven')).toThrow(/misgiven\.yaml: description must be a text/);
    expect(names(tasks.find('good'))).toEqual(['good']);
    expect(() => tasks.find('bad')).toThrow(/bad\.yaml: process_docs is a Python function \(utils\.process\)/);
    expect(() => tasks.find('both')).toThrow(/process_docs is a Python function/);
    expect(() => tasks.find('worse')).toThrow(/metric_list\.0\.aggregation is a Python function \(utils\.mean\)/);
    expect(() => tasks.find('filtered')).toThrow(/filter_list/);
    expect(() => tasks.find('wrong')).toThrow(/lists "goood", which is no task; did you mean "good"\?/);
    expect(() => tasks.find('round')).toThrow(/is inside itself/);
    expect(tasks.describe()).toContainEqual({
      name: 'bad',
      what: expect.stringMatching(/^cannot be run here: .*utils\.process/),
    });
  });

  it('knows functions by their text, and no others', async () => {
    const all = `from functools import partial\n\n\nTOPICS = [\n    "Still Water",\n    "Ice & Snow",\n]\n\n
def process_docs(dataset, topic):\n    return dataset.filter(lambda x: x["kind"] == topic)\n\n
process_functions = {\n    f"process_{topic.lower().replace(' & ', '_').replace(' ', '_')}": partial(
        process_docs, topic=topic\n    )\n    for topic in TOPICS\n}\n\nglobals().update(process_functions)\n`;
    const each = `from functools import partial\n\nimport datasets\n\n
def process_docs(dataset: datasets.Dataset, part) -> datasets.Dataset:
    return dataset.filter(\n        lambda row: row["kind"] == f"pond_{part}"\n    )\n\n
only_frogs = partial(process_docs, part="frogs")\nonly_newts = partial(\n    process_docs, part="newts"\n)\n`;
    const f1 = `from sklearn.metrics import f1_score\n\n\ndef agg(items):\n    unzipped_list = list(zip(*items))
    golds = unzipped_list[0]\n    preds = unzipped_list[1]\n    fscore = f1_score(golds, preds, average="macro")\n    return fscore\n`;
    const asks = (functions: string, aggregation: string) =>
      `${base}process_docs: !function ${functions}\nmetric_list:\n  - {metric: f1, aggregation: !function ${aggregation}}\n`;
    const tasks = await registry({
      ...{ 'all.py': all, 'each.py': each, 'f1.py': f1, 'deep/all.py': all.replace('== topic', '!= topic') },
      'weighted.py': '# as elsewhere\nfrom lm_eval.utils import weighted_f1_score\n',
      'commented.py': '# from lm_eval.utils import weighted_f1_score\n',
      'again.py': `${f1}\n\ndef agg(items):\n    return 1\n`,
      'a.yaml': `task: a\n${asks('all.process_ice_snow', 'f1.agg')}`,
      'b.yaml': `task: b\n${asks('each.only_newts', 'weighted.weighted_f1_score')}`,
      'deep/c.yaml': `task: c\n${asks('all.process_ice_snow', '../f1.agg')}`,
      'd.yaml': `task: d\n${asks('all.process_ice', 'f1.agg')}`,
      'e.yaml': `task: e\n${asks('each.only_frogs', 'commented.weighted_f1_score')}`,
      'f.yaml': `task: f\n${asks('each.only_frogs', 'again.agg')}`,
    });
    const [a] = tasks.find('a') as Task[];
    expect(a).toMatchObject({
      process_docs: { keep: { column: 'kind', equals: 'Ice & Snow' } },
      metric_list: [{ metric: 'f1', aggregation: 'macro_f1' }],
    });
    expect(tasks.find('b')).toMatchObject([
      { process_docs: { keep: { column: 'kind', equals: 'pond_newts' } }, metric_list: [{ aggregation: 'weighted_f1' }] },
    ]);
    expect(() => tasks.find('c')).toThrow('process_docs is a Python function (all.process_ice_snow)');
    expect(() => tasks.find('d')).toThrow('process_docs is a Python function (all.process_ice)');
    expect(() => tasks.find('e')).toThrow('aggregation is a Python function (commented.weighted_f1_score)');
    expect(() => tasks.find('f')).toThrow('aggregation is a Python function (again.agg)');

    const rows = ['Still Water', 'Ice & Snow', 'Ice & Snow', 'Still Water', 'Ice & Snow'];
    const test = rows.map((kind, i) => ({ kind, question: `q${i}`, label: 0 }));
    const asked = (count: number) => buildRequests({ ...a, num_fewshot: count }, { test });
    expect(asked(0).map(({ docId, doc }) => [docId, doc.question])).toEqual([0, 1, 2].map((i) => [i, `q${[1, 2, 4][i]}`]));
    expect(asked(2)[0].loglikelihood[0].context).toMatch(/^q[124] no\n\nq[124] no\n\nq1$/);
    expect(() => buildRequests(a, { test: test.filter(({ kind }) => kind !== 'Ice & Snow') })).toThrow(
      'task a: dataset local/ponds has no documents whose "kind" is "Ice & Snow" in split "test"',
    );
    expect(() => buildRequests(a, { test: [{ question: '1', label: 0 }] })).toThrow('there is no column "kind"');
  });

  it('names files that cannot be used', async () => {
    const tasks = await registry({
      'a.yaml': `task: a\n${base}`,
      'again.yaml': `task: a\n${base}`,
      'bad.yaml': 'task: [\n',
      'list.json': '[]',
      'loop.yaml': 'task: loop\ninclude: loop.yaml\n',
      'gone.yaml': 'task: gone\ninclude: nowhere.yaml\n',
      'nothing.yaml': base,
    });
    const said = tasks.problems.map((problem) => problem.message.replace(folder, '')).sort();
    expect(said).toEqual([
      expect.stringMatching(/^\/again\.yaml: task "a" is in .*a\.yaml already$/),
      expect.stringMatching(/^\/bad\.yaml: .*line/),
      expect.stringMatching(/^\/list\.json: expected fields/),
      expect.stringMatching(/^\/loop\.yaml: its includes go in a circle$/),
      expect.stringMatching(/^\/nothing\.yaml: task is missing$/),
      expect.stringMatching(/nowhere\.yaml: it is included, but there is no such file$/),
    ]);
    expect(() => findTasks(['loop'], tasks)).toThrow(InputError);
    await expect(readTaskFiles(join(folder, 'none'))).rejects.toThrow(InputError);
  });
});

it('ends regular expressions that do not come back', () => {
  expect(endedAfter(10)(() => /(a+)+b/u.test('a'.repeat(40)))).toBeUndefined();
  const ended = endedAfter(60_000);
  expect(ended(() => ended(() => 'x'.replace(/x/u, 'y')))).toEqual({ value: { value: 'y' } });
  expect(() => ended(() => taskFromObject({}, 'x.yaml'))).toThrow(InputError);
});
