// What a pretraining run will do, in a few lines before its first step: the shape, the data and how much of them the rows can hold, the
// steps, and estimates of memory and time. The settings themselves are in the run's config.yaml.

import type { DataConfig } from '../data/config.js';
import type { TextProcessor } from '../data/process.js';
import type { CorpusFiles } from '../data/readers.js';
import { collectStats, type DataStats } from '../data/stats.js';
import { counted } from '../errors.js';
import { countParameters, type ModelConfig } from '../model/config.js';
import { flopsPerToken } from '../train/trainer.js';
import type { PretrainConfig } from './pretrain-config.js';
import { formatBytes, formatNumber, formatSeconds } from './progress.js';
import { placeFacts, planText } from './training-screen.js';

/** Enough for a share that is right to a few percent, in a fraction of a second. */
const sampledDocuments = 200;

/** A share of lost tokens from which on it is worth a warning. */
const muchLost = 0.1;

/** The first documents of the training corpora, counted. Throws `InputError` when they cannot be read. */
export function sampleCorpora(config: DataConfig, corpora: CorpusFiles, processor: TextProcessor): Promise<DataStats> {
  return collectStats({ config, split: 'train', corpora, processor, limit: sampledDocuments });
}

interface SummaryParts {
  readonly config: PretrainConfig;
  readonly model: ModelConfig;
  readonly sample: DataStats;
  /** Bytes of activations and what else a micro-batch takes. */
  readonly arenaBytes: number;
  /** Floating-point operations a second at most, where that was measured. */
  readonly peakFlops?: number;
  readonly backend: string;
  /** The last step that was done before. */
  readonly from?: number;
  /** Processes that train together. */
  readonly processes?: number;
}

/** The summary, a line each; ends without a newline. */
export function pretrainSummary(parts: SummaryParts): string {
  const { config, model, sample, arenaBytes, peakFlops, backend, from = 0, processes = 1 } = parts;
  const { batch_size: rows, accumulation, steps, data } = config;
  const parameters = countParameters(model);
  const stepTokens = rows * accumulation * data.sequence_length;
  const leftTokens = stepTokens * (steps - from);
  const state = 16 * parameters;
  const seconds = peakFlops && (leftTokens * flopsPerToken(model, data.sequence_length)) / (usualUse * peakFlops * processes);
  return planText([
    [
      'model',
      `${counted(parameters, 'parameter', formatNumber)}, ${counted(model.layers.length, 'layer')} of ${model.modelDim}, vocabulary ${formatNumber(model.vocabSize)}`,
    ],
    ['data', dataLine(data, sample)],
    [
      'steps',
      `${formatNumber(steps)} of ${counted(stepTokens, 'token', formatNumber)} (${accumulation > 1 ? `${accumulation} x ` : ''}${rows} x ${data.sequence_length})` +
        `${from > 0 ? `, goes on after step ${formatNumber(from)}` : ''}: ${counted(leftTokens, 'token', short)} to learn from`,
    ],
    [
      'memory',
      `about ${formatBytes(state + arenaBytes)}: ${formatBytes(state)} of weights, gradients and moments, ${formatBytes(arenaBytes)} for a batch`,
    ],
    [
      'time',
      seconds ? `about ${formatSeconds(seconds)} at half of this machine's peak; each step tells better` : 'each step tells',
    ],
    ...placeFacts(backend, processes, config.out, config.checkpoints.every),
  ]);
}

/** The share of its peak that training usually reaches. */
const usualUse = 0.5;

/** A warning when much of the data would be lost, with what to do; undefined when it would not. */
export function lossWarning(data: DataConfig, sample: DataStats): string | undefined {
  const share = lostShare(sample);
  if (share < muchLost) return undefined;
  return (
    `${percent(share)} of the tokens will be cut off: each document fills one row of ${counted(data.sequence_length, 'token')} and the rest of it is lost ` +
    `(seen in ${counted(sample.documents, 'document', formatNumber)}); packing: true keeps them all`
  );
}

function dataLine(data: DataConfig, sample: DataStats): string {
  const { documents, kept, sequences } = sample;
  const seen =
    documents < sampledDocuments
      ? counted(documents, 'document', formatNumber)
      : `the first ${counted(documents, 'document', formatNumber)}`;
  const dropped = sequences - kept;
  const filtered = dropped > 0 ? `, ${percent(dropped / sequences)} of the texts dropped as too short` : '';
  const cut = data.packing ? ', packed' : `, ${percent(lostShare(sample))} of the tokens cut off`;
  return `${counted(sample.files, 'file')}; in ${seen}: ${counted(sample.tokens, 'token', short)}${filtered}${cut}`;
}

function lostShare({ cutTokens, tokens }: DataStats): number {
  return tokens === 0 ? 0 : cutTokens / tokens;
}

function percent(share: number): string {
  return `${share > 0 && share < 0.01 ? '<1' : Math.round(100 * share)}%`;
}

/** `12.3M`. */
function short(value: number): string {
  for (const [unit, size] of [
    ['T', 1e12],
    ['B', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const)
    if (value >= size) return `${(value / size).toPrecision(3)}${unit}`;
  return String(value);
}
