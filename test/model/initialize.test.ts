// Random initialisation: the stds of CoreNet's reset_parameters, a normal distribution, and values that depend on the seed, the
// tensor and the index alone. All seeds are fixed, so the statistical bounds either hold or do not.

import { describe, expect, it } from 'vitest';
import { configFromFields } from '../../src/model/config.js';
import { fillNormal, parameterValues } from '../../src/model/initialize.js';
import { parameterShapes } from '../../src/model/parameters.js';

const config = configFromFields(
  {
    num_transformer_layers: 2,
    model_dim: 128,
    head_dim: 32,
    vocab_size: 1500,
    ffn_multipliers: [2, 4],
    normalize_qk_projections: true,
  },
  'config',
);

function normals(count: number, seed: number, name: string, start = 0): Float32Array {
  const out = new Float32Array(count);
  fillNormal(out, 1, seed, name, start);
  return out;
}

const mean = (values: Float32Array, of: (value: number, i: number) => number) =>
  values.reduce((sum, v, i) => sum + of(v, i), 0) / values.length;

describe('initial values', () => {
  it('follows reset_parameters', () => {
    const inner = 128 ** -0.5 * 4 ** -0.5; // model_dim^-0.5 * (2 * layers)^-0.5
    const stds: [RegExp, number][] = [
      [/token_embeddings/, 128 ** -0.5],
      [/classifier/, 128 ** -0.5],
      [/qkv_proj|proj_1/, 128 ** -0.5],
      [/out_proj|proj_2/, inner],
    ];
    const names: string[] = [];
    for (const parameter of parameterShapes(config)) {
      const { name, shape } = parameter;
      names.push(name);
      let count = 0;
      let sum = 0;
      let squares = 0;
      for (const chunk of parameterValues(config, parameter, 7)) {
        for (const value of chunk) {
          count++;
          sum += value;
          squares += value * value;
        }
      }
      expect(count).toBe(shape.reduce((product, size) => product * size, 1));
      if (shape.length === 1) {
        expect([sum, squares], name).toEqual([count, count]);
        continue;
      }
      const std = stds.find(([pattern]) => pattern.test(name))![1];
      expect(Math.abs(sum / count), name).toBeLessThan((4 * std) / Math.sqrt(count));
      expect(Math.abs(Math.sqrt(squares / count) / std - 1), name).toBeLessThan(4 / Math.sqrt(2 * count));
    }
    expect(names).toEqual(parameterShapes(config).map(({ name }) => name));
  });

  it('is the same whatever is asked for first, in chunks or at once', () => {
    const parameter = { name: 'transformer.token_embeddings.weight', shape: [1500, 128] };
    const whole = normals(1500 * 128, 7, parameter.name).map((v) => v * 128 ** -0.5);
    let at = 0;
    for (const chunk of parameterValues(config, parameter, 7)) {
      expect(chunk.every((value, i) => Math.abs(value - whole[at + i]) < 1e-7)).toBe(true);
      at += chunk.length;
    }
    expect(at).toBe(1500 * 128);
    expect(normals(8, 7, 'a', 24)).toEqual(normals(32, 7, 'a').subarray(24));
  });
});

describe('the normal stream', () => {
  it('stays what it is', () => {
    // Made by this code; a change would silently give every seed other weights.
    expect([...normals(4, 0, 'a')].map((v) => v.toFixed(5))).toEqual(['-0.15695', '1.88292', '-0.38730', '0.09126']);
    expect([...normals(2, 2 ** 53 - 1, 'transformer.norm', 2 ** 33)].map((v) => v.toFixed(5))).toEqual(['1.72024', '-1.38513']);
  });

  it('is normal', () => {
    const n = 1 << 20;
    const values = normals(n, 3, 'x');
    expect(Math.abs(mean(values, (v) => v))).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(mean(values, (v) => v * v) - 1)).toBeLessThan(4 * Math.sqrt(2 / n));
    expect(Math.abs(mean(values, (v) => v ** 3))).toBeLessThan(4 * Math.sqrt(15 / n));
    expect(Math.abs(mean(values, (v) => v ** 4) - 3)).toBeLessThan(4 * Math.sqrt(96 / n));
    const sorted = values.toSorted();
    // Quantiles of the standard normal, from tables.
    for (const [p, z] of [
      [0.00001, -4.264891],
      [0.001, -3.090232],
      [0.025, -1.959964],
      [0.1, -1.281552],
      [0.25, -0.67449],
      [0.5, 0],
      [0.9, 1.281552],
      [0.95, 1.644854],
      [0.9999, 3.719016],
    ]) {
      const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
      expect(Math.abs(sorted[Math.floor(p * n)] - z), `quantile ${p}`).toBeLessThan((4 * Math.sqrt((p * (1 - p)) / n)) / density);
    }
  });

  it('is uncorrelated along itself, between tensors and between seeds', () => {
    const n = 1 << 18;
    const values = normals(n, 3, 'x');
    const others: [string, Float32Array][] = [
      ['another tensor', normals(n, 3, 'y')],
      ['another seed', normals(n, 4, 'x')],
      ['another upper half of the seed', normals(n, 3 + 2 ** 32, 'x')],
      ['values 2^32 later', normals(n, 3, 'x', 2 ** 32)],
    ];
    for (let lag = 1; lag <= 65_536; lag *= 4)
      others.push([`lag ${lag}`, Float32Array.from(values, (_, i) => values[(i + lag) % n])]);
    for (const [what, other] of others) {
      expect(Math.abs(mean(values, (v, i) => v * other[i])), what).toBeLessThan(4.5 / Math.sqrt(n));
      expect(Math.abs(mean(values, (v, i) => (v * v - 1) * (other[i] * other[i] - 1))), what).toBeLessThan(
        (4.5 * 2) / Math.sqrt(n),
      );
    }
  });
});
