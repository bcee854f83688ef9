// How runs on several ranks end: one is killed, one hangs, or all are asked to stop.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listCheckpoints } from '../../src/io/node/checkpoints.js';
import { launch, launchers } from './launch.js';
import { cli, isAlive, Runs, ranksOf, shortly } from './runs.js';

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

  it('says so of a rank that is killed before all have met', async () => {
    const program = `[ $OMPI_COMM_WORLD_RANK$PMI_RANK = 0 ] || exec sleep 60; exec "$0" "$@"`;
    const out = join(runs.root, 'early');
    const words = ['sh', '-c', program, process.execPath, ...cli, 'pretrain', runs.file, '--out', out];
    const run = launch(first, 2, words, {}, true);
    const [waiting] = await ranksOf(run, 1);
    const maps = (): string => readFileSync(`/proc/${waiting}/maps`, 'utf8');
    while (!/libmpi(ch)?\.so/.test(maps())) await shortly(); // it is about to wait inside of MPI_Init
    const sleeper = readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, 'utf8').split(' ').map(Number);
    const victim = sleeper.find((pid) => pid > 0 && readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('sleep'))!;
    process.kill(victim, 'SIGKILL');
    const { code, stderr } = await run.ended;
    expect(code).not.toBe(0);
    expect(stderr.match(/^openelm: .*$/gm)).toEqual([
      expect.stringMatching(new RegExp(`^openelm: rank 1 of 2 \\(.*\\), process ${victim}, is gone: it was killed`)),
    ]);
  });

  it('says so of a rank that is killed while the others are busy', async () => {
    const block = 'process.on("SIGHUP",()=>Atomics.wait(new Int32Array(new SharedArrayBuffer(4)),0,0,20000))';
    const out = join(runs.root, 'busy');
    const run = launch(first, 2, [
      '--import',
      `data:text/javascript,${block}`,
      ...cli,
      'pretrain',
      runs.file,
      '--out',
      out,
      ...long,
    ]);
    const pids = await ranksOf(run, 2);
    await runs.reached('busy', 12);
    process.kill(pids[0], 'SIGHUP');
    for (let wait = 0; wait < 20; wait++) await shortly();
    process.kill(pids[1], 'SIGKILL');
    const { stderr } = await run.ended;
    expect(stderr.match(/^openelm: .*$/gm)).toEqual([
      expect.stringMatching(new RegExp(`^openelm: rank 1 of 2 \\(.*\\), process ${pids[1]}, is gone: it was killed`)),
    ]);
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
