// The settings of a tuning run as people write them: a YAML file and `--key value` over it, checked, defaults filled in. The defaults
// are those of TRL and of the recipe that OpenELM's Instruct models were made with.

import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { promptFormats } from '../data/examples.js';
import { normalizations } from '../data/ftfy.js';
import { isRowFile } from '../data/readers.js';
import { counted, InputError } from '../errors.js';
import { checkConfig } from '../io/config.js';
import { kindOf, namesIn } from '../io/node/paths.js';
import type { AdapterRule } from '../model/adapter.js';
import type { ScheduleOptions } from '../train/schedule.js';
import { backendSettings, freeBackendSettings } from './backend-config.js';
import { readSettings } from './settings-file.js';
import { checkLearningRate, checkpointsSchema, count, fraction, parallelSchema, rateOrMaximum } from './training-config.js';

const files = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)], { error: 'expected a file, or a list of files' });

const adapterSchema = z.strictObject({
  patterns: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('Modules by the last part of their name, or as regular expressions over names (`layers.0.attn.qkv_proj`).'),
  r: count(1).default(32).describe('The rank: columns of the two factors that learn.'),
  alpha: z.number().positive().default(32).describe('Their product counts alpha / r times (use_rslora: alpha / sqrt(r)).'),
  dropout: z.number().min(0).lt(1).default(0.1),
  use_rslora: z.boolean().default(false),
  use_dora: z.boolean().default(false),
  init: z.union([z.literal(true), z.literal('gaussian')]).default(true),
  dtype: z
    .enum(['f32', 'f16', 'bf16', 'q8', 'q4'])
    .default('f32')
    .describe('Precision of the model beside it, which does not change.'),
});

const rateSchema = z.strictObject({
  schedule: z.enum(['cosine', 'linear', 'constant']).default('cosine'),
  max: z.number().positive(),
  min: z.number().min(0).default(0),
  warmup_steps: count(0).optional().describe('Steps of the rise from 0; default: warmup_ratio of all.'),
  warmup_ratio: fraction.default(0.1),
});

/** An adapter's settings; CoreNet's for OpenELM unless said otherwise: r 32 on all linears, and for LoRA on the embedding. */
type AdapterConfig = z.output<typeof adapterSchema>;

const linears = ['qkv_proj', 'out_proj', 'proj_1', 'proj_2'];

/** The rules that an adapter's settings are. */
export function adapterRules({ patterns, dtype: _, ...rule }: AdapterConfig): AdapterRule[] {
  const chosen = patterns ?? (rule.use_dora ? linears : ['token_embeddings', ...linears]);
  return chosen.map((pattern) => ({ pattern, ...rule }));
}

