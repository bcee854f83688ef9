// The steps between logits and distribution, each a function over one row of scores; sampler.ts puts them in order. Where it
// decides what is kept the arithmetic follows PyTorch as transformers 5 uses it (generation/logits_process.py): scores and
// probabilities are rounded to f32, sums run in f64 and are rounded to f32 when compared. At each step at least one id is kept.
// Nothing is sorted (cuts are found by radix selection) and nothing is allocated.

/** What an earlier occurrence costs an id; see `SamplingOptions`. */
export interface Penalties {
  repetitionPenalty: number;
  frequencyPenalty: number;
  presencePenalty: number;
}

/**
 * Lowers (in place) the scores of ids that are in `history`, each id's by its count: first the repetition penalty
 * (score < 0 ? score * r : score / r), then `score -= count * frequency + presence` (OpenAI's formula).
 * `counts` [vocabulary] must be all zero and is left so.
 */
export function applyPenalties(scores: Float32Array, history: ArrayLike<number>, options: Penalties, counts: Int32Array): void {
  const repetition = Math.fround(options.repetitionPenalty);
  for (let i = 0; i < history.length; i++) counts[history[i]]++;
  for (let i = 0; i < history.length; i++) {
    const id = history[i];
    const count = counts[id];
    if (!(count > 0)) continue; // done already, or no id of this vocabulary
    counts[id] = 0;
    const score = scores[id];
    const penalized = Math.fround(score < 0 ? score * repetition : score / repetition);
    scores[id] = penalized - (count * options.frequencyPenalty + options.presencePenalty);
  }
}

/** Makes the scores of all ids that are not in a mask (a bit an id) -Infinity, in place. */
export function keepAllowed(scores: Float32Array, mask: Uint32Array): void {
  for (let word = 0, from = 0; from < scores.length; word++, from += 32) {
    const bits = mask[word];
    if (bits === 0xffffffff) continue;
    const end = Math.min(from + 32, scores.length);
    if (bits === 0) scores.fill(Number.NEGATIVE_INFINITY, from, end);
    else for (let id = from; id < end; id++) if (((bits >>> (id - from)) & 1) === 0) scores[id] = Number.NEGATIVE_INFINITY;
  }
}

/** Divides the scores by the temperature (not 0), in place. */
export function applyTemperature(scores: Float32Array, temperature: number): void {
  const divisor = Math.fround(temperature);
  for (let i = 0; i < scores.length; i++) scores[i] /= divisor;
}

/**
 * The ids still in play: `ids[0..count)`, ascending, with their scores and exps = exp(score - max), both [vocabulary] by id.
 * The `keep...` functions only shorten the list. The other arrays are their scratch.
 */
export interface Candidates {
  count: number;
  max: number;
  ids: Int32Array;
  scores: Float32Array;
  exps: Float64Array;
  probabilities: Float32Array;
  keys: Float32Array;
  order: Int32Array;
  bucketWeights: Float64Array;
}

/** Room for one vocabulary, to be used for every step. */
export function createCandidates(vocabulary: number): Candidates {
  return {
    count: 0,
    max: 0,
    ids: new Int32Array(vocabulary),
    scores: new Float32Array(vocabulary),
    exps: new Float64Array(vocabulary),
    probabilities: new Float32Array(vocabulary),
    keys: new Float32Array(vocabulary),
    order: new Int32Array(vocabulary),
    bucketWeights: new Float64Array(2048),
  };
}

/** Puts every id in play. */
export function keepAll(c: Candidates): void {
  c.count = c.ids.length;
  for (let i = 0; i < c.count; i++) c.ids[i] = i;
}

/** Keeps the k highest scores and all that equal the k-th (`TopKLogitsWarper`). */
export function keepTopK(c: Candidates, k: number): void {
  if (k >= c.count) return;
  const cut = c.scores[select(c, c.scores, undefined, c.count - k + 1, false)];
  let kept = 0;
  for (let i = 0; i < c.count; i++) {
    const id = c.ids[i];
    if (c.scores[id] >= cut) c.ids[kept++] = id;
  }
  c.count = kept;
}

/** Fills `exps` of the ids in play. After top-k, which needs none, and before the others, which do. */
export function exponentiate(c: Candidates, max: number): void {
  c.max = max;
  for (let i = 0; i < c.count; i++) {
    const id = c.ids[i];
    c.exps[id] = expOfNegative(c.scores[id] - max);
  }
}

/** Sum of `exps` over the ids in play, in ascending order of id. */
export function sumOfExps(c: Candidates): number {
  let sum = 0;
  for (let i = 0; i < c.count; i++) sum += c.exps[c.ids[i]];
  return sum;
}

function fillProbabilities(c: Candidates): void {
  const sum = sumOfExps(c);
  for (let i = 0; i < c.count; i++) {
    const id = c.ids[i];
    c.probabilities[id] = c.exps[id] / sum;
  }
}

/**
 * Nucleus (`TopPLogitsWarper`): from the least likely up, drops ids while the sum dropped is at most 1 - p, so an id that the
 * nucleus needs to reach p stays; among equals the lowest ids go first; the last id always stays.
 */
