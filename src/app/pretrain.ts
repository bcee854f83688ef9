// `openelm pretrain`: a run from a YAML file: a model from random weights, or from where the run's last checkpoint left off. It
// joins corpora, tokenizer, model, backend and the trainer, and writes what the trainer says: a line a step, the log, checkpoints.

import { join } from 'node:path';
import { Command } from 'commander';
import { stringify } from 'yaml';
import { NativeBackend } from '../backends/native.js';
import { processOptions } from '../data/config.js';
import type { TextProcessor } from '../data/process.js';
import { BatchStream } from '../data/stream.js';
import { InputError } from '../errors.js';
import { openBackend } from '../index.js';
import { Engine } from '../infer/engine.js';
import { TextModel } from '../infer/text.js';
import type { NamedBytes } from '../io/bytes.js';
import {
  type CheckpointPlace,
  checkpointName,
  keepLast,
  listCheckpoints,
  removeLeftovers,
  writeDirectory,
} from '../io/node/checkpoints.js';
import { localCorpora } from '../io/node/corpora.js';
import { openFile, writeAtomic } from '../io/node/files.js';
import { withLock } from '../io/node/lock.js';
import { checkMemory } from '../io/node/memory.js';
import { readIfThere } from '../io/node/paths.js';
import { countParameters, type ModelConfig } from '../model/config.js';
import { parameterValues } from '../model/initialize.js';
import type { Backend } from '../tensor/backend.js';
import { ExecutionError } from '../tensor/execution.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { MovingAverage } from '../train/average.js';
import { difference, readRecord, readState, type TrainingRecord, writeCheckpoint } from '../train/checkpoint.js';
import type { TrainingBatch } from '../train/language-modelling.js';
import { ModelParameters } from '../train/parameters.js';
import { ignored, trainingSource, withoutPadding } from '../train/source.js';
import { TrainingStep } from '../train/step.js';
import { flopsPerToken, type StepReport, Trainer, type TrainerHooks } from '../train/trainer.js';
import { freeSettings, modelOf, type PretrainConfig, readPretrainConfig, scheduleOf, stepPartsOf } from './pretrain-config.js';
import { formatBytes, formatSeconds } from './progress.js';
import { type LogLine, RunLog } from './run-log.js';
import type { Terminal } from './terminal.js';
import { openTokenizerParts, type TokenizerParts } from './training-data.js';

const help = `
Words after the file override its keys: --steps 100 --optimizer.eps 1e-6 --model.num_transformer_layers=4.

File names in the settings start from their own folder, \`out\` from the current one.

The directory \`out\` of the settings gets the settings as they were resolved (config.yaml), a line of JSON for each step
(log.jsonl; \`openelm plot\` draws it) and checkpoints (step-00001000), which \`openelm run -m\` loads as they are. Ctrl-C or
SIGTERM writes a checkpoint and ends with 0; --resume goes on from the last one to the same bits as an uninterrupted run.

Example:
  $ openelm pretrain recipes/tiny.yaml --out runs/tiny`;

/** The verb with its options. */
export function pretrainCommand(terminal: Terminal): Command {
  return new Command('pretrain')
    .argument('<config>', 'the settings, a YAML file')
    .argument('[overrides...]', '--key value, over the settings')
    .option('--resume', "go on from the run's last checkpoint")
    .option('--skip-bad-steps', 'pass over steps whose gradient is not finite (skip_bad_steps)')
    .option('--skip-bad-files', 'pass over corpus files that cannot be read (data.skip_bad_files)')
    .allowUnknownOption()
    .addHelpText('after', help)
    .action(
      async (file: string, words: string[], options: Record<'resume' | 'skipBadSteps' | 'skipBadFiles', boolean | undefined>) => {
        const flags = [
          ...(options.skipBadSteps ? ['--skip_bad_steps', 'true'] : []),
          ...(options.skipBadFiles ? ['--data.skip_bad_files', 'true'] : []),
        ];
        await pretrain(terminal, file, await readPretrainConfig(file, [...words, ...flags]), options.resume ?? false);
      },
    );
}

