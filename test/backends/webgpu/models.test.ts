// The embedded model on WebGPU against the CPU: greedy ids in f32, and perplexity at each precision. Skipped, and said so, without an
// adapter. What each op computes is the conformance suite's.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { findGpu } from '../../../src/backends/webgpu/node.js';
import { load, type Model } from '../../../src/index.js';
import { type Precision, precisions } from '../../../src/model/parameters.js';

const adapter = await findGpu().catch(() => undefined);
if (!adapter) console.log('no GPU: models are not tried on one');

const heldout = readFileSync(new URL('../../golden/tales-6m/heldout.jsonl', import.meta.url), 'utf8').split('\n');
const text = (JSON.parse(heldout[0]) as { text: string }).text.slice(0, 300);

describe.skipIf(!adapter)('the embedded model on a GPU', () => {
  it('writes the same ids as on the CPU in f32, alone and side by side', async () => {
    const prompts = ['Once upon a time', 'The old king', 'One day, a dog'];
    const written = async (backend: 'webgpu' | 'auto'): Promise<(readonly number[])[]> => {
      await using model = await load(undefined, { dtype: 'f32', backend });
      const alone = await model.complete(prompts[0], { maxTokens: 24, temperature: 0 });
      const together = await Promise.all(prompts.map((prompt) => model.complete(prompt, { maxTokens: 12, temperature: 0 })));
      return [alone, ...together].map(({ ids }) => ids);
    };
    expect(await written('webgpu')).toEqual(await written('auto'));
  });

  // Activations that are rounded to 8 bits fall to one side or the other by the last bit of a sum: between instruction sets of the CPU
  // too, by 0.015 nats a token, which over this text is 0.2% of perplexity.
  const kinds = precisions.flatMap((dtype): [Precision, 'f32' | 'int8' | undefined, number][] =>
    /^q/.test(dtype)
      ? [
          [dtype, 'f32', 1e-4],
          [dtype, 'int8', 6e-3],
        ]
      : [[dtype, undefined, 1e-4]],
  );
  it.each(kinds)('has the perplexity of the CPU in %s (activations: %s) within %d', async (dtype, activations, bound) => {
    const [its, expected] = await Promise.all(
      (['webgpu', 'auto'] as const).map(async (backend) => {
        await using model = await load(undefined, { dtype, activations, backend });
        return await perplexity(model);
      }),
    );
    expect(Math.abs(its / expected - 1), `${its} against ${expected}`).toBeLessThan(bound);
  });
});

async function perplexity(model: Model): Promise<number> {
  const { logprobs } = await model.score(text);
  const known = logprobs.filter((logprob): logprob is number => logprob !== null);
  return Math.exp(-known.reduce((sum, logprob) => sum + logprob, 0) / known.length);
}
