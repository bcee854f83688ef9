// Joins what rooms have; nothing is defined here. The command line's runs (settings, log, resuming) are app's.

/**
 * `openelm/train`: pretraining and tuning from code. Data become batches: documents by a `BatchStream`; conversations (`exampleOf`) and
 * preferences (`pairOf`) by `loadExamples` and `planTuning`. An objective says what is learned from them (`languageModelling`, which is
 * pretraining's and supervised tuning's; `preferenceOptimization`, which is DPO's). What learns is a model (`ModelParameters`) or an
 * adapter beside one in any precision (`AdapterParameters`: LoRA, DoRA). A `TrainingStep` computes gradients and updates on a
 * backend, and the `Trainer` walks through the steps and tells what happened. `examples/train.ts` and `examples/tune.ts` have the whole
 * of it.
 * @module
 */
export { openAdapter } from './adapters.js';
export { type BackendChoice, type BackendOptions, type ChosenBackend, openBackend } from './backend-choice.js';
export { type Checkpoint, openCheckpoint, sideFiles } from './checkpoint.js';
export { type DataConfig, dataConfigFrom, parseDataConfig, processOptions } from './data/config.js';
export {
  batchesInOrder,
  ExampleSource,
  type ExampleSourceOptions,
  type LoadedExamples,
  loadExamples,
} from './data/example-source.js';
export {
  type Dropped,
  type Example,
  type ExampleOptions,
  exampleOf,
  type Message,
  type PromptFormat,
  promptFormats,
  type RowEncoders,
} from './data/examples.js';
export { type Pair, type PairDropped, type PairOptions, pairOf } from './data/preferences.js';
export { inlineProcessor, type ProcessOptions, type TextProcessor } from './data/process.js';
export type { CorpusFiles, FileRow } from './data/readers.js';
export { BatchStream, type StreamOptions } from './data/stream.js';
export { InputError } from './errors.js';
export { type ChatMessage, defaultChatTemplate, encodeConversation } from './infer/chat.js';
export { type CheckpointPlace, checkpointName, keepLast, listCheckpoints, writeDirectory } from './io/node/checkpoints.js';
export { localCorpora } from './io/node/corpora.js';
export { LogFollower, type LogLine, RunLog, readLog } from './io/node/run-log.js';
export { shapeFrom } from './io/node/shape-file.js';
export { workerProcessor } from './io/node/text-workers.js';
export { openTokenizerParts, type TokenizerParts } from './io/node/tokenizer-parts.js';
export {
  type Adapter,
  type AdapterModule,
  type AdapterRule,
  adaptableModules,
  type ChosenModule,
  chooseModules,
  initialValues,
} from './model/adapter.js';
export { configFromFields, configFromName, configNames, countParameters, type ModelConfig } from './model/config.js';
export { mergedWeight } from './model/merge.js';
export { type CheckpointType, checkpointTypes } from './model/parameters.js';
export { peftFiles, readPeft, writePeft } from './model/peft.js';
export { type ParameterValues, type WriteFile, type WriteModelOptions, whole, writeModel } from './model/write.js';
export { type OpenedModel, type OpenOptions, openModel } from './open.js';
export type { Backend } from './tensor/backend.js';
export { AdapterParameters } from './train/adapter.js';
export { MovingAverage } from './train/average.js';
export {
  type Batching,
  exampleBatching,
  type JudgedPair,
  judgePairs,
  type PlannedBatches,
  type PlanOptions,
  pairBatching,
  planTuning,
} from './train/batching.js';
export {
  type CheckpointContents,
  readAdapterState,
  readRecord,
  readState,
  type TrainingRecord,
  writeAdapterCheckpoint,
  writeCheckpoint,
} from './train/checkpoint.js';
export { type LanguageModellingOptions, languageModelling, type TrainingBatch } from './train/language-modelling.js';
export type { Computation, Encoder, Means, Objective, Report } from './train/objective.js';
export type { OptimizerOptions, Update } from './train/optimizer.js';
export { ModelParameters, TrainingParameters } from './train/parameters.js';
export {
  type PreferenceBatch,
  type PreferenceLossName,
  type PreferenceOptions,
  type PreferencePair,
  preferenceBatch,
  preferenceLosses,
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
