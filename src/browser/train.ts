// Pretraining on one text, as a page does it: a tokenizer learned from the text or given, a small model of a shape of one's own, and
// the trainer on windows of the text, with samples and checkpoints on the way. The same on any backend; corpora, mixtures and many
// processes are Node's (data/, app/pretrain.ts), what is kept between visits is training-store.ts's.

import { counted, InputError } from '../errors.js';
import { Engine } from '../infer/engine.js';
import { TextModel } from '../infer/text.js';
import type { NamedBytes } from '../io/bytes.js';
import type { ModelConfig } from '../model/config.js';
import { whole, writeModel } from '../model/write.js';
import type { Backend } from '../tensor/backend.js';
import { ExecutionError } from '../tensor/execution.js';
import { tokenizerFromModel } from '../tokenizer/sentencepiece.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { readState, writeCheckpoint } from '../train/checkpoint.js';
import { languageModelling, type TrainingBatch } from '../train/language-modelling.js';
import { ModelParameters } from '../train/parameters.js';
import { TrainingStep } from '../train/step.js';
import { Trainer, type TrainerHooks } from '../train/trainer.js';
import type { NamedBlob } from './model-files.js';
import { idsOf, learnTokenizer, Windows } from './training-data.js';
import { checkOptions, configOf, type TrainEvents, type TrainOptions } from './training-options.js';
import { type StoredCheckpoint, type TrainingHistory, type TrainingJob, TrainingStore } from './training-store.js';

export interface Keeping {
  readonly store: TrainingStore;
  /** What it is called there. */
  readonly name: string;
  /** Seconds between checkpoints; default 30. */
  readonly saveEvery?: number;
  /** Asked after each step whether to keep a checkpoint now. */
  readonly asked?: () => boolean;
}

export interface TrainResult {
  readonly steps: number;
  readonly interrupted: boolean;
  readonly config: ModelConfig;
  /** The model as Hugging Face lays it out: config.json, model.safetensors in f32, tokenizer.model. */
  readonly files: readonly NamedBytes[];
  /** Where the last checkpoint could not be kept: all that is needed to go on. */
  readonly checkpoint?: readonly NamedBlob[];
}

type Events = TrainEvents & { readonly signal?: AbortSignal };

const optimizer = { maxGradNorm: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };

/**
 * Trains until the steps are done or the signal aborts; either way the model is whole, and what goes on from there is kept. Throws
 * `InputError` for a text that is too short, and where memory is.
 */
export async function trainOn(
  backend: Backend,
  { text, tokenizer: given, ...options }: TrainOptions,
  events: Events = {},
  keeping?: Keeping,
): Promise<TrainResult> {
  checkOptions(options);
  if (await keeping?.store.job()) {
    throw new InputError(`a training called ${keeping!.name} is kept here already: continue it, remove it, or take another name`);
  }
  const read = typeof text === 'string' ? text : await text.text();
  events.onPhase?.('tokenizer');
  const tokenizer = given ?? learnTokenizer(read, options.vocabSize ?? 1024);
  const job = { name: keeping?.name ?? '', options, begun: Date.now() };
  const run = new Run(backend, job, read, tokenizer, events, keeping);
  await run.keep();
  return run.train();
}

/** Goes on where a kept training stands, to the bit as if it had not been interrupted. Throws `InputError` where there is none. */
export async function continueOn(backend: Backend, events: Events, keeping: Keeping): Promise<TrainResult> {
  const { store, name } = keeping;
  const job = await store.job();
  if (!job) throw new InputError(`no training called ${name} is kept here: begin one`);
  checkOptions(job.options);
  const { text, tokenizer } = await store.material();
  const from = await store.newest();
  return new Run(backend, job, text, tokenizer, events, keeping).train(from, await store.history());
}

class Run {
  private readonly tokenizer: Tokenizer;
  private readonly config: ModelConfig;
  private history: TrainingHistory = { losses: [], validations: [], samples: [] };
  /** Where checkpoints go when there is no room where they should. */
  private refuge?: TrainingStore;
  private savedAt = performance.now();

  constructor(
    private readonly backend: Backend,
    private readonly job: TrainingJob,
    private readonly text: string,
    private readonly tokenizerBytes: Uint8Array,
    private readonly events: Events,
    private readonly keeping?: Keeping,
  ) {
    this.tokenizer = tokenizerFromModel(tokenizerBytes, 'tokenizer.model');
    this.config = configOf(job.options.shape, this.tokenizer.vocabSize, job.options.length ?? 128);
  }

