// Draws of Python 3.11's `random.Random`, written down from it.

import { describe, expect, it } from 'vitest';
import { PythonRandom } from '../src/python-random.js';

const seeds = [
  {
    seed: '0',
    random: [0.8444218515250481],
    bits: [3626764237, 12, 1],
    shuffled: [7, 8, 1, 5, 3, 4, 2, 0, 9, 6],
    choices: [8, 7, 4, 2, 5],
    pool: [27, 12, 24, 13, 1, 8, 16],
    set: [864, 394, 776, 911, 430, 41, 265, 988],
    later: 0.35278860284662805,
  },
  {
    seed: '1337',
    random: [0.6177528569514706],
    bits: [2653228291, 29, 1],
    shuffled: [0, 3, 7, 2, 1, 6, 4, 5, 8, 9],
    choices: [6, 5, 3, 5, 1],
    pool: [19, 17, 22, 11, 18, 25, 23],
    set: [632, 947, 546, 726, 374, 584, 599, 749],
    later: 0.1563062955983695,
  },
  {
    seed: '-1337',
    random: [0.6177528569514706],
    bits: [2653228291, 29, 1],
    shuffled: [0, 3, 7, 2, 1, 6, 4, 5, 8, 9],
    choices: [6, 5, 3, 5, 1],
    pool: [19, 17, 22, 11, 18, 25, 23],
    set: [632, 947, 546, 726, 374, 584, 599, 749],
    later: 0.1563062955983695,
  },
  {
    seed: '1099511627783',
    random: [0.6137037779936511],
    bits: [2635837658, 23, 1],
    shuffled: [0, 5, 2, 3, 6, 1, 8, 4, 7, 9],
    choices: [6, 8, 9, 5, 4],
    pool: [19, 23, 26, 20, 18, 22, 15],
    set: [628, 765, 834, 960, 967, 654, 584, 722],
    later: 0.6845382782020815,
  },
];

describe('PythonRandom', () => {
  it.each(seeds)('draws as Python does with seed $seed', (golden) => {
    const fresh = (): PythonRandom => new PythonRandom(BigInt(golden.seed));
    const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
    expect(fresh().random()).toBe(golden.random[0]);
    const random = fresh();
    expect([random.getRandBits(32), random.getRandBits(5), random.getRandBits(1)]).toEqual(golden.bits);
    const items = range(10);
    fresh().shuffle(items);
    expect(items).toEqual(golden.shuffled);
    expect(fresh().choices(10, 5)).toEqual(golden.choices);
    expect(fresh().sample(30, 7)).toEqual(golden.pool);
    expect(fresh().sample(1000, 8)).toEqual(golden.set);
    const long = fresh();
    for (let i = 1; i < 2000; i++) long.random();
    expect(long.random()).toBe(golden.later);
  });

  it('goes on from its state', () => {
    const random = new PythonRandom(5);
    for (let i = 0; i < 1000; i++) random.random();
    const again = PythonRandom.restore(JSON.parse(JSON.stringify(random.state())));
    expect(again.sample(5, 5)).toEqual(random.sample(5, 5));
    expect(again.random()).toBe(random.random());
  });

  it('refuses to draw more than there are', () => {
    expect(() => new PythonRandom(0).sample(1, 2)).toThrow('cannot draw 2 of 1');
  });
});
