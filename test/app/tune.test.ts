// `openelm tune` on a model of a few thousand parameters: each method from rows to a model that answers, exact resume, and what is
// said about bad data.

import { existsSync } from 'node:fs';
import { copyFile, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { wordsAlone } from '../../src/app/settings-file.js';
import { readTuneConfig } from '../../src/app/tune-config.js';
import { defaultChatTemplate } from '../../src/infer/chat.js';
import { checkpointName, listCheckpoints } from '../../src/io/node/checkpoints.js';
import { readLog } from '../../src/io/node/run-log.js';
import { temporaryFolder } from '../temporary.js';
import { tinyFields } from '../train/tiny.js';
import { run } from './terminal.js';
import { reached, start } from './training.js';

const tokenizer = fileURLToPath(new URL('../../models/tales-6m/tokenizer.model', import.meta.url));

const root = temporaryFolder();
let base: string;
beforeAll(async () => {
  base = join(root, 'base');
  const shape = join(root, 'shape.json');
  const fields = {
    ...tinyFields,
    vocab_size: 4096,
    max_context_length: 64,
    rope_max_length: 128,
    bos_token_id: 1,
    eos_token_id: 2,
  };
  await writeFile(shape, JSON.stringify(fields));
  const { code, stderr } = await run(['init', shape, '--out', base]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  await copyFile(tokenizer, join(base, 'tokenizer.model'));
});

const words = ['cat', 'dog', 'fox', 'hen', 'owl', 'pig'];
const chats = Array.from({ length: 12 }, (_, i) => ({
  instruction: `Name a ${words[i % 6]}.`,
  output: `A ${words[(i + 1) % 6]} it is.`,
}));
const pairs = Array.from({ length: 12 }, (_, i) => ({
  prompt: `Name a ${words[i % 6]}.`,
  chosen: `A ${words[i % 6]}.`,
  rejected: `No ${words[(i + 2) % 6]} here.`,
}));
const lines = (rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

/** A folder with data and settings; `changes` replace keys of the settings. */
async function place(name: string, rows: readonly unknown[] | string, changes: Record<string, unknown> = {}) {
  const directory = join(root, name);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'rows.jsonl'), typeof rows === 'string' ? rows : lines(rows));
  const out = join(directory, 'run');
  const settings = {
    ...{ method: 'sft', model: base, out, steps: 4, batch_size: 3, backend: 'reference' },
    data: { train: 'rows.jsonl', max_length: 48 },
    learning_rate: { max: 1e-2, warmup_steps: 1 },
    checkpoints: { every: 2 },
    ...changes,
  };
  const file = join(directory, 'tune.yaml');
  await writeFile(file, stringify(settings));
  return { file, out, directory };
}

describe('openelm tune', () => {
  it('passes over bad rows up to a limit', async () => {
    const bad = ['{"instruction": "cut', '7', '{"instruction": NaN}'];
    const rows = lines(chats)
      .split('\n')
      .slice(0, 12)
      .flatMap((line, i) => (i < 3 ? [line, bad[i]] : [line]))
      .join('\n');
    const { file, out } = await place('bad-rows', rows, { steps: 1 });
    expect(await run(['tune', file])).toMatchObject({ code: 1, stderr: /rows\.jsonl: row 1 / });
    const few = await run(['tune', file, '--skip-bad-rows', '2']);
    expect(few).toMatchObject({ code: 1, stderr: /; 2 bad rows passed over already, and skip_bad_rows allows no more/ });
    const { code, stdout, stderr } = await run(['tune', file, '--skip-bad-rows']);
    expect(code).toBe(0);
    expect(stderr.match(/^openelm: passed over: .*rows\.jsonl: row [135]\b/gm)).toHaveLength(3);
    expect(stdout).toMatch(/^data {5}15 rows: 12 to learn from, .*; left out: 3 passed over$/m);
    expect(existsSync(join(out, checkpointName(1)))).toBe(true);
  });

  it('takes a folder of files, and a learning rate as a number', async () => {
    const { file, directory } = await place('folder', chats);
    const config = await readTuneConfig(file, ['--data.train', directory, '--learning_rate', '1e-3']);
    expect(config.data.train).toEqual([join(directory, 'rows.jsonl')]);
    expect(config.learning_rate).toEqual({ schedule: 'cosine', max: 1e-3, min: 0, warmup_ratio: 0.1 });
    const empty = join(root, 'empty');
    await mkdir(empty);
    const alone = ['--method', 'sft', '--data.train', directory, '--out', 'o', '--learning-rate=1e-3'];
    expect(await readTuneConfig(wordsAlone, alone)).toMatchObject({ learning_rate: config.learning_rate, out: 'o' });
    const { stderr } = await run(['tune', '--method', 'sft']);
    expect(stderr).toContain('the command line: out is missing');
    await expect(readTuneConfig(file, ['--data.train', empty])).rejects.toThrow(
      `${empty}: no .parquet, .jsonl, .json or .csv file in this folder`,
    );
  });

  it('teaches answers, says what it will do, and leaves a model with its chat template', async () => {
    const changes = {
      data: { train: 'rows.jsonl', held_out: 2, max_length: 48 },
      validation: { every: 2 },
      samples: { every: 4, prompts: ['Name a cat.'], max_tokens: 3 },
    };
    const { file, out } = await place('sft', [...chats, { instruction: 'x', output: '' }], changes);
    const { code, stdout, stderr } = await run(['tune', file]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(
      /^data {5}13 rows: 10 to learn from, \d+ tokens, \d+ of them learned; 2 held out; left out: 1 an empty answer$/m,
    );
    expect(stdout).toMatch(/^model {4}\S+: [\d,]+ parameters; [\d,]+ learn\nsteps {4}4 of at most \d+ tokens\nmemory {3}about /m);
    expect(stdout).toMatch(/^step 4\/4 {2}loss \d/m);
    const log = await readLog(out);
    expect(log.map(({ type, step }) => `${type} ${step}`)).toEqual([
      ...['step 1', 'step 2', 'validation 2', 'checkpoint 2', 'step 3', 'step 4', 'validation 4', 'sample 4', 'checkpoint 4'],
    ]);
    const last = join(out, checkpointName(4));
    expect(await readFile(join(last, 'chat_template.jinja'), 'utf8')).toBe(defaultChatTemplate);
    const chat = await run(['chat', '-m', last, '-n', '2', '--backend', 'reference'], { stdin: 'Name a cat.\n' });
    expect(chat.code).toBe(0);
  });

  it.each([
    ['sft', 'none'],
    ['dpo', 'none'],
    ['dpo online', 'none'],
    ['sft', 'lora'],
    ['dpo', 'dora'],
    ['dpo', 'lora'],
  ])('goes on to the bit after a break: %s, adapter %s', async (what, kind) => {
    const [method, asked] = what.split(' ');
    const rows = method === 'sft' ? chats : pairs;
    const reference = asked ?? (kind === 'lora' ? 'online' : 'precomputed');
    const adapter = kind === 'none' ? kind : { r: 4, alpha: 8, dropout: 0.1, use_dora: kind === 'dora', dtype: 'q8' };
    const changes = { method, adapter, packing: method === 'sft', accumulation: 2, dpo: { reference } };
    const straight = await place(`${what}-${kind}-straight`, rows, changes);
    expect(await run(['tune', straight.file])).toMatchObject({ code: 0 });
    const broken = await place(`${what}-${kind}-broken`, rows, changes);
    const first = await run(['tune', broken.file], {
      isTTY: true,
      onOutput: (text, interrupt) => {
        if (text.includes('step 2/4')) interrupt();
      },
    });
    expect(first).toMatchObject({ code: 0, stderr: expect.stringContaining('--resume goes on from') });
    expect((await listCheckpoints(broken.out)).at(-1)!.step).toBeLessThan(4);
    expect((await run(['tune', broken.file])).stderr).toContain('is there already: --resume goes on from it');
    expect((await run(['tune', broken.file, '--resume'])).code).toBe(0);
    const [resumed, whole] = [broken, straight].map(({ out }) => join(out, checkpointName(4)));
    const weights = kind === 'none' ? 'model.safetensors' : 'adapter_model.safetensors';
    expect((await readFile(join(resumed, weights))).equals(await readFile(join(whole, weights)))).toBe(true);
    if (asked) {
      // The frozen copy is the model before it learned, not the checkpoint: else resumed steps would begin at log 2.
      const losses = await Promise.all(
        [broken, straight].map(async ({ out }) => (await readLog(out)).filter(({ type }) => type === 'step')),
      );
      const known = losses.map((steps) => steps.map((line) => [line.step, 'loss' in line && line.loss]));
      expect(known[0]).toEqual(known[1]);
    }
    if (kind === 'none') return;
    const config = JSON.parse(await readFile(join(whole, 'adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({ peft_type: 'LORA', r: 4, lora_alpha: 8, use_dora: kind === 'dora' });
    expect(existsSync(join(whole, 'model.safetensors'))).toBe(false);
    // The run's name is enough: its last checkpoint, around the base that it names.
    const score = (...place: string[]) => run(['score', '--ids', '1,5,6', '--backend', 'reference', ...place]);
    const { stdout, code, stderr } = await score('--adapter', straight.out);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe((await score('-m', base, '--adapter', whole)).stdout);
    expect((await score('-m', straight.out)).stderr).toContain(`${whole} holds an adapter, no model`);
    // A base that was somewhere else is named, and the embedded one is known everywhere.
    const moved = join(root, `moved-${kind}`);
    await cp(whole, moved, { recursive: true });
    const tunedFor = (name: string) =>
      writeFile(join(moved, 'adapter_config.json'), JSON.stringify({ ...config, base_model_name_or_path: name }));
    await tunedFor('/gone/llm');
    const gone = await score('--adapter', moved);
    expect(gone.code).toBe(1);
    expect(gone.stderr).toContain(`the adapter ${moved} is for /gone/llm, which cannot be opened (/gone/llm: no such`);
    await tunedFor('/gone/tales-6m');
    expect((await score('--adapter', moved)).stderr).toContain(
      'an adapter for another base: its layers.0.attn.out_proj takes 16',
    );
  });

  it('goes on to the bit after kill -9', async () => {
    const changes = { steps: 12, adapter: { r: 4, alpha: 8, dropout: 0.1 } };
    const straight = await place('straight', chats, changes);
    expect((await run(['tune', straight.file])).code).toBe(0);
    const killed = await place('killed', chats, changes);
    const first = start('tune', killed.file);
    await reached(killed.out, 3);
    first.child.kill('SIGKILL');
    await first.ended;
    // Not with other rows, nor around another base.
    const rows = join(killed.directory, 'rows.jsonl');
    await writeFile(rows, lines([...chats].reverse()));
    const other = await run(['tune', killed.file, '--resume']);
    expect(other.code).toBe(1);
    expect(other.stderr).toMatch(/step-\d+ was made with other rows than the training files have now: put back/);
    await writeFile(rows, lines(chats));
    const { path } = (await listCheckpoints(killed.out)).at(-1)!;
    const record = JSON.parse(await readFile(join(path, 'training.json'), 'utf8'));
    const withBase = (weights: string) =>
      writeFile(join(path, 'training.json'), JSON.stringify({ ...record, data: { ...record.data, base: weights } }));
    await withBase('0');
    expect((await run(['tune', killed.file, '--resume'])).stderr).toContain(`made with other weights than ${base} has now`);
    await withBase(record.data.base);
    expect((await run(['tune', killed.file, '--resume'])).code).toBe(0);
    const [resumed, whole] = [killed, straight].map(({ out }) => join(out, checkpointName(12), 'adapter_model.safetensors'));
    expect((await readFile(resumed)).equals(await readFile(whole))).toBe(true);
    const steps = (await readLog(killed.out)).flatMap((line) => (line.type === 'step' ? [line.step] : []));
    expect(steps).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
  });

  it('prefers the better answers, beside what the model thought before', async () => {
    const changes = { method: 'dpo', steps: 8, dpo: { beta: 0.5 }, data: { train: 'rows.jsonl', held_out: 2, prompt: 'chat' } };
    const rows = [...pairs, { prompt: 'a', chosen: 'b', rejected: 'b' }];
    const { file, out } = await place('dpo', rows, { ...changes, validation: { every: 8 } });
    const { code, stdout, stderr } = await run(['tune', file]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.anything() });
    expect(stdout).toContain('left out: 1 chosen equals rejected');
    const steps = (await readLog(out)).filter(({ type }) => type === 'step') as unknown as Record<string, number>[];
    expect(steps[0]).toMatchObject({ margin: 0, rewardChosen: 0, rewardRejected: 0 });
    expect(steps[0].loss).toBeCloseTo(Math.LN2, 6);
    expect(steps[7].margin).toBeGreaterThan(0.1);
    expect(steps[7].loss).toBeLessThan(steps[0].loss);
    expect(stdout).toMatch(/validation {2}loss \S+ {2}accuracy \S+ {2}margin \S+ .* of 2 pairs/);
  });

  it('samples answers, accepts some by their rewards and learns from the pairs; goes on where it was ended', async () => {
    const rso = { reward: { module: 'reward.mjs' }, candidates: 4, accepted: 2, beta: 1, max_tokens: 6, slots: 4 };
    const changes = { method: 'rso', steps: 2, rso };
    const { file, out, directory } = await place('rso', pairs.slice(0, 5), changes);
    await writeFile(
      join(directory, 'reward.mjs'),
      'export const reward = ({ text, row }) => text.length + row.prompt.length / 100;\n',
    );
    await writeFile(join(directory, 'rows.jsonl'), `{"prompt": 7}\n7\n${lines(pairs.slice(0, 5))}`);
    expect(await run(['tune', file])).toMatchObject({ code: 1, stderr: /rows\.jsonl: row 0/ });
    const straight = await run(['tune', file, '--skip-bad-rows']);
    expect(straight).toMatchObject({ code: 0, stderr: /passed over: .*row 0.*\n.*passed over: .*row 1/ });
    expect(straight.stdout).toMatch(/answers {2}5 prompts, 20 answers of mean reward \d+\.\d+: [1-5] pairs in /);
    const made = (await readFile(join(out, 'pairs.jsonl'), 'utf8')).trim().split('\n');
    for (const line of made) {
      const { prompt, chosen, rejected, score_chosen: better, score_rejected: worse } = JSON.parse(line);
      expect(prompt[0]).toMatchObject({ role: 'user' });
      expect(chosen[0].content.length).toBeGreaterThan(rejected[0].content.length);
      expect(better).toBeGreaterThan(worse);
    }
    // As if it had been killed in the middle of a line.
    const answers = (await readFile(join(out, 'answers.jsonl'), 'utf8')).trim().split('\n');
    const resumed = await place('rso-resumed', pairs.slice(0, 5), changes);
    await writeFile(
      join(resumed.directory, 'reward.mjs'),
      'export const reward = ({ text, row }) => text.length + row.prompt.length / 100;\n',
    );
    await mkdir(resumed.out, { recursive: true });
    await writeFile(join(resumed.out, 'answers.jsonl'), `${answers.slice(0, 2).join('\n')}\n${answers[2].slice(0, 20)}`);
    await copyFile(join(out, 'sampling.json'), join(resumed.out, 'sampling.json'));
    const otherwise = await run(['tune', resumed.file, '--rso.temperature', '0.5']);
    expect(otherwise.stderr).toMatch(
      /answers\.jsonl: its answers were sampled otherwise: temperature is 0\.5, but 1 when they were/,
    );
    const rows = join(resumed.directory, 'rows.jsonl');
    await writeFile(rows, lines(pairs.slice(1, 6)));
    expect((await run(['tune', resumed.file])).stderr).toMatch(
      /the answers of line 1 are to another prompt than \S+rows\.jsonl, row 0, has now/,
    );
    await writeFile(rows, lines(pairs.slice(0, 5)));
    expect((await run(['tune', resumed.file, '--resume'])).code).toBe(0);
    const withoutSource = (text: string): unknown[] =>
      text
        .trim()
        .split('\n')
        .map((line) => ({ ...JSON.parse(line), source: '' }));
    expect(withoutSource(await readFile(join(resumed.out, 'pairs.jsonl'), 'utf8'))).toEqual(withoutSource(made.join('\n')));
  });

  it.each<[string, string | readonly unknown[], Record<string, unknown>, string]>([
    [
      'a missing field',
      [chats[0], { question: 'a' }],
      {},
      'rows.jsonl: row 1: expected messages (or conversations), prompt and completion, instruction and output, or text; it has "question"',
    ],
    [
      'no pair',
      [{ prompt: 'a', answer: 'b' }],
      { method: 'dpo' },
      'rows.jsonl: row 0: expected chosen and rejected (and prompt); it has "prompt", "answer"',
    ],
    [
      'only equal pairs',
      [{ prompt: 'a', chosen: 'b', rejected: 'b' }],
      { method: 'dpo' },
      'nothing to learn from in 1 row (1: chosen equals rejected)',
    ],
    ['a cut file', '{"instruction": "a", "output": "b"}\n{"instruc', {}, 'row 1'],
    ['a method without its reward', chats, { method: 'rso' }, 'method rso needs rso.reward'],
    ['an unknown method', chats, { method: 'kto' }, 'method: expected sft or dpo or rso, found "kto"'],
    ['an unknown key', chats, { epoch: 2 }, 'unknown key epoch; did you mean epochs?'],
    ['validation on nothing', chats, { validation: { every: 2 } }, 'neither data.validation nor data.held_out says on what'],
    ['a pattern that matches nothing', chats, { adapter: { patterns: ['qkv_porj'] } }, 'matches no module'],
    ['no such model', chats, { model: 'nowhere' }, 'nowhere: no such directory or file'],
    [
      'more held out than there is',
      chats,
      { data: { train: 'rows.jsonl', held_out: 12 } },
      'data.held_out is 12, but there are only 12 examples',
    ],
    ['a long sample prompt', chats, { samples: { every: 1, prompts: ['a '.repeat(80)] } }, "the model's context 64; shorten it"],
  ])('says in one sentence what is wrong: %s', async (name, rows, changes, message) => {
    const { file } = await place(`bad-${name.replaceAll(' ', '-')}`, rows, changes);
    const { code, stderr } = await run(['tune', file]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^openelm: [^\n]+\n$/);
    expect(stderr).toContain(message);
  });
});
