// Joins what rooms have; nothing is defined here. The command line's runs (settings, log, resuming) are app's.

/**
 * `openelm/train`: pretraining and tuning from code. Data become batches (`BatchStream`), an objective says what is learned from them
 * (`languageModelling`), a `TrainingStep` computes gradients and updates on a backend, and the `Trainer` walks through the steps
 * and tells what happened. `examples/train.ts` has the whole of it.
 * @module
 */
export { type DataConfig, dataConfigFrom, parseDataConfig, processOptions } from './data/config.js';
export { inlineProcessor, type ProcessOptions, type TextProcessor } from './data/process.js';
export { BatchStream, type StreamOptions } from './data/stream.js';
export { InputError } from './errors.js';
export { type CheckpointPlace, checkpointName, keepLast, listCheckpoints, writeDirectory } from './io/node/checkpoints.js';
export { localCorpora } from './io/node/corpora.js';
export { workerProcessor } from './io/node/text-workers.js';
export { configFromFields, configFromName, configNames, countParameters, type ModelConfig } from './model/config.js';
export { type CheckpointType, checkpointTypes } from './model/parameters.js';
export { type ParameterValues, type WriteFile, type WriteModelOptions, whole, writeModel } from './model/write.js';
export { type BackendChoice, type ChosenBackend, openBackend } from './open.js';
export type { Backend } from './tensor/backend.js';
export { MovingAverage } from './train/average.js';
export { type CheckpointContents, readRecord, readState, type TrainingRecord, writeCheckpoint } from './train/checkpoint.js';
export { type LanguageModellingOptions, languageModelling, type TrainingBatch } from './train/language-modelling.js';
export type { Computation, Encoder, Means, Objective, Report } from './train/objective.js';
export type { OptimizerOptions, Update } from './train/optimizer.js';
export { ModelParameters, TrainingParameters } from './train/parameters.js';
export {
  type PreferenceBatch,
  type PreferenceOptions,
  type PreferencePair,
  preferenceBatch,
  preferenceOptimization,
} from './train/preference-optimization.js';
export { type BatchLimits, RaggedInputs, type SequenceRows } from './train/ragged.js';
export { learningRate, type ScheduleOptions } from './train/schedule.js';
export { ignored, trainingSource, withoutPadding } from './train/source.js';
export { type StepParts, TrainingStep } from './train/step.js';
export {
  type BatchSource,
  type Learner,
  type Progress,
  type StepReport,
  Trainer,
  type TrainerHooks,
  type TrainerOptions,
  type TrainingResult,
  type ValidationReport,
} from './train/trainer.js';
