// Joins what rooms have; of its own it has `openScorer` alone.

/**
 * `openelm/eval`: accuracies and perplexities by lm-evaluation-harness's rules, of a model here or at a server; tasks and suites,
 * datasets, and the harness's tables and files.
 *
 * ```ts
 * await using scorer = await openScorer('apple/OpenELM-270M');
 * const tasks = findTasks(['arc_easy', 'hellaswag']);
 * const { results } = await evaluate(scorer, tasks, await downloadDatasets(tasks), { limit: 100 });
 * console.log(makeTable(results));
 * ```
 * @module
 */
import { InputError } from './errors.js';
import { type ChatPrompts, type ChatPromptsOptions, chatPrompts } from './eval/chat.js';
import { type LocalScorerOptions, localScorer } from './eval/local.js';
import type { Scorer } from './eval/scorer.js';
import { noTokenizer } from './infer/text.js';
import { type OpenOptions, openModel } from './open.js';

export { InputError } from './errors.js';
export { cachedScorer, type EvalStore } from './eval/cache.js';
export type { ChatPrompts, ChatPromptsOptions } from './eval/chat.js';
export { type ComparedResults, type CompareRow, compareRows, compareSvg, compareTable } from './eval/compare.js';
export { type Dataset, type Datasets, datasetKey } from './eval/dataset.js';
export {
  type EvaluateOptions,
  type Evaluation,
  evaluate,
  evaluateShard,
  mergeShards,
  type PartialResults,
  type Sample,
} from './eval/harness.js';
export { type HttpScorerOptions, httpScorer } from './eval/http.js';
export { type LocalScorer, type LocalScorerOptions, type LocalScorerParts, localScorer } from './eval/local.js';
export { makeTable, outputNames, promptInfo, type RunInfo, resultsObject, samplesText, taskHashes } from './eval/report.js';
export type { EvalResults } from './eval/results.js';
export type { GenerateRequest, Loglikelihood, LoglikelihoodRequest, Scorer, ScorerOptions } from './eval/scorer.js';
export { compareWithPublished, findSuite, type Suite, type SuiteRow, suites } from './eval/suites.js';
export type { Doc, Metric, Task, TaskGroup } from './eval/task.js';
export { TaskRegistry } from './eval/task-registry.js';
export { builtinTasks, findTasks } from './eval/tasks/index.js';
export { taskFromObject } from './eval/user-task.js';
export { type EvalFileStore, modelHash, openEvalCache } from './io/node/answer-cache.js';
export { downloadDatasets, loadDatasets } from './io/node/datasets.js';
export { readTasks } from './io/node/task-files.js';

/** A scorer on a model that was opened for it. */
export interface OpenedScorer extends Scorer, AsyncDisposable {
  /** The model's chat template, for `chat` of `evaluate`'s options. Throws `InputError` when it cannot be read. */
  chatPrompts(options?: ChatPromptsOptions): Promise<ChatPrompts>;
  /** Frees the model too. */
  dispose(): Promise<void>;
}

/**
 * Opens a model (nothing for the embedded one, a directory, a `.safetensors`, `.gguf` or `.pt` file, or a hub id) to be evaluated. Throws `InputError` when
 * it cannot be found or read, has no tokenizer, or does not fit in memory.
 */
export async function openScorer(model?: string, options: OpenOptions & LocalScorerOptions = {}): Promise<OpenedScorer> {
  const opened = await openModel(model, options, { context: options.context, cacheType: options.cacheType ?? 'f32' });
  try {
    const { tokenizer, backend, checkpoint } = opened;
    if (!tokenizer) throw new InputError(noTokenizer);
    const name = `${checkpoint.name}, ${opened.weights.dtype}, ${backend.name}`;
    const scorer = localScorer({ name, backend, model: opened.model, tokenizer }, options);
    let disposal: Promise<void> | undefined;
    const dispose = (): Promise<void> => {
      disposal ??= scorer.dispose().then(opened.close);
      return disposal;
    };
    const prompts = (options?: ChatPromptsOptions): Promise<ChatPrompts> => chatPrompts(tokenizer, opened.chatTemplate, options);
    return { ...scorer, chatPrompts: prompts, dispose, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await opened.close();
    throw error;
  }
}
