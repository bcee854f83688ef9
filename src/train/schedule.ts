// Learning rates by iteration: linear warm-up, then cosine, linear or constant, as CoreNet's optim/scheduler does it (its cosine
// has a period of one iteration more than are left).

/** From `warmupInitLearningRate` to `maxLearningRate` in `warmupIterations`, then as `name` says to the end at `maxIterations`. */
export interface ScheduleOptions {
  readonly name: 'cosine' | 'linear' | 'constant';
  readonly maxIterations: number;
  readonly warmupIterations: number;
  /** The rate of iteration 0, where there is a warm-up. */
  readonly warmupInitLearningRate: number;
  readonly maxLearningRate: number;
  /** Where cosine and linear end; `constant` does not use it. */
  readonly minLearningRate: number;
  /** Of the rate that is applied: CoreNet sets it with 8. Default: it is as it comes; the rates of preference tuning are that small themselves. */
  readonly decimals?: number;
}

/** The rate of an iteration, counted from 0, before rounding. Sums in CoreNet's order, so that rounding meets the same numbers. */
export function scheduledRate(options: ScheduleOptions, iteration: number): number {
  const { maxIterations, warmupIterations, warmupInitLearningRate: start, maxLearningRate: max, minLearningRate: min } = options;
  if (iteration < warmupIterations) return start + iteration * ((max - start) / warmupIterations);
  if (options.name === 'constant') return max;
  const [done, period] = [iteration - warmupIterations, maxIterations - warmupIterations + 1];
  if (options.name === 'linear') return Math.max(0, (max - min) * (1 - done / period) + min);
  return Math.max(0, min + 0.5 * (max - min) * (1 + Math.cos((Math.PI * done) / period)));
}

/** The rate that is applied. */
export function learningRate(options: ScheduleOptions, iteration: number): number {
  const rate = scheduledRate(options, iteration);
  return options.decimals === undefined ? rate : rounded(rate, options.decimals);
}

/** As Python rounds: of the number as it is, halves to the even digit. */
function rounded(value: number, decimals: number): number {
  const odd = value * 2 ** (decimals + 1);
  if (odd % 2 !== 1) return Number(value.toFixed(decimals)); // no half
  const below = (odd * 5 ** decimals - 1) / 2;
  return (below + (below % 2)) / 10 ** decimals;
}
