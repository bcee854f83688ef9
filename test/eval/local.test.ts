// The scorer on the goldens' models: log-probabilities, greedy flags, windows and texts as lm-evaluation-harness gives them with
// Apple's code (test/golden/eval), and what the interface promises besides.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import { localScorer } from '../../src/eval/local.js';
import type { GenerateRequest, LoglikelihoodRequest } from '../../src/eval/scorer.js';
import { openWeights } from '../../src/io/node/weights.js';
import { configFromHuggingFace } from '../../src/model/config.js';
import { type LoadedModel, loadModel } from '../../src/model/load.js';
import { checkWeights } from '../../src/model/parameters.js';
import type { Backend } from '../../src/tensor/backend.js';
import { byteTokenizer, judgeEvalModel } from '../judge/eval-model.js';

const golden = fileURLToPath(new URL('../golden/eval', import.meta.url));
let backend: Backend;
let loaded: LoadedModel;

beforeAll(async () => {
  const native = nativeBackend({ threads: 2 });
  backend = 'backend' in native ? native.backend : referenceBackend();
  const file = join(golden, 'model/config.json');
  const weights = await openWeights(join(golden, 'model'));
  const config = configFromHuggingFace(JSON.parse(readFileSync(file, 'utf8')), file);
  loaded = await loadModel(backend, config, checkWeights(config, weights.tensors, file));
  await weights.close();
});

afterAll(async () => {
  loaded.free();
  await backend.dispose();
});

const parts = () => ({ name: 'alice', backend, model: loaded.model, tokenizer: byteTokenizer });

describe('local scorer', () => {
  for (const [name, judged] of [
    ['model', golden],
    ['tiny-elm', join(golden, 'tiny-elm')],
  ]) {
    it(`answers as the harness with ${name}`, async () => {
      const { checks, skipped } = await judgeEvalModel(backend, judged);
      expect(skipped).toEqual([]);
      expect(checks.length).toBeGreaterThan(100);
      expect(checks.filter(({ error, bound }) => !(error <= bound))).toEqual([]);
    });
  }

  it('skips a directory without a model', async () => {
    const { checks, skipped } = await judgeEvalModel(backend, join(golden, '..', 'generate'));
    expect(checks).toEqual([]);
    expect(skipped[0]).toMatch(/it has no model\//);
  });

  it('answers alike whatever the size of a step, and keeps the order', async () => {
    const requests: LoglikelihoodRequest[] = ['Alice said', 'The Queen', 'Alice', ''].flatMap((context) =>
      [' nothing', ' she was very', '!'].map((continuation) => ({ context, continuation })),
    );
    const whole = localScorer(parts());
    const small = localScorer(parts(), { batchTokens: 7 });
    const expected = await whole.loglikelihood(requests);
    const progress: number[] = [];
    const found = await small.loglikelihood(requests, { onProgress: (done, total) => progress.push(done, total) });
    expect(progress.slice(-2)).toEqual([requests.length, requests.length]);
    for (const [i, { logprob, greedy }] of found.entries()) {
      expect(logprob).toBeCloseTo(expected[i].logprob, 4);
      expect(greedy).toBe(expected[i].greedy);
    }
    expect(whole.name).toBe('alice, bos, context 96, f32 cache');
    await whole.dispose();
    await small.dispose();
  });

  it('counts what was cut off, and names a request that cannot be scored', async () => {
    const scorer = localScorer(parts(), { context: 16, addBos: false });
    const answers = await scorer.loglikelihood([
      { context: 'Alice was beginning to get', continuation: ' very' },
      { context: 'Alice', continuation: ' was' },
    ]);
    expect(answers.map(({ truncated }) => truncated)).toEqual([14, undefined]);
    await expect(
      scorer.loglikelihood([
        { context: 'a', continuation: 'b' },
        { context: ' ', continuation: 'b' },
      ]),
    ).rejects.toThrow('request 1: the context " " is only white space');
    await expect(scorer.generateUntil([{ context: 'a', until: [], maxTokens: 16 }])).rejects.toThrow('request 0: 16 new tokens');
    expect(await scorer.loglikelihoodRolling(['', 'a'])).toEqual([0, expect.closeTo(-2.8394, 3)]);
    await scorer.dispose();
  });

  it('generates several at once as one by one, and stops when told to', async () => {
    const scorer = localScorer(parts(), { slots: 3 });
    const requests: GenerateRequest[] = ['Alice', 'The Queen', 'Rabbit', 'she', 'once upon'].map((context, i) => ({
      ...{ context, until: ['.'], maxTokens: 5 + 6 * i },
    }));
    const together = await scorer.generateUntil(requests);
    const single: string[] = [];
    for (const request of requests) single.push(...(await scorer.generateUntil([request])));
    expect(together).toEqual(single);
    const [sampled, again] = await scorer.generateUntil([0, 1].map(() => ({ ...requests[4], temperature: 1 })));
    expect(sampled).toBe(again);
    const [other, narrow] = await scorer.generateUntil(
      [{ sample: 1 }, { topP: 0 }].map((more) => ({ ...requests[4], temperature: 1, ...more })),
    );
    expect(other).not.toBe(sampled);
    expect(narrow).toBe(together[4]); // of the likeliest alone
    await expect(scorer.generateUntil(requests, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
    expect(await scorer.generateUntil([])).toEqual([]);
    await scorer.dispose();
  });
});
