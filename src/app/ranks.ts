// The processes that mpirun or srun started together, as a verb sees them: who is where, what they do in step with one another, and one
// sentence for what fails on any. How a verb is run on them, and how they end, is ranks-run.ts; how they reach one another io/node/mpi.ts.

import { hostname } from 'node:os';
import { InputError, messageOf } from '../errors.js';
import { isOutOfMemory } from '../tensor/execution.js';
import { alone, type Collective } from '../train/collective.js';
import { Hearts } from './hearts.js';
import { UsageError } from './terminal.js';

export interface Peer {
  readonly host: string;
  readonly pid: number;
}

/** The processes that work on this, and what they do in step with one another. */
export class Ranks {
  /** Where they show one another that they go on. */
  hearts?: Hearts;

  constructor(
    readonly collective: Collective = alone,
    private readonly peers: readonly Peer[] = [{ host: hostname(), pid: process.pid }],
  ) {}

  get rank(): number {
    return this.collective.rank;
  }

  get size(): number {
    return this.collective.size;
  }

  /** Which of how many this one is. */
  get place(): Pick<Collective, 'rank' | 'size'> {
    return { rank: this.rank, size: this.size };
  }

  /** Processes on this machine. */
  get here(): number {
    return this.peers.filter(({ host }) => host === this.peers[this.rank].host).length;
  }

  /** ` for each of 4 processes here`, of what every process of a machine takes; nothing for one. */
  each(): string {
    return this.here > 1 ? ` for each of ${this.here} processes here` : '';
  }

  /** `rank 1 of 4 (node-b)`. */
  name(rank: number): string {
    return `rank ${rank} of ${this.size} (${this.peers[rank].host})`;
  }

  /** Does something on all ranks. When it fails on any, it throws on all: on rank 0 what the first said, with its name unless all said so. */
  async agree<T>(task: () => Promise<T>): Promise<T> {
    if (this.size === 1) return task();
    let result: { value: T } | { error: unknown };
    try {
      result = { value: await task() };
    } catch (error) {
      result = { error };
    }
    const own = 'error' in result ? failureOf(result.error) : undefined;
    const all = (await this.collective.gatherTexts(own ? JSON.stringify(own) : '')).map(
      (text) => (text === '' ? undefined : JSON.parse(text)) as typeof own,
    );
    const first = all.findIndex((failure) => failure !== undefined);
    if (first < 0 && 'value' in result) return result.value;
    const { message, kind } = all[first]!;
    const alike = all.every((failure) => failure?.message === message);
    const text = alike ? message : `${this.name(first)}: ${message}`;
    throw new AllFailed(
      kind === 'InputError' ? new InputError(text) : kind === 'UsageError' ? new UsageError(text) : new Error(text),
    );
  }

  /** Runs `task` on all ranks while rank 0 holds something for them, a lock. */
  async within<T>(hold: (run: () => Promise<T>) => Promise<T>, task: () => Promise<T>): Promise<T> {
    if (this.size === 1) return hold(task);
    const ready = (error?: unknown): Promise<void> => this.agree(async () => void (error && Promise.reject(error)));
    if (this.rank > 0) {
      await ready();
      return task();
    }
    let held = false;
    try {
      return await hold(async () => {
        held = true;
        await ready();
        return task();
      });
    } catch (error) {
      if (!held) await this.agree(() => Promise.reject(error));
      throw error;
    }
  }

  /** Something that rank 0 does for all. */
  first(task: () => Promise<void>): Promise<void> {
    return this.agree(async () => {
      if (this.rank === 0) await task();
    });
  }

  /** Throws on all ranks unless `text` is the same on all; `differs` says in what another rank's is not rank 0's. */
  async same(text: string, differs: (theirs: string, first: string) => string): Promise<void> {
    if (this.size === 1) return;
    const all = await this.collective.gatherTexts(text);
    const other = all.findIndex((theirs) => theirs !== all[0]);
    if (other >= 0) throw new AllFailed(new InputError(`${this.name(other)} ${differs(all[other], all[0])}`));
  }

  /** Lets all show in a directory that they share that they go on; one that does not for so many seconds is taken for hanging. */
  async showLife(directory: string, seconds: number): Promise<void> {
    if (this.size === 1 || seconds === 0) return;
    await this.first(() => Hearts.prepare(directory));
    this.hearts = new Hearts(directory, this.rank, this.size, seconds);
  }

  /** The other processes of this machine, by rank. */
  neighbours(): { readonly rank: number; readonly pid: number }[] {
    const { host } = this.peers[this.rank];
    return this.peers.flatMap((peer, rank) => (rank !== this.rank && peer.host === host ? [{ rank, pid: peer.pid }] : []));
  }

  pidOf(rank: number): number {
    return this.peers[rank].pid;
  }
}

function failureOf(error: unknown): { message: string; kind: string } {
  if (isOutOfMemory(error)) return { message: notEnoughMemory(error), kind: 'InputError' };
  return { message: messageOf(error), kind: (error as Error)?.name ?? 'Error' };
}

export function notEnoughMemory(error: unknown): string {
  return `not enough memory (${messageOf(error)}): start fewer processes on a machine, choose a smaller model, or share its moments out (parallel.zero: 1)`;
}

/** All ranks know of this failure. */
export class AllFailed extends Error {
  constructor(override readonly cause: Error) {
    super(cause.message);
  }
}

/** One process, as without MPI. */
export const oneRank = new Ranks();
