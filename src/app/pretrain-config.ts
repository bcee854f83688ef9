// The settings of a pretraining run as people write them: a YAML file and `--key value` over it, checked, defaults filled in;
// and what the trainer is given of them. Nothing is opened here but the file itself.

import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { type DataConfig, dataSchema } from '../data/config.js';
import { counted, InputError } from '../errors.js';
import { checkConfig } from '../io/config.js';
import { type ConfigFields, configFromFields, configFromName, type ModelConfig } from '../model/config.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { languageModelling, type TrainingBatch } from '../train/language-modelling.js';
import type { ScheduleOptions } from '../train/schedule.js';
import type { StepParts } from '../train/step.js';
import { backendSettings, freeBackendSettings } from './backend-config.js';
import { readSettings } from './settings-file.js';
import {
  checkLearningRate,
  checkpointsSchema,
  count,
  fraction,
  optimizerOptions,
  parallelSchema,
  rateOrMaximum,
  syncSchema,
} from './training-config.js';

/** A run's settings; the defaults are the paper's. */
export const pretrainSchema = z.strictObject({
  model: z
    .union([z.string(), z.record(z.string(), z.unknown())], { error: 'expected a shape by name, or its fields' })
    .describe('A built-in shape, or `{name, vocab_size, ...}` with what differs from it, or all fields of a config.'),
  data: dataSchema,
  out: z.string().min(1).describe('The directory for checkpoints, the log and these settings.'),
  seed: count(0).default(0).describe('Of the weights at the beginning; the data have their own.'),
  steps: count(1).default(350_000).describe('Updates in all; a run that goes on (--resume) may be given more.'),
  init_from: z
    .string()
    .min(1)
    .optional()
    .describe('A model whose weights the run begins with, instead of random ones: directory, file or hub id.'),
  resume_from: z
    .string()
    .min(1)
    .optional()
    .describe("A training checkpoint of CoreNet's (training_checkpoint_*.pt) to go on from: weights, moments and iterations."),
  batch_size: count(1)
    .default(16)
    .describe('Rows of a micro-batch, each of `data.sequence_length` tokens; processes that train together share them out.'),
  accumulation: count(1).default(1).describe('Micro-batches of a step.'),
  average_accumulated: z.boolean().default(false).describe('Divides the gradient by `accumulation`; CoreNet does not.'),
  z_loss: z.number().min(0).default(1e-4).describe('Weight of the squared logarithm of the softmax denominators.'),
  label_smoothing: z.number().min(0).max(0.99).default(0),
  activation_checkpointing: z
    .boolean()
    .default(false)
    .describe('Computes what is inside a layer again on the way back: less memory, a quarter slower.'),
  activation_storage: z
    .enum(['f32', 'int16'])
    .default('f32')
    .describe('How what is inside the layers is kept for the way back; with activation_checkpointing it is not kept at all.'),
  skip_bad_steps: z.boolean().default(false).describe('Passes over steps whose gradient is not finite, instead of ending.'),
  optimizer: z
    .strictObject({
      beta1: fraction.default(0.9),
      beta2: fraction.default(0.95),
      eps: z.number().positive().default(1e-8),
      weight_decay: z.number().min(0).default(0.1),
      max_grad_norm: z.number().positive().default(1).describe('Longer gradients are shortened to it.'),
    })
    .prefault({}),
  learning_rate: rateOrMaximum(
    z.strictObject({
      schedule: z.enum(['cosine', 'linear', 'constant']).default('cosine'),
      max: z.number().positive().describe('The learning rate after the warm-up.'),
      min: z.number().min(0).optional().describe('Default: a tenth of `max`.'),
      warmup_steps: count(0).default(5000).describe('Steps of the rise to `max`.'),
      warmup_start: z.number().min(0).default(1e-6).describe('The learning rate of the first step.'),
    }),
  ),
  ema_momentum: z.number().gt(0).max(1).optional().describe('Keeps a moving average of the weights with this momentum.'),
  validation: z
    .strictObject({ every: count(1), batches: count(1).default(50) })
    .optional()
    .describe('The loss on data.val_data_info, every so many steps.'),
  checkpoints: checkpointsSchema(5000, 5),
  samples: z
    .strictObject({
      every: count(1),
      prompts: z.array(z.string().min(1)).min(1).default(['Once upon a time']),
      max_tokens: count(1).default(64),
      temperature: z.number().min(0).default(0.8),
    })
    .optional(),
  parallel: parallelSchema.prefault({}),
  sync: syncSchema
    .optional()
    .describe('DiLoCo: processes step alone and exchange what they learned now and then; batches are shared out as without it.'),
  ...backendSettings,
});

export type PretrainConfig = z.output<typeof pretrainSchema>;

/** What may differ from the settings that a checkpoint was made with (of corpora and tokenizer, places; their contents are checked elsewhere). */
export const freeSettings = [
  'out',
  'steps', // more of them; fewer than were done make no sense and are refused
  'init_from',
  'resume_from',
  'checkpoints',
  'validation',
  'samples',
  'skip_bad_steps',
  ...freeBackendSettings,
  'parallel',
  'data.skip_bad_files',
  'data.skip_bad_rows',
  'data.train_data_info',
  'data.val_data_info',
  'data.tokenizer',
];

