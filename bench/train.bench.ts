// Training steps (forward, backward, clipping, AdamW; f32) beside PyTorch in eager mode: the same model, weights, tokens and
// threads, each in a process of its own, their steps interleaved. First it is checked that both compute the same: loss and gradient
// norm of the first step, loss after AdamW. Not here: reading data (data.bench.ts) and single kernels (train-kernels.bench.ts).
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { InputError, messageOf } from '../src/errors.js';
import { adaptableModules } from '../src/model/adapter.js';
import { configFromFields, configFromName, countParameters, type ModelConfig } from '../src/model/config.js';
import type { KeepOptions } from '../src/train/backward.js';
import type { OptimizerOptions } from '../src/train/optimizer.js';
import { flopsPerToken } from '../src/train/trainer.js';
import { holdTo, measureRates, readConfig } from './own.js';
import { type Row, report } from './report.js';
import { busyCores, interleave, median, summarize } from './statistics.js';

const usage = `npm run bench -- train [options]
  --models LIST    of 6M (the built-in model's config), 60M, 270M, 270M-int16, 270M-checkpointed, 270M-lora, 270M-lora-f32,
                   270M-lora-checkpointed and 270M-lora-q8, 6M-dpo and 270M-dpo (default: all). int16 and checkpointed keep
                   activations so on our side only: PyTorch runs as for 270M. lora is an adapter of rank 32 on all linears and
                   the embedding, beside PEFT's, with activations in 16 bits as tune keeps them (-f32: as they are); with q8 our
                   frozen weights are 8 bits, PEFT's f32
  --threads N      of both (default: 2)
  --length N       tokens of a sequence (default: 512)
  --rounds N       timed rounds (default: 5)
  --seconds N      roughly, of a round of the slower one: it takes that many steps, at least one (default: 4)
  --alone          our side only
  --backend NAME   ours: native or webgpu (default: native). On webgpu PyTorch computes on CUDA in eager mode, in f32 as well (no
                   TF32), and the memory is the device's; then also how long each kind of dispatch takes, alone
  --device NAME    PyTorch's: cpu or cuda (default: cuda beside webgpu, else cpu)
  --isa NAME       instruction set of both: avx2, avx512 or vnni (default: the best that the CPU has)
The peer runs in OPENELM_BENCH_PYTHON (default: python3), which needs PyTorch (measured with 2.13), and PEFT (0.21) for lora.`;

/** The first message to either process; answered with `{parameters}`. */
export interface LoadMessage {
  readonly cmd: 'load';
  readonly config: ModelConfig;
  /** Sequences of `length` end to end. */
  readonly tokens: readonly number[];
  readonly targets: readonly number[];
  readonly length: number;
  readonly threads: number;
  /** Ours, and PyTorch's. */
  readonly backend: BackendName;
  readonly device: DeviceName;
  readonly options: typeof optimizer;
  /** Preference pairs instead, to be learned by DPO beside a reference whose log-probabilities are given. */
  readonly pairs?: Pairs;
  /** How our side keeps them; the peer keeps all, in f32. */
  readonly activations: Activations;
  /** Trains an adapter instead of the model; `dtype` is our frozen weights'. */
  readonly adapter?: { readonly r: number; readonly alpha: number; readonly dropout: number };
  readonly dtype?: 'f32' | 'q8';
}

/** Prompts of one length and answers of another, end to end. */
export interface Pairs {
  readonly prompts: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
  /** By pair: of the chosen answer and of the rejected one. */
  readonly reference: readonly number[];
  readonly beta: number;
  readonly promptLength: number;
  readonly answerLength: number;
}

export type Activations = Pick<KeepOptions, 'activationCheckpointing' | 'activationStorage'>;

export type BackendName = 'native' | 'webgpu';
export type DeviceName = 'cpu' | 'cuda';

/** Of our side on webgpu only, the last message: the steps' numbers are lost. */
export interface ProfileMessage {
  readonly cmd: 'profile';
}

