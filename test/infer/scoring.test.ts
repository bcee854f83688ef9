// Scoring many sequences at once must be scoring each alone: whatever they share, however they are cut into steps, whichever cache
// rows they land on. The engine's one-sequence scoring is the measure; how much is computed is counted at the stepper.

import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { Engine } from '../../src/infer/engine.js';
import { type ScoringRequest, type SequenceScore, SequenceScorer, type SequenceScorerOptions } from '../../src/infer/scoring.js';
import { Stepper } from '../../src/infer/step.js';
import type { LoadedModel } from '../../src/model/load.js';
import type { Backend } from '../../src/tensor/backend.js';
import { openTinyElm, type TinyElm } from './tiny-elm.js';

let tiny: TinyElm;
let backend: Backend;
let loaded: LoadedModel;

beforeAll(async () => {
  tiny = await openTinyElm();
  ({ backend, loaded } = tiny);
});

afterAll(() => tiny.close());

afterEach(() => vi.restoreAllMocks());

async function score(requests: ScoringRequest[], options: SequenceScorerOptions = {}): Promise<SequenceScore[]> {
  const scorer = new SequenceScorer(backend, loaded.model, options);
  try {
    return await scorer.score(requests);
  } finally {
    await scorer.dispose();
  }
}

/** Each alone, by the engine. */
async function alone(requests: ScoringRequest[]): Promise<SequenceScore[]> {
  const engine = new Engine(backend, loaded.model, { context: 256, cacheType: 'f32' });
  const scores: SequenceScore[] = [];
  for (const { ids, scored } of requests) {
    const { logprobs, greedy } = await engine.score(ids);
    const tokenLogprobs = Float32Array.from(logprobs.slice(-scored) as number[]);
    const logprob = tokenLogprobs.reduce((sum, value) => sum + value, 0);
    scores.push({ logprob, greedy: greedy.slice(-scored).every(Boolean), tokenLogprobs });
  }
  await engine.dispose();
  return scores;
}

function expectSame(found: readonly SequenceScore[], expected: readonly SequenceScore[]): void {
  expect(found.length).toBe(expected.length);
  for (const [i, score] of found.entries()) {
    expect(score.greedy).toBe(expected[i].greedy);
    expect(score.tokenLogprobs.length).toBe(expected[i].tokenLogprobs.length);
    for (const [k, value] of score.tokenLogprobs.entries()) expect(value).toBeCloseTo(expected[i].tokenLogprobs[k], 3);
    expect(score.logprob).toBeCloseTo(expected[i].logprob, 2);
  }
}

/** Tokens that were computed, all steps together. */
function countTokens(): () => number {
  const run = vi.spyOn(Stepper.prototype, 'run');
  return () => run.mock.calls.flatMap(([items]) => items).reduce((sum, { ids }) => sum + ids.length, 0);
}

