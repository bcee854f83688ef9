// What the trainer gets of batches with padding: tokens of sequences end to end, several shards' batches one behind the other.

import { expect, it } from 'vitest';
import type { ShardedStream } from '../../src/data/sharded-stream.js';
import type { Batch } from '../../src/data/stream.js';
import { shardedSource } from '../../src/train/source.js';

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
  expect([documents, tokens]).toEqual([['a', 'b10', 'b20'], 12]);
});
