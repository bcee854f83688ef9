// What every training run does around its steps, whatever it trains on: one run to a directory, going on from the last checkpoint,
// a line a step, the log, checkpoints, samples, and an end at Ctrl-C that leaves a checkpoint. What is trained and on what is
// the verb's (pretrain.ts, tune.ts); the steps themselves are train/trainer.ts.

import { join } from 'node:path';
import { stringify } from 'yaml';
import { DoorBackend } from '../backends/door.js';
import { counted, InputError, shown } from '../errors.js';
import { Engine } from '../infer/engine.js';
import { TextModel, type TextModelParts } from '../infer/text.js';
import type { NamedBytes } from '../io/bytes.js';
import {
  type CheckpointPlace,
  checkpointName,
  keepLast,
  listCheckpoints,
  removeLeftovers,
  writeDirectory,
} from '../io/node/checkpoints.js';
import { openFile, writeWhole } from '../io/node/files.js';
import { withLock } from '../io/node/lock.js';
import { readIfThere } from '../io/node/paths.js';
import { RunLog } from '../io/node/run-log.js';
import type { OpenELM } from '../model/openelm.js';
import type { WriteFile } from '../model/write.js';
import type { Backend } from '../tensor/backend.js';
import { difference, type KeptState, readRecord, type SharedWriting, type TrainingRecord } from '../train/checkpoint.js';
import type { Means } from '../train/objective.js';
import { type BatchSource, type Learner, type StepReport, Trainer, type TrainerOptions } from '../train/trainer.js';
import { formatSeconds } from './progress.js';
import { oneRank, type Ranks } from './ranks.js';
import { type Terminal, tell, writeLine } from './terminal.js';
import { TrainingScreen } from './training-screen.js';

/** A checkpoint to go on from. */
export interface StartingPoint extends CheckpointPlace {
  readonly record: Pick<TrainingRecord, 'tokens' | 'data' | 'losses' | 'config'>;
}

/** Runs something while no other run may train in a directory. Throws `InputError` when one does. */
export function aloneIn<T>(out: string, run: () => Promise<T>): Promise<T> {
  const lock = join(out, '.lock');
  const onWait = (): never => {
    throw new InputError(`${out}: another run is training there; choose another --out (if there is none, remove ${lock})`);
  };
  return withLock(lock, { onWait }, run);
}

/**
 * The checkpoint of a run's directory to go on from, checked against the settings (`free`: those that may differ) and the files that lie
 * beside its model; undefined for a new run. Throws `InputError` when they differ, or when there is one and `resume` is not set.
 */
export async function startingPoint(
  out: string,
  settings: unknown,
  free: readonly string[],
  beside: readonly NamedBytes[],
  resume: boolean,
  note: (text: string) => void,
): Promise<StartingPoint | undefined> {
  const last = (await listCheckpoints(out)).at(-1);
  if (!last) {
    if (resume) note(`${out}: no checkpoint there; starting at the beginning`);
    return undefined;
  }
  if (!resume) throw new InputError(`${last.path} is there already: --resume goes on from it; or choose another --out`);
  const record = await readRecord(fileIn(last.path));
  // Through JSON, as the saved ones went.
  const differs = difference(JSON.parse(JSON.stringify(settings)), record.config, free);
  if (differs) throw new InputError(`${last.path} was made with other settings: ${differs}; set it back, or start a new run`);
  for (const { name, bytes } of beside) {
    const saved = await readIfThere(join(last.path, name));
    if (!saved || Buffer.compare(saved, bytes) !== 0) {
      const what = name.startsWith('tokenizer') ? 'tokenizer' : name;
      throw new InputError(
        `${last.path} was made with another ${what} than the settings name; take that one, or start a new run`,
      );
    }
  }
  return { ...last, record };
}

/** Opens the files of a checkpoint by name. */
export function fileIn(directory: string): (name: string) => ReturnType<typeof openFile> {
  return (name) => openFile(join(directory, name));
}

/** Makes a run's directory ready: what a killed run left half written goes, the settings are written. */
export async function prepareDirectory(out: string, settings: unknown): Promise<void> {
  await removeLeftovers(out);
  await writeWhole(join(out, 'config.yaml'), stringify(settings));
}

/** Two operations a multiply-add, on all threads; undefined where that is not measured. */
export async function peakFlops(backend: Backend): Promise<number | undefined> {
  if (!(backend instanceof DoorBackend)) return undefined;
  return 2 * (await backend.measureRoofline()).f32MultiplyAdds * backend.limits.threads;
}

