import { describe, expect, it } from 'vitest';
import { rankedPairs, rejectionSample } from '../../src/data/rejection.js';
import { PythonRandom } from '../../src/python-random.js';

/** The probability of each ordered choice of `count`, by walking every way that the rounds of the rule can go. */
function distribution(rewards: readonly number[], count: number, beta: number): Map<string, number> {
  const found = new Map<string, number>();
  // Rounds in which nobody is taken change nothing: each is left out, and the others divided by its complement.
  const round = (left: readonly number[], accepted: readonly number[], weight: number): void => {
    if (accepted.length === count) {
      const key = accepted.join(',');
      found.set(key, (found.get(key) ?? 0) + weight);
      return;
    }
    const largest = Math.max(...left.map((i) => rewards[i]));
    const chance = left.map((i) => Math.exp((rewards[i] - largest) / beta));
    const walk = (at: number, taken: readonly number[], p: number): void => {
      if (accepted.length + taken.length === count || at === left.length) {
        round(
          left.filter((i) => !taken.includes(i)),
          [...accepted, ...taken],
          weight * p,
        );
        return;
      }
      walk(at + 1, [...taken, left[at]], p * chance[at]);
      if (chance[at] < 1) walk(at + 1, taken, p * (1 - chance[at]));
    };
    walk(0, [], 1);
  };
  round(
    rewards.map((_, i) => i),
    [],
    1,
  );
  return found;
}

describe('rejectionSample', () => {
  it.each([
    [[0, 1, -1], 1, 1],
    [[0.3, 0.1, 0.9, 0.5], 2, 0.5],
    [[2, 2, 0, 1], 3, 1],
  ])('accepts of rewards %j %i at beta %f as often as the rule says', (rewards, count, beta) => {
    const expected = distribution(rewards, count, beta);
    expect([...expected.values()].reduce((a, b) => a + b)).toBeCloseTo(1, 12);
    const draws = 40_000;
    const random = new PythonRandom(7);
    const seen = new Map<string, number>();
    for (let i = 0; i < draws; i++) {
      const key = rejectionSample(rewards, count, beta, random).join(',');
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
    expect([...seen.keys()].every((key) => expected.has(key))).toBe(true);
    let chiSquare = 0;
    for (const [key, p] of expected) chiSquare += ((seen.get(key) ?? 0) - draws * p) ** 2 / (draws * p);
    const degrees = expected.size - 1;
    expect(chiSquare).toBeLessThan(degrees + 4 * Math.sqrt(2 * degrees)); // four standard deviations
  });

  it('takes the best for a small beta, anybody for a large one', () => {
    const rewards = [0.1, 0.4, 0.3, 0.2];
    expect(rejectionSample(rewards, 2, 1e-9, new PythonRandom(0))).toEqual([1, 2]);
    expect(rejectionSample(rewards, 2, 1e9, new PythonRandom(0))).toEqual([0, 1]);
    expect(() => rejectionSample([1], 2, 1, new PythonRandom(0))).toThrow('2 of 1');
  });
});

describe('rankedPairs', () => {
  const rewards = [5, 1, 2, 3, 3, 4];
  it('pairs neighbours, the better first, and leaves ties out', () => {
    expect(rankedPairs([1, 0, 3, 4, 2, 5], rewards, 'first-round')).toEqual([
      [0, 1],
      [5, 2],
    ]);
  });
  it('lets winners meet in a tournament', () => {
    expect(rankedPairs([1, 0, 2, 3], rewards, 'tournament')).toEqual([
      [0, 1],
      [3, 2],
      [0, 3],
    ]);
  });
  it('lets who has nobody to meet in a round go on to the next', () => {
    expect(rankedPairs([1, 0, 2, 3, 5], rewards, 'tournament')).toEqual([
      [0, 1],
      [3, 2],
      [0, 3],
      [0, 5],
    ]);
  });
});
