// The settings of training on several processes, which pretrain and tune share.

import { z } from 'zod';

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
    .describe("1: each process keeps only its part of the optimizer's moments, half of what training keeps."),
  bucket_bytes: z
    .number()
    .int()
    .min(1024)
    .default(16 << 20)
    .describe('Bytes of gradients that are summed at once, while the way back goes on.'),
});

export type ParallelConfig = z.output<typeof parallelSchema>;
