// How many threads a backend of Node's gets when nobody says: one a core, or what OPENELM_THREADS says.

import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { InputError } from '../errors.js';

/** @throws InputError for what is no number of threads, given or in OPENELM_THREADS. */
export function threadCount(given?: number): number {
  const threads = given ?? threadsFromEnvironment() ?? cores();
  if (!(Number.isInteger(threads) && threads >= 1 && threads <= 256)) {
    throw new InputError(`${threads} is no number of threads: give a whole number from 1 to 256`);
  }
  return threads;
}

function threadsFromEnvironment(): number | undefined {
  const text = process.env.OPENELM_THREADS;
  if (!text) return undefined;
  if (!/^[0-9]{1,4}$/.test(text)) throw new InputError(`OPENELM_THREADS is '${text}': give a whole number from 1 to 256`);
  return Number(text);
}

/** Cores, as two hardware threads of one core share the units and the memory port; at most what this process may use. */
function cores(): number {
  const available = Math.min(256, availableParallelism());
  try {
    const folder = '/sys/devices/system/cpu';
    const cpus = readdirSync(folder).filter((name) => /^cpu[0-9]+$/.test(name));
    const siblings = cpus.map((cpu) => readFileSync(`${folder}/${cpu}/topology/thread_siblings_list`, 'utf8'));
    return Math.max(1, Math.min(available, new Set(siblings).size));
  } catch {
    return available;
  }
}
