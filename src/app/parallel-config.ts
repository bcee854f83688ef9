// The settings of training on several processes, which pretrain and tune share.

import { z } from 'zod';
import { defaultBucketBytes } from '../train/buckets.js';

export const parallelSchema = z.strictObject({
  shards: z
    .number()
    .int()
    .min(1)
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
  bucket_bytes: z
    .number()
    .int()
    .min(1024)
    .default(defaultBucketBytes)
    .describe('Bytes of gradients that are summed at once, while the way back goes on.'),
});

/** DiLoCo. */
export const syncSchema = z.strictObject({
  every: z.number().int().min(1).describe('Steps that each process takes alone between two exchanges.'),
  outer: z.literal('nesterov').default('nesterov').describe('The optimizer of exchanges.'),
  learning_rate: z.number().positive().default(0.7).describe("The outer optimizer's."),
  momentum: z.number().min(0).lt(1).default(0.9),
});
