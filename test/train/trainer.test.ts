// The trainer's loop over a made-up learner: order, accumulation, what is reported when, and how it ends. What a step computes
// is judged by golden numbers elsewhere.

import { describe, expect, it } from 'vitest';
import { configFromName } from '../../src/model/config.js';
import type { Report } from '../../src/train/objective.js';
import type { Update } from '../../src/train/optimizer.js';
import {
  type BatchSource,
  flopsPerToken,
  type Learner,
  type Progress,
  type StepReport,
  Trainer,
  type TrainerHooks,
  type TrainerOptions,
} from '../../src/train/trainer.js';

/** Batch n is the number n, its document `d<n>`. */
function countingSource(from = 0): BatchSource<number> {
  let next = from;
  return {
    next: async () => ({ batch: next, documents: [`d${next++}`], tokens: 10 }),
    state: () => next,
  };
}

/** Says what it is asked to do; answers later, and wrongly for the batches in `bad`. */
class FakeLearner implements Learner<number> {
  readonly calls: string[] = [];
  private sum = 0;

  constructor(private readonly bad: readonly number[] = []) {}

  count(batch: number): number {
    return batch % 2 === 0 ? 10 : 30;
  }

  async accumulate(batch: number, weight = 1): Promise<Report> {
    this.calls.push(`accumulate ${batch} ${weight}`);
    this.sum += this.bad.includes(batch) ? Number.NaN : weight;
    const loss = this.bad.includes(batch) ? Number.NaN : batch;
    await new Promise((resolve) => setTimeout(resolve, 1));
    return { count: this.count(batch), means: { loss, half: loss / 2 } };
  }

  async evaluate(batch: number): Promise<Report> {
    this.calls.push(`evaluate ${batch}`);
    return { count: 10, means: { loss: batch } };
  }

  async update(rate: number, step: number): Promise<Update> {
    this.calls.push(`update ${step} ${rate}`);
    const gradNorm = this.sum;
    this.sum = 0;
    return { gradNorm, finite: Number.isFinite(gradNorm) };
  }
}

const schedule = {
  name: 'constant',
  maxIterations: 100,
  warmupIterations: 0,
  warmupInitLearningRate: 0,
  maxLearningRate: 0.5,
  minLearningRate: 0,
} as const;

interface Trained {
  readonly learner: FakeLearner;
  readonly reports: StepReport[];
  readonly trainer: Trainer<number>;
}

function trainer(
  options: Partial<TrainerOptions> & { bad?: number[] },
  hooks: TrainerHooks<number> = {},
  from?: ConstructorParameters<typeof Trainer>[4],
): Trained {
  const learner = new FakeLearner(options.bad);
  const reports: StepReport[] = [];
  const all = { steps: 4, schedule, accumulation: 1, ...options };
  const listening = {
    ...hooks,
    onStep: (report: StepReport) => {
      reports.push(report);
      return hooks.onStep?.(report);
    },
  };
  return { learner, reports, trainer: new Trainer(learner, countingSource(), all, listening, from) };
}

