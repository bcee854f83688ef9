// `openelm eval` from arguments to tables and files, on the embedded model and made-up documents; and its subcommands.

import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { defaultChatTemplate } from '../../src/infer/chat.js';
import { palette } from '../../src/report/svg.js';
import { samples } from '../eval/samples.js';
import { FakeHub } from '../io/node/hub-server.js';
import { temporaryFolder } from '../temporary.js';
import { run } from './terminal.js';

const dir = temporaryFolder();
const at = (...parts: string[]) => join(dir, ...parts);
const write = (file: string, text: string) => {
  mkdirSync(at(file, '..'), { recursive: true });
  writeFileSync(at(file), text);
};
const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

beforeAll(() => {
  vi.stubEnv('XDG_CACHE_HOME', at('cache'));
  vi.stubEnv('HF_HOME', at('hf'));
  for (const name of ['HF_ENDPOINT', 'HF_TOKEN', 'HF_HUB_CACHE', 'HF_HUB_OFFLINE', 'OPENAI_API_KEY']) vi.stubEnv(name, undefined);
  for (const [key, dataset] of Object.entries(samples)) {
    for (const [split, rows] of Object.entries(dataset)) write(join('data', ...key.split('|'), `${split}.jsonl`), lines(rows));
  }
});
afterAll(() => {
  vi.unstubAllEnvs();
});

const evaluate = (line: string) => run(['eval', ...line.split(' ').filter(Boolean), '--data', at('data')]);
const json = async (line: string) => {
  const { code, stdout, stderr } = await evaluate(`${line} --json`);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
};
const onlyFile = (folder: string, pattern: RegExp): string => {
  const found = readdirSync(folder).filter((name) => pattern.test(name));
  expect(found.length).toBe(1);
  return join(folder, found[0]);
};

