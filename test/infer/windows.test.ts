// Windows over a long text: which tokens are scored with how much before them.

import { describe, expect, it } from 'vitest';
import { scoreInWindows, windowScores } from '../../src/infer/windows.js';

describe('scoreInWindows', () => {
  /** The "log-probability" of a token is how many tokens came before it in its window. */
  const engine = {
    context: 100,
    score: async (ids: ArrayLike<number>) => ({
      logprobs: Array.from(ids, (_, i) => (i === 0 ? null : i)),
      greedy: Array.from(ids, (_, i) => (i === 0 ? null : true)),
    }),
  };
  const contextsOf = async (tokens: number, window: number, stride: number) =>
    (await scoreInWindows(engine, new Array<number>(tokens).fill(0), { window, stride })).logprobs;

  it('scores every token but the first once', async () => {
    expect(await contextsOf(10, 4, 4)).toEqual([null, 1, 2, 3, 4, 1, 2, 3, 4, 1]);
    expect(await contextsOf(10, 4, 2)).toEqual([null, 1, 2, 3, 4, 3, 4, 3, 4, 3]);
    expect(await contextsOf(10, 4, 1)).toEqual([null, 1, 2, 3, 4, 4, 4, 4, 4, 4]);
    expect(await contextsOf(5, 4, 4)).toEqual([null, 1, 2, 3, 4]);
    expect(await contextsOf(1, 4, 4)).toEqual([null]);
    for (let tokens = 1; tokens < 30; tokens++) {
      for (let stride = 1; stride <= 5; stride++) {
        const contexts = await contextsOf(tokens, 5, stride);
        expect(contexts).toHaveLength(tokens);
        for (const [i, context] of contexts.entries()) {
          if (i === 0) expect(context).toBeNull();
          else expect(context).toBeGreaterThanOrEqual(Math.min(i, 5 - stride + 1));
        }
      }
    }
  });

  it('takes ids as they come, and holds no more than it needs', async () => {
    const ids = Array.from({ length: 40 }, (_, i) => i);
    for (const [size, window, stride] of [
      [1, 5, 2],
      [3, 5, 5],
      [7, 4, 1],
      [40, 6, 4],
    ]) {
      let given = 0;
      const lists = function* () {
        for (; given < ids.length; given += size) yield ids.slice(given, given + size);
      };
      const [seen, logprobs]: [number[], (number | null)[]] = [[], []];
      for await (const part of windowScores(engine, lists(), { window, stride })) {
        seen.push(...part.ids);
        logprobs.push(...part.logprobs);
        expect(given - seen.length).toBeLessThanOrEqual(window + size);
      }
      expect(seen).toEqual(ids);
      expect(logprobs).toEqual(await contextsOf(ids.length, window, stride));
    }
  });
});
