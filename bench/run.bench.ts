// Prefill and decode speed beside llama.cpp: the same checkpoint, precision and thread count, both engines loaded, their
// runs interleaved, so that the ratios hold even when the machine is shared; and beside what the machine could do at best.
// Single sequences only; no text, no sampling.
import { parseArgs } from 'node:util';
import { InputError, messageOf } from '../src/errors.js';
import { type Contender, type ContenderFactory, LlamaContender, type Precision } from './contender.js';
import {
  holdTo,
  measureRates,
  OwnContender,
  type Rates,
  randomCheckpoint,
  readConfig,
  type TokenCost,
  tokenCost,
} from './own.js';
import { type Row, report } from './report.js';
import { busyCores, interleave, median, type Summary, summarize } from './statistics.js';

const usage = `npm run bench -- run --model DIR [options]
  --model DIR         checkpoint directory: config.json and model.safetensors in f16 or f32 (default: OpenELM-270M, random)
  --precisions LIST   of q8, q4, f16 (default: all)
  --threads LIST      thread counts (default: 1,2)
  --rounds N          timed rounds for each contender (default: 5)
  --prefill N         tokens of a prefill (default: 512)
  --decode N          tokens of a decode (default: 128)
  --context N         ids before the decoded ones (default: 0)
  --against LIST      of llama.cpp and wasm (this package in WebAssembly; with OPENELM_ISA its instruction set); default: llama.cpp
  --isa NAME          instruction set of native and llama.cpp: avx2, avxvnni, avx512 or vnni (default: the best that the CPU has)`;

const peers = ['llama.cpp', 'wasm'] as const;
type Peer = (typeof peers)[number];

/** Ours first: ratios are the first contender's speed over the second's. */
const factories = (isa: string, against: readonly Peer[]): readonly ContenderFactory[] => [
  (directory, precision, threads) => new OwnContender(directory, precision, threads),
  ...against.map(
    (peer): ContenderFactory =>
      (directory, precision, threads) =>
        peer === 'wasm'
          ? new OwnContender(directory, precision, threads, 'wasm')
          : new LlamaContender(directory, precision, threads, isa),
  ),
];

/** What one run measures. */
export interface RunOptions {
  readonly model?: string;
  readonly precisions: readonly Precision[];
  readonly threads: readonly number[];
  readonly rounds: number;
  /** Tokens of a prefill, tokens of a decode, and ids that lie before the decoded ones. */
  readonly prefill: number;
  readonly decode: number;
  readonly context: number;
  readonly isa?: string;
  readonly against: readonly Peer[];
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
  /** The first contender's median over what the rates measured beside it allow: bytes read in decode, multiply-adds in prefill. */
  readonly ofRoofline?: number;
  /** Cores that other processes kept busy just before and just after, the larger: above 0.1 the numbers mean little. */
  readonly others: number;
}

/** The command: parses `args`, measures, prints the table and writes bench/results/run.json. */
export async function run(args: string[]): Promise<void> {
  const options = parse(args);
  const isa = holdTo(options.isa);
  const model = options.model ?? (await randomCheckpoint('OpenELM-270M'));
  const config = await readConfig(model);
  const measurements: Measurement[] = [];
  const rates: Record<number, Rates> = {};
  for (const threads of options.threads) rates[threads] = await measureRates(threads);
  for (const precision of options.precisions) {
    for (const threads of options.threads) {
      const measured = await measure(factories(isa, options.against), precision, threads, { ...options, model });
      const after = await measureRates(threads);
      const best = {
        bytes: Math.max(rates[threads].bytes, after.bytes),
        int8Macs: Math.max(rates[threads].int8Macs, after.int8Macs),
        floatMacs: Math.max(rates[threads].floatMacs, after.floatMacs),
      };
      rates[threads] = best;
      measurements.push(...measured.map((m) => ({ ...m, ofRoofline: fraction(m, best, tokenCost(config, precision)) })));
    }
  }
  for (const [threads, { bytes, int8Macs, floatMacs }] of Object.entries(rates)) {
    const [gigabytes, int8, float] = [bytes, int8Macs, floatMacs].map((rate) => (rate * 1e-9).toFixed(0));
    console.error(`${threads} threads: reads ${gigabytes} GB/s, ${int8} int8 GMAC/s, ${float} f32 GMAC/s`);
  }
  const rows = measurements.map((measurement) => ({ isa, ...toRow(measurement) }));
  report('run', rows, { options: { ...options, model, isa }, rates, measurements });
}

function fraction({ phase, precision, speeds }: Measurement, rates: Rates, cost: TokenCost): number {
  const speed = speeds.openelm.median;
  if (phase === 'decode') return (speed * cost.decodeBytes) / rates.bytes;
  return (speed * cost.prefillMacs) / (precision === 'f16' ? rates.floatMacs : rates.int8Macs);
}

/** Loads every contender once, warms it up, and times prefill and decode in interleaved rounds. */
export async function measure(
  makers: readonly ContenderFactory[],
  precision: Precision,
  threads: number,
  options: RunOptions & { model: string },
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

function toRow({ precision, threads, phase, speeds, ratio, ratioOfBest, ofRoofline, others }: Measurement): Row {
  const row: Record<string, string | number> = { precision, threads, phase };
  for (const [name, { median, min, max }] of Object.entries(speeds)) {
    row[`${name} tok/s`] = median;
    row[`${name} range`] = `${min.toFixed(0)}-${max.toFixed(0)}`;
  }
  if (ratio !== undefined) row.ratio = ratio;
  if (ratioOfBest !== undefined) row['of best'] = ratioOfBest;
  if (ofRoofline !== undefined) row['of roofline'] = `${(100 * ofRoofline).toFixed(0)}%`;
  row.others = Number(others.toFixed(1));
  return row;
}

function parse(args: string[]): RunOptions {
  const string = (value: string) => ({ type: 'string', default: value }) as const;
  let values: Record<'precisions' | 'threads' | 'rounds' | 'prefill' | 'decode' | 'context' | 'against', string> & {
    model?: string;
    isa?: string;
  };
  try {
    ({ values } = parseArgs({
      args,
      options: {
        model: { type: 'string' },
        isa: { type: 'string' },
        precisions: string('q8,q4,f16'),
        threads: string('1,2'),
        rounds: string('5'),
        prefill: string('512'),
        decode: string('128'),
        context: string('0'),
        against: string('llama.cpp'),
      },
    }));
  } catch (error) {
    throw new InputError(`${messageOf(error)}\n${usage}`);
  }
  const count = (option: string, text: string, least: number) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least)
      throw new InputError(`--${option} takes a whole number from ${least} on, not '${text}'.`);
    return value;
  };
  const isPeer = (text: string): text is Peer => (peers as readonly string[]).includes(text);
  const isPrecision = (text: string): text is Precision => text === 'q8' || text === 'q4' || text === 'f16';
  return {
    model: values.model,
    isa: values.isa,
    against: values.against.split(',').map((text) => {
      if (!isPeer(text)) throw new InputError(`--against takes llama.cpp and wasm, not '${text}'.`);
      return text;
    }),
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
