// The one trainer: takes batches from a source, learns from them step by step, and says what happened through callbacks. It
// reads losses one step late, so that the device has the next step queued while this one's numbers travel. What a step
// computes is `step.ts` with an objective; what a checkpoint holds is `checkpoint.ts`; nothing here prints, opens files or knows a format.

import { InputError } from '../errors.js';
import { countParameters, type ModelConfig } from '../model/config.js';
import { alone, type Collective } from './collective.js';
import { type Means, meanReport, type Report } from './objective.js';
import type { Update } from './optimizer.js';
import { learningRate, type ScheduleOptions } from './schedule.js';

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

/** What learns: a `TrainingStep` with an objective. Calls are queued in order, so none need be awaited before the next. */
export interface Learner<Batch> {
  /** How many things of a batch count in its mean loss. */
  count(batch: Batch): number;
  /** Adds `weight` times the gradient of a batch's mean loss. `draw`: the number of the batch since the beginning, for dropout. */
  accumulate(batch: Batch, weight?: number, draw?: number): Promise<Report>;
  evaluate(batch: Batch): Promise<Report>;
  /** Where several processes train together: adds up what all of them did, before `update`. */
  combine?(): Promise<void>;
  /** Takes the `step`th step (from 1) with what was added up, and forgets it; does nothing else when it is not finite. */
  update(learningRate: number, step: number): Promise<Update>;
  /** Where several processes train together: resolves when the parameters are whole after `update`, before anything reads them. */
  publish?(step: number): Promise<void>;
  /** Seconds that were waited for other processes with nothing to compute, since the beginning. */
  readonly waited?: number;
}

/** How long to train, and how a step is put together. */
export interface TrainerOptions {
  /** Where to stop: the number of the last step, counted from 1. */
  readonly steps: number;
  readonly schedule: ScheduleOptions;
  /** Micro-batches in a step. */
  readonly accumulation: number;
  /**
   * Whether the loss is the mean over all that counts in a step's micro-batches, as if they were one batch; CoreNet adds their
   * means up (it does not divide them by their number).
   */
  readonly averageAccumulated?: boolean;
  /** Passes over steps whose gradient is not finite instead of stopping; parameters and moments stay as they were. */
  readonly skipBadSteps?: boolean;
  /** For MFU: `flopsPerToken` of the model, and operations a second of this machine. */
  readonly flopsPerToken?: number;
  readonly peakFlops?: number;
  /** The processes that train together, each on its part of every batch; default: this one alone. */
  readonly collective?: Collective;
  /** Whether they take the same steps, with one gradient, whose norm must be the same; default true. */
  readonly alike?: boolean;
}

/** Where training stands: what has to be kept to go on, besides parameters and moments. */
export interface Progress {
  /** Steps done. */
  readonly step: number;
  readonly tokens: number;
  /** The source's state after those steps. */
  readonly data: unknown;
}

/** What a step did. */
export interface StepReport {
  /** From 1. */
  readonly step: number;
  /** The objective's numbers: means over all that counted in its micro-batches. */
  readonly means: Means;
  readonly learningRate: number;
  /** Before clipping. */
  readonly gradNorm: number;
  /** Tokens seen since the beginning of training, padding included. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
  /** The share of this process's time that went by waiting for the others; undefined for one alone. */
  readonly communication?: number;
  /** Bytes that this process has sent to others since it was started; undefined for one alone. */
  readonly sentBytes?: number;
  /** Model FLOPs utilisation from 0 to 1; undefined where the peak is not known. */
  readonly mfu?: number;
  /** To the last step, at the pace of this run so far. */
  readonly secondsLeft: number;
  /** The gradient was not finite and the step was passed over. */
  readonly skipped?: boolean;
}

/** What validation found. */
export interface ValidationReport {
  readonly step: number;
  /** The objective's numbers: means over all that counted in the validation batches. */
  readonly means: Means;
  /** How many things counted. */
  readonly count: number;
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
  /**
   * Keeps a checkpoint and returns its name; also done at the last step, when `signal` aborts, and after a step for which `asked` says
   * so (asked once a step; of processes that train together all must say the same).
   */
  readonly checkpoints?: { readonly every: number; asked?(): boolean; save(progress: Progress): Promise<string> };
  /** Ends training after the steps that are queued, with a checkpoint. */
  readonly signal?: AbortSignal;
}

