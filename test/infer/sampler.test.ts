import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.js';
import { applyPenalties, expOfNegative } from '../../src/infer/processors.js';
import { threefry2x32, uniform } from '../../src/infer/random.js';
import { greedy, isGreedy, Sampler, type SamplingOptions } from '../../src/infer/sampler.js';
import { judgeSampling } from '../judge/generate.js';

const logs = (...p: number[]) => Float32Array.from(p, Math.log);
const nonZero = (p: Float32Array) => [...p.keys()].filter((id) => p[id] > 0);
const kept = (logits: Float32Array, options: SamplingOptions) => nonZero(new Sampler(options).probabilities(logits, []));

function runningSums(values: number[]): number[] {
  let sum = 0;
  return values.map((value) => {
    sum += value;
    return sum;
  });
}

/** The same distribution the plain way: full sorts, everything in f64 but the f32 roundings that decide ties. */
function byTheBook(logits: Float32Array, history: number[], o: SamplingOptions): number[] {
  const f = Math.fround;
  let s = [...logits];
  for (const id of new Set(history)) {
    const r = f(o.repetitionPenalty ?? 1);
    const n = history.filter((other) => other === id).length;
    s[id] = f(s[id] < 0 ? s[id] * r : s[id] / r);
    s[id] = f(s[id] - (n * (o.frequencyPenalty ?? 0) + (o.presencePenalty ?? 0)));
  }
  s = s.map((x) => f(x / f(o.temperature ?? 1)));
  const softmax = () => {
    const max = Math.max(...s);
    const e = s.map((x) => Math.exp(x - max));
    const sum = e.reduce((a, b) => a + b, 0);
    return e.map((x) => x / sum);
  };
  const drop = (ids: number[]) => {
    for (const id of ids) s[id] = Number.NEGATIVE_INFINITY;
  };
  const ids = [...s.keys()];
  if (o.topK) {
    const cut = [...s].sort((a, b) => b - a)[Math.min(o.topK, s.length) - 1];
    drop(ids.filter((id) => s[id] < cut));
  }
  if (o.topP !== undefined && o.topP < 1) {
    const p = softmax().map(f);
    const ascending = [...ids].sort((a, b) => (s[a] === s[b] ? a - b : s[a] - s[b]));
    const sums = runningSums(ascending.map((id) => p[id]));
    drop(ascending.slice(0, -1).filter((_, i) => f(sums[i]) <= f(1 - o.topP!)));
  }
  if (o.minP) {
    const p = softmax().map(f);
    const cut = f(f(o.minP) * Math.max(...p));
    drop(ids.filter((id) => p[id] < cut));
  }
  if (o.typicalP !== undefined && o.typicalP < 1) {
    const exact = softmax();
    const entropy = exact.reduce((h, p) => (p > 0 ? h - p * Math.log(p) : h), 0);
    const surprise = exact.map((p) => f(Math.abs(-Math.log(p) - entropy)));
    const order = [...ids].sort((a, b) => (surprise[a] === surprise[b] ? a - b : surprise[a] - surprise[b]));
    const below = runningSums(order.map((id) => f(exact[id]))).filter((sum) => f(sum) < f(o.typicalP!)).length;
    const cut = surprise[order[Math.min(below, order.length - 1)]];
    drop(ids.filter((id) => surprise[id] > cut));
  }
  return softmax();
}

