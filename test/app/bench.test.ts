// `openelm bench` on a small model: what it says in each form.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../temporary.js';
import { run } from './terminal.js';

const folder = temporaryFolder();
const model = fileURLToPath(new URL('../golden/models/tiny-elm', import.meta.url));

describe('bench', () => {
  it('tells speeds and memory of several precisions, as JSON and as a picture', async () => {
    const picture = join(folder, 'speed.svg');
    const { code, stdout } = await run([
      'bench',
      model,
      '--precisions',
      'f32,q8',
      '--rounds',
      '1',
      '--json',
      '--picture',
      picture,
    ]);
    expect(code).toBe(0);
    const { results, rounds } = JSON.parse(stdout);
    expect(rounds).toBe(1);
    expect(results.map(({ dtype }: { dtype: string }) => dtype)).toEqual(['f32', 'q8']);
    for (const { paper, weight_bytes, load_ms } of results) {
      expect(paper.prompt_tokens).toBe(39);
      for (const value of [
        paper.tokens_per_second,
        paper.prompt_tokens_per_second,
        paper.time_to_first_token_ms,
        weight_bytes,
        load_ms,
      ])
        expect(value).toBeGreaterThan(0);
      const seconds = 39 / paper.prompt_tokens_per_second + (paper.generated_tokens - 1) / paper.tokens_per_second;
      expect((39 + paper.generated_tokens) / seconds / paper.total_tokens_per_second).toBeCloseTo(1, 1);
    }
    expect(readFileSync(picture, 'utf8')).toContain('tokens/s');
  });

  it('writes a table, and one in Markdown', async () => {
    const plain = await run(['bench', '-m', model, '--rounds', '1', '--context', '64']);
    expect(plain.stdout).toMatch(
      /^\S+ on .+\n\ndtype +weights +memory +load +prompt 39 +generation 25 .*\n.* - {2,}-\n\nspeeds in tokens\/s\n$/,
    );
    const { stdout } = await run(['bench', '-m', model, '--rounds', '1', '--context', '64', '--markdown']);
    expect(stdout).toMatch(/\| dtype \| weights \|.*\n\| --- \| ---: \|/);
  });

  it.each([
    [['--precisions', 'q8,int4'], 2, /int4 is none of/],
    [['--picture', 'x.gif'], 2, /only SVG and PNG/],
    [['--context', '40'], 1, /too short to measure/],
  ])('refuses %j', async (argv, code, message) => {
    const outcome = await run(['bench', model, ...argv]);
    expect(outcome.code).toBe(code);
    expect(outcome.stderr).toMatch(message);
  });
});
