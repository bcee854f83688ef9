// Whether a process is there, and since when: what a lock left behind must be asked. Not for starting or ending any.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

/** Clock ticks a second in Linux's /proc. */
const TICKS = 100;

/** `gone` also for a zombie, which runs no more; `unknown` where it is there but the system does not say since when. */
type ProcessState = 'gone' | 'unknown' | { readonly startedMs: number };

export async function processState(pid: number): Promise<ProcessState> {
  if (!isKnown(pid)) return 'gone';
  if (process.platform === 'win32') return 'unknown';
  return process.platform === 'linux' ? fromProc(pid) : fromPs(pid);
}

/**
 * Whether a process is gone, without waiting for anything: who asks may have a second to live, and the threads that read files may be
 * busy. A zombie counts as gone where the system tells (Linux); elsewhere as soon as its parent has noticed.
 */
export function isGone(pid: number): boolean {
  if (!isKnown(pid)) return true;
  if (process.platform !== 'linux') return false;
  try {
    return hasEnded(statFields(readFileSync(`/proc/${pid}/stat`, 'utf8')));
  } catch {
    return false;
  }
}

/** Whether the system has a process of that number, if only as a zombie. */
function isKnown(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** When a process began, in ticks since the machine did; nothing where the system does not say so. */
export function startedTicks(pid: number): string {
  try {
    return statFields(readFileSync(`/proc/${pid}/stat`, 'utf8'))[19];
  } catch {
    return '';
  }
}

/** What follows the name, from the state on; the name in parentheses may hold anything. */
function statFields(text: string): string[] {
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function hasEnded([state]: readonly string[]): boolean {
  return state === 'Z' || state === 'X';
}

async function fromProc(pid: number): Promise<ProcessState> {
  try {
    const [text, machine] = await Promise.all([readFile(`/proc/${pid}/stat`, 'utf8'), readFile('/proc/stat', 'utf8')]);
    const fields = statFields(text);
    if (hasEnded(fields)) return 'gone';
    const startedMs = (Number(/^btime (\d+)/m.exec(machine)?.[1]) + Number(fields[19]) / TICKS) * 1000;
    return Number.isFinite(startedMs) ? { startedMs } : 'unknown';
  } catch {
    return 'unknown';
  }
}

async function fromPs(pid: number): Promise<ProcessState> {
  try {
    const options = { env: { ...process.env, LC_ALL: 'C' }, timeout: 5000 };
    const { stdout } = await promisify(execFile)('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], options);
    const [state, ...started] = stdout.trim().split(/\s+/);
    if (state.startsWith('Z')) return 'gone';
    const startedMs = Date.parse(started.join(' '));
    return Number.isFinite(startedMs) ? { startedMs } : 'unknown';
  } catch {
    return 'unknown';
  }
}
