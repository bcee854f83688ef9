// The scale and minimum that a group of weights shares, found for codes of a few bits: by the group's range (round to nearest), or by
// search for the least weighted error, as llama.cpp's `make_qkx2_quants` does. Numbers only; which weights, and why they count, is
// not known here.

import { float16ToNumber, numberToFloat16 } from '../io/float16.js';

/** value = scale * code + minimum, both exact in f16; codes go from 0 to `most`. */
export interface Grid {
  readonly scale: number;
  readonly minimum: number;
}

/** The code next to a value. */
export function nearestCode(value: number, { scale, minimum }: Grid, most: number): number {
  const code = Math.round((value - minimum) / scale);
  return code > 0 ? (code < most ? code : most) : 0;
}

const half = (value: number): number => float16ToNumber(numberToFloat16(value));

/** A grid as it is stored; a scale of 0 becomes the least that is not. */
export function storedGrid(scale: number, minimum: number): Grid {
  const kept = half(scale);
  return { scale: kept === 0 ? 2 ** -24 : kept, minimum: half(minimum) };
}

/** The grid from the least to the largest of `values[from, to)`. */
export function rangeGrid(values: ArrayLike<number>, from: number, to: number, most: number): Grid {
  let [low, high] = [values[from], values[from]];
  for (let i = from + 1; i < to; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  return storedGrid((high - low) / most, low);
}

/** Ranges that are tried, as parts of the group's own. */
const shares = [1.04, 0.97, 0.9, 0.83, 0.75];

/**
 * The grid of the least sum of importance * (value - its nearest point)^2 that is found: from narrower and wider ranges, each turned
 * into the best scale and minimum for its codes (a line through points), twice.
 */
export function fittedGrid(
  values: ArrayLike<number>,
  from: number,
  to: number,
  most: number,
  importance: ArrayLike<number>,
): Grid {
  let [low, high] = [values[from], values[from]];
  for (let i = from + 1; i < to; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  let best = storedGrid((high - low) / most, low);
  if (!(high > low)) return best;
  let least = errorOf(values, from, to, best, most, importance);
  const middle = (low + high) / 2;
  for (const share of shares) {
    let scale = ((high - low) * share) / most;
    let minimum = middle - ((high - low) * share) / 2;
    for (let round = 0; round < 2; round++) {
      let [w, l, ll, x, xl] = [0, 0, 0, 0, 0];
      for (let i = from; i < to; i++) {
        let code = Math.round((values[i] - minimum) / scale);
        code = code > 0 ? (code < most ? code : most) : 0;
        const weight = importance[i];
        w += weight;
        l += weight * code;
        ll += weight * code * code;
        x += weight * values[i];
        xl += weight * values[i] * code;
      }
      const determinant = w * ll - l * l;
      if (!(determinant > 1e-12 * w * ll)) break;
      scale = (w * xl - l * x) / determinant;
      minimum = (ll * x - l * xl) / determinant;
      if (scale === 0) break;
      const grid = storedGrid(scale, minimum);
      const error = errorOf(values, from, to, grid, most, importance);
      if (error < least) [best, least] = [grid, error];
    }
  }
  return best;
}

function errorOf(
  values: ArrayLike<number>,
  from: number,
  to: number,
  { scale, minimum }: Grid,
  most: number,
  importance: ArrayLike<number>,
): number {
  let error = 0;
  for (let i = from; i < to; i++) {
    let code = Math.round((values[i] - minimum) / scale);
    code = code > 0 ? (code < most ? code : most) : 0;
    const difference = values[i] - minimum - scale * code;
    error += importance[i] * difference * difference;
  }
  return error;
}
