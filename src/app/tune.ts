// `openelm tune`: a model that answers, from one that goes on with a text: supervised fine-tuning on conversations, or preference
// optimization on pairs, which may be sampled from the model itself. It joins rows, tokenizer, model, backend and objective; what a run does around its steps is
// training-run.ts.

import { Command } from 'commander';
import type { RowEncoders } from '../data/examples.js';
import { counted, InputError } from '../errors.js';
import { type Checkpoint, openChatTemplate, openTokenizer, sideFiles } from '../index.js';
import { chatTemplateFiles, chosenTemplate, defaultChatTemplate, encodeConversation } from '../infer/chat.js';
import type { NamedBytes } from '../io/bytes.js';
import { explainSettings } from '../io/explain.js';
import { countParameters } from '../model/config.js';
import { openModel } from '../open.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { exampleBatching, type PlannedBatches, pairBatching, planTuning } from '../train/batching.js';
import { openLearner } from '../train/data-parallel.js';
import { languageModelling, type TrainingBatch } from '../train/language-modelling.js';
import type { Objective } from '../train/objective.js';
import { type PreferenceBatch, preferenceOptimization } from '../train/preference-optimization.js';
import type { TrainingStep } from '../train/step.js';
import { flopsPerToken } from '../train/trainer.js';
import { checkRoom, freeBackendSettings, openForTraining } from './backend-config.js';
import { trainingFailure } from './failure.js';
import { openShown } from './loading.js';
import { addTrainingOptions, settingsWords, type TrainingFlags } from './options.js';
import { formatBytes, formatNumber } from './progress.js';
import type { Ranks } from './ranks.js';
import { sameBackend, sameDirectory, sameFiles, sameProgram } from './ranks-check.js';
import { amongRanks } from './ranks-run.js';
import { openReward } from './reward.js';
import { readTextFile, type Terminal, tell } from './terminal.js';
import { optimizerOptions } from './training-config.js';
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
import { placeFacts, planText } from './training-screen.js';
import { type SamplingConfig, sampledPairs, samplePairs } from './tune-answers.js';
import { freeTuneSettings, readTuneConfig, type TuneConfig, tuneSchedule, tuneSchema } from './tune-config.js';
import { loadTuningData, makeExample, makePair, planOptions, type TuningData } from './tune-data.js';
import { asksReference, type Learning, learningSize, openLearning } from './tune-learner.js';
import { checkOrigin, contentOf, type Origin, weightsOf } from './tune-origin.js';
import { judgeByReference } from './tune-reference.js';

const help = `
--explain lists the settings. Words after the file override its keys: --epochs 2 --learning_rate.max 1e-5 --data.train chats.jsonl.
Without a file they are all of them: openelm tune --method sft --data.train chats.jsonl --learning_rate 2e-4 --out runs/mine.

Rows of the data have messages; prompt and completion; instruction and output (and input); or, for dpo, chosen and rejected (and
prompt), as texts or conversations. File names in the settings start from their own folder, \`out\` from the current one.

The directory \`out\` gets the settings as they were resolved (config.yaml), a line of JSON for each step (log.jsonl; \`openelm plot\`
draws it) and checkpoints with the tokenizer and the chat template, which \`openelm chat -m\` loads as they are. Ctrl-C or
SIGTERM writes a checkpoint and ends with 0; --resume goes on from the last one to the same bits as an uninterrupted run.

Example:
  $ openelm tune tune.yaml --out runs/mine    # docs/tuning.md has such a file`;

/** The verb with its options. */
export function tuneCommand(terminal: Terminal): Command {
  return addTrainingOptions(new Command('tune'))
    .addHelpText('after', help)
    .action(async (given: string | undefined, after: string[], options: TrainingFlags) => {
      if (options.explain) {
        terminal.stdout.write(explainSettings(tuneSchema));
        return;
      }
      const [file, words] = settingsWords(given, after, options);
      await amongRanks(terminal, async (own, ranks) => {
        const config = await ranks.agree(() => readTuneConfig(file, words));
        await sameProgram(ranks, config, freeBackendSettings);
        await sameFiles(ranks, [...config.data.train, ...config.data.validation]);
        await ranks.within(
          (run) => aloneIn(config.out, run),
          () => tune(own, file, config, options.resume ?? false, ranks),
        );
      });
    });
}

