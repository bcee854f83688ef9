// OpenAI's interface as its own client sees it, over a real port, with the model in the package.

import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load, type Model } from '../../src/index.js';
import { createServer, type RequestLog } from '../../src/server.js';
import { listen, type Port } from './port.js';

const base = 'tales-6m';
const instruct = 'tales-6m-instruct';
const log: RequestLog[] = [];
let model: Model;
let port: Port;
let client: OpenAI;

beforeAll(async () => {
  model = await load(base, { slots: 4 });
  port = await listen(await createServer({ models: [model, instruct], queue: 4, onRequest: (entry) => log.push(entry) }));
  client = new OpenAI({ baseURL: `${port.url}/v1`, apiKey: 'none', maxRetries: 0 });
});

afterAll(async () => {
  await port.close();
  await model.dispose();
});

const story = { model: base, prompt: 'Once upon a time', temperature: 0, max_tokens: 12 };
const question = {
  model: instruct,
  messages: [{ role: 'user' as const, content: 'Write a story about a fox.' }],
  temperature: 0,
};

describe('models', () => {
  it('are listed and found by name', async () => {
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual([base, instruct]);
    expect((await client.models.retrieve(base)).id).toBe(base);
    await expect(client.models.retrieve('other')).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });
});

describe('completions', () => {
  it('are what the library gives', async () => {
    const [{ text, finish_reason, logprobs }] = (await client.completions.create(story)).choices;
    const own = await model.complete(story.prompt, { temperature: 0, maxTokens: 12, continuation: true });
    expect({ text, finish_reason, logprobs }).toEqual({ text: own.text, finish_reason: 'length', logprobs: null });
  });

  it('are streamed with their usage', async () => {
    const whole = await client.completions.create(story);
    const stream = await client.completions.create({ ...story, stream: true, stream_options: { include_usage: true } });
    let text = '';
    let usage: OpenAI.CompletionUsage | null | undefined;
    const reasons: unknown[] = [];
    for await (const chunk of stream) {
      usage = chunk.usage;
      for (const choice of chunk.choices) {
        text += choice.text;
        reasons.push(choice.finish_reason);
      }
    }
    expect(text).toBe(whole.choices[0].text);
    expect(reasons.filter((reason) => reason !== null)).toEqual(['length']);
    expect(usage).toMatchObject({ prompt_tokens: whole.usage!.prompt_tokens, completion_tokens: 12 });
  });

  it('take ids and lists, echo, and tell log-probabilities', async () => {
    const ids = model.tokenizer.encode(story.prompt, { bos: true });
    const asked = { ...story, max_tokens: 1, echo: true, logprobs: 1 };
    const { choices } = await client.completions.create({ ...asked, prompt: [ids, [...ids, ...ids]] });
    const { logprobs } = await model.score(ids);
    expect(choices.map(({ index }) => index)).toEqual([0, 1]);
    const [{ text, logprobs: told }] = choices;
    expect(text.startsWith(story.prompt)).toBe(true);
    expect(told!.token_logprobs!.slice(0, ids.length)).toEqual(logprobs);
    expect(told!.tokens!.slice(1).join('')).toBe(text);
    for (const [i, offset] of told!.text_offset!.entries())
      if (i > 0) expect(text.slice(offset).startsWith(told!.tokens![i]), `token ${i}`).toBe(true);
    const [byText] = (await client.completions.create(asked)).choices;
    expect(byText).toEqual(choices[0]);
    const [scored] = (await client.completions.create({ ...asked, max_tokens: 0, logprobs: 3 })).choices;
    expect(scored.text).toBe(story.prompt);
    expect(Object.keys(scored.logprobs!.top_logprobs![1]!)).toHaveLength(3);
  });

  it('tell the log-probability of the token that ends a text, which is none of it', async () => {
    const { eosId } = model.tokenizer;
    const asked = { ...story, max_tokens: 1, echo: true, logprobs: 1, logit_bias: { [eosId]: 100 } };
    const [{ text, logprobs, finish_reason }] = (await client.completions.create(asked)).choices;
    expect([text, finish_reason, logprobs!.tokens!.at(-1)]).toEqual([story.prompt, 'stop', '</s>']);
    const [plain] = (await client.completions.create({ ...asked, logit_bias: {} })).choices;
    expect(logprobs!.token_logprobs!.slice(0, -1)).toEqual(plain.logprobs!.token_logprobs!.slice(0, -1));
    let last: unknown;
    for await (const { choices } of await client.completions.create({ ...asked, stream: true }))
      last = choices[0].logprobs?.tokens;
    expect(last).toEqual(['</s>']);
  });

  it('give several answers, and the best of them', async () => {
    const sampled = { ...story, temperature: 1, seed: 5 };
    const three = await client.completions.create({ ...sampled, n: 3 });
    expect(new Set(three.choices.map(({ text }) => text)).size).toBe(3);
    expect((await client.completions.create(sampled)).choices[0].text).toBe(three.choices[0].text);
    const best = await client.completions.create({ ...sampled, best_of: 3 });
    expect(three.choices.map(({ text }) => text)).toContain(best.choices[0].text);
    expect(best.usage!.completion_tokens).toBe(36);
  });

  it('obey stop and logit_bias', async () => {
    const stopped = await client.completions.create({ ...story, stop: [' there'] });
    expect(stopped.choices[0]).toMatchObject({ text: ',', finish_reason: 'stop' });
    const comma = model.tokenizer.pieceToId(',')!;
    const [{ text }] = (await client.completions.create({ ...story, max_tokens: 1, logit_bias: { [comma]: -100 } })).choices;
    expect(text).not.toBe(',');
  });
});

