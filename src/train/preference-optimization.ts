// The preference objective (DPO, Rafailov et al. 2023, with its relatives): a pair's better answer is to become more likely than the worse
// one, beside what a reference model thinks of both. The prompt of a pair is computed once: both answers go on from it in one ragged
// batch, forward and back. What the losses are is in the op table (preferenceLoss). The reference's numbers come with the pairs, or of
// a model that is computed in the same step.

import type { OpenELM } from '../model/openelm.js';
import { view } from '../tensor/plan.js';
import type { Computation, Encoder, Objective } from './objective.js';
import { type BatchLimits, RaggedInputs, type SequenceRows } from './ragged.js';

/** In the order of `preferenceLoss`'s kinds. */
export const preferenceLosses = ['sigmoid', 'robust', 'hinge', 'ipo'] as const;
/** `sigmoid`: DPO, with label smoothing cDPO; `robust` (Chowdhury et al. 2024); `hinge` (SLiC, Zhao et al. 2023); `ipo` (Azar et al. 2023). */
export type PreferenceLossName = (typeof preferenceLosses)[number];

/** A prompt and two ways to go on, the first one better; each has a token at least. */
export interface PreferencePair {
  readonly prompt: Int32Array;
  readonly chosen: Int32Array;
  readonly rejected: Int32Array;
}

/** Pairs as rows of one ragged batch: `preferenceBatch` makes it. */
export interface PreferenceBatch {
  readonly tokens: Int32Array;
  readonly targets: Int32Array;
  readonly sequences: readonly SequenceRows[];
  /** By pair: first row and rows of the chosen answer, then of the rejected. */
  readonly pairs: Int32Array;
  /** By pair: log-probabilities of the chosen answer and of the rejected one under the reference model; not read where that is computed in the step. */
  readonly reference: Float32Array;
}

/** What a batch takes at most, and the loss; `beta` is its inverse temperature (for `ipo` the regularization). */
export interface PreferenceOptions extends BatchLimits {
  readonly maxPairs: number;
  readonly loss: PreferenceLossName;
  readonly beta: number;
  /** The share of pairs that are taken to be the wrong way round. */
  readonly labelSmoothing: number;
  /**
   * The reference model, computed in every step on the batch's rows: the base without the adapter that learns (`LoadedModel.base`), or a
   * copy. Default: the batches say what it thinks.
   */
  readonly reference?: OpenELM;
}

/** Rows, sequences and segments that a pair takes: an answer's first row is the prompt's last token again, which predicts its first. */
export const pairRows = {
  rows: ({ prompt, chosen, rejected }: PreferencePair): number => prompt.length - 1 + chosen.length + rejected.length,
  positions: ({ prompt, chosen, rejected }: PreferencePair): number =>
    prompt.length - 1 + Math.max(chosen.length, rejected.length),
  sequences: 3,
  segments: 5,
};

/** Pairs as one batch; `reference` as in `PreferenceBatch`. */
export function preferenceBatch(pairs: readonly PreferencePair[], reference: Float32Array): PreferenceBatch {
  const rows = pairs.reduce((sum, pair) => sum + pairRows.rows(pair), 0);
  const tokens = new Int32Array(rows);
  const targets = new Int32Array(rows).fill(-1);
  const sequences: SequenceRows[] = [];
  const places = new Int32Array(4 * pairs.length);
  let at = 0;
  pairs.forEach(({ prompt, chosen, rejected }, p) => {
    const shared = prompt.length - 1;
    tokens.set(prompt.subarray(0, shared), at);
    const parent = shared > 0 ? sequences.push([at, shared]) - 1 : undefined;
    at += shared;
    [chosen, rejected].forEach((answer, which) => {
      tokens[at] = prompt[shared];
      tokens.set(answer.subarray(0, answer.length - 1), at + 1);
      targets.set(answer, at);
      sequences.push(parent === undefined ? [at, answer.length] : [at, answer.length, parent]);
      places.set([at, answer.length], 4 * p + 2 * which);
      at += answer.length;
    });
  });
  return { tokens, targets, sequences, pairs: places, reference };
}

/**
 * Its means: `loss`; `accuracy`, how often the better answer has the larger reward; `margin` between both; rewards
 * beta (logp - reference); and log-probabilities of whole answers. They are over pairs.
 */
