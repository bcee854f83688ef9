import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { buildRequests } from '../../../src/eval/requests.js';
import type { Task } from '../../../src/eval/task.js';
import { findTasks } from '../../../src/eval/tasks/index.js';
import { taskFromObject } from '../../../src/eval/user-task.js';
import { downloadDatasets, loadDatasets, parseRows } from '../../../src/io/node/datasets.js';
import { floatOf } from '../../../src/python-float.js';
import { temporaryFolder } from '../../temporary.js';

const dir = temporaryFolder();

const write = (path: string, content: string | Uint8Array) => {
  const file = join(dir, path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, content);
};
const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

describe('datasets from a folder', () => {
  it('are read by path, name and split, in any of the formats', async () => {
    write('data/baber/piqa/validation.jsonl.gz', gzipSync(lines([{ goal: 'a', sol1: 'b', sol2: 'c', label: 0 }])));
    write('data/baber/piqa/train.json', JSON.stringify([{ goal: 'd', sol1: 'e', sol2: 'f', label: 1 }]));
    write('data/aps/super_glue/boolq/validation.csv', '\ufeffquestion,passage,label\r\n"is ""a"", b","two\nlines",1\r\nq,,0\r\n');
    const datasets = await loadDatasets(join(dir, 'data'), findTasks(['piqa', 'boolq']));
    expect(datasets['baber/piqa|']).toEqual({
      validation: [{ goal: 'a', sol1: 'b', sol2: 'c', label: 0 }],
      train: [{ goal: 'd', sol1: 'e', sol2: 'f', label: 1 }],
    });
    expect(datasets['aps/super_glue|boolq']).toEqual({
      validation: [
        { question: 'is "a", b', passage: 'two\nlines', label: 1 },
        { question: 'q', passage: null, label: 0 },
      ],
    });
  });

  it('are read from the parts of a split, in order and only when all are there', async () => {
    const part = (i: number) => new Uint8Array(readFileSync(new URL(`../parquet/part-${i}.parquet`, import.meta.url)));
    const rows = async (at: string) => (await loadDatasets(join(dir, at), findTasks(['piqa'])))['baber/piqa|'].validation;
    for (const [at, i] of [
      ['one', 0],
      ['two', 1],
    ] as const)
      write(`${at}/baber/piqa/validation.parquet`, part(i));
    for (const i of [1, 0]) write(`parts/baber/piqa/validation-0000${i}-of-00002.parquet`, part(i));
    expect(await rows('parts')).toEqual([...(await rows('one')), ...(await rows('two'))]);
    write('parts/baber/piqa/train-00001-of-00002.parquet', part(0));
    await expect(rows('parts')).rejects.toThrow('piqa: train is in 2 parts, but 1 are there');
  });

  it('are read as corpora are: compressed, in UTF-16, with a byte order mark', async () => {
    const rows = [{ goal: 'é', sol1: 'b', sol2: 'c', label: 0 }];
    const datasets = async () => (await loadDatasets(join(dir, 'encoded'), findTasks(['piqa'])))['baber/piqa|'];
    write('encoded/baber/piqa/validation.jsonl', Buffer.from(`\ufeff${lines(rows)}`, 'utf16le'));
    write('encoded/baber/piqa/train.json.gz', gzipSync(`\ufeff${JSON.stringify(rows)}`));
    expect(await datasets()).toEqual({ validation: rows, train: rows });
    write('encoded/baber/piqa/validation.jsonl', Uint8Array.of(0x7b, 0xff, 0x0a));
    await expect(datasets()).rejects.toThrow(/validation\.jsonl: not valid UTF-8 text$/);
  });

  // What `datasets` 5.0 gives, by pandas.
  it.each([
    [
      'i,f,b,s,e\n1,1.5,True,x,\n2,2.0,False,y,\n',
      { i: [1, 2], f: [1.5, floatOf(2)], b: [true, false], s: ['x', 'y'], e: [null, null] },
    ],
    ['a,b\n1,x\nzz,y\n', { a: ['1', 'zz'], b: ['x', 'y'] }],
    ['a,b\n1,2\n,3\n', { a: [floatOf(1), null], b: [2, 3] }],
    ['a,b\n007,1e5\n010,2\n', { a: [7, 10], b: [floatOf(1e5), floatOf(2)] }],
    ['a,b\nNA,-1\n"x",+2\nnull, 4\n', { a: [null, 'x', null], b: [-1, 2, 4] }],
    ['a,a\n1234567890123456789,x\n5,"1_0"\n', { a: [1234567890123456789n, 5], 'a.1': ['x', '1_0'] }],
    ['a,b\n99999999999999999999,tRue\n5,FALSE\n', { a: [floatOf(1e20), floatOf(5)], b: [true, false] }],
    ['a,b\ntrue,inf\nfalse,-Infinity\n', { a: [true, false], b: [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY] }],
  ])('have a kind for each column of CSV: %j', (text, columns) => {
    const rows = parseRows(text, 'x.csv');
    const names = Object.keys(rows[0]);
    expect(Object.fromEntries(names.map((name) => [name, rows.map((row) => row[name])]))).toEqual(columns);
  });

  it.each([
    ['x.json', '{"a": 1}\n{"a": 2.0}\n'],
    ['x.jsonl.gz', '[{"a": 1}, {"a": 2.0}]'],
    ['x.tsv', 'a\tb\n1\tp,q\n2\t\n'],
  ])('are rows in whatever layout %s has', (name, text) => {
    expect(parseRows(text, name).map(({ a }) => Number(a))).toEqual([1, 2]);
  });

  it('are those of the files that a task names itself, whatever folder is given', async () => {
    const own = (dataset_path: string, data_files: unknown): Task => {
      const fields = {
        task: `own-${dataset_path}`,
        test_split: 'test',
        fewshot_split: 'train',
        doc_to_text: 'a',
        doc_to_target: 'b',
      };
      return taskFromObject({ ...fields, dataset_path, dataset_kwargs: { data_files } }, 'own.yaml');
    };
    write('own/a.jsonl', lines([{ a: 1 }]));
    write('own/b.json.gz', gzipSync(JSON.stringify([{ a: 2 }])));
    write('own/c.txt', 'a,b\n3,x\n');
    const at = (name: string) => join(dir, 'own', name);
    const json = own('json', { test: [at('a.jsonl'), at('b.json.gz')], train: at('a.jsonl') });
    const csv = own('csv', { test: at('c.txt') });
    expect(Object.values(await loadDatasets(join(dir, 'data'), [json, csv]))).toEqual([
      { test: [{ a: 1 }, { a: 2 }], train: [{ a: 1 }] },
      { test: [{ a: 3, b: 'x' }] },
    ]);
    await expect(downloadDatasets([csv])).resolves.toEqual(await loadDatasets('', [csv])); // no network
    await expect(loadDatasets('', [own('json', at('a.jsonl'))])).rejects.toThrow(
      'task own-json: dataset_kwargs.data_files has no split "test" (it has train)',
    );
    await expect(loadDatasets('', [own('json', { test: at('none.jsonl') })])).rejects.toThrow(
      /^task own-json: .*none\.jsonl: cannot read/,
    );
    expect(() => own('json', { test: '*.jsonl' })).toThrow(
      'own.yaml: dataset_kwargs.data_files: test is "*.jsonl"; it must be a file of this machine, or a list of them',
    );
  });

  it('are one row where a file is one object', () => {
    expect(parseRows('\n{\n "a": [1]\n}\n', 'x.json')).toEqual([{ a: [1] }]);
  });

  it('name what is wrong with them', async () => {
    await expect(loadDatasets(join(dir, 'data'), findTasks(['sciq']))).rejects.toThrow(
      /task sciq: .*allenai\/sciq has no test.jsonl/,
    );
    expect(() => parseRows('{"a":1}\n{"a":', 'x.jsonl')).toThrow('x.jsonl, line 2: expected a value');
    expect(() => parseRows('[1]', 'x.json')).toThrow('x.json, row 0: expected a JSON object');
    expect(() => parseRows('7', 'x.json')).toThrow('x.json, line 1: expected a JSON object');
    expect(() => parseRows('a,b\n1\n', 'x.csv')).toThrow('x.csv: row 0: 1 cell, but the header has 2');
    expect(() => parseRows('a,b\n"1', 'x.csv')).toThrow('is not closed');
    write('data/allenai/sciq/test.jsonl.gz', 'no gzip');
    await expect(loadDatasets(join(dir, 'data'), findTasks(['sciq']))).rejects.toThrow('test.jsonl.gz: the gzip data break off');
  });
});

