// The engine on a small golden model: alone, together, after one another on one slot, to the end of the context and past it. The
// ids themselves are judged by the golden numbers; here it is that the way there makes no difference.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Engine, type EngineOptions, type GenerateOptions, type GenerateResult } from '../../src/infer/engine.js';
import type { TokenLogprobs } from '../../src/infer/logprobs.js';
import type { Cache } from '../../src/model/cache.js';
import type { LoadedModel } from '../../src/model/load.js';
import type { Backend } from '../../src/tensor/backend.js';
import { openTinyElm, type TinyElm } from './tiny-elm.js';

const golden = fileURLToPath(new URL('../golden', import.meta.url));
const greedy: { prompt: number[]; continuation: number[]; repetitive_prompt: number[]; repetitive_continuation: number[] } =
  JSON.parse(readFileSync(`${golden}/generate/greedy.json`, 'utf8'));

let tiny: TinyElm;
let backend: Backend;
let loaded: LoadedModel;

beforeAll(async () => {
  tiny = await openTinyElm();
  ({ backend, loaded } = tiny);
});

afterAll(() => tiny.close());

/** The backend as one where so many runs are best under way at once. */
function ahead(runsAhead: number): Backend {
  return Object.create(backend, { runsAhead: { value: runsAhead } });
}

function open(options: EngineOptions = {}, on = backend): Engine {
  return new Engine(on, loaded.model, { context: 256, cacheType: 'f32', ...options });
}

async function run(
  engine: Engine,
  prompt: number[],
  options: GenerateOptions,
): Promise<{ ids: number[]; result: GenerateResult }> {
  const tokens = engine.generate(prompt, { temperature: 0, ignoreEos: true, ...options });
  const ids: number[] = [];
  for (;;) {
    const next = await tokens.next();
    if (next.done) return { ids, result: next.value };
    ids.push(next.value);
  }
}

const long = { prompt: greedy.prompt, ids: greedy.continuation };
const short = { prompt: greedy.repetitive_prompt, ids: greedy.repetitive_continuation };

