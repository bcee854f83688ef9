// The rows of a training program: tokens of several sequences end to end, with their positions and where attention looks for
// each. A sequence may go on from an earlier one of the same batch, whose keys it then shares. Not the data room's batches.

import { RaggedParams } from '../model/ragged.js';
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

/** The params of a program that say which rows a batch has: an objective makes one and fills it before each run. */
export class RaggedInputs extends RaggedParams {
  constructor(ops: Ops, { maxRows, maxSequences, maxSegments = maxSequences }: BatchLimits) {
    super(ops, { maxRows, maxSequences, maxSegments });
  }

  /** Puts a batch into the params of a run. Keys lie in the rows of their tokens. Throws when the sequences do not lie end to end. */
  fillBatch(params: Int32Array, tokens: Int32Array, sequences: readonly SequenceRows[]): void {
    let end = 0;
    const laid = sequences.map(([start, length], s) => {
      if (start !== end) throw new Error(`sequence ${s} of a batch begins at row ${start}, the one before ends at ${end}`);
      end += length;
      const segments = lineage(sequences, s).map(([from, rows]) => [from, rows] as const);
      const past = segments.reduce((sum, [, rows]) => sum + rows, -length);
      return { ids: tokens.subarray(start, end), past, segments };
    });
    if (end !== tokens.length) throw new Error(`the sequences of a batch have ${end} rows, its tokens are ${tokens.length}`);
    this.fill(params, laid);
  }
}

/** A sequence after all that it goes on from, the first one first. */
function lineage(sequences: readonly SequenceRows[], index: number): SequenceRows[] {
  const [, , continues] = sequences[index];
  return continues === undefined ? [sequences[index]] : [...lineage(sequences, continues), sequences[index]];
}
