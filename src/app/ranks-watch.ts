// A thread that looks after the other processes of a machine, and says which one is gone: the launcher ends all a second later, and
// the thread that computes may be inside of a call until then, from MPI_Init on. It only speaks; ranks-run.ts starts it and ends the ranks.

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { visible } from '../errors.js';
import { launchedRank, launchedRanks } from '../io/node/mpi.js';
import { isGone, startedTicks } from '../io/node/processes.js';

/** Who is looked after: process by process what is said when it is gone, by whoever makes the file first. */
export interface Watched {
  readonly said: string;
  readonly others: readonly { readonly pid: number; readonly sentence: string }[];
}

const lookMs = 100;

/** Whether a file was not there, and is now. */
export function makes(file: string): boolean {
  try {
    closeSync(openSync(file, 'wx'));
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EEXIST';
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
  return join(tmpdir(), `openelm-ended-${hostname()}-${process.ppid}-${startedTicks(process.ppid)}`);
}

if (parentPort && workerData?.ranksWatch) {
  const { size, over } = workerData as { size: number; over: Int32Array };
  const known = new Map<number, string>();
  let watched: Watched | undefined;
  parentPort.on('message', (met: Watched) => {
    watched = met;
  });
  const early = beforeMeeting();
  setInterval(() => {
    if (Atomics.load(over, 0) !== 0) return;
    if (!watched) siblings(size, known);
    const { said, others } = watched ?? { said: early, others: [...known].map(([pid, sentence]) => ({ pid, sentence })) };
    const gone = others.find(({ pid }) => isGone(pid));
    if (!gone || Atomics.load(over, 0) !== 0) return;
    if (makes(said)) writeSync(2, `openelm: ${visible(gone.sentence)}\n`);
    Atomics.store(over, 0, 1);
  }, lookMs);
}