export function preferenceOptimization(options: PreferenceOptions): Objective<PreferenceBatch> {
  return { limits: options, count: ({ pairs }) => pairs.length / 4, encode: (encoder) => encode(encoder, options) };
}

function encode(encoder: Encoder, options: PreferenceOptions): Computation<PreferenceBatch> {
  const { ops, backend, model, differentiable } = encoder;
  const { maxRows, maxPairs, beta, labelSmoothing } = options;
  const inputs = new RaggedInputs(ops, options);
  const targets = ops.params(maxRows);
  const pairs = ops.params(4 * maxPairs);
  const pairCount = ops.size(maxPairs);
  const scale = backend.create('f32', [1]);
  const losses = backend.create('f32', [2 * maxRows]);
  const reference = backend.create('f32', [2 * maxPairs]);
  const results = backend.create('f32', [3 * maxPairs]);
  const plain = { scale, losses, zLoss: 0, labelSmoothing: 0 };
  const kind = preferenceLosses.indexOf(options.loss);
  const buffers = { losses, pairs, reference, results };
  const judge = { kind, beta, labelSmoothing };
  const own = options.reference;
  const logps = own && { indices: ops.params(2 * maxPairs), count: ops.size(2 * maxPairs) };
  if (own) {
    // Of its own losses here only the log-probabilities are taken, [loss, chosen, rejected] by pair.
    ops.crossEntropy(own.normalize(ops, encoder.frozen(own, inputs)), own.head, targets, plain);
    ops.preferenceLoss(inputs.rows, pairCount, buffers, judge);
    const found = { buffer: view(results, 0, [3 * maxPairs, 1]), rows: 3 * maxPairs, columns: 1 };
    ops.copy(ops.gatherRows(found, logps!.indices, logps!.count), view(reference, 0, [2 * maxPairs, 1]));
  }
  const normed = model.normalize(ops, encoder.forward(inputs));
  const weight = model.head;
  // How much a row counts depends on its whole pair: first the losses alone, then once more with their gradient.
  ops.crossEntropy(normed, weight, targets, plain);
  const rowWeights = ops.preferenceLoss(inputs.rows, pairCount, buffers, judge);
  if (differentiable) {
    const weightGrad = encoder.gradOf(weight);
    const grad = ops.crossEntropy(normed, weight, targets, { ...plain, rowWeights, differentiable, weightGrad });
    encoder.backward(normed, grad!.buffer);
  }
  return {
    fill(batch, params, by) {
      const count = batch.pairs.length / 4;
      inputs.fillBatch(params, batch.tokens, batch.sequences);
      params.set(batch.targets, targets.offset);
      params.set(batch.pairs, pairs.offset);
      params[pairCount.param] = count;
      if (logps) {
        for (let i = 0; i < 2 * count; i++) params[logps.indices.offset + i] = 3 * (i >> 1) + 1 + (i % 2);
        params[logps.count.param] = 2 * count;
      } else backend.write(reference, batch.reference);
      backend.write(scale, Float32Array.of(by / Math.max(1, count)));
    },
    async report(batch) {
      const count = batch.pairs.length / 4;
      const [found, thought] = await Promise.all([
        backend.read(results, 0, 3 * count),
        own ? backend.read(reference, 0, 2 * count) : batch.reference,
      ]);
      const mean = (of: (pair: number) => number): number => {
        let sum = 0;
        for (let p = 0; p < count; p++) sum += of(p);
        return sum / Math.max(1, count);
      };
      const logp = (p: number, which: 0 | 1): number => found[3 * p + 1 + which];
      const reward = (p: number, which: 0 | 1): number => beta * (logp(p, which) - thought[2 * p + which]);
      return {
        count,
        means: {
          loss: mean((p) => found[3 * p]),
          accuracy: mean((p) => (reward(p, 0) > reward(p, 1) ? 1 : 0)),
          margin: mean((p) => reward(p, 0) - reward(p, 1)),
          rewardChosen: mean((p) => reward(p, 0)),
          rewardRejected: mean((p) => reward(p, 1)),
          logpChosen: mean((p) => logp(p, 0)),
          logpRejected: mean((p) => logp(p, 1)),
        },
      };
    },
    dispose() {
      for (const buffer of [scale, losses, reference, results]) backend.free(buffer);
    },
  };
}
