// What a page asks of its worker, over a port between two threads' worth of code: load from files, continue, stop, score, train. The
// same in Chromium is test/browser/chromium.ts.

import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { nodeWasmBackend } from '../../src/backends/wasm-node.js';
import { Caller, type Port } from '../../src/browser/messages.js';
import { type LoadAnswer, serveSession } from '../../src/browser/session.js';
import { type TrainResult, trainOn } from '../../src/browser/train.js';
import { BrowserModel } from '../../src/browser.js';
import { packagePath } from '../../src/io/node/paths.js';
import type { StepReport } from '../../src/train/trainer.js';

const ports: MessagePort[] = [];
afterAll(() => {
  for (const port of ports) port.close();
});

function session(): Caller {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  serveSession(port2 as unknown as Port, async ({ threads = 1 }) => nodeWasmBackend({ threads }));
  return new Caller(port1 as unknown as Port);
}

const names = ['config.json', 'model.safetensors', 'tokenizer.model'];
const file = (name: string) => ({ name, blob: new Blob([readFileSync(packagePath(`models/tales-6m/${name}`))]) });

async function loaded(): Promise<BrowserModel> {
  const caller = session();
  const answer = await caller.call<LoadAnswer>('load', { source: names.map(file), options: {} });
  return new BrowserModel({ caller, end: () => undefined }, answer);
}

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
    const result = model.complete(golden.prompt, { temperature: 0, signal: controller.signal });
    setTimeout(() => controller.abort(), 50);
    expect((await result).finishReason).toBe('abort');
    const { logprobs } = await model.score('Once upon a time');
    expect(logprobs.slice(1).every((logprob) => logprob !== null && logprob < 0)).toBe(true);
    for await (const piece of model.chat([{ role: 'user', content: 'Hello.' }], { maxTokens: 3 })) {
      if (piece.ids.length > 0) break;
    }
    await expect(model.complete('a', { temperature: -1 })).rejects.toThrow(/temperature/);
  });

  it('says what is missing among files', async () => {
    const load = (some: string[]) => session().call('load', { source: some.map(file), options: {} });
    await expect(load(['model.safetensors'])).rejects.toThrow('config.json is missing: it says what shape the model has');
    await expect(load(['config.json'])).rejects.toThrow(/no weights, neither model.safetensors nor/);
    await expect(load([])).rejects.toThrow(/no files were given/);
    await expect(session().call('load', { source: 'what', options: {} })).rejects.toThrow(/"what" is no address/);
  });

  it('trains as the native backend does', async () => {
    const text = readFileSync(packagePath('recipes/data/tales.txt'), 'utf8').slice(0, 60_000);
    const options = { text, vocabSize: 512, steps: 30, batch: 4, length: 32 };
    const losses: number[] = [];
    const onEvent = (event: unknown): void => {
      if ('report' in (event as object)) losses.push((event as { report: StepReport }).report.means.loss);
    };
    const result = await session().call<TrainResult>('train', { options }, { onEvent });
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
    const source = result.files.map(({ name, bytes }) => ({ name, blob: new Blob([bytes as BlobPart]) }));
    const answer = await caller.call<LoadAnswer>('load', { source, options: { dtype: 'q8' } });
    await using model = new BrowserModel({ caller, end: () => undefined }, answer);
    expect((await model.complete('Once', { maxTokens: 5 })).ids).toHaveLength(5);
  });
});
