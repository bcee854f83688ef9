// Learning rates by iteration: linear warm-up, then cosine, linear or constant, as CoreNet's optim/scheduler does it (its cosine
// has a period of one iteration more than are left, and the rate that is applied is rounded to 8 decimals).

/** From `warmupInitLearningRate` to `maxLearningRate` in `warmupIterations`, then as `name` says to the end at `maxIterations`. */
export interface ScheduleOptions {
  readonly name: 'cosine' | 'linear' | 'constant';
  readonly maxIterations: number;
  readonly warmupIterations: number;
  readonly warmupInitLearningRate: number;
  readonly maxLearningRate: number;
  /** Where cosine and linear end; `constant` does not use it. */
  readonly minLearningRate: number;
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

/** The rate that is applied: rounded to 8 decimals, as CoreNet sets it. */
export function learningRate(options: ScheduleOptions, iteration: number): number {
  return Math.round(scheduledRate(options, iteration) * 1e8) / 1e8;
}
