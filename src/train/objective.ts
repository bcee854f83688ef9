// What is learned: an objective encodes a batch's forward pass and loss once, says where the way back begins, and reads named
// numbers after each run. Language modelling is `language-modelling.ts`. The walk back is `backward.ts`, clipping and AdamW are
// `optimizer.ts`, and `step.ts` joins the three; an objective knows nothing of gradients kept, steps or schedules.
//
// A new objective: encode its rows with `RaggedInputs` (a sequence may go on from another one, so that a prompt that several
// answers share is computed once), call `encoder.forward`, then ops that end in one record which computes loss and gradient
// (`crossEntropy`), and hand that gradient to `encoder.backward`. What depends on numbers of the whole batch (a pair's
// log-probabilities) is computed by ops in between, never by a round trip to the host.

import type { OpenELM } from '../model/openelm.js';
import type { Backend, DeviceBuffer } from '../tensor/backend.js';
import type { Ops, Tensor } from '../tensor/ops.js';
import type { BatchLimits, RaggedInputs } from './ragged.js';

/** Means by name over what counted; `loss` is what the gradient is of. Names are the log's and the curves'. */
export interface Means {
  readonly loss: number;
  readonly [name: string]: number;
}

/** What an objective says of a batch. */
export interface Report {
  /** How many things counted (targets, pairs): what means over several batches are weighted by. */
  readonly count: number;
  readonly means: Means;
}

/** What is learned from batches of a kind. */
export interface Objective<Batch> {
  readonly limits: BatchLimits;
  /** How many things of a batch count, known before it is computed. */
  count(batch: Batch): number;
  /** Encodes a program; called once for training and once for evaluation. */
  encode(encoder: Encoder): Computation<Batch>;
}

/** What an objective encodes with: one program. */
export interface Encoder {
  readonly ops: Ops;
  readonly backend: Backend;
  readonly model: OpenELM;
  /** Whether gradients are wanted. Without them `gradOf` finds none and `backward` does nothing. */
  readonly differentiable: boolean;
  /** The model's residual stream [rows, modelDim], in pieces that can be walked back. Once. */
  forward(inputs: RaggedInputs): Tensor;
  /** The same of another model, through which nothing learns. Before `forward`. */
  frozen(model: OpenELM, inputs: RaggedInputs): Tensor;
  /** Where a parameter's gradient is added up; undefined for one that is not trained. */
  gradOf(parameter: DeviceBuffer): DeviceBuffer | undefined;
  /** Walks back from a result whose gradient is known, over all records so far that lead to it. Once, last. */
  backward(result: Tensor, grad: DeviceBuffer): void;
}

/** An encoded objective. Its buffers live until `dispose`. */
export interface Computation<Batch> {
  /**
   * Before a run: puts the batch into its params, and what else it needs into buffers (queued writes). The gradient is that of
   * `weight` times the batch's mean loss.
   */
  fill(batch: Batch, params: Int32Array, weight: number): void;
  /** Right behind a run: queues its reads before anything is awaited. */
  report(batch: Batch): Promise<Report>;
  dispose(): void;
}

/** The means over several batches, each weighted by what counted in it; they have the same names. */
export function meanReport(reports: readonly Report[]): Report {
  if (reports.length === 1) return reports[0];
  const count = reports.reduce((sum, report) => sum + report.count, 0);
  const names = Object.keys(reports[0]?.means ?? { loss: 0 });
  const mean = (name: string): number =>
    reports.reduce((sum, report) => sum + report.means[name] * report.count, 0) / Math.max(1, count);
  return { count, means: Object.fromEntries(names.map((name) => [name, mean(name)])) as unknown as Means };
}
