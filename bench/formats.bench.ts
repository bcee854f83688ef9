// Formats: a model from Hugging Face's folder to GGUF Q8_0, against Python's gguf package where one is named, and how long models of each
// format take to open, rounds interleaved. Needs the built package (`npm run compile`): each conversion is a process of its own.

import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openCheckpoint } from '../src/checkpoint.js';
import { convertModel } from '../src/convert.js';
import { InputError } from '../src/errors.js';
import { load } from '../src/index.js';
import type { Precision } from '../src/model/parameters.js';
import { randomCheckpoint } from './own.js';
import { type Row, report, resultsDirectory } from './report.js';
import { interleave, median } from './statistics.js';

const cli = join(import.meta.dirname, '..', 'dist', 'app', 'cli.js');
const peer = join(import.meta.dirname, 'peers', 'gguf_convert.py');

/** The command: `--python FILE` is a Python with gguf, numpy and safetensors. */
export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: 'string', default: 'OpenELM-270M' },
      python: { type: 'string' },
      rounds: { type: 'string', default: '5' },
    },
  });
  const rounds = Number(values.rounds);
  const folder = await randomCheckpoint(values.model);
  const directory = join(resultsDirectory, 'formats');
  mkdirSync(directory, { recursive: true });
  try {
    report('convert', await conversions(folder, directory, rounds, values.python), { model: values.model });
    report('open', await openings(folder, directory, rounds), { model: values.model });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Seconds of wall time, with the start of the process and the syncing of the file. */
async function conversions(folder: string, directory: string, rounds: number, python: string | undefined): Promise<Row[]> {
  const out = join(directory, 'out.gguf');
  const timed = (program: string, ...argv: string[]): number => {
    rmSync(out, { force: true });
    const began = performance.now();
    const { stderr, status } = spawnSync(program, argv, { encoding: 'utf8' });
    if (status !== 0) throw new InputError(`${program} ${argv[0]} failed: ${stderr.trim()}`);
    return (performance.now() - began) / 1000;
  };
  const contenders = {
    openelm: async () => timed(process.execPath, cli, 'convert', folder, out, '--dtype', 'q8'),
    ...(python && { 'gguf (Python)': async () => timed(python, peer, folder, out) }),
  };
  const samples = await interleave<string>(contenders, rounds);
  return Object.entries(samples).map(([name, seconds]) => ({
    ...{ what: name, 'median, s': Number(median(seconds).toFixed(2)), 'best, s': Number(Math.min(...seconds).toFixed(2)) },
  }));
}

/** Seconds from a name to a model that can write. */
async function openings(folder: string, directory: string, rounds: number): Promise<Row[]> {
  const files: [what: string, path: string, dtype?: Precision][] = [
    ['safetensors f16', folder],
    ['safetensors f16 as q8', folder, 'q8'],
  ];
  for (const [what, name, options] of [
    ['GGUF F16', 'f16.gguf', {}],
    ['GGUF Q8_0', 'q8.gguf', { dtype: 'q8' }],
    ['CoreNet f16', 'f16.pt', {}],
    ['MLX 4 bits', 'mlx', { to: 'mlx', dtype: 'q4' }],
  ] as const) {
    await convertModel(await openCheckpoint(folder), join(directory, name), { ...options, force: true });
    files.push([what, join(directory, name)]);
  }
  const open = (path: string, dtype?: Precision) => async (): Promise<number> => {
    const began = performance.now();
    const model = await load(path, { dtype, context: 64 });
    const seconds = (performance.now() - began) / 1000;
    await model.dispose();
    return seconds;
  };
  const contenders = Object.fromEntries(files.map(([what, path, dtype]) => [what, open(path, dtype)]));
  const samples = await interleave(contenders, rounds);
  return Object.entries(samples).map(([what, seconds]) => ({
    ...{ what, 'median, s': Number(median(seconds).toFixed(3)), 'best, s': Number(Math.min(...seconds).toFixed(3)) },
  }));
}