/** Trains as the settings say; `file` names them in messages. Resolves when the last step is done, or interrupted and saved. */
export async function pretrain(terminal: Terminal, file: string, config: PretrainConfig, resume: boolean): Promise<void> {
  const tokens = await openTokenizerParts(config.data.tokenizer);
  const model = modelOf(config, tokens.tokenizer, file);
  checkPrompts(config, tokens.tokenizer, model.maxContextLength, file);
  const lock = join(config.out, '.lock');
  const onWait = (): never => {
    throw new InputError(`${config.out}: another run is training there; choose another --out (if there is none, remove ${lock})`);
  };
  await withLock(lock, { onWait }, () => trainIn(terminal, config, model, tokens, resume));
}

async function trainIn(
  terminal: Terminal,
  config: PretrainConfig,
  model: ModelConfig,
  tokens: TokenizerParts,
  resume: boolean,
): Promise<void> {
  const { stdout, stderr } = terminal;
  const from = await startingPoint(config, tokens.beside, resume, (text) => stderr.write(`openelm: ${text}\n`));
  await prepareDirectory(config);
  const needed = 16 * countParameters(model); // weights, gradients and two moments in f32; activations are not counted
  checkMemory(
    needed,
    (available) =>
      `not enough memory: parameters, gradients and moments take ${formatBytes(needed)}, and ${formatBytes(available)} are free; choose a smaller model`,
  );

  const { backend, reason } = openBackend(config.backend, { threads: config.threads });
  if (reason && config.backend === 'auto') stderr.write(`openelm: training without the native backend is slow: ${reason}\n`);
  try {
    const parameters = new ModelParameters(backend, model);
    let ema: Map<string, Float32Array> | undefined;
    if (from) ema = await readState(fileIn(from.path), parameters);
    else initialize(parameters, config.seed);
    const peak = await peakFlops(backend);
    stdout.write(stringify(config));
    stdout.write(
      `# ${countParameters(model).toLocaleString('en')} parameters; ${backend.description}` +
        `${peak ? `, ${(peak / 1e9).toFixed(0)} GFLOP/s at most` : ''}${from ? `; goes on after step ${from.step}` : ''}\n`,
    );
    await new Run(terminal, config, backend, parameters, tokens, from?.record).train(from, peak, ema);
  } catch (error) {
    if (!(error instanceof ExecutionError && error.code === 'out-of-memory')) throw error;
    const { batch_size: rows, data } = config;
    throw new InputError(
      `not enough memory for ${rows} rows of ${data.sequence_length} tokens: lower batch_size and raise accumulation, or set activation_storage: bf16 or activation_checkpointing`,
    );
  } finally {
    await backend.dispose();
  }
}

interface StartingPoint extends CheckpointPlace {
  readonly record: TrainingRecord;
}

/** The checkpoint to go on from, checked against the settings; undefined for a new run. */
async function startingPoint(
  config: PretrainConfig,
  tokenizer: NamedBytes | undefined,
  resume: boolean,
  note: (text: string) => void,
): Promise<StartingPoint | undefined> {
  const last = (await listCheckpoints(config.out)).at(-1);
  if (!last) {
    if (resume) note(`${config.out}: no checkpoint there; starting at the beginning`);
    return undefined;
  }
  if (!resume) throw new InputError(`${last.path} is there already: --resume goes on from it; or choose another --out`);
  const record = await readRecord(fileIn(last.path));
  // Through JSON, as the saved ones went.
  const differs = difference(JSON.parse(JSON.stringify(config)), record.config, freeSettings);
  if (differs) throw new InputError(`${last.path} was made with other settings: ${differs}; set it back, or start a new run`);
  const saved = tokenizer && (await readIfThere(join(last.path, tokenizer.name)));
  if (tokenizer && !(saved && Buffer.compare(saved, tokenizer.bytes) === 0)) {
    throw new InputError(
      `${last.path} was made with another tokenizer than ${config.data.tokenizer}; take that one, or start a new run`,
    );
  }
  return { ...last, record };
}

function fileIn(directory: string): (name: string) => ReturnType<typeof openFile> {
  return (name) => openFile(join(directory, name));
}

async function prepareDirectory(config: PretrainConfig): Promise<void> {
  await removeLeftovers(config.out);
  await writeAtomic(join(config.out, 'config.yaml'), (sink) => sink.write(new TextEncoder().encode(stringify(config))));
}