describe('chat completions', () => {
  it('are whole, or streamed to the same text', async () => {
    const whole = await client.chat.completions.create({ ...question, max_completion_tokens: 16 });
    const stream = client.chat.completions.stream({
      ...question,
      max_completion_tokens: 16,
      stream_options: { include_usage: true },
    });
    const streamed = await stream.finalChatCompletion();
    expect(whole.choices[0].message).toMatchObject({ role: 'assistant' });
    expect(whole.choices[0].message.content!.length).toBeGreaterThan(20);
    expect(streamed.choices[0].message.content).toBe(whole.choices[0].message.content);
    expect(streamed.choices[0].finish_reason).toBe('length');
    expect(streamed.usage!.completion_tokens).toBe(16);
  });

  it('tell log-probabilities, and take contents in parts', async () => {
    const content = [{ type: 'text' as const, text: 'Write a story about a fox.' }];
    const messages = [
      { role: 'developer' as const, content: 'Be short.' },
      { role: 'user' as const, content },
    ];
    const { choices } = await client.chat.completions.create({
      ...{ ...question, messages, n: 2, max_tokens: 3, logprobs: true, top_logprobs: 2 },
    });
    expect(choices).toHaveLength(2);
    for (const { logprobs, message } of choices) {
      expect(
        logprobs!
          .content!.map(({ token }) => token)
          .join('')
          .trim(),
      ).toBe(message.content);
      expect(logprobs!.content![0].top_logprobs).toHaveLength(2);
    }
  });
});

describe('embeddings', () => {
  it("are the library's, as numbers and as bytes", async () => {
    const input = ['The cat sat.', 'Once upon a time'];
    const asked = await client.embeddings.create({ model: base, input }); // the client asks for base64 and decodes it
    const own = await model.embed(input);
    for (const [i, { embedding }] of asked.data.entries())
      for (const [k, value] of embedding.entries()) expect(Math.abs(value - own[i][k])).toBeLessThan(1e-6);
    const { data } = await client.embeddings.create({ model: base, input: [1, 5, 9], encoding_format: 'float' });
    expect(data[0].embedding).toHaveLength(256);
    await expect(client.embeddings.create({ model: base, input: ['x', ''] })).rejects.toThrow('400 input has an empty text');
    await expect(client.embeddings.create({ model: base, input: '', dimensions: 7 })).rejects.toThrow(
      'dimensions is not supported',
    );
  });
});

describe('responses', () => {
  const asked = { model: instruct, input: question.messages[0].content, temperature: 0, max_output_tokens: 12 };

  it('are what chat completions give, whole and as events', async () => {
    const chat = await client.chat.completions.create({ ...question, max_tokens: 12 });
    const whole = await client.responses.create(asked);
    expect(whole.output_text).toBe(chat.choices[0].message.content);
    expect(whole).toMatchObject({ status: 'incomplete', usage: { output_tokens: 12 } });
    const stream = client.responses.stream({ ...asked, input: question.messages });
    const types: string[] = [];
    for await (const { type } of stream) types.push(type);
    expect((await stream.finalResponse()).output_text).toBe(whole.output_text);
    expect([types[0], types.at(-1)]).toEqual(['response.created', 'response.incomplete']);
  });

  it.each([
    [{ previous_response_id: 'resp_1' }, /previous_response_id is not supported/],
    [{ input: [{ type: 'function_call_output', call_id: 'x', output: 'y' }] }, /only messages are supported/],
    [{ input: 7 }, /input is 7/],
    [{ temperature: -1 }, /temperature is -1/],
  ])('refuse %j', async (change, message) => {
    await expect(client.responses.create({ ...asked, ...(change as object) })).rejects.toThrow(message);
  });
});