describe('the conversion', () => {
  const convert = (...more: string[]) => {
    const script = fileURLToPath(new URL('../../../tools/eval-data.ts', import.meta.url));
    const tsx = fileURLToPath(new URL('../../../node_modules/.bin/tsx', import.meta.url));
    return execFileSync(tsx, [script, join(dir, 'source'), join(dir, 'out'), ...more], { encoding: 'utf8' });
  };

  it('gives rows that the tasks read, and names missing pools', async () => {
    write('source/arc_easy.test.jsonl', lines([{ id: '1', query: 'Question: Which?\nAnswer:', choices: ['x', 'y'], gold: 1 }]));
    write(
      'source/hellaswag.validation.first5000.jsonl.gz',
      gzipSync(lines([{ index: 0, query: 'Rowing: Anna rows. she', endings: ['stops.', 'sings.'], label: 1 }])),
    );
    write(
      'source/race.high.test.jsonl',
      lines([{ article: "It's a boat.", questions: ['Who?'], options: [['a', 'b', 'c', "d's"]], answers: ['D'] }]),
    );
    write(
      'source/truthfulqa.mc_task.json',
      JSON.stringify([{ question: 'Q?', mc1_targets: { no: 0, yes: 1 }, mc2_targets: { no: 0, yes: 1 } }]),
    );
    const said = convert();
    expect(said).toContain('arc_easy.test.jsonl: 1 document to allenai/ai2_arc/ARC-Easy/test');
    expect(said).toContain('piqa.validation.jsonl: not there, left out');
    expect(said).toMatch(/hellaswag: few-shot pool train missing \(--substitute-pools would take validation, which is also/);
    const tasks = findTasks(['arc_easy', 'hellaswag', 'race', 'truthfulqa_mc1']) as Task[];
    const datasets = await loadDatasets(join(dir, 'out'), tasks);
    const [arc, hellaswag, race, truthful] = tasks.map(
      (task) => buildRequests(task, datasets[`${task.dataset_path}|${task.dataset_name ?? ''}`])[0],
    );
    expect(arc.loglikelihood[1]).toEqual({ context: 'Question: Which?\nAnswer:', continuation: ' y' });
    expect(arc.reading.target).toBe(1);
    expect(hellaswag.loglikelihood[0]).toEqual({ context: 'Rowing: Anna rows. She', continuation: ' stops.' });
    expect(race.loglikelihood.map(({ continuation }) => continuation)).toEqual([' a', ' b', ' c', " d's"]);
    expect(truthful.loglikelihood.map(({ continuation }) => continuation)).toEqual([' yes', ' no']);
    expect(convert('--substitute-pools')).toContain(
      'arc_easy: few-shot pool train missing; test, which is also what is evaluated',
    );
    expect(readFileSync(join(dir, 'out/allenai/ai2_arc/ARC-Easy/train.jsonl'), 'utf8')).toContain('Which?');
  });
});
