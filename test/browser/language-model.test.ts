// LanguageModel's semantics over a model of the tests: its tokens are characters and its answers are given. The cases follow those of
// web-platform-tests, ai/language-model (named in brackets), as far as they ask what any model can do. With the embedded model, and in
// Chromium: language-model-session.test.ts and prompt-api.ts.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it, vi } from 'vitest';
import type { PromptModel } from '../../src/browser/conversation.js';
import { type LanguageModel as Instance, languageModelOver } from '../../src/browser/language-model.js';
import type { LoadProgress } from '../../src/browser/session.js';
import type { ModelProvider } from '../../src/browser/shared-model.js';
import { InputError } from '../../src/errors.js';
import type { ChatMessage } from '../../src/infer/chat.js';

const sentence = 'Please write a sentence.';
const window = 200;
/** Tokens of a message besides its characters. */
const marks = 2;

interface Fake {
  readonly provider: ModelProvider;
  /** What is computed: the prompts as text, with the options. */
  readonly asked: { text: string; options: Record<string, unknown> }[];
  readonly opened: { count: number; disposed: number };
  /** The next answers; "ok" when there are none. */
  readonly answers: string[];
  here: boolean;
  /** Waited for before every token. */
  gate: () => Promise<void>;
}

const marksOf: Record<string, string> = { system: 'S', user: 'U', assistant: 'A', tool: 'T' };

function fake({ strict = false }: { strict?: boolean } = {}): Fake {
  const encodeChat: PromptModel['encodeChat'] = async (
    messages: readonly ChatMessage[],
    { answering = true, begun = '' } = {},
  ) => {
    if (strict && messages.some(({ role }, i) => role === messages[i - 1]?.role)) throw new InputError('roles must alternate');
    const text = messages.map(({ role, content }) => `${marksOf[role]}${content};`).join('') + (answering ? `A${begun}` : '');
    return [...text].map((character) => character.codePointAt(0)!);
  };
  const made: Fake = {
    asked: [],
    opened: { count: 0, disposed: 0 },
    answers: [],
    here: false,
    gate: async () => {},
    provider: {
      languages: ['en'],
      isHere: async () => made.here,
      async open({ signal, onProgress }) {
        made.opened.count++;
        const steps: LoadProgress[] = [0, 1, 2, 3, 4].map((i) => ({ phase: 'download', bytes: i * 25, total: 100 }));
        for (const step of [...steps, { phase: 'load', bytes: 1, total: 1 } as const]) {
          await new Promise((resolve) => setTimeout(resolve, 1));
          signal.throwIfAborted();
          onProgress(step);
        }
        return {
          contextWindow: window,
          encodeChat,
          async *generate(prompt, options = {}) {
            const own = [...prompt];
            if (own.length > window) throw new InputError('the prompt is too long');
            if (options.regex === 'refused') throw new InputError('the regular expression is not supported');
            made.asked.push({ text: String.fromCodePoint(...own), options: { ...options } });
            const answer = options.maxTokens === 1 ? '?' : (made.answers.shift() ?? 'ok');
            const ids: number[] = [];
            for (const text of answer) {
              await made.gate();
              if (options.signal?.aborted) return { ids, finishReason: 'abort' };
              if (own.length + ids.length > window)
                return { ids, finishReason: 'length', complete: options.jsonSchema ? false : undefined };
              ids.push(text.codePointAt(0)!);
              yield { text };
            }
            return { ids, finishReason: 'stop' };
          },
          dispose: async () => void made.opened.disposed++,
        };
      },
    },
  };
  return made;
}