/**
 * Reads the settings; file names in `data` start from the settings' own folder and come back whole. `overrides` are the words after
 * the file: `--key value` or `--key=value`, keys dotted, values YAML.
 * Throws `InputError` naming the file and the key that is wrong.
 */
export async function readPretrainConfig(file: string, overrides: readonly string[] = []): Promise<PretrainConfig> {
  const { value, place } = await readSettings(file, overrides, ['data.tokenizer']);
  const config = checkConfig(pretrainSchema, value, place);
  const { learning_rate: rate, data, validation, samples, sync, parallel, steps } = config;
  checkLearningRate(place, rate, steps);
  if (validation && !data.val_data_info) {
    throw new InputError(`${file}: validation is asked for, but data.val_data_info does not say on what`);
  }
  for (const [name, other] of Object.entries({ validation, samples })) {
    if (!sync || !other || other.every % sync.every === 0) continue;
    throw new InputError(
      `${file}: ${name}.every is ${other.every}, but all have one model only every ${counted(sync.every, 'step')} (sync.every): choose a multiple of it`,
    );
  }
  if (sync && parallel.zero > 0)
    throw new InputError(
      `${file}: parallel.zero: ${parallel.zero} and sync exclude each other: with sync each process keeps its own moments`,
    );
  if (sync && parallel.gradients !== 'f32')
    throw new InputError(
      `${file}: parallel.gradients: ${parallel.gradients} and sync exclude each other: with sync no gradients are sent`,
    );
  return {
    ...config,
    data: withWholePaths(data, dirname(resolve(file))),
    learning_rate: { ...rate, min: rate.min ?? rate.max / 10 },
  };
}

function withWholePaths(data: DataConfig, base: string): DataConfig {
  const whole = (corpora: DataConfig['train_data_info']): DataConfig['train_data_info'] =>
    corpora.map((corpus) => ({ ...corpus, file_name: resolve(base, corpus.file_name) }));
  return {
    ...data,
    train_data_info: whole(data.train_data_info),
    ...(data.val_data_info ? { val_data_info: whole(data.val_data_info) } : {}),
    ...(data.tokenizer === undefined ? {} : { tokenizer: resolve(base, data.tokenizer) }),
  };
}

/**
 * The shape to train, for a tokenizer: its vocabulary and special ids are taken where the settings name none. Throws
 * `InputError` for a shape that cannot be, or a vocabulary or context that is too small.
 */
export function modelOf(config: PretrainConfig, tokenizer: Tokenizer, file: string): ModelConfig {
  const { model, data } = config;
  const { name, ...given } = typeof model === 'string' ? { name: model } : model;
  const where = `${file}: model`;
  if (name !== undefined && typeof name !== 'string')
    throw new InputError(`${where}.name: expected the name of a built-in shape`);
  const fields = {
    vocab_size: tokenizer.vocabSize,
    max_context_length: data.sequence_length,
    bos_token_id: tokenizer.bosId < 0 ? null : tokenizer.bosId,
    eos_token_id: tokenizer.eosId < 0 ? null : tokenizer.eosId,
    ...given,
  };
  const shape = name === undefined ? configFromFields(fields, where) : configFromName(name, fields as Partial<ConfigFields>);
  if (tokenizer.vocabSize > shape.vocabSize) {
    throw new InputError(
      `${data.tokenizer}: the tokenizer has ${counted(tokenizer.vocabSize, 'piece')}, but ${where}.vocab_size is ${shape.vocabSize}; raise it, or take another tokenizer`,
    );
  }
  if (data.sequence_length > shape.ropeMaxLength) {
    throw new InputError(
      `${file}: data.sequence_length is ${data.sequence_length}, but the model reaches only ${shape.ropeMaxLength} positions (model.rope_max_length)`,
    );
  }
  return shape;
}

export function scheduleOf({ learning_rate: rate, steps }: PretrainConfig): ScheduleOptions {
  return {
    name: rate.schedule,
    maxIterations: steps,
    warmupIterations: rate.warmup_steps,
    warmupInitLearningRate: rate.warmup_start,
    maxLearningRate: rate.max,
    minLearningRate: rate.min!,
    decimals: 8,
  };
}

/** The objective with what this process's rows of a micro-batch take at most, what is kept for the way back, and the optimizer's numbers. */
export function stepPartsOf(config: PretrainConfig, processes = 1): Omit<StepParts<TrainingBatch>, 'model' | 'parameters'> {
  const { data } = config;
  const rows = config.batch_size / processes;
  const length = data.sequence_length;
  // Packed: whole sequences, and one cut at either end of a row.
  const perRow = data.packing ? 2 + Math.ceil(length / Math.max(1, data.min_tokens_per_text - 1)) : 1;
  return {
    objective: languageModelling({
      maxRows: rows * length,
      maxSequences: rows * Math.min(length, perRow),
      maxPositions: length,
      zLoss: config.z_loss,
      labelSmoothing: config.label_smoothing,
    }),
    activationCheckpointing: config.activation_checkpointing,
    activationStorage: config.activation_storage,
    optimizer: optimizerOptions(config.optimizer),
  };
}
