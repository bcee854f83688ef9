// The one trainer: takes batches from a source, runs an objective on them step by step, and says what happened through
// callbacks. It reads losses one step late, so that the device has the next step queued while this one's numbers travel. What a
// step computes is `step.ts`; what a checkpoint holds is `checkpoint.ts`; nothing here prints, opens files or knows a format.

import { InputError } from '../errors.js';
import { countParameters, type ModelConfig } from '../model/config.js';
import { learningRate, type ScheduleOptions } from './schedule.js';
import type { Loss, Update } from './step.js';

/** Micro-batches one after another, without end. What `state` returns (JSON) is what a source goes on from after the last `next`. */
export interface BatchSource<Batch> {
  next(): Promise<SourcedBatch<Batch>>;
  state(): unknown;
}

/** A batch, and names of the documents that are in it, for messages. */
export interface SourcedBatch<Batch> {
  readonly batch: Batch;
  readonly documents: readonly string[];
  /** Tokens that are computed, padding included. */
  readonly tokens: number;
}

/** What is trained: `TrainingStep` for language modelling. Calls are queued in order, so none need be awaited before the next. */
export interface Objective<Batch> {
  /** Adds `weight` times the gradient of a batch. */
  accumulate(batch: Batch, weight?: number): Promise<Loss>;
  evaluate(batch: Batch): Promise<Loss>;
  /** Takes the `step`th step (from 1) with what was added up, and forgets it; does nothing else when it is not finite. */
  update(learningRate: number, step: number): Promise<Update>;
}

export interface TrainerOptions {
  /** Where to stop: the number of the last step, counted from 1. */
  readonly steps: number;
  readonly schedule: ScheduleOptions;
  /** Micro-batches in a step. */
  readonly accumulation: number;
  /** Whether gradients of micro-batches are averaged; CoreNet adds them up (its losses are not divided by their number). */
  readonly averageAccumulated?: boolean;
  /** Passes over steps whose gradient is not finite instead of stopping; parameters and moments stay as they were. */
  readonly skipBadSteps?: boolean;
  /** For MFU: `flopsPerToken` of the model, and operations a second of this machine. */
  readonly flopsPerToken?: number;
  readonly peakFlops?: number;
}

/** Where training stands: what has to be kept to go on, besides parameters and moments. */
export interface Progress {
  /** Steps done. */
  readonly step: number;
  readonly tokens: number;
  /** The source's state after those steps. */
  readonly data: unknown;
}

/** What a step did. Losses are means over the tokens of its micro-batches. */
export interface StepReport {
  /** From 1. */
  readonly step: number;
  readonly loss: number;
  readonly crossEntropy: number;
  readonly zLoss: number;
  readonly learningRate: number;
  /** Before clipping. */
  readonly gradNorm: number;
  /** Tokens seen since the beginning of training, padding included. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
  /** Model FLOPs utilisation from 0 to 1; undefined where the peak is not known. */
  readonly mfu?: number;
  /** To the last step, at the pace of this run so far. */
  readonly secondsLeft: number;
  /** The gradient was not finite and the step was passed over. */
  readonly skipped?: boolean;
}

export interface ValidationReport {
  readonly step: number;
  /** Means over all tokens of the validation batches. */
  readonly loss: number;
  readonly crossEntropy: number;
  /** exp(crossEntropy). */
  readonly perplexity: number;
  readonly tokens: number;
}

/** What happens around the steps. All of it is awaited, and nothing is queued on the device meanwhile. */
export interface TrainerHooks<Batch> {
  onStep?(report: StepReport): void | Promise<void>;
  onValidation?(report: ValidationReport): void | Promise<void>;
  /** Called right after a step was queued, before the next one: reads queued here see the parameters as that step left them. */
  onUpdate?(step: number): void;
  readonly validation?: { readonly every: number; batches(): AsyncIterable<Batch> | Iterable<Batch> };
  /** Things done now and then (samples of text, evaluations), and at the last step. */
  readonly interludes?: readonly { readonly every: number; run(step: number): Promise<void> }[];
  /** Keeps a checkpoint and returns its name; also done at the last step and when `signal` aborts. */
  readonly checkpoints?: { readonly every: number; save(progress: Progress): Promise<string> };
  /** Ends training after the steps that are queued, with a checkpoint. */
  readonly signal?: AbortSignal;
}