describe('openelm eval', () => {
  it('prints a suite beside the published numbers, and answers the same again from its cache', async () => {
    const first = await evaluate('--suite zero-shot --published OpenELM-270M');
    expect(first.code).toBe(0);
    expect(first.stdout).toMatch(/^\|\s*Task\s*\|n-shot\|\s*Metric\s*\|\s*Value\s*\|Stderr\|Published\|\s*Verdict\s*\|\n/);
    expect(first.stdout).toMatch(/\|ARC-c +\| +0\|acc +\| *\d+\.\d\d\| *\d+\.\d\d\| +26\.45\|(within noise|differs +)\|\n/);
    expect(first.stdout).toMatch(/\| +\| +0\|acc_norm\|/);
    expect(first.stdout.match(/^\|/gm)!.length).toBe(2 + 12);
    const again = await evaluate('--suite zero-shot --published OpenELM-270M');
    expect(again.stdout).toBe(first.stdout);
    expect(first.stderr).not.toMatch(/were in/);
    expect(again.stderr).toMatch(/\d+ answers came from .*\/openelm\/eval\/[0-9a-f]{16}-f16\.jsonl;/);
    expect((await evaluate('--suite zero-shot')).stdout).not.toMatch(/Published/);
  });

  it('writes the files of lm-evaluation-harness', async () => {
    const output = at('out');
    const given = '--tasks arc_easy,mmlu_abstract_algebra,wikitext --num-fewshot 2 --limit 4 --log-samples --no-cache';
    const found = await json(`${given} --output ${output}`);
    const results = JSON.parse(readFileSync(onlyFile(at('out/tales-6m'), /^results_/), 'utf8'));
    const { truncated, stray, ...same } = found;
    expect(results).toEqual(same);
    expect([truncated, stray]).toEqual([{}, {}]);
    expect(results['n-shot']).toEqual({ arc_easy: 2, mmlu_abstract_algebra: 2, wikitext: 2 });
    expect(results['n-samples'].arc_easy).toEqual({ original: 5, effective: 4 });
    expect(results.config).toMatchObject({ limit: 4, model_dtype: 'f16', fewshot_seed: 1234 });
    expect(results.max_length).toBe(1024);
    const sample = readFileSync(onlyFile(at('out/tales-6m'), /^samples_arc_easy_/), 'utf8').split('\n')[0];
    expect(JSON.parse(sample)).toMatchObject({ doc_id: 0, metrics: ['acc', 'acc_norm'], filter: 'none' });
    const golden = fileURLToPath(new URL('../golden/eval/results_example/results.json', import.meta.url));
    expect(Object.keys(results).sort()).toEqual(expect.arrayContaining(Object.keys(JSON.parse(readFileSync(golden, 'utf8')))));
  });

  it('puts shards together to exactly the whole', async () => {
    const given = '--tasks hellaswag,truthfulqa_mc2,sciq --num-fewshot 1 --seed 7';
    const whole = await json(given);
    for (const index of [0, 1, 2]) expect((await evaluate(`${given} --shard ${index}/3 --output ${at('parts')}`)).code).toBe(0);
    const files = readdirSync(at('parts/tales-6m')).map((name) => at('parts/tales-6m', name));
    const merged = await run(['eval', 'merge', ...files.reverse(), '--json']);
    expect(merged.stderr).toBe('');
    const settled = ({ date, total_evaluation_time_seconds, ...rest }: Record<string, unknown>) => rest;
    expect(settled(JSON.parse(merged.stdout))).toEqual(settled(whole));
    const two = await run(['eval', 'merge', ...files.slice(1)]);
    expect(two).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^openelm: of 3 shards, 2 are missing\n$/) });
    write('not-a-shard.json', '{}');
    expect((await run(['eval', 'merge', at('not-a-shard.json')])).stderr).toMatch(/not the file of a shard/);
    const changed = readFileSync(files[0], 'utf8').replace('"fewshotSeed":7', '"fewshotSeed":8');
    write('changed.json', changed);
    expect((await run(['eval', 'merge', at('changed.json'), ...files.slice(1)])).stderr).toMatch(
      /are of runs with other settings/,
    );
    write('broken.json', changed.replace('"docId":', '"docID":'));
    expect((await run(['eval', 'merge', at('broken.json')])).stderr).toMatch(/broken\.json: part\.tasks\[0\]\.documents\[0\]/);
  });

  it('takes tasks of one’s own', async () => {
    write(
      'tasks/ponds.yaml',
      `task: ponds
dataset_path: baber/piqa
validation_split: validation
output_type: multiple_choice
doc_to_text: "To {{goal}},"
doc_to_target: label
doc_to_choice: "{{[sol1, sol2]}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
`,
    );
    const found = await json(`--tasks ponds --tasks-dir ${at('tasks')}`);
    expect(Object.keys(found.results.ponds)).toContain('acc_norm,none');
    expect((await run(['eval', '--tasks', 'list', '--tasks-dir', at('tasks')])).stdout).toMatch(
      /^ponds +acc, acc_norm\n(.|\n)*mmlu +a group of 57 tasks\n/,
    );
    expect((await json(`--tasks ${at('tasks/ponds.yaml')}`)).results.ponds).toEqual(found.results.ponds);
    write('tasks/waters.yaml', 'group: waters\ntask: [{task: ponds, num_fewshot: 1}]\naggregate_metric_list: [{metric: acc}]\n');
    const group = await json(`--tasks ${at('tasks/waters.yaml')}`);
    expect(Object.keys(group.results)).toEqual(['ponds', 'waters']); // whose member lies beside it
    expect((await evaluate(`--tasks ${at('tasks/pond.yaml')}`)).stderr).toMatch(/pond\.yaml: there is no such file/);
    expect((await evaluate(`--tasks ponds,${at('tasks/ponds.yaml')} --tasks-dir ${at('tasks')}`)).stderr).toMatch(
      /two of --tasks are called "ponds"/,
    );
    write('bad/ponds.yaml', 'task: ponds\ndoc_to_texts: x\n');
    expect((await evaluate(`--tasks ponds --tasks-dir ${at('bad')}`)).stderr).toMatch(
      /ponds\.yaml: there is no field "doc_to_texts"; did you mean "doc_to_text"\?/,
    );
    write('bad/ponds.yaml', 'task: ponds\nprocess_docs: !function utils.process\n');
    expect((await evaluate(`--tasks ponds --tasks-dir ${at('bad')}`)).stderr).toMatch(
      /ponds\.yaml: process_docs is a Python function \(utils\.process\); write it as a template/,
    );
    expect((await evaluate(`--tasks ponds --tasks-dir ${at('cache')}`)).stderr).toMatch(/no \.yaml, \.yml or \.json file/);
  });

  it('counts documents that are longer than the context', async () => {
    const { code, stdout } = await evaluate('--tasks arc_easy --num-fewshot 5 --context 64 --limit 3 --no-cache');
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /\n3 documents longer than the context of 64 tokens lost the beginning, \d+ tokens in all: arc_easy 3\.\n$/,
    );
    const found = await json('--tasks arc_easy --num-fewshot 5 --context 64 --limit 3 --no-cache');
    expect(found.truncated.arc_easy.documents).toBe(3);
  });

  it('leaves at Ctrl-C with what it has', async () => {
    const given = ['eval', '--tasks', 'hellaswag', '--data', at('data'), '--cache', at('answers.jsonl')];
    // Before anything can have been answered: a backend's answers never come within the turn that asked.
    const pressed = await run(given, { onListen: (interrupt) => queueMicrotask(interrupt) });
    expect(pressed).toMatchObject({ code: 130, stdout: '' });
    expect(readFileSync(at('answers.jsonl'), 'utf8')).toBe('');
    const after = await run(given);
    expect(after.code).toBe(0);
    expect(readFileSync(at('answers.jsonl'), 'utf8').split('\n').filter(Boolean).length).toBe(20);
    expect((await run(given)).stderr).toMatch(/20 answers came from .*answers\.jsonl;/);
    // A line that is damaged is named, and its answer computed again.
    writeFileSync(at('answers.jsonl'), readFileSync(at('answers.jsonl'), 'utf8').replace('-', '+'));
    const mended = await run(given);
    expect(mended.stderr).toMatch(/answers\.jsonl: line \d+ is damaged; its answer is computed again\n.*19 answers came from/s);
    expect(mended.stdout).toBe(after.stdout);
  });

  it('keeps no answers where the cache directory cannot be written, unless a file is named', async () => {
    vi.stubEnv('XDG_CACHE_HOME', at('data/allenai/sciq/test.jsonl'));
    const given = ['eval', '--tasks', 'sciq', '--data', at('data'), '--limit', '2'];
    const outcome = await run(given);
    expect(outcome.code).toBe(0);
    expect(outcome.stderr).toMatch(
      /^openelm: answers are not kept, .*test\.jsonl\/openelm\/eval\b.* cannot write it: .*\(--cache FILE/,
    );
    expect((await run([...given, '--cache', at('data/allenai/sciq/test.jsonl/x')])).code).toBe(1);
    vi.stubEnv('XDG_CACHE_HOME', at('cache'));
  });

  it('is an error where a weight is no number', async () => {
    const embedded = fileURLToPath(new URL('../../models/tales-6m', import.meta.url));
    cpSync(embedded, at('nan'), { recursive: true });
    const bytes = readFileSync(at('nan/model.safetensors'));
    const header = Number(bytes.readBigUInt64LE());
    const tensors = JSON.parse(bytes.toString('utf8', 8, 8 + header)) as Record<string, { data_offsets: [number, number] }>;
    const [start] = tensors['transformer.layers.3.ffn_norm.weight'].data_offsets;
    bytes.set([0xff, 0x7f, 0xff, 0x7f], 8 + header + start); // NaN in f16, bf16 and f32
    writeFileSync(at('nan/model.safetensors'), bytes);
    for (const task of ['arc_easy', 'wikitext']) {
      const found = await run(['eval', at('nan'), '--tasks', task, '--limit', '2', '--data', at('data'), '--no-cache']);
      expect(found).toMatchObject({ code: 1, stdout: '' });
      expect(found.stderr).toMatch(
        /^openelm: the model's output cannot be used.* transformer\.layers\.3\.ffn_norm\.weight has 2 NaN/,
      );
    }
  });

  it('measures a model at a server', async () => {
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => (body += chunk));
      request.on('end', () => {
        const { prompt } = JSON.parse(body) as { prompt: string };
        const tokens = prompt.match(/\s*\S+/g)!;
        const offsets = tokens.map((_, i) => tokens.slice(0, i).join('').length);
        const logprobs = tokens.map((token, i) => (i === 0 ? null : -token.length));
        const top = tokens.map((token, i) => (i === 0 ? null : { [token]: -token.length }));
        response.end(
          JSON.stringify({
            choices: [{ text: prompt, logprobs: { tokens, token_logprobs: logprobs, top_logprobs: top, text_offset: offsets } }],
          }),
        );
      });
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const found = await json(`--tasks sciq --base-url ${url} --model-name short-words`);
      // The server likes short answers: an egg is the shortest, a stone the right one.
      expect(found.results.sciq).toMatchObject({ 'acc,none': 0 });
      expect(found.model_name).toBe('short-words');
    } finally {
      server.close();
    }
  });
});

