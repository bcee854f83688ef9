// A verb on several processes that mpirun or srun started: rank 0 speaks for all, what fails on one ends all of them with one
// sentence that names it, and a process that is gone is noticed by those of its machine. What the ranks compute together is
// the verb's; how they reach one another is io/node/mpi.ts.

import { closeSync, openSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { InputError, messageOf } from '../errors.js';
import { launchedRank, launchedRanks, MpiCollective } from '../io/node/mpi.js';
import { processState } from '../io/node/processes.js';
import { alone, type Collective } from '../train/collective.js';
import { Interrupted, interruptedCode, type Terminal, ToldAlready, tell, UsageError } from './terminal.js';

const watchMs = 500;
/** Rank 0 speaks first where it can; the others wait so long for it. */
const politeMs = 300;

interface Peer {
  readonly host: string;
  readonly pid: number;
}

/** The processes that work on this, and what they do in step with one another. */
export class Ranks {
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
    const own =
      'error' in result ? { message: messageOf(result.error), kind: (result.error as Error)?.name ?? 'Error' } : undefined;
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

  /** The other processes of this machine, by rank. */
  neighbours(): { readonly rank: number; readonly pid: number }[] {
    const { host } = this.peers[this.rank];
    return this.peers.flatMap((peer, rank) => (rank !== this.rank && peer.host === host ? [{ rank, pid: peer.pid }] : []));
  }

  pidOf(rank: number): number {
    return this.peers[rank].pid;
  }
}

/** All ranks know of this failure. */
class AllFailed extends Error {
  constructor(override readonly cause: Error) {
    super(cause.message);
  }
}

/** One process, as without MPI. */
export const oneRank = new Ranks();

/**
 * Runs a verb on the processes that were started together, or on this one alone. Other ranks than 0 print nothing. Throws
 * what the verb throws, on rank 0; where the others may not know of it, ends all of them.
 */
export async function amongRanks(terminal: Terminal, verb: (terminal: Terminal, ranks: Ranks) => Promise<void>): Promise<void> {
  if (launchedRanks() === 1) return verb(terminal, oneRank);
  let mpi: MpiCollective;
  try {
    mpi = await MpiCollective.open();
  } catch (error) {
    if (launchedRank() > 0) throw new ToldAlready(1);
    throw error;
  }
  const peers = (await mpi.gatherTexts(JSON.stringify({ host: hostname(), pid: process.pid }))).map(
    (text) => JSON.parse(text) as Peer,
  );
  const ranks = new Ranks(mpi, peers);
  shareCores(ranks.here);
  const ending = new Ending(mpi, ranks, terminal);
  await ending.watch();
  try {
    await verb(mpi.rank === 0 ? terminal : mute(terminal), ranks);
    await mpi.barrier();
    ending.over();
    mpi.end();
  } catch (error) {
    ending.over();
    if (!(error instanceof AllFailed)) return ending.fail(error);
    await mpi.barrier();
    mpi.end();
    // The launcher waits for all; nothing that is left open here may keep it.
    setTimeout(() => process.exit(1), 2000).unref();
    throw mpi.rank === 0 ? error.cause : new ToldAlready(1);
  }
}

/** One sentence for all ranks that end by a failure, and their end. */
class Ending {
  private timer?: NodeJS.Timeout;
  private ended = false;
  private readonly said: string;

  constructor(
    private readonly mpi: MpiCollective,
    private readonly ranks: Ranks,
    private readonly terminal: Terminal,
  ) {
    // Of this run, and one for each machine: whoever makes it first speaks.
    this.said = join(tmpdir(), `openelm-ended-${hostname()}-${ranks.pidOf(0)}`);
  }

  /** Looks after the other processes of this machine until it is over. */
  async watch(): Promise<void> {
    if (this.mpi.rank === 0) rmSync(this.said, { force: true });
    await this.mpi.barrier();
    // In a container of its own a process has numbers that say nothing here.
    if (await this.gone()) return;
    this.timer = setInterval(() => void this.look(), watchMs);
    this.timer.unref();
    process.on('SIGTERM', this.terminated);
  }

  over(): void {
    this.ended = true;
    clearInterval(this.timer);
    process.off('SIGTERM', this.terminated);
    if (this.mpi.rank === 0) setTimeout(() => rmSync(this.said, { force: true }), 0);
  }

  /** Ends all ranks, after a sentence on what happened on this one. */
  async fail(error: unknown): Promise<never> {
    if (error instanceof Interrupted) return this.mpi.abort(interruptedCode);
    // What failed on all alike is rank 0's to tell.
    if (this.mpi.rank > 0) await delay(politeMs);
    const defect = error instanceof InputError ? '' : ' (a defect of this program, or of the network)';
    if (process.env.OPENELM_DEBUG && error instanceof Error) tell(this.terminal, error.stack ?? '');
    return this.end(`${this.ranks.name(this.mpi.rank)}: ${messageOf(error)}${defect}`);
  }

  private async look(): Promise<void> {
    const rank = await this.gone();
    if (rank === undefined || this.ended) return;
    if (this.mpi.rank > 0) await delay(politeMs);
    if (this.ended) return;
    this.end(
      `${this.ranks.name(rank)}, process ${this.ranks.pidOf(rank)}, is gone: it was killed (by the system, if memory ran out); all ranks end here, and --resume goes on from the last checkpoint`,
    );
  }

  // A launcher ends the others of a rank that died; else it is a wish to stop, which whoever trains hears too.
  private readonly terminated = async (): Promise<void> => {
    for (let looks = 0; looks < 5; looks++) {
      await this.look();
      await delay(50);
    }
    if (!this.ended && process.listenerCount('SIGTERM') === 1) process.exit(143);
  };

  /** The rank of a process of this machine that is gone. */
  private async gone(): Promise<number | undefined> {
    for (const { rank, pid } of this.ranks.neighbours()) if ((await processState(pid)) === 'gone') return rank;
    return undefined;
  }

  private end(sentence: string): never {
    this.ended = true;
    if (this.speaks()) tell(this.terminal, sentence);
    return this.mpi.abort(1);
  }

  private speaks(): boolean {
    try {
      closeSync(openSync(this.said, 'wx'));
      return true;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code !== 'EEXIST';
    }
  }
}

/** Threads for each of the processes on a machine, where neither the launcher bound them nor the user says. */
function shareCores(processes: number): void {
  if (process.env.OPENELM_THREADS || availableParallelism() * processes <= cpus().length) return;
  process.env.OPENELM_THREADS = String(Math.max(1, Math.floor(cpus().length / processes)));
}

/** A terminal on which nothing is seen. */
function mute({ stdin, onInterrupt }: Terminal): Terminal {
  const nowhere = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });
  return { stdin, stdout: nowhere(), stderr: nowhere(), onInterrupt };
}
