// What the benchmarks do with timings: run the contenders in turn so that a busy minute hits all of them alike, and
// reduce the samples to a median with its range. No means: one interrupted run must not move a result. Also how busy the
// machine is with other things, since an engine that spins at barriers falls to a tenth beside one busy neighbour.
import { cpus } from 'node:os';
import { setTimeout } from 'node:timers/promises';

/** Median, smallest and largest of some samples, in the samples' unit. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly samples: readonly number[];
}

/** The middle value (mean of the two middle ones for an even count). Throws RangeError when there are no values. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('the median of no values');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median, min and max of at least one sample. */
export function summarize(samples: readonly number[]): Summary {
  return { median: median(samples), min: Math.min(...samples), max: Math.max(...samples), samples };
}

/**
 * Runs every function once a round, one after the other, and collects what each returned (usually seconds).
 * The order is reversed every second round (a b, b a, a b, ...), so a drift of the machine favours nobody. Warm up first:
 * every round counts.
 */
export async function interleave<Name extends string, Sample = number>(
  contenders: Readonly<Record<Name, () => Sample | Promise<Sample>>>,
  rounds: number,
): Promise<Record<Name, Sample[]>> {
  const names = Object.keys(contenders) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, Sample[]>;
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : [...names].reverse()) samples[name].push(await contenders[name]());
  }
  return samples;
}

/** Cores that are busy while this process waits `milliseconds`: what others take, when no contender runs. */
export async function busyCores(milliseconds: number): Promise<number> {
  const ticks = () => {
    let busy = 0;
    let all = 0;
    for (const { times } of cpus()) {
      busy += times.user + times.nice + times.sys + times.irq;
      all += times.user + times.nice + times.sys + times.irq + times.idle;
    }
    return { busy, all };
  };
  const before = ticks();
  await setTimeout(milliseconds);
  const after = ticks();
  return (cpus().length * (after.busy - before.busy)) / Math.max(1, after.all - before.all);
}