  async train(from?: StoredCheckpoint, history = this.history): Promise<TrainResult> {
    this.history = history;
    const { backend, config, events } = this;
    const { options } = this.job;
    const { steps, batch = 8, length = 128, learningRate = 3e-3, seed = 0, validation } = options;
    events.onPhase?.('text');
    const ids = idsOf(this.text, this.tokenizer);
    const windows = new Windows(ids, this.tokenizer.bosId, { batch, length, seed, held: validation?.share ?? 0 });
    const parameters = new ModelParameters(backend, config);
    const limits = { maxRows: batch * length, maxSequences: batch, maxPositions: length };
    const objective = languageModelling({ ...limits, zLoss: 1e-4, labelSmoothing: 0 });
    try {
      const step = new TrainingStep(backend, { model: parameters.model(), parameters, objective, optimizer });
      if (from) await readState(from.open, parameters);
      else parameters.initialize(seed);
      const rates = {
        maxLearningRate: learningRate,
        minLearningRate: learningRate / 10,
        warmupInitLearningRate: learningRate / 1000,
      };
      const schedule = { name: 'cosine', maxIterations: steps, warmupIterations: Math.ceil(steps / 10), ...rates } as const;
      const hooks = this.hooks(parameters, step, windows);
      const source = windows.source(Number(from?.record.data ?? 0));
      const trainer = new Trainer(step, source, { steps, schedule, accumulation: 1 }, hooks, from?.record);
      events.onPhase?.('train');
      const { step: done, interrupted } = await trainer.run();
      const checkpoint = await this.refuge?.everything();
      return { steps: done, interrupted, config, files: await this.model(parameters), ...(checkpoint && { checkpoint }) };
    } catch (error) {
      if (!(error instanceof ExecutionError && error.code === 'out-of-memory')) throw error;
      throw new InputError(
        `there is not enough memory to train this model here on ${counted(batch, 'window')} of ${counted(length, 'token')}: take a smaller size, or fewer or shorter windows`,
      );
    }
  }

  private hooks(parameters: ModelParameters, step: TrainingStep<TrainingBatch>, windows: Windows): TrainerHooks<TrainingBatch> {
    const { events, history, keeping, job } = this;
    const { samples, validation } = job.options;
    return {
      signal: events.signal,
      onStep: (report) => {
        history.losses[report.step - 1] = report.means.loss;
        events.onStep?.(report);
      },
      onValidation: ({ step: at, means: { loss } }) => {
        history.validations.push([at, loss]);
        events.onValidation?.({ step: at, loss });
      },
      ...(validation && windows.held > 0
        ? { validation: { every: validation.every, batches: () => windows.heldBatches() } }
        : {}),
      interludes: samples
        ? [{ every: samples.every, run: async (at) => this.told(at, await this.sample(step, samples, at)) }]
        : [],
      ...(keeping && {
        checkpoints: {
          every: 0,
          asked: () => keeping.asked?.() === true || performance.now() - this.savedAt > 1000 * (keeping.saveEvery ?? 30),
          save: async (progress) => {
            const losses = { train: history.losses.at(-1) ?? null, validation: history.validations.at(-1)?.[1] ?? null };
            const record = { ...progress, config: job.options, losses };
            const beside = TrainingStore.beside(this.tokenizerBytes, history);
            await this.keep((store) =>
              store.save((write) => writeCheckpoint(write, { parameters, dtype: 'f32', beside, record })),
            );
            this.savedAt = performance.now();
            if (!this.refuge) events.onKept?.(progress.step);
            return `that of step ${progress.step}`;
          },
        },
      }),
    };
  }

  private told(step: number, text: string): void {
    this.history.samples.push([step, text]);
    this.events.onSample?.({ step, text });
  }

  // A new engine each time: what it caches belongs to the weights as they are.
  private async sample(
    step: TrainingStep<TrainingBatch>,
    options: NonNullable<TrainOptions['samples']>,
    at: number,
  ): Promise<string> {
    const { prompt, maxTokens = 60, temperature = 0.8 } = options;
    const engine = new Engine(this.backend, step.model, { cacheType: 'f32' });
    try {
      const writer = new TextModel({ engine, tokenizer: this.tokenizer });
      const { text } = await writer.complete(prompt, { maxTokens, temperature, seed: at, continuation: true });
      return prompt + text;
    } finally {
      await engine.dispose();
    }
  }

  /**
   * Sees that the training is begun in the store, and does `work` there; or, where the browser has no room, in memory, and says so:
   * training goes on, and what it has is handed over at its end.
   */
  async keep(work?: (store: TrainingStore) => Promise<void>): Promise<void> {
    if (!this.keeping) return;
    const into = async (store: TrainingStore): Promise<void> => {
      if (!(await store.job())) await store.begin(this.job, this.text, this.tokenizerBytes);
      await work?.(store);
    };
    const { store } = this.keeping;
    try {
      await into(store);
      this.refuge = store.isKept ? undefined : store;
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // the browser's own: no room, or the files were taken away
      if (!this.refuge)
        this.events.onNotice?.(
          `this browser gives this site no more room to keep the training (${error.message}): it goes on, and is lost when the page is closed; free some space, or download it`,
        );
      this.refuge ??= await TrainingStore.inMemory();
      await into(this.refuge);
    }
  }

  private async model(parameters: ModelParameters): Promise<NamedBytes[]> {
    const files: NamedBytes[] = [];
    await writeModel(
      async (name, write) => {
        const parts: Uint8Array[] = [];
        await write({ write: async (chunk) => void parts.push(chunk.slice()) });
        files.push({ name, bytes: new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer()) });
      },
      this.config,
      'f32',
      ({ name }) => whole(parameters.read(name)),
      { beside: [{ name: 'tokenizer.model', bytes: this.tokenizerBytes }] },
    );
    return files;
  }
}