describe('Trainer', () => {
  it('takes steps of several micro-batches, undivided', async () => {
    const { learner, reports, trainer: t } = trainer({ steps: 2, accumulation: 2 });
    expect(await t.run()).toEqual({ step: 2, tokens: 40, interrupted: false });
    expect(learner.calls).toEqual([
      'accumulate 0 1',
      'accumulate 1 1',
      'update 1 0.5',
      'accumulate 2 1',
      'accumulate 3 1',
      'update 2 0.5',
    ]);
    const means = (loss: number) => ({ loss, half: loss / 2 });
    expect(reports.map(({ step, means, gradNorm, tokens }) => ({ step, means, gradNorm, tokens }))).toEqual([
      { step: 1, means: means((0 * 10 + 1 * 30) / 40), gradNorm: 2, tokens: 20 },
      { step: 2, means: means((2 * 10 + 3 * 30) / 40), gradNorm: 2, tokens: 40 },
    ]);
  });

  it('averages micro-batches by what counts in them when asked to', async () => {
    const { learner, reports, trainer: t } = trainer({ steps: 1, accumulation: 4, averageAccumulated: true });
    await t.run();
    expect(learner.calls.slice(0, 4)).toEqual([0.125, 0.375, 0.125, 0.375].map((weight, i) => `accumulate ${i} ${weight}`));
    expect(reports[0].gradNorm).toBe(1);
  });

  it('queues a step before it reads the one before', async () => {
    const order: string[] = [];
    const onStep = ({ step }: StepReport): void => void order.push(`read ${step}`);
    const { trainer: t } = trainer({ steps: 3 }, { onUpdate: (step) => order.push(`queued ${step}`), onStep });
    await t.run();
    expect(order).toEqual(['queued 1', 'queued 2', 'read 1', 'queued 3', 'read 2', 'read 3']);
  });

  it('validates, interrupts for other things and saves when they are due, with nothing queued', async () => {
    const order: string[] = [];
    const saved: Progress[] = [];
    const { learner, trainer: t } = trainer(
      { steps: 5 },
      {
        validation: { every: 2, batches: () => [7, 9] },
        onValidation: ({ step, means, count }) => void order.push(`validated ${step} ${means.loss} ${count}`),
        interludes: [{ every: 4, run: async (step) => void order.push(`interlude ${step}`) }],
        checkpoints: { every: 3, save: async (progress) => `c${saved.push(progress)}` },
        onUpdate: (step) => order.push(`queued ${step}`),
      },
    );
    await t.run();
    expect(order).toEqual([
      'queued 1',
      'queued 2',
      'validated 2 8 20',
      'queued 3',
      'queued 4',
      'validated 4 8 20',
      'interlude 4',
      'queued 5',
      'validated 5 8 20',
      'interlude 5',
    ]);
    expect(saved).toEqual([
      { step: 3, tokens: 30, data: 3 },
      { step: 5, tokens: 50, data: 5 },
    ]);
    expect(learner.calls.filter((call) => call.startsWith('evaluate'))).toHaveLength(6);
  });

  it('stops at a loss that is no number, naming step, documents and the last checkpoint', async () => {
    const save = async ({ step }: Progress) => `runs/step-${step}`;
    const before = trainer({ steps: 9, bad: [2] }, { checkpoints: { every: 5, save } });
    await expect(before.trainer.run()).rejects.toThrow(
      "step 3: the loss is NaN and the gradient's norm NaN; its documents: d2; there is no checkpoint yet",
    );
    const after = trainer({ steps: 20, accumulation: 2, bad: [15] }, { checkpoints: { every: 5, save } });
    await expect(after.trainer.run()).rejects.toThrow(/step 8: .*documents: d14, d15; the last good checkpoint is runs\/step-5;/);
    const resumed = trainer({ steps: 9, bad: [1] }, {}, { step: 6, tokens: 60, checkpoint: 'runs/step-6' });
    await expect(resumed.trainer.run()).rejects.toThrow(/step 8: .* the last good checkpoint is runs\/step-6;/);
  });

  it('passes over bad steps when asked to', async () => {
    const { reports, trainer: t } = trainer({ steps: 4, bad: [2], skipBadSteps: true });
    expect((await t.run()).step).toBe(4);
    expect(reports.map(({ skipped }) => skipped ?? false)).toEqual([false, false, true, false]);
  });

  it('does not pass over a bad loss that was learned from', async () => {
    const { learner, trainer: t } = trainer({ steps: 4, bad: [2], skipBadSteps: true });
    learner.update = async () => ({ gradNorm: 1, finite: true });
    await expect(t.run()).rejects.toThrow(/step 3: the loss is NaN and the gradient's norm 1;/);
  });

  it('ends with a checkpoint when it is told to', async () => {
    const controller = new AbortController();
    const saved: Progress[] = [];
    const { trainer: t } = trainer(
      { steps: 100 },
      {
        signal: controller.signal,
        onUpdate: (step) => step === 7 && controller.abort(),
        checkpoints: { every: 50, save: async (progress) => `c${saved.push(progress)}` },
      },
    );
    expect(await t.run()).toEqual({ step: 7, tokens: 70, interrupted: true });
    expect(saved).toEqual([{ step: 7, tokens: 70, data: 7 }]);
  });

  it('passes on what the device fails with, and leaves nothing unhandled', async () => {
    const { learner, trainer: t } = trainer({ steps: 9 });
    learner.update = async (_, step) => {
      if (step >= 2) throw new Error(`device lost at ${step}`);
      return { gradNorm: 1, finite: true };
    };
    await expect(t.run()).rejects.toThrow('device lost at 2');
  });

  it('tells how busy the machine is', async () => {
    const { reports, trainer: t } = trainer({ steps: 2, flopsPerToken: 100, peakFlops: 1e9 });
    await t.run();
    expect(reports[1].mfu).toBeCloseTo((reports[1].tokensPerSecond * 100) / 1e9, 12);
  });
});

describe('flopsPerToken', () => {
  it('counts the head once and attention by length', () => {
    const config = configFromName('OpenELM-270M');
    const heads = config.layers.reduce((sum, { queryHeads }) => sum + queryHeads, 0);
    expect(flopsPerToken(config, 0)).toBe(6 * 271_527_168);
    expect(flopsPerToken(config, 512) - flopsPerToken(config, 0)).toBe(6 * heads * 64 * 512);
  });

  it('leaves out an embedding that is only looked up', () => {
    const tied = configFromName('OpenELM-270M');
    const untied = configFromName('OpenELM-270M', { share_input_output_layers: false });
    expect(flopsPerToken(untied, 128)).toBe(flopsPerToken(tied, 128));
  });
});
