// `openelm pretrain`: a run from a YAML file: a model from random weights, or from where the run's last checkpoint left off. It
// joins corpora, tokenizer, model, backend and the trainer, and writes what the trainer says: a line a step, the log, checkpoints.

import { join } from 'node:path';
import { Command } from 'commander';
import { mixture, processOptions } from '../data/config.js';
import type { TextProcessor } from '../data/process.js';
import { checkShares, ShardedStream, type ShardStates, shardsOf } from '../data/sharded-stream.js';
import type { DataStats } from '../data/stats.js';
import { BatchStream, type StreamOptions } from '../data/stream.js';
import { counted, InputError } from '../errors.js';
import type { NamedBytes } from '../io/bytes.js';
import { explainSettings } from '../io/explain.js';
import { jsonBytes } from '../io/json.js';
import { localCorpora } from '../io/node/corpora.js';
import { readJson } from '../io/node/files.js';
import { openTokenizerParts, type TokenizerParts } from '../io/node/tokenizer-parts.js';
import { countParameters, type ModelConfig } from '../model/config.js';
import { checkWeights } from '../model/parameters.js';
import type { Backend } from '../tensor/backend.js';
import { MovingAverage } from '../train/average.js';
import { readApart, readState, shardFile, writeCheckpoint } from '../train/checkpoint.js';
import { openLearner, trainingBytes } from '../train/data-parallel.js';
import type { TrainingBatch } from '../train/language-modelling.js';
import { LowCommunication } from '../train/low-communication.js';
import { ModelParameters } from '../train/parameters.js';
import { ignored, shardedSource, withoutPadding } from '../train/source.js';
import { TrainingStep } from '../train/step.js';
import { flopsPerToken } from '../train/trainer.js';
import { checkRoom, freeBackendSettings, openForTraining } from './backend-config.js';
import { trainingFailure } from './failure.js';
import { openShown } from './loading.js';
import { addTrainingOptions, settingsWords, type TrainingFlags } from './options.js';
import {
  freeSettings,
  modelOf,
  type PretrainConfig,
  pretrainSchema,
  readPretrainConfig,
  scheduleOf,
  stepPartsOf,
} from './pretrain-config.js';
import { loadCoreNetTraining } from './pretrain-resume.js';
import { lossWarning, pretrainSummary, sampleCorpora } from './pretrain-summary.js';
import type { Ranks } from './ranks.js';
import { sameBackend, sameDirectory, sameFiles, sameProgram } from './ranks-check.js';
import { amongRanks } from './ranks-run.js';
import { type Terminal, tell, writeLines } from './terminal.js';
import {
  aloneIn,
  checkPrompts,
  fileIn,
  peakFlops,
  prepareDirectory,
  type StartingPoint,
  startingPoint,
  trainAndTell,
  writeSamples,
} from './training-run.js';

const help = `
--explain lists the settings. Words after the file override its keys: --steps 100 --optimizer.eps 1e-6 --model.num_transformer_layers=4.

File names in the settings start from their own folder, \`out\` from the current one.

The directory \`out\` of the settings gets the settings as they were resolved (config.yaml), a line of JSON for each step
(log.jsonl; \`openelm plot\` draws it) and checkpoints (step-00001000), which \`openelm run -m\` loads as they are. Ctrl-C or
SIGTERM writes a checkpoint and ends with 0; --resume goes on from the last one to the same bits as an uninterrupted run.

Example:
  $ openelm pretrain pretrain.yaml --out runs/mine    # docs/pretraining.md has such a file`;

interface PretrainFlags extends TrainingFlags {
  readonly initFrom?: string;
  readonly resumeFrom?: string;
  readonly skipBadFiles?: boolean;
}