/** The model that is tuned, and what it is talked to with. */
interface Base {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  readonly template: string;
  /** What goes beside the tuned model: the tokenizer, and the template that it was tuned with. */
  readonly beside: readonly NamedBytes[];
  readonly encoders: RowEncoders;
  /** Tokens of an example at most. */
  readonly maxLength: number;
}

async function openBase(terminal: Terminal, config: TuneConfig): Promise<Base> {
  const checkpoint = await openShown(terminal, config.model);
  const tokenizer = await openTokenizer(checkpoint);
  if (!tokenizer) throw new InputError(`${checkpoint.name}: no tokenizer lies beside the model; put its tokenizer.model there`);
  const { chat_template: file, max_length: longest } = config.data;
  const own = file === undefined ? await openChatTemplate(checkpoint) : await readTextFile(file);
  const templates = own ?? defaultChatTemplate;
  const template = chosenTemplate(templates)!;
  const files = (await sideFiles(checkpoint)).filter(({ name }) => !name.endsWith('.jinja'));
  return {
    ...{ checkpoint, tokenizer, template },
    beside: [...files, ...chatTemplateFiles(templates)],
    encoders: {
      tokenizer,
      chat: (messages, answering) => encodeConversation(tokenizer, template, messages, answering),
    },
    maxLength: Math.min(longest, checkpoint.config.maxContextLength),
  };
}

/** Tunes as the settings say; `file` names them in messages. Resolves when the last step is done, or interrupted and saved. */
async function tune(terminal: Terminal, file: string, config: TuneConfig, resume: boolean, ranks: Ranks): Promise<void> {
  const { batch_size: size } = config;
  if (size % ranks.size !== 0) {
    const below = Math.floor(size / ranks.size) * ranks.size;
    const choice = `${below > 0 ? `${below} or ` : ''}${counted(below + ranks.size, 'example')} (batch_size)`;
    const sentence = `a batch of ${counted(size, 'example')} cannot be shared out among ${ranks.size} processes: choose ${choice}`;
    await ranks.agree(() => Promise.reject(new InputError(sentence)));
  }
  const note = (text: string): void => tell(terminal, text);
  await sameDirectory(ranks, config.out);
  await ranks.showLife(config.out, config.parallel.timeout);
  const { base, from } = await ranks.agree(async () => {
    const base = await openBase(terminal, config);
    const encode = (content: string) => base.encoders.chat([{ role: 'user', content }], true);
    await checkPrompts(file, config.samples?.prompts, base.checkpoint.config.maxContextLength, encode);
    return { base, from: await startingPoint(config.out, config, freeTuneSettings, base.beside, resume, note) };
  });
  await ranks.first(() => prepareDirectory(config.out, config));
  if (config.method === 'sft') await tuneOnAnswers(terminal, config, base, ranks, from);
  else if (config.method === 'dpo') await tuneOnPairs(terminal, config, base, ranks, from);
  else {
    // A run that has learned from its pairs goes on with them.
    const begun = from !== undefined && (await sampledPairs(config.out)) !== undefined;
    if (!begun) await ranks.first(() => sampleFrom(terminal, { ...config, rso: config.rso! }, base));
    const pairs = await sampledPairs(config.out);
    if (pairs === undefined) return; // interrupted; --resume goes on
    const onPairs = { ...config, data: { ...config.data, train: [pairs], limit: undefined } };
    await tuneOnPairs(terminal, onPairs, base, ranks, from, config);
  }
}

/** Lets the model answer the prompts of the data. */
async function sampleFrom(terminal: Terminal, config: SamplingConfig, { checkpoint, tokenizer, template }: Base): Promise<void> {
  const { backend: choice, threads, gpu } = config;
  await samplePairs(terminal, config, await weightsOf(checkpoint), template, async () => {
    const reward = await openReward(config.rso.reward);
    const { backend, model, close } = await openModel(config.model, { backend: choice, threads, gpu }).catch((error: unknown) =>
      reward.close().then(() => Promise.reject(error)),
    );
    return {
      ...{ backend, model, tokenizer, template, reward },
      close: () => reward.close().finally(close),
    };
  });
}