/** Where training ended. */
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
  readonly reports: Promise<readonly Report[]>;
  readonly update: Promise<Update>;
  /** When it was done. */
  readonly at: Promise<number>;
}

/** Walks a learner through the batches of a source, and tells what happens. */
export class Trainer<Batch> {
  private step: number;
  private tokens: number;
  private settledTokens: number;
  private settledAt = 0;
  private begunAt = 0;
  private readonly firstStep: number;
  private lastCheckpoint?: string;
  private readonly collective: Collective;
  /** Some process was asked to stop; all hear of it with the same step. */
  private stopping = false;
  private waitedBefore = 0;

  /** `from`: where a checkpoint left off, and its name; the source must have been made from its `data`. */
  constructor(
    private readonly learner: Learner<Batch>,
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
    this.collective = options.collective ?? alone;
  }

  /**
   * Trains up to the last step, or until the signal aborts. Throws `InputError` when a loss or gradient norm is not finite (it
   * names the step, the documents and the last checkpoint), and whatever the source, the device or a hook throws.
   */
  async run(): Promise<TrainingResult> {
    const queued: Pending[] = [];
    const settleAll = async (): Promise<void> => {
      while (queued.length > 0) await this.settle(queued.shift()!);
    };
    this.begunAt = this.settledAt = performance.now();
    let saved = this.step;
    try {
      while (this.step < this.options.steps && !this.stops()) {
        queued.push(await this.enqueue());
        if (queued.length > 1) await this.settle(queued.shift()!);
        const asked = this.hooks.checkpoints?.asked?.() === true;
        if (!asked && !this.restsAfter(this.step)) continue;
        await settleAll();
        await this.pause();
        if (asked || this.due(this.hooks.checkpoints?.every)) saved = await this.save();
        this.settledAt = performance.now();
      }
      await settleAll();
      if (this.hooks.checkpoints && saved !== this.step) await this.save();
    } finally {
      // After a failure: what is still queued may fail too, and nobody else listens.
      for (const { reports, update } of queued) await Promise.allSettled([reports, update]);
    }
    return { step: this.step, tokens: this.tokens, interrupted: this.step < this.options.steps };
  }

  private stops(): boolean {
    return this.collective.size > 1 ? this.stopping : this.hooks.signal?.aborted === true;
  }

  private async enqueue(): Promise<Pending> {
    const { accumulation, averageAccumulated, schedule } = this.options;
    const { learner, collective } = this;
    const batches: SourcedBatch<Batch>[] = [];
    for (let i = 0; i < accumulation; i++) batches.push(await this.source.next());
    const counts = batches.map(({ batch }) => learner.count(batch));
    const ownTokens = batches.reduce((sum, { tokens }) => sum + tokens, 0);
    // A micro-batch is what all processes have of it; its mean is over what counts in all of them.
    const told = await collective.gather([this.hooks.signal?.aborted ? 1 : 0, ownTokens, ...counts]);
    const [stops, batchTokens, ...totals] = told[0].map((_, i) => told.reduce((sum, values) => sum + values[i], 0));
    this.stopping = stops > 0;
    const counted = this.options.alike === false ? counts : totals;
    const total = counted.reduce((sum, count) => sum + count, 0);
    const weightOf = (i: number): number => {
      if (averageAccumulated) return counts[i] / Math.max(1, total);
      return counted[i] > 0 ? counts[i] / counted[i] : 1;
    };
    const first = this.step * accumulation;
    // Processes drop differently out of their parts of a batch. One may have none of a batch that does not go round.
    const drawOf = (i: number): number => ((first + i) * collective.size + collective.rank) % 2 ** 31;
    const reports = Promise.all(
      batches.flatMap(({ batch, tokens }, i) =>
        tokens > 0 || collective.size === 1 ? [learner.accumulate(batch, weightOf(i), drawOf(i))] : [],
      ),
    );
    reports.catch(() => {}); // awaited a step later; a failure until then is no unhandled one
    const rate = learningRate(schedule, this.step);
    const step = ++this.step;
    await learner.combine?.();
    const update = learner.update(rate, step);
    const at = update.then(() => performance.now());
    at.catch(() => {});
    await learner.publish?.(step);
    this.hooks.onUpdate?.(step);
    this.tokens += batchTokens;
    return {
      step,
      learningRate: rate,
      batchTokens,
      documents: batches.flatMap(({ documents }) => documents),
      reports,
      update,
      at,
    };
  }

