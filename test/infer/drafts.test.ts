// Guessed tokens: whatever guesses them and however many are right, the ids are those without guesses, in every way of sampling; and
// what is drawn has the distribution that it must have.

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load, type TextOptions } from '../../src/index.js';
import { Assistant, DraftLength, lookUp } from '../../src/infer/drafts.js';
import { Engine, type EngineOptions, type GenerateOptions, type GenerateResult } from '../../src/infer/engine.js';
import type { LoadedModel } from '../../src/model/load.js';
import { openTinyElm, type TinyElm } from './tiny-elm.js';

const golden = new URL('../golden/generate/greedy.json', import.meta.url);
const { prompt, repetitive_prompt: repetitive }: { prompt: number[]; repetitive_prompt: number[] } = JSON.parse(
  readFileSync(golden, 'utf8'),
);

let tiny: TinyElm;
/** Nearly the same weights: an assistant that is often right. */
let near: LoadedModel;
beforeAll(async () => {
  tiny = await openTinyElm();
  near = await tiny.load((name, values) => {
    if (name.includes('ffn.proj_2')) for (let i = 0; i < values.length; i++) values[i] *= 1 + 0.04 * Math.sin(i);
  });
});
afterAll(async () => {
  near.free();
  await tiny.close();
});

const open = (options: EngineOptions = {}): Engine =>
  new Engine(tiny.backend, tiny.loaded.model, { context: 200, cacheType: 'f32', ...options });

interface Outcome {
  ids: number[];
  result: GenerateResult;
}

async function run(engine: Engine, ids: readonly number[], options: GenerateOptions): Promise<Outcome> {
  const tokens = engine.generate(ids, { ignoreEos: true, maxTokens: 60, ...options });
  const outcome: number[] = [];
  for (;;) {
    const next = await tokens.next();
    if (next.done) return { ids: outcome, result: next.value };
    outcome.push(next.value);
  }
}

const quoting = [...prompt, ...repetitive, ...prompt.slice(0, 9), ...repetitive];
const ways: [string, GenerateOptions][] = [
  ['greedy', { temperature: 0 }],
  ['greedy to the end of a text', { temperature: 0, ignoreEos: false, maxTokens: 150 }],
  ['greedy past the end of the context', { temperature: 0, overflow: 'slide', maxTokens: 230 }],
  ['greedy to the end of the context', { temperature: 0, maxTokens: 400 }],
  ['with penalties', { temperature: 0, repetitionPenalty: 1.3, presencePenalty: 0.5 }],
  ['sampled', { temperature: 0.6, seed: 7 }],
  ['sampled from few', { temperature: 0.9, topK: 3, topP: 0.9, minP: 0.05, typicalP: 0.9, seed: 8 }],
  ['with log-probabilities and biases', { temperature: 0.5, seed: 9, topLogprobs: 2, logitBias: { 7: 4 } }],
];

