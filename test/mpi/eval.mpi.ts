// Evaluation on several ranks: the results of one process, to the last digit.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { samples } from '../eval/samples.js';
import { type Launcher, launch, launchers, script } from './launch.js';

let data: string;
beforeAll(() => {
  data = mkdtempSync(join(tmpdir(), 'openelm-eval-ranks-'));
  for (const [key, dataset] of Object.entries(samples)) {
    for (const [split, rows] of Object.entries(dataset)) {
      const file = join(data, ...key.split('|'), `${split}.jsonl`);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    }
  }
});
afterAll(() => rmSync(data, { recursive: true }));

const alone: Launcher = { name: 'no MPI', command: () => ['env'] };

describe.skipIf(launchers().length === 0)('openelm eval on several ranks', () => {
  it('gives the results of one process', async () => {
    const evaluate = async (launcher: Launcher, ranks: number): Promise<unknown> => {
      const args = ['eval', '--tasks', 'hellaswag,truthfulqa_mc2,wikitext', '--num-fewshot', '1', '--limit', '5'];
      const given = [...script('../../src/app/cli.ts'), ...args, '--data', data, '--no-cache', '--json'];
      const { code, stdout, stderr } = await launch(launcher, ranks, given).ended;
      expect(code, stderr).toBe(0);
      const { date, total_evaluation_time_seconds, ...rest } = JSON.parse(stdout);
      return rest;
    };
    const one = await evaluate(alone, 1);
    for (const launcher of launchers()) expect(await evaluate(launcher, 3)).toEqual(one);
  });
});