export const tuneSchema = z.strictObject({
  method: z
    .enum(['sft', 'dpo', 'rso'])
    .describe(
      'Answers to learn by heart (sft), pairs of a better and a worse one (dpo), or prompts, to which such pairs are sampled first (rso).',
    ),
  model: z.string().min(1).optional().describe('A directory, a weights file or a hub id; default the embedded model.'),
  out: z.string().min(1).describe('The directory for checkpoints, the log and these settings.'),
  data: z.strictObject({
    train: files.describe('Parquet, JSON lines, JSON lists or CSV, or a folder of them.'),
    validation: files.optional().describe('Judged now and then, and at the end.'),
    held_out: count(0).default(0).describe('Rows at the end of the training files that are held out instead.'),
    fields: z
      .record(z.string(), z.string().min(1))
      .optional()
      .describe('What the rows call a field, by the name that is expected: {prompt: question, completion: answer}.'),
    prompt: z
      .enum(promptFormats)
      .default('auto')
      .describe(
        'How plain texts are put: as they are (text), as turns (chat), or in the prompt of commonsense_170k; auto: instructions as turns.',
      ),
    normalization: z
      .enum(normalizations)
      .optional()
      .describe("sft: what is done to plain texts first (default none); CoreNet's recipe for commonsense_170k has ftfy."),
    chat_template: z
      .string()
      .min(1)
      .optional()
      .describe("A file; default the model's own template, else that of Apple's instruction recipe."),
    loss: z
      .enum(['answers', 'all'])
      .default('answers')
      .describe('sft: whether the loss is on what the assistant says, or on every token.'),
    max_length: count(2).default(1024).describe('Tokens of an example at most; what is more is cut off.'),
    max_prompt_length: count(1)
      .default(512)
      .describe('dpo: what is left of a prompt that does not fit with its answers, and which end of it.'),
    keep: z.enum(['end', 'start']).default('end'),
    empty_system_message: z
      .boolean()
      .default(false)
      .describe("dpo: an empty system message in front of conversations without one, as in alignment-handbook's recipes."),
    limit: count(1).optional().describe('Rows of the training files at most.'),
    skip_bad_rows: count(0).default(0).describe('Rows that cannot be read, or hold no example, passed over at most.'),
  }),
  adapter: z
    .union([z.literal('none'), z.literal('lora'), z.literal('dora'), adapterSchema])
    .default('none')
    .transform((value) => {
      if (value === 'none') return value;
      return typeof value === 'string' ? adapterSchema.parse({ use_dora: value === 'dora' }) : value;
    })
    .describe('All of the model learns (none), or only an adapter beside it.'),
  dpo: z
    .strictObject({
      loss: z.enum(['sigmoid', 'robust', 'hinge', 'ipo']).default('sigmoid'),
      beta: z.number().positive().default(0.1).describe('How closely the model keeps to the reference: large, closer.'),
      label_smoothing: z
        .number()
        .min(0)
        .lt(0.5)
        .default(0)
        .describe('The share of pairs that are the wrong way round: sigmoid is then cDPO.'),
      reference: z
        .enum(['precomputed', 'online'])
        .default('precomputed')
        .describe(
          "Where its log-probabilities come from: computed once before the first step, or in every step by the model without its adapter (adapter: none: by a second copy, frozen, as the model's files store it).",
        ),
    })
    .prefault({}),
  rso: z
    .strictObject({
      reward: z
        .union([
          z.strictObject({ module: z.string().min(1) }),
          z.strictObject({ url: z.url() }),
          z.strictObject({ model: z.string().min(1) }),
        ])
        .describe(
          'One of: a module that exports `reward({messages, text, ended, row})`, an endpoint, a model whose log-probability counts.',
        ),
      candidates: count(2).default(8).describe('Answers to a prompt, and how many of them are accepted.'),
      accepted: count(2).default(4),
      beta: z.number().positive().default(0.5).describe('How strictly rewards count: small takes the best, large takes any.'),
      ranking: z
        .enum(['first-round', 'tournament'])
        .default('first-round')
        .describe('Pairs of accepted answers: two by two, or besides also of the winners of each round.'),
      max_tokens: count(1).default(256),
      temperature: z.number().positive().default(1),
      top_p: z.number().gt(0).max(1).default(1),
      slots: count(1).max(256).default(16).describe('Answers written at once.'),
    })
    .optional(),
  seed: count(0).default(42),
  epochs: count(1).default(1).describe('Passes over the data, unless `steps` says how long.'),
  steps: count(1).optional().describe('Updates in all, however many passes they take.'),
  batch_size: count(1).default(8).describe('Examples, or pairs, of a micro-batch; processes that train together share them out.'),
  accumulation: count(1).default(1).describe('Micro-batches of a step.'),
  packing: z
    .boolean()
    .default(false)
    .describe('sft: as many examples in a micro-batch as fit in batch_size times max_length tokens; none sees another.'),
  z_loss: z.number().min(0).default(0),
  label_smoothing: z.number().min(0).max(0.99).default(0),
  activation_checkpointing: z.boolean().default(false),
  activation_storage: z
    .enum(['f32', 'int16'])
    .optional()
    .describe('How what is inside the layers is kept for the way back (default: int16 with an adapter, else f32).'),
  skip_bad_steps: z.boolean().default(false),
  optimizer: z
    .strictObject({
      beta1: fraction.default(0.9),
      beta2: fraction.default(0.999),
      eps: z.number().positive().default(1e-8),
      weight_decay: z.number().min(0).default(0),
      max_grad_norm: z.number().positive().default(1),
    })
    .prefault({}),
  learning_rate: rateOrMaximum(rateSchema),
  validation: z.strictObject({ every: count(1) }).optional(),
  checkpoints: checkpointsSchema(500, 2),
  samples: z
    .strictObject({
      every: count(1),
      prompts: z.array(z.string().min(1)).min(1).describe('What the user says.'),
      max_tokens: count(1).default(128),
      temperature: z.number().min(0).default(0.7),
    })
    .optional(),
  parallel: parallelSchema.omit({ shards: true }).prefault({}),
  ...backendSettings,
});

