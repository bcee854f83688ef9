// A cached scorer answers as the one behind it, asks it only what it has not asked before, and goes on after an interruption.

import { describe, expect, it } from 'vitest';
import { cachedScorer, type EvalStore } from '../../src/eval/cache.js';
import type { Scorer } from '../../src/eval/scorer.js';

/** Answers by length; counts what it is asked; fails from the `failAt`-th request on. */
function countingScorer(name: string, failAt = Number.POSITIVE_INFINITY): Scorer & { asked: unknown[] } {
  const asked: unknown[] = [];
  const answers = <Request, Answer>(answer: (request: Request) => Answer) => {
    return async (requests: readonly Request[]): Promise<Answer[]> => {
      asked.push(...requests);
      if (asked.length > failAt) throw new Error('interrupted');
      return requests.map(answer);
    };
  };
  return {
    ...{ name, asked },
    loglikelihood: answers(({ context, continuation }) => ({ logprob: -context.length - continuation.length / 2, greedy: true })),
    loglikelihoodRolling: answers((text) => -text.length),
    generateUntil: answers(({ context, maxTokens }) => context.repeat(maxTokens)),
  };
}

function memoryStore(): EvalStore & { values: Map<string, unknown>; flushed: number } {
  const values = new Map<string, unknown>();
  return {
    ...{ values, flushed: 0 },
    get: (key) => values.get(key),
    set: (key, value) => void values.set(key, JSON.parse(JSON.stringify(value))),
    async flush() {
      this.flushed = values.size;
    },
  };
}

const pairs = (count: number) => Array.from({ length: count }, (_, i) => ({ context: 'a'.repeat(i), continuation: ` ${i}` }));

describe('cached scorer', () => {
  it('asks once', async () => {
    const inner = countingScorer('one');
    const scorer = cachedScorer(inner, memoryStore());
    const generate = { context: 'ab', until: ['.'], maxTokens: 2 };
    for (let round = 0; round < 2; round++) {
      expect((await scorer.loglikelihood(pairs(3)))[2]).toEqual({ logprob: -3, greedy: true });
      expect(await scorer.loglikelihoodRolling(['a', 'bcd'])).toEqual([-1, -3]);
      expect(await scorer.generateUntil([generate])).toEqual(['abab']);
      expect(inner.asked.length).toBe(6);
    }
    const others = [
      { maxTokens: 3 },
      { until: [] },
      { temperature: 1 },
      { temperature: 1, sample: 1 },
      { temperature: 1, topP: 0.5 },
    ];
    for (const other of others) await scorer.generateUntil([{ ...generate, ...other }]);
    expect(inner.asked.length).toBe(11);
    expect(scorer.name).toBe('one');
  });

  it('mixes what it knows with what it asks, and tells models apart', async () => {
    const store = memoryStore();
    await cachedScorer(countingScorer('one'), store).loglikelihood(pairs(5));
    const again = countingScorer('one');
    const progress: number[][] = [];
    const found = await cachedScorer(again, store).loglikelihood([...pairs(8)].reverse(), {
      onProgress: (...now) => progress.push(now),
    });
    expect(found.map(({ logprob }) => logprob)).toEqual([7, 6, 5, 4, 3, 2, 1, 0].map((n) => -n - 1));
    expect(again.asked).toEqual(pairs(8).slice(5).reverse());
    expect(progress[0]).toEqual([5, 8]);
    const other = countingScorer('other');
    await cachedScorer(other, store).loglikelihood(pairs(5));
    expect(other.asked.length).toBe(5);
  });

  it('goes on after an interruption', async () => {
    const store = memoryStore();
    await expect(cachedScorer(countingScorer('one', 2500), store).loglikelihood(pairs(3000))).rejects.toThrow('interrupted');
    expect(store.flushed).toBe(2048);
    const second = countingScorer('one');
    expect((await cachedScorer(second, store).loglikelihood(pairs(3000))).length).toBe(3000);
    expect(second.asked.length).toBe(3000 - 2048);
  });

  it('keeps answers to long texts sooner, what they share counted once', async () => {
    const flushes = async (contexts: readonly string[]): Promise<number> => {
      let count = 0;
      const store = memoryStore();
      const counting = { ...store, flush: async () => void count++ };
      await cachedScorer(countingScorer('one'), counting).loglikelihood(
        contexts.map((context, i) => ({ context, continuation: ` ${i}` })),
      );
      return count;
    };
    const long = 'examples '.repeat(12_000);
    const own = Array.from({ length: 12 }, (_, i) => `${i}${long}`);
    expect(await flushes(own)).toBe(6);
    expect(await flushes(own.map((text) => `${long}${text.slice(0, 9)}`))).toBe(1);
    expect(await flushes(own.map((text) => text.repeat(3)))).toBe(12);
  });

  it('does not believe an answer of the wrong kind', async () => {
    const store = memoryStore();
    await cachedScorer(countingScorer('one'), store).loglikelihood(pairs(4));
    const wrong = [null, { logprob: null, greedy: true }, { logprob: -1 }, 'text'];
    for (const [i, key] of [...store.values.keys()].entries()) store.values.set(key, wrong[i]);
    const inner = countingScorer('one');
    await cachedScorer(inner, store).loglikelihood(pairs(4));
    expect(inner.asked.length).toBe(4);
  });
});
