// The library's door as its users meet it: the embedded model, streaming, conversations, several calls at once, disposal; and
// what it refuses before it allocates anything.

import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { load, openBackend } from '../src/index.js';
import { hollowCheckpoint } from './hollow.js';
import { temporaryFolder } from './temporary.js';

const temporary = temporaryFolder();

describe('options of the library', () => {
  const bad: [options: object, said: RegExp][] = [
    [{ dtype: 'int4' }, /options of load: dtype is "int4"; expected 'f32', 'f16', 'bf16', 'q8' or 'q4'$/],
    [{ backend: 'gpu' }, /backend is "gpu"; expected 'auto', 'native', 'webgpu', 'wasm' or 'reference', or a backend$/],
    [{ context: '100' }, /context is "100"; expected a whole number of at least 2$/],
    [{ slots: Number.NaN }, /slots is NaN; expected a whole number of at least 1$/],
    [{ cache_type: 'f16' }, /there is no cache_type; did you mean cacheType\?$/],
    [{ hub: { offlin: true } }, /options of the hub: there is no offlin; did you mean offline\?$/],
    [[], /options of load are \[\]; expected an object$/],
  ];
  it.each(bad)('of load: %o is refused', async (options, said) => {
    await expect(load(undefined, options)).rejects.toThrow(said);
  });

  it('of a generation are refused when unknown or of another type', async () => {
    await using model = await load();
    const generations: [options: object, said: RegExp][] = [
      [{ stop: 42 }, /options of the generation: stop is 42; expected a text or an array of texts/],
      [{ stop: ['a', ''] }, /stop is \["a",""\]/],
      [{ max_tokens: 3 }, /there is no max_tokens; did you mean maxTokens\?$/],
      [{ maxTokens: 2.5 }, /maxTokens is 2.5; expected a whole number of tokens, or Infinity$/],
      [{ ignoreEos: 'yes' }, /ignoreEos is "yes"; expected true or false$/],
      [{ overflow: 'roll' }, /overflow is "roll"; expected 'stop' or 'slide'$/],
      [{ signal: {} }, /signal is \{\}; expected an AbortSignal$/],
      [{ temperature: '0' }, /temperature/],
    ];
    for (const [options, said] of generations) await expect(model.complete('a', options)).rejects.toThrow(said);
    await expect(model.complete(42 as never)).rejects.toThrow(/^the prompt is 42; expected a text, token ids or messages$/);
    await expect(load(42 as never)).rejects.toThrow(/^the model is 42;/);
    expect((await model.complete('a', { maxTokens: 0, stop: undefined })).ids).toEqual([]);
    await expect(openBackend('gpu' as never)).rejects.toThrow(/the backend is "gpu"/);
  });
});

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
    const { directory, remove } = hollowCheckpoint('OpenELM-3B');
    const before = process.memoryUsage().rss;
    await expect(load(directory, { dtype: 'f32', slots: 256, context: 4096 })).rejects.toThrow(
      /^not enough memory for .*: 12\.15 GB of f32 weights and 176\.09 GB for a context of 4096 tokens, [\d.]+ GB are free; try a smaller dtype \(q8, q4\) or context$/,
    );
    expect(process.memoryUsage().rss - before).toBeLessThan(500e6);
    remove();
  });

  it('says why a model or a backend cannot be had', async () => {
    await expect(load('OpenELM-270M')).rejects.toThrow('OpenELM-270M names a shape, not weights: apple/OpenELM-270M has weights');
    await expect(load(join(temporary, 'nothing'))).rejects.toThrow('no such directory or file');
    const { backend } = await openBackend('reference');
    expect(backend.name).toBe('reference');
  });
});