export interface Profile {
  readonly device: string;
  readonly times: readonly { readonly name: string; readonly count: number; readonly milliseconds: number }[];
}

export interface StepMessage {
  readonly cmd: 'step';
  readonly steps: number;
  readonly exact: boolean;
}

/** The answer to it. */
export interface StepResult {
  /** Of all the steps together. */
  readonly seconds: number;
  /** Of the last step, before it changed the parameters; the norm before clipping. */
  readonly loss: number;
  readonly gradNorm: number;
  /** Most memory that the process had resident so far, or the device for it. */
  readonly peakBytes: number;
}

const optimizer = {
  ...{ learningRate: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, maxGradNorm: 1, zLoss: 1e-4 },
} satisfies OptimizerOptions & { learningRate: number; zLoss: number };

/** Relative; the order of sums in f32 is all that may differ, but for rounded weights. */
const tolerance = ({ dtype }: Size): number => (dtype === 'q8' ? 1e-2 : 1e-4);

interface Size {
  readonly name: string;
  readonly batch: number;
  /** A step of DPO on `batch` pairs: half of a sequence is the prompt, a quarter each answer. */
  readonly preferences?: boolean;
  readonly activations?: Activations;
  readonly adapter?: LoadMessage['adapter'];
  readonly dtype?: LoadMessage['dtype'];
  config(): ModelConfig | Promise<ModelConfig>;
}

const adapter = { r: 32, alpha: 32, dropout: 0 };

const sizes: readonly Size[] = [
  { name: '6M', batch: 4, config: () => readConfig(join(import.meta.dirname, '../models/tales-6m')) },
  {
    name: '60M',
    batch: 4,
    config: () =>
      configFromFields(
        {
          ...{ num_transformer_layers: 12, model_dim: 640, head_dim: 64, vocab_size: 32_000, num_gqa_groups: 4 },
          ...{ qkv_multipliers: [0.5, 1], ffn_multipliers: [0.5, 4], ffn_dim_divisor: 128 },
          ...{ normalize_qk_projections: true, share_input_output_layers: true },
        },
        '60M',
      ),
  },
  { name: '270M', batch: 1, config: () => configFromName('OpenELM-270M') },
  { name: '270M-int16', batch: 1, activations: { activationStorage: 'int16' }, config: () => configFromName('OpenELM-270M') },
  { name: '6M-dpo', batch: 4, preferences: true, config: () => readConfig(join(import.meta.dirname, '../models/tales-6m')) },
  { name: '270M-dpo', batch: 1, preferences: true, config: () => configFromName('OpenELM-270M') },
  {
    name: '270M-checkpointed',
    batch: 1,
    activations: { activationCheckpointing: true },
    config: () => configFromName('OpenELM-270M'),
  },
  {
    name: '270M-lora',
    batch: 1,
    adapter,
    activations: { activationStorage: 'int16' },
    config: () => configFromName('OpenELM-270M'),
  },
  { name: '270M-lora-f32', batch: 1, adapter, config: () => configFromName('OpenELM-270M') },
  {
    name: '270M-lora-checkpointed',
    batch: 1,
    adapter,
    activations: { activationCheckpointing: true },
    config: () => configFromName('OpenELM-270M'),
  },
  {
    name: '270M-lora-q8',
    batch: 1,
    adapter,
    activations: { activationStorage: 'int16' },
    dtype: 'q8',
    config: () => configFromName('OpenELM-270M'),
  },
];

/** What holds PyTorch's own kernels, MKL and oneDNN to an instruction set. */
const torchEnvironment = (isa: string): Record<string, string> => {
  if (isa === 'vnni') return {};
  const name = isa === 'avx512' ? 'AVX512' : 'AVX2';
  return {
    ATEN_CPU_CAPABILITY: name.toLowerCase(),
    MKL_ENABLE_INSTRUCTIONS: name,
    ONEDNN_MAX_CPU_ISA: isa === 'avx512' ? 'AVX512_CORE' : name,
  };
};

