// From one row of logits to the next id: the options, their ranges, and the Sampler that runs the processors
// (processors.ts) in transformers' order (generation/utils.py, `_get_logits_processor`): repetition penalty, [frequency and
// presence penalty, which transformers does not have: here, as in vLLM and llama.cpp], temperature, top-k, top-p, min-p,
// typical-p; then the softmax and one draw. Knows nothing of models and text.

import { InputError, shown } from '../errors.js';
import type { TokenMask } from './constraint.js';
import {
  applyPenalties,
  applyTemperature,
  createCandidates,
  exponentiate,
  keepAll,
  keepAllowed,
  keepMinP,
  keepTopK,
  keepTopP,
  keepTypical,
  type Penalties,
  sumOfExps,
} from './processors.js';
import { randomSeed, uniform } from './random.js';

/** How the next id is chosen. Every field is optional; the defaults change nothing, so `{}` samples from the plain softmax. */
export interface SamplingOptions {
  /** Divides the scores; 0 is greedy: the highest score, the lowest id among equals. Default 1. */
  temperature?: number;
  /** Keeps the k highest scores (and whatever ties with the k-th); 0 is off. Default 0. */
  topK?: number;
  /** Keeps the fewest most likely ids whose probability reaches p (Holtzman et al. 2020); 1 is off. Default 1. */
  topP?: number;
  /** Keeps ids at least this fraction as likely as the likeliest (Nguyen et al. 2024); 0 is off. Default 0. */
  minP?: number;
  /** Keeps ids whose surprise is nearest to the entropy until their probability reaches p (Meister et al. 2023); 1 is off. */
  typicalP?: number;
  /** Divides positive and multiplies negative scores of every id in the history, once (Keskar et al. 2019); 1 is off. */
  repetitionPenalty?: number;
  /** Subtracted from an id's score once for each time it is in the history; 0 is off. */
  frequencyPenalty?: number;
  /** Subtracted once from the score of every id in the history; 0 is off. */
  presencePenalty?: number;
  /** Same backend, same seed: same ids. Without one a random seed is drawn; `Sampler.seed` says which. */
  seed?: number;
}

/** What is added to the scores of single ids, by id, before all else. */
export type LogitBias = Readonly<Record<number, number>>;

/** Options with nothing left open but the seed. */
type ResolvedSampling = Required<Omit<SamplingOptions, 'seed'>>;

const samplingDefaults: Readonly<ResolvedSampling> = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  typicalP: 1,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
};

/** What each option may be, in words and as a test. */
export const samplingRanges: Readonly<Record<keyof SamplingOptions, { says: string; holds: (value: number) => boolean }>> = {
  temperature: { says: '0 (greedy) or a number from 0.0001 to 10000', holds: (v) => v === 0 || (v >= 1e-4 && v <= 1e4) },
  topK: { says: '0 (off) or a whole number of ids to keep', holds: (v) => Number.isSafeInteger(v) && v >= 0 },
  topP: { says: 'a number from 0 to 1 (off)', holds: (v) => v >= 0 && v <= 1 },
  minP: { says: 'a number from 0 (off) to 1', holds: (v) => v >= 0 && v <= 1 },
  typicalP: { says: 'a number above 0, up to 1 (off)', holds: (v) => v > 0 && v <= 1 },
  repetitionPenalty: { says: 'a number from 0.01 to 100, where 1 is off', holds: (v) => v >= 0.01 && v <= 100 },
  frequencyPenalty: { says: 'a number from -2 to 2, where 0 is off', holds: (v) => v >= -2 && v <= 2 },
  presencePenalty: { says: 'a number from -2 to 2, where 0 is off', holds: (v) => v >= -2 && v <= 2 },
  seed: { says: `a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`, holds: (v) => Number.isSafeInteger(v) && v >= 0 },
};

/** Options with the defaults filled in. Throws `InputError` naming the first option out of its range. */
function resolveSampling(options: SamplingOptions): ResolvedSampling & { seed?: number } {
  const resolved: ResolvedSampling & { seed?: number } = { ...samplingDefaults };
  for (const name of Object.keys(samplingRanges) as (keyof SamplingOptions)[]) {
    const value: unknown = options[name];
    if (value === undefined) continue;
    const range = samplingRanges[name];
    if (typeof value !== 'number' || !range.holds(value)) {
      throw new InputError(`the sampling option ${name} must be ${range.says}, but it is ${shown(value)}`);
    }
    resolved[name] = value;
  }
  return resolved;
}

/** True when the next id is the plain argmax of the logits, so that the device may take it and no row need be read. */
export function isGreedy(options: SamplingOptions & { logitBias?: LogitBias }): boolean {
  const biased = options.logitBias !== undefined && Object.keys(options.logitBias).length > 0;
  return options.temperature === 0 && !biased && !hasPenalties({ ...samplingDefaults, ...options });
}

/** [id, bias] pairs; an id past the vocabulary is no fault here. Throws `InputError` naming what is no id or no number. */
function biasesOf(logitBias: LogitBias | undefined): [number, number][] {
  return Object.entries(logitBias ?? {}).map(([key, value]) => {
    if (!/^\d+$/.test(key)) throw new InputError(`the logit bias names ${shown(key)}; expected token ids`);
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      throw new InputError(`the logit bias of id ${key} is ${shown(value)}; expected a number`);
    }
    return [Number(key), value];
  });
}

