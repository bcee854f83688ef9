// From token sequences to rows of a fixed length: one sequence each, cut or padded (CoreNet's rule), or several end to end
// (packing). A row says which stretches are one sequence each, so that attention and positions can keep to them.

/** A document's tokens, or a piece's of a long document. */
export interface Sequence {
  readonly tokens: Int32Array;
  /** Where it comes from: `file:row`. */
  readonly document: string;
}

export interface Row {
  /** Input tokens, [length]; `padId` where there are none. */
  readonly samples: Int32Array;
  /** The token that follows each, [length]; `ignoreIndex` where none counts. */
  readonly targets: Int32Array;
  /** Stretches [start, length] of one sequence each, in order; attention stays inside, positions start over in each. */
  readonly sequences: readonly (readonly [number, number])[];
  /** By stretch: the document. */
  readonly documents: readonly string[];
}

export interface RowOptions {
  readonly length: number;
  readonly padId: number;
  readonly ignoreIndex: number;
}

/** One sequence as one row: its first `length` + 1 tokens, padded (CoreNet's base_lm.py). */
export function rowOf({ tokens, document }: Sequence, { length, padId, ignoreIndex }: RowOptions): Row {
  const samples = new Int32Array(length).fill(padId);
  const targets = new Int32Array(length).fill(ignoreIndex);
  const used = Math.min(tokens.length, length);
  samples.set(tokens.subarray(0, used));
  targets.set(tokens.subarray(1, length + 1));
  return { samples, targets, sequences: used > 0 ? [[0, used]] : [], documents: used > 0 ? [document] : [] };
}

/** Stretches that the packer put together as one row: each of n + 1 tokens takes n places, all with a target. */
export function packedRow(stretches: readonly Sequence[], { length, padId, ignoreIndex }: RowOptions): Row {
  const samples = new Int32Array(length).fill(padId);
  const targets = new Int32Array(length).fill(ignoreIndex);
  const sequences: [number, number][] = [];
  let filled = 0;
  for (const { tokens } of stretches) {
    const taken = tokens.length - 1;
    samples.set(tokens.subarray(0, taken), filled);
    targets.set(tokens.subarray(1), filled);
    sequences.push([filled, taken]);
    filled += taken;
  }
  return { samples, targets, sequences, documents: stretches.map(({ document }) => document) };
}

/**
 * Divides sequences end to end into rows: what does not fit goes on in the next row, as a sequence of its own. Between two rows
 * only that rest is held.
 */
export class Packer {
  private rest: Sequence | undefined;

  constructor(
    private readonly length: number,
    rest?: Sequence,
  ) {
    this.rest = rest;
  }

  /** The next row's stretches, drawing as many sequences as it needs; the last row may be short, then undefined when none is left. */
  async next(draw: () => Promise<Sequence | undefined>): Promise<Sequence[] | undefined> {
    const stretches: Sequence[] = [];
    let free = this.length;
    while (free > 0) {
      const sequence = this.rest ?? (await draw());
      this.rest = undefined;
      if (!sequence) break;
      const { tokens, document } = sequence;
      const taken = Math.min(tokens.length - 1, free);
      if (taken < 1) continue; // a single token predicts nothing
      stretches.push({ tokens: tokens.subarray(0, taken + 1), document });
      free -= taken;
      if (taken < tokens.length - 1) this.rest = { tokens: tokens.subarray(taken), document };
    }
    return stretches.length > 0 ? stretches : undefined;
  }

  /** What is held between two rows. */
  state(): Sequence | undefined {
    return this.rest;
  }
}
