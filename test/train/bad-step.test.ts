// A gradient that is not finite, on every backend here: the step is passed over and leaves parameters and moments as they were,
// and the trainer names the batch that did it.

import { afterAll, describe, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import { configFromFields } from '../../src/model/config.js';
import type { TrainingBatch } from '../../src/train/language-modelling.js';
import type { ScheduleOptions } from '../../src/train/schedule.js';
import { type BatchSource, Trainer, type TrainerHooks } from '../../src/train/trainer.js';
import { stateOf, tinyFields, tinyParameters, tinyStep } from './tiny.js';

const native = nativeBackend({ threads: 2 });
const backends = [referenceBackend(), ...('backend' in native ? [native.backend] : [])];
afterAll(() => Promise.all(backends.map((backend) => backend.dispose())));

// Its embedding is not its output layer: a bad row there is bad for batches that hold its token alone.
const config = configFromFields({ ...tinyFields, share_input_output_layers: false, vocab_size: 24 }, 'untied');
const poisoned = 23;

/** The third batch holds the token. */
function source(): BatchSource<TrainingBatch> {
  let count = 0;
  return {
    async next() {
      count++;
      const tokens = Int32Array.from({ length: 6 }, (_, i) => (count === 3 && i === 2 ? poisoned : (count + i) % 20));
      const batch = { tokens, targets: tokens.map((token) => (token + 1) % 20), sequences: [[0, 6]] as const };
      return { batch, documents: [`document ${count}`], tokens: 6 };
    },
    state: () => count,
  };
}

const schedule: ScheduleOptions = {
  name: 'constant',
  maxIterations: 9,
  warmupIterations: 0,
  warmupInitLearningRate: 0,
  maxLearningRate: 1e-2,
  minLearningRate: 0,
};

describe.each(backends)('a bad step on $name', (backend) => {
  const start = () => {
    const parameters = tinyParameters(backend, config);
    parameters.write(
      'transformer.token_embeddings.weight',
      new Float32Array(24 * 16).fill(Number.NaN, poisoned * 16).fill(0.1, 0, poisoned * 16),
    );
    return { parameters, step: tinyStep(backend, parameters) };
  };

  it('changes nothing when it is passed over', async () => {
    const { parameters, step } = start();
    const states: Map<string, Uint8Array>[] = [];
    const interludes = [{ every: 1, run: async () => void states.push(await stateOf(parameters)) }];
    const skipped: boolean[] = [];
    const hooks: TrainerHooks<TrainingBatch> = { interludes, onStep: (report) => void skipped.push(report.skipped ?? false) };
    await new Trainer(step, source(), { steps: 4, accumulation: 1, schedule, skipBadSteps: true }, hooks).run();
    expect(skipped).toEqual([false, false, true, false]);
    const differing = (a: Map<string, Uint8Array>, b: Map<string, Uint8Array>): number =>
      [...a].filter(([name, bytes]) => Buffer.compare(bytes, b.get(name)!) !== 0).length;
    expect(differing(states[1], states[2])).toBe(0);
    expect(differing(states[2], states[3])).toBeGreaterThan(10);
  });

  it('ends the training otherwise, and names its documents', async () => {
    const { step } = start();
    const training = new Trainer(step, source(), { steps: 4, accumulation: 1, schedule });
    await expect(training.run()).rejects.toThrow(
      /^step 3: the loss is NaN .*its documents: document 3; there is no checkpoint yet/,
    );
  });
});
