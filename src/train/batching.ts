// How examples and pairs become batches for an objective, and what a run of them comes to before it begins: its batches, and the
// largest one, which the step's program is encoded for. What examples are is data/'s; what is learned from them the objective's.

import { batchesInOrder, ExampleSource, type ExampleSourceOptions, planBatches } from '../data/example-source.js';
import type { Example } from '../data/examples.js';
import type { Pair } from '../data/preferences.js';
import type { TrainingBatch } from './language-modelling.js';
import type { Report } from './objective.js';
import { type PreferenceBatch, type PreferencePair, pairRows, preferenceBatch } from './preference-optimization.js';
import type { BatchLimits } from './ragged.js';
import type { BatchSource } from './trainer.js';

/** How examples become batches of a kind. */
export interface Batching<Item, Batch> {
  rowsOf(item: Item): number;
  collate(items: readonly Item[]): Batch;
  /** Sequences that an item takes, and segments that they look at. */
  readonly sequences: number;
  readonly segments: number;
  /** The longest sequence of an item, with what it goes on from. */
  positionsOf(item: Item): number;
}

/** An example is one sequence: all but its last token are fed, what is learned is the next one. */
export const exampleBatching: Batching<Example, TrainingBatch> = {
  rowsOf: ({ tokens }) => tokens.length - 1,
  positionsOf: ({ tokens }) => tokens.length - 1,
  sequences: 1,
  segments: 1,
  collate(examples) {
    const rows = examples.reduce((sum, { tokens }) => sum + tokens.length - 1, 0);
    const batch = { tokens: new Int32Array(rows), targets: new Int32Array(rows), sequences: [] as [number, number][] };
    let at = 0;
    for (const { tokens, learned } of examples) {
      const length = tokens.length - 1;
      batch.tokens.set(tokens.subarray(0, length), at);
      for (let i = 0; i < length; i++) batch.targets[at + i] = learned[i + 1] ? tokens[i + 1] : -1;
      batch.sequences.push([at, length]);
      at += length;
    }
    return batch;
  },
};

/** A pair, and what the reference model thinks of it: log-probabilities of the chosen answer and of the rejected, filled in later. */
export interface JudgedPair extends Pair {
  readonly reference: Float32Array;
}

/** A pair is three sequences: the prompt, and both answers, which go on from it. */
export const pairBatching: Batching<JudgedPair, PreferenceBatch> = {
  rowsOf: pairRows.rows,
  positionsOf: pairRows.positions,
  sequences: pairRows.sequences,
  segments: pairRows.segments,
  collate: (pairs) => preferenceBatch(pairs, Float32Array.from(pairs.flatMap(({ reference }) => [...reference]))),
};

/** The batches of a run, counted beforehand. */
export interface PlannedBatches<Batch> {
  /** From the beginning, or from a state. */
  source(state?: unknown): BatchSource<Batch>;
  /** Those of one pass over what was held out. */
  validation(): Iterable<Batch>;
  /** Batches of all epochs. */
  readonly batches: number;
  /** What the largest batch takes; an objective is made with it. */
  readonly limits: BatchLimits;
  /** Examples of a batch at most. */
  readonly mostItems: number;
}

/** How large batches are, and how many. */
export interface PlanOptions {
  /** Examples of a batch at most, and its rows (tokens); as many in turn as fit. Default: no limit. */
  readonly batchSize?: number;
  readonly maxRows?: number;
  /** How often each example is seen, in a new order each time; or until there are so many batches. */
  readonly epochs: number;
  readonly batches?: number;
  readonly seed: number;
  /** The processes that share out each batch; default: this one alone. */
  readonly share?: ExampleSourceOptions<unknown>['share'];
}

/** Plans the batches of a run over its epochs; `validation` is held out. */
export function planTuning<Item extends { readonly document: string }, Batch>(
  { train, validation = [] }: { readonly train: readonly Item[]; readonly validation?: readonly Item[] },
  { rowsOf, positionsOf, collate, sequences, segments }: Batching<Item, Batch>,
  { batchSize = Number.POSITIVE_INFINITY, maxRows = Number.POSITIVE_INFINITY, epochs, batches, seed, share }: PlanOptions,
): PlannedBatches<Batch> {
  const options: ExampleSourceOptions<Item> = { batchSize, maxRows, rowsOf, shuffle: true, seed, share };
  const plan = planBatches(train, options, { epochs, batches });
  // A process judges whole batches, as large as its share of one.
  const size = share?.size ?? 1;
  const judging = { ...options, batchSize: Math.ceil(batchSize / size), maxRows: Math.ceil(maxRows / size), share: undefined };
  const judged = planBatches(validation, { ...judging, shuffle: false }, { epochs: 1 });
  const items = Math.max(plan.mostExamples, judged.mostExamples);
  return {
    source: (state) => new ExampleSource(train, options, collate, state),
    validation: () => batchesInOrder(validation, judging, collate),
    batches: plan.batches,
    mostItems: items,
    limits: {
      maxRows: Math.max(plan.mostRows, judged.mostRows),
      maxSequences: sequences * items,
      maxSegments: segments * items,
      maxPositions: [...train, ...validation].reduce((most, item) => Math.max(most, positionsOf(item)), 0),
    },
  };
}

/** Pairs under way at once: the device has the next one while numbers travel. */
const ahead = 4;

/**
 * What a model thinks of pairs, by a step's evaluation: log-probabilities of the chosen answer and of the rejected one,
 * [pairs, 2]. Asked before tuning, the model is its own reference, and no second copy of it is needed.
 */
export async function judgePairs(
  step: { evaluate(batch: PreferenceBatch): Promise<Report> },
  pairs: readonly PreferencePair[],
  onJudged?: (done: number) => void,
): Promise<Float32Array<ArrayBuffer>> {
  const logps = new Float32Array(2 * pairs.length);
  const running: Promise<void>[] = [];
  try {
    for (const [p, pair] of pairs.entries()) {
      const judged = step.evaluate(preferenceBatch([pair], new Float32Array(2))).then(({ means }) => {
        logps.set([means.logpChosen, means.logpRejected], 2 * p);
        onJudged?.(p + 1);
      });
      running.push(judged);
      if (running.length >= ahead) await running.shift();
    }
    await Promise.all(running);
  } finally {
    await Promise.allSettled(running);
  }
  return logps;
}
