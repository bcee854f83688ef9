// A verb on several processes that mpirun or srun started: rank 0 speaks for all, what fails on one ends all of them with one
// sentence that names it, and a process that is gone, or hangs, is noticed by the others. What the ranks compute together is
// the verb's; what it sees of them is ranks.ts.

import { existsSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, hostname } from 'node:os';
import { Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { InputError, messageOf } from '../errors.js';
import { launchedRank, launchedRanks, MpiCollective } from '../io/node/mpi.js';
import { isGone, startedTicks } from '../io/node/processes.js';
import { startWorker } from '../io/node/workers.js';
import { isOutOfMemory } from '../tensor/execution.js';
import { CollectiveError } from '../train/collective.js';
import { tellFailure } from './failure.js';
import { AllFailed, notEnoughMemory, oneRank, type Peer, Ranks } from './ranks.js';
import { agreementFile, beforeMeeting, isGoneSentence, makes, sweepAgreements, takes, type Watched } from './ranks-watch.js';
import { Interrupted, interruptedCode, type Terminal, ToldAlready, tell } from './terminal.js';

const watchMs = 500;
/** Systems remove what lies untouched in their temporary directory. */
const touchMs = 60_000;
/** What failed on all alike is rank 0's to tell; the others wait so long for it. */
const politeMs = 300;
/** The same where they cannot reach each other, and it may have begun later. */
const aloneMs = 5000;
const lookMs = 20;
/** Launchers hand on what was written before they hear that all is to end. */
const heardMs = 50;

/**
 * Runs a verb on the processes that were started together, or on this one alone. Other ranks than 0 print nothing. Throws
 * what the verb throws, on rank 0; where the others may not know of it, ends all of them.
 */
export async function amongRanks(terminal: Terminal, verb: (terminal: Terminal, ranks: Ranks) => Promise<void>): Promise<void> {
  if (launchedRanks() === 1) return verb(terminal, oneRank);
  sweepAgreements();
  const watch = new Watch(launchedRanks());
  let mpi: MpiCollective;
  try {
    await watch.looks; // inside of a call nothing can be said here
    mpi = await MpiCollective.open();
  } catch (error) {
    watch.end();
    makes(beforeMeeting());
    throw await withoutOthers(error, terminal);
  }
  const peers = (await mpi.gatherTexts(JSON.stringify({ host: hostname(), pid: process.pid }))).map(
    (text) => JSON.parse(text) as Peer,
  );
  const ranks = new Ranks(mpi, peers);
  shareCores(ranks.here);
  const ending = new Ending(mpi, ranks, terminal, watch);
  await ending.watch();
  try {
    await verb(mpi.rank === 0 ? terminal : mute(terminal), ranks);
    watch.end(); // from here on all end, one after the other
    await mpi.barrier();
    ending.over();
    mpi.end();
  } catch (error) {
    if (!(error instanceof AllFailed)) return ending.fail(error);
    ending.over();
    // Before any ends: with the first that does, the launcher ends the others.
    const code = mpi.rank === 0 ? tellFailure(error.cause, terminal) : 1;
    if (mpi.rank === 0) await delay(heardMs);
    await mpi.barrier();
    mpi.end();
    // The launcher waits for all; nothing that is left open here may keep it.
    setTimeout(() => process.exit(code), 2000).unref();
    throw new ToldAlready(code);
  }
}

/**
 * Tells what failed on a rank that could not reach the others: one of each machine does, the first if it fails alike, for which the others
 * wait. At once, as the launcher ends all with the first that ends.
 */
async function withoutOthers(error: unknown, terminal: Terminal): Promise<ToldAlready> {
  const rank = launchedRank();
  // Those of one machine have one parent, a launcher.
  const said = agreementFile('alone', process.ppid, startedTicks(process.ppid));
  const end = Date.now() + aloneMs;
  while (rank > 0 && !existsSync(said) && Date.now() < end) await delay(lookMs);
  if (!makes(said)) {
    await delay(heardMs);
    return new ToldAlready(1);
  }
  const named = `rank ${rank} of ${launchedRanks()} (${hostname()}): ${messageOf(error)}`;
  const told = rank === 0 ? error : error instanceof InputError ? new InputError(named) : new Error(named);
  const code = tellFailure(told, terminal);
  await delay(heardMs);
  return new ToldAlready(code);
}

/** The thread that speaks where this one cannot. */
class Watch {
  private readonly over = new Int32Array(new SharedArrayBuffer(4));
  private readonly worker?: Worker;
  /** Settles when it has looked once, or cannot. */
  readonly looks: Promise<unknown> = Promise.resolve();

  constructor(size: number) {
    try {
      const worker = startWorker(import.meta.url, 'ranks-watch', { ranksWatch: true, size, over: this.over });
      this.worker = worker;
      this.looks = new Promise<void>((resolve) => {
        worker.once('message', () => {
          worker.unref();
          resolve();
        });
        worker.on('error', () => resolve()); // what it does beside is done here too
        worker.on('exit', () => resolve());
      });
    } catch {
      // so too where none can be had
    }
  }

  met(watched: Watched): void {
    this.worker?.postMessage(watched);
  }

  end(): void {
    Atomics.store(this.over, 0, 1);
    void this.worker?.terminate();
  }
}

/** One sentence for all ranks that end by a failure, and their end. */
class Ending {
  private timer?: NodeJS.Timeout;
  private ended = false;
  private looking = false;
  /** Whoever takes this away speaks; undefined where it cannot be made. */
  private unsaid: string | undefined;
  private touched = Date.now();

  constructor(
    private readonly mpi: MpiCollective,
    private readonly ranks: Ranks,
    private readonly terminal: Terminal,
    private readonly thread: Watch,
  ) {
    // Of this run, and one for each machine.
    this.unsaid = agreementFile('ended', ranks.pidOf(0));
  }

  /** Looks after the other processes until it is over. */
  async watch(): Promise<void> {
    try {
      writeFileSync(this.unsaid!, '');
    } catch {
      this.unsaid = undefined;
    }
    await this.mpi.barrier();
    // In a container of its own a process has numbers that say nothing here.
    const seen = this.gone() === undefined;
    if (seen) {
      const others = this.ranks.neighbours().map(({ rank, pid }) => ({ pid, sentence: this.sentenceOf(rank) }));
      this.thread.met({ unsaid: this.unsaid, others });
    } else this.thread.end();
    this.timer = setInterval(() => {
      if (seen) this.endIfGone();
      this.touch();
      void this.endIfHung();
    }, watchMs);
    this.timer.unref();
    if (seen) process.prependListener('SIGTERM', this.terminated);
  }

  over(): void {
    this.ended = true;
    this.thread.end();
    clearInterval(this.timer);
    process.off('SIGTERM', this.terminated);
    if (this.unsaid !== undefined) rmSync(this.unsaid, { force: true });
    if (this.mpi.rank > 0) return;
    void this.ranks.hearts?.remove();
  }

  /** Ends all ranks, after a sentence on what happened on this one. */
  async fail(error: unknown): Promise<never> {
    if (error instanceof Interrupted) {
      takes(this.unsaid); // nobody need be told of this
      return this.mpi.abort(interruptedCode);
    }
    this.endIfGone(); // then that is why
    if (this.mpi.rank > 0) await delay(politeMs);
    // A call breaks off before the process at the other end has ended: memory is given back first.
    for (let looks = 0; looks < 10 && error instanceof CollectiveError; looks++) {
      this.endIfGone();
      await delay(50);
    }
    if (process.env.OPENELM_DEBUG && error instanceof Error) tell(this.terminal, error.stack ?? '');
    const name = this.ranks.name(this.mpi.rank);
    if (isOutOfMemory(error)) return this.end(`${name}: ${notEnoughMemory(error)}`);
    const defect = error instanceof InputError ? '' : ' (a defect of this program, or of the network)';
    return this.end(`${name}: ${messageOf(error)}${defect}`);
  }

  private touch(): void {
    if (this.unsaid === undefined || Date.now() - this.touched < touchMs) return;
    this.touched = Date.now();
    try {
      utimesSync(this.unsaid, this.touched / 1000, this.touched / 1000);
    } catch {
      // taken, or not ours
    }
  }

  private endIfGone(): void {
    const rank = this.gone();
    if (rank === undefined || this.ended) return;
    this.end(this.sentenceOf(rank));
  }

  private sentenceOf(rank: number): string {
    return isGoneSentence(this.ranks.name(rank), this.ranks.pidOf(rank));
  }

  private async endIfHung(): Promise<void> {
    const { hearts } = this.ranks;
    if (!hearts || this.looking) return;
    this.looking = true;
    const silent = await hearts.look(this.mpi.waitedFor).finally(() => (this.looking = false));
    if (silent.length === 0 || this.ended) return;
    // The first that is well speaks, and the others let it.
    const first = Array.from({ length: this.ranks.size }, (_, rank) => rank).find((rank) => !silent.includes(rank));
    if (first !== this.mpi.rank) await delay(watchMs);
    if (this.ended) return;
    const [rank, ...more] = silent;
    const others = more.length > 0 ? `, and ${more.length} more,` : '';
    this.end(
      `${this.ranks.name(rank)}, process ${this.ranks.pidOf(rank)},${others} has shown no life for ${hearts.seconds} s (parallel.timeout): it hangs, or was stopped, or its machine is away; all ranks end here, and --resume goes on from the last checkpoint`,
    );
  }

  // A launcher ends the others of a rank that died; else it is a wish to stop, which whoever trains hears too. Before them, as there
  // may be a second left.
  private readonly terminated = async (): Promise<void> => {
    this.endIfGone();
    const heard = process.listenerCount('SIGTERM') > 1;
    for (let looks = 0; looks < 5; looks++) {
      await delay(50);
      if (!this.ended) this.endIfGone();
    }
    if (this.ended || heard) return;
    takes(this.unsaid);
    process.exit(143);
  };

  /** The rank of a process of this machine that is gone. */
  private gone(): number | undefined {
    return this.ranks.neighbours().find(({ pid }) => isGone(pid))?.rank;
  }

  private end(sentence: string): never {
    this.ended = true;
    if (takes(this.unsaid)) tell(this.terminal, sentence);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, heardMs); // who speaks may be another
    return this.mpi.abort(1);
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
