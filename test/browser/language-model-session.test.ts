// LanguageModel with the embedded model that was taught to answer, over a session in this thread: its prompts are the chat template's, its
// counts are the engine's, prefixes and constraints go together. Semantics over a model of the tests: language-model.test.ts.

import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { nodeWasmBackend } from '../../src/backends/wasm-node.js';
import { languageModelOver } from '../../src/browser/language-model.js';
import { Caller, type Port } from '../../src/browser/messages.js';
import { type LoadAnswer, serveSession } from '../../src/browser/session.js';
import { BrowserModel, type Timings } from '../../src/browser.js';
import { packagePath } from '../../src/io/node/paths.js';

const ports: MessagePort[] = [];
afterAll(() => {
  for (const port of ports) port.close();
});

const names = ['config.json', 'model.safetensors', 'tokenizer.model', 'chat_template.jinja'];
const context = 256;
let opened: BrowserModel;
/** Of each prompt that was computed. */
const timings: Timings[] = [];

const LanguageModel = languageModelOver({
  languages: ['en'],
  isHere: async () => false,
  async open() {
    const { port1, port2 } = new MessageChannel();
    ports.push(port1, port2);
    serveSession(port2 as unknown as Port, async () => nodeWasmBackend({ threads: 1 }));
    const caller = new Caller(port1 as unknown as Port);
    const source = names.map((name) => ({
      name,
      blob: new Blob([readFileSync(packagePath(`models/tales-6m-instruct/${name}`))]),
    }));
    const answer = await caller.call<LoadAnswer>('load', { source, options: { context, slots: 2 } });
    opened = new BrowserModel({ caller, end: () => undefined }, answer);
    const generate = opened.generate.bind(opened);
    return Object.assign(opened, {
      contextWindow: context,
      async *generate(...asked: Parameters<typeof generate>): ReturnType<typeof generate> {
        const result = yield* generate(...asked);
        timings.push(result.timings);
        return result;
      },
    });
  },
});

describe('LanguageModel over the embedded model', () => {
  it('asks as the chat does, counts the tokens, and holds answers to a schema from their prefix on', async () => {
    const one = await LanguageModel.create({
      initialPrompts: [{ role: 'system', content: 'You tell stories.' }],
      samplingMode: 'most-predictable',
    });
    const system = { role: 'system', content: 'You tell stories.' } as const;
    const user = { role: 'user', content: 'Write a short story about a dog and a ball.' } as const;
    const conversation = [system, user] as const;
    expect(one.contextUsage).toBe((await opened.encodeChat([system], { answering: false })).length);
    expect(await opened.encodeChat(conversation)).toEqual(await opened.encode(conversation));
    const clone = await one.clone();
    const expected = await opened.complete(conversation, { temperature: 0, maxTokens: 4 });
    const reader = clone.promptStreaming(user.content).getReader();
    let begins = '';
    for (let next = await reader.read(); !next.done && begins.length < 30; next = await reader.read()) begins += next.value;
    await reader.cancel();
    expect(begins.startsWith(expected.text)).toBe(true);

    const schema = {
      type: 'object',
      required: ['Rating'],
      additionalProperties: false,
      properties: { Rating: { type: 'number', minimum: 0, maximum: 5 } },
    };
    const prefix = '{ "Rating": ';
    const rated = await one.prompt(
      [
        { role: 'user', content: 'hello' },
        { role: 'assistant', content: prefix, prefix: true },
      ],
      {
        responseConstraint: schema,
      },
    );
    const { Rating } = JSON.parse(prefix + rated) as { Rating: number };
    expect(Rating >= 0 && Rating <= 5).toBe(true);
    const counted = await opened.encodeChat(
      [system, { role: 'user', content: 'hello' }, { role: 'assistant', content: prefix + rated }],
      { answering: false },
    );
    expect(one.contextUsage).toBe(counted.length);
    expect(await one.prompt('hello', { responseConstraint: /^(yes|no)$/ })).toMatch(/^(yes|no)$/);
    const greeted = (content: string) =>
      clone.prompt(
        [
          { role: 'user', content: 'hello' },
          { role: 'assistant', content, prefix: true },
        ],
        {
          responseConstraint: /^Greetings and salutations[.!]/,
        },
      );
    expect(await greeted('Greetings')).toMatch(/^ and salutations[.!]$/);
    await expect(greeted('invalid')).rejects.toMatchObject({
      name: 'NotSupportedError',
      message: 'no text that the grammar allows begins with "invalid"',
    });
    await expect(clone.prompt('a', { responseConstraint: /(?=a)b/ })).rejects.toMatchObject({ name: 'NotSupportedError' });
    one.destroy();
    clone.destroy();
  });

  it('computes nothing twice: what a session begins with, was added and was answered', async () => {
    const one = await LanguageModel.create({
      initialPrompts: [{ role: 'system', content: 'You tell stories.' }],
      samplingMode: 'most-predictable',
    });
    const least = async (work: Promise<unknown>): Promise<number> => {
      const before = one.contextUsage;
      await work;
      const { reusedTokens } = timings.at(-1)!;
      return before - reusedTokens;
    };
    expect(await least(one.append('Once there was a fox.'))).toBeLessThan(3);
    expect(await least(one.prompt('And a well.', { responseConstraint: /[a-z ,.]{60}/ }))).toBeLessThan(3);
    // The answer's last token, which was not computed, and what closes it.
    expect(await least(one.prompt('And a ball.', { responseConstraint: /[a-z ,.]{10}/ }))).toBeLessThan(6);
    one.destroy();
  });

  it('forgets what is old when the context is full', async () => {
    const one = await LanguageModel.create({ samplingMode: 'most-predictable' });
    let overflows = 0;
    one.oncontextoverflow = () => overflows++;
    const sentence = 'Please write a sentence in English. ';
    await one.append(sentence.repeat(10));
    const usage = one.contextUsage;
    expect(usage).toBe(await one.measureContextUsage(sentence.repeat(10)));
    await one.append(sentence.repeat(10));
    expect(overflows).toBe(0);
    await one.append(sentence.repeat(12));
    expect(overflows).toBe(1);
    expect(one.contextUsage).toBeLessThanOrEqual(context);
    const long = sentence.repeat(context);
    const requested = await one.measureContextUsage(long);
    await expect(one.prompt(long)).rejects.toMatchObject({ name: 'QuotaExceededError', requested, quota: context });
    expect((await one.prompt('Go on.', { responseConstraint: /[a-z ]{20}/ })).length).toBe(20);
    await opened.dispose();
    await expect(one.prompt('a')).rejects.toMatchObject({ name: 'UnknownError' });
  });
});