async function tuneOnAnswers(
  terminal: Terminal,
  config: TuneConfig,
  base: Base,
  ranks: Ranks,
  from?: StartingPoint,
): Promise<void> {
  const data = await ranks.agree(() => loadTuningData(terminal, config, makeExample(config, base.encoders, base.maxLength)));
  const { examples } = data.train;
  const split = { train: examples, validation: data.validation };
  const plan = planTuning(split, exampleBatching, planOptions(config, base.maxLength, ranks));
  const tokens = examples.reduce((sum, example) => sum + example.tokens.length, 0);
  const learned = examples.reduce((sum, example) => sum + example.learned.reduce((a, b) => a + b, 0), 0);
  tellData(terminal, data, `${counted(tokens, 'token', formatNumber)}, ${formatNumber(learned)} of them learned`);
  const { z_loss: zLoss, label_smoothing: labelSmoothing } = config;
  const objective = (): Objective<TrainingBatch> => languageModelling({ ...plan.limits, zLoss, labelSmoothing });
  const origin = await ranks.agree(() =>
    originOf(config, base, from, contentOf(examples.map((example) => [example.tokens, example.learned]))),
  );
  const averageLength = tokens / examples.length;
  await train(terminal, config, base, ranks, {
    plan,
    objective,
    averageLength,
    counted: 'tokens',
    from,
    origin,
    settings: config,
  });
}

async function tuneOnPairs(
  terminal: Terminal,
  config: TuneConfig,
  base: Base,
  ranks: Ranks,
  from?: StartingPoint,
  settings = config,
): Promise<void> {
  const data = await ranks.agree(() => loadTuningData(terminal, config, makePair(config, base.encoders, base.maxLength)));
  const { examples } = data.train;
  const split = { train: examples, validation: data.validation };
  const plan = planTuning(split, pairBatching, planOptions(config, base.maxLength, ranks));
  const tokens = examples.reduce((sum, pair) => sum + pairBatching.rowsOf(pair), 0);
  const cut = examples.filter((pair) => pair.cut).length;
  tellData(
    terminal,
    data,
    `${counted(tokens, 'token', formatNumber)}${cut ? `, ${counted(cut, 'pair')} cut to their limits` : ''}`,
  );
  const { loss, beta, label_smoothing: labelSmoothing } = config.dpo;
  const objective = ({ reference }: Learning): Objective<PreferenceBatch> =>
    preferenceOptimization({ ...plan.limits, maxPairs: plan.mostItems, loss, beta, labelSmoothing, reference });
  const origin = await ranks.agree(() =>
    originOf(config, base, from, contentOf(examples.map(({ prompt, chosen, rejected }) => [prompt, chosen, rejected]))),
  );
  await train(terminal, config, base, ranks, {
    ...{ plan, objective, averageLength: tokens / examples.length, counted: 'pairs', from, origin, settings },
    prepare: async (step) => {
      if (asksReference(config)) return;
      const judged = [...examples, ...data.validation];
      const model = `${origin.base} ${config.adapter === 'none' ? 'f32' : config.adapter.dtype}`;
      const judge = () => judgeByReference(terminal, config.out, judged, model, step);
      await ranks.first(judge);
      if (ranks.rank > 0) await judge(); // reads what rank 0 wrote
    },
  });
}

/** What the run is of, after a look at whether a checkpoint is of the same. */
async function originOf(
  { adapter, method }: TuneConfig,
  { checkpoint }: Base,
  from: StartingPoint | undefined,
  examples: string,
): Promise<Origin> {
  const base = adapter === 'none' && method === 'sft' ? undefined : await weightsOf(checkpoint);
  checkOrigin(from, { examples, base }, checkpoint.name);
  return { examples, base };
}

function tellData(terminal: Terminal, { train, validation }: TuningData<object>, what: string): void {
  const dropped = [...train.dropped].map(([reason, rows]) => `${rows} ${reason}`).join(', ');
  const held = validation.length > 0 ? `; ${validation.length} held out` : '';
  const left = dropped ? `; left out: ${dropped}` : '';
  terminal.stdout.write(
    `${planText([['data', `${counted(train.rows, 'row')}: ${train.examples.length} to learn from, ${what}${held}${left}`]])}\n`,
  );
}

