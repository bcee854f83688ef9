// What a page asks of its worker, over a port between two threads' worth of code: load from files, continue, stop, score, train. The
// same in Chromium is test/browser/chromium.ts.

import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { nodeWasmBackend } from '../../src/backends/wasm-node.js';
import type { OpenBackend } from '../../src/browser/computing.js';
import { answer, Caller, type Port } from '../../src/browser/messages.js';
import { type LoadAnswer, serveSession } from '../../src/browser/session.js';
import { trainOn } from '../../src/browser/train.js';
import type { TrainAnswer, TrainEvent } from '../../src/browser/training-session.js';
import { TrainingStore } from '../../src/browser/training-store.js';
import { BrowserModel, estimateTraining } from '../../src/browser.js';
import { packagePath } from '../../src/io/node/paths.js';
import type { StepReport } from '../../src/train/trainer.js';
import { failingGpu, failures } from '../failing-gpu.js';

const ports: MessagePort[] = [];
afterAll(() => {
  for (const port of ports) port.close();
});

function session(openBackend: OpenBackend = async ({ threads = 1 }) => nodeWasmBackend({ threads })): Caller {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  serveSession(port2 as unknown as Port, openBackend);
  return new Caller(port1 as unknown as Port);
}

const names = ['config.json', 'model.safetensors', 'tokenizer.model'];
const file = (name: string) => ({ name, blob: new Blob([readFileSync(packagePath(`models/tales-6m/${name}`))]) });

const tinyShape = {
  num_transformer_layers: 2,
  model_dim: 32,
  head_dim: 16,
  num_query_heads: 2,
  num_kv_heads: 1,
  ffn_multipliers: 1,
};

async function loaded(openBackend?: OpenBackend): Promise<BrowserModel> {
  const caller = session(openBackend);
  const answer = await caller.call<LoadAnswer>('load', { source: names.map(file), options: {} });
  return new BrowserModel({ caller, end: () => undefined }, answer);
}

it('a training is not estimated with a count that is none', async () => {
  await expect(estimateTraining({ batch: 1.5 })).rejects.toThrow('batch is 1.5; expected a whole number above 0');
  await expect(estimateTraining({ vocabSize: 0 })).rejects.toThrow('vocabSize is 0; expected a whole number above 0');
});

it('code that is imported when it is wanted, and does not come, is told of in one sentence', async () => {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  const wanted = async (): Promise<never> => {
    throw new TypeError('Failed to fetch dynamically imported module: http://x/chat-template.js');
  };
  answer(port2 as unknown as Port, { wanted });
  const asked = new Caller(port1 as unknown as Port).call('wanted', undefined);
  await expect(asked).rejects.toThrow(/^a part of the code cannot be fetched, .* is away: try again when it is back$/);
});