describe('distribution', () => {
  it('equals the golden distributions of transformers', async () => {
    const [result] = await judgeSampling(fileURLToPath(new URL('../golden/generate', import.meta.url)));
    expect(result.failures).toEqual([]);
    expect(result.judged).toBe(15);
  });

  it('equals full sorts over large vocabularies, for every combination of options', () => {
    const options = fc.record(
      {
        temperature: fc.constantFrom(0.3, 0.7, 1, 2.5),
        topK: fc.constantFrom(1, 3, 40, 900),
        topP: fc.constantFrom(0, 0.1, 0.5, 0.93, 0.999),
        minP: fc.constantFrom(0.01, 0.2, 1),
        typicalP: fc.constantFrom(0.05, 0.37, 0.95),
        repetitionPenalty: fc.constantFrom(0.7, 1.3),
        frequencyPenalty: fc.constantFrom(-0.5, 0.5),
        presencePenalty: fc.constantFrom(-1, 1),
      },
      { requiredKeys: [] },
    );
    const input = fc.record({
      seed: fc.nat(1e6),
      size: fc.constantFrom(1, 2, 70, 1000),
      spread: fc.constantFrom(0.1, 3, 30),
      options,
    });
    fc.assert(
      fc.property(input, ({ seed, size, spread, options }) => {
        const logits = Float32Array.from({ length: size }, (_, i) => spread * (uniform(seed, i) - uniform(seed, size + i)));
        const history = Array.from({ length: 20 }, (_, i) => Math.floor(size * uniform(seed, 3 * size + i)));
        const found = new Sampler(options).probabilities(logits, history);
        const expected = byTheBook(logits, history, options);
        expect(found).toHaveLength(size);
        expect(Math.max(...found.map((value, id) => Math.abs(value - expected[id])))).toBeLessThan(1e-6);
      }),
      { numRuns: 400, seed: 1 }, // fixed: one rounding apart, both may cut differently between two all but equal ids
    );
  });

  it('keeps the id with which the nucleus reaches p, and no more', () => {
    expect(kept(logs(0.3, 0.1, 0.1, 0.5), { topP: 0.8 })).toEqual([0, 3]);
    expect(kept(logs(0.15, 0.3, 0.3, 0.25), { topP: 0.8 })).toEqual([1, 2, 3]);
    expect(kept(logs(0.3, 0.1, 0.1, 0.5), { topP: 0 })).toEqual([3]);
  });

  it('treats ties as transformers does', () => {
    const tied = Float32Array.of(1, 2, 2, 2, 0);
    expect(kept(tied, { topK: 2 })).toEqual([1, 2, 3]); // all that equal the k-th
    expect(kept(tied, { topP: 0.1 })).toEqual([3]); // a stable ascending sort drops the lowest ids first
    expect(kept(tied, { minP: 1 })).toEqual([1, 2, 3]);
    expect(kept(new Float32Array(8), { typicalP: 0.2 })).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(kept(Float32Array.of(0, -0, -1), { topK: 1 })).toEqual([0, 1]);
    expect(kept(Float32Array.of(0, 2e-5), { typicalP: 0.4 })).toEqual([0, 1]); // equal once log_softmax has rounded
    expect(kept(Float32Array.of(0, 1e-3), { typicalP: 0.4 })).toEqual([1]);
  });

  it('keeps one id at least, also among ids that are masked with -Infinity', () => {
    const masked = new Float32Array(10).fill(Number.NEGATIVE_INFINITY);
    masked[6] = -3;
    for (const options of [{}, { topK: 4 }, { topP: 0 }, { minP: 1 }, { typicalP: 1e-9 }, { temperature: 1e-4 }]) {
      expect(kept(masked, options)).toEqual([6]);
    }
  });

  it('counts every occurrence for the frequency penalty and one for the others', () => {
    const scores = Float32Array.of(2, -2, 5, 1);
    const counts = new Int32Array(4);
    applyPenalties(scores, [0, 1, 0, 0, 1], { repetitionPenalty: 2, frequencyPenalty: 0.25, presencePenalty: 0.5 }, counts);
    expect([...scores]).toEqual([2 / 2 - 3 * 0.25 - 0.5, -2 * 2 - 2 * 0.25 - 0.5, 5, 1]);
    expect([...counts]).toEqual([0, 0, 0, 0]);
  });

  it('has an exponential that is right to the thirteenth digit', () => {
    for (let x = 0; x > -700; x -= 0.0377) expect(Math.abs(expOfNegative(x) / Math.exp(x) - 1)).toBeLessThan(1e-13);
    expect(expOfNegative(Number.NEGATIVE_INFINITY)).toBe(0);
  });
});