export interface TrainingResult {
  readonly step: number;
  readonly tokens: number;
  /** Ended by the signal. */
  readonly interrupted: boolean;
}

/** A step that was queued. */
interface Pending {
  readonly step: number;
  readonly learningRate: number;
  readonly batchTokens: number;
  readonly documents: readonly string[];
  readonly losses: Promise<readonly Loss[]>;
  readonly update: Promise<Update>;
}

export class Trainer<Batch> {
  private step: number;
  private tokens: number;
  private settledTokens: number;
  private settledAt = 0;
  private begunAt = 0;
  private readonly firstStep: number;
  private lastCheckpoint?: string;

  /** `from`: where a checkpoint left off, and its name; the source must have been made from its `data`. */
  constructor(
    private readonly objective: Objective<Batch>,
    private readonly source: BatchSource<Batch>,
    private readonly options: TrainerOptions,
    private readonly hooks: TrainerHooks<Batch> = {},
    from?: Pick<Progress, 'step' | 'tokens'> & { readonly checkpoint?: string },
  ) {
    this.step = from?.step ?? 0;
    this.firstStep = this.step;
    this.tokens = from?.tokens ?? 0;
    this.settledTokens = this.tokens;
    this.lastCheckpoint = from?.checkpoint;
  }

  /**
   * Trains up to the last step, or until the signal aborts. Throws `InputError` when a loss or gradient norm is not finite (it
   * names the step, the documents and the last checkpoint), and whatever the source, the device or a hook throws.
   */
  async run(): Promise<TrainingResult> {
    const { signal } = this.hooks;
    const queued: Pending[] = [];
    const settleAll = async (): Promise<void> => {
      while (queued.length > 0) await this.settle(queued.shift()!);
    };
    this.begunAt = this.settledAt = performance.now();
    let saved = this.step;
    try {
      while (this.step < this.options.steps && !signal?.aborted) {
        queued.push(await this.enqueue());
        if (queued.length > 1) await this.settle(queued.shift()!);
        if (!this.restsAfter(this.step)) continue;
        await settleAll();
        await this.pause();
        if (this.due(this.hooks.checkpoints?.every)) saved = await this.save();
        this.settledAt = performance.now();
      }
      await settleAll();
      if (this.hooks.checkpoints && saved !== this.step) await this.save();
    } finally {
      // After a failure: what is still queued may fail too, and nobody else listens.
      for (const { losses, update } of queued) await Promise.allSettled([losses, update]);
    }
    return { step: this.step, tokens: this.tokens, interrupted: this.step < this.options.steps };
  }

  private async enqueue(): Promise<Pending> {
    const { accumulation, averageAccumulated, schedule } = this.options;
    const weight = averageAccumulated ? 1 / accumulation : 1;
    const batches: SourcedBatch<Batch>[] = [];
    const queued: Promise<Loss>[] = [];
    for (let i = 0; i < accumulation; i++) {
      const next = await this.source.next();
      batches.push(next);
      queued.push(this.objective.accumulate(next.batch, weight));
      queued[i].catch(() => {}); // awaited a step later; a failure until then is no unhandled one
    }
    const losses = Promise.all(queued);
    const rate = learningRate(schedule, this.step);
    const step = ++this.step;
    const update = this.objective.update(rate, step);
    for (const promise of [losses, update]) promise.catch(() => {});
    this.hooks.onUpdate?.(step);
    const batchTokens = batches.reduce((sum, { tokens }) => sum + tokens, 0);
    this.tokens += batchTokens;
    return { step, learningRate: rate, batchTokens, documents: batches.flatMap(({ documents }) => documents), losses, update };
  }

