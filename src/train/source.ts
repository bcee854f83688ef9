// Between the data room's batches, rows of equal length with padding, and the trainer's, which have tokens of sequences end to
// end and no padding at all.

import type { ShardedStream } from '../data/sharded-stream.js';
import type { Batch, BatchStream } from '../data/stream.js';
import type { TrainingBatch } from './language-modelling.js';
import type { BatchSource, SourcedBatch } from './trainer.js';

/** Target of a token that has none, in the data room's batches and the trainer's. */
export const ignored = -1;

/** The sequences of a batch end to end, without what pads its rows. */
export function withoutPadding({ length, samples, targets, sequences: byRow }: Batch): TrainingBatch {
  const places = byRow.flatMap((row, r) => row.map(([start, size]) => [r * length + start, size] as const));
  const total = places.reduce((sum, [, size]) => sum + size, 0);
  const batch = {
    ...{ tokens: new Int32Array(total), targets: new Int32Array(total), sequences: [] as [number, number][] },
    padding: samples.length - total,
  };
  let end = 0;
  for (const [start, size] of places) {
    batch.tokens.set(samples.subarray(start, start + size), end);
    batch.targets.set(targets.subarray(start, start + size), end);
    batch.sequences.push([end, size]);
    end += size;
  }
  return batch;
}

/** Batches one behind the other, as one. */
function joined(batches: readonly TrainingBatch[]): TrainingBatch {
  if (batches.length === 1) return batches[0];
  const total = batches.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const all = {
    ...{ tokens: new Int32Array(total), targets: new Int32Array(total), sequences: [] as [number, number][] },
    padding: batches.reduce((sum, { padding = 0 }) => sum + padding, 0),
  };
  let end = 0;
  for (const { tokens, targets, sequences } of batches) {
    all.tokens.set(tokens, end);
    all.targets.set(targets, end);
    for (const [start, size] of sequences) all.sequences.push([end + start, size]);
    end += tokens.length;
  }
  return all;
}

/** A stream of training batches as the trainer's source. */
export function trainingSource(stream: BatchStream): BatchSource<TrainingBatch> {
  return {
    async next() {
      const batch = await stream.next();
      if (!batch) throw new Error('training data ended');
      return sourced([batch]);
    },
    state: () => stream.state(),
  };
}

/** The same of shards; its state: those of the shards that this process answers for. */
export function shardedSource(stream: ShardedStream): BatchSource<TrainingBatch> {
  return { next: async () => sourced(await stream.next()), state: () => stream.states() };
}

function sourced(pieces: readonly Batch[]): SourcedBatch<TrainingBatch> {
  const batch = joined(pieces.map(withoutPadding));
  const documents = pieces.flatMap((piece) => piece.documents.flat());
  return { batch, documents: [...new Set(documents)], tokens: batch.tokens.length };
}
