// Quantization: what search, compensation and a budget of bits do to small matrices, and a small model from weights to a folder that
// runs. What it does to the embedded model's perplexity is docs/quantization.md.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint.js';
import { writeQuantized } from '../../src/formats/write.js';
import { type LoadOptions, load, openBackend } from '../../src/index.js';
import { readFloat32 } from '../../src/io/decode.js';
import { writeDirectory } from '../../src/io/node/checkpoints.js';
import { checkWeights } from '../../src/model/parameters.js';
import { allocate, bitsPerWeight } from '../../src/quantize/allocate.js';
import { dequantize, quantizeCompensated, quantizeGroups, squaredError } from '../../src/quantize/compensate.js';
import { fittedGrid, rangeGrid } from '../../src/quantize/grid.js';
import { quantizeModel } from '../../src/quantize/quantize.js';
import { run } from '../app/terminal.js';
import { randomNumbers } from '../op-bench.js';
import { temporaryFolder } from '../temporary.js';

const tinyElm = fileURLToPath(new URL('../golden/models/tiny-elm', import.meta.url));
const folder = temporaryFolder();

describe('a matrix', () => {
  const [rows, columns, tokens] = [24, 64, 300];
  const next = randomNumbers(1);
  const matrix = { rows, columns, values: Float32Array.from({ length: rows * columns }, () => 0.05 * next()) };
  // Inputs that go together, some larger than others.
  const moments = new Float32Array(columns * columns);
  for (let t = 0; t < tokens; t++) {
    const common = [next(), next(), next()];
    const x = Array.from({ length: columns }, (_, j) => (common[j % 3] + 0.3 * next()) * (j % 7 === 0 ? 4 : 1));
    for (let j = 0; j < columns; j++) for (let k = 0; k < columns; k++) moments[j * columns + k] += (x[j] * x[k]) / tokens;
  }
  const format = { bits: 3, group: 32 };
  const errorOf = (other: Float32Array): number => squaredError(matrix, other, moments);

  it('has grids that are exact in f16, and a search that never loses to the range', () => {
    const ones = new Float32Array(columns).fill(1);
    for (let r = 0; r < rows; r++) {
      const row = matrix.values.subarray(r * columns, (r + 1) * columns);
      const off = ({ scale, minimum }: { scale: number; minimum: number }): number =>
        row.subarray(0, 32).reduce((sum, x) => {
          const code = Math.min(7, Math.max(0, Math.round((x - minimum) / scale)));
          return sum + (x - scale * code - minimum) ** 2;
        }, 0);
      expect(off(fittedGrid(row, 0, 32, 7, ones))).toBeLessThanOrEqual(off(rangeGrid(row, 0, 32, 7)));
    }
    const same = new Float32Array(32).fill(0.25);
    expect(dequantize(quantizeGroups({ rows: 1, columns: 32, values: same }, { bits: 4, group: 32 }, true))).toEqual(same);
  });

  it('loses less with search, much less with its errors made good, and less again with sweeps', () => {
    const nearest = errorOf(dequantize(quantizeGroups(matrix, format, false)));
    const searched = errorOf(dequantize(quantizeGroups(matrix, format, true)));
    const [fed, swept] = [0, 1].map((sweeps) => errorOf(dequantize(quantizeCompensated(matrix, format, moments, { sweeps }))));
    expect(searched).toBeLessThan(nearest);
    expect(fed).toBeLessThan(0.5 * searched);
    expect(swept).toBeLessThan(fed);
  });

  it('ends with sweeps where no code, scale or minimum is better as another', () => {
    // As it is minimized: with a hundredth of the diagonal's mean added to the diagonal, as GPTQ has it.
    const damped = moments.slice();
    const mean = Array.from({ length: columns }, (_, j) => moments[j * columns + j] / columns).reduce((a, b) => a + b);
    for (let j = 0; j < columns; j++) damped[j * columns + j] += 0.01 * mean;
    for (let r = 0; r < rows; r++) {
      const row = { rows: 1, columns, values: matrix.values.slice(r * columns, (r + 1) * columns) };
      const made = quantizeCompensated(row, { bits: 2, group: 32 }, moments, { sweeps: 20 });
      const error = (): number => squaredError(row, dequantize(made), damped);
      const least = error();
      const isBetter = (array: Uint8Array | Float32Array, i: number, value: number): boolean => {
        const kept = array[i];
        array[i] = value;
        const found = error() < least * (1 - 1e-6);
        array[i] = kept;
        return found;
      };
      for (const [i, code] of made.codes.entries())
        for (const other of [code - 1, code + 1].filter((c) => c >= 0 && c < 4))
          expect(isBetter(made.codes, i, other)).toBe(false);
      for (const [i, scale] of made.scales.entries())
        for (const by of [-0.01, 0.01]) {
          expect(isBetter(made.scales, i, scale * (1 + by))).toBe(false);
          expect(isBetter(made.minimums, i, made.minimums[i] + scale * by)).toBe(false);
        }
    }
  });
});

