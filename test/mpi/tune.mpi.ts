// Tuning on several ranks: the numbers of one process, for answers and for pairs, weights and adapters.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readLog } from '../../src/io/node/run-log.js';
import { type Launcher, launch, launchers, script } from './launch.js';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'openelm-tune-ranks-'));
});
afterAll(() => rm(root, { recursive: true }));

const alone: Launcher = { name: 'no MPI', command: () => ['env'] };
const [first] = launchers();

async function losses(launcher: Launcher, ranks: number, settings: string, ...args: string[]): Promise<number[]> {
  const out = join(root, `${settings}-${ranks}`);
  const given = [...script('../../src/app/cli.ts'), 'tune', `recipes/tune-tiny/${settings}.yaml`, '--out', out, '--threads', '1'];
  const { code, stderr } = await launch(launcher, ranks, [...given, ...args]).ended;
  expect(code, stderr).toBe(0);
  return (await readLog(out)).flatMap((line) => (line.type === 'step' || line.type === 'validation' ? [line.loss] : []));
}

describe.skipIf(!first)('openelm tune on several ranks', () => {
  it.each([
    ['sft', ['--steps', '4', '--data.limit', '30', '--batch_size', '4', '--samples.every', '100']],
    ['dpo', ['--model', 'tales-6m', '--steps', '3', '--batch_size', '2', '--adapter', '{r: 4, dropout: 0}']],
  ])('gives the numbers of one process: %s', async (settings, args) => {
    const short = [...args, '--validation.every', '2', '--data.held_out', '3'];
    const one = await losses(alone, 1, settings, ...short);
    expect(one.length).toBeGreaterThan(3);
    const two = await losses(first, 2, settings, ...short);
    expect(two).toHaveLength(one.length);
    // A pair's loss is of differences of sums over whole answers, a hundred times as large.
    for (const [i, loss] of two.entries()) expect(Math.abs(loss / one[i] - 1)).toBeLessThan(settings === 'sft' ? 1e-6 : 1e-5);
  });
});