export function keepTopP(c: Candidates, p: number): void {
  fillProbabilities(c);
  const cutId = select(c, c.scores, c.probabilities, Math.fround(1 - p), true);
  const cut = c.scores[cutId];
  let kept = 0;
  for (let i = 0; i < c.count; i++) {
    const id = c.ids[i];
    const score = c.scores[id];
    if (score > cut || (score === cut && id >= cutId)) c.ids[kept++] = id;
  }
  c.count = kept;
}

/** Keeps ids with at least `minP` times the highest probability (`MinPLogitsWarper`). */
export function keepMinP(c: Candidates, minP: number): void {
  fillProbabilities(c);
  let top = 0;
  for (let i = 0; i < c.count; i++) top = Math.max(top, c.probabilities[c.ids[i]]);
  const cut = Math.fround(Math.fround(minP) * top);
  let kept = 0;
  for (let i = 0; i < c.count; i++) {
    const id = c.ids[i];
    if (c.probabilities[id] >= cut) c.ids[kept++] = id;
  }
  c.count = kept;
}

/**
 * Locally typical (`TypicalLogitsWarper`): orders ids by |-log p - entropy| and keeps the first whose probabilities reach the
 * mass, with all that equal the last of them.
 */
export function keepTypical(c: Candidates, mass: number): void {
  fillProbabilities(c);
  const logSum = Math.fround(Math.log(sumOfExps(c)));
  // Rounded as log_softmax rounds it: what is equal there is equal here.
  const surprise = (id: number): number => Math.fround(logSum - Math.fround(c.scores[id] - c.max));
  let sum = 0;
  for (let i = 0; i < c.count; i++) {
    const p = c.probabilities[c.ids[i]];
    if (p > 0) sum += p * surprise(c.ids[i]);
  }
  const entropy = Math.fround(sum);
  for (let i = 0; i < c.count; i++) {
    const id = c.ids[i];
    c.keys[id] = Math.abs(surprise(id) - entropy);
  }
  const cut = c.keys[select(c, c.keys, c.probabilities, Math.fround(mass), false)];
  let kept = 0;
  for (let i = 0; i < c.count; i++) {
    const id = c.ids[i];
    if (c.keys[id] <= cut) c.ids[kept++] = id;
  }
  c.count = kept;
}

/**
 * Among the ids in play, ordered by (key, id), the first at which the running sum of weights (1 each when left out), rounded
 * to f32, is at least `target` (`strict`: above it); the last id when none is. Radix selection over the keys' bits, 11 + 11 +
 * 10, highest first: linear whatever the keys are.
 */
function select(c: Candidates, keys: Float32Array, weights: Float32Array | undefined, target: number, strict: boolean): number {
  const reached = (sum: number) => (strict ? Math.fround(sum) > target : Math.fround(sum) >= target);
  const bits = new Int32Array(keys.buffer, keys.byteOffset, keys.length);
  const weightOf = c.bucketWeights;
  let from = c.ids; // the ids that may be the answer, ascending
  let count = c.count;
  let before = 0; // weight of all that sorts before them
  for (const shift of [21, 10, 0]) {
    weightOf.fill(0);
    let highest = 0;
    for (let i = 0; i < count; i++) {
      const bucket = (sortable(bits[from[i]]) >>> shift) & 2047;
      weightOf[bucket] += weights === undefined ? 1 : weights[from[i]];
      if (bucket > highest) highest = bucket;
    }
    let chosen = 0;
    while (chosen < highest && !reached(before + weightOf[chosen])) before += weightOf[chosen++];
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const id = from[i];
      if (((sortable(bits[id]) >>> shift) & 2047) === chosen) c.order[kept++] = id;
    }
    from = c.order;
    count = kept;
  }
  let i = 0; // all keys are equal now
  while (i < count - 1) {
    before += weights === undefined ? 1 : weights[from[i]];
    if (reached(before)) break;
    i++;
  }
  return from[i];
}

/** The bits of an f32 as a whole number (to be read unsigned) that sorts as the f32 does; -0 and 0 are the same. */
function sortable(bits: number): number {
  return bits === -0x80000000 ? bits : bits ^ ((bits >> 31) | 0x80000000);
}

/** 2^(j/64), and 2^(j - 1099) down to the smallest subnormal. */
const fractionalPowers = Float64Array.from({ length: 64 }, (_, j) => 2 ** (j / 64));
const wholePowers = Float64Array.from({ length: 1100 }, (_, j) => 2 ** (j - 1099));

/** e^x for x <= 0, within 1e-13 of itself; three times as fast as Math.exp, which is most of a step's time. */
export function expOfNegative(x: number): number {
  if (!(x > -740)) return 0;
  const k = Math.floor(x * (64 / Math.LN2));
  const r = x - k * (Math.LN2 / 64);
  const series = 1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120)))));
  return fractionalPowers[k & 63] * wholePowers[(k >> 6) + 1099] * series;
}
