// Random weights by CoreNet's `reset_parameters` (corenet/modeling/models/language_modeling/general_gpt.py): normal with mean 0
// and std in^-0.5; `out_proj` and `proj_2` divided by sqrt(2 * layers) more; norms 1.
// The generator is counter-based: value i of a tensor is a function of (seed, tensor's name, i) alone, so neither order nor
// chunking matters and nothing is held whole. It is its own and equals no other library's stream; not for secrets.

import { elementsOf } from '../io/bytes.js';
import type { ModelConfig } from './config.js';
import type { Parameter } from './parameters.js';

const CHUNK = 1 << 16;

/**
 * The values of a parameter of `config` by `seed` (a whole number from 0 to 2^53 - 1), in row-major order; a chunk is overwritten when
 * the next is asked for.
 */
export function* parameterValues(config: ModelConfig, { name, shape }: Parameter, seed: number): Generator<Float32Array> {
  const count = elementsOf(shape);
  const chunk = new Float32Array(Math.min(count, CHUNK));
  const std = initialStd(config, name, shape);
  if (std === undefined) chunk.fill(1);
  for (let start = 0; start < count; start += CHUNK) {
    const values = chunk.subarray(0, Math.min(CHUNK, count - start));
    if (std !== undefined) fillNormal(values, std, seed, name, start);
    yield values;
  }
}

/** The standard deviation of a parameter's normal, or undefined for a norm, whose weights are 1. */
function initialStd(config: ModelConfig, name: string, shape: readonly number[]): number | undefined {
  if (shape.length === 1) return undefined;
  if (/\.(out_proj|ffn\.proj_2)\.weight$/.test(name)) return config.modelDim ** -0.5 * (2 * config.layers.length) ** -0.5;
  return shape[1] ** -0.5;
}

/**
 * Fills `out` with values `start`, `start + 1`, ... of the normal stream of (seed, name), times `std`. `start` is a multiple
 * of `out`'s chunk, so that a chunk never crosses a multiple of 2^32.
 *
 * Value i: h = mix(mix(i ^ k0) ^ k1) is a uniform 32-bit number, and the normal is the inverse of the normal's distribution
 * at (h + 1/2) / 2^32. The two key words come from hashing the seed, the name and i's upper half; with two keyed rounds no
 * stream is a shifted copy of another.
 */
export function fillNormal(out: Float32Array, std: number, seed: number, name: string, start: number): void {
  let k0 = mix(seed ^ 0x9e3779b9);
  let k1 = mix(Math.floor(seed / 2 ** 32) ^ k0);
  for (let i = 0; i < name.length; i++) {
    k0 = mix(k0 ^ name.charCodeAt(i));
    k1 = mix(k1 ^ k0);
  }
  k1 = mix(k1 ^ Math.floor(start / 2 ** 32));
  const low = start >>> 0;
  for (let i = 0; i < out.length; i++) {
    const hash = mix(mix((low + i) ^ k0) ^ k1);
    out[i] = std * inverseNormal((hash >>> 0) + 0.5);
  }
}

/** A bijection of 32-bit words in which every input bit moves every output bit (two multiplications between xor-shifts). */
function mix(word: number): number {
  let x = word ^ (word >>> 16);
  x = Math.imul(x, 0x21f0aaad);
  x ^= x >>> 15;
  x = Math.imul(x, 0x735a2d97);
  return x ^ (x >>> 15);
}

/** The normal's quantile at scaled / 2^32, to about 1e-7: Wichura 1988, algorithm AS 241, PPND7. */
function inverseNormal(scaled: number): number {
  const q = scaled * 2 ** -32 - 0.5;
  if (q >= -0.425 && q <= 0.425) {
    const r = 0.180625 - q * q;
    const numerator = ((59.10937472 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179;
    return (q * numerator) / (((67.1875636 * r + 78.757757664) * r + 17.895169469) * r + 1);
  }
  // The root is at most that of log 2^33, 4.8: AS 241's third formula, beyond 5, is never wanted.
  const s = Math.sqrt(-Math.log(q < 0 ? 0.5 + q : 0.5 - q)) - 1.6;
  const tail =
    (((0.17023821103 * s + 1.3067284816) * s + 2.75681539) * s + 1.4234372777) / ((0.12021132975 * s + 0.7370016425) * s + 1);
  return q < 0 ? -tail : tail;
}
