// Settings that pretrain and tune share: of several processes, the optimizer, the learning rate. What computes is backend-config.ts.

import { z } from 'zod';
import { counted, InputError } from '../errors.js';
import { defaultBucketBytes } from '../train/buckets.js';
import type { OptimizerOptions } from '../train/optimizer.js';

export const count = (least: number) => z.number().int().min(least);
export const fraction = z.number().min(0).max(1);

export const parallelSchema = z.strictObject({
  shards: count(1)
    .optional()
    .describe(
      'Parts that the corpora are dealt out in, whatever the number of processes; default: as many as there are at the beginning.',
    ),
  zero: z
    .union([z.literal(0), z.literal(1)])
    .default(0)
    .describe("1: each process keeps only its part of the optimizer's moments, and of gradients once they are summed."),
  gradients: z
    .enum(['f32', 'bf16'])
    .default('f32')
    .describe(
      'What gradients are sent as. bf16: half the bytes; each process adds up its part in f32, and what rounding loses is kept (4 bytes a parameter) for the next step.',
    ),
  timeout: z
    .number()
    .min(0)
    .default(300)
    .describe(
      'Seconds without life after which a process for which the others wait is taken for hanging, and all end; 0: never.',
    ),
  bucket_bytes: count(1024)
    .default(defaultBucketBytes)
    .describe('Bytes of gradients that are summed at once, while the way back goes on.'),
});

/** Checkpoints of a run, and how many of them stay. */
export const checkpointsSchema = (every: number, keep: number) =>
  z
    .strictObject({
      every: count(1).default(every),
      keep: count(1).default(keep),
      dtype: z.enum(['f32', 'f16', 'bf16']).default('f32'),
    })
    .prefault({});

/** DiLoCo. */
export const syncSchema = z.strictObject({
  every: count(1).describe('Steps that each process takes alone between two exchanges.'),
  outer: z.literal('nesterov').default('nesterov').describe('The optimizer of exchanges.'),
  learning_rate: z.number().positive().default(0.7).describe("The outer optimizer's."),
  momentum: z.number().min(0).lt(1).default(0.9),
});

/** `learning_rate`: its settings, or a number, which is its maximum. */
export function rateOrMaximum<Rate extends z.ZodType>(schema: Rate) {
  return z
    .union([z.number().positive(), schema])
    .transform((value): z.output<Rate> => (typeof value === 'number' ? schema.parse({ max: value }) : (value as z.output<Rate>)))
    .describe('A number is its maximum.');
}

/** `optimizer` of the settings, as the trainer has it. */
export function optimizerOptions(settings: {
  readonly max_grad_norm: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weight_decay: number;
}): OptimizerOptions {
  const { max_grad_norm: maxGradNorm, weight_decay: weightDecay, beta1, beta2, eps } = settings;
  return { maxGradNorm, beta1, beta2, eps, weightDecay };
}

/**
 * What pretraining and tuning ask alike of their learning rates; `steps`: of the whole run, where that is known.
 * Throws `InputError` naming the key that is wrong and its place.
 */
export function checkLearningRate(
  place: (key: string) => string,
  rate: { readonly max: number; readonly min?: number; readonly warmup_steps?: number },
  steps: number | undefined,
): void {
  if ((rate.min ?? 0) > rate.max)
    throw new InputError(`${place('learning_rate.min')}: learning_rate.min is ${rate.min}, above learning_rate.max, ${rate.max}`);
  if (steps !== undefined && (rate.warmup_steps ?? 0) > steps) {
    throw new InputError(
      `${place('learning_rate.warmup_steps')}: learning_rate.warmup_steps is ${rate.warmup_steps}, but the run has only ${counted(steps, 'step')}; give fewer`,
    );
  }
}