it('asks as in a conversation where that is asked for', async () => {
  const output = at('chat');
  const options = '--limit 1 --num-fewshot 1 --log-samples --apply-chat-template --system-instruction Briefly.';
  const { results, system_instruction, fewshot_as_multiturn, chat_template } = await json(
    `--tasks sciq ${options} --no-fewshot-as-multiturn --output ${output}`,
  );
  expect(results.sciq['acc,none']).toBeTypeOf('number');
  expect({ system_instruction, fewshot_as_multiturn }).toEqual({ system_instruction: 'Briefly.', fewshot_as_multiturn: false });
  expect(chat_template).toBe(defaultChatTemplate);
  const folder = join(output, readdirSync(output)[0]);
  const sample = JSON.parse(readFileSync(onlyFile(folder, /^samples_sciq/), 'utf8'));
  expect(sample.arguments.gen_args_0.arg_0).toMatch(/^<\|system\|>\nBriefly\.<\/s>\n<\|user\|>\n[^<]+<\/s>\n<\|assistant\|>\n$/);
  expect(sample.arguments.gen_args_0.arg_1).toMatch(/^\S/);
});

describe('datasets from the hub', () => {
  it('are downloaded once; without the hub a sentence says what to do', async () => {
    const part = (index: number) => readFileSync(fileURLToPath(new URL(`../io/parquet/part-${index}.parquet`, import.meta.url)));
    const files = new Map([
      ['ARC-Easy/test/0000.parquet', part(0)],
      ['ARC-Easy/test/0001.parquet', part(1)],
      ['ARC-Easy/train/0000.parquet', part(1)],
    ]);
    const hub = await new FakeHub('allenai/ai2_arc', files, 'datasets').start();
    vi.stubEnv('HF_ENDPOINT', hub.endpoint);
    try {
      const { code, stdout, stderr } = await run(['eval', '--tasks', 'arc_easy', '--json']);
      expect(code, stderr).toBe(0);
      expect(JSON.parse(stdout)['n-samples'].arc_easy).toEqual({ original: 5, effective: 5 });
      expect(hub.take().filter((request) => request.startsWith('cdn')).length).toBe(2);
      const few = await run(['eval', '--tasks', 'arc_easy', '--num-fewshot', '3']);
      expect(few.stderr).toMatch(/task arc_easy: 3 examples wanted, but the few-shot pool, split "train", has 2 documents/);
      const other = await run(['eval', '--tasks', 'sciq']);
      expect(other).toMatchObject({ code: 1, stdout: '' });
      expect(other.stderr).toMatch(/there is no dataset allenai\/sciq .*; --data DIR reads datasets from a folder instead\n$/);
    } finally {
      await hub.stop();
    }
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect((await run(['eval', '--tasks', 'arc_easy'])).code).toBe(0);
    expect((await run(['eval', '--tasks', 'piqa'])).stderr).toMatch(
      /^openelm: task piqa: dataset baber\/piqa: .* offline mode .* --data DIR reads datasets from a folder instead\n$/,
    );
  });
});

