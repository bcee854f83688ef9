// `openelm run` on the embedded model: the text it must write, its JSON, where the prompt may come from, and how it ends.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import golden from '../golden/tales-6m/golden_greedy.json' with { type: 'json' };
import { temporaryFolder } from '../temporary.js';
import { type Given, run } from './terminal.js';

interface RunJson {
  complete?: boolean;
  prompt_ids: number[];
  ids: number[];
  text: string | null;
  finish_reason: string;
  timings: Record<string, number | null>;
}

async function runJson(args: readonly string[], given?: Given): Promise<RunJson> {
  const { code, stdout, stderr } = await run(['run', ...args, '--json'], given);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\{.*\}\n$/);
  return JSON.parse(stdout) as RunJson;
}

const once = golden[0];

describe('openelm run', () => {
  it.each(golden)('continues $prompt as it must', async ({ prompt, prompt_ids, ids, text }) => {
    const result = await runJson([prompt, '--max-tokens', '96']);
    const ended = ids[ids.length - 1] === 2;
    expect(result.prompt_ids).toEqual(prompt_ids);
    expect(result.ids).toEqual(ended ? ids.slice(0, -1) : ids);
    expect(result.text).toBe(text);
    expect(result.finish_reason).toBe(ended ? 'stop' : 'length');
  });

  it('streams the text and ends the line', async () => {
    const pieces: string[] = [];
    const args = ['run', once.prompt, '--max-tokens', '20'];
    const { code, stdout, stderr } = await run(args, { onOutput: (text) => pieces.push(text) });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(pieces.length).toBeGreaterThan(15);
    expect(stdout).toBe(`${once.text.slice(0, stdout.length - 1)}\n`);
    expect(stdout.length).toBeGreaterThan(40);
    expect((await run([...args, '--echo'])).stdout).toBe(once.prompt + stdout);
    expect((await run([...args, '--no-echo'])).stdout).toBe(stdout);
  });

  it('keeps the space between an echoed prompt and its continuation', async () => {
    const args = ['run', golden[2].prompt, '--max-tokens', '3'];
    const { stdout } = await run(args);
    expect(golden[2].text.startsWith(stdout.trimEnd())).toBe(true);
    expect((await run([...args, '--echo'])).stdout).toBe(`${golden[2].prompt} ${stdout}`);
  });

  it('gives timings that hang together', async () => {
    const { timings } = await runJson([once.prompt, '-n', '8']);
    expect(Object.keys(timings)).toEqual([
      'prompt_tokens',
      'prompt_ms',
      'prompt_tokens_per_second',
      'generated_tokens',
      'generate_ms',
      'tokens_per_second',
      'time_to_first_token_ms',
      'load_ms',
    ]);
    expect(timings).toMatchObject({ prompt_tokens: 5, generated_tokens: 8 });
    for (const value of Object.values(timings)) expect(value).toBeGreaterThan(0);
    expect((timings.tokens_per_second! * timings.generate_ms!) / 1000).toBeCloseTo(7, 1);
    const none = await runJson([once.prompt, '-n', '0']);
    expect(none).toMatchObject({ ids: [], text: '', finish_reason: 'length' });
    expect(none.timings).toMatchObject({ generated_tokens: 0, tokens_per_second: null, time_to_first_token_ms: null });
  });

  it('reads the prompt from stdin', async () => {
    const direct = await runJson([once.prompt, '-n', '4']);
    for (const [stdin, ...args] of [[`${once.prompt}\n`], [once.prompt, '-'], [`${once.prompt}\r\n`, '-']]) {
      const piped = await runJson([...args, '-n', '4'], { stdin });
      expect([piped.prompt_ids, piped.ids]).toEqual([direct.prompt_ids, direct.ids]);
    }
    expect(await run(['run'], { stdin: Uint8Array.of(0x61, 0xff) })).toMatchObject({
      code: 1,
      stdout: '',
      stderr: 'openelm: stdin: not text in UTF-8\n',
    });
  });

  it('takes ids as the prompt', async () => {
    const { prompt_ids, ids } = await runJson(['--ids', once.prompt_ids.join(','), '-n', '4']);
    expect([prompt_ids, ids]).toEqual([once.prompt_ids, once.ids.slice(0, 4)]);
  });

  it('understands escapes in a stop string', async () => {
    const stop = once.text.slice(30, 36);
    const escaped = [...stop].map((character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
    const result = await runJson([once.prompt, '--stop', escaped]);
    expect(result).toMatchObject({ text: once.text.slice(0, once.text.indexOf(stop)), finish_reason: 'stop' });
  });

  it('ends before a stop string, also one across tokens', async () => {
    const [later, across] = [once.text.slice(60, 64), once.text.slice(17, 28)];
    const result = await runJson([once.prompt, '--stop', later, '--stop', across]);
    expect(result).toMatchObject({ text: once.text.slice(0, once.text.indexOf(across)), finish_reason: 'stop' });
  });

  it('samples the same text from the same seed', async () => {
    const sample = async (...args: string[]) => (await runJson([once.prompt, '-n', '16', '-t', '1.2', ...args])).ids;
    const first = await sample('--seed', '7', '--top-k', '50', '--top-p', '0.95');
    expect(await sample('--seed', '7', '--top-k', '50', '--top-p', '0.95')).toEqual(first);
    expect(await sample('--seed', '7', '--top-k', '50', '--top-p', '0.95', '--threads', '1')).toEqual(first);
    expect(await sample('--seed', '8', '--top-k', '50', '--top-p', '0.95')).not.toEqual(first);
    expect(await sample('--top-k', '1')).toEqual(once.ids.slice(0, 16));
  });

  it('stops when the context is full, or slides on', async () => {
    const full = await runJson([once.prompt, '--context', '16', '-n', '40', '--ignore-eos']);
    expect(full).toMatchObject({ finish_reason: 'length', timings: { generated_tokens: 12 } });
    const slid = await runJson([once.prompt, '--context', '16', '-n', '40', '--ignore-eos', '--slide']);
    expect(slid.timings.generated_tokens).toBe(40);
    expect(slid.ids.slice(0, 12)).toEqual(full.ids);
  });

  it('tells of speed and memory on stderr alone', async () => {
    const { stdout, stderr } = await run(['run', once.prompt, '-n', '4', '-t', '1', '--top-k', '1', '--seed', '5', '--verbose']);
    expect(stdout).toBe(`${once.text.slice(0, stdout.length - 1)}\n`);
    expect(stderr).toMatch(/^model +tales-6m, f16, [\d.]+ MB, loaded in \d+ ms$/m);
    expect(stderr).toMatch(/^backend +(native|reference)/m);
    expect(stderr).toMatch(/^prompt +5 tokens, [\d.]+ tokens\/s$/m);
    expect(stderr).toMatch(/^generated +4 tokens, [\d.]+ tokens\/s, ended by length$/m);
    expect(stderr).toMatch(/^first token +[\d.]+ ms/m);
    expect(stderr).toMatch(/^peak memory +[\d.]+ [MG]B$/m);
    expect(stderr).toMatch(/^seed +5$/m);
  });

  it('says when options do nothing', async () => {
    const { code, stderr } = await run(['run', once.prompt, '-n', '1', '--top-p', '0.9', '--min-p', '0.1']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: 'openelm: note: --top-p, --min-p without effect at temperature 0\n' });
  });

  it('keeps the text so far when Ctrl-C ends it', async () => {
    let seen = '';
    const stopped = await run(['run', once.prompt, '-n', '1000', '--ignore-eos'], {
      onOutput(text, interrupt) {
        seen += text;
        if (seen.length > 20) interrupt();
      },
    });
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toBe('');
    expect(stopped.stdout.length).toBeLessThan(50);
    expect(stopped.stdout).toBe(`${once.text.slice(0, stopped.stdout.length - 1)}\n`);
  });

  it('gives its JSON when Ctrl-C ends it', async () => {
    const args = ['run', once.prompt, '-n', '1000000', '--ignore-eos', '--slide', '--json'];
    const { code, stdout, stderr } = await run(args, { onListen: (interrupt) => setTimeout(interrupt, 300) });
    expect({ code, stderr }).toEqual({ code: 130, stderr: '' });
    const { finish_reason, ids, text } = JSON.parse(stdout) as RunJson;
    expect(finish_reason).toBe('abort');
    expect(ids.slice(0, 4)).toEqual(once.ids.slice(0, Math.min(4, ids.length)));
    expect(once.text.startsWith(text!.slice(0, 20))).toBe(true);
  });
});

describe('a text of a form', () => {
  const folder = temporaryFolder();
  const place = (name: string): string => join(folder, name);
  beforeAll(async () => {
    await writeFile(
      place('schema.json'),
      '{"type": "object", "properties": {"age": {"type": "integer", "minimum": 3}}, "required": ["age"], "additionalProperties": false}',
    );
    await writeFile(place('list.gbnf'), 'root ::= item item item\nitem ::= "- " [a-z]+ "\\n"\n');
    await writeFile(place('broken.gbnf'), 'root ::= "a\n');
    await writeFile(place('broken.json'), '{');
    await writeFile(place('odd.json'), '{"uniqueItems": true}');
  });

  it('is written by schema, grammar and expression', async () => {
    const json = await runJson(['She is ', '--json-schema', place('schema.json')]);
    expect(Object.keys(JSON.parse(json.text!))).toEqual(['age']);
    expect(json).toMatchObject({ complete: true, finish_reason: 'stop' });
    const list = await run(['run', 'A list:\n', '--grammar', place('list.gbnf'), '-t', '1', '--seed', '5']);
    expect(list).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^(- [a-z]+\n){3}\n$/) });
    expect((await run(['chat', '--regex', '(yes|no)\\.'], { stdin: 'Was it a wolf?\n' })).stdout).toMatch(/^(yes|no)\.\n$/);
    const cut = await run(['run', 'She is ', '--json-schema', place('schema.json'), '-n', '2']);
    expect(cut).toMatchObject({
      code: 0,
      stderr: 'openelm: note: the text is not complete, it was cut at 2 tokens: --max-tokens allows more\n',
    });
  });

  it.each([
    [['--regex', 'a', '--grammar', 'list.gbnf'], 2, /give one of --grammar and --regex/],
    [['--regex', 'a)'], 1, /the regular expression "a\)": at character 2, there is a \) without its \($/],
    [['--grammar', 'broken.gbnf'], 1, /broken\.gbnf, line 1: a text in quotes does not end$/],
    [['--grammar', 'nothing'], 1, /nothing: .*no such file/],
    [['--json-schema', 'broken.json'], 1, /broken.json/],
    [['--json-schema', 'odd.json'], 1, /odd\.json: the JSON schema at #: uniqueItems is not supported/],
  ])('refuses %j', async (args, code, said) => {
    const paths = args.map((word) => (/json$|gbnf$|nothing/.test(word) && !word.startsWith('--') ? place(word) : word));
    const result = await run(['run', 'x', ...paths]);
    expect(result).toMatchObject({ code, stdout: '' });
    expect(result.stderr.trim()).toMatch(said);
  });
});