/** Documents with choices, few ids so that prefixes meet by chance too, some longer than a step. */
function documents(seed: number, count: number, longest: number): ScoringRequest[] {
  let state = seed;
  const below = (n: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const some = (n: number): number[] => Array.from({ length: n }, () => 3 + below(4));
  return Array.from({ length: count }, () => {
    const context = [1, ...some(below(longest))];
    return Array.from({ length: 1 + below(4) }, (): ScoringRequest => {
      const continuation = some(1 + below(6));
      return { ids: [...context, ...continuation], scored: continuation.length + below(2) * below(context.length) };
    });
  }).flat();
}

const distinctPrefixes = (requests: readonly ScoringRequest[]): number => {
  const seen = requests.flatMap(({ ids }) => Array.from(ids, (_, i) => Array.from(ids).slice(0, i).join()));
  return new Set(seen.filter((prefix) => prefix !== '')).size;
};

describe('scoring', () => {
  it('gives each sequence what it gets alone, however steps are cut', async () => {
    const requests = documents(7, 30, 60);
    const expected = await alone(requests);
    for (const stepRows of [1, 5, 16, 100, 256]) expectSame(await score(requests, { context: 80, stepRows }), expected);
  });

  it('fills the whole context, again and again, on the smallest cache', async () => {
    const requests = documents(3, 12, 240).map(({ ids, scored }) => ({
      ids: Array.from(ids).slice(-65),
      scored: Math.min(scored, 5),
    }));
    requests.push(...requests.map(({ ids, scored }) => ({ ids: [...ids.slice(0, 40), 9, ...ids.slice(41)], scored })));
    expectSame(await score(requests, { context: 64, stepRows: 40 }), await alone(requests));
  });

  it('computes a shared prefix once', async () => {
    const requests = documents(11, 40, 30);
    const tokens = countTokens();
    await score(requests);
    expect(tokens()).toBe(distinctPrefixes(requests));
    expect(tokens()).toBeLessThan(requests.reduce((sum, { ids }) => sum + ids.length, 0) / 2);
  });

  it('scores more continuations of one context than a step has room for', async () => {
    const context = [1, 70, 71, 72];
    const requests = Array.from({ length: 300 }, (_, id): ScoringRequest => ({ ids: [...context, id], scored: 1 }));
    const tokens = countTokens();
    const scores = await score(requests);
    expect(tokens()).toBe(context.length + 1); // its last token twice
    // All but the last twenty of the vocabulary's probabilities.
    const sum = scores.reduce((total, { logprob }) => total + Math.exp(logprob), 0);
    const rest = await score(Array.from({ length: 20 }, (_, i) => ({ ids: [...context, 300 + i], scored: 1 })));
    expect(sum + rest.reduce((total, { logprob }) => total + Math.exp(logprob), 0)).toBeCloseTo(1, 4);
    const all = [...scores, ...rest];
    const best = all.reduce((a, b) => (b.logprob > a.logprob ? b : a));
    expect(all.filter(({ greedy }) => greedy)).toEqual([best]);
  });

  it('takes twins, and sequences that continue others', async () => {
    const ids = [1, 80, 90, 100, 110, 120];
    const requests: ScoringRequest[] = [
      { ids, scored: 2 },
      { ids: ids.slice(0, 3), scored: 2 },
      { ids, scored: 2 },
      { ids, scored: 5 },
      { ids: [...ids.slice(0, 5), 7], scored: 2 },
    ];
    const tokens = countTokens();
    const scores = await score(requests);
    expect(tokens()).toBe(5);
    expect(scores[2]).toEqual(scores[0]);
    vi.restoreAllMocks();
    expectSame(scores, await alone(requests));
  });

  it('gives the same bits again', async () => {
    const requests = documents(5, 20, 50);
    expect(await score(requests)).toEqual(await score(requests));
  });

  it('reports progress up to the end, and stops when it is told to', async () => {
    const scorer = new SequenceScorer(backend, loaded.model, { context: 100, stepRows: 32 });
    const requests = documents(9, 40, 60);
    const progress: number[] = [];
    await scorer.score(requests, { onProgress: (done) => progress.push(done) });
    expect(progress.length).toBeGreaterThan(5);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(progress.at(-1)).toBe(requests.length);
    const controller = new AbortController();
    const onProgress = (): void => controller.abort(new Error('enough'));
    const stopped = scorer.score(requests, { signal: controller.signal, onProgress });
    const after = scorer.score(requests.slice(0, 3)); // waits for its turn
    await expect(stopped).rejects.toThrow('enough');
    expectSame(await after, await alone(requests.slice(0, 3)));
    await scorer.dispose();
  });

  it('says what is wrong with a request', async () => {
    const scorer = new SequenceScorer(backend, loaded.model, { context: 8 });
    const one = (ids: number[], scored: number) =>
      scorer.score([
        { ids: [1, 2], scored: 1 },
        { ids, scored },
      ]);
    await expect(one([1], 1)).rejects.toThrow('sequence 1: 1 of 1 token cannot be scored');
    await expect(one([1, 2], 0)).rejects.toThrow('sequence 1: 0 of 2');
    await expect(one([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 1)).rejects.toThrow('sequence 1 has 10 tokens, the context takes 8');
    await expect(one([1, 320], 1)).rejects.toThrow("token 1 has id 320, but the model's vocabulary has 320 ids");
    expect(await scorer.score([])).toEqual([]);
    await scorer.dispose();
    expect(() => new SequenceScorer(backend, loaded.model, { context: 257 })).toThrow('a context of 257 tokens is out of range');
    expect(() => new SequenceScorer(backend, loaded.model, { stepRows: 0 })).toThrow('a step of 0 tokens');
  });
});
