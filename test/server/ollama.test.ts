// Ollama's interface as its own client sees it, over a real port, with the models in the package.

import { Ollama } from 'ollama';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createServer } from '../../src/server.js';
import { listen, type Port } from './port.js';

const [base, instruct] = ['tales-6m', 'tales-6m-instruct'];
let port: Port;
let client: Ollama;

beforeAll(async () => {
  port = await listen(await createServer({ models: [instruct, base], version: '1.2.3' }));
  client = new Ollama({ host: port.url });
});

afterAll(() => port.close());

const greedy = { temperature: 0, num_predict: 12 };
const messages = [{ role: 'user', content: 'Write a story about a fox.' }];

describe('ollama', () => {
  it('lists and shows the models', async () => {
    expect((await client.list()).models.map(({ name }) => name)).toEqual([instruct, base]);
    const shown = await client.show({ model: `${instruct}:latest` });
    expect(shown.details).toMatchObject({ family: 'openelm', parameter_size: '5.8M', quantization_level: 'F16' });
    expect(shown.template).toContain('<|');
    expect(shown.model_info).toMatchObject({ 'openelm.context_length': 1024 });
    expect(await (await fetch(`${port.url}/api/version`)).json()).toEqual({ version: '1.2.3' });
  });

  it('chats, whole and streamed to the same text', async () => {
    const whole = await client.chat({ model: instruct, messages, options: greedy });
    expect(whole).toMatchObject({ done: true, done_reason: 'length', eval_count: 12, message: { role: 'assistant' } });
    expect(whole.message.content.length).toBeGreaterThan(20);
    let text = '';
    let last: { done: boolean; eval_count?: number } | undefined;
    for await (const part of await client.chat({ model: instruct, messages, options: greedy, stream: true })) {
      text += part.message.content;
      last = part;
    }
    expect(text).toBe(whole.message.content);
    expect(last).toMatchObject({ done: true, eval_count: 12 });
  });

  it('generates: in the template of a model that has one, or raw', async () => {
    const asked = { model: instruct, prompt: messages[0].content, options: greedy };
    const inTemplate = await client.generate(asked);
    expect(inTemplate.response).toBe((await client.chat({ model: instruct, messages, options: greedy })).message.content);
    const raw = await client.generate({ model: base, prompt: 'Once upon a time', options: greedy, raw: true });
    expect(raw.response).toMatch(/^, there was/);
    const seeded = { model: base, prompt: 'Once', options: { num_predict: 8, seed: 4 } };
    expect((await client.generate(seeded)).response).toBe((await client.generate(seeded)).response);
    const loaded = await client.generate({ model: base, prompt: '' });
    expect(loaded).toMatchObject({ done: true, done_reason: 'load', response: '' });
    expect((await client.ps()).models.map(({ name }) => name)).toEqual([instruct, base]);
  });

  it('keeps to a schema', async () => {
    const format = { type: 'object', properties: { sly: { type: 'boolean' } }, required: ['sly'], additionalProperties: false };
    const { message } = await client.chat({ model: instruct, messages, format, options: { temperature: 0 } });
    expect(JSON.parse(message.content)).toEqual({ sly: expect.any(Boolean) });
  });

  it('embeds', async () => {
    const { embeddings } = await client.embed({ model: base, input: ['The cat sat.', 'A cat was sitting.', 'Once upon a time'] });
    const dot = (a: number[], b: number[]): number => a.reduce((sum, value, i) => sum + value * b[i], 0);
    expect(dot(embeddings[0], embeddings[0])).toBeCloseTo(1, 5);
    expect(dot(embeddings[0], embeddings[1])).toBeGreaterThan(dot(embeddings[0], embeddings[2]));
  });

  it('refuses in its own shape', async () => {
    await expect(client.chat({ model: 'other', messages })).rejects.toThrow('there is no model "other" here');
    await expect(client.chat({ model: instruct, messages, tools: [{ type: 'function', function: {} }] })).rejects.toThrow(
      'tools is not supported',
    );
    await expect(client.generate({ model: base, prompt: 'x', suffix: 'y' })).rejects.toThrow('suffix is not supported');
    await expect(client.generate({ model: base, prompt: 'x', options: { top_p: 3 } })).rejects.toThrow('top_p is 3');
    const wrong = [{ role: 'user', content: 'x', images: ['AAAA'] }];
    await expect(client.chat({ model: instruct, messages: wrong })).rejects.toThrow('images are not supported');
  });
});