describe('guesses', () => {
  it('from the text follow what followed its last tokens, the latest time, and go on in themselves', () => {
    expect(lookUp([1, 2, 3, 9, 1, 2, 4, 9, 1, 2], 3)).toEqual([4, 9, 1]);
    expect(lookUp([5, 1, 2, 3, 8, 6, 2, 3, 7, 1, 2, 3], 2)).toEqual([8, 6]); // three tokens say more than the latest two
    expect(lookUp([1, 2, 1, 2, 1, 2], 5)).toEqual([1, 2, 1, 2, 1]);
    expect(lookUp([4, 4, 4], 4)).toEqual([4, 4, 4, 4]);
    expect([lookUp([1, 2, 3, 2], 3), lookUp([1], 3), lookUp([], 3)]).toEqual([[], [], []]);
  });

  it('become more after right ones and fewer after wrong ones', () => {
    const length = new DraftLength(16, 5);
    const counts = [5, 12, 0, 1, 16].map((accepted) => {
      length.learn(accepted);
      return length.count;
    });
    expect(counts).toEqual([12, 16, 2, 4, 16]);
  });

  it.each(ways)('change no id, %s', async (_, options) => {
    const engine = open();
    const plain = await run(engine, quoting, options);
    expect(plain.result.speculation).toBeUndefined();
    const guessed = await run(engine, quoting, { ...options, promptLookup: 6 });
    expect([guessed.ids, guessed.result.reason]).toEqual([plain.ids, plain.result.reason]);
    expect(guessed.result.speculation!.drafted).toBeGreaterThan(0);
    const twin = open({ assistant: tiny.loaded.model });
    const same = await run(twin, quoting, options);
    expect([same.ids, same.result.reason]).toEqual([plain.ids, plain.result.reason]);
    // The model itself guesses right, sampled too: it draws from the same numbers.
    const { drafted, accepted } = same.result.speculation!;
    expect(accepted).toBeGreaterThan(0.95 * drafted);
    const other = open({ assistant: near.model });
    const helped = await run(other, quoting, options);
    expect([helped.ids, helped.result.reason]).toEqual([plain.ids, plain.result.reason]);
    expect(helped.result.speculation!.accepted).toBeGreaterThan(0);
    await Promise.all([engine, twin, other].map((one) => one.dispose()));
  });

  it('change nothing for requests beside one another', async () => {
    const engine = open({ slots: 3 });
    const wishes: [number[], GenerateOptions][] = [
      [quoting, { temperature: 0, promptLookup: 8 }],
      [repetitive, { temperature: 0.8, topK: 5, seed: 3, promptLookup: 3 }],
      [prompt, { temperature: 0 }],
    ];
    const together = await Promise.all(wishes.map(([ids, options]) => run(engine, ids, options)));
    const helped = open({ slots: 3, assistant: near.model });
    const again = await Promise.all(wishes.map(([ids, options]) => run(helped, ids, { ...options, promptLookup: undefined })));
    for (const [i, [ids, options]] of wishes.entries()) {
      const alone = await run(engine, ids, { ...options, promptLookup: undefined });
      expect(together[i].ids).toEqual(alone.ids);
      expect(again[i].ids).toEqual(alone.ids);
    }
    await Promise.all([engine.dispose(), helped.dispose()]);
  });

  it('leave room in a step for all that guess at once', async () => {
    const engine = open({ slots: 20 });
    // The same token each time, so guesses are right and become more.
    const circling = { temperature: 0, maxTokens: 150, logitBias: { 7: 100 }, promptLookup: 32 };
    await run(engine, repetitive, circling);
    const together = await Promise.all(Array.from({ length: 20 }, () => run(engine, repetitive, circling)));
    for (const { ids } of together) expect(ids).toEqual(Array(150).fill(7));
    await engine.dispose();
  });

  it('leave the distribution as it is: chi-square over all texts of three tokens', async () => {
    const engine = open({ assistant: near.model });
    const sampling = { temperature: 1, topK: 3 };
    // What each text's probability is, by the log-probabilities of the plain model.
    const expected = new Map<string, number>();
    const walk = async (ids: number[], probability: number): Promise<void> => {
      if (ids.length === 3) {
        expected.set(ids.join(), probability);
        return;
      }
      const { top } = await engine.score([...repetitive, ...ids, 0], undefined, null, 3);
      const likely = top!.at(-1)!;
      const sum = likely.reduce((total, { logprob }) => total + Math.exp(logprob), 0);
      for (const { id, logprob } of likely) await walk([...ids, id], (probability * Math.exp(logprob)) / sum);
    };
    await walk([], 1);
    expect(expected.size).toBe(27);
    await run(engine, repetitive, { ...sampling, seed: 0, maxTokens: 8 }); // so that guesses begin
    const counts = new Map<string, number>();
    const texts = 700;
    let drafted = 0;
    for (let seed = 0; seed < texts; seed++) {
      const { ids, result } = await run(engine, repetitive, { ...sampling, seed, maxTokens: 3 });
      counts.set(ids.join(), (counts.get(ids.join()) ?? 0) + 1);
      drafted += result.speculation!.drafted;
    }
    expect(drafted).toBeGreaterThan(texts / 2);
    // Rare texts count together.
    const cells = new Map<string, [expected: number, seen: number]>();
    for (const [text, probability] of expected) {
      const name = texts * probability < 5 ? 'rare' : text;
      const [many, seen] = cells.get(name) ?? [0, 0];
      cells.set(name, [many + texts * probability, seen + (counts.get(text) ?? 0)]);
    }
    const chiSquare = [...cells.values()].reduce((sum, [many, seen]) => sum + (seen - many) ** 2 / many, 0);
    expect(cells.size).toBeGreaterThan(10);
    expect([...counts.keys()].filter((text) => !expected.has(text))).toEqual([]);
    expect(chiSquare).toBeLessThan(54.05); // at most 26 degrees of freedom, one in a thousand
    await engine.dispose();
  });

  it('are refused from an assistant of another vocabulary, and in impossible numbers', async () => {
    const about = { vocabSize: 321, context: 64, slots: 1, cacheType: 'f32' } as const;
    expect(() => new Assistant(tiny.backend, tiny.loaded.model, about)).toThrow(
      "the assistant's vocabulary has 320 ids, the model's 321",
    );
    const engine = open();
    await expect(run(engine, prompt, { promptLookup: 0 })).rejects.toThrow(
      'promptLookup is 0; it must be a whole number from 1 to 32',
    );
    await engine.dispose();
    await expect(load(undefined, { assistant: 'tales-6m-nowhere' })).rejects.toThrow();
  });
});

describe('guesses of text', () => {
  it('stop at stop texts and keep to grammars as without', async () => {
    await using model = await load(undefined, { slots: 1, assistant: 'tales-6m-instruct' });
    const story = 'The cat sat on the mat. The dog sat on the rug. The cat sat on the';
    const wishes: TextOptions[] = [
      { temperature: 0, maxTokens: 40, stop: ['rug', 'said'] },
      { temperature: 1, seed: 4, maxTokens: 30 },
      {
        temperature: 0.7,
        seed: 5,
        maxTokens: 80,
        jsonSchema: { type: 'array', items: { enum: ['cat', 'dog'] }, minItems: 6, maxItems: 6 },
      },
      { temperature: 0, maxTokens: 60, regex: '(the (cat|dog) sat on the (mat|rug)[.] ){5}' },
    ];
    for (const options of wishes) {
      await using plain = await load(undefined, { slots: 1 });
      const expected = await plain.complete(story, options);
      const [looked, helped] = [
        await model.complete(story, { ...options, promptLookup: 5 }),
        await model.complete(story, options),
      ];
      for (const { ids, text, finishReason, complete } of [looked, helped])
        expect({ ids, text, finishReason, complete }).toEqual({
          ids: expected.ids,
          text: expected.text,
          finishReason: expected.finishReason,
          complete: expected.complete,
        });
      if (!options.stop) expect(helped.speculation!.accepted).toBeGreaterThan(0);
    }
  });
});