describe('a model without a tokenizer', () => {
  const folder = temporaryFolder();
  beforeAll(async () => {
    const shape = { num_transformer_layers: 2, model_dim: 32, head_dim: 8, vocab_size: 100, ffn_dim_divisor: 8 };
    await writeFile(join(folder, 'shape.json'), JSON.stringify({ ...shape, max_context_length: 16 }));
    const made = await run(['init', join(folder, 'shape.json'), '--out', join(folder, 'model'), '--dtype', 'f32']);
    expect(made).toMatchObject({ code: 0 });
  });
  const model = (): string[] => ['--model', join(folder, 'model')];

  it('runs on ids alone', async () => {
    const result = await runJson([...model(), '--ids', '1, 2 3', '-n', '3', '--ignore-eos']);
    expect(result.text).toBeNull();
    expect(result.ids).toHaveLength(3);
    const { stdout } = await run(['run', ...model(), '--ids', '1,2,3', '-n', '3', '--ignore-eos', '--echo']);
    expect(stdout.trim().split(' ').map(Number)).toEqual([1, 2, 3, ...result.ids]);
  });

  it('says what is missing for text, and what does not fit', async () => {
    const wrong = async (...args: string[]) => {
      const { code, stdout, stderr } = await run([...args, ...model()]);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      return stderr;
    };
    expect(await wrong('run', 'hello')).toMatch(/^openelm: this model came without a tokenizer: .*\n$/);
    expect(await wrong('tokenize', 'hello')).toMatch(/^openelm: .*neither tokenizer\.model nor tokenizer\.json is there\n$/);
    expect(await wrong('run', '--ids', '1,100')).toMatch(/^openelm: token 1 has id 100, but .* 100 ids\n$/);
    expect(await wrong('run', '--ids', '1,'.repeat(20).concat('1'))).toMatch(
      /^openelm: .* 21 tokens, the context takes 16;.*\n$/,
    );
    expect(await wrong('run', '--ids', '1', '--context', '64')).toMatch(/^openelm: a context of 64 tokens .* 2 to 32\n$/);
  });
});