describe('engine', () => {
  it('has its first programs made when it opens, where that takes a while', async () => {
    const slow: Backend = Object.create(backend, { compilesAhead: { value: true } });
    const compile = vi.spyOn(slow, 'compile');
    const engine = new Engine(slow, loaded.model, { context: 256, cacheType: 'f32' });
    expect(compile).toHaveBeenCalledTimes(3);
    expect((await run(engine, short.prompt.slice(0, 17), { maxTokens: 4, temperature: 1 })).ids).toHaveLength(4);
    expect(compile).toHaveBeenCalledTimes(3);
    await engine.dispose();
  });

  it('gives each of several requests what it would have got alone', async () => {
    const engine = open({ slots: 3 });
    const third = long.prompt.slice(0, 5);
    const alone = await run(engine, third, { maxTokens: 20 });
    const [a, b, c] = await Promise.all([
      run(engine, long.prompt, { maxTokens: long.ids.length }),
      run(engine, short.prompt, { maxTokens: short.ids.length }),
      run(engine, third, { maxTokens: 20 }),
    ]);
    expect(a.ids).toEqual(long.ids);
    expect(b.ids).toEqual(short.ids);
    expect(c.ids).toEqual(alone.ids);
    await engine.dispose();
  });

  it('computes a beginning once that several prompts share, at once or one after another', async () => {
    const engine = open({ slots: 3 });
    const system = Array.from({ length: 100 }, (_, i) => (i * 37) % 320);
    const prompts = [5, 17, 40].map((length) => [...system, ...long.prompt.slice(0, length)]);
    const alone = [];
    for (const prompt of prompts) {
      const other = open();
      alone.push((await run(other, prompt, { maxTokens: 12 })).ids);
      await other.dispose();
    }
    const together = await Promise.all(prompts.map((prompt) => run(engine, prompt, { maxTokens: 12 })));
    expect(together.map(({ ids }) => ids)).toEqual(alone);
    const reused = together.map(({ result }) => result.reusedTokens);
    expect(reused[0]).toBe(0);
    for (const count of reused.slice(1)) expect(count).toBeGreaterThanOrEqual(100);
    const again = await run(engine, [...system, 3, 1, 4], { maxTokens: 2 });
    expect(again.result.reusedTokens).toBeGreaterThanOrEqual(100);
    await engine.dispose();
  });

  it('goes on when the one whose beginning was waited for leaves', async () => {
    const engine = open({ slots: 2 });
    const system = Array.from({ length: 200 }, (_, i) => (i * 37) % 320);
    const leaves = new AbortController();
    const first = run(engine, [...system, 1, 2], { maxTokens: 5, signal: leaves.signal });
    const second = run(engine, [...system, 3, 4], { maxTokens: 5 });
    leaves.abort();
    expect((await first).result.reason).toBe('abort');
    expect((await second).ids).toHaveLength(5);
    await engine.dispose();
  });

  it('tells log-probabilities, the same from a step, from scoring and from all logits', async () => {
    const engine = open({ slots: 3 });
    const ids = [...long.prompt, ...long.ids.slice(0, 20)];
    const [plain, best, some] = [
      await engine.score(ids),
      ...(await Promise.all([1, 3].map((n) => engine.score(ids, undefined, null, n)))),
    ];
    expect(plain.top).toBeUndefined();
    expect(best).toEqual({ ...plain, top: expect.anything() });
    for (let i = 1; i < ids.length; i++) {
      expect(some.logprobs[i]).toBeCloseTo(plain.logprobs[i]!, 5);
      expect(some.greedy[i]).toBe(plain.greedy[i]);
      expect(some.top![i]).toHaveLength(3);
      expect(some.top![i]![0].id).toBe(best.top![i]![0].id);
      expect(some.top![i]![0].logprob).toBeCloseTo(best.top![i]![0].logprob, 5);
      expect(best.top![i]![0].logprob).toBeGreaterThanOrEqual(best.logprobs[i]!);
    }
    const told: TokenLogprobs[] = [];
    for await (const id of engine.generate(long.prompt, { temperature: 0, ignoreEos: true, maxTokens: 20, topLogprobs: 2 }, (t) =>
      told.push(t),
    ))
      expect(told.at(-1)!.id).toBe(id);
    expect(told.map(({ id }) => id)).toEqual(long.ids.slice(0, 20));
    for (const [i, { logprob, top }] of told.entries()) {
      expect(logprob).toBeCloseTo(plain.logprobs[long.prompt.length + i]!, 5);
      expect(top.map(({ logprob }) => logprob)).toEqual(top.map(({ logprob }) => logprob).sort((a, b) => b - a));
    }
    await expect(engine.score(ids, undefined, null, 21)).rejects.toThrow('0 to 20');
    await engine.dispose();
  });

  it('bans and forces ids by their bias', async () => {
    const engine = open();
    const [first] = long.ids;
    const banned = await run(engine, long.prompt, { maxTokens: 1, logitBias: { [first]: -100 } });
    expect(banned.ids).not.toEqual([first]);
    expect((await run(engine, long.prompt, { maxTokens: 3, logitBias: { 7: 100 } })).ids).toEqual([7, 7, 7]);
    await expect(run(engine, long.prompt, { logitBias: { x: 1 } as never })).rejects.toThrow('"x"');
    await engine.dispose();
  });

  it('lets requests wait for a slot, join and leave', async () => {
    const engine = open({ slots: 2 });
    const all = await Promise.all([40, 3, 17, 64, 1, 9].map((maxTokens) => run(engine, short.prompt, { maxTokens })));
    for (const { ids, result } of all) {
      expect(ids).toEqual(short.ids.slice(0, ids.length));
      expect(result.reason).toBe('length');
    }
    expect(all.map(({ ids }) => ids.length)).toEqual([40, 3, 17, 64, 1, 9]);
    await engine.dispose();
  });

  it('prefills prompts longer than a step in pieces', async () => {
    const long = new Engine(backend, loaded.model, { context: 256, slots: 3, cacheType: 'f32' });
    const prompt = Array.from({ length: 240 }, (_, i) => (i * 37) % 320);
    const alone = await run(long, prompt, { maxTokens: 8 });
    const together = await Promise.all([prompt, [...prompt].reverse(), prompt].map((ids) => run(long, ids, { maxTokens: 8 })));
    expect(together[0].ids).toEqual(alone.ids);
    expect(together[2].ids).toEqual(alone.ids);
    await long.dispose();
  });

  it('starts where the last request and the prompt part ways', async () => {
    const engine = open();
    const first = await run(engine, long.prompt, { maxTokens: 30 });
    expect(first.result.reusedTokens).toBe(0);
    const again = await run(engine, long.prompt, { maxTokens: 30 });
    expect(again.result.reusedTokens).toBe(long.prompt.length - 1);
    expect(again.ids).toEqual(first.ids);
    const further = await run(engine, [...long.prompt, ...first.ids.slice(0, 20)], { maxTokens: 30 });
    expect(further.result.reusedTokens).toBeGreaterThanOrEqual(long.prompt.length + 19);
    expect(further.ids).toEqual(long.ids.slice(20, 50));
    const other = await run(engine, [...long.prompt.slice(0, 7), 5], { maxTokens: 4 });
    expect(other.result.reusedTokens).toBe(7);
    await engine.dispose();
  });

  it('stops when the context is full', async () => {
    const engine = open({ context: 40 });
    const { ids, result } = await run(engine, long.prompt, {});
    // The last token needs no room of its own.
    expect(ids).toEqual(long.ids.slice(0, 40 - long.prompt.length + 1));
    expect(result.reason).toBe('length');
    await engine.dispose();
  });

  it('slides on request: goes on as if the first token and the newer half had been the prompt', async () => {
    const engine = open({ context: 40 });
    const { ids, result } = await run(engine, long.prompt, { overflow: 'slide', maxTokens: 40 });
    expect(ids.length).toBe(40);
    expect(result.reason).toBe('length');
    const fits = 40 - long.prompt.length + 1;
    const seen = [...long.prompt, ...ids.slice(0, fits)];
    const fresh = await run(open({ context: 40 }), [seen[0], ...seen.slice(-20)], { maxTokens: 40 - fits });
    expect(ids.slice(fits)).toEqual(fresh.ids);
    await engine.dispose();
  });

  it('ends at an end-of-sequence token, which is not given out', async () => {
    const engine = open();
    const eos = long.ids.indexOf(2);
    expect(eos).toBeGreaterThan(0);
    const { ids, result } = await run(engine, long.prompt, { ignoreEos: false });
    expect(ids).toEqual(long.ids.slice(0, eos));
    expect(result.reason).toBe('stop');
    await engine.dispose();
  });

  it('samples the same ids from the same seed, alone or beside others', async () => {
    const engine = open({ slots: 2 });
    const options = { temperature: 0.9, topK: 50, seed: 11, maxTokens: 40 };
    const first = await run(engine, long.prompt, options);
    const [again, other] = await Promise.all([
      run(engine, long.prompt, options),
      run(engine, long.prompt, { ...options, seed: 12 }),
    ]);
    expect(again.ids).toEqual(first.ids);
    expect(other.ids).not.toEqual(first.ids);
    await engine.dispose();
  });

  it('samples the same ids from an 8-bit cache, however the prompt was cut, cached, reused or shared a step', async () => {
    const options = { temperature: 0.9, topK: 50, seed: 11, maxTokens: 24 };
    const prompt = Array.from({ length: 200 }, (_, i) => (i * 37) % 320);
    const open8 = (slots: number): Engine => open({ slots, cacheType: 'q8' });
    const alone = open8(1);
    const { ids } = await run(alone, prompt, options);
    const again = await run(alone, prompt, options);
    expect(again.result.reusedTokens).toBe(prompt.length - 1);
    expect(again.ids).toEqual(ids);
    const longer = await run(alone, [...prompt, ...ids.slice(0, 5)], { ...options, temperature: 0 });
    const rows = await alone.cachedRows(prompt);
    await alone.dispose();

    const beside = open8(3);
    const [a, , c] = await Promise.all([
      run(beside, prompt, options),
      run(beside, [...prompt].reverse(), options),
      run(beside, prompt, options),
    ]);
    expect([a.ids, c.ids]).toEqual([ids, ids]);
    await beside.dispose();

    const restored = open8(1);
    expect(await restored.restoreRows(prompt, rows!)).toBe(true);
    expect((await run(restored, [...prompt, ...ids.slice(0, 5)], { ...options, temperature: 0 })).ids).toEqual(longer.ids);
    await restored.dispose();
  });

  it('ends a call that waits for a slot as soon as its signal aborts', async () => {
    const engine = open();
    const running = engine.generate(long.prompt, { temperature: 0, ignoreEos: true });
    await running.next(); // takes the only slot, and gives it back only below
    const controller = new AbortController();
    const waiting = run(engine, short.prompt, { signal: controller.signal });
    const scoring = engine.score(short.prompt, controller.signal);
    const third = run(engine, short.prompt, { maxTokens: 3 });
    controller.abort(new Error('enough'));
    expect(await waiting).toMatchObject({ ids: [], result: { reason: 'abort' } });
    await expect(scoring).rejects.toThrow('enough');
    await running.return(undefined as never);
    expect((await third).ids).toEqual(short.ids.slice(0, 3));
    await engine.dispose();
  });

  it('honours an abort within one token, and the slot serves on', async () => {
    const engine = open();
    const controller = new AbortController();
    const tokens = engine.generate(long.prompt, { temperature: 0, ignoreEos: true, signal: controller.signal });
    await tokens.next();
    await tokens.next();
    controller.abort();
    expect(await tokens.next()).toMatchObject({ done: true, value: { reason: 'abort' } });
    expect(await run(engine, long.prompt, { signal: AbortSignal.abort() })).toMatchObject({
      ids: [],
      result: { reason: 'abort' },
    });
    expect((await run(engine, long.prompt, { maxTokens: 12 })).ids).toEqual(long.ids.slice(0, 12));
    await engine.dispose();
  });

  it('takes a broken-off loop for the end', async () => {
    const engine = open();
    for await (const id of engine.generate(long.prompt, { temperature: 0 })) {
      expect(id).toBe(long.ids[0]);
      break;
    }
    expect((await run(engine, long.prompt, { maxTokens: 5 })).ids).toEqual(long.ids.slice(0, 5));
    await engine.dispose();
  });

  it('scores each token by what comes before it', async () => {
    const engine = open();
    const ids = [...long.prompt, ...long.ids.slice(0, 100)];
    const whole = await engine.score(ids);
    expect(whole.logprobs.length).toBe(ids.length);
    expect([whole.logprobs[0], whole.greedy[0]]).toEqual([null, null]);
    // Greedy continuations are the most probable tokens, wherever a step ended.
    expect(whole.greedy.slice(long.prompt.length)).toEqual(new Array(100).fill(true));
    const part = await engine.score(ids.slice(0, 30));
    for (let i = 1; i < 30; i++) expect(part.logprobs[i]!).toBeCloseTo(whole.logprobs[i]!, 4);
    expect((await engine.score([5])).logprobs).toEqual([null]);
    await engine.dispose();
  });

  it('fails what is under way when it is disposed', async () => {
    const engine = open();
    const tokens = engine.generate(long.prompt, { temperature: 0, ignoreEos: true });
    await tokens.next();
    await engine.dispose();
    await expect(
      (async () => {
        for await (const _ of tokens);
      })(),
    ).rejects.toThrow('disposed');
  });

  it('says what is wrong with a request', async () => {
    const engine = open({ context: 32 });
    const first = (prompt: number[], options: GenerateOptions = {}) => engine.generate(prompt, options).next();
    await expect(first([])).rejects.toThrow('the prompt is empty');
    await expect(first(new Array(33).fill(1))).rejects.toThrow('the prompt has 33 tokens, the context takes 32');
    await expect(first([1, 320])).rejects.toThrow("token 1 has id 320, but the model's vocabulary has 320 ids");
    await expect(first([1], { topP: 2 })).rejects.toThrow('topP');
    await expect(first([1], { maxTokens: -1 })).rejects.toThrow('maxTokens is -1');
    expect(() => open({ context: 257 })).toThrow('a context of 257 tokens is out of range: this model takes 2 to 256');
    await engine.dispose();
  });
});