describe('a budget', () => {
  const shares = [1, 4, 100].map((loss, i) => ({ name: `m${i}`, elements: 1000, columns: 64, loss }));

  it('is kept, nearly used up, and spent on what matters', () => {
    for (const bits of [3, 3.5, 4.5, 6]) {
      const formats = allocate(shares, bits * 3000, 0)!;
      const spent = shares.map(({ name }) => bitsPerWeight(formats.get(name)!));
      expect(spent[0]).toBeLessThanOrEqual(spent[1]);
      expect(spent[1]).toBeLessThanOrEqual(spent[2]);
      const mean = spent.reduce((sum, own) => sum + own, 0) / 3;
      expect(mean).toBeLessThanOrEqual(bits);
      expect(mean).toBeGreaterThan(bits - 0.34); // no step of a third of the weights is left
    }
  });

  it('may be too small, and groups must fit', () => {
    expect(allocate(shares, 2.4 * 3000, 0)).toBeUndefined();
    const narrow = allocate([{ name: 'n', elements: 960, columns: 96, loss: 1 }], 5 * 960, 0)!;
    expect(narrow.get('n')!.group).toBe(32);
  });
});

describe('a model', () => {
  it('becomes a folder that runs as it is, calibrated and within its budget', async () => {
    const { backend } = await openBackend();
    const checkpoint = await openCheckpoint(tinyElm);
    const weights = await checkpoint.openWeights();
    const checked = checkWeights(checkpoint.config, weights.tensors, 'tiny-elm');
    const calibration = Array.from({ length: 3 }, (_, s) =>
      Int32Array.from({ length: 40 }, (_, i) => (s * 97 + i * i * 31) % 320),
    );
    const options = { bits: 4, group: 64 };
    const nearest = await quantizeModel(backend, checkpoint.config, checked, options);
    const budget = await quantizeModel(backend, checkpoint.config, checked, { ...options, calibration, targetBits: 4.6 });
    expect(
      nearest.every(({ quantized: { bits, group, columns } }) => bits === 4 && group === (columns % 64 === 0 ? 64 : 32)),
    ).toBe(true);
    expect(budget.length).toBe(nearest.length);
    const byName = new Map(budget.map(({ name, quantized }) => [name, quantized]));
    const out = join(folder, 'small');
    let bytes = 0;
    await writeDirectory(out, async (file) => {
      bytes = await writeQuantized(file, { ...checkpoint, tensors: checked.tensors, texts: [] }, byName, 'f16');
    });
    await weights.close();
    await backend.dispose();
    const parameters = [...checked.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    expect((8 * bytes) / parameters).toBeLessThanOrEqual(4.6);
    const again = await openCheckpoint(out);
    const stored = await again.openWeights();
    for (const { name, quantized } of budget) {
      const [found, expected] = [await readFloat32(stored.tensors.get(name)!), dequantize(quantized)];
      expect(Buffer.compare(Buffer.from(found.buffer), Buffer.from(expected.buffer)), name).toBe(0);
    }
    await stored.close();
    // As it is, and its values in f32: the same numbers, so the same answers.
    const logprobs = async (options: LoadOptions, dtype: string): Promise<number[]> => {
      await using loaded = await load(out, { context: 64, cacheType: 'f32', ...options });
      expect(loaded.weights.dtype).toMatch(dtype);
      return (await loaded.engine.score([1, 5, 9, 200, 31])).logprobs.slice(1) as number[];
    };
    const own = await logprobs({ activations: 'f32' }, 'affine');
    for (const [i, logprob] of (await logprobs({ dtype: 'f32' }, 'f32')).entries()) expect(own[i]).toBeCloseTo(logprob, 3);
  });

  it('is made by the command line, which reports and refuses', async () => {
    const out = join(folder, 'cli');
    const { code, stdout } = await run(['quantize', tinyElm, '--bits', '8', '--out', out, '--picture', `${out}.svg`, '--json']);
    expect(code).toBe(0);
    const report = JSON.parse(stdout) as { bits_per_weight: number; matrices: { error: number }[]; perplexity: object };
    expect(report.bits_per_weight).toBeGreaterThan(8.5);
    expect(report.bits_per_weight).toBeLessThan(9.1);
    expect(report.perplexity).toEqual({ before: null, after: null });
    expect(report.matrices.every(({ error }) => error < 1e-4)).toBe(true);
    const refused = async (...args: string[]): Promise<string> => (await run(['quantize', tinyElm, ...args])).stderr;
    expect(await refused('--out', out)).toMatch(/something is there already/);
    expect(await refused()).toMatch(/--out <directory>' not specified/);
    expect(await refused('--out', `${out}2`, '--target-bpw', '4.5')).toMatch(/--target-bpw needs --calibrate/);
    expect(await refused('--out', `${out}2`, '--calibrate', 'x.txt')).toMatch(/no tokenizer/);
    expect(await refused('--out', `${out}2`, '--bits', '7')).toMatch(/It must be one of 8, 6, 5, 4, 3/);
    expect(await refused('--out', `${out}3`, '--picture', `${out}/config.json/x.svg`)).toMatch(/config\.json: cannot write it/);
    expect(existsSync(`${out}3`)).toBe(false);
  });
});