function hasPenalties(options: Penalties): boolean {
  return options.repetitionPenalty !== 1 || options.frequencyPenalty !== 0 || options.presencePenalty !== 0;
}

/** The id of the highest logit, the lowest id among equals. Throws `InputError` on NaN, on +Infinity, and when all are -Infinity. */
export function greedy(logits: Float32Array): number {
  let best = Number.NEGATIVE_INFINITY;
  let id = -1;
  for (let i = 0; i < logits.length; i++) {
    const value = logits[i];
    if (value > best) {
      best = value;
      id = i;
    } else if (Number.isNaN(value)) {
      throw notFinite(`logit ${i} of ${logits.length} is NaN`);
    }
  }
  if (id === -1) throw notFinite(`none of ${logits.length} logits is above -Infinity`);
  if (best === Number.POSITIVE_INFINITY) throw notFinite(`logit ${id} of ${logits.length} is Infinity`);
  return id;
}

function notFinite(what: string): InputError {
  return new InputError(
    (option) =>
      `the model's output cannot be sampled, because ${what}: the weights are damaged or overflow at this precision (try ${option('dtype', 'f32')})`,
  );
}

/** Chooses the next id, step by step, by one set of options. Reuses its arrays; not for two steps at once. */
export class Sampler {
  /** The seed in use: the given one, or the one drawn because none was given. */
  readonly seed: number;
  readonly options: ResolvedSampling;
  private readonly biases: readonly [number, number][];
  private candidates = createCandidates(0);
  private counts = new Int32Array(0);

  /** Throws `InputError` naming an option that is out of its range. */
  constructor(options: SamplingOptions & { logitBias?: LogitBias } = {}) {
    const { seed, ...rest } = resolveSampling(options);
    this.options = rest;
    this.biases = biasesOf(options.logitBias);
    this.seed = seed ?? randomSeed();
  }

  /**
   * The next id after `logits` [vocabulary], given the ids so far (prompt and answer). The draw walks the final distribution in
   * ascending order of id (inverse of the cumulative sum, in f64) with the random number of (seed, step); `step` is the length
   * of the history unless given: give it when the history is a window whose length does not grow. So the result depends on the
   * arguments alone. Only ids of `allowed` are chosen. Throws `InputError` when the logits are not finite.
   */
  sample(logits: Float32Array, history: ArrayLike<number>, step: number = history.length, allowed?: TokenMask): number {
    if (this.options.temperature === 0) return this.best(logits, history, allowed);
    this.process(logits, history, allowed);
    const c = this.candidates;
    const target = uniform(this.seed, step) * sumOfExps(c);
    let sum = 0;
    let last = -1;
    for (let i = 0; i < c.count; i++) {
      const id = c.ids[i];
      if (c.exps[id] === 0) continue;
      sum += c.exps[id];
      last = id;
      if (sum > target) break;
    }
    return last;
  }

  /** The distribution [vocabulary] that `sample` draws from: 0 for ids that were cut, a one for the best id when greedy. */
  probabilities(logits: Float32Array, history: ArrayLike<number>, allowed?: TokenMask): Float32Array {
    const result = new Float32Array(logits.length);
    if (this.options.temperature === 0) {
      result[this.best(logits, history, allowed)] = 1;
      return result;
    }
    this.process(logits, history, allowed);
    const c = this.candidates;
    const sum = sumOfExps(c);
    for (let i = 0; i < c.count; i++) result[c.ids[i]] = c.exps[c.ids[i]] / sum;
    return result;
  }

  /** The argmax after biases and penalties. */
  private best(logits: Float32Array, history: ArrayLike<number>, allowed?: TokenMask): number {
    const changed = this.biases.length > 0 || hasPenalties(this.options) || allowed;
    return greedy(changed ? this.penalized(logits, history, allowed) : logits);
  }

  /** A copy of the logits in the scratch, with biases and penalties applied, and without what is not allowed. */
  private penalized(logits: Float32Array, history: ArrayLike<number>, allowed?: TokenMask): Float32Array {
    if (this.counts.length !== logits.length) {
      this.candidates = createCandidates(logits.length);
      this.counts = new Int32Array(logits.length);
    }
    const scores = this.candidates.scores;
    scores.set(logits);
    for (const [id, bias] of this.biases) if (id < scores.length) scores[id] += bias;
    if (hasPenalties(this.options)) applyPenalties(scores, history, this.options, this.counts);
    if (allowed) keepAllowed(scores, allowed);
    return scores;
  }

  /** Leaves in the scratch the ids that may be chosen and their exponentials. */
  private process(logits: Float32Array, history: ArrayLike<number>, allowed?: TokenMask): void {
    const { temperature, topK, topP, minP, typicalP } = this.options;
    const scores = this.penalized(logits, history, allowed);
    if (temperature !== 1) applyTemperature(scores, temperature);
    const max = scores[greedy(scores)];
    const c = this.candidates;
    keepAll(c);
    if (topK > 0) keepTopK(c, topK);
    exponentiate(c, max);
    if (topP < 1) keepTopP(c, topP);
    if (minP > 0) keepMinP(c, minP);
    if (typicalP < 1) keepTypical(c, typicalP);
  }
}