describe('steps that run ahead', () => {
  it.each([2, 3])('gives the same ids with %d under way, alone, side by side, joining and leaving', async (steps) => {
    const on = ahead(steps);
    const submit = vi.spyOn(on, 'submit');
    let [under, most] = [0, 0];
    submit.mockImplementation((...given) => {
      const submission = backend.submit(...given);
      most = Math.max(most, ++under);
      const less = () => under--;
      submission.done.then(less, less);
      return submission;
    });
    const alone = open({}, on);
    expect((await run(alone, long.prompt, { maxTokens: 40 })).ids).toEqual(long.ids.slice(0, 40));
    expect(most).toBe(steps);
    // No token is computed past the limit: a prompt's step and one for each token but the last.
    expect(submit).toHaveBeenCalledTimes(40);
    const eos = long.ids.indexOf(2);
    const ended = await run(alone, long.prompt, { ignoreEos: false });
    expect([ended.ids, ended.result.reason]).toEqual([long.ids.slice(0, eos), 'stop']);
    // What was computed past the end does not count.
    const again = await run(alone, [...long.prompt, ...long.ids.slice(0, eos)], { maxTokens: 9 });
    expect(again.result.reusedTokens).toBe(long.prompt.length + eos - 1);
    expect(again.ids).toEqual(long.ids.slice(eos, eos + 9));
    await alone.dispose();

    const engine = open({ slots: 2 }, on);
    const some = [40, 3, 17, 1, 9].map((maxTokens) => run(engine, short.prompt, { maxTokens }));
    const scored = engine.score(long.ids.slice(0, 30));
    const sampled = run(engine, long.prompt, { maxTokens: 12, temperature: 0.9, seed: 11 });
    for (const { ids } of await Promise.all(some)) expect(ids).toEqual(short.ids.slice(0, ids.length));
    const plain = open();
    expect(await scored).toEqual(await plain.score(long.ids.slice(0, 30)));
    expect((await sampled).ids).toEqual((await run(plain, long.prompt, { maxTokens: 12, temperature: 0.9, seed: 11 })).ids);
    await plain.dispose();
    await engine.dispose();
  });

  it('stops and slides where the context is full', async () => {
    for (const options of [{}, { overflow: 'slide', maxTokens: 40 }] as const) {
      const [engine, plain] = [open({ context: 40 }, ahead(3)), open({ context: 40 })];
      expect((await run(engine, long.prompt, options)).ids).toEqual((await run(plain, long.prompt, options)).ids);
      await engine.dispose();
      await plain.dispose();
    }
  });

  it('ends at an abort, a broken-off loop and its disposal, and the slot serves on', async () => {
    const engine = open({}, ahead(3));
    const controller = new AbortController();
    const tokens = engine.generate(long.prompt, { temperature: 0, ignoreEos: true, signal: controller.signal });
    await tokens.next();
    controller.abort();
    expect(await tokens.next()).toMatchObject({ done: true, value: { reason: 'abort' } });
    for await (const id of engine.generate(long.prompt, { temperature: 0, ignoreEos: true })) {
      expect(id).toBe(long.ids[0]);
      break;
    }
    expect((await run(engine, long.prompt, { maxTokens: 20 })).ids).toEqual(long.ids.slice(0, 20));
    const last = engine.generate(long.prompt, { temperature: 0, ignoreEos: true });
    await last.next();
    await engine.dispose();
    const rest = async () => {
      for await (const _ of last);
    };
    await expect(rest()).rejects.toThrow('disposed');
  });

  it('says whose numbers are none, and the others of the step go on', async () => {
    const engine = open({ slots: 2 }, ahead(3));
    const good = run(engine, long.prompt, { maxTokens: 60 });
    const bad = engine.generate(short.prompt, { temperature: 0, ignoreEos: true });
    await bad.next();
    // The second slot's first value: what looks there is no number from now on.
    const { values } = (engine as unknown as { cache: Cache }).cache.layers[0];
    backend.write(values, Float32Array.of(Number.NaN), 256 * values.shape[1] * values.shape[2]);
    const rest = async () => {
      for await (const _ of bad);
    };
    await expect(rest()).rejects.toThrow(/cannot be used at step \d+ /);
    expect((await good).ids).toEqual(long.ids.slice(0, 60));
    await engine.dispose();
  });
});