/** A text written by the model as it is now. */
interface Sample {
  readonly prompt: string;
  readonly text: string;
}

/** Throws `InputError` for a prompt that the model's context has no room for: now rather than when the first sample is due. */
export async function checkPrompts(
  file: string,
  prompts: readonly string[] = [],
  context: number,
  encode: (prompt: string) => ArrayLike<number> | Promise<ArrayLike<number>>,
): Promise<void> {
  for (const prompt of prompts) {
    const { length } = await encode(prompt);
    if (length < context) continue;
    throw new InputError(
      `${file}: samples.prompts: ${shown(prompt)} has ${counted(length, 'token')}, the model's context ${context}; shorten it`,
    );
  }
}

/** What the model makes of each prompt: a text that goes on or, with a template, an answer. */
export async function* writeSamples(
  backend: Backend,
  model: OpenELM,
  parts: Pick<TextModelParts, 'tokenizer' | 'chatTemplate'>,
  { prompts, max_tokens: maxTokens, temperature }: SampleSettings,
  seed: number,
): AsyncGenerator<Sample> {
  const engine = new Engine(backend, model, { cacheType: 'f32' }); // anew each time: what it caches belongs to the weights as they are
  try {
    const writer = new TextModel({ engine, ...parts });
    for (const prompt of prompts) {
      const asked = parts.chatTemplate === undefined ? prompt : [{ role: 'user' as const, content: prompt }];
      const { text } = await writer.complete(asked, { maxTokens, temperature, seed });
      yield { prompt, text };
    }
  } finally {
    await engine.dispose();
  }
}

interface SampleSettings {
  readonly prompts: readonly string[];
  readonly max_tokens: number;
  readonly temperature: number;
}

interface TrainingRun<Batch> {
  readonly out: string;
  /** Saved with every checkpoint. */
  readonly settings: unknown;
  readonly learner: Learner<Batch>;
  readonly source: BatchSource<Batch>;
  readonly options: TrainerOptions;
  readonly from?: StartingPoint;
  readonly onUpdate?: () => void;
  /** What counts in the objective's means. */
  readonly counted: 'tokens' | 'pairs';
  readonly validation?: { readonly every: number; batches(): AsyncIterable<Batch> | Iterable<Batch> };
  readonly samples?: { readonly every: number; write(step: number): AsyncIterable<Sample> };
  readonly checkpoints: {
    readonly every: number;
    readonly keep: number;
    write(file: WriteFile, record: Omit<TrainingRecord, 'format' | 'files'>, shared: SharedWriting): Promise<void>;
    /** Of the source's state: what goes into the record, and the files of this process. Default: all of it, and none. */
    state?(data: unknown): { readonly data: unknown; readonly own: readonly NamedBytes[] };
  };
  /** The processes that train together. */
  readonly ranks?: Ranks;
  /** What of the state is this process's own. */
  readonly kept?: KeptState;
}

