// Training on a GPU beside the CPU: the same losses step by step, of a whole model and of an adapter around a frozen one. Skipped, and
// said so, without an adapter. What each op computes is the conformance suite's.

import { afterAll, describe, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import { nodeWebgpuBackend } from '../../src/backends/webgpu/node.js';
import { type AdapterRule, chooseModules, initialValues } from '../../src/model/adapter.js';
import { parameterValues } from '../../src/model/initialize.js';
import { loadModel } from '../../src/model/load.js';
import { checkWeights, parameterShapes } from '../../src/model/parameters.js';
import type { Backend } from '../../src/tensor/backend.js';
import { AdapterParameters } from '../../src/train/adapter.js';
import { languageModelling, type TrainingBatch } from '../../src/train/language-modelling.js';
import { TrainingStep } from '../../src/train/step.js';
import { storedMatrix } from '../op-bench.js';
import { randomSource, tinyConfig, tinyParameters, tinyStep } from './tiny.js';

const gpu = await nodeWebgpuBackend().catch(() => undefined);
if (!gpu) console.log('no GPU: training is not tried on one');
const native = nativeBackend({ threads: 1 });
const cpu = 'backend' in native && native.backend ? native.backend : referenceBackend();
afterAll(() => Promise.all([cpu, gpu].map((backend) => backend?.dispose())));

/** Losses and gradient norms of 30 steps on the same batches. */
async function losses(step: TrainingStep<TrainingBatch>): Promise<number[]> {
  const source = randomSource();
  const all: number[] = [];
  for (let i = 1; i <= 30; i++) {
    const { batch } = await source.next();
    const [{ means }, { gradNorm, finite }] = await Promise.all([step.accumulate(batch, 1, i), step.update(0.01, i)]);
    expect(finite).toBe(true);
    all.push(means.loss, gradNorm);
  }
  return all;
}

async function adapted(backend: Backend, rules: readonly AdapterRule[]): Promise<TrainingStep<TrainingBatch>> {
  const tensors = new Map(
    parameterShapes(tinyConfig).map((parameter) => {
      const values = Float32Array.from([...parameterValues(tinyConfig, parameter, 5)].flatMap((chunk) => [...chunk]));
      return [parameter.name, { ...storedMatrix(values, parameter.shape), name: parameter.name }] as const;
    }),
  );
  const modules = chooseModules(tinyConfig, rules);
  const parameters = new AdapterParameters(backend, modules);
  const weights = checkWeights(tinyConfig, tensors, 'tiny');
  const { model } = await loadModel(backend, tinyConfig, weights, { dtype: 'q8', ...parameters.wrapping });
  await parameters.begin(initialValues(modules, 3));
  return new TrainingStep(backend, {
    ...{ model, parameters, seed: 7 },
    objective: languageModelling({ maxRows: 16, maxSequences: 2, maxPositions: 8, zLoss: 0, labelSmoothing: 0.1 }),
    optimizer: { maxGradNorm: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0 },
  });
}

const rule: AdapterRule = { pattern: '.*proj.*', r: 4, alpha: 8, dropout: 0.1, use_rslora: false, use_dora: false, init: true };

/** Losses in turn with gradient norms, whose roundings AdamW carries on: it divides by a gradient's size, however small. */
function expectClose(found: readonly number[], expected: readonly number[], norms = 1e-3): void {
  for (const [i, value] of expected.entries()) {
    expect(Math.abs(found[i] - value) / Math.abs(value), `number ${i}`).toBeLessThan(i % 2 ? norms : 1e-4);
  }
}

describe.skipIf(!gpu)('training on a GPU', () => {
  it.each([{}, { activationStorage: 'int16' as const }])('pretrains as the CPU does: %o', async (keep) => {
    const [found, expected] = [gpu!, cpu].map((backend) => losses(tinyStep(backend, tinyParameters(backend), keep)));
    // Activations that differ in their last bit may round apart.
    expectClose(await found, await expected, keep.activationStorage ? 2e-3 : 1e-3);
  });

  it('tunes an adapter as the CPU does: LoRA and DoRA over 8-bit weights, with dropout', async () => {
    const rules = [
      { ...rule, use_dora: true },
      { ...rule, pattern: 'token_embeddings', dropout: 0 },
    ];
    const [found, expected] = [gpu!, cpu].map(async (backend) => losses(await adapted(backend, rules)));
    expectClose(await found, await expected);
  });
});
