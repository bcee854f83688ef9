// What the trainer gets of batches with padding: tokens of sequences end to end, several shards' batches one behind the other, and how many places were left out.

import { expect, it } from 'vitest';
import { referenceBackend } from '../../src/backends/reference.js';
import type { ShardedStream } from '../../src/data/sharded-stream.js';
import type { Batch } from '../../src/data/stream.js';
import { shardedSource } from '../../src/train/source.js';
import { tinyParameters, tinyStep } from './tiny.js';

/** Rows of 4 tokens: one sequence of two, and two that fill a row. */
function batch(first: number): Batch {
  const row = (length: number) => Array.from({ length: 4 }, (_, i) => (i < length ? first + i : 99));
  return {
    ...{ rows: 2, length: 4, samples: Int32Array.from([...row(2), ...row(4)]) },
    targets: Int32Array.from([...row(2), ...row(4)], (token) => token + 100),
    sequences: [
      [[0, 2]],
      [
        [0, 1],
        [1, 3],
      ],
    ],
    documents: [['a'], ['a', `b${first}`]],
  };
}

it('has the batches of several shards as one', async () => {
  const stream = { next: async () => [batch(10), batch(20)], states: () => [] } as unknown as ShardedStream;
  const { batch: all, documents, tokens } = await shardedSource(stream).next();
  expect([...all.tokens]).toEqual([10, 11, 10, 11, 12, 13, 20, 21, 20, 21, 22, 23]);
  expect([...all.targets]).toEqual([...all.tokens].map((token) => token + 100));
  expect(all.sequences).toEqual(
    [0, 6].flatMap((start) => [
      [start, 2],
      [start + 2, 1],
      [start + 3, 3],
    ]),
  );
  expect([documents, tokens, all.padding]).toEqual([['a', 'b10', 'b20'], 12, 4]);
});

it('counts what was left out in the z-loss, as if it had been computed', async () => {
  const backend = referenceBackend();
  const step = tinyStep(backend, tinyParameters(backend));
  const tokens = Int32Array.of(1, 2, 3, 23, 23);
  const targets = Int32Array.of(4, 5, 6, -1, -1);
  const { means: padded } = await step.evaluate({ tokens, targets, sequences: [[0, 5]] });
  const short = { tokens: tokens.slice(0, 3), targets: targets.slice(0, 3), sequences: [[0, 3]] as const };
  const { means } = await step.evaluate({ ...short, padding: 2 });
  expect(means).toEqual(padded);
  expect((await step.evaluate(short)).means.zLoss).toBeCloseTo(means.zLoss - (1e-4 * 2 * Math.log(24) ** 2) / 3, 9);
  await backend.dispose();
});
