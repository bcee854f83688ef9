// Learning rates by their definition; CoreNet's own numbers of the cosine are judged in test/golden/train.

import { expect, it } from 'vitest';
import { learningRate, type ScheduleOptions, scheduledRate } from '../../src/train/schedule.js';

const options: ScheduleOptions = {
  ...{ name: 'constant', maxIterations: 12, warmupIterations: 4 },
  ...{ warmupInitLearningRate: 0.1, maxLearningRate: 0.5, minLearningRate: 0.05 },
};
const rates = (name: ScheduleOptions['name']) => Array.from({ length: 14 }, (_, i) => scheduledRate({ ...options, name }, i));

it('warms up in equal steps, whatever follows', () => {
  for (const name of ['constant', 'linear', 'cosine'] as const) {
    for (const [i, rate] of [0.1, 0.2, 0.3, 0.4, 0.5].entries()) expect(rates(name)[i]).toBeCloseTo(rate, 12);
  }
  expect(scheduledRate({ ...options, warmupIterations: 0 }, 0)).toBe(0.5);
});

it('stays, or falls to its end, which it would reach one iteration after the last', () => {
  expect(rates('constant').slice(4)).toEqual(Array(10).fill(0.5));
  for (const [i, rate] of rates('linear').slice(4).entries()) expect(rate).toBeCloseTo(0.5 - 0.05 * i, 12);
  for (const [i, rate] of rates('cosine').slice(4).entries()) {
    expect(rate).toBeCloseTo(0.275 + 0.225 * Math.cos((Math.PI * i) / 9), 12);
  }
});

it('is never below 0, and is rounded where that is asked for', () => {
  for (const name of ['linear', 'cosine'] as const) expect(scheduledRate({ ...options, name, minLearningRate: -1 }, 13)).toBe(0);
  expect(learningRate({ ...options, maxLearningRate: 1.23456e-4, warmupIterations: 0, decimals: 8 }, 3)).toBe(1.2346e-4);
  expect(learningRate({ ...options, maxLearningRate: 1.23456e-9, warmupIterations: 0 }, 3)).toBe(1.23456e-9);
});

it("rounds as Python does, from sums in CoreNet's order", () => {
  const of = (changes: Partial<ScheduleOptions>, iteration: number) =>
    learningRate({ ...options, ...changes, decimals: 8 }, iteration);
  const constant = (rate: number) => of({ maxLearningRate: rate, warmupIterations: 0 }, 3);
  // Halves in binary too, up and down, and a number that is a little less than it looks.
  expect([2 ** -9, 3 * 2 ** -9, 5e-9, 1.5e-8].map(constant)).toEqual([0.00195312, 0.00585938, 1e-8, 1e-8]);
  expect(of({ name: 'cosine', maxLearningRate: 7.3e-7, warmupInitLearningRate: 1e-7, warmupIterations: 2 }, 1)).toBe(4.1e-7);
});
