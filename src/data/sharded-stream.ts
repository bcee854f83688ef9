// One stream of batches from several shards of the corpora: a batch has as many rows of each, in their order. A process that trains
// with others takes a range of every batch's rows, and opens the shards that these lie in; so any number of processes that divides
// the batch sees the same batches, whatever number the run began with.

import { counted, InputError } from '../errors.js';
import { type Batch, BatchStream, type StreamOptions } from './stream.js';

/** Which rows of a batch are wanted: those of one of `size` processes. */
export interface RowShare {
  readonly rank: number;
  readonly size: number;
}

/** States of streams by shard. */
export type ShardStates = Readonly<Record<number, unknown>>;

export class ShardedStream {
  private readonly streams: { readonly shard: number; readonly stream: BatchStream }[];
  private readonly rows: number;

  /**
   * `batchSize` rows in all, from `shards` shards. `states`: of the shards that this process opens. Throws `InputError` when
   * processes or shards do not divide the batch, and as `BatchStream`.
   */
  constructor(
    private readonly options: Omit<StreamOptions, 'rank' | 'worldSize'>,
    readonly shards: number,
    private readonly share: RowShare,
    states?: ShardStates,
  ) {
    const { batchSize } = options;
    checkShares(batchSize, [
      ['processes', share.size],
      ['shards of the data', shards],
    ]);
    this.rows = batchSize / shards;
    this.streams = shardsOf(batchSize, shards, share).map((shard) => {
      const own = { ...options, batchSize: this.rows, rank: shard, worldSize: shards };
      return { shard, stream: new BatchStream(own, states?.[shard]) };
    });
  }

  /** This process's rows of the next batch, in pieces by shard. As `BatchStream.next`; training streams have no end. */
  async next(): Promise<Batch[]> {
    const { rank, size } = this.share;
    const own = this.options.batchSize / size;
    const pieces: Batch[] = [];
    for (const { shard, stream } of this.streams) {
      const batch = await stream.next();
      if (!batch) throw new Error('training data ended');
      const first = shard * this.rows;
      const from = Math.max(0, rank * own - first);
      const to = Math.min(this.rows, (rank + 1) * own - first);
      pieces.push(rowsOf(batch, from, to));
    }
    return pieces;
  }

  /** The states of the shards for which this process answers: those whose first row it has. */
  states(): ShardStates {
    const { rank, size } = this.share;
    const own = this.options.batchSize / size;
    const mine = this.streams.filter(({ shard }) => Math.floor((shard * this.rows) / own) === rank);
    return Object.fromEntries(mine.map(({ shard, stream }) => [shard, stream.state()]));
  }

  async close(): Promise<void> {
    await Promise.all(this.streams.map(({ stream }) => stream.close()));
  }
}

/** The shards that a process's rows lie in. */
export function shardsOf(batchSize: number, shards: number, { rank, size }: RowShare): number[] {
  const [own, rows] = [batchSize / size, batchSize / shards];
  const first = Math.floor((rank * own) / rows);
  const end = Math.ceil(((rank + 1) * own) / rows);
  return Array.from({ length: end - first }, (_, i) => first + i);
}

function rowsOf(batch: Batch, from: number, to: number): Batch {
  const { length } = batch;
  return {
    rows: to - from,
    length,
    samples: batch.samples.subarray(from * length, to * length),
    targets: batch.targets.subarray(from * length, to * length),
    sequences: batch.sequences.slice(from, to),
    documents: batch.documents.slice(from, to),
  };
}

/** Throws `InputError` when a batch cannot be shared out evenly among so many of something. */
export function checkShares(batchSize: number, among: readonly (readonly [what: string, count: number])[]): void {
  for (const [what, count] of among) {
    if (batchSize % count === 0) continue;
    throw new InputError(
      `a batch of ${counted(batchSize, 'row')} cannot be shared out among ${count} ${what}: choose ${nearby(batchSize, count)}`,
    );
  }
}

function nearby(batch: number, count: number): string {
  const below = Math.floor(batch / count) * count;
  return `${below > 0 ? `${below} or ` : ''}${counted(below + count, 'row')} (batch_size), or another number of them`;
}
