// The params of a step over several sequences, laid out once for inference and training: their tokens end to end with positions and
// the cache rows that take their keys, and where attention looks for each. Which rows are free, and what is shared, is the caller's.

import type { DeviceBuffer, Dim } from '../tensor/backend.js';
import type { Ops, Ragged } from '../tensor/ops.js';

/** What a step takes at most. */
export interface RaggedLimits {
  readonly maxRows: number;
  readonly maxSequences: number;
  readonly maxSegments: number;
}

/** A sequence's new tokens. */
export interface RaggedSequence {
  readonly ids: ArrayLike<number>;
  /** Tokens before them. */
  readonly past: number;
  /** Cache rows (start, length) of all its keys, oldest first; the newest belong to `ids`. */
  readonly segments: readonly (readonly [start: number, length: number])[];
}

/** Views of a program's params, and what fills them for a run. */
export class RaggedParams {
  readonly rows: Dim & object;
  readonly ids: DeviceBuffer;
  readonly positions: DeviceBuffer;
  readonly kvRows: DeviceBuffer;
  readonly ragged: Ragged & { readonly sequenceCount: Dim & object; readonly segmentCount: Dim & object };

  constructor(ops: Ops, { maxRows, maxSequences, maxSegments }: RaggedLimits) {
    this.rows = ops.size(maxRows);
    [this.ids, this.positions, this.kvRows] = [1, 2, 3].map(() => ops.params(maxRows));
    this.ragged = {
      ...{ sequenceCount: ops.size(maxSequences), sequences: ops.params(4 * maxSequences) },
      ...{ segmentCount: ops.size(maxSegments), segments: ops.params(2 * maxSegments) },
    };
  }

  /** Lays the sequences' new tokens end to end, in their order. */
  fill(params: Int32Array, sequences: readonly RaggedSequence[]): void {
    const { ragged } = this;
    let row = 0;
    let segment = 0;
    for (const [i, { ids, past, segments }] of sequences.entries()) {
      params.set([row, ids.length, segment, segments.length], ragged.sequences.offset + 4 * i);
      for (const place of segments) params.set(place, ragged.segments.offset + 2 * segment++);
      params.set(ids, this.ids.offset + row);
      for (let j = 0; j < ids.length; j++) params[this.positions.offset + row + j] = past + j;
      const kvRows = this.kvRows.offset + row;
      placeNewest(segments, params.subarray(kvRows, kvRows + ids.length));
      row += ids.length;
    }
    params[this.rows.param] = row;
    params[ragged.sequenceCount.param] = sequences.length;
    params[ragged.segmentCount.param] = segment;
  }
}

/** The cache rows of the newest `out.length` tokens of the segments, oldest first. */
function placeNewest(segments: RaggedSequence['segments'], out: Int32Array): void {
  let left = out.length;
  for (let s = segments.length - 1; s >= 0 && left > 0; s--) {
    const [start, length] = segments[s];
    for (let i = length - 1; i >= 0 && left > 0; i--) out[--left] = start + i;
  }
}