  private async settle({ step, learningRate: rate, batchTokens, documents, ...pending }: Pending): Promise<void> {
    const { collective, learner } = this;
    const [own, { gradNorm, finite }] = await Promise.all([pending.reports, pending.update]);
    const { means } = meanReport(await gatherReports(collective, own));
    if (this.options.alike !== false) await this.compareNorms(step, gradNorm);
    if (!finite || !Number.isFinite(means.loss)) {
      // A gradient that is finite was applied, whatever the loss says: that cannot be passed over.
      if (finite || !this.options.skipBadSteps) throw this.badStep(step, means.loss, gradNorm, documents);
    }
    const now = await pending.at;
    const tokensPerSecond = batchTokens / Math.max(1e-9, (now - this.settledAt) / 1000);
    const waited = learner.waited ?? 0;
    const communication = (waited - this.waitedBefore) / Math.max(1e-9, (now - this.settledAt) / 1000);
    this.waitedBefore = waited;
    this.settledAt = now;
    this.settledTokens += batchTokens;
    const { flopsPerToken, peakFlops } = this.options;
    await this.hooks.onStep?.({
      step,
      means,
      learningRate: rate,
      gradNorm,
      tokens: this.settledTokens,
      tokensPerSecond,
      ...(collective.size > 1 ? { communication: Math.min(1, communication), sentBytes: collective.traffic.bytes } : {}),
      secondsLeft: ((now - this.begunAt) / 1000 / (step - this.firstStep)) * (this.options.steps - step),
      ...(flopsPerToken && peakFlops ? { mfu: (flopsPerToken * tokensPerSecond) / (peakFlops * collective.size) } : {}),
      ...(finite ? {} : { skipped: true }),
    });
  }

  /** Processes that took other steps would be no one model any more. */
  private async compareNorms(step: number, gradNorm: number): Promise<void> {
    if (this.collective.size === 1) return;
    const norms = (await this.collective.gather([gradNorm])).map(([norm]) => norm);
    const other = norms.findIndex((norm) => !Object.is(norm, norms[0]));
    if (other < 0) return;
    throw new InputError(
      `step ${step}: the gradient's norm is ${norms[other]} on rank ${other}, but ${norms[0]} on rank 0: one of them computes or hears wrongly; ` +
        `look at its machine, and go on from ${this.lastCheckpoint ?? 'the beginning'}`,
    );
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
      await onValidation?.(await validate(this.learner, validation.batches(), this.step, this.collective));
    }
    for (const { every, run } of interludes) if (last || this.due(every)) await run(this.step);
  }

  private async save(): Promise<number> {
    const { step, tokens } = this;
    this.lastCheckpoint = await this.hooks.checkpoints!.save({ step, tokens, data: this.source.state() });
    return step;
  }
}

/** The means over all that counts in the batches, which the processes share out; they must see the same ones. */
export async function validate<Batch>(
  learner: Pick<Learner<Batch>, 'evaluate'>,
  batches: AsyncIterable<Batch> | Iterable<Batch>,
  step: number,
  collective: Collective = alone,
): Promise<ValidationReport> {
  const { rank, size } = collective;
  const own: Report[] = [];
  let at = 0;
  for await (const batch of batches) if (at++ % size === rank) own.push(await learner.evaluate(batch));
  const all = await gatherReports(collective, own);
  // From the processes' order to that of the batches.
  const of = (r: number): number => Math.ceil((at - r) / size);
  const firsts = Array.from({ length: size }, (_, r) => Array.from({ length: r }, (_, q) => of(q)).reduce((a, b) => a + b, 0));
  const ordered = Array.from({ length: at }, (_, i) => all[firsts[i % size] + Math.floor(i / size)]);
  return { step, ...meanReport(ordered) };
}

/** The reports of all processes, by rank. */
async function gatherReports(collective: Collective, own: readonly Report[]): Promise<readonly Report[]> {
  if (collective.size === 1) return own;
  const texts = await collective.gatherTexts(JSON.stringify(own));
  // JSON has no NaN: it comes as null.
  return texts.flatMap((text) => JSON.parse(text, (_, value) => (value === null ? Number.NaN : value)) as Report[]);
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