describe('bad input', () => {
  it.each([
    ['--tasks arc_esy', 1, /there is no task "arc_esy"; did you mean "arc_easy"\?/],
    ['--tasks race_middle', 1, /there is no task "race_middle"/],
    ['--tasks arc_easy,', 2, /--tasks takes names with one comma between them/],
    ['', 2, /give either --suite or --tasks/],
    ['--suite zero', 2, /Allowed choices are zero-shot, five-task, eight-task/],
    ['--suite zero-shot --num-fewshot 1', 2, /a suite has its own numbers of examples/],
    ['--tasks sciq --limit 0', 2, /--limit <n>' argument '0' is invalid/],
    ['--tasks sciq --shard 3/3 --output x', 2, /It must be like 0\/4/],
    ['--tasks sciq --shard 0/3', 2, /--shard needs --output/],
    ['--tasks sciq --log-samples', 2, /--log-samples needs --output/],
    ['--tasks sciq --output package.json/x', 1, /package\.json\/x: cannot write it: a part of the path is not a directory/],
    ['--tasks sciq --batch-tokens 257', 2, /from 1 to 256/],
    ['--tasks mmlu --base-url nowhere --model-name x', 1, /"nowhere" is no address of a server/], // whose data are not there
    ['--tasks sciq --model-name x', 2, /--model-name goes with --base-url/],
    ['--tasks sciq --base-url http://127.0.0.1:1', 2, /--base-url needs --model-name/],
    ['--tasks sciq --published OpenELM-280M', 1, /did you mean "OpenELM-270M"\?/],
    ['--tasks sciq --num-fewshot 99', 1, /the few-shot pool, split "train", has 10 documents/],
    ['--tasks mmlu', 1, /task mmlu_anatomy: .*cais\/mmlu\/anatomy has no test\.jsonl/],
    // Models are looked at before data, which here are not there.
    ['no-such-model --tasks mmlu', 1, /no-such-model: no such directory or file, and no hub id/],
    ['docs --tasks mmlu', 1, /docs is no model: it has no config\.json/],
    ['tales-6m --adapter none --tasks mmlu', 1, /none: no such directory; an adapter is one/],
    ['no-such-model --tasks mmlu --base-url http://127.0.0.1:1 --model-name x', 1, /no-such-model: no such directory or file/],
  ])('openelm eval %s', async (line, code, message) => {
    const outcome = await evaluate(line);
    expect(outcome).toMatchObject({ code, stdout: '' });
    expect(outcome.stderr).toMatch(message);
    expect(outcome.stderr.trim().split('\n').length).toBe(1);
  });

  it('in a dataset is named with its document', async () => {
    cpSync(at('data/allenai/sciq'), at('wrong/allenai/sciq'), { recursive: true });
    const rows = samples['allenai/sciq|'].test;
    const evaluateWrong = async (task: string) => (await run(['eval', '--tasks', task, '--data', at('wrong')])).stderr;
    write(
      'wrong/allenai/sciq/test.jsonl',
      lines(rows.map(({ distractor2, ...row }, i) => (i === 3 ? row : { ...row, distractor2 }))),
    );
    expect(await evaluateWrong('sciq')).toMatch(/^openelm: task sciq, document 3 of split "test": .*Undefined/);
    const piqa = samples['baber/piqa|'].validation;
    write('wrong/baber/piqa/validation.jsonl', lines(piqa.map((row, i) => (i === 2 ? { ...row, label: 1.5 } : row))));
    expect(await evaluateWrong('piqa')).toBe(
      'openelm: task piqa, document 2 of split "validation": the answer is "1.5", neither the place of a choice nor its text\n',
    );
  });
});

describe('openelm eval compare', () => {
  const results = (name: string, acc: number, dtype = 'f32') =>
    JSON.stringify({
      results: {
        mmlu: { alias: 'mmlu', 'acc,none': acc, 'acc_stderr,none': 0.01 },
        mmlu_anatomy: { 'acc,none': 0.5, 'acc_stderr,none': 0.1 },
        wikitext: { 'word_perplexity,none': 20 * acc, 'word_perplexity_stderr,none': 'N/A' },
      },
      group_subtasks: { mmlu: ['mmlu_anatomy'] },
      'n-shot': { mmlu: 5, mmlu_anatomy: 5, wikitext: 0 },
      model_name: name,
      config: { model_dtype: dtype },
    });

  it('draws and tabulates models side by side', async () => {
    write('a.json', results('small & fast', 0.25));
    write('b.json', results('large', 0.5));
    const { code, stdout, stderr } = await run(['eval', 'compare', at('a.json'), at('b.json'), '--out', at('ab.svg')]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/\|mmlu +\| +5\|acc +\|25\.00 ± 1\.00\|50\.00 ± 1\.00\|\n/);
    expect(stdout).toMatch(/\|wikitext\| +0\|word_perplexity\|5\.0000 +\|10\.0000 +\|\n/);
    expect(stdout).not.toMatch(/anatomy/);
    const svg = readFileSync(at('ab.svg'), 'utf8');
    const bars = [
      ...svg.matchAll(/<rect class="data" fill="(#\w+)"[^>]* y="([\d.]+)" width="16" height="([\d.]+)"><title>([^<]+)</g),
    ];
    expect(bars.map(([, colour, , , said]) => [colour, said])).toEqual([
      [palette[0], 'small &#38; fast: 25.00% ± 1.00'],
      [palette[1], 'large: 50.00% ± 1.00'],
    ]);
    const [low, high] = bars.map(([, , , height]) => Number(height));
    expect(high / low).toBeCloseTo(2, 1);
    expect(svg.match(/class="error"/g)!.length).toBe(2);
    expect(svg).toMatch(/prefers-color-scheme:dark/);
  });

  it('tells equal names apart, and refuses what it cannot show', async () => {
    for (const [name, dtype] of ['f32', 'q8'].entries()) write(`${name}.json`, results('one', 0.3, dtype));
    const { stdout } = await run(['eval', 'compare', at('0.json'), at('1.json'), at('1.json')]);
    expect(stdout.split('\n')[0]).toMatch(/\| +one f32 +\| +one q8 \(2\) +\| +one q8 \(3\) +\|/);
    const refused = async (...argv: string[]) => (await run(['eval', 'compare', ...argv])).stderr;
    expect(await refused(at('0.json'), '--labels', 'a,b')).toMatch(/--labels has 2 names for 1 file;/);
    expect(await refused(at('none.json'))).toMatch(/none\.json: .*no such file/);
    write('odd.json', '{"results": 3}');
    expect(await refused(at('odd.json'))).toMatch(/odd\.json: results: expected keys and values, found 3/);
    expect(await refused(...Array.from({ length: 9 }, () => at('0.json')))).toMatch(/at most 8/);
  });
});