/** The verb with its options. */
export function pretrainCommand(terminal: Terminal): Command {
  return addTrainingOptions(new Command('pretrain'))
    .option('--init-from <model>', 'begin with the weights of this model (init_from)')
    .option('--resume-from <file>', "go on from CoreNet's training checkpoint: weights, moments, iterations (resume_from)")
    .option('--skip-bad-files', 'pass over corpus files that cannot be read (data.skip_bad_files)')
    .addHelpText('after', help)
    .action(async (given: string | undefined, after: string[], options: PretrainFlags) => {
      if (options.explain) {
        terminal.stdout.write(explainSettings(pretrainSchema));
        return;
      }
      const [settings, words] = settingsWords(given, after, options);
      const flags = [
        ...(options.initFrom === undefined ? [] : ['--init_from', options.initFrom]),
        ...(options.resumeFrom === undefined ? [] : ['--resume_from', options.resumeFrom]),
        ...(options.skipBadFiles ? ['--data.skip_bad_files', 'true'] : []),
      ];
      await amongRanks(terminal, async (terminal, ranks) => {
        const config = await ranks.agree(() => readPretrainConfig(settings, [...words, ...flags]));
        await pretrain(terminal, settings, config, options.resume ?? false, ranks);
      });
    });
}

/** Trains as the settings say; `file` names them in messages. Resolves when the last step is done, or interrupted and saved. */
async function pretrain(terminal: Terminal, file: string, config: PretrainConfig, resume: boolean, ranks: Ranks): Promise<void> {
  await sameProgram(ranks, config, freeBackendSettings);
  await ranks.agree(async () => checkShares(config.batch_size, [['processes', ranks.size]]));
  const { tokens, model } = await ranks.agree(async () => {
    const tokens = await openTokenizerParts(config.data.tokenizer);
    const model = modelOf(config, tokens.tokenizer, file);
    const encode = (prompt: string) => tokens.tokenizer.encode(prompt, { bos: true });
    await checkPrompts(file, config.samples?.prompts, model.maxContextLength, encode);
    return { tokens, model };
  });
  const { train_data_info: train, val_data_info: val = [] } = config.data;
  const corpora = [...new Set([...mixture(train), ...mixture(val)].flatMap(({ files }) => files.map(({ path }) => path)))];
  if (!config.data.skip_bad_files) await sameFiles(ranks, corpora);
  await ranks.within(
    (run) => aloneIn(config.out, run),
    () => trainIn(terminal, config, model, tokens, resume, ranks),
  );
}

async function trainIn(
  terminal: Terminal,
  settings: PretrainConfig,
  model: ModelConfig,
  tokens: TokenizerParts,
  resume: boolean,
  ranks: Ranks,
): Promise<void> {
  const note = (text: string): void => tell(terminal, text);
  await sameDirectory(ranks, settings.out);
  await ranks.showLife(settings.out, settings.parallel.timeout);
  let from = await ranks.agree(async () => {
    const from = await startingPoint(settings.out, settings, freeSettings, tokens.beside, resume, note);
    if (from) checkLength(from, settings, note);
    return from;
  });
  const config = await ranks.agree(async () => withShards(settings, from, ranks.size));
  await ranks.first(() => prepareDirectory(config.out, config));
  const needed = trainingBytes(countParameters(model), ranks.size, config.parallel, config.accumulation); // without activations
  const backend = await openForTraining(terminal, config);
  try {
    await sameBackend(ranks, backend);
    const sentence = { what: 'parameters, gradients and moments', advice: 'choose a smaller model' };
    await ranks.agree(async () => checkRoom(backend, needed, ranks, sentence));
    const resumed = from;
    const parameters = await ranks.agree(async () => {
      const parameters = new ModelParameters(backend, model);
      if (from) return parameters; // filled by `train`, when it is known what of the moments lies here
      if (config.resume_from !== undefined) from = await fromCoreNet(config, config.resume_from, parameters);
      else if (config.init_from === undefined) parameters.initialize(config.seed);
      else await loadWeights(terminal, parameters, config.init_from);
      return parameters;
    });
    const peak = await peakFlops(backend);
    const run = new Run(terminal, config, backend, parameters, tokens, ranks);
    await run.train(from, peak, resumed).finally(() => run.close());
  } catch (error) {
    const { batch_size: rows, data } = config;
    throw trainingFailure(error, `${counted(rows / ranks.size, 'row')} of ${counted(data.sequence_length, 'token')}`);
  } finally {
    await backend.dispose();
  }
}