  private async settle({ step, learningRate: rate, batchTokens, documents, ...pending }: Pending): Promise<void> {
    const [losses, { gradNorm, finite }] = await Promise.all([pending.losses, pending.update]);
    const loss = meanLoss(losses);
    if (!finite || !Number.isFinite(loss.total)) {
      // A gradient that is finite was applied, whatever the loss says: that cannot be passed over.
      if (finite || !this.options.skipBadSteps) throw this.badStep(step, loss.total, gradNorm, documents);
    }
    const now = performance.now();
    const tokensPerSecond = batchTokens / Math.max(1e-9, (now - this.settledAt) / 1000);
    this.settledAt = now;
    this.settledTokens += batchTokens;
    const { flopsPerToken, peakFlops } = this.options;
    await this.hooks.onStep?.({
      step,
      loss: loss.total,
      crossEntropy: loss.crossEntropy,
      zLoss: loss.zLoss,
      learningRate: rate,
      gradNorm,
      tokens: this.settledTokens,
      tokensPerSecond,
      secondsLeft: ((now - this.begunAt) / 1000 / (step - this.firstStep)) * (this.options.steps - step),
      ...(flopsPerToken && peakFlops ? { mfu: (flopsPerToken * tokensPerSecond) / peakFlops } : {}),
      ...(finite ? {} : { skipped: true }),
    });
  }

  private badStep(step: number, loss: number, gradNorm: number, documents: readonly string[]): InputError {
    const shown = documents.slice(0, 20).join(', ') + (documents.length > 20 ? `, and ${documents.length - 20} more` : '');
    const last = this.lastCheckpoint ? `the last good checkpoint is ${this.lastCheckpoint}` : 'there is no checkpoint yet';
    return new InputError(
      `step ${step}: the loss is ${loss} and the gradient's norm ${gradNorm}; its documents: ${shown || 'none'}; ${last}; ` +
        'lower the learning rate, or pass over such steps (skip_bad_steps)',
    );
  }

  private due(every: number | undefined): boolean {
    return every !== undefined && every > 0 && this.step % every === 0;
  }

  /** Whether something is to be done before the next step is queued. */
  private restsAfter(step: number): boolean {
    const { validation, interludes = [], checkpoints } = this.hooks;
    return step === this.options.steps || [validation, checkpoints, ...interludes].some((hook) => this.due(hook?.every));
  }

  private async pause(): Promise<void> {
    const { validation, interludes = [], onValidation } = this.hooks;
    const last = this.step === this.options.steps;
    if (validation && (last || this.due(validation.every))) {
      await onValidation?.(await validate(this.objective, validation.batches(), this.step));
    }
    for (const { every, run } of interludes) if (last || this.due(every)) await run(this.step);
  }

  private async save(): Promise<number> {
    const { step, tokens } = this;
    this.lastCheckpoint = await this.hooks.checkpoints!.save({ step, tokens, data: this.source.state() });
    return step;
  }
}

/** The mean over all tokens of the batches. */
export async function validate<Batch>(
  objective: Pick<Objective<Batch>, 'evaluate'>,
  batches: AsyncIterable<Batch> | Iterable<Batch>,
  step: number,
): Promise<ValidationReport> {
  const losses: Loss[] = [];
  for await (const batch of batches) losses.push(await objective.evaluate(batch));
  const { total, crossEntropy, validTokens } = meanLoss(losses);
  return { step, loss: total, crossEntropy, perplexity: Math.exp(crossEntropy), tokens: validTokens };
}

/** Means weighted by the tokens that counted. */
function meanLoss(losses: readonly Loss[]): Loss {
  const validTokens = losses.reduce((sum, loss) => sum + loss.validTokens, 0);
  const mean = (of: (loss: Loss) => number): number =>
    losses.length === 1
      ? of(losses[0])
      : losses.reduce((sum, loss) => sum + of(loss) * loss.validTokens, 0) / Math.max(1, validTokens);
  return {
    total: mean(({ total }) => total),
    crossEntropy: mean(({ crossEntropy }) => crossEntropy),
    zLoss: mean(({ zLoss }) => zLoss),
    validTokens,
  };
}

/**
 * Floating-point operations of training on one token in rows of `length`: 6 for each parameter that is multiplied with (an
 * embedding that is only looked up does not count, a tied one counts as the head), and those of causal attention.
 */
export function flopsPerToken(config: ModelConfig, length: number): number {
  const lookedUp = config.tieEmbeddings ? 0 : config.vocabSize * config.modelDim;
  const attention = config.layers.reduce((sum, { queryHeads, headDim }) => sum + queryHeads * headDim * length, 0);
  return 6 * (countParameters(config) - lookedUp) + 6 * attention;
}
