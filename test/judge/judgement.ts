// What a judge says of one item: named comparisons, each with its error and the bound it must keep. No judging here.

/** f32 arithmetic in another order of summation, as a share of the largest value. */
export const floatBound = 2e-5;

/** One comparison: fails when the error exceeds the bound (0: must be exact). */
export interface Check {
  readonly name: string;
  readonly error: number;
  readonly bound: number;
}

export interface Judgement {
  readonly item: string;
  readonly checks: readonly Check[];
  /** What was left out, with the reason. */
  readonly skipped: readonly string[];
}

/** Largest absolute difference over the largest absolute value; infinite when the lengths differ or something is no number. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(found[i] - expected[i]);
    if (!(error >= 0)) return Number.POSITIVE_INFINITY;
    difference = Math.max(difference, error);
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return difference === 0 ? 0 : difference / largest;
}

/** Largest absolute difference, with the same caution. */
export function absoluteError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(found[i] - expected[i]);
    if (!(error >= 0)) return Number.POSITIVE_INFINITY;
    difference = Math.max(difference, error);
  }
  return difference;
}

/** How many places differ. */
export function mismatches(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let count = Math.abs(found.length - expected.length);
  for (let i = 0; i < Math.min(found.length, expected.length); i++) if (found[i] !== expected[i]) count++;
  return count;
}