/** Where CoreNet left off; its data begin anew here. Throws `InputError` when the run is to be shorter. */
async function fromCoreNet(config: PretrainConfig, file: string, parameters: ModelParameters): Promise<StartingPoint> {
  const step = await loadCoreNetTraining(file, parameters);
  const { steps, batch_size: rows, accumulation, data } = config;
  if (steps <= step)
    throw new InputError(`${file} is after step ${step}, but the settings have only ${counted(steps, 'step')}; give more`);
  const tokens = step * rows * accumulation * data.sequence_length;
  return { step, path: file, record: { tokens, data: undefined, losses: { train: null, validation: null }, config } };
}

/** A run keeps the shards that it began with. */
function withShards(config: PretrainConfig, from: StartingPoint | undefined, processes: number): PretrainConfig {
  const saved = from && ((from.record.config as Partial<PretrainConfig>).parallel?.shards ?? 1);
  const { shards = saved ?? processes } = config.parallel;
  if (saved !== undefined && shards !== saved) {
    throw new InputError(
      `${from!.path} was made with the data in ${counted(saved, 'shard')}, not ${shards}: set parallel.shards back`,
    );
  }
  return { ...config, parallel: { ...config.parallel, shards } };
}

/** Begins with a model's weights. Throws `InputError` when they have another shape. */
async function loadWeights(terminal: Terminal, parameters: ModelParameters, name: string): Promise<void> {
  const { place, openWeights } = await openShown(terminal, name);
  const files = await openWeights();
  try {
    await parameters.load(checkWeights(parameters.config, files.tensors, place).tensors);
  } finally {
    await files.close();
  }
}

/** A run that goes on may be longer than it was to be, not shorter than it is. */
function checkLength({ step, path, record }: StartingPoint, { steps }: PretrainConfig, note: (text: string) => void): void {
  const before = (record.config as PretrainConfig).steps;
  if (steps < step)
    throw new InputError(`${path} is after step ${step}, but the settings have only ${counted(steps, 'step')}; give more`);
  if (steps === before) return;
  note(
    `the run has ${counted(steps, 'step')} now, not ${before}: from here on the learning rate follows the schedule of ${steps}`,
  );
}

/** Where the data stand: of one shard in the record, of several in files, by whoever answers for them. */
function stateOf(states: ShardStates, shards: number): { data: unknown; own: NamedBytes[] } {
  if (shards === 1) return { data: states[0], own: [] };
  const own = Object.entries(states).map(([shard, state]) => ({ name: shardFile(Number(shard)), bytes: jsonBytes(state) }));
  return { data: { shards }, own };
}

/** One run, once everything is opened. */
class Run {
  private readonly processor: TextProcessor;

  constructor(
    private readonly terminal: Terminal,
    private readonly config: PretrainConfig,
    private readonly backend: Backend,
    private readonly parameters: ModelParameters,
    private readonly tokens: TokenizerParts,
    private readonly ranks: Ranks,
  ) {
    this.processor = tokens.processor(processOptions(config.data));
  }

  /** `resumed`: a checkpoint of this program's, whose state is not read yet. */
  async train(from: StartingPoint | undefined, peak: number | undefined, resumed?: { readonly path: string }): Promise<void> {
    const { config, parameters, terminal, tokens, ranks } = this;
    const { validation, samples, checkpoints } = config;
    const { tokenizer, beside } = tokens;
    const { learner, step, kept, savedEma, dispose } = await ranks.agree(() => this.openLearning(resumed));
    const momentum = ranks.rank === 0 ? config.ema_momentum : undefined;
    const ema = momentum === undefined ? undefined : await MovingAverage.create(parameters, momentum, savedEma);
    const { stream, sample } = await ranks.agree(() => this.openData(from));
    try {
      const facts = { model: parameters.config, arenaBytes: step.arenaBytes, peakFlops: peak, backend: this.backend.description };
      writeLines(terminal, pretrainSummary({ config, sample, ...facts, from: from?.step, processes: ranks.size }));
      const warning = lossWarning(config.data, sample);
      if (warning) tell(terminal, warning);
      await trainAndTell(terminal, {
        ...{
          out: config.out,
          settings: config,
          learner,
          source: shardedSource(stream),
          from,
          counted: 'tokens',
          ranks,
          kept,
        },
        options: {
          steps: config.steps,
          schedule: scheduleOf(config),
          accumulation: config.accumulation,
          averageAccumulated: config.average_accumulated,
          skipBadSteps: config.skip_bad_steps,
          flopsPerToken: flopsPerToken(parameters.config, config.data.sequence_length),
          peakFlops: peak,
          alike: kept.outer === undefined,
        },
        onUpdate: ema && (() => ema.follow()),
        validation: validation && { every: validation.every, batches: () => this.validationBatches(validation.batches) },
        samples: samples && {
          every: samples.every,
          write: (at) => writeSamples(this.backend, step.model, { tokenizer }, samples, at),
        },
        checkpoints: {
          ...checkpoints,
          write: async (file, record, shared) => {
            const { dtype } = checkpoints;
            await writeCheckpoint(file, { parameters, dtype, ema: await ema?.current(), beside, record, shared });
          },
          state: (data) => stateOf(data as ShardStates, stream.shards),
        },
      });
    } finally {
      await stream.close();
      dispose();
    }
  }

