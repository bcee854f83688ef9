// What a page asks of its worker about training: begin one, go on with one that is kept, keep a checkpoint now. Two tabs do not train
// into one place. The training itself is train.ts's.

import { alone } from '../io/browser/locks.js';
import { checkOptions, type Rules, rules, wholeFrom } from '../options.js';
import type { Backend } from '../tensor/backend.js';
import type { BackendOptions, Computing } from './computing.js';
import { backendRules } from './load-options.js';
import type { CallContext } from './messages.js';
import type { NamedBlob } from './model-files.js';
import { continueOn, type Keeping, type TrainResult, trainOn } from './train.js';
import type { TrainEvents, TrainOptions } from './training-options.js';
import { TrainingStore, trainingLock } from './training-store.js';

export interface KeepOptions {
  /** Keeps all that is needed to go on after a reload under this name, in this origin's private files. */
  readonly keep?: string;
  /** Seconds between checkpoints; default 30. */
  readonly saveEvery?: number;
}

export interface TrainRequest {
  readonly options: TrainOptions & KeepOptions & BackendOptions;
}

export interface ContinueRequest {
  /** A kept training's name, or the files of one that could not be kept. */
  readonly from: string | readonly NamedBlob[];
  readonly options: Pick<KeepOptions, 'saveEvery'> & BackendOptions;
}

export interface TrainCallbacks extends TrainEvents {
  /** What computes, once it is known. */
  onBackend?(backend: Computing): void;
}

/** A callback's name, and what it is told. */
export type TrainEvent = readonly [name: keyof TrainCallbacks, told: unknown];

/** The files as blobs, which go to a page without a copy. */
export interface TrainAnswer extends Omit<TrainResult, 'files'> {
  readonly files: readonly NamedBlob[];
}

const told = ['onPhase', 'onStep', 'onValidation', 'onSample', 'onKept', 'onNotice'] as const satisfies (keyof TrainEvents)[];

const continueRules: Rules<ContinueRequest['options']> = {
  saveEvery: { says: 'seconds', holds: (value) => typeof value === 'number' && value >= 0 },
  ...backendRules,
};

const trainRules: Rules<TrainRequest['options']> = {
  ...continueRules,
  text: { says: 'a text or a Blob', holds: (value) => typeof value === 'string' || value instanceof Blob },
  tokenizer: { says: 'the bytes of a tokenizer.model', holds: (value) => value instanceof Uint8Array },
  vocabSize: wholeFrom(1),
  shape: {
    says: 'a built-in name or fields of a config',
    holds: (value) => rules.text.holds(value) || rules.object.holds(value),
  },
  // Whether they are counts is said of kept trainings too.
  steps: rules.anything,
  batch: rules.anything,
  length: rules.anything,
  learningRate: { says: 'a number above 0', holds: (value) => Number.isFinite(value) && (value as number) > 0 },
  seed: wholeFrom(0),
  samples: rules.object,
  validation: rules.object,
  keep: rules.text,
};

type Work = (backend: Backend, events: TrainEvents & { signal: AbortSignal }) => Promise<TrainResult>;

export function trainingHandlers(openBackend: (options: BackendOptions) => Promise<{ backend: Backend; computing: Computing }>) {
  let keepNow = false;
  const asked = (): boolean => {
    const now = keepNow;
    keepNow = false;
    return now;
  };
  const training = async (options: BackendOptions, { signal, emit }: CallContext, work: Work): Promise<TrainAnswer> => {
    const tell = (name: TrainEvent[0]) => (value: unknown) => emit([name, value] satisfies TrainEvent);
    const { backend, computing } = await openBackend(options);
    tell('onBackend')(computing);
    const { files, ...result } = await work(backend, { signal, ...Object.fromEntries(told.map((name) => [name, tell(name)])) });
    return { ...result, files: files.map(({ name, bytes }) => ({ name, blob: new Blob([bytes as BlobPart]) })) };
  };
  const kept = (name: string, { onNotice }: TrainEvents, work: (store: TrainingStore) => Promise<TrainResult>) => {
    const notKept = (reason: string): void =>
      onNotice?.(`this browser keeps no files here (${reason}): the training is lost when the page is closed`);
    const otherwise = `${name} is being trained in another tab: go on there, or close it`;
    return alone(trainingLock(name), otherwise, async () => work(await TrainingStore.open(name, notKept)));
  };
  return {
    async train({ options: given }: TrainRequest, context: CallContext): Promise<TrainAnswer> {
      checkOptions('the options of the training', given, trainRules);
      const { keep, saveEvery, ...options } = given;
      return training(options, context, (backend, events) => {
        if (keep === undefined) return trainOn(backend, options, events);
        return kept(keep, events, (store) => trainOn(backend, options, events, { store, name: keep, saveEvery, asked }));
      });
    },
    async continue({ from, options: given }: ContinueRequest, context: CallContext): Promise<TrainAnswer> {
      checkOptions('the options of the training', given, continueRules);
      const { saveEvery, ...options } = given;
      return training(options, context, async (backend, events) => {
        const on = (store: TrainingStore, name: string) =>
          continueOn(backend, events, { store, name, saveEvery, asked } satisfies Keeping);
        if (typeof from === 'string') return kept(from, events, (store) => on(store, from));
        return on(await TrainingStore.inMemory(from), 'this');
      });
    },
    async keepNow() {
      keepNow = true;
    },
  };
}
