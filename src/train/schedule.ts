// Learning rates by iteration: linear warm-up, then cosine, linear or constant, as CoreNet's optim/scheduler does it (its cosine
// has a period of one iteration more than are left).

/** From `warmupInitLearningRate` to `maxLearningRate` in `warmupIterations`, then as `name` says to the end at `maxIterations`. */
export interface ScheduleOptions {
  readonly name: 'cosine' | 'linear' | 'constant';
  readonly maxIterations: number;
  readonly warmupIterations: number;
  readonly warmupInitLearningRate: number;
  readonly maxLearningRate: number;
  /** Where cosine and linear end; `constant` does not use it. */
  readonly minLearningRate: number;
  /** Of the rate that is applied: CoreNet sets it with 8. Default: it is as it comes; the rates of preference tuning are that small themselves. */
  readonly decimals?: number;
}

/** The rate of an iteration, counted from 0, before rounding. */
export function scheduledRate(options: ScheduleOptions, iteration: number): number {
  const { maxIterations, warmupIterations, warmupInitLearningRate: start, maxLearningRate: max, minLearningRate: min } = options;
  if (iteration < warmupIterations) return start + (iteration * (max - start)) / warmupIterations;
  if (options.name === 'constant') return max;
  const done = (iteration - warmupIterations) / (maxIterations - warmupIterations + 1);
  if (options.name === 'linear') return Math.max(0, max + (min - max) * done);
  return Math.max(0, min + 0.5 * (max - min) * (1 + Math.cos(Math.PI * done)));
}

/** The rate that is applied. */
export function learningRate(options: ScheduleOptions, iteration: number): number {
  const rate = scheduledRate(options, iteration);
  if (options.decimals === undefined) return rate;
  const scale = 10 ** options.decimals;
  return Math.round(rate * scale) / scale;
}
