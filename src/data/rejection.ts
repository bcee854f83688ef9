// Statistical rejection sampling (Liu et al. 2023, "Statistical Rejection Sampling Improves Preference Optimization", RSO): from
// answers of the policy to answers as the optimal policy for a reward would give them, and those to pairs. Numbers only: where
// answers and rewards come from is the caller's.

import { counted } from '../errors.js';
import type { PythonRandom } from '../python-random.js';

/**
 * Indices of the accepted among candidates with these rewards: in rounds over those that are left, each is taken with probability
 * exp((reward - largest reward left) / beta), until there are `count` (the paper's algorithm 1). A beta towards 0 takes the best,
 * a large one any. Throws a plain Error when there are fewer candidates than `count`.
 */
export function rejectionSample(
  rewards: readonly number[],
  count: number,
  beta: number,
  random: Pick<PythonRandom, 'random'>,
): number[] {
  if (rewards.length < count) throw new Error(`${count} of ${counted(rewards.length, 'candidate')}`);
  let left = rewards.map((_, i) => i);
  const accepted: number[] = [];
  while (accepted.length < count) {
    const largest = Math.max(...left.map((i) => rewards[i]));
    const taken = new Set<number>();
    for (const i of left) {
      if (random.random() >= Math.exp((rewards[i] - largest) / beta)) continue;
      accepted.push(i);
      taken.add(i);
      if (accepted.length === count) break;
    }
    left = left.filter((i) => !taken.has(i));
  }
  return accepted;
}

/**
 * Pairs (better, worse) among the accepted: one after another two by two (the paper's first-round ranking), or besides also the
 * winners of each round (tournament). Equal rewards give no pair.
 */
export function rankedPairs(
  accepted: readonly number[],
  rewards: readonly number[],
  ranking: 'first-round' | 'tournament',
): [better: number, worse: number][] {
  const pairs: [number, number][] = [];
  let round = [...accepted];
  while (round.length > 1) {
    const winners: number[] = [];
    for (let i = 0; i + 1 < round.length; i += 2) {
      const [a, b] = [round[i], round[i + 1]];
      const [better, worse] = rewards[a] >= rewards[b] ? [a, b] : [b, a];
      if (rewards[better] > rewards[worse]) pairs.push([better, worse]);
      winners.push(better);
    }
    if (ranking === 'first-round') break;
    if (round.length % 2 === 1) winners.push(round.at(-1)!);
    round = winners;
  }
  return pairs;
}