/** Found out now rather than when the first sample is due. */
function checkPrompts({ samples }: PretrainConfig, tokenizer: Tokenizer, context: number, file: string): void {
  for (const prompt of samples?.prompts ?? []) {
    const { length } = tokenizer.encode(prompt, { bos: true });
    if (length < context) continue;
    throw new InputError(
      `${file}: samples.prompts: ${JSON.stringify(prompt)} has ${length} tokens, the model's context ${context}; shorten it`,
    );
  }
}

function initialize(parameters: ModelParameters, seed: number): void {
  for (const parameter of parameters.list) {
    const values = new Float32Array(parameter.shape.reduce((product, size) => product * size, 1));
    let end = 0;
    for (const chunk of parameterValues(parameters.config, parameter, seed)) {
      values.set(chunk, end);
      end += chunk.length;
    }
    parameters.write(parameter.name, values);
  }
}

/** Two operations a multiply-add, on all threads; undefined where that is not measured. */
async function peakFlops(backend: Backend): Promise<number | undefined> {
  if (!(backend instanceof NativeBackend)) return undefined;
  return 2 * (await backend.measureRoofline()).f32MultiplyAdds * backend.limits.threads;
}

/** One run, once everything is opened. */
class Run {
  private readonly losses: { train: number | null; validation: number | null };
  private log!: RunLog;
  private readonly processor: TextProcessor;

  constructor(
    private readonly terminal: Terminal,
    private readonly config: PretrainConfig,
    private readonly backend: Backend,
    private readonly parameters: ModelParameters,
    private readonly tokens: TokenizerParts,
    record?: TrainingRecord,
  ) {
    this.processor = tokens.processor(processOptions(config.data));
    this.losses = { train: null, validation: null, ...record?.losses };
  }

  async train(from: StartingPoint | undefined, peak: number | undefined, savedEma?: Map<string, Float32Array>): Promise<void> {
    const { config, parameters, terminal } = this;
    this.log = await RunLog.open(config.out, from?.step ?? 0);
    const step = new TrainingStep(this.backend, { model: parameters.model(), parameters, ...stepPartsOf(config) });
    const momentum = config.ema_momentum;
    const ema = momentum === undefined ? undefined : await MovingAverage.create(parameters, momentum, savedEma);
    if (config.validation) {
      // What is wrong with that corpus shows now, not hours later.
      const first = this.validationBatches(1);
      await first.next();
      await first.return(undefined);
    }
    const stream = this.stream('train', from?.record.data);
    const stop = new AbortController();
    const forget = onStop(terminal, () => stop.abort());
    const options = {
      steps: config.steps,
      schedule: scheduleOf(config),
      accumulation: config.accumulation,
      averageAccumulated: config.average_accumulated,
      skipBadSteps: config.skip_bad_steps,
      flopsPerToken: flopsPerToken(parameters.config, config.data.sequence_length),
      peakFlops: peak,
    };
    const start = from && { step: from.step, tokens: from.record.tokens, checkpoint: from.path };
    try {
      const hooks = this.hooks(step, ema, stop.signal);
      const { step: last, interrupted } = await new Trainer(step, trainingSource(stream), options, hooks, start).run();
      const place = join(config.out, checkpointName(last));
      if (interrupted) terminal.stderr.write(`openelm: interrupted after step ${last}; --resume goes on from ${place}\n`);
      else terminal.stdout.write(`done: ${place}\n`);
    } finally {
      forget();
      await stream.close();
      await this.processor.close();
      step.dispose();
    }
  }

  private stream(split: 'train' | 'val', state?: unknown): BatchStream {
    const { config, terminal } = this;
    return new BatchStream(
      {
        config: config.data,
        split,
        batchSize: config.batch_size,
        corpora: localCorpora,
        processor: this.processor,
        padId: 0,
        ignoreIndex: ignored,
        onBadFile: (reason) => terminal.stderr.write(`openelm: passed over: ${reason}\n`),
      },
      state,
    );
  }

