// The rows of a training program: tokens of several sequences end to end, with their positions and where attention looks for
// each. A sequence may go on from an earlier one of the same batch, whose keys it then shares. Not the data room's batches.

import type { DeviceBuffer, Dim } from '../tensor/backend.js';
import type { Ops } from '../tensor/ops.js';

/** What a batch takes at most: tokens, sequences, segments of them (default: one each), and the longest sequence. */
export interface BatchLimits {
  readonly maxRows: number;
  readonly maxSequences: number;
  readonly maxSegments?: number;
  readonly maxPositions: number;
}

/** First row and rows of a sequence, and the index of the earlier sequence that it goes on from, if any. */
export type SequenceRows = readonly [start: number, length: number, continues?: number];

export class RaggedInputs {
  readonly rows: Dim & object;
  readonly sequenceCount: Dim & object;
  readonly segmentCount: Dim & object;
  readonly tokens: DeviceBuffer;
  readonly positions: DeviceBuffer;
  readonly kvRows: DeviceBuffer;
  readonly sequences: DeviceBuffer;
  readonly segments: DeviceBuffer;

  constructor(ops: Ops, limits: BatchLimits) {
    const { maxRows, maxSequences, maxSegments = maxSequences } = limits;
    this.rows = ops.size(maxRows);
    this.sequenceCount = ops.size(maxSequences);
    this.segmentCount = ops.size(maxSegments);
    [this.tokens, this.positions, this.kvRows] = [1, 2, 3].map(() => ops.params(maxRows));
    this.sequences = ops.params(4 * maxSequences);
    this.segments = ops.params(2 * maxSegments);
  }

  /** Puts a batch into the params of a run. Keys lie in the rows of their tokens. */
  fill(params: Int32Array, tokens: Int32Array, sequences: readonly SequenceRows[]): void {
    params.set(tokens, this.tokens.offset);
    for (let row = 0; row < tokens.length; row++) params[this.kvRows.offset + row] = row;
    let segmentCount = 0;
    sequences.forEach(([start, length], s) => {
      const line = lineage(sequences, s);
      params.set([start, length, segmentCount, line.length], this.sequences.offset + 4 * s);
      for (const [from, rows] of line) params.set([from, rows], this.segments.offset + 2 * segmentCount++);
      const past = line.reduce((sum, [, rows]) => sum + rows, -length);
      for (let i = 0; i < length; i++) params[this.positions.offset + start + i] = past + i;
    });
    params[this.rows.param] = tokens.length;
    params[this.sequenceCount.param] = sequences.length;
    params[this.segmentCount.param] = segmentCount;
  }
}

/** A sequence after all that it goes on from, the first one first. */
function lineage(sequences: readonly SequenceRows[], index: number): SequenceRows[] {
  const [, , continues] = sequences[index];
  return continues === undefined ? [sequences[index]] : [...lineage(sequences, continues), sequences[index]];
}