describe('structured answers', () => {
  const schema = {
    type: 'object',
    properties: { hero: { type: 'string', maxLength: 12 }, age: { type: 'integer' } },
    required: ['hero', 'age'],
    additionalProperties: false,
  };

  it('are what their schema says, whole and streamed', async () => {
    const response_format = { type: 'json_schema' as const, json_schema: { name: 'hero', schema } };
    const { choices } = await client.chat.completions.create({ ...question, response_format, max_tokens: 100 });
    const hero = JSON.parse(choices[0].message.content!);
    expect(hero).toEqual({ hero: expect.any(String), age: expect.any(Number) });
    const stream = client.chat.completions.stream({ ...question, response_format, max_tokens: 100 });
    expect(JSON.parse((await stream.finalChatCompletion()).choices[0].message.content!)).toEqual(hero);
    const format = { type: 'json_schema' as const, name: 'hero', schema };
    const { output_text } = await client.responses.create({
      ...{ model: instruct, input: 'A hero.', temperature: 0 },
      text: { format },
    });
    expect(Object.keys(JSON.parse(output_text))).toEqual(['hero', 'age']);
  });
});

describe('wrong requests', () => {
  it.each([
    [{ temperature: 'hot' }, /^400 temperature is "hot"; expected a number from 0 to 100$/],
    [{ suffix: 'end' }, /^400 suffix is not supported/],
    [{ n: 0 }, /^400 n is 0/],
    [{ best_of: 1, n: 2 }, /best_of is 1, but n is 2/],
    [{ prompt: [1, 99999999] }, /token 1 has id 99999999/],
    [{ prompt: 'x '.repeat(9000) }, /tokens, but this model's context takes 1024/],
    [{ prompt: 'x '.repeat(900_000) }, /1800000 characters, far more than/],
    [{ prompt: [] }, /prompt is \[\]; expected/],
    [{ prompt: { a: 1 } }, /prompt is \{"a":1\}; expected/],
    [{ stream_options: {} }, /goes with "stream": true/],
    [{ logit_bias: { x: 1 } }, /logit_bias is \{"x":1\}/],
    [{ stop: [''] }, /stop is \[""\]/],
    [{ n: 20 }, /too many here: at most 8/],
    [{ model: 'gpt-4o' }, /^404 there is no model "gpt-4o" here/],
  ])('%j', async (change, message) => {
    await expect(client.completions.create({ ...story, ...(change as object) })).rejects.toThrow(message);
  });

  it.each([
    [{ tools: [{ type: 'function', function: { name: 'f' } }] }, /^400 tools is not supported/],
    [{ response_format: { type: 'yaml' } }, /response_format is \{"type":"yaml"\}; expected/],
    [{ response_format: { type: 'json_schema' } }, /response_format has no schema/],
    [{ response_format: { type: 'json_schema', json_schema: { schema: { type: 'array', uniqueItems: true } } } }, /uniqueItems/],
    [{ messages: [] }, /messages is \[\]/],
    [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] }, /only text is supported/],
    [{ messages: [{ role: 'wizard', content: 'x' }] }, /messages\[0\].role is "wizard"/],
    [{ messages: [{ role: 'user' }] }, /messages\[0\].content is missing/],
    [{ top_logprobs: 2 }, /goes with "logprobs": true/],
  ])('%j', async (change, message) => {
    await expect(client.chat.completions.create({ ...question, ...(change as object) })).rejects.toThrow(message);
  });

  it('fields that nobody knows are passed over', async () => {
    const strange = { ...story, max_tokens: 1, whatever: 1, user: 'me', tools: null };
    expect((await client.completions.create(strange as never)).choices).toHaveLength(1);
  });
});

describe('clients that go away', () => {
  it('leave their slots within a step', async () => {
    const endless = { ...story, max_tokens: 900, temperature: 1, ignore_eos: true } as never;
    for (let round = 0; round < 3; round++) {
      const streams = await Promise.all(
        [0, 1, 2, 3].map(() => client.completions.create({ ...(endless as object), stream: true } as never)),
      );
      for (const stream of streams as unknown as { controller: AbortController }[]) stream.controller.abort();
    }
    const began = process.cpuUsage();
    await client.completions.create({ ...story, max_tokens: 1, n: 4 });
    expect(process.cpuUsage(began).user).toBeLessThan(2e6); // 900 tokens of each take longer
    expect(log.filter(({ error }) => error === 'the client has gone').length).toBeGreaterThanOrEqual(8);
  });
});