describe('draws', () => {
  it('follow the distribution', () => {
    const sampler = new Sampler({ seed: 7, temperature: 0.8, topK: 5 });
    const logits = logs(0.05, 0.3, 0.1, 0.2, 0.15, 0.2);
    const p = sampler.probabilities(logits, []);
    const counts = new Array(6).fill(0);
    const draws = 20_000;
    for (let step = 0; step < draws; step++) counts[sampler.sample(logits, [], step)]++;
    let chiSquare = 0;
    for (let id = 0; id < 6; id++) {
      if (p[id] === 0) expect(counts[id]).toBe(0);
      else chiSquare += (counts[id] - draws * p[id]) ** 2 / (draws * p[id]);
    }
    expect(chiSquare).toBeLessThan(18.5); // 4 degrees of freedom, one in a thousand
  });

  it('depend on the seed and the length of the history alone, not on earlier draws', () => {
    const logits = Float32Array.from({ length: 500 }, (_, i) => uniform(1, i));
    const draw = (sampler: Sampler, from: number) =>
      Array.from({ length: 20 }, (_, i) => sampler.sample(logits, new Array(from + i).fill(0)));
    const first = new Sampler({ seed: 3 });
    const all = draw(first, 0);
    expect(draw(new Sampler({ seed: 3 }), 0)).toEqual(all);
    expect(draw(first, 5).slice(0, 15)).toEqual(all.slice(5));
    expect(draw(new Sampler({ seed: 4 }), 0)).not.toEqual(all);
    expect(draw(new Sampler({ seed: 3 + 2 ** 32 }), 0)).not.toEqual(all);
  });

  it('report the seed that was drawn when none was given', () => {
    const logits = new Float32Array(1000);
    const unseeded = new Sampler();
    const again = new Sampler({ seed: unseeded.seed });
    for (let step = 0; step < 5; step++) expect(again.sample(logits, [], step)).toBe(unseeded.sample(logits, [], step));
    expect(new Sampler().seed).not.toBe(unseeded.seed);
  });

  it('use Threefry-2x32-20 as published with Random123', () => {
    const hex = (pair: [number, number]) => pair.map((word) => word.toString(16));
    expect(hex(threefry2x32([0, 0], [0, 0]))).toEqual(['6b200159', '99ba4efe']);
    expect(hex(threefry2x32([0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff]))).toEqual(['1cb996fc', 'bb002be7']);
    expect(hex(threefry2x32([0x13198a2e, 0x03707344], [0x243f6a88, 0x85a308d3]))).toEqual(['c4923a9c', '483df7a0']);
  });
});

describe('greedy', () => {
  it('takes the lowest id among equals', () => {
    const logits = Float32Array.of(1, 4, 2, 4);
    expect(greedy(logits)).toBe(1);
    expect(new Sampler({ temperature: 0, topK: 3, topP: 0.2 }).sample(logits, [2])).toBe(1);
    expect(nonZero(new Sampler({ temperature: 0 }).probabilities(logits, []))).toEqual([1]);
  });

  it('applies the penalties, and then is no plain argmax', () => {
    const logits = Float32Array.of(1, 4, 2, 4);
    const options = { temperature: 0, repetitionPenalty: 1.5 };
    expect(new Sampler(options).sample(logits, [1])).toBe(3);
    expect(isGreedy(options)).toBe(false);
    expect(isGreedy({ temperature: 0, topP: 0.5 })).toBe(true);
    expect(isGreedy({})).toBe(false);
  });
});

describe('bad input', () => {
  it.each<[keyof SamplingOptions, unknown, RegExp]>([
    ['temperature', -1, /temperature must be 0 \(greedy\) or a number from 0.0001 to 10000, but it is -1$/],
    ['temperature', Number.NaN, /temperature/],
    ['topK', 2.5, /topK must be 0 \(off\) or a whole number of ids to keep, but it is 2.5$/],
    ['topP', 1.01, /topP must be a number from 0 to 1 \(off\), but it is 1.01$/],
    ['minP', -0.1, /minP/],
    ['typicalP', 0, /typicalP/],
    ['repetitionPenalty', 0, /repetitionPenalty/],
    ['frequencyPenalty', 3, /frequencyPenalty/],
    ['presencePenalty', '1', /presencePenalty must be a number from -2 to 2, where 0 is off, but it is "1"$/],
    ['seed', 2 ** 53, /seed/],
  ])('%s = %s is refused by name, range and value', (name, value, message) => {
    const make = () => new Sampler({ [name]: value });
    expect(make).toThrow(InputError);
    expect(make).toThrow(message);
  });

  it('logits that are not finite are refused, whatever the options', () => {
    const bad = [
      [Float32Array.of(0, Number.NaN, 1), /logit 1 of 3 is NaN/],
      [Float32Array.of(0, Number.POSITIVE_INFINITY), /logit 1 of 2 is Infinity/],
      [new Float32Array(3).fill(Number.NEGATIVE_INFINITY), /none of 3 logits is above -Infinity/],
    ] as const;
    for (const [logits, message] of bad) {
      for (const options of [{}, { temperature: 0 }, { topK: 1, topP: 0.5, repetitionPenalty: 1.1 }]) {
        expect(() => new Sampler(options).sample(logits, [0])).toThrow(message);
      }
    }
  });
});
