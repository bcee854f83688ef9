// The examples run as they are and are short enough to be read at a glance.

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { load } from '../src/index.js';
import { tokenizerFromModel } from '../src/tokenizer.js';
import { temporaryFolder } from './temporary.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = temporaryFolder();

async function example(name: string, ...args: string[]): Promise<string> {
  const script = join('examples', `${name}.ts`);
  return (await promisify(execFile)(process.execPath, ['--import', 'tsx', script, ...args], { cwd: root })).stdout;
}

describe('examples', () => {
  it('are all tried here, and short', () => {
    // The folders are what .ci/bundlers.sh tries.
    const names = readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      /\.\w+$/.test(name),
    );
    const here = names.filter((name) => !name.startsWith('browser')).sort();
    expect(here).toEqual(['eval.ts', 'generate.ts', 'score.ts', 'tokenizer.ts', 'train.ts', 'tune.ts']);
    for (const name of names) {
      expect(readFileSync(join(root, 'examples', name), 'utf8').split('\n').length - 1, name).toBeLessThanOrEqual(40);
    }
  });

  it.concurrent('generate', async () => {
    const lines = (await example('generate')).trim().split('\n');
    expect(lines[0].length).toBeGreaterThan(20);
    expect(lines.at(-1)).toMatch(/\((stop|length), \d+ tokens\)$/);
  });

  it.concurrent('score', async () => {
    expect(await example('score')).toMatch(/^ +- <s>\n( +-\d+\.\d{3} \S+\n)+perplexity [1-9]\.\d{2}\n$/);
  });

  it.concurrent('tokenizer', async () => {
    const file = join(folder, 'learned.model');
    expect(await example('tokenizer', 'recipes/data/tales.txt', file)).toMatch(/^<s> ▁\S+.*\nOnce upon a time\n$/);
    expect(tokenizerFromModel(readFileSync(file)).vocabSize).toBe(1000);
  });

  it.concurrent('eval', async () => {
    expect(await example('eval')).toMatch(/\|opposites\|.*\|acc +\|↑ +\|[01]\.\d{4}\|±/);
  });

  it.concurrent('train', async () => {
    const out = join(folder, 'model');
    const losses = [...(await example('train', out)).matchAll(/^step \d+: loss (\S+)$/gm)].map((match) => Number(match[1]));
    expect(losses).toHaveLength(20);
    expect(losses[19]).toBeLessThan(losses[0] - 0.5);
    await using model = await load(out);
    expect((await model.complete('Once', { maxTokens: 4 })).ids).toHaveLength(4);
  });

  it.concurrent('tune', async () => {
    const out = join(folder, 'adapter');
    const losses = [...(await example('tune', out)).matchAll(/^step \d+: loss (\S+)$/gm)].map((match) => Number(match[1]));
    expect(losses).toHaveLength(6);
    expect(losses[5]).toBeLessThan(losses[0] - 0.2);
    await using model = await load(undefined, { adapter: out });
    expect((await model.complete('Once', { maxTokens: 4 })).ids).toHaveLength(4);
  });
});
