// Micro-batches of unequal sizes, averaged, on every backend here: loss and gradient norm are those of one large batch; CoreNet's sum,
// the default, is not.

import { afterAll, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import type { TrainingBatch } from '../../src/train/language-modelling.js';
import type { ScheduleOptions } from '../../src/train/schedule.js';
import { type BatchSource, type StepReport, Trainer } from '../../src/train/trainer.js';
import { tinyParameters, tinyStep } from './tiny.js';

const native = nativeBackend({ threads: 2 });
const backends = [referenceBackend(), ...('backend' in native ? [native.backend] : [])];
afterAll(() => Promise.all(backends.map((backend) => backend.dispose())));

const tokens = Int32Array.from({ length: 10 }, (_, i) => (7 * i) % 24);
const targets = Int32Array.from(tokens, (token, i) => (i % 5 === 3 ? -1 : (token + 5) % 24));
const together: TrainingBatch = {
  tokens,
  targets,
  sequences: [
    [0, 3],
    [3, 7],
  ],
};
const apart = [
  [0, 3],
  [3, 10],
].map(([from, to]) => ({
  ...{ tokens: tokens.slice(from, to), targets: targets.slice(from, to) },
  sequences: [[0, to - from]] as const,
}));

const schedule: ScheduleOptions = {
  name: 'constant',
  maxIterations: 1,
  warmupIterations: 0,
  warmupInitLearningRate: 0,
  maxLearningRate: 0.1,
  minLearningRate: 0,
};

it.each(backends)('averages by what counts, on $name', async (backend) => {
  const stepOf = async (batches: readonly TrainingBatch[], averageAccumulated: boolean): Promise<StepReport> => {
    let next = 0;
    const source: BatchSource<TrainingBatch> = {
      next: async () => ({ batch: batches[next++], documents: [], tokens: 0 }),
      state: () => next,
    };
    const reports: StepReport[] = [];
    const options = { steps: 1, accumulation: batches.length, averageAccumulated, schedule };
    await new Trainer(tinyStep(backend, tinyParameters(backend)), source, options, {
      onStep: (report) => void reports.push(report),
    }).run();
    return reports[0];
  };
  const whole = await stepOf([together], false);
  const averaged = await stepOf(apart, true);
  expect(averaged.means.loss).toBeCloseTo(whole.means.loss, 6);
  expect(averaged.gradNorm).toBeCloseTo(whole.gradNorm, 5);
  const summed = await stepOf(apart, false);
  expect(summed.gradNorm).toBeGreaterThan(1.2 * whole.gradNorm);
});