/** A trainer in a process of its own. Only one call at a time. */
class TrainerProcess {
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;
  private failure?: Error;

  constructor(
    readonly name: 'openelm' | 'PyTorch',
    threads: number,
    isa: string,
  ) {
    const own = [join(import.meta.dirname, 'train-own.mjs')];
    const python = process.env.OPENELM_BENCH_PYTHON ?? 'python3';
    const [command, args] =
      name === 'openelm' ? [process.execPath, own] : [python, [join(import.meta.dirname, 'peers/train.py')]];
    const env = { ...process.env, ...torchEnvironment(isa), OMP_NUM_THREADS: String(threads) };
    this.child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
    this.child.on('error', (error) => {
      this.failure = new InputError(`${command}: ${error.message}; set OPENELM_BENCH_PYTHON to a Python with PyTorch`);
    });
    this.child.stdin!.on('error', () => {}); // its end shows in `ask`
    this.lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  async load(message: LoadMessage): Promise<void> {
    const { parameters } = (await this.ask(message)) as { parameters: number };
    const expected = message.adapter ? adapterParameterCount(message.config, message.adapter.r) : countParameters(message.config);
    if (parameters !== expected) throw new Error(`${this.name} trains ${parameters} parameters, not ${expected}`);
  }

  /** `exact`: with a gradient norm that is fit to be compared. */
  step(steps: number, exact = false): Promise<StepResult> {
    return this.ask({ cmd: 'step', steps, exact }) as Promise<StepResult>;
  }

  async end(): Promise<void> {
    if (this.child.pid === undefined || this.child.exitCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.stdin!.end(`${JSON.stringify({ cmd: 'exit' })}\n`);
    await ended;
  }

  profile(): Promise<Profile> {
    return this.ask({ cmd: 'profile' }) as Promise<Profile>;
  }

  private async ask(message: LoadMessage | StepMessage | ProfileMessage): Promise<unknown> {
    this.child.stdin!.write(`${JSON.stringify(message)}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw this.failure ?? new Error(`${this.name}'s process ended during '${message.cmd}'`);
    const answer = JSON.parse(value) as { error?: string };
    if (answer.error !== undefined) throw new InputError(`${this.name} failed in '${message.cmd}': ${answer.error}`);
    return answer;
  }
}

interface TrainBenchOptions {
  readonly sizes: readonly Size[];
  readonly threads: number;
  readonly length: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly alone: boolean;
  readonly isa: string;
  readonly backend: BackendName;
  readonly device: DeviceName;
}

/** The command: measures, prints the table and writes bench/results/train.json. */
export async function run(args: string[]): Promise<void> {
  const options = parse(args);
  execFileSync('npm', ['run', '--silent', 'compile'], {
    cwd: join(import.meta.dirname, '..'),
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const rows: Row[] = [];
  const measurements: unknown[] = [];
  for (const size of options.sizes) {
    const config = await size.config();
    const { row, ...measured } = await race(size, config, options);
    rows.push(row);
    measurements.push({ name: size.name, batch: size.batch, config, ...measured });
  }
  const { threads, length, rounds, isa, backend, device } = options;
  report(backend === 'native' ? 'train' : `train-${backend}`, rows, {
    ...{ isa, threads, length, rounds, backend, device, optimizer, measurements },
  });
}

async function race(size: Size, config: ModelConfig, options: TrainBenchOptions) {
  const { name, batch } = size;
  const { threads, length, rounds, backend } = options;
  const onCpu = backend === 'native';
  let peakFlops = onCpu ? await f32Peak(threads) : Number.NaN;
  const names = options.alone ? (['openelm'] as const) : (['openelm', 'PyTorch'] as const);
  const trainers = names.map((each) => new TrainerProcess(each, threads, options.isa));
  try {
    const message = loadMessage(config, size, options);
    const checks: StepResult[][] = [];
    for (const trainer of trainers) {
      await trainer.load(message);
      checks.push([await trainer.step(1, true), await trainer.step(1)]);
    }
    // An adapter begins with random numbers of its own on each side, which change nothing until the second step.
    const compared = size.adapter ? 1 : 2;
    const gap = checks.length > 1 ? largestGap(checks[0], checks[1], compared) : undefined;
    if (gap !== undefined && !(gap <= tolerance(size))) {
      throw new Error(`${name}: the two do not compute the same: ${JSON.stringify(checks)}`);
    }
    const steps = Math.max(1, Math.round(options.seconds / Math.max(...checks.map(([, second]) => second.seconds))));
    console.error(`${name}: ${rounds} rounds of ${steps} steps of ${names.join(', ')}`);
    const peaks: Record<string, number> = {};
    const runs = trainers.map((trainer) => {
      const speed = async (): Promise<number> => {
        const { seconds, peakBytes } = await trainer.step(steps);
        peaks[trainer.name] = peakBytes;
        return (steps * batch * length) / seconds;
      };
      return [trainer.name, speed] as const;
    });
    const before = await busyCores(500);
    const samples = await interleave(Object.fromEntries(runs), rounds);
    const others = Math.max(before, await busyCores(500));
    if (onCpu) peakFlops = Math.max(peakFlops, await f32Peak(threads));
    const profile = onCpu ? undefined : await trainers[0].profile();
    if (profile) printProfile(name, profile);
    const [ours, theirs] = [samples.openelm, samples.PyTorch];
    const perToken = flopsPerToken(config, length);
    const mfu = (speed: number): string => `${((100 * perToken * speed) / peakFlops).toFixed(0)}%`;
    const row: Record<string, string | number> = {
      ...(onCpu ? { isa: options.isa } : { backend, 'ms/step': (1000 * batch * length) / summarize(samples.openelm).median }),
      model: name,
      parameters: `${(countParameters(config) / 1e6).toFixed(1)}M`,
      batch,
    };
    for (const each of names) {
      const { median: middle, min, max } = summarize(samples[each]);
      row[`${each} tok/s`] = middle;
      row[`${each} range`] = `${min.toPrecision(3)}-${max.toPrecision(3)}`;
      row[`${each} GB`] = peaks[each] / 1e9;
      if (onCpu) row[`${each} MFU`] = mfu(middle);
      else row[`${each} TFLOP/s`] = (perToken * middle) / 1e12;
    }
    if (theirs) {
      row['times faster'] = median(ours.map((speed, round) => speed / theirs[round]));
      row['of best'] = Math.max(...ours) / Math.max(...theirs);
      row.memory = peaks.openelm / peaks.PyTorch;
      row.gap = gap!.toExponential(0);
    }
    row.others = Number(others.toFixed(1));
    return { row, steps, samples, peakBytes: peaks, peakFlops, flopsPerToken: perToken, checks, others, profile };
  } finally {
    for (const trainer of trainers) await trainer.end();
  }
}

/** Where a step's time goes: the dispatches that take most of it. */
function printProfile(name: string, { device, times }: Profile): void {
  const total = times.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const count = times.reduce((sum, each) => sum + each.count, 0);
  console.error(`${name} on ${device}: ${count} dispatches a step, ${total.toFixed(2)} ms when each runs alone`);
  const sorted = [...times].sort((a, b) => b.milliseconds - a.milliseconds);
  for (const { name, count, milliseconds } of sorted.slice(0, 40)) {
    console.error(`  ${milliseconds.toFixed(3).padStart(8)} ms  ${String(count).padStart(4)} x ${name}`);
  }
}

/** Operations a second of all threads, a multiply-add being two. */
async function f32Peak(threads: number): Promise<number> {
  return 2 * (await measureRates(threads)).floatMacs;
}

/** Random tokens, the same in every run. */
function loadMessage(
  config: ModelConfig,
  { batch, activations = {}, preferences, adapter, dtype }: Size,
  { length, threads, backend, device }: TrainBenchOptions,
): LoadMessage {
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * config.vocabSize);
  };
  const draw = (count: number): number[] => Array.from({ length: count }, next);
  const pairs = preferences ? pairsOf(config, batch, length, draw) : undefined;
  const [tokens, targets] = [0, 1].map(() => draw(batch * length));
  const message = { cmd: 'load', config, tokens, targets, length, threads, backend, device } as const;
  return { ...message, options: optimizer, activations, pairs, adapter, dtype };
}

/** Pairs of `length` tokens each, and a reference about as unsure as the model is in the beginning. */
function pairsOf(config: ModelConfig, batch: number, length: number, draw: (count: number) => number[]): Pairs {
  const [promptLength, answerLength] = [length / 2, length / 4];
  const sure = -answerLength * Math.log(config.vocabSize);
  const [prompts, chosen, rejected] = [promptLength, answerLength, answerLength].map((count) => draw(batch * count));
  const reference = Array.from({ length: 2 * batch }, () => sure);
  return { prompts, chosen, rejected, reference, beta: 0.01, promptLength, answerLength };
}

/** Of LoRA on every matrix. */
function adapterParameterCount(config: ModelConfig, r: number): number {
  return adaptableModules(config).reduce((sum, { inputs, outputs }) => sum + r * (inputs + outputs), 0);
}

/** Relative: of the first step's loss and gradient norm, and of the second's loss, which has seen AdamW; of one step its loss. */
function largestGap(ours: readonly StepResult[], theirs: readonly StepResult[], steps: number): number {
  const relative = (a: number, b: number): number => Math.abs(a - b) / Math.abs(b);
  const losses = ours.slice(0, steps).map(({ loss }, i) => relative(loss, theirs[i].loss));
  if (steps === 1) return losses[0];
  return Math.max(...losses, relative(ours[0].gradNorm, theirs[0].gradNorm));
}

function parse(args: string[]): TrainBenchOptions {
  const text = (value: string) => ({ type: 'string', default: value }) as const;
  const numbers = { threads: text('2'), length: text('512'), rounds: text('5'), seconds: text('4') };
  let values: Record<keyof typeof numbers | 'models' | 'backend', string> & { alone: boolean; isa?: string; device?: string };
  try {
    ({ values } = parseArgs({
      args,
      options: {
        models: text(sizes.map(({ name }) => name).join()),
        ...numbers,
        alone: { type: 'boolean', default: false },
        backend: text('native'),
        device: { type: 'string' },
        isa: { type: 'string' },
      },
    }));
  } catch (error) {
    throw new InputError(`${messageOf(error)}\n${usage}`);
  }
  const count = (name: keyof typeof numbers): number => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1)
      throw new InputError(`--${name} takes a whole number from 1 on, not '${values[name]}'.`);
    return value;
  };
  const chosen = values.models.split(',').map((name) => {
    const size = sizes.find((each) => each.name === name);
    if (!size) throw new InputError(`--models takes ${sizes.map((each) => each.name).join(', ')}, not '${name}'.`);
    return size;
  });
  const [threads, length, rounds, seconds] = [count('threads'), count('length'), count('rounds'), count('seconds')];
  const { backend, device = backend === 'webgpu' ? 'cuda' : 'cpu', alone } = values;
  if (backend !== 'native' && backend !== 'webgpu') throw new InputError(`--backend takes native or webgpu, not '${backend}'.`);
  if (device !== 'cpu' && device !== 'cuda') throw new InputError(`--device takes cpu or cuda, not '${device}'.`);
  const isa = backend === 'native' ? holdTo(values.isa) : 'vnni';
  return { sizes: chosen, threads, length, rounds, seconds, alone, isa, backend, device };
}