interface Task<Batch> {
  readonly plan: PlannedBatches<Batch>;
  objective(learning: Learning): Objective<Batch>;
  readonly averageLength: number;
  readonly counted: 'tokens' | 'pairs';
  readonly from?: StartingPoint;
  readonly origin: Origin;
  /** Saved with every checkpoint. */
  readonly settings: TuneConfig;
  /** Done with the model as it is before it is tuned. */
  prepare?(step: TrainingStep<Batch>): Promise<void>;
}

async function train<Batch>(terminal: Terminal, config: TuneConfig, base: Base, ranks: Ranks, task: Task<Batch>): Promise<void> {
  const { plan, from } = task;
  const steps = config.steps ?? Math.max(1, Math.floor(plan.batches / config.accumulation));
  const { checkpoint, beside, tokenizer, template: chatTemplate } = base;
  const { learned, bytes: needed } = learningSize(config, checkpoint, ranks.size);
  const backend = await openForTraining(terminal, config);
  try {
    await sameBackend(ranks, backend);
    const sentence = { what: 'weights, gradients and moments', advice: 'choose a smaller model, or an adapter' };
    await ranks.agree(async () => checkRoom(backend, needed, ranks, sentence));
    const { learning, learner, step, kept, dispose } = await ranks.agree(async () => {
      const learning = await openLearning(backend, config, checkpoint, beside);
      const { model, parameters } = learning;
      const parts = {
        ...{ model, parameters, objective: task.objective(learning) },
        optimizer: optimizerOptions(config.optimizer),
        activationCheckpointing: config.activation_checkpointing,
        activationStorage: config.activation_storage ?? (config.adapter === 'none' ? 'f32' : 'int16'),
      };
      return { learning, ...openLearner(backend, parts, ranks.collective, config.parallel) };
    });
    const peak = await peakFlops(backend);
    const parameters = counted(countParameters(checkpoint.config), 'parameter', formatNumber);
    const times = config.accumulation > 1 ? `${config.accumulation} times ` : '';
    const onwards = from ? `, goes on after step ${from.step}` : '';
    const [all, model, batch] = [needed + step.arenaBytes, needed, step.arenaBytes].map(formatBytes);
    const facts: [string, string][] = [
      ['model', `${checkpoint.name}: ${parameters}; ${formatNumber(learned)} learn`],
      ['steps', `${formatNumber(steps)} of ${times}at most ${counted(plan.limits.maxRows, 'token', formatNumber)}${onwards}`],
      ['memory', `about ${all}: ${model} for the model, ${batch} for a batch`],
      ...placeFacts(backend.description, ranks.size, config.out, config.checkpoints.every),
    ];
    terminal.stdout.write(`${planText(facts)}\n`);
    const { validation, samples, checkpoints } = config;
    try {
      await task.prepare?.(step);
      if (from) await ranks.agree(() => learning.restore(fileIn(from.path), { ...kept, ...ranks.place }));
      await trainAndTell(terminal, {
        ...{ out: config.out, settings: task.settings, learner, source: plan.source(from?.record.data), from, ranks, kept },
        counted: task.counted,
        options: {
          ...{ steps, schedule: tuneSchedule(config, steps), accumulation: config.accumulation },
          averageAccumulated: true,
          skipBadSteps: config.skip_bad_steps,
          flopsPerToken: flopsPerToken(checkpoint.config, task.averageLength),
          peakFlops: peak,
        },
        validation: validation && { every: validation.every, batches: () => plan.validation() },
        samples: samples && {
          every: samples.every,
          write: (at) => writeSamples(backend, step.model, { tokenizer, chatTemplate }, samples, at),
        },
        checkpoints: {
          ...checkpoints,
          write: learning.save,
          state: (data) => ({ data: { ...(data as object), ...task.origin }, own: [] }),
        },
      });
    } finally {
      dispose();
    }
  } catch (error) {
    throw trainingFailure(error, `${counted(plan.limits.maxRows, 'token')} at once`, 'lower data.max_length, ');
  } finally {
    await backend.dispose();
  }
}
