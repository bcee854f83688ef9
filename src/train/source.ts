// Between the data room's batches, rows of equal length with padding, and the trainer's, which have tokens of sequences end to
// end and no padding at all.

import type { Batch, BatchStream } from '../data/stream.js';
import type { TrainingBatch } from './language-modelling.js';
import type { BatchSource } from './trainer.js';

/** Target of a token that has none, in the data room's batches and the trainer's. */
export const ignored = -1;

/** The sequences of a batch end to end, without what pads its rows. */
export function withoutPadding({ length, samples, targets, sequences: byRow }: Batch): TrainingBatch {
  const places = byRow.flatMap((row, r) => row.map(([start, size]) => [r * length + start, size] as const));
  const total = places.reduce((sum, [, size]) => sum + size, 0);
  const batch = { tokens: new Int32Array(total), targets: new Int32Array(total), sequences: [] as [number, number][] };
  let end = 0;
  for (const [start, size] of places) {
    batch.tokens.set(samples.subarray(start, start + size), end);
    batch.targets.set(targets.subarray(start, start + size), end);
    batch.sequences.push([end, size]);
    end += size;
  }
  return batch;
}

/** A stream of training batches as the trainer's source. */
export function trainingSource(stream: BatchStream): BatchSource<TrainingBatch> {
  return {
    async next() {
      const found = await stream.next();
      if (!found) throw new Error('training data ended');
      const batch = withoutPadding(found);
      return { batch, documents: [...new Set(found.documents.flat())], tokens: batch.tokens.length };
    },
    state: () => stream.state(),
  };
}
