// The language-modelling objective: the mean cross-entropy of each token's successor, with z-loss and label smoothing, as
// CoreNet computes and reports it. Pretraining and supervised fine-tuning are this one; what counts is up to the targets.

import type { Computation, Encoder, Objective } from './objective.js';
import { type BatchLimits, RaggedInputs, type SequenceRows } from './ragged.js';

/** Tokens of several sequences end to end. */
export interface TrainingBatch {
  readonly tokens: Int32Array;
  /** The token after each; below 0 where there is nothing to learn. */
  readonly targets: Int32Array;
  /** Attention does not cross sequences, positions begin at 0 in each. */
  readonly sequences: readonly SequenceRows[];
  /** Places that padded the rows of a corpus and were left out. Nothing is computed for them, but CoreNet's z-loss counts them. */
  readonly padding?: number;
}

/**
 * What a batch takes at most, and the loss: `zLoss` times the mean square of the log-partition is added (PaLM, Chowdhery et al. 2022);
 * `labelSmoothing` is the share of a target that all ids get.
 */
export interface LanguageModellingOptions extends BatchLimits {
  readonly zLoss: number;
  readonly labelSmoothing: number;
}

/** The mean cross-entropy, in nats, of the targets of a batch that are not below 0. */
export function languageModelling(options: LanguageModellingOptions): Objective<TrainingBatch> {
  return { limits: options, count: validTokens, encode: (encoder) => encode(encoder, options) };
}

function validTokens({ targets }: TrainingBatch): number {
  return targets.reduce((count, target) => count + (target >= 0 ? 1 : 0), 0);
}

function encode(encoder: Encoder, options: LanguageModellingOptions): Computation<TrainingBatch> {
  const { ops, backend, model } = encoder;
  const { zLoss, labelSmoothing } = options;
  const inputs = new RaggedInputs(ops, options);
  const targets = ops.params(options.maxRows);
  const scale = backend.create('f32', [1]);
  const losses = backend.create('f32', [2 * options.maxRows]);
  const normed = model.normalize(ops, encoder.forward(inputs));
  const weight = model.head;
  const grad = ops.crossEntropy(normed, weight, targets, {
    ...{ scale, losses, zLoss, labelSmoothing },
    ...{ differentiable: encoder.differentiable, weightGrad: encoder.gradOf(weight) },
  });
  if (grad) encoder.backward(normed, grad.buffer);
  return {
    fill(batch, params, by) {
      inputs.fillBatch(params, batch.tokens, batch.sequences);
      params.set(batch.targets, targets.offset);
      // Without a target there is nothing to learn, and the mean is taken over one.
      backend.write(scale, Float32Array.of(by / Math.max(1, validTokens(batch))));
    },
    async report(batch) {
      const rows = batch.tokens.length;
      const count = validTokens(batch);
      const byRow = await backend.read(losses, 0, 2 * rows);
      let crossEntropy = 0;
      let squares = 0;
      for (let r = 0; r < rows; r++) {
        crossEntropy += byRow[2 * r];
        squares += byRow[2 * r + 1];
      }
      // CoreNet masks the logits, not their sum: every ignored row adds (ln vocabulary)^2, a constant without a gradient.
      squares += (rows + (batch.padding ?? 0) - count) * Math.log(model.config.vocabSize) ** 2;
      const mean = (sum: number): number => sum / Math.max(1, count);
      const zTerm = zLoss * mean(squares);
      return { count, means: { loss: mean(crossEntropy) + zTerm, crossEntropy: mean(crossEntropy), zLoss: zTerm } };
    },
    dispose() {
      for (const buffer of [scale, losses]) backend.free(buffer);
    },
  };
}
