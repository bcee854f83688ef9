import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import { chooseModules, initialValues } from '../../src/model/adapter.js';
import { loadModel } from '../../src/model/load.js';
import { checkWeights, parameterShapes } from '../../src/model/parameters.js';
import type { Backend } from '../../src/tensor/backend.js';
import { AdapterParameters } from '../../src/train/adapter.js';
import { judgePairs } from '../../src/train/batching.js';
import { type PreferencePair, preferenceBatch, preferenceOptimization } from '../../src/train/preference-optimization.js';
import { TrainingStep } from '../../src/train/step.js';
import { judgePreferences } from '../judge/dpo.js';
import { storedMatrix } from '../op-bench.js';
import { stateOf, tinyConfig, tinyParameters } from './tiny.js';

const golden = (name: string): string => fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
const native = nativeBackend({ threads: 2 });
const backends: [string, () => Backend][] = [
  ['reference', referenceBackend],
  ...('backend' in native ? [['native', () => native.backend] as [string, () => Backend]] : []),
];

const pair = (prompt: number[], chosen: number[], rejected: number[]): PreferencePair => ({
  prompt: Int32Array.from(prompt),
  chosen: Int32Array.from(chosen),
  rejected: Int32Array.from(rejected),
});

describe.each(backends)('preference optimization on the %s backend', (_, open) => {
  it("has TRL's log-probabilities, losses, rewards and gradients", async () => {
    const { checks } = await judgePreferences(open(), golden('dpo'), golden('models/tiny-train'));
    expect(checks.length).toBeGreaterThan(100);
    expect(checks.filter(({ error, bound }) => !(error <= bound))).toEqual([]);
  });
});

describe('preferenceBatch', () => {
  it('computes a prompt once: both answers go on from it, beginning with its last token', () => {
    const batch = preferenceBatch([pair([1, 2, 3], [4, 5], [6]), pair([7], [8], [9, 10])], new Float32Array(4));
    expect([...batch.tokens]).toEqual([1, 2, 3, 4, 3, 7, 7, 9]);
    expect([...batch.targets]).toEqual([-1, -1, 4, 5, 6, 8, 9, 10]);
    expect(batch.sequences).toEqual([
      [0, 2],
      [2, 2, 0],
      [4, 1, 0],
      [5, 1],
      [6, 2],
    ]);
    expect([...batch.pairs]).toEqual([2, 2, 4, 1, 5, 1, 6, 2]);
  });
});

describe('a preference step', () => {
  const limits = { maxRows: 32, maxSequences: 6, maxSegments: 10, maxPositions: 12, maxPairs: 2 };
  const pairs = [pair([1, 2, 3], [4, 5, 6, 2], [7, 8, 2]), pair([1, 9, 10, 11], [12, 2], [13, 14, 15, 2])];

  it('widens the margin, and its rewards are 0 where the reference is the model itself', async () => {
    const backend = referenceBackend();
    const parameters = tinyParameters(backend);
    const objective = preferenceOptimization({ ...limits, loss: 'sigmoid', beta: 0.5, labelSmoothing: 0 });
    const optimizer = { maxGradNorm: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0 };
    const step = new TrainingStep(backend, { model: parameters.model(), parameters, objective, optimizer });
    const reference = new Float32Array(4);
    for (const [p, each] of pairs.entries()) {
      const { means } = await step.evaluate(preferenceBatch([each], new Float32Array(2)));
      reference.set([means.logpChosen, means.logpRejected], 2 * p);
    }
    const batch = preferenceBatch(pairs, reference);
    const before = await stateOf(parameters);
    const { means } = await step.evaluate(batch);
    expect(means).toMatchObject({ accuracy: 0, rewardChosen: 0, rewardRejected: 0, margin: 0 });
    expect(means.loss).toBeCloseTo(Math.LN2, 6);
    for (let i = 1; i <= 20; i++) {
      await step.accumulate(batch);
      await step.update(1e-2, i);
    }
    const after = await step.evaluate(batch);
    expect(after.means.accuracy).toBe(1);
    expect(after.means.margin).toBeGreaterThan(0.5);
    expect(after.means.loss).toBeLessThan(0.5);
    expect([...(await stateOf(parameters))]).not.toEqual([...before]);
    step.dispose();
  });

  const sine = (shape: readonly number[], by: number): Float32Array =>
    Float32Array.from({ length: shape.reduce((product, n) => product * n, 1) }, (_, i) => Math.sin(by * (i + 1)) / 4);
  const tensors = new Map(
    parameterShapes(tinyConfig).map(
      ({ name, shape }, n) => [name, { ...storedMatrix(sine(shape, n + 1), shape), name }] as const,
    ),
  );
  const optimizer = { maxGradNorm: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0 };
  const rule = {
    pattern: '.*(proj|token).*',
    r: 4,
    alpha: 8,
    dropout: 0.2,
    use_rslora: false,
    use_dora: false,
    init: true,
  } as const;

  it.each(backends)('asks the model without its adapter: the same losses and gradients on the %s backend', async (_, open) => {
    const backend = open();
    const run = async (online: boolean) => {
      const parameters = new AdapterParameters(backend, chooseModules(tinyConfig, [rule]));
      const loaded = await loadModel(backend, tinyConfig, checkWeights(tinyConfig, tensors, 'tiny'), {
        ...{ dtype: 'q8', ...parameters.wrapping },
      });
      await parameters.begin(initialValues(parameters.modules, 3));
      const options = { ...limits, loss: 'sigmoid', beta: 0.5, labelSmoothing: 0.1 } as const;
      const objective = preferenceOptimization({ ...options, reference: online ? loaded.base : undefined });
      const step = new TrainingStep(backend, { model: loaded.model, parameters, objective, optimizer });
      const reference = online ? new Float32Array(4).fill(Number.NaN) : await judgePairs(step, pairs);
      for (const { name, shape } of parameters.list) if (name.endsWith('lora_B')) parameters.write(name, sine(shape, 7));
      const batch = preferenceBatch(pairs, reference);
      const { means } = await step.accumulate(batch, 1, 5);
      const alone = await step.evaluate(preferenceBatch(pairs.slice(1), reference.subarray(2)));
      const { gradNorm } = await step.update(1e-2, 1);
      const after = await step.evaluate(batch);
      step.dispose();
      return [...[means, alone.means, after.means].flatMap((numbers) => Object.values(numbers)), gradNorm];
    };
    const [online, before] = [await run(true), await run(false)];
    expect(Math.abs(before[2])).toBeGreaterThan(0.005); // the adapter says something else than the base
    for (const [i, number] of before.entries())
      expect(Math.abs(online[i] - number)).toBeLessThan(1e-5 * Math.max(1, Math.abs(number)));
  });
});