describe('a session', () => {
  it('writes the golden story from files, streams it, and stops', async () => {
    await using model = await loaded();
    expect(model.backend.description).toMatch(/^wasm/);
    expect(model.weights.dtype).toBe('f16');
    const [golden] = JSON.parse(readFileSync(new URL('../golden/tales-6m/golden_greedy.json', import.meta.url), 'utf8'));
    const ids: number[] = [];
    let text = '';
    for await (const piece of model.generate(golden.prompt, { temperature: 0, maxTokens: 40 })) {
      ids.push(...piece.ids);
      text += piece.text;
    }
    expect(ids).toEqual(golden.ids.slice(0, 40));
    expect(text).toBe(await model.decode(ids));
    const controller = new AbortController();
    const endless = { maxTokens: 1_000_000, ignoreEos: true, overflow: 'slide' } as const;
    const result = model.complete(golden.prompt, { ...endless, signal: controller.signal });
    setTimeout(() => controller.abort(), 50);
    expect((await result).finishReason).toBe('abort');
    const { logprobs } = await model.score('Once upon a time');
    expect(logprobs.slice(1).every((logprob) => logprob !== null && logprob < 0)).toBe(true);
    for await (const {
      ids: [id],
      logprobs: [told] = [],
    } of model.chat([{ role: 'user', content: 'Hello.' }], { topLogprobs: 5 })) {
      expect(told.id).toBe(id);
      expect(told.token.trim()).toBe((await model.decode([id])).trim());
      expect(told.top.length).toBe(5);
      expect(told.top.every(({ token, logprob }) => token.length > 0 && logprob <= told.top[0].logprob)).toBe(true);
      break;
    }
    const seen = await model.inside('Once upon a time', 1);
    const { length } = seen.ids;
    expect(seen.tokens.join('')).toContain('Once upon a time');
    expect([seen.norms.length, seen.attention.length]).toEqual([
      (model.config.layers.length + 1) * length,
      seen.heads * length ** 2,
    ]);
    expect(seen.norms.every((norm) => norm > 0)).toBe(true);
    for (let row = 0; row < seen.heads * length; row++) {
      const sum = seen.attention.subarray(row * length, (row + 1) * length).reduce((all, weight) => all + weight, 0);
      expect(sum).toBeCloseTo(1, 5);
    }
    const prompt = [...(await model.encode(golden.prompt)), ...golden.ids.slice(0, 5)];
    const rest = await model.complete(prompt, { temperature: 0, maxTokens: 5, continuation: true });
    expect(rest.text).toBe(text.slice((await model.decode(golden.ids.slice(0, 5))).length).slice(0, rest.text.length));
    expect(rest.ids).toEqual(golden.ids.slice(5, 10));
    await expect(model.complete('a', { temperature: -1 })).rejects.toThrow(/temperature/);
  });

  it('says what is missing among files', async () => {
    const load = (some: string[]) => session().call('load', { source: some.map(file), options: {} });
    await expect(load(['model.safetensors'])).rejects.toThrow('config.json is missing: it says what shape the model has');
    await expect(load(['config.json'])).rejects.toThrow(/no weights, neither model.safetensors nor/);
    await expect(load([])).rejects.toThrow(/no files were given/);
    await expect(session().call('load', { source: 'what', options: {} })).rejects.toThrow(/"what" is no address/);
  });

  it('names an option that there is not, and a value that is none', async () => {
    const refused = (call: string, argument: object) =>
      session()
        .call(call, argument)
        .catch((error: Error) => error.message);
    const load = (options: object) => refused('load', { source: names.map(file), options });
    expect(await load({ dtyp: 'q8' })).toBe('the options of load: there is no dtyp; did you mean dtype?');
    expect(await load({ threads: 1000 })).toMatch('threads is 1000; expected a whole number from 1 to 64');
    expect(await load({ files: ['a', 5] })).toMatch('files is ["a",5]; expected the names');
    expect(await load({ hub: { tokn: '' } })).toBe('the options of the hub: there is no tokn; did you mean token?');
    expect(await load({ keep: () => false })).toMatch('cannot be sent to the worker');
    expect(await refused('train', { options: { text: 'a', steps: 1, lenght: 8 } })).toMatch('did you mean length?');
    await using model = await loaded();
    await expect(model.complete('a', { signal: {} as AbortSignal })).rejects.toThrow('signal is no AbortSignal');
    await expect(model.complete('a', null as never)).rejects.toThrow('the options are null; expected an object');
  });

  it('goes on with WebAssembly where a GPU that was not asked for by name fails', async () => {
    const open: OpenBackend = async ({ backend }) => {
      const wasm = nodeWasmBackend({ threads: 1 });
      return backend === 'wasm' ? wasm : failingGpu(wasm);
    };
    const [prompt, options] = ['Once upon a time', { temperature: 0, maxTokens: 5 }] as const;
    {
      await using model = await loaded(open);
      expect(model.backend).toMatchObject({ name: 'webgpu', description: 'webgpu, a test' });
      const before = await model.complete(prompt, options);
      const pieces = model.generate(prompt, { temperature: 0, maxTokens: 200 });
      await pieces.next();
      failures.runs = 'device-lost';
      const rest = (async () => {
        for await (const _ of pieces);
      })();
      await expect(rest).rejects.toThrow(
        'the GPU was lost in the middle of this answer: ask again, and WebAssembly will compute it',
      );
      expect((await model.complete(prompt, options)).ids).toEqual(before.ids);
      expect(model.backend.name).toBe('wasm');
    }
    failures.runs = undefined;
    failures.uploads = 'out-of-memory';
    await using model = await loaded(open);
    expect(model.backend.name).toBe('wasm');
    failures.uploads = undefined;
  });

  it('trains as the native backend does', async () => {
    const text = readFileSync(packagePath('recipes/data/tales.txt'), 'utf8').slice(0, 60_000);
    const options = { text, vocabSize: 512, steps: 30, batch: 4, length: 32 };
    const losses: number[] = [];
    const onEvent = (event: unknown): void => {
      const [name, told] = event as TrainEvent;
      if (name === 'onStep') losses.push((told as StepReport).means.loss);
    };
    const result = await session().call<TrainAnswer>('train', { options }, { onEvent });
    expect(losses).toHaveLength(30);
    expect(losses[29]).toBeLessThan(losses[0] - 0.5);
    expect(result.files.map(({ name }) => name).sort()).toEqual(names);
    const native = nativeBackend({ threads: 1 });
    if ('reason' in native) return;
    const expected: number[] = [];
    await trainOn(native.backend, options, { onStep: ({ means }) => void expected.push(means.loss) });
    await native.backend.dispose();
    for (const [i, loss] of losses.entries()) expect(Math.abs(loss - expected[i]), `step ${i + 1}`).toBeLessThan(1e-4);
    const caller = session();
    const answer = await caller.call<LoadAnswer>('load', { source: result.files, options: { dtype: 'q8' } });
    await using model = new BrowserModel({ caller, end: () => undefined }, answer);
    expect((await model.complete('Once', { maxTokens: 5 })).ids).toHaveLength(5);
  });

  it('goes on with a training to the bit as if it had not been interrupted, from what it hands over where nothing is kept', async () => {
    const text = readFileSync(packagePath('recipes/data/tales.txt'), 'utf8').slice(0, 20_000);
    const options = {
      ...{ text, vocabSize: 400, steps: 8, batch: 2, length: 24, shape: tinyShape },
      ...{ samples: { every: 4, prompt: 'There was', maxTokens: 6 }, validation: { every: 4, share: 0.02 } },
    };
    const run = async (call: string, argument: object, until = 8): Promise<[TrainAnswer, TrainEvent[]]> => {
      const events: TrainEvent[] = [];
      const controller = new AbortController();
      const onEvent = (event: unknown): void => {
        events.push(event as TrainEvent);
        const [name, told] = event as TrainEvent;
        if (name === 'onStep' && (told as StepReport).step >= until) controller.abort();
      };
      return [await session().call<TrainAnswer>(call, argument, { signal: controller.signal, onEvent }), events];
    };
    const told = (name: string, events: TrainEvent[]) => events.filter(([event]) => event === name).map(([, value]) => value);
    const [whole, events] = await run('train', { options });
    expect(whole.checkpoint).toBeUndefined();
    expect(told('onValidation', events)).toHaveLength(2);
    const [first, before] = await run('train', { options: { ...options, keep: 'tales' } }, 2);
    expect(first.interrupted).toBe(true);
    expect(first.steps).toBeLessThan(8);
    expect(told('onNotice', before)).toEqual([
      expect.stringMatching(/keeps no files here .*: the training is lost when the page is closed/),
    ]);
    const newer = first.checkpoint!.map(async ({ name, blob }) => {
      const job =
        name === 'job.json' && JSON.stringify({ ...JSON.parse(await blob.text()), format: 'openelm-browser-training-2' });
      return { name, blob: job ? new Blob([job]) : blob };
    });
    expect(await (await TrainingStore.inMemory(await Promise.all(newer))).foreignName()).toBe('tales');
    expect(await (await TrainingStore.inMemory(first.checkpoint)).foreignName()).toBeUndefined();
    await expect(run('continue', { from: await Promise.all(newer), options: {} })).rejects.toThrow(
      /^the training tales was begun by another version of this page: load the page again/,
    );
    const [second, after] = await run('continue', { from: first.checkpoint, options: {} });
    expect(second).toMatchObject({ steps: 8, interrupted: false });
    for (const [i, { name, blob }] of second.files.entries())
      expect(
        Buffer.compare(Buffer.from(await blob.arrayBuffer()), Buffer.from(await whole.files[i].blob.arrayBuffer())),
        name,
      ).toBe(0);
    expect([...told('onSample', before), ...told('onSample', after)]).toEqual(told('onSample', events));
    expect(told('onValidation', after)).toEqual(told('onValidation', events).slice(-told('onValidation', after).length));
    await expect(session().call('continue', { from: 'tales', options: {} })).rejects.toThrow(
      'no training called tales is kept here',
    );
    await expect(session().call('train', { options: { ...options, length: 8000 } })).rejects.toThrow(
      /give a longer one, or a smaller batch/,
    );
  });
});
