// Many processes beside one, on this machine: tokens a second of 2 ranks with a thread each against 1 process with 2 threads, the share of
// communication that nothing hides, and a sum of 100 MB against a C program that calls the same MPI. Contenders take turns.
// Needs mpirun and, for the yardstick in C, mpicc. What does not fit here is bench/mpi/model.ts.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { InputError } from '../src/errors.js';
import { type Network, step } from './mpi/model.js';
import { type Row, report, resultsDirectory } from './report.js';
import { busyCores, interleave, median } from './statistics.js';

const usage = `npm run bench -- scale [options]
  --rounds N     of each contender (default: 2)
  --steps N      of a round, the first of which does not count (default: 5)
  --rows N       of all ranks together (default: 4)
  --length N     tokens of a row (default: 512)
  --check        the model of bench/mpi/model.ts against 1, 2 and 4 ranks of a thread instead`;

const root = join(import.meta.dirname, '..');
const mpirun = ['mpirun.openmpi', 'mpirun'].find((name) => spawnSync(name, ['--version']).status === 0);
const asRoot = process.getuid?.() === 0;

function output(command: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command[0], command.slice(1), { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new InputError(`${command.join(' ')} failed: ${(stderr ?? String(error)).trim()}`);
  return stdout;
}

const onRanks = (ranks: number, ...command: string[]): string[] => [
  ...[mpirun!, '--oversubscribe', ...(asRoot ? ['--allow-run-as-root'] : []), '-n', String(ranks)],
  ...command,
];
const onTwo = (...command: string[]): string[] => onRanks(2, ...command);
const script = (name: string, ...args: string[]): string[] => ['node', '--import', 'tsx', `bench/mpi/${name}`, ...args];

/**
 * Measured steps beside the model's, from the speed of one rank and what sums cost between two; ranks beyond the cores share them.
 */
function check(shape: readonly string[], tokens: number): void {
  const seconds = (ranks: number): number => {
    const command = script('steps.ts', ...shape);
    const { tokensPerSecond } = JSON.parse(output(ranks === 1 ? command : onRanks(ranks, ...command))) as Record<
      string,
      number[]
    >;
    return tokens / Math.max(...tokensPerSecond);
  };
  const [few, many] = [...output(onTwo(...script('allreduce.ts', '1000', '25000000'))).matchAll(/([\d.]+) ms/g)].map(
    ([, milliseconds]) => Number(milliseconds) / 1000,
  );
  const network: Network = { name: 'here', alpha: few / 2, bandwidth: 100e6 / many };
  const speed = tokens / seconds(1);
  const rows = [1, 2, 4].map((ranks): Row => {
    const shared = speed * Math.min(1, cpus().length / ranks);
    const expected = step(
      { name: '60M', parameters: 59e6, embedding: 20.5e6, tokensPerSecond: shared },
      ranks,
      network,
      { name: '' },
      tokens,
    );
    const measured = ranks === 1 ? tokens / speed : seconds(ranks);
    return { ranks: String(ranks), 's a step': measured, model: expected.seconds, 'of model': measured / expected.seconds };
  });
  report('scale-check', rows, { network, shape });
}

/** The command. */
export async function run(args: string[]): Promise<void> {
  const option = (value: string) => ({ type: 'string', default: value }) as const;
  const { values } = parseArgs({
    args,
    options: {
      help: { type: 'boolean' },
      check: { type: 'boolean' },
      rounds: option('2'),
      steps: option('5'),
      rows: option('4'),
      length: option('512'),
    },
  });
  if (values.help) return console.log(usage);
  if (!mpirun) throw new InputError('no mpirun here: install Open MPI (apt-get install openmpi-bin)');
  const before = await busyCores(500);
  const rounds = Number(values.rounds);
  const shape = ['--rows', values.rows, '--length', values.length, '--steps', values.steps];
  if (values.check) return check(shape, Number(values.rows) * Number(values.length));
  const shares: Record<string, number[]> = {};
  const measured = (name: string, command: readonly string[]) => (): number => {
    const { tokensPerSecond, communication } = JSON.parse(output(command)) as Record<string, number[]>;
    shares[name] = [...(shares[name] ?? []), ...communication];
    return Math.max(...tokensPerSecond);
  };
  const steps = await interleave(
    {
      'one process, 2 threads': measured('one process, 2 threads', script('steps.ts', '--threads', '2', ...shape)),
      '2 ranks, a thread each': measured('2 ranks, a thread each', onTwo(...script('steps.ts', ...shape))),
    },
    rounds,
  );
  const one = Math.max(...steps['one process, 2 threads']);
  const rows: Row[] = Object.entries(steps).map(([name, rates]) => ({
    what: name,
    'tok/s': Math.max(...rates),
    'of one process': Math.max(...rates) / one,
    'communication, %': name.startsWith('2') ? 100 * median(shares[name]) : undefined,
  }));

  mkdirSync(resultsDirectory, { recursive: true });
  const yardstick = join(resultsDirectory, 'allreduce');
  const compiled = spawnSync('mpicc', ['-O2', join(root, 'bench/mpi/allreduce.c'), '-o', yardstick]);
  const elements = '25000000';
  const milliseconds = (command: string[]) => (): number => Number(/([\d.]+) ms/.exec(output(command))![1]);
  const sums: Record<string, number[]> = await interleave<string>(
    {
      'a sum of 100 MB': milliseconds(onTwo(...script('allreduce.ts', elements))),
      ...(compiled.status === 0 && existsSync(yardstick) ? { 'the same in C': milliseconds(onTwo(yardstick, elements)) } : {}),
    },
    rounds + 1,
  );
  const c = sums['the same in C'] && Math.min(...sums['the same in C']);
  for (const [name, times] of Object.entries(sums)) {
    const best = Math.min(...times);
    rows.push({ what: name, ms: best, 'of C': c === undefined ? undefined : best / c });
  }
  report('scale', rows, { usage: values, busyCores: [before, await busyCores(500)], steps, sums });
}
