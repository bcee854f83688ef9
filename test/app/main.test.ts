// The command line around the verbs: help, exit codes, one sentence for each kind of wrong input, and the executable itself.

import { spawn } from 'node:child_process';
import { copyFile, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import golden from '../golden/tales-6m/golden_greedy.json' with { type: 'json' };
import { run } from './terminal.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe('help', () => {
  it('is what openelm alone prints', async () => {
    const alone = await run([]);
    expect(alone).toMatchObject({ code: 0, stderr: '' });
    for (const verb of ['run', 'chat', 'score', 'info', 'pull', 'list', 'remove', 'init', 'eval', 'tokenize', 'embed'])
      expect(alone.stdout).toContain(`  ${verb} `);
    expect((await run(['--help'])).stdout).toBe(alone.stdout);
    expect(await run(['--version'])).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: '' });
  });

  it.each(['run', 'chat', 'score', 'info', 'pull', 'list', 'remove', 'init', 'eval', 'tokenize', 'embed'])(
    'of %s has an example',
    async (verb) => {
      const { code, stdout, stderr } = await run([verb, '--help']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toContain(`\n  $ openelm ${verb}`);
      expect((await run(['help', verb])).stdout).toBe(stdout);
    },
  );
});

describe('usage errors', () => {
  it.each([
    ['rum', /unknown command 'rum' \(Did you mean run\?\)/],
    ['help rum', /unknown command 'rum' \(Did you mean run\?\)/],
    ['run x --max-token 3', /unknown option '--max-token' \(Did you mean --max-tokens\?\)/],
    ['run x --max-tokens', /option '-n, --max-tokens <n>' argument missing/],
    ['run x --max-tokens 1e', /--max-tokens <n>' argument '1e' is invalid\. It must be a whole number of at least 0/],
    ['run x --max-tokens 1.5', /'1\.5' is invalid/],
    ['run x --temperature NaN', /--temperature <x>' argument 'NaN' is invalid\. It must be 0 \(greedy\) or/],
    ['run x --temperature -1', /'-1' is invalid/],
    ['run x --top-p 0x1', /'0x1' is invalid/],
    ['run x --top-p 1.5', /--top-p <x>' argument '1\.5' is invalid\. It must be a number from 0 to 1/],
    ['run x --seed 9007199254740992', /--seed/],
    ['run x --threads 0', /--threads <n>' argument '0' is invalid\. It must be a whole number from 1 to 256/],
    ['run x --threads 257', /'257' is invalid/],
    ['run x --dtype q5', /--dtype <type>' argument 'q5' is invalid\. Allowed choices are f32, f16, bf16, q8, q4/],
    ['run --ids 1,,-2', /--ids <list>' argument '1,,-2' is invalid\. It must be token ids like 1,2,3/],
    ['run x --ids 1', /give a prompt or --ids, not both/],
    ['run x y', /2 words where one text is expected; quote it: openelm run "x y"$/m],
    ['score the cat sat on the mat', /quote it: openelm score "the cat sat on \.\.\."/],
    ['run x --stop \\u{110000}', /is no character/],
    ['info a --model b', /two models are named, a and b; name one/],
    ['run', /no prompt: give it as an argument or on stdin/],
    ['score', /no text: give it as an argument or on stdin/],
    ['score x --file y', /give one of a text, --file and --ids/],
    ['score --ids 1 --eos', /--eos is for text/],
    ['tokenize x --decode 1', /give a text or --decode, not both/],
    ['init OpenELM-270M', /required option '-o, --out <directory>' not specified/],
    ['init --out x', /missing required argument 'shape'/],
    ['init --force --ot x', /unknown option '--ot'/],
    ['tokenizer train x', /required option '--vocab-size <n>' not specified/],
    ['tokenizer train --vocabsize 300 x', /unknown option '--vocabsize'/],
    ['eval merge --josn x', /unknown option '--josn'/],
    ['data stats --limit 0 x', /--limit <n>' argument '0' is invalid/],
    ['remove a/b a/b', /a model is named twice/],
  ])('openelm %s', async (line, message) => {
    const { code, stdout, stderr } = await run(line.split(' '));
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^openelm: [^\n]*\n$/);
    expect(stderr).toMatch(message);
  });

  it('names an empty number', async () => {
    expect(await run(['run', 'x', '--top-k', ''])).toMatchObject({ code: 2, stderr: /argument '' is invalid/ });
  });
});

describe('what comes from outside', () => {
  it('is shown with its control characters as escapes', async () => {
    const { code, stderr } = await run(['info', 'a\u001b[31mb\u009b2Jc\u007f\u202ed']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/a\\u001b\[31mb\\u009b2Jc\\u007f\\u202ed/);
    expect(stderr).not.toMatch(/[^\P{Cc}\n]/u);
    expect((await run(['run', '--no-such\u009b'])).stderr).not.toMatch(/[^\P{Cc}\n]/u);
  });
});

describe('what is printed of names from outside', () => {
  it('has its control characters shown, on both streams, in tables and in JSON', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'openelm-main-'));
    const odd = join(folder, 'a\u009b31mb\u007f\u001b[2J');
    const shape = join(folder, 'shape.json');
    const results = join(folder, 'results.json');
    const raw = /[^\P{Cc}\n]|[\u202a-\u202e]/u;
    try {
      await writeFile(shape, JSON.stringify({ num_transformer_layers: 2, model_dim: 64, head_dim: 16, vocab_size: 64 }));
      await writeFile(
        results,
        JSON.stringify({
          model_name: 'm\u009b31m',
          results: { 'task\n\u001b[2J': { 'acc\u202e,none': 0.5 } },
        }),
      );
      const init = await run(['init', shape, '--out', odd]);
      expect(init.code).toBe(0);
      expect(init.stdout).toContain('a\\u009b31mb\\u007f\\u001b[2J: ');
      expect(init.stdout).not.toMatch(raw);
      const average = await run(['average', odd, odd, '--out', join(folder, 'c\u0085d')]);
      expect(average.stdout).toMatch(/c\\u0085d: the mean of .*\\u009b31mb/);
      expect(average.stdout).not.toMatch(raw);
      for (const call of [
        ['info', odd],
        ['info', odd, '--check'],
        ['info', odd, '--json'],
      ]) {
        const { code, stdout } = await run(call);
        expect(code).toBe(0);
        expect(stdout).toContain('\\u009b31mb\\u007f');
        expect(stdout).not.toMatch(raw);
        if (call.includes('--json')) expect(JSON.parse(stdout)).toMatchObject({ model: odd });
      }
      const table = await run(['eval', 'compare', results]);
      expect(table.stdout).toContain('task\\u000a\\u001b[2J');
      expect(table.stdout).not.toMatch(raw);
      const waiting = await run(['run', odd, '--max-tokens', '0']);
      expect(waiting.stderr).toContain('\\u009b31mb');
      expect(waiting.stderr).not.toMatch(raw);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('bad input', () => {
  let folder: string;
  const place = (name: string): string => join(folder, name);
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'openelm-main-'));
    for (const name of ['config.json', 'model.safetensors', 'tokenizer.model'])
      await copyFile(join(root, 'models/tales-6m', name), place(name));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  async function sentence(...argv: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(argv);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^openelm: [^\n]+\n$/);
    return stderr;
  }

  it('of any kind is one sentence', async () => {
    expect(await sentence('run', '')).toContain('the prompt is empty');
    expect(await sentence('run', 'x', '--model', place('nothing'))).toContain(`${place('nothing')}: no such directory or file`);
    expect(await sentence('run', 'x', '--model', 'OpenELM-270M')).toContain('names a shape, not weights');
    expect(await sentence('run', 'x', '--model', place('tokenizer.model'))).toContain('tokenizer.model');
    expect(await sentence('run', 'x '.repeat(2000))).toMatch(/ \d{4} tokens, the context takes 1024;/);
    expect(await sentence('score', 'x '.repeat(2000))).toMatch(/ \d{4} tokens, the context takes 1024;/);
    expect(await sentence('score', '--file', place('nothing'))).toContain('no such file');
    expect(await sentence('info', 'OpenELM-270m')).toContain('did you mean OpenELM-270M?');
    expect(await sentence('chat', 'tales-6m-instrct')).toContain('did you mean tales-6m-instruct?');
    expect(await sentence('convert', 'tales-6m', place('x.safetensors'))).toContain('name the folder');
    expect(await sentence('init', 'OpenELM-2', '--out', place('out'))).toContain('OpenELM-2');
    expect(await sentence('tokenize', '--decode', '1,4096')).toContain('there is no id 4096');
  });

  it('is found in a damaged checkpoint', async () => {
    const model = ['--model', folder];
    await truncate(place('model.safetensors'), 1_000_000);
    expect(await sentence('run', 'x', ...model)).toContain('model.safetensors');
    await rm(place('model.safetensors'));
    expect(await sentence('run', 'x', ...model)).toContain(folder);
    await writeFile(place('config.json'), '{"model_type": "llama"}');
    expect(await sentence('run', 'x', ...model)).toContain('config.json');
    await writeFile(place('config.json'), '{\n"model_type": openelm');
    expect(await sentence('info', folder)).toContain('config.json');
  });

  it('counts a tokenizer that is too large', async () => {
    const shape = { num_transformer_layers: 1, model_dim: 32, head_dim: 8, vocab_size: 64, ffn_dim_divisor: 8 };
    await writeFile(place('shape.json'), JSON.stringify(shape));
    expect((await run(['init', place('shape.json'), '--out', place('small')])).code).toBe(0);
    await copyFile(place('tokenizer.model'), join(place('small'), 'tokenizer.model'));
    expect(await sentence('run', 'x', '--model', place('small'))).toMatch(/4096 pieces.* only 64/);
  });
});

it('a defect is one line too, with a way to its place', async () => {
  const stdin = new Readable({
    read() {
      this.destroy(new Error('the pipe\nbroke'));
    },
  });
  expect(await run(['run'], { stdin })).toEqual({
    code: 1,
    stdout: '',
    stderr: 'openelm: the pipe broke (a defect of this program; OPENELM_DEBUG=1 shows where)\n',
  });
});

describe('the executable', () => {
  const start = (...argv: string[]) =>
    spawn(process.execPath, ['--import', 'tsx', join(root, 'src/app/cli.ts'), ...argv], { cwd: root });
  type Child = ReturnType<typeof start>;
  const ended = (child: Child) => new Promise<number | null>((resolve) => child.on('close', (code) => resolve(code)));
  const text = async (stream: Child['stdout']) => {
    let all = '';
    for await (const chunk of stream) all += chunk;
    return all;
  };

  it('reads a pipe and writes one', async () => {
    const child = start('run', '-n', '4');
    child.stdin.end('Once upon a time\n');
    const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended(child)]);
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    expect(stdout).toBe(`${golden[0].text.slice(0, stdout.length - 1)}\n`);
  });

  it('ends quietly when its reader does', async () => {
    const child = start('run', 'Once upon a time', '-n', '1000000', '--slide', '--ignore-eos');
    child.stdout.once('data', () => child.stdout.destroy());
    const [stderr, code] = await Promise.all([text(child.stderr), ended(child)]);
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
  });

  it('ends at Ctrl-C with its own exit code', async () => {
    const child = start('run', 'Once upon a time', '-n', '1000000', '--slide', '--ignore-eos');
    let seen = '';
    child.stdout.on('data', (chunk) => {
      if (seen.length > 20) return;
      seen += chunk;
      if (seen.length > 20) child.kill('SIGINT');
    });
    const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended(child)]);
    expect({ stderr, code }).toEqual({ stderr: '', code: 130 });
    expect(stdout.slice(0, 20)).toBe(golden[0].text.slice(0, 20));
    expect(stdout.endsWith('\n')).toBe(true);
  });
});