  private hooks(
    step: TrainingStep<TrainingBatch>,
    ema: MovingAverage | undefined,
    signal: AbortSignal,
  ): TrainerHooks<TrainingBatch> {
    const { config, terminal, losses } = this;
    const { validation, samples, checkpoints } = config;
    return {
      signal,
      onStep: async (report) => {
        const { means, ...rest } = report;
        losses.train = means.loss;
        terminal.stdout.write(`${stepLine(report, config.steps)}\n`);
        await this.log.write({ type: 'step', ...rest, ...means });
      },
      onValidation: async (report) => {
        const { step: at, means, count: tokens } = report;
        const { loss, crossEntropy } = means;
        const perplexity = Math.exp(crossEntropy);
        losses.validation = loss;
        terminal.stdout.write(
          `  validation  loss ${loss.toFixed(4)}  ce ${crossEntropy.toFixed(4)}  perplexity ${perplexity.toFixed(2)}  of ${tokens} tokens\n`,
        );
        await this.log.write({ type: 'validation', step: at, ...means, perplexity, count: tokens });
      },
      onUpdate: ema && (() => ema.follow()),
      validation: validation && { every: validation.every, batches: () => this.validationBatches(validation.batches) },
      interludes: samples && [{ every: samples.every, run: (at) => this.sample(step, samples, at) }],
      checkpoints: {
        every: checkpoints.every,
        save: async (progress) => {
          const path = join(config.out, checkpointName(progress.step));
          const record = { ...progress, config, losses };
          const { parameters, tokens } = this;
          const average = await ema?.current();
          await writeDirectory(path, (file) =>
            writeCheckpoint(file, { parameters, dtype: checkpoints.dtype, ema: average, tokenizer: tokens.beside, record }),
          );
          await keepLast(config.out, checkpoints.keep);
          await this.log.write({ type: 'checkpoint', step: progress.step, path });
          return path;
        },
      },
    };
  }

  private async *validationBatches(count: number): AsyncGenerator<TrainingBatch> {
    const stream = this.stream('val');
    try {
      for (let i = 0; i < count; i++) {
        const batch = await stream.next();
        if (!batch) return;
        yield withoutPadding(batch);
      }
    } finally {
      await stream.close();
    }
  }

  // A new engine each time: what it caches belongs to the weights as they are.
  private async sample(
    step: TrainingStep<TrainingBatch>,
    { prompts, max_tokens: maxTokens, temperature }: NonNullable<PretrainConfig['samples']>,
    at: number,
  ): Promise<void> {
    const engine = new Engine(this.backend, step.model, { cacheType: 'f32' });
    try {
      const writer = new TextModel({ engine, tokenizer: this.tokens.tokenizer });
      for (const prompt of prompts) {
        const { text } = await writer.complete(prompt, { maxTokens, temperature, seed: at });
        const line: LogLine = { type: 'sample', step: at, prompt, text };
        this.terminal.stdout.write(`  sample  ${JSON.stringify(prompt)} ${JSON.stringify(text)}\n`);
        await this.log.write(line);
      }
    } finally {
      await engine.dispose();
    }
  }
}

/** Calls back once at Ctrl-C or SIGTERM; a second one ends the process. */
function onStop(terminal: Terminal, stop: () => void): () => void {
  const stopOnce = (): void => {
    forget();
    terminal.stderr.write('openelm: ending after this step, with a checkpoint\n');
    stop();
  };
  const forgetInterrupt = terminal.onInterrupt(stopOnce);
  process.on('SIGTERM', stopOnce);
  const forget = (): void => {
    forgetInterrupt();
    process.off('SIGTERM', stopOnce);
  };
  return forget;
}

/** `step 12/3000  loss 4.1234  ce 4.1200  z 0.0034  lr 1.20e-3  norm 0.87  1234 tok/s  mfu 48.1%  eta 1:02:03`. */
export function stepLine(report: StepReport, steps: number): string {
  const { step, means, learningRate, gradNorm, tokensPerSecond, mfu, skipped, secondsLeft } = report;
  const { loss, crossEntropy, zLoss } = means;
  return [
    `step ${String(step).padStart(String(steps).length)}/${steps}`,
    `loss ${loss.toFixed(4)}`,
    `ce ${crossEntropy.toFixed(4)}`,
    `z ${zLoss.toFixed(4)}`,
    `lr ${learningRate.toExponential(2)}`,
    `norm ${gradNorm.toFixed(2)}`,
    `${tokensPerSecond.toFixed(0)} tok/s`,
    ...(mfu === undefined ? [] : [`mfu ${(100 * mfu).toFixed(1)}%`]),
    `eta ${formatSeconds(secondsLeft)}`,
    ...(skipped ? ['passed over: the gradient is not finite'] : []),
  ].join('  ');
}