/** Trains to the end, or to Ctrl-C or SIGTERM; either way the last step has a checkpoint. Returns where it lies. */
export async function trainAndTell<Batch>(
  terminal: Terminal,
  run: TrainingRun<Batch>,
): Promise<{ path: string; interrupted: boolean }> {
  const { out, learner, source, options, from, validation, samples, checkpoints, ranks = oneRank } = run;
  const { collective } = ranks;
  const first = ranks.rank === 0; // it alone writes the log
  const log = first ? await RunLog.open(out, from?.step ?? 0) : { write: async () => {} };
  const screen = new TrainingScreen(terminal.stdout);
  let best: { loss: number; step: number } | undefined;
  const losses = { train: null, validation: null, ...from?.record.losses } as { train: number | null; validation: number | null };
  const stop = new AbortController();
  const forget = onStop(terminal, () => stop.abort());
  const start = from && { step: from.step, tokens: from.record.tokens, checkpoint: from.path };
  const trainer = new Trainer(
    learner,
    source,
    { ...options, collective },
    {
      signal: stop.signal,
      onStep: async (report) => {
        const { means, ...rest } = report;
        losses.train = means.loss;
        screen.step(stepLine(report, options.steps, ranks.size));
        await log.write({ type: 'step', ...rest, ...means });
      },
      onValidation: async ({ step, means, count }) => {
        losses.validation = means.loss;
        const numbers = means.crossEntropy === undefined ? means : { ...means, perplexity: Math.exp(means.crossEntropy) };
        screen.keep(`  validation  ${meansText(numbers)}  of ${count} ${run.counted}`);
        if (best && means.loss > best.loss)
          screen.keep(`  validation rises: the best so far was ${best.loss.toFixed(4)} after step ${best.step}`);
        else best = { loss: means.loss, step };
        await log.write({ type: 'validation', step, ...numbers, count });
      },
      onUpdate: run.onUpdate,
      validation,
      interludes: samples && [
        {
          every: samples.every,
          run: async (step) => {
            if (!first) return;
            for await (const sample of samples.write(step)) {
              screen.keep(`  sample after ${JSON.stringify(sample.prompt)}:\n${indented(sample.text)}`);
              await log.write({ type: 'sample', step, ...sample });
            }
          },
        },
      ],
      checkpoints: {
        every: checkpoints.every,
        save: async (progress) => {
          const path = join(out, checkpointName(progress.step));
          const { data, own } = checkpoints.state?.(progress.data) ?? { data: progress.data, own: [] };
          const record = { ...progress, data, config: run.settings, losses };
          const shared = { collective, own, kept: run.kept };
          await writeDirectory(path, (file) => checkpoints.write(file, record, shared), { collective });
          if (first) await keepLast(out, checkpoints.keep);
          await log.write({ type: 'checkpoint', step: progress.step, path });
          return path;
        },
      },
    },
    start,
  );
  try {
    const { step, interrupted } = await trainer.run().finally(() => screen.end());
    const path = join(out, checkpointName(step));
    if (interrupted) tell(terminal, `interrupted after step ${step}; --resume goes on from ${path}`);
    else writeLine(terminal, `done: ${path}`);
    return { path, interrupted };
  } finally {
    forget();
  }
}

/** Calls back once at Ctrl-C, SIGTERM or SIGUSR2; a second one ends the process. */
export function onStop(terminal: Terminal, stop: () => void, message = 'ending after this step, with a checkpoint'): () => void {
  const stopOnce = (): void => {
    forget();
    tell(terminal, message);
    stop();
  };
  const forgetInterrupt = terminal.onInterrupt(stopOnce);
  // mpirun and srun hand SIGUSR2 on, and wait; after SIGTERM they kill.
  const signals = ['SIGTERM', 'SIGUSR2'] as const;
  for (const signal of signals) process.on(signal, stopOnce);
  const forget = (): void => {
    forgetInterrupt();
    for (const signal of signals) process.off(signal, stopOnce);
  };
  return forget;
}

/** A text as it is, set apart from what is around it. */
function indented(text: string): string {
  return text
    .trim()
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n');
}

/** How an objective's numbers are called on a line; those that are not here go by their own names. */
const shortNames: Readonly<Record<string, string>> = { crossEntropy: 'ce', zLoss: 'z' };

function meansText(means: Means): string {
  return Object.entries(means)
    .map(
      ([name, value]) =>
        `${shortNames[name] ?? name} ${value.toFixed(name === 'perplexity' ? 2 : 4).replace(/^-(?=[0.]+$)/, '')}`,
    )
    .join('  ');
}

/** `step 12/3000  loss 4.1234  ce 4.1200  z 0.0034  lr 1.20e-3  norm 0.87  1234 tok/s  mfu 48.1%  eta 1:02:03`. */
export function stepLine(report: StepReport, steps: number, ranks = 1): string {
  const { step, means, learningRate, gradNorm, tokensPerSecond, communication, mfu, skipped, secondsLeft } = report;
  return [
    `step ${String(step).padStart(String(steps).length)}/${steps}`,
    meansText(means),
    `lr ${learningRate.toExponential(2)}`,
    `norm ${gradNorm.toFixed(2)}`,
    `${tokensPerSecond.toFixed(0)} tok/s`,
    ...(communication === undefined
      ? []
      : [`${(tokensPerSecond / ranks).toFixed(0)} a rank`, `comm ${(100 * communication).toFixed(1)}%`]),
    ...(mfu === undefined ? [] : [`mfu ${(100 * mfu).toFixed(1)}%`]),
    `eta ${formatSeconds(secondsLeft)}`,
    ...(skipped ? ['passed over: the gradient is not finite'] : []),
  ].join('  ');
}