const session = (own: Fake, options?: object): Promise<Instance> => languageModelOver(own.provider).create(options);
const all = async (stream: AsyncIterable<string>): Promise<string[]> => {
  const chunks: string[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};
const rejects = (promise: Promise<unknown>, name: string): Promise<void> => expect(promise).rejects.toMatchObject({ name });

describe('LanguageModel.create', () => {
  it('gives a session with the interface [create]', async () => {
    const LanguageModel = languageModelOver(fake().provider);
    const own = await LanguageModel.create();
    expect(own).toBeInstanceOf(LanguageModel);
    expect(own).toBeInstanceOf(EventTarget);
    expect(Object.prototype.toString.call(own)).toBe('[object LanguageModel]');
    expect([own.contextUsage, own.inputUsage, own.contextWindow, own.inputQuota]).toEqual([0, 0, window, window]);
    expect([own.oncontextoverflow, own.onquotaoverflow]).toEqual([null, null]);
    expect(own.samplingMode).toBe('balanced');
    expect(() => new (LanguageModel as unknown as new () => unknown)()).toThrow(TypeError);
    expect(await LanguageModel.params()).toMatchObject({ maxTopK: 128, maxTemperature: 2 });
  });

  it('looks as Web IDL makes interfaces look [idlharness]', async () => {
    const LanguageModel = languageModelOver(fake().provider);
    const shape = (holder: object): Record<string, unknown> =>
      Object.fromEntries(
        Object.entries(Object.getOwnPropertyDescriptors(holder))
          .filter(([, { enumerable }]) => enumerable)
          .map(([name, { value, get, set }]) => [name, value ? value.length : [get?.name, set?.name]]),
      );
    const attribute = (name: string, isWritten = false) => [`get ${name}`, isWritten ? `set ${name}` : undefined];
    const readOnly = 'contextUsage contextWindow inputUsage inputQuota topK temperature samplingMode'.split(' ');
    const handlers = ['oncontextoverflow', 'onquotaoverflow'];
    expect(shape(LanguageModel)).toEqual({ create: 0, availability: 0, params: 0 });
    expect(shape(LanguageModel.prototype)).toEqual({
      ...{ prompt: 1, promptStreaming: 1, append: 1, measureContextUsage: 1, measureInputUsage: 1, clone: 0, destroy: 0 },
      ...Object.fromEntries(readOnly.map((name) => [name, attribute(name)])),
      ...Object.fromEntries(handlers.map((name) => [name, attribute(name, true)])),
    });
    const made = LanguageModel as unknown as { name: string; length: number };
    expect([made.name, made.length]).toEqual(['LanguageModel', 0]);
    expect(Object.prototype.toString.call(LanguageModel.prototype)).toBe('[object LanguageModel]');
    for (const name of [...readOnly, ...handlers])
      expect(() => Reflect.get(LanguageModel.prototype, name), name).toThrow(TypeError);
    await expect(LanguageModel.prototype.prompt.call({} as Instance, 'a')).rejects.toThrow(TypeError);
    await LanguageModel.create({
      monitor(monitor) {
        expect(Object.keys(Object.getOwnPropertyDescriptors(monitor))).toEqual([]);
        expect(shape(Object.getPrototypeOf(monitor))).toEqual({ ondownloadprogress: attribute('ondownloadprogress', true) });
        expect(() => new (monitor.constructor as new () => unknown)()).toThrow(TypeError);
      },
    });
  });

  it('calls handlers in their place among listeners, that of a new one last', async () => {
    const own = await session(fake());
    const called: string[] = [];
    const listen = (name: string) => (): void => void called.push(name);
    own.oncontextoverflow = listen('none');
    own.addEventListener('contextoverflow', listen('listener'));
    own.oncontextoverflow = listen('first');
    own.dispatchEvent(new Event('contextoverflow'));
    own.oncontextoverflow = null;
    own.oncontextoverflow = listen('last');
    own.dispatchEvent(new Event('contextoverflow'));
    own.oncontextoverflow = 5 as never;
    own.dispatchEvent(new Event('contextoverflow'));
    expect(own.oncontextoverflow).toBe(null);
    expect(called).toEqual(['first', 'listener', 'listener', 'last', 'listener']);
  });

  it('takes numbers or a mode to sample by [create, create-sampling-mode]', async () => {
    const own = fake();
    expect(await session(own, { topK: 1.5, temperature: 0.5 })).toMatchObject({ topK: 1, temperature: 0.5, samplingMode: null });
    expect(await session(own, { topK: Infinity, temperature: 3 })).toMatchObject({ topK: 128, temperature: 2 });
    for (const wrong of [{ temperature: -0.5 }, { topK: 0 }, { topK: -2 }, { topK: Number.NaN }])
      await expect(session(own, wrong)).rejects.toThrow(RangeError);
    const greedy = await session(own, { samplingMode: 'most-predictable' });
    expect(await greedy.clone()).toMatchObject({ samplingMode: 'most-predictable', temperature: 0 });
    await expect(session(own, { samplingMode: 'wild' })).rejects.toThrow(TypeError);
    await expect(session(own, { samplingMode: 'balanced', topK: 3 })).rejects.toThrow(TypeError);
    await greedy.prompt('a');
    expect(own.asked.at(-1)!.options).toMatchObject({ temperature: 0, topK: 1 });
  });

  it('tells of its download, and of one that needs none [testMonitor]', async () => {
    const own = fake();
    const heard: number[] = [];
    let created = false;
    const monitor = (m: EventTarget & { ondownloadprogress?: unknown }): void => {
      const note = (event: Event): void => {
        const { loaded, total, lengthComputable } = event as ProgressEvent;
        expect([created, total, lengthComputable, loaded % (1 / 0x10000)]).toEqual([false, 1, true, 0]);
        heard.push(loaded);
      };
      m.ondownloadprogress = note;
      m.addEventListener('downloadprogress', note);
    };
    const LanguageModel = languageModelOver(own.provider);
    expect(await LanguageModel.availability()).toBe('downloadable');
    const creating = LanguageModel.create({ monitor });
    await new Promise((resolve) => setTimeout(resolve, 2));
    expect(await LanguageModel.availability()).toBe('downloading');
    await creating;
    created = true;
    expect(await LanguageModel.availability()).toBe('available');
    expect([heard[0], heard.at(-1)]).toEqual([0, 1]);
    expect(heard).toEqual(heard.toSorted((a, b) => a - b));
    created = false;
    heard.length = 0;
    await LanguageModel.create({ monitor });
    expect(heard).toEqual([0, 0, 1, 1]);
    expect(own.opened.count).toBe(1);
  });

  it('aborts while it downloads, at its beginning and its end, with the reason [testCreateMonitorWithAbort, abort]', async () => {
    for (const at of [0, 1]) {
      const own = fake();
      const controller = new AbortController();
      const reason = new Error('test');
      const monitor = (m: EventTarget): void =>
        m.addEventListener('downloadprogress', async (event) => {
          await null;
          if ((event as ProgressEvent).loaded === at) controller.abort(reason);
        });
      await expect(session(own, { monitor, signal: controller.signal })).rejects.toBe(reason);
      await expect(session(own, { signal: controller.signal })).rejects.toBe(reason);
      expect(await session(own)).toBeDefined(); // nothing is left behind
    }
    const own = fake();
    const controller = new AbortController();
    const aborted = session(own, { signal: controller.signal });
    const other = session(own);
    controller.abort();
    await rejects(aborted, 'AbortError');
    expect(await (await other).prompt('a')).toBe('ok'); // another one waits for the same download
  });

  it('passes on what the monitor throws [monitor-callback-exception]', async () => {
    const error = new Error('test');
    const monitor = (): never => {
      throw error;
    };
    await expect(session(fake(), { monitor })).rejects.toBe(error);
    await expect(session(fake(), { monitor: 3 })).rejects.toThrow(TypeError);
  });

  it('begins with prompts, the system one first [create, quota-exceeded]', async () => {
    const own = fake();
    const [system, user, assistant] = ['system', 'user', 'assistant'].map((role) => ({ role, content: 'hello' }));
    const full = await session(own, { initialPrompts: [system, user, assistant] });
    expect(full.contextUsage).toBe(3 * (5 + marks));
    expect(full.contextUsage).toBe(await full.measureContextUsage([system, user, assistant] as never));
    expect((await session(own, { initialPrompts: [] })).contextUsage).toBe(0);
    await session(own, { initialPrompts: [user, assistant] });
    for (const wrong of [
      [user, assistant, system],
      [system, system],
      { length: 0 },
      [{ role: 'tool', content: 'a' }],
      [{ role: 'user' }],
    ])
      await expect(session(own, { initialPrompts: wrong })).rejects.toThrow(TypeError);
    const long = sentence.repeat(window);
    const failing = session(own, { initialPrompts: [{ role: 'system', content: long }] });
    await expect(failing).rejects.toMatchObject({
      ...{ name: 'QuotaExceededError', requested: long.length + marks, quota: window },
      message: `the prompt takes ${long.length + marks} tokens, and the model has ${window}`,
    });
    await expect(failing).rejects.toBeInstanceOf(DOMException);
  });

  const tool = { name: 'a', description: 'what it does', inputSchema: { type: 'object', properties: {} } };

  it('knows languages and kinds of content [create, availability, availability-available]', async () => {
    const { provider } = fake();
    const LanguageModel = languageModelOver(provider);
    const asked = (options: unknown) => LanguageModel.availability(options as never);
    expect(await asked({ expectedInputs: [{ type: 'text', languages: ['EN', 'en-GB'] }], expectedOutputs: [], tools: [] })).toBe(
      'downloadable',
    );
    for (const options of [
      { topK: -2, temperature: 7 },
      { temperature: -0.5, initialPrompts: [3] },
    ])
      expect(await asked(options)).toBe('downloadable');
    for (const options of [
      { expectedInputs: [{ type: 'text', languages: ['unk'] }] },
      { expectedOutputs: [{ type: 'text', languages: ['en', 'ja'] }] },
      { expectedOutputs: [{ type: 'image' }] },
      { expectedInputs: [{ type: 'audio' }] },
      { tools: [tool], expectedOutputs: [{ type: 'tool-call' }] },
    ]) {
      expect(await asked(options)).toBe('unavailable');
      await rejects(LanguageModel.create(options as never), 'NotSupportedError');
    }
    await expect(LanguageModel.create({ tools: [tool], expectedOutputs: [{ type: 'tool-call' }] })).rejects.toThrow(
      'tools are not supported: this model calls none',
    );
    await expect(asked({ expectedInputs: [{ type: 'soup' }] })).rejects.toThrow(TypeError);
    for (const ask of [LanguageModel.create, LanguageModel.availability])
      await expect(ask({ expectedInputs: [{ type: 'text', languages: ['en-abc-invalid'] }] })).rejects.toThrow(RangeError);
  });

  it('refuses tools that none could call before it says that it calls none [tool-use]', async () => {
    const LanguageModel = languageModelOver(fake().provider);
    const create = (...tools: object[]) => LanguageModel.create({ tools, expectedOutputs: [{ type: 'tool-call' }] } as never);
    const circular: Record<string, unknown> = { type: 'object' };
    circular.self = circular;
    for (const wrong of [
      ...['name', 'description', 'inputSchema'].map((key) => ({ ...tool, [key]: undefined })),
      ...[null, 'text', [], {}, { type: 'string' }, { properties: {} }].map((inputSchema) => ({ ...tool, inputSchema })),
      ...[{ properties: 'none' }, { required: 'none' }].map((more) => ({ ...tool, inputSchema: { type: 'object', ...more } })),
      ...[{ name: '' }, { description: '' }, { inputSchema: circular }].map((more) => ({ ...tool, ...more })),
    ]) {
      await expect(create(wrong)).rejects.toThrow(TypeError);
      await expect(create({ ...tool, name: 'other' }, wrong)).rejects.toThrow(TypeError);
    }
    await expect(create(tool, tool)).rejects.toThrow('two tools are called "a"');
    await expect(LanguageModel.create({ tools: [tool] } as never)).rejects.toThrow(TypeError);
    const reason = new Error('this is what it says');
    const toJSON = (): never => {
      throw reason;
    };
    await expect(create({ ...tool, inputSchema: { type: 'object', toJSON } })).rejects.toBe(reason);
    expect(await LanguageModel.availability({ tools: [] })).toBe('downloadable');
  });

  it('says why a model cannot be had', async () => {
    const own = fake();
    const provider = { ...own.provider, open: () => Promise.reject(new InputError('there is no such model')) };
    await expect(languageModelOver(provider).create()).rejects.toMatchObject({
      name: 'NetworkError',
      message: 'there is no such model',
    });
    own.here = true;
    await rejects(languageModelOver(provider).create(), 'OperationError');
    const nowhere = languageModelOver({ ...provider, missing: 'there is no WebAssembly' });
    expect(await nowhere.availability()).toBe('unavailable');
    await expect(nowhere.create()).rejects.toMatchObject({ name: 'NotSupportedError', message: 'there is no WebAssembly' });
  });
});

describe('a session', () => {
  it('answers, counts what it keeps, and goes on [prompt, usage]', async () => {
    const own = fake();
    const one = await session(own, { initialPrompts: [{ role: 'system', content: 'Be brief.' }] });
    const before = one.contextUsage;
    own.answers.push('Yes.');
    expect(await one.prompt(sentence)).toBe('Yes.');
    expect(one.contextUsage).toBe(before + (await one.measureContextUsage(sentence)) + (await one.measureInputUsage('Yes.')));
    await one.prompt([
      {
        role: 'user',
        content: [
          { type: 'text', value: 'a' },
          { type: 'text', value: 'b' },
        ],
      },
      { role: 'assistant', content: 'c' },
    ]);
    expect(own.asked.at(-1)!.text).toBe(`SBe brief.;U${sentence};AYes.;Uab;Ac;A`);
  });

  it('streams pieces, and stops when it is cancelled [prompt-streaming]', async () => {
    const own = fake();
    const one = await session(own);
    own.answers.push('one two', 'x'.repeat(100));
    const stream = one.promptStreaming(sentence);
    expect(Object.prototype.toString.call(stream)).toBe('[object ReadableStream]');
    expect((await all(stream)).join('')).toBe('one two');
    const usage = one.contextUsage;
    const reader = one.promptStreaming(sentence).getReader();
    await reader.read();
    await reader.cancel();
    expect(await one.prompt('b')).toBe('ok');
    expect(one.contextUsage).toBe(usage + (await one.measureContextUsage('b')) + 2 + marks);
  });

  it('streams to loops where streams cannot be iterated', async () => {
    const { prototype } = ReadableStream as unknown as { prototype: { [Symbol.asyncIterator]?: unknown } };
    const own = Object.getOwnPropertyDescriptor(prototype, Symbol.asyncIterator)!;
    delete prototype[Symbol.asyncIterator];
    try {
      const one = await session(fake());
      expect((await all(one.promptStreaming('a'))).join('')).toBe('ok');
      for await (const _ of one.promptStreaming('b')) break; // cancels it
      expect(one.contextUsage).toBe(1 + 2 + 2 * marks);
    } finally {
      Object.defineProperty(prototype, Symbol.asyncIterator, own);
    }
  });

  it('takes anything as text, and nothing that is no prompt [empty-inputs, append]', async () => {
    const own = fake();
    const one = await session(own);
    const inputs: unknown[] = [null, undefined, {}, '', [], [{ role: 'user', content: [] }], [{ role: 'user', content: null }]];
    for (const input of inputs) expect(await (await one.clone()).prompt(input as never)).toBe('ok');
    expect(own.asked.map(({ text }) => text)).toEqual([
      'Unull;A',
      'Uundefined;A',
      'U[object Object];A',
      'U;A',
      'U;A',
      'U;A',
      'Unull;A',
    ]);
    for (const call of ['prompt', 'append', 'measureContextUsage'] as const)
      await expect((one[call] as () => Promise<unknown>)()).rejects.toThrow(TypeError);
    expect(() => (one.promptStreaming as () => unknown)()).toThrow(TypeError);
    for (const wrong of [
      [{ role: 'user', content: [{ type: 'text' }] }],
      ['a'],
      [{ role: 'user', content: [{ type: 'text', value: new Uint8Array(2) }] }],
    ])
      await expect(one.prompt(wrong as never)).rejects.toThrow(TypeError);
    for (const type of ['image', 'audio'])
      await rejects(one.prompt([{ role: 'user', content: [{ type, value: new Uint8Array(2) }] }] as never), 'NotSupportedError');
    await expect(one.prompt('a', { signal: {} } as never)).rejects.toThrow(TypeError);
    await expect(one.prompt('a', 3 as never)).rejects.toThrow(TypeError);
  });

  it('takes a system prompt first, and only there [rejections, append]', async () => {
    const [user, system] = [
      { role: 'user', content: 'foo' },
      { role: 'system', content: 'bar' },
    ] as never[];
    for (const call of ['prompt', 'append'] as const) {
      const own = fake();
      const one = await session(own);
      await expect(one[call]([user, system])).rejects.toThrow(TypeError);
      await expect(one[call]([system, system])).rejects.toThrow(TypeError);
      const first = one[call]({ role: 'system', content: 'foo' } as never); // a text
      await expect(one[call]([system])).rejects.toThrow(TypeError);
      await first;
      const other = await session(own);
      await other[call]([system]);
      await other.prompt('a');
      expect(own.asked.at(-1)!.text).toMatch(/^Sbar;(U;Aok;)?Ua;A$|^Sbar;Aok;Ua;A$/);
    }
  });

  it('goes on from a prefix, at the end only', async () => {
    const own = fake();
    const one = await session(own);
    own.answers.push('rest');
    const prompt = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'The ', prefix: true },
    ] as never[];
    expect(await one.prompt(prompt)).toBe('rest');
    expect(own.asked.at(-1)!).toMatchObject({ text: 'Ua;AThe ', options: { continuation: true } });
    await one.prompt('b');
    expect(own.asked.at(-1)!.text).toBe('Ua;AThe rest;Ub;A');
    await rejects(one.prompt(prompt.toReversed()), 'SyntaxError');
    await rejects(one.prompt([{ role: 'user', content: 'a', prefix: true }]), 'SyntaxError');
  });

  it('holds answers to constraints [response-json-schema, response-regex]', async () => {
    const own = fake();
    const one = await session(own);
    const schema = { type: 'object', properties: { a: { type: 'number' } } };
    await one.prompt('a', { responseConstraint: schema });
    expect(own.asked.at(-1)!.options).toMatchObject({ jsonSchema: schema });
    await one.prompt(
      [
        { role: 'user', content: 'a' },
        { role: 'assistant', content: '{', prefix: true },
      ],
      { responseConstraint: /\{.*\}/i },
    );
    expect(own.asked.at(-1)!.options).toMatchObject({ regex: '\\{.*\\}', begun: '{' });
    const circular: { self?: object } = {};
    circular.self = circular;
    await rejects(one.prompt('a', { responseConstraint: circular }), 'NotSupportedError');
    await rejects(one.prompt('a', { responseConstraint: /refused/ }), 'NotSupportedError');
    for (const responseConstraint of [null, 'a', [1], () => 1])
      await expect(one.prompt('a', { responseConstraint } as never)).rejects.toThrow(TypeError);
    await expect(one.prompt('a', { omitResponseConstraintInput: true })).rejects.toThrow(TypeError);
    await expect(one.measureContextUsage('a', { omitResponseConstraintInput: true })).rejects.toThrow(TypeError);
    own.answers.push('x'.repeat(window));
    await rejects((await session(own)).prompt('a', { responseConstraint: schema }), 'SyntaxError');
  });

  it('answers one after the other [prompt-concurrent]', async () => {
    const own = fake();
    const one = await session(own);
    own.answers.push('1', '2');
    expect(await Promise.all([one.prompt('a'), one.append('b'), one.prompt('c')])).toEqual(['1', undefined, '2']);
    expect(own.asked.at(-1)!.text).toBe('Ua;A1;Ub;Uc;A');
  });

  it('aborts what runs and what waits, and forgets both [abort]', async () => {
    const own = fake();
    const one = await session(own);
    await one.prompt('first');
    const usage = one.contextUsage;
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    own.gate = () => gate;
    const [running, waiting] = [new AbortController(), new AbortController()];
    const reason = new Error('test');
    const results = [
      one.prompt('a', { signal: running.signal }),
      one.prompt('b', { signal: waiting.signal }),
      one.append('c', { signal: waiting.signal }),
      one.prompt('d'),
    ];
    await new Promise((done) => setTimeout(done, 5));
    waiting.abort();
    await rejects(results[1], 'AbortError');
    await rejects(results[2], 'AbortError');
    running.abort(reason);
    await expect(results[0]).rejects.toBe(reason);
    await expect(one.prompt('a', { signal: running.signal })).rejects.toBe(reason);
    await expect(one.measureContextUsage('a', { signal: running.signal })).rejects.toBe(reason);
    await expect(one.clone({ signal: running.signal })).rejects.toBe(reason);
    expect(() => one.promptStreaming('a', { signal: running.signal })).toThrow(reason);
    own.gate = async () => {};
    open();
    expect(await results[3]).toBe('ok');
    expect(own.asked.at(-1)!.text).toBe('Ufirst;Aok;Ud;A');
    expect(one.contextUsage).toBe(usage + 1 + 2 + 2 * marks);
    const controller = new AbortController();
    const stream = one.promptStreaming('a', { signal: controller.signal });
    controller.abort(reason);
    await expect(stream.pipeTo(new WritableStream())).rejects.toBe(reason);
    const cloning = new AbortController();
    const clone = one.clone({ signal: cloning.signal });
    cloning.abort(reason);
    await expect(clone).rejects.toBe(reason);
  });

  it('forgets the oldest when it overflows, and says so [overflow]', async () => {
    const own = fake();
    const one = await session(own, { initialPrompts: [{ role: 'system', content: 'Be brief.' }] });
    const heard: string[] = [];
    one.addEventListener('contextoverflow', ({ type }) => heard.push(type));
    one.onquotaoverflow = ({ type }: Event) => void heard.push(type);
    await one.prompt('a'.repeat(60));
    await one.prompt('b'.repeat(60));
    expect(heard).toEqual([]);
    await one.prompt('c'.repeat(60));
    expect(heard).toEqual(['contextoverflow', 'quotaoverflow']);
    expect(own.asked.at(-1)!.text).toBe(`SBe brief.;U${'b'.repeat(60)};Aok;U${'c'.repeat(60)};A`);
    expect(one.contextUsage).toBe(11 + 2 * (62 + 4));
    const { contextUsage } = one;
    const long = 'd'.repeat(190);
    await expect(one.prompt(long)).rejects.toMatchObject({ name: 'QuotaExceededError', requested: 11 + 192, quota: window });
    await expect(one.append(long)).rejects.toMatchObject({ name: 'QuotaExceededError', requested: 11 + 192 });
    await expect(all(one.promptStreaming(long))).rejects.toMatchObject({ name: 'QuotaExceededError' });
    expect([one.contextUsage, heard.length]).toEqual([contextUsage, 2]); // nothing was forgotten
  });

  it('forgets while it answers rather than to break off', async () => {
    const own = fake();
    const one = await session(own);
    const overflowed = vi.fn();
    one.oncontextoverflow = overflowed;
    await one.prompt('a'.repeat(100));
    own.answers.push('x'.repeat(80), 'yz');
    expect(await one.prompt('b'.repeat(50))).toMatch(/^x{40,50}yz$/);
    expect(overflowed).toHaveBeenCalledTimes(1);
    expect(own.asked.at(-1)!.text).toMatch(/^Ub{50};Ax+$/);
    expect(own.asked.at(-1)!.options).toMatchObject({ continuation: true });
    own.answers.push('x'.repeat(500));
    const alone = await session(own);
    expect((await alone.prompt('a')).length).toBe(window - 3); // nothing to forget: it ends
    expect(alone.contextUsage).toBe(window);
  });

  it('is cloned as it is [clone]', async () => {
    const own = fake();
    const one = await session(own, { temperature: 0.5, topK: 4 });
    await one.prompt(sentence);
    const clone = await one.clone();
    for (const name of ['contextWindow', 'contextUsage', 'temperature', 'topK'] as const) expect(clone[name]).toBe(one[name]);
    await clone.prompt(sentence);
    expect(clone.contextUsage).toBeGreaterThan(one.contextUsage);
    one.destroy();
    expect(await clone.prompt('a')).toBe('ok');
  });

  it('is of no use when it is destroyed, but can be looked at [destroy]', async () => {
    const own = fake();
    const one = await session(own);
    const running = one.prompt(sentence);
    const stream = all(one.promptStreaming(sentence));
    one.destroy();
    one.destroy();
    await rejects(running, 'InvalidStateError');
    await rejects(stream, 'InvalidStateError');
    for (const call of ['prompt', 'append', 'measureContextUsage', 'clone'] as const)
      await rejects(call === 'clone' ? one.clone() : one[call]('a'), 'InvalidStateError');
    expect(() => one.promptStreaming('a')).toThrow(/destroyed/);
    expect([one.contextUsage, one.contextWindow]).toEqual([0, window]);
    const controller = new AbortController();
    const other = await session(own, { signal: controller.signal });
    controller.abort();
    await rejects(other.prompt('a'), 'AbortError');
  });

  it('puts the model away some seconds after the last session, and has it again', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true });
    try {
      const own = fake();
      const LanguageModel = languageModelOver(own.provider);
      const [one, two] = [await LanguageModel.create(), await LanguageModel.create()];
      one.destroy();
      await vi.advanceTimersByTimeAsync(20_000);
      expect(own.opened).toEqual({ count: 1, disposed: 0 });
      two.destroy();
      await vi.advanceTimersByTimeAsync(1000);
      const three = await LanguageModel.create();
      await vi.advanceTimersByTimeAsync(20_000);
      expect(own.opened).toEqual({ count: 1, disposed: 0 });
      three.destroy();
      await vi.advanceTimersByTimeAsync(20_000);
      expect(own.opened).toEqual({ count: 1, disposed: 1 });
      expect(await LanguageModel.availability()).toBe('downloadable');
      expect(await (await LanguageModel.create()).prompt('a')).toBe('ok');
      expect(own.opened.count).toBe(2);
    } finally {
      vi.useRealTimers();
    }
  });

  it('puts the model away when nobody has a session any more, destroyed or not [garbage-collection]', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true });
    try {
      const own = fake();
      await (async () => {
        const one = await session(own);
        const running = (await one.clone()).prompt('a'); // of a session that nobody holds
        collect();
        expect(await running).toBe('ok');
      })();
      for (let i = 0; i < 100 && own.opened.disposed === 0; i++) {
        collect();
        await new Promise((resolve) => setImmediate(resolve));
        await vi.advanceTimersByTimeAsync(3000);
      }
      expect(own.opened).toEqual({ count: 1, disposed: 1 });
    } finally {
      vi.useRealTimers();
    }
  });

  it('joins neighbours where a template wants roles by turns', async () => {
    const own = fake({ strict: true });
    const one = await session(own);
    await one.append('a');
    await one.prompt('b');
    expect(own.asked.at(-1)!.text).toBe('Ua\n\nb;A');
  });
});
