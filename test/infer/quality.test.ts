// What a precision costs in quality: the embedded model's perplexity on text that it never saw. All of the held-out documents
// when they are at hand, else the few that lie with the tests. The numbers beside them were made with Apple's own code.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type LoadOptions, load, openBackend } from '../../src/index.js';

const copies = fileURLToPath(new URL('../golden/stories-6m/heldout.jsonl', import.meta.url));
const whole = fileURLToPath(new URL('../../../shared/models/stories-6m/heldout.jsonl', import.meta.url));
const { backend, reason } = openBackend();
await backend.dispose();
const fast = reason === undefined;
const documents = readFileSync(fast && existsSync(whole) ? whole : copies, 'utf8')
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
  it('costs what it costs Apple’s code in f32, hardly more in q8, little more in q4', async () => {
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
