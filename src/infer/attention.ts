// What tokens of a sequence look at: the probabilities that attention weighs values with, which the op itself never writes down. For
// people who look inside a model; queries and keys as they meet (normalized, turned by their positions) come from the engine.

import type { HeadShape } from '../tensor/ops.js';

/**
 * softmax(query key^T / sqrt(headDim)) of each head over the tokens up to its own, f32 [queryHeads, tokens, tokens], 0 after them.
 * `queries` f32 [tokens, queryHeads, headDim], `keys` f32 [tokens, kvHeads, headDim]: neighbouring heads share one of these.
 */
export function attentionWeights(
  queries: Float32Array,
  keys: Float32Array,
  { queryHeads, kvHeads, headDim }: HeadShape,
): Float32Array {
  const tokens = keys.length / (kvHeads * headDim);
  const weights = new Float32Array(queryHeads * tokens * tokens);
  const scale = 1 / Math.sqrt(headDim);
  for (let head = 0; head < queryHeads; head++) {
    const kvHead = Math.floor(head / (queryHeads / kvHeads));
    for (let row = 0; row < tokens; row++) {
      const start = (head * tokens + row) * tokens;
      const own = weights.subarray(start, start + row + 1);
      const query = (row * queryHeads + head) * headDim;
      let largest = -Infinity;
      for (let other = 0; other <= row; other++) {
        const key = (other * kvHeads + kvHead) * headDim;
        let sum = 0;
        for (let i = 0; i < headDim; i++) sum += queries[query + i] * keys[key + i];
        own[other] = sum * scale;
        largest = Math.max(largest, own[other]);
      }
      let total = 0;
      for (let other = 0; other <= row; other++) total += own[other] = Math.exp(own[other] - largest);
      for (let other = 0; other <= row; other++) own[other] /= total;
    }
  }
  return weights;
}
