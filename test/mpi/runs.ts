// Runs of `openelm pretrain` on several ranks, for the tests here: one place with a corpus and settings, what a run left there, and the
// processes of one under way.

import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { checkpointName } from '../../src/io/node/checkpoints.js';
import { readLog } from '../../src/io/node/run-log.js';
import { trainingPlace } from '../app/training.js';
import { type Launched, type Launcher, launch, script } from './launch.js';

export const cli = script('../../src/app/cli.ts');
export const alone: Launcher = { name: 'no MPI', command: () => ['env'] };

/** However much else the machine does. */
const patienceMs = 120_000;

export class Runs {
  private constructor(
    readonly root: string,
    /** The settings. */
    readonly file: string,
  ) {}

  static async make(): Promise<Runs> {
    const root = await mkdtemp(join(tmpdir(), 'openelm-ranks-'));
    const changes = { backend: 'native', batch_size: 4, accumulation: 2, steps: 20, checkpoints: { every: 5, keep: 9 } };
    const parallel = { shards: 4, bucket_bytes: 4096 };
    const { file } = await trainingPlace(root, { ...changes, parallel, validation: { every: 10, batches: 3 } });
    return new Runs(root, file);
  }

  remove(): Promise<void> {
    return rm(this.root, { recursive: true });
  }

  pretrain(launcher: Launcher, ranks: number, out: string, ...args: string[]): Launched {
    return launch(launcher, ranks, [...cli, 'pretrain', this.file, '--out', join(this.root, out), ...args]);
  }

  async losses(out: string): Promise<number[]> {
    return (await readLog(join(this.root, out))).flatMap((line) =>
      line.type === 'step' || line.type === 'validation' ? [line.loss] : [],
    );
  }

  weights(out: string, step: number): Promise<Buffer> {
    return readFile(join(this.root, out, checkpointName(step), 'model.safetensors'));
  }

  /** Waits until a run has done a step. */
  async reached(out: string, step: number): Promise<void> {
    for (const end = Date.now() + patienceMs; Date.now() < end; ) {
      if ((await readLog(join(this.root, out))).some((line) => line.type === 'step' && line.step >= step)) return;
      await shortly();
    }
    throw new Error(`${out}: step ${step} was not reached`);
  }
}

/** What a run wrote that ended well and said nothing on stderr. */
export async function works(launched: Launched): Promise<string> {
  const { code, stdout, stderr } = await launched.ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

export function shortly(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** The processes of a run by rank, as their environment says. */
export async function ranksOf({ pid }: Launched, count: number): Promise<number[]> {
  for (const end = Date.now() + patienceMs; Date.now() < end; ) {
    const pids = descendants(pid).flatMap((child) => {
      try {
        const env = readFileSync(`/proc/${child}/environ`, 'utf8').split('\0');
        if (!/\bnode$/.test(readFileSync(`/proc/${child}/cmdline`, 'utf8').split('\0')[0])) return [];
        const rank = env.find((line) => /^(OMPI_COMM_WORLD_RANK|PMI_RANK)=/.test(line))?.split('=')[1];
        return rank === undefined ? [] : [[Number(rank), child]];
      } catch {
        return [];
      }
    });
    if (pids.length === count) return pids.sort((a, b) => a[0] - b[0]).map(([, child]) => child);
    await shortly();
  }
  throw new Error('the ranks did not start');
}

function descendants(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
    return children.flatMap((child) => [child, ...descendants(child)]);
  } catch {
    return [];
  }
}
