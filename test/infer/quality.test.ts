// What a precision costs in quality: the embedded model's perplexity on text that it never saw. The losses
// beside it are PyTorch's, from the same weights in f32.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type LoadOptions, load } from '../../src/index.js';

const heldOut = fileURLToPath(new URL('../golden/tales-6m/heldout.jsonl', import.meta.url));
const documents = readFileSync(heldOut, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { text: string; nats: number });

/** Windows of 512 predictions with one token of overlap, each starting afresh. */
async function measure(options: LoadOptions): Promise<{ nats: number; tokens: number }> {
  const model = await load(undefined, options);
  let [nats, tokens] = [0, 0];
  for (const { text } of documents) {
    const ids = model.tokenizer.encode(text, { bos: true, eos: true });
    for (let start = 0; start + 1 < ids.length; start += 512) {
      const { logprobs } = await model.engine.score(ids.slice(start, start + 513));
      nats -= logprobs.reduce<number>((sum, logprob) => sum + (logprob ?? 0), 0);
      tokens += logprobs.length - 1;
    }
  }
  await model.dispose();
  return { nats, tokens };
}

describe('held-out text', () => {
  it('costs what it costs PyTorch in f32, hardly more in q8, little more in q4', async () => {
    const exact = await measure({ dtype: 'f32' });
    const expected = documents.reduce((sum, { nats }) => sum + nats, 0);
    expect(Math.abs(exact.nats - expected) / expected).toBeLessThan(1e-6);
    const rise = async (dtype: 'q8' | 'q4'): Promise<number> => {
      const { nats } = await measure({ dtype });
      return Math.exp((nats - exact.nats) / exact.tokens) - 1;
    };
    expect(await rise('q8')).toBeLessThan(0.003);
    expect(await rise('q4')).toBeLessThan(0.03);
  });
});
