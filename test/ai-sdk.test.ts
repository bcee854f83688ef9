// The AI SDK on a model in this process: `ai` 6, which runs on every Node that the package does. `.ci/clients.sh` tries `ai` 7.

import { APICallError, type EmbeddingModel, embed, generateText, jsonSchema, type LanguageModel, Output, streamText } from 'ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openelm, openelmEmbedding } from '../src/ai-sdk.js';
import { load, type Model } from '../src/index.js';

let loaded: Model;
let model: Exclude<LanguageModel, string>;
let embedding: Exclude<EmbeddingModel, string>;

beforeAll(async () => {
  loaded = await load('tales-6m-instruct', { slots: 2 });
  model = openelm(loaded, { specificationVersion: 'v3' });
  embedding = openelmEmbedding(loaded, { specificationVersion: 'v3' });
});
afterAll(() => loaded.dispose());

const asked = { prompt: 'Write a story about a fox.', temperature: 0, maxOutputTokens: 16, maxRetries: 0 };

describe('the AI SDK', () => {
  it('generates and streams what the library gives', async () => {
    const own = await loaded.complete([{ role: 'user', content: asked.prompt }], { temperature: 0, maxTokens: 16 });
    const { text, finishReason, usage, warnings } = await generateText({ ...asked, model });
    expect({ text, finishReason, warnings }).toEqual({ text: own.text, finishReason: 'length', warnings: [] });
    expect(usage).toMatchObject({ inputTokens: own.timings.promptTokens, outputTokens: 16 });
    const stream = streamText({ ...asked, model, system: undefined });
    let streamed = '';
    for await (const delta of stream.textStream) streamed += delta;
    expect(streamed).toBe(own.text);
    expect((await stream.usage).outputTokens).toBe(16);
  });

  it('stops, is seeded, and takes conversations', async () => {
    const { text, finishReason } = await generateText({ ...asked, model, stopSequences: [' time'] });
    expect([text, finishReason]).toEqual(['Once upon a', 'stop']);
    const seeded = { ...asked, model, temperature: 1, seed: 3 };
    expect((await generateText(seeded)).text).toBe((await generateText(seeded)).text);
    const messages = [
      { role: 'user' as const, content: [{ type: 'text' as const, text: 'Write a story.' }] },
      { role: 'assistant' as const, content: 'Once.' },
      { role: 'user' as const, content: 'Go on.' },
    ];
    const { prompt: _, ...rest } = asked;
    expect((await generateText({ ...rest, model, system: 'Be kind.', messages })).text.length).toBeGreaterThan(10);
  });

  it('ends at an abort, and leaves nothing running', async () => {
    const controller = new AbortController();
    const stream = streamText({ ...asked, model, maxOutputTokens: 900, temperature: 1, abortSignal: controller.signal });
    let pieces = 0;
    for await (const part of stream.fullStream) {
      if (part.type === 'text-delta' && ++pieces === 3) controller.abort();
      if (part.type === 'abort') break;
    }
    expect(pieces).toBeLessThan(20);
    await expect(generateText({ ...asked, model, abortSignal: AbortSignal.abort() })).rejects.toThrow(/abort/);
    expect((await generateText({ ...asked, model, maxOutputTokens: 2 })).text).not.toBe('');
  });

  it('says what it cannot do', async () => {
    const image = [{ role: 'user' as const, content: [{ type: 'image' as const, image: new Uint8Array([1, 2, 3]) }] }];
    const { prompt: _, ...rest } = asked;
    const failure = await generateText({ ...rest, model, messages: image }).catch((error: unknown) => error);
    expect(failure).not.toBeInstanceOf(APICallError);
    expect(String(failure)).toContain('only text is supported');
  });

  it('makes objects by a schema', async () => {
    const schema = jsonSchema<{ sly: boolean }>({
      ...{ type: 'object', properties: { sly: { type: 'boolean' } }, required: ['sly'], additionalProperties: false },
    });
    const { output } = await generateText({ ...asked, model, maxOutputTokens: 40, output: Output.object({ schema }) });
    expect(output).toEqual({ sly: expect.any(Boolean) });
  });

  it('embeds', async () => {
    const { embedding: vector, usage } = await embed({ model: embedding, value: 'The cat sat.' });
    expect(vector).toEqual([...(await loaded.embed(['The cat sat.']))[0]]);
    expect(usage.tokens).toBeGreaterThan(3);
  });
});
