// How runs on several ranks end: one is killed, one hangs, or all are asked to stop.

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listCheckpoints } from '../../src/io/node/checkpoints.js';
import { launchers } from './launch.js';
import { isAlive, Runs, ranksOf, shortly } from './runs.js';

const [first] = launchers();
let runs: Runs;
beforeAll(async () => {
  runs = await Runs.make();
});
afterAll(() => runs.remove());

const long = ['--steps', '5000', '--checkpoints.every', '5'];

describe.skipIf(!first)('openelm pretrain on several ranks', () => {
  it.each([0, 2])('ends all when rank %i is killed, and says so once', async (victim) => {
    const out = `killed-${victim}`;
    const run = runs.pretrain(first, 3, out, ...long, '--batch_size', '6', '--parallel.shards', '3');
    const pids = await ranksOf(run, 3);
    await runs.reached(out, 12);
    const killed = performance.now();
    process.kill(pids[victim], 'SIGKILL');
    const { code, stderr } = await run.ended;
    expect(performance.now() - killed).toBeLessThan(10_000);
    expect(code).not.toBe(0);
    const said = stderr.match(/^openelm: .*$/gm) ?? [];
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(
      new RegExp(`^openelm: rank ${victim} of 3 \\(.*\\), process ${pids[victim]}, is gone: it was killed`),
    );
    while (pids.some(isAlive)) {
      expect(performance.now() - killed).toBeLessThan(10_000);
      await shortly();
    }
  });

  it.each([0, 1])('ends all when rank %i hangs, and says so once', async (victim) => {
    const out = `stopped-${victim}`;
    const run = runs.pretrain(first, 2, out, ...long, '--parallel.timeout', '4');
    const pids = await ranksOf(run, 2);
    await runs.reached(out, 12);
    const stopped = performance.now();
    process.kill(pids[victim], 'SIGSTOP');
    const { code, stderr } = await run.ended;
    // As long as that, a quarter more to be seen, and what ending takes.
    expect(performance.now() - stopped).toBeLessThan(15_000);
    expect(code).not.toBe(0);
    const said = stderr.match(/^openelm: .*$/gm) ?? [];
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(
      new RegExp(`^openelm: rank ${victim} of 2 \\(.*\\), process ${pids[victim]}, has shown no life for 4 s`),
    );
    while (pids.some(isAlive)) {
      expect(performance.now() - stopped).toBeLessThan(15_000);
      await shortly();
    }
  });

  it.each(['SIGUSR2 to the launcher', 'SIGTERM to the ranks'])('keeps a checkpoint and ends well at %s', async (how) => {
    const out = how.slice(0, 7);
    const run = runs.pretrain(first, 2, out, ...long, '--checkpoints.every', '100000');
    const pids = await ranksOf(run, 2);
    await runs.reached(out, 12);
    if (how.startsWith('SIGUSR2')) process.kill(run.pid, 'SIGUSR2');
    else for (const pid of pids) process.kill(pid, 'SIGTERM'); // as srun does
    const { code, stderr } = await run.ended;
    expect(code, stderr).toBe(0);
    const checkpoints = await listCheckpoints(join(runs.root, out));
    expect(checkpoints).toHaveLength(1);
    expect(checkpoints[0].step).toBeGreaterThanOrEqual(12);
    expect(stderr.match(/^openelm: .*$/gm)).toEqual([
      'openelm: ending after this step, with a checkpoint',
      `openelm: interrupted after step ${checkpoints[0].step}; --resume goes on from ${checkpoints[0].path}`,
    ]);
  });
});
