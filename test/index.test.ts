// The library's door as its users meet it: the embedded model, streaming, conversations, several calls at once, disposal; and
// what it refuses before it allocates anything.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { load, openBackend } from '../src/index.js';
import { configFromName, toHuggingFaceConfig } from '../src/model/config.js';
import { parameterShapes } from '../src/model/parameters.js';
import { elementsOf } from '../src/tensor/plan.js';

const temporary = mkdtempSync(join(tmpdir(), 'openelm-door-'));
afterAll(() => rmSync(temporary, { recursive: true }));

/** A checkpoint of the true size whose weights are a hole in the file. */
function hollowCheckpoint(name: string): string {
  const config = configFromName(name);
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const { name: key, shape } of parameterShapes(config)) {
    const start = end;
    end += 2 * elementsOf(shape);
    header[key] = { dtype: 'F16', shape, data_offsets: [start, end] };
  }
  const text = JSON.stringify(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = join(temporary, 'model.safetensors');
  writeFileSync(file, Buffer.concat([length, Buffer.from(text)]));
  truncateSync(file, 8 + text.length + end);
  writeFileSync(join(temporary, 'config.json'), JSON.stringify(toHuggingFaceConfig(config, 'float16')));
  return temporary;
}

describe('load', () => {
  it('gives a model that streams, completes, scores and is freed', async () => {
    await using model = await load();
    const pieces: string[] = [];
    for await (const piece of model.generate('Once upon a time', { maxTokens: 8, temperature: 0 })) {
      expect(piece.ids.length).toBeLessThanOrEqual(1);
      pieces.push(piece.text);
    }
    const whole = await model.complete('Once upon a time', { maxTokens: 8, temperature: 0 });
    expect(pieces.join('')).toBe(whole.text);
    expect(whole).toMatchObject({ finishReason: 'length', promptIds: [1, 837, 628, 261, 483] });
    expect(whole.timings.generatedTokens).toBe(8);
    // The second call found the first one's prompt in the cache.
    expect(whole.timings.reusedTokens).toBe(4);
    const stop = whole.text.slice(-9);
    const stopped = await model.complete('Once upon a time', { maxTokens: 20, temperature: 0, stop });
    expect(stopped).toMatchObject({ finishReason: 'stop', text: whole.text.slice(0, whole.text.indexOf(stop)) });
    const continued = await model.complete('Once upon a', { maxTokens: 1, temperature: 0, continuation: true });
    expect(continued.text).toMatch(/^ /);
    const { ids, logprobs } = await model.score('Once upon a time');
    expect(ids).toEqual(whole.promptIds);
    expect(logprobs[0]).toBeNull();
    expect(Math.exp(logprobs[4]!)).toBeGreaterThan(0.5);
  });

  it('serves several calls at once and conversations', async () => {
    const model = await load(undefined, { dtype: 'q8' });
    const prompts = ['The old king', 'Once upon a time', 'The cat'];
    const together = await Promise.all(prompts.map((prompt) => model.complete(prompt, { maxTokens: 12, temperature: 0 })));
    for (const [i, prompt] of prompts.entries()) {
      expect(together[i].text).toBe((await model.complete(prompt, { maxTokens: 12, temperature: 0 })).text);
    }
    const answer = await model.complete([{ role: 'user', content: 'hi' }], { maxTokens: 3, temperature: 0 });
    expect(model.tokenizer.decode(answer.promptIds)).toBe('<|user|>\nhi \n<|assistant|>\n');
    await Promise.all([model.dispose(), model.dispose()]);
    await expect(model.complete('hi')).rejects.toThrow('disposed');
  });

  it('estimates memory before it takes any', async () => {
    const directory = hollowCheckpoint('OpenELM-3B');
    const before = process.memoryUsage().rss;
    await expect(load(directory, { dtype: 'f32', slots: 256, context: 4096 })).rejects.toThrow(
      /^not enough memory for .*: 12\.15 GB of f32 weights and 176\.09 GB for a context of 4096 tokens, [\d.]+ GB are free; try a smaller --dtype \(q8, q4\) or --context$/,
    );
    expect(process.memoryUsage().rss - before).toBeLessThan(500e6);
  });

  it('says why a model or a backend cannot be had', async () => {
    await expect(load('OpenELM-270M')).rejects.toThrow('OpenELM-270M names a shape, not weights: apple/OpenELM-270M has weights');
    await expect(load(join(temporary, 'nothing'))).rejects.toThrow('no such directory or file');
    const { backend } = openBackend('reference');
    expect(backend.name).toBe('reference');
  });
});
