// Training on several ranks: the numbers of one process, the same bits each time, checkpoints that any number of ranks goes on from.
// How runs end is ends.mpi.ts, what they refuse bad.mpi.ts.

import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkpointName } from '../../src/io/node/checkpoints.js';
import { readLog } from '../../src/io/node/run-log.js';
import { type Launched, launchers } from './launch.js';
import { alone, Runs, works } from './runs.js';

const [first] = launchers();
let runs: Runs;
let root: string;
beforeAll(async () => {
  runs = await Runs.make();
  root = runs.root;
});
afterAll(() => runs.remove());
const pretrain = (...of: Parameters<Runs['pretrain']>): Launched => runs.pretrain(...of);
const losses = (out: string): Promise<number[]> => runs.losses(out);
const weights = (out: string, step: number): Promise<Buffer> => runs.weights(out, step);

describe.skipIf(!first)('openelm pretrain on several ranks', () => {
  beforeAll(() => works(pretrain(alone, 1, 'one')));

  for (const launcher of launchers()) {
    it(`gives the numbers of one process, and the same bits each time, under ${launcher.name}`, async () => {
      const name = launcher.name.replace(' ', '');
      const stdout = await works(pretrain(launcher, 2, `${name}-a`));
      expect(stdout.match(/^done: /gm)).toHaveLength(1);
      expect(stdout).toMatch(/on each of 2 ranks/);
      expect(stdout).toMatch(/tok\/s {2}\d+ a rank {2}comm \d+\.\d%/);
      const [one, two] = await Promise.all([losses('one'), losses(`${name}-a`)]);
      expect(two).toHaveLength(22);
      for (const [i, loss] of two.entries()) expect(Math.abs(loss / one[i] - 1)).toBeLessThan(1e-6);
      await works(pretrain(launcher, 2, `${name}-b`));
      expect(await losses(`${name}-b`)).toEqual(two);
      expect((await weights(`${name}-b`, 20)).equals(await weights(`${name}-a`, 20))).toBe(true);
    });
  }

  it('goes on with any number of ranks from what any number wrote', async () => {
    await works(pretrain(first, 4, 'four'));
    for (const [ranks, launcher] of [
      [1, alone],
      [2, first],
      [4, first],
    ] as const) {
      await cp(join(root, 'four'), join(root, `four-${ranks}`), { recursive: true });
      for (const step of [15, 20]) await rm(join(root, `four-${ranks}`, checkpointName(step)), { recursive: true });
      await works(pretrain(launcher, ranks, `four-${ranks}`, '--resume'));
    }
    expect(await losses('four-4')).toEqual(await losses('four'));
    expect((await weights('four-4', 20)).equals(await weights('four', 20))).toBe(true);
    const [uninterrupted, ...resumed] = await Promise.all(['four-4', 'four-1', 'four-2'].map(losses));
    for (const other of resumed) {
      for (const [i, loss] of other.entries()) expect(Math.abs(loss / uninterrupted[i] - 1)).toBeLessThan(1e-6);
    }
  });

  it('shares out the moments, with the same numbers, and goes on from them alone', async () => {
    const zero = ['--parallel.zero', '1'];
    await works(pretrain(first, 3, 'zero', ...zero, '--batch_size', '12', '--parallel.shards', '1'));
    await works(pretrain(alone, 1, 'plain', '--batch_size', '12', '--parallel.shards', '1'));
    const plain = await losses('plain');
    for (const [i, loss] of (await losses('zero')).entries()) expect(Math.abs(loss / plain[i] - 1)).toBeLessThan(1e-6);
    for (const step of [15, 20]) await rm(join(root, 'zero', checkpointName(step)), { recursive: true });
    await cp(join(root, 'zero'), join(root, 'zero-one'), { recursive: true });
    for (const [out, launcher, ranks] of [
      ['zero', first, 3],
      ['zero-one', alone, 1],
    ] as const) {
      const given = ['--batch_size', '12', '--parallel.shards', '1', '--resume', ...(ranks > 1 ? zero : [])];
      await works(pretrain(launcher, ranks, out, ...given));
      for (const [i, loss] of (await losses(out)).entries()) expect(Math.abs(loss / plain[i] - 1)).toBeLessThan(1e-6);
    }
  });

  it.each([0, 1])('sends half the bytes in bf16, to losses near by, and goes on to the same bits: zero %i', async (zero) => {
    const out = `bf16-${zero}`;
    const given = ['--parallel.zero', `${zero}`, '--parallel.gradients', 'bf16'];
    const sent = async (run: string): Promise<number> =>
      (await readLog(join(root, run))).reduce(
        (most, line) => (line.type === 'step' ? Math.max(most, line.sentBytes ?? 0) : most),
        0,
      );
    await works(pretrain(first, 2, `f32-${zero}`, '--parallel.zero', `${zero}`));
    await works(pretrain(first, 2, out, ...given));
    // With ZeRO parameters travel too, as they are.
    expect((await sent(out)) / (await sent(`f32-${zero}`))).toBeCloseTo(zero ? 0.75 : 0.5, 2);
    const [exact, rounded] = await Promise.all([losses('one'), losses(out)]);
    for (const [i, loss] of rounded.entries()) expect(Math.abs(loss / exact[i] - 1)).toBeLessThan(5e-4);
    expect(rounded).not.toEqual(exact);
    const last = await weights(out, 20);
    await cp(join(root, out), join(root, `${out}-on-one`), { recursive: true });
    for (const run of [out, `${out}-on-one`]) {
      for (const step of [15, 20]) await rm(join(root, run, checkpointName(step)), { recursive: true });
    }
    await works(pretrain(first, 2, out, ...given, '--resume'));
    expect(await losses(out)).toEqual(rounded);
    expect((await weights(out, 20)).equals(last)).toBe(true);
    await works(pretrain(alone, 1, `${out}-on-one`, '--resume'));
    for (const [i, loss] of (await losses(`${out}-on-one`)).entries()) expect(Math.abs(loss / exact[i] - 1)).toBeLessThan(5e-4);
  });

  it('steps apart and exchanges now and then, to the same bits when it goes on in between', async () => {
    const sync = ['--sync', '{every: 5}', '--batch_size', '4', '--parallel.shards', '2', '--checkpoints.every', '7'];
    await works(pretrain(first, 2, 'apart', ...sync));
    const whole = await losses('apart');
    expect(whole.at(-1)!).toBeLessThan(whole[0] - 0.5);
    const last = await weights('apart', 20);
    for (const step of [14, 20]) await rm(join(root, 'apart', checkpointName(step)), { recursive: true });
    await works(pretrain(first, 2, 'apart', ...sync, '--resume'));
    expect(await losses('apart')).toEqual(whole);
    expect((await weights('apart', 20)).equals(last)).toBe(true);
  });
});
