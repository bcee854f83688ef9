// Prefill and decode speed beside llama.cpp: the same checkpoint, precision and thread count, both engines loaded, their
// runs interleaved, so that the ratios hold even when the machine is shared. Single sequences only; no text, no sampling.
import { parseArgs } from 'node:util';
import { InputError, messageOf } from '../src/errors.js';
import { type Contender, type ContenderFactory, LlamaContender, type Precision } from './contender.js';
import { type Row, report } from './report.js';
import { busyCores, interleave, median, type Summary, summarize } from './statistics.js';

const usage = `npm run bench -- run --model DIR [options]
  --model DIR         checkpoint directory: config.json and model.safetensors in f16 or f32
  --precisions LIST   of q8, q4, f16 (default: all)
  --threads LIST      thread counts (default: 1,2)
  --rounds N          timed rounds for each contender (default: 5)
  --prefill N         tokens of a prefill (default: 512)
  --decode N          tokens of a decode (default: 128)
  --context N         ids before the decoded ones (default: 0)`;

/** Ours first: ratios are the first contender's speed over the second's. */
const factories: readonly ContenderFactory[] = [
  (directory, precision, threads) => new LlamaContender(directory, precision, threads),
];

/** What one run measures. */
export interface RunOptions {
  readonly model: string;
  readonly precisions: readonly Precision[];
  readonly threads: readonly number[];
  readonly rounds: number;
  /** Tokens of a prefill, tokens of a decode, and ids that lie before the decoded ones. */
  readonly prefill: number;
  readonly decode: number;
  readonly context: number;
}

/** One line of the result: tokens per second of every contender in one setting. */
export interface Measurement {
  readonly precision: Precision;
  readonly threads: number;
  readonly phase: 'prefill' | 'decode';
  /** By contender: tokens per second. */
  readonly speeds: Readonly<Record<string, Summary>>;
  /** The first contender's speed over the second's: the median of the rounds' ratios. */
  readonly ratio?: number;
  /** The same of their best rounds. Neighbours on the cores slow a spinning engine more, so only a quiet run has both alike. */
  readonly ratioOfBest?: number;
  /** Cores that other processes kept busy just before and just after, the larger: above 0.1 the numbers mean little. */
  readonly others: number;
}

/** The command: parses `args`, measures, prints the table and writes bench/results/run.json. */
export async function run(args: string[]): Promise<void> {
  const options = parse(args);
  const measurements: Measurement[] = [];
  for (const precision of options.precisions) {
    for (const threads of options.threads) measurements.push(...(await measure(factories, precision, threads, options)));
  }
  report('run', measurements.map(toRow), { options, measurements });
}

/** Loads every contender once, warms it up, and times prefill and decode in interleaved rounds. */
export async function measure(
  makers: readonly ContenderFactory[],
  precision: Precision,
  threads: number,
  options: RunOptions,
): Promise<Measurement[]> {
  const contenders = makers.map((make) => make(options.model, precision, threads));
  try {
    for (const contender of contenders) {
      await contender.load();
      await contender.prefill(options.prefill);
      await contender.decode(Math.min(options.decode, 16), options.context);
    }
    console.error(
      `${precision}, ${threads} threads: ${options.rounds} rounds of ${contenders.map(({ name }) => name).join(', ')}`,
    );
    const race = async (
      phase: Measurement['phase'],
      tokens: number,
      time: (contender: Contender) => Promise<number>,
    ): Promise<Measurement> => {
      const runs = contenders.map((contender) => [contender.name, async () => tokens / (await time(contender))] as const);
      const before = await busyCores(300);
      const samples = await interleave(Object.fromEntries(runs), options.rounds);
      const others = Math.max(before, await busyCores(300));
      const [ours, theirs] = contenders.map(({ name }) => samples[name]);
      return {
        precision,
        threads,
        phase,
        speeds: Object.fromEntries(contenders.map(({ name }) => [name, summarize(samples[name])])),
        ratio: theirs && median(ours.map((speed, round) => speed / theirs[round])),
        ratioOfBest: theirs && Math.max(...ours) / Math.max(...theirs),
        others,
      };
    };
    return [
      await race('prefill', options.prefill, (contender) => contender.prefill(options.prefill)),
      await race('decode', options.decode, (contender) => contender.decode(options.decode, options.context)),
    ];
  } finally {
    for (const contender of contenders) await contender.dispose();
  }
}

function toRow({ precision, threads, phase, speeds, ratio, ratioOfBest, others }: Measurement): Row {
  const row: Record<string, string | number> = { precision, threads, phase };
  for (const [name, { median, min, max }] of Object.entries(speeds)) {
    row[`${name} tok/s`] = median;
    row[`${name} range`] = `${min.toFixed(0)}-${max.toFixed(0)}`;
  }
  if (ratio !== undefined) row.ratio = ratio;
  if (ratioOfBest !== undefined) row['of best'] = ratioOfBest;
  row.others = Number(others.toFixed(1));
  return row;
}

function parse(args: string[]): RunOptions {
  const string = (value: string) => ({ type: 'string', default: value }) as const;
  let values: Record<'precisions' | 'threads' | 'rounds' | 'prefill' | 'decode' | 'context', string> & { model?: string };
  try {
    ({ values } = parseArgs({
      args,
      options: {
        model: { type: 'string' },
        precisions: string('q8,q4,f16'),
        threads: string('1,2'),
        rounds: string('5'),
        prefill: string('512'),
        decode: string('128'),
        context: string('0'),
      },
    }));
  } catch (error) {
    throw new InputError(`${messageOf(error)}\n${usage}`);
  }
  if (values.model === undefined) throw new InputError(`--model is missing.\n${usage}`);
  const count = (option: string, text: string, least: number) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least)
      throw new InputError(`--${option} takes a whole number from ${least} on, not '${text}'.`);
    return value;
  };
  const isPrecision = (text: string): text is Precision => text === 'q8' || text === 'q4' || text === 'f16';
  return {
    model: values.model,
    precisions: values.precisions.split(',').map((text) => {
      if (!isPrecision(text)) throw new InputError(`--precisions takes q8, q4 and f16, not '${text}'.`);
      return text;
    }),
    threads: values.threads.split(',').map((text) => count('threads', text, 1)),
    rounds: count('rounds', values.rounds, 1),
    prefill: count('prefill', values.prefill, 1),
    decode: count('decode', values.decode, 1),
    context: count('context', values.context, 0),
  };
}
