// Training an adapter around a frozen model, on every backend here: over quantized weights, with dropout, with layers computed again; where
// it begins nothing is changed. Gradients of the f32 case are judged by golden numbers (test/golden/peft).

import { afterAll, describe, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import { type AdapterRule, chooseModules, initialValues } from '../../src/model/adapter.js';
import { parameterValues } from '../../src/model/initialize.js';
import { type LoadOptions, loadModel } from '../../src/model/load.js';
import { checkWeights, parameterShapes } from '../../src/model/parameters.js';
import type { Backend } from '../../src/tensor/backend.js';
import { AdapterParameters } from '../../src/train/adapter.js';
import type { KeepOptions } from '../../src/train/backward.js';
import { languageModelling } from '../../src/train/language-modelling.js';
import { TrainingStep } from '../../src/train/step.js';
import { storedMatrix } from '../op-bench.js';
import { randomSource, tinyConfig } from './tiny.js';

const native = nativeBackend({ threads: 2 });
const backends = [referenceBackend(), ...('backend' in native ? [native.backend] : [])];
afterAll(() => Promise.all(backends.map((backend) => backend.dispose())));

const rule: AdapterRule = { pattern: '.*proj.*', r: 4, alpha: 8, dropout: 0, use_rslora: false, use_dora: false, init: true };
const embedding: AdapterRule = { ...rule, pattern: 'token_embeddings' };
const tensors = new Map(
  parameterShapes(tinyConfig).map((parameter) => {
    const values = Float32Array.from([...parameterValues(tinyConfig, parameter, 5)].flatMap((chunk) => [...chunk]));
    return [parameter.name, { ...storedMatrix(values, parameter.shape), name: parameter.name }] as const;
  }),
);
const weights = checkWeights(tinyConfig, tensors, 'tiny');
const { batch } = await randomSource().next();

async function start(
  backend: Backend,
  rules: readonly AdapterRule[],
  dtype: LoadOptions['dtype'] = 'f32',
  keep: KeepOptions = {},
) {
  const modules = chooseModules(tinyConfig, rules);
  const adapter = new AdapterParameters(backend, modules);
  const loaded = await loadModel(backend, tinyConfig, weights, { dtype, ...adapter.wrapping });
  await adapter.begin(initialValues(modules, 3));
  const step = new TrainingStep(backend, {
    model: loaded.model,
    parameters: adapter,
    objective: languageModelling({ maxRows: 16, maxSequences: 2, maxPositions: 8, zLoss: 0, labelSmoothing: 0 }),
    optimizer: { maxGradNorm: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0 },
    ...keep,
  });
  const gradients = async (): Promise<Float32Array[]> => Promise.all(adapter.list.map(({ name }) => adapter.read(name, 'grad')));
  return { adapter, step, gradients };
}

/** Values that B has learned: otherwise A has no gradient. */
async function moved(adapter: AdapterParameters): Promise<void> {
  for (const { name, shape } of adapter.list) {
    const size = shape.reduce((product, n) => product * n, 1);
    if (name.endsWith('lora_B'))
      adapter.write(
        name,
        Float32Array.from({ length: size }, (_, i) => Math.sin(i + 1) / 8),
      );
  }
}

describe.each(backends)('an adapter on $name', (backend) => {
  it.each(['f32', 'f16', 'bf16', 'q8', 'q4'] as const)('learns over %s weights', async (dtype) => {
    const { step } = await start(backend, [rule, embedding], dtype);
    const before = (await step.evaluate(batch)).means.loss;
    for (let i = 1; i <= 20; i++) {
      await step.accumulate(batch);
      expect((await step.update(0.02, i)).finite).toBe(true);
    }
    expect((await step.evaluate(batch)).means.loss).toBeLessThan(before - 0.5);
  });

  it('changes nothing where it begins: LoRA, DoRA, and an embedding beside it', async () => {
    const loss = async (...rules: AdapterRule[]): Promise<number> =>
      (await (await start(backend, rules)).step.evaluate(batch)).means.loss;
    const plain = await loss({ ...rule, pattern: 'proj_1' });
    expect(await loss(rule)).toBeCloseTo(plain, 5);
    expect(await loss({ ...rule, use_dora: true }, embedding)).toBeCloseTo(plain, 5);
  });

  it('trains only what it has: no gradient goes below the first adapted layer', async () => {
    const rules = [{ ...rule, pattern: 'layers\\.1\\.ffn\\.proj_2' }];
    const { step, gradients } = await start(backend, rules);
    await step.accumulate(batch);
    const [a, b] = await gradients();
    expect(a.every((value) => value === 0)).toBe(true); // B is zero
    expect(Math.max(...b.map(Math.abs))).toBeGreaterThan(0);
    // Nor is a layer below computed again.
    const again = await start(backend, rules, 'f32', { activationCheckpointing: true });
    await again.step.accumulate(batch);
    expect(await again.gradients()).toEqual([a, b]);
  });

  it.each([false, true])('drops by seed and draw, the same on the way back (DoRA: %s)', async (use_dora) => {
    const rules = [{ ...rule, dropout: 0.5, use_dora }];
    const gradientsOf = async (draw: number, keep: KeepOptions = {}): Promise<Float32Array[]> => {
      const { adapter, step, gradients } = await start(backend, rules, 'f32', keep);
      await moved(adapter);
      await step.accumulate(batch, 1, draw);
      return gradients();
    };
    const first = await gradientsOf(7);
    expect(await gradientsOf(7)).toEqual(first);
    expect(await gradientsOf(7, { activationCheckpointing: true })).toEqual(first);
    expect(await gradientsOf(8)).not.toEqual(first);
    expect(await gradientsOf(7, { seed: 1 })).not.toEqual(first);
    if (backend === backends[0]) return;
    // The same mask as the reference backend's.
    const { adapter, step, gradients } = await start(backends[0], rules);
    await moved(adapter);
    await step.accumulate(batch, 1, 7);
    for (const [i, expected] of (await gradients()).entries()) {
      const largest = Math.max(...expected.map(Math.abs));
      for (const [j, value] of expected.entries())
        expect(Math.abs(first[i][j] - value)).toBeLessThan(1e-5 * Math.max(1, largest));
    }
  });

  it('drops nothing when it is evaluated', async () => {
    const [dropping, plain] = [await start(backend, [{ ...rule, dropout: 0.5 }]), await start(backend, [rule])];
    await moved(dropping.adapter);
    await moved(plain.adapter);
    expect((await dropping.step.evaluate(batch)).means).toEqual((await plain.step.evaluate(batch)).means);
  });
});
