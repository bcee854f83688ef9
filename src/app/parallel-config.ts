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
  bucket_bytes: z
    .number()
    .int()
    .min(1024)
    .default(16 << 20)
    .describe('Bytes of gradients that are summed at once, while the way back goes on.'),
});

export type ParallelConfig = z.output<typeof parallelSchema>;
