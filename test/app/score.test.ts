// `openelm score`: that held-out documents get the loss that
// PyTorch computes (test/golden/tales-6m: sums of cross-entropy over windows of 512, from f32 arithmetic).

import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fixture } from '../fixtures.js';
import golden from '../golden/tales-6m/golden_greedy.json' with { type: 'json' };
import { run } from './terminal.js';

interface ScoreJson {
  ids: number[];
  logprobs: (number | null)[];
  greedy: (boolean | null)[];
  perplexity: number | null;
}

interface Document {
  text: string;
  tokens: number;
  nats: number;
}

async function scoreJson(...args: string[]): Promise<ScoreJson> {
  const { code, stdout, stderr } = await run(['score', ...args, '--json']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout) as ScoreJson;
}

function natsOf({ logprobs }: ScoreJson): number {
  return -logprobs.reduce((sum: number, logprob) => sum + (logprob ?? 0), 0);
}

const documentsOf = (file: string): Document[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Document);

/** The cache keeps keys and values in f16. */
const tolerance = 1e-4;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'openelm-score-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function scoreDocument(document: Document, ...args: string[]): Promise<ScoreJson> {
  const file = join(folder, 'document.txt');
  await writeFile(file, document.text);
  return scoreJson('--file', file, '--window', '512', '--eos', ...args);
}

describe('openelm score', () => {
  it.each(documentsOf(fileURLToPath(new URL('../golden/tales-6m/heldout.jsonl', import.meta.url))))(
    'gives a held-out document of $tokens tokens its loss',
    async (document) => {
      const result = await scoreDocument(document);
      expect(result.ids).toHaveLength(document.tokens);
      expect(result.logprobs).toHaveLength(document.tokens);
      expect(Math.abs(natsOf(result) / document.nats - 1)).toBeLessThan(tolerance);
      expect(result.perplexity).toBeCloseTo(Math.exp(natsOf(result) / (document.tokens - 1)), 8);
    },
    600_000, // the reference backend takes its time
  );

  it('keeps keys and values in 8 bits when asked to', async () => {
    const short = documentsOf(fileURLToPath(new URL('../golden/tales-6m/heldout.jsonl', import.meta.url)))[0];
    const [f32, f16, q8] = [
      await scoreDocument(short, '--cache', 'f32'),
      await scoreDocument(short),
      await scoreDocument(short, '--cache-type', 'q8'),
    ].map(natsOf);
    expect(new Set([f32, f16, q8]).size).toBe(3);
    expect(Math.abs(q8 / f32 - 1)).toBeLessThan(1e-3);
    const wrong = await run(['score', 'a', '--cache', 'q4']);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain("argument 'q4' is invalid. Allowed choices are f32, f16, q8.");
  });

  const stories = fixture('models/stories-6m');
  it.runIf(stories.isThere)('gives the short held-out documents the loss that Apple’s code measured', async () => {
    const short = documentsOf(join(stories.path, 'heldout.jsonl')).filter(({ tokens }) => tokens < 200);
    expect(short.length).toBeGreaterThan(10);
    for (const document of short)
      expect(Math.abs(natsOf(await scoreDocument(document, '-m', stories.path)) / document.nats - 1)).toBeLessThan(tolerance);
  });

  it('gives stable JSON', async () => {
    const result = await scoreJson('Once upon a time');
    expect(Object.keys(result)).toEqual(['ids', 'logprobs', 'greedy', 'perplexity']);
    expect(result.ids).toEqual([1, 837, 628, 261, 483]);
    expect(result.greedy).toHaveLength(5);
    expect(result.logprobs[0]).toBeNull();
    for (const logprob of result.logprobs.slice(1)) expect(logprob).toBeLessThan(0);
    expect(result.perplexity).toBeCloseTo(Math.exp(natsOf(result) / 4), 10);
    expect(await scoreJson('--ids', '1,837,628,261,483')).toEqual(result);
    expect((await run(['score', '--json'], { stdin: 'Once upon a time\n' })).stdout).toBe(`${JSON.stringify(result)}\n`);
    expect(await scoreJson('--ids', '7')).toEqual({ ids: [7], logprobs: [null], greedy: [null], perplexity: null });
  });

  it('tells which token is the likeliest', async () => {
    const [{ prompt_ids, ids }] = golden;
    const given = [...prompt_ids, ...ids.slice(0, 4)];
    const { greedy } = await scoreJson('--ids', [...given, ids[4] === 9 ? 8 : 9].join());
    expect(greedy.slice(prompt_ids.length)).toEqual([true, true, true, true, false]);
  });

  it('fills the context to its last place', async () => {
    const ids = Array.from({ length: 33 }, (_, i) => i + 3).join(',');
    expect((await scoreJson('--ids', ids, '--context', '32')).logprobs).toHaveLength(33);
    const { code, stderr } = await run(['score', '--ids', `${ids},9`, '--context', '32']);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^openelm: the text has 34 tokens, the context takes 32; raise it, or score in windows with --stride\n$/,
    );
  });

  it('shows a table and the totals', async () => {
    const { stdout } = await run(['score', 'Once upon a time']);
    const result = await scoreJson('Once upon a time');
    const logprob = result.logprobs[1]!.toFixed(4).slice(0, -1).replace('.', '\\.');
    expect(stdout).toMatch(
      new RegExp(
        `^ +id +logprob +likeliest +piece\\n +1 +- +- +<s>\\n +837 +${logprob}\\d* +${result.greedy[1] ? 'yes' : 'no'} +▁Once\\n`,
      ),
    );
    expect(stdout).toMatch(/^tokens +5, of which 4 scored$/m);
    expect(Number(/^perplexity +(\S+)$/m.exec(stdout)![1])).toBeCloseTo(result.perplexity!, 2);
    const [, perByte, nats] = /^nats per byte +(\S+) \((\S+) nats, 16 bytes\)$/m.exec(stdout)!;
    expect(Number(nats)).toBeCloseTo(natsOf(result), 2);
    expect(Number(perByte)).toBeCloseTo(natsOf(result) / 16, 3);
  });

  it('refuses windows that make no sense', async () => {
    const wrong = async (...args: string[]) => (await run(['score', 'Once upon a time', ...args])).stderr;
    expect(await wrong('--window', '2000')).toBe(
      'openelm: a window of 2000 tokens does not fit the context of 1024; raise --context\n',
    );
    expect(await wrong('--window', '8', '--stride', '9')).toBe(
      'openelm: a stride of 9 tokens leaves out tokens: the window has only 8\n',
    );
  });
});
