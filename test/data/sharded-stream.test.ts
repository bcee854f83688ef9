// Which shards a process opens, and what is said of batches that cannot be shared out.

import { describe, expect, it } from 'vitest';
import { checkShares, shardsOf } from '../../src/data/sharded-stream.js';

describe('shardsOf', () => {
  it('covers the rows of each process, whatever the numbers', () => {
    for (const [batch, shards, size] of [
      [12, 1, 3],
      [12, 4, 3],
      [12, 3, 4],
      [12, 6, 2],
      [8, 8, 8],
    ]) {
      const all = Array.from({ length: size }, (_, rank) => shardsOf(batch, shards, { rank, size }));
      for (const [rank, own] of all.entries()) {
        const rows = Array.from({ length: batch / size }, (_, i) => Math.floor((rank * (batch / size) + i) / (batch / shards)));
        expect(own).toEqual([...new Set(rows)]);
      }
    }
  });
});

describe('checkShares', () => {
  it('names numbers of rows that go round', () => {
    expect(() => checkShares(10, [['processes', 4]])).toThrow(
      'a batch of 10 rows cannot be shared out among 4 processes: choose 8 or 12 rows',
    );
    expect(() => checkShares(2, [['processes', 4]])).toThrow('choose 4 rows');
    checkShares(8, [['processes', 4]]);
  });
});