export type TuneConfig = Omit<z.output<typeof tuneSchema>, 'data'> & {
  readonly data: Omit<z.output<typeof tuneSchema>['data'], 'train' | 'validation'> & {
    readonly train: readonly string[];
    readonly validation: readonly string[];
  };
};

/** What may differ from the settings that a checkpoint was made with. */
export const freeTuneSettings = [
  'out',
  'checkpoints',
  'validation',
  'samples',
  'skip_bad_steps',
  ...freeBackendSettings,
  'parallel',
  'data.validation',
  'data.skip_bad_rows',
];

const paths = ['data.train', 'data.validation', 'data.chat_template', 'rso.reward.module'];

/**
 * Reads the settings; file names in `data` start from the settings' own folder and come back whole. Throws `InputError` naming the
 * file and the key that is wrong.
 */
export async function readTuneConfig(file: string, overrides: readonly string[] = []): Promise<TuneConfig> {
  const { value, place } = await readSettings(file, overrides, paths);
  const config = checkConfig(tuneSchema, value, place);
  const base = dirname(resolve(file));
  const whole = async (names: string | string[] = []): Promise<string[]> =>
    (await Promise.all([names].flat().map((name) => rowFiles(resolve(base, name))))).flat();
  const { data, validation, steps, learning_rate: rate } = config;
  const heldOut = await whole(data.validation);
  if (validation && heldOut.length === 0 && data.held_out === 0) {
    throw new InputError(`${file}: validation is asked for, but neither data.validation nor data.held_out says on what`);
  }
  if (heldOut.length > 0 && data.held_out > 0) {
    throw new InputError(`${file}: data.validation and data.held_out both say what is held out; give one`);
  }
  checkLearningRate(place, rate, steps);
  const { method, rso } = config;
  if (method === 'rso' && !rso) throw new InputError(`${file}: method rso needs rso.reward: a module, a url or a model`);
  if (rso && rso.accepted > rso.candidates) {
    throw new InputError(`${file}: rso.accepted is ${rso.accepted}, but there are only ${counted(rso.candidates, 'candidate')}`);
  }
  const reward = rso && 'module' in rso.reward ? { rso: { ...rso, reward: { module: resolve(base, rso.reward.module) } } } : {};
  const template = data.chat_template === undefined ? {} : { chat_template: resolve(base, data.chat_template) };
  return { ...config, ...reward, data: { ...data, train: await whole(data.train), validation: heldOut, ...template } };
}

/** A file as it is, or a folder's files of rows. */
async function rowFiles(path: string): Promise<string[]> {
  if ((await kindOf(path)) !== 'directory') return [path];
  const names = (await namesIn(path)).filter(isRowFile);
  if (names.length === 0) throw new InputError(`${path}: no .parquet, .jsonl, .json or .csv file in this folder`);
  return names.map((name) => join(path, name));
}

export function tuneSchedule({ learning_rate: rate }: TuneConfig, steps: number): ScheduleOptions {
  return {
    name: rate.schedule,
    maxIterations: steps,
    // The first rate of a warm-up is 0: a run of one step has none, or it would learn nothing.
    warmupIterations: Math.min(steps, rate.warmup_steps ?? Math.min(Math.ceil(rate.warmup_ratio * steps), steps - 1)),
    warmupInitLearningRate: 0,
    maxLearningRate: rate.max,
    minLearningRate: rate.min,
  };
}
