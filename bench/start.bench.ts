// What a user waits for and what it takes: the whole process from start to first token, the most memory it had against what
// it may (weights at that precision, cache, 15% and 100 MB), and how late timers fire while a model loads and generates.
// Needs the built package (`npm run compile`). Not speed in tokens: that is run.bench.ts.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { InputError } from '../src/errors.js';
import { load } from '../src/index.js';
import { kvBytesPerToken, weightBytes } from '../src/model/parameters.js';
import { randomCheckpoint, readConfig } from './own.js';
import { type Row, report } from './report.js';
import { busyCores, median } from './statistics.js';

const precisions = ['q8', 'q4', 'f16'] as const;
const cli = join(import.meta.dirname, '..', 'dist', 'app', 'cli.js');

/** One process: seconds from start to end with one token, and its peak memory in bytes. */
function once(directory: string, precision: string): { seconds: number; peak: number } {
  const args = [cli, 'run', 'Once upon a time', '--model', directory, '--dtype', precision, '--max-tokens', '1', '--verbose'];
  const began = performance.now();
  const { stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const seconds = (performance.now() - began) / 1000;
  const peak = /peak memory ([\d.]+) (MB|GB)/.exec(stderr);
  if (status !== 0 || !peak)
    throw new InputError(`openelm run failed: ${stderr.trim() || 'is the package built? (npm run compile)'}`);
  return { seconds, peak: Number(peak[1]) * (peak[2] === 'GB' ? 1e9 : 1e6) };
}

/** Milliseconds by which a timer of 10 ms is late, while `work` goes on. */
async function lateness(work: () => Promise<void>): Promise<number[]> {
  const late: number[] = [];
  let due = performance.now() + 10;
  const timer = setInterval(() => {
    const now = performance.now();
    late.push(Math.max(0, now - due));
    due = now + 10;
  }, 10);
  await work();
  clearInterval(timer);
  return late.sort((a, b) => a - b);
}

const at = (sorted: number[], quantile: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * quantile))];

/** The command. */
export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { models: { type: 'string', default: 'OpenELM-270M,OpenELM-1_1B' } } });
  const rows: Row[] = [];
  for (const name of values.models.split(',')) {
    const directory = await randomCheckpoint(name);
    const config = await readConfig(directory);
    for (const precision of precisions) {
      once(directory, precision); // the file into the page cache
      const runs = Array.from({ length: 5 }, () => once(directory, precision));
      const allowed = (weightBytes(config, precision) + kvBytesPerToken(config, 'f16') * config.maxContextLength) * 1.15 + 100e6;
      const peak = Math.max(...runs.map((one) => one.peak));
      rows.push({
        model: name,
        precision,
        'start to first token, s': Number(median(runs.map((one) => one.seconds)).toFixed(2)),
        'peak memory, MB': Math.round(peak / 1e6),
        'allowed, MB': Math.round(allowed / 1e6),
        others: Number((await busyCores(300)).toFixed(1)),
      });
    }
  }
  const large = await randomCheckpoint('OpenELM-1_1B');
  const timers: Row[] = [];
  const idle = await lateness(() => new Promise((resolve) => setTimeout(resolve, 3000)));
  timers.push({ while: 'idle', 'p50, ms': at(idle, 0.5), 'p99, ms': at(idle, 0.99), 'worst, ms': at(idle, 1) });
  let generate: () => Promise<void> = async () => {};
  const loading = await lateness(async () => {
    const model = await load(large, { dtype: 'q8' });
    generate = async () => {
      for await (const _ of model.generate(
        Array.from({ length: 300 }, (__, i) => i + 5),
        { maxTokens: 150, ignoreEos: true, temperature: 0 },
      ));
      await model.dispose();
    };
  });
  const generating = await lateness(generate);
  for (const [what, late] of [
    ['1.1B loads', loading],
    ['1.1B generates', generating],
    ['both', [...loading, ...generating].sort((a, b) => a - b)],
  ] as const) {
    timers.push({ while: what, 'p50, ms': at(late, 0.5), 'p99, ms': at(late, 0.99), 'worst, ms': at(late, 1) });
  }
  report('start', rows, {});
  report('timers', timers, {});
}