  /** What takes the steps, with what a checkpoint had of it. */
  private async openLearning(resumed?: { readonly path: string }) {
    const { backend, config, parameters, ranks } = this;
    const parts = { model: parameters.model(), parameters, ...stepPartsOf(config, ranks.size) };
    if (!config.sync || ranks.size === 1) {
      const opened = openLearner(backend, parts, ranks.collective, config.parallel);
      const savedEma = resumed && (await readState(fileIn(resumed.path), parameters, { ...opened.kept, ...ranks.place }));
      return { ...opened, savedEma };
    }
    // Processes that step apart, each with moments of its own.
    const outer = resumed ? await readApart(fileIn(resumed.path), parameters, ranks) : await LowCommunication.begin(parameters);
    const step = new TrainingStep(backend, parts);
    const learner = new LowCommunication(backend, step, parameters, ranks.collective, config.sync, config.steps, outer);
    return { learner, step, kept: { outer }, savedEma: undefined, dispose: () => step.dispose() };
  }

  /** The rows to learn from, and what is in them. */
  private async openData(from: StartingPoint | undefined): Promise<{ stream: ShardedStream; sample: DataStats }> {
    const { config, processor } = this;
    if (config.validation) {
      // What is wrong with that corpus shows now, not hours later.
      const first = this.validationBatches(1);
      await first.next();
      await first.return(undefined);
    }
    return { stream: await this.stream(from), sample: await sampleCorpora(config.data, localCorpora, processor) };
  }

  async close(): Promise<void> {
    await this.processor.close();
  }

  private async stream(from?: StartingPoint): Promise<ShardedStream> {
    const { config, ranks } = this;
    const shards = config.parallel.shards!;
    const share = ranks.place;
    let states: Record<number, unknown> | undefined;
    if (from?.record.data !== undefined) {
      states = {};
      for (const shard of shardsOf(config.batch_size, shards, share)) {
        states[shard] =
          shards === 1 ? from.record.data : await readJson(join(from.path, shardFile(shard)), { maxBytes: 1 << 30 });
      }
    }
    return new ShardedStream(this.streamOptions('train'), shards, share, states);
  }

  private streamOptions(split: 'train' | 'val'): StreamOptions {
    const { config, terminal } = this;
    return {
      config: config.data,
      split,
      batchSize: config.batch_size,
      corpora: localCorpora,
      processor: this.processor,
      padId: 0,
      ignoreIndex: ignored,
      onBadFile: (reason) => tell(terminal, `passed over: ${reason}`),
      onBadRow: (reason) => tell(terminal, `passed over: ${reason}`),
    };
  }

  private async *validationBatches(count: number): AsyncGenerator<TrainingBatch> {
    // Of a size that one process has room for, and as many more.
    const { size } = this.ranks;
    const options = this.streamOptions('val');
    const stream = new BatchStream({ ...options, batchSize: options.batchSize / size });
    try {
      for (let i = 0; i < count * size; i++) {
        const batch = await stream.next();
        if (!batch) return;
        yield withoutPadding(batch);
      }
    } finally {
      await stream.close();
    }
  }
}
