// OpenAI's calls on a model in this process.

import { afterAll, beforeAll, expect, it } from 'vitest';
import { load, type Model } from '../src/index.js';
import { ApiError, type OpenAIClient, openai } from '../src/openai.js';

let model: Model;
let client: OpenAIClient;
beforeAll(async () => {
  model = await load('tales-6m-instruct', { slots: 1 });
  client = openai(model);
});
afterAll(() => model.dispose());

const asked = { messages: [{ role: 'user', content: 'Write a story about a fox.' }], temperature: 0, max_tokens: 12 };

it('answers whole and in chunks', async () => {
  const whole = await client.chat.completions.create(asked);
  let text = '';
  for await (const { choices } of await client.chat.completions.create({ ...asked, stream: true }))
    text += choices[0].delta.content ?? '';
  expect(text).toBe(whole.choices[0].message.content);
  expect(whole).toMatchObject({ model: 'tales-6m-instruct', usage: { completion_tokens: 12 } });
  expect((await client.completions.create({ prompt: 'Once upon a', max_tokens: 1, temperature: 0 })).choices[0].text).toBe(
    ' time',
  );
  expect((await client.embeddings.create({ input: 'x' })).data[0].embedding).toHaveLength(256);
});

it('gives its slot back when a loop is left, and at an abort', async () => {
  const long = { ...asked, max_tokens: 900, ignore_eos: true };
  for await (const _ of await client.chat.completions.create({ ...long, stream: true })) break;
  await expect(client.chat.completions.create(long, { signal: AbortSignal.timeout(20) })).rejects.toThrow(/timeout/);
  expect((await client.chat.completions.create(asked)).choices).toHaveLength(1);
});

it('refuses a wrong request', async () => {
  await expect(client.chat.completions.create({ messages: [] })).rejects.toBeInstanceOf(ApiError);
});
