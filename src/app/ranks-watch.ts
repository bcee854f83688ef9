// A thread that looks after the other processes of a machine, and says which one is gone: the launcher ends all a second later, and
// the thread that computes may be inside of a call until then, from MPI_Init on. It only speaks; ranks-run.ts starts it and ends the ranks.

import { closeSync, openSync, readdirSync, readFileSync, rmSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { visible } from '../errors.js';
import { launchedRank, launchedRanks } from '../io/node/mpi.js';
import { isGone, startedTicks } from '../io/node/processes.js';

/** Who is looked after: process by process what is said when it is gone, by whoever takes the file away. */
export interface Watched {
  readonly unsaid: string | undefined;
  readonly others: readonly { readonly pid: number; readonly sentence: string }[];
}

const lookMs = 50;

/** Whether a file was not there, and is now. */
export function makes(file: string): boolean {
  try {
    closeSync(openSync(file, 'wx'));
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EEXIST';
  }
}

/** Whether a file was there, and is no more: of all who ask, one hears so. Where none could be made, everybody does. */
export function takes(file: string | undefined): boolean {
  if (file === undefined) return true;
  try {
    unlinkSync(file);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}

/** Files by which the processes of a machine agree who speaks: `ended` or `alone`, of a launch or a run by its process. */
export function agreementFile(kind: 'ended' | 'alone', pid: number, started?: string): string {
  return join(tmpdir(), `openelm-${kind}-${hostname()}-${pid}${started === undefined ? '' : `-${started}`}`);
}

/** Removes such files of processes that are gone: of runs that were killed. Not young ones, as others may count processes otherwise. */
export function sweepAgreements(olderMs = 600_000): void {
  const own = ['ended', 'alone'].map((kind) => `openelm-${kind}-${hostname()}-`);
  try {
    for (const name of readdirSync(tmpdir())) {
      const prefix = own.find((start) => name.startsWith(start));
      const [, pid, started] = (prefix && /^(\d+)(?:-(\d*))?$/.exec(name.slice(prefix.length))) || [];
      if (pid === undefined) continue;
      const file = join(tmpdir(), name);
      const isOver = isGone(Number(pid)) || (started && startedTicks(Number(pid)) !== started);
      if (isOver && Date.now() - statSync(file).mtimeMs > olderMs) rmSync(file, { force: true });
    }
  } catch {
    // another process sweeps as well, or nothing can be removed
  }
}

export function isGoneSentence(name: string, pid: number): string {
  return `${name}, process ${pid}, is gone: it was killed (by the system, if memory ran out); all ranks end here, and --resume goes on from the last checkpoint`;
}

/** Those that the same launcher started here, as far as they are there already. Until they have met, Linux alone tells. */
function siblings(size: number, known: Map<number, string>): void {
  const { ppid, pid: own } = process;
  try {
    for (const word of readFileSync(`/proc/${ppid}/task/${ppid}/children`, 'utf8').split(' ')) {
      const pid = Number(word);
      if (!pid || pid === own || known.has(pid)) continue;
      const lines = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
      const env = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
      if (launchedRanks(env) === size)
        known.set(pid, isGoneSentence(`rank ${launchedRank(env)} of ${size} (${hostname()})`, pid));
    }
  } catch {
    // not told here
  }
}

/** Who makes this first speaks, or has a reason of its own to end, until all have met: of this launch. */
export function beforeMeeting(): string {
  return agreementFile('ended', process.ppid, startedTicks(process.ppid));
}

if (parentPort && workerData?.ranksWatch) {
  const { size, over } = workerData as { size: number; over: Int32Array };
  const known = new Map<number, string>();
  let watched: Watched | undefined;
  parentPort.on('message', (met: Watched) => {
    watched = met;
  });
  const early = beforeMeeting();
  const look = (): void => {
    if (Atomics.load(over, 0) !== 0) return;
    if (!watched) siblings(size, known);
    const others = watched?.others ?? [...known].map(([pid, sentence]) => ({ pid, sentence }));
    const gone = others.find(({ pid }) => isGone(pid));
    if (!gone || Atomics.load(over, 0) !== 0) return;
    if (watched ? takes(watched.unsaid) : makes(early)) writeSync(2, `openelm: ${visible(gone.sentence)}\n`);
    Atomics.store(over, 0, 1);
  };
  setInterval(look, lookMs);
  look();
  parentPort.postMessage('looks');
}
