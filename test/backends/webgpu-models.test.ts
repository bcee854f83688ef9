// The embedded model on WebGPU against the CPU: greedy ids in f32, and perplexity at each precision. Skipped, and said so, without an
// adapter. What each op computes is the conformance suite's.

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findGpu } from '../../src/backends/webgpu-node.js';
import { load, type Model } from '../../src/index.js';
import { precisions } from '../../src/model/parameters.js';

const adapter = await findGpu().catch(() => undefined);
if (!adapter) console.log('no GPU: models are not tried on one');

const heldout = readFileSync(new URL('../golden/tales-6m/heldout.jsonl', import.meta.url), 'utf8').split('\n');
const text = (JSON.parse(heldout[0]) as { text: string }).text.slice(0, 800);

describe.skipIf(!adapter)('the embedded model on a GPU', () => {
  it('writes the same ids as on the CPU in f32, alone and side by side', async () => {
    const prompts = ['Once upon a time', 'The old king', 'One day, a dog'];
    const written = async (backend: 'webgpu' | 'auto'): Promise<(readonly number[])[]> => {
      await using model = await load(undefined, { dtype: 'f32', backend });
      const alone = await model.complete(prompts[0], { maxTokens: 40, temperature: 0 });
      const together = await Promise.all(prompts.map((prompt) => model.complete(prompt, { maxTokens: 12, temperature: 0 })));
      return [alone, ...together].map(({ ids }) => ids);
    };
    expect(await written('webgpu')).toEqual(await written('auto'));
  });

  describe.each(precisions)('in %s', (dtype) => {
    let gpu: Model;
    let cpu: Model;
    beforeAll(async () => {
      [gpu, cpu] = await Promise.all([load(undefined, { dtype, backend: 'webgpu' }), load(undefined, { dtype })]);
    });
    afterAll(async () => {
      await Promise.all([gpu?.dispose(), cpu?.dispose()]);
    });

    it('has the perplexity of the CPU within 0.1%', async () => {
      const [its, expected] = await Promise.all([gpu, cpu].map(perplexity));
      expect(Math.abs(its / expected - 1), `${its} against ${expected}`).toBeLessThan(1e-3);
    });
  });
});

async function perplexity(model: Model): Promise<number> {
  const { logprobs } = await model.score(text);
  const known = logprobs.filter((logprob): logprob is number => logprob !== null);
  return Math.exp(-known.reduce((sum, logprob) => sum + logprob, 0) / known.length);
}
