// Training steps of random tokens on as many ranks as this was started on, without data, checkpoints or a log: what the scale benchmark
// starts, alone and under mpirun. Rank 0 prints a line of JSON: tokens a second and the share of communication, of each step but the first.

import { parseArgs } from 'node:util';
import { nativeBackend } from '../../src/backends/native.js';
import { launchedRanks, MpiCollective } from '../../src/io/node/mpi.js';
import { configFromFields } from '../../src/model/config.js';
import { alone } from '../../src/train/collective.js';
import type { DataParallelOptions } from '../../src/train/data-parallel.js';
import { openLearner } from '../../src/train/data-parallel.js';
import { languageModelling, type TrainingBatch } from '../../src/train/language-modelling.js';
import { ModelParameters } from '../../src/train/parameters.js';
import { type StepReport, Trainer } from '../../src/train/trainer.js';

/** 59 million parameters of OpenELM's shape. */
const config = configFromFields(
  {
    ...{ num_transformer_layers: 12, model_dim: 640, head_dim: 64, vocab_size: 32_000, num_gqa_groups: 4 },
    ...{ qkv_multipliers: [0.5, 1], ffn_multipliers: [0.5, 4], ffn_dim_divisor: 128 },
    ...{ normalize_qk_projections: true, share_input_output_layers: true },
  },
  '60M',
);

const { values } = parseArgs({
  options: {
    threads: { type: 'string', default: '1' },
    /** Of all ranks together. */
    rows: { type: 'string', default: '4' },
    length: { type: 'string', default: '512' },
    steps: { type: 'string', default: '5' },
    zero: { type: 'string', default: '0' },
    gradients: { type: 'string', default: 'f32' },
  },
});
const mpi = launchedRanks() > 1 ? await MpiCollective.open() : undefined;
const collective = mpi ?? alone;
const found = nativeBackend({ threads: Number(values.threads) });
if ('reason' in found) throw new Error(found.reason);
const { backend } = found;
const length = Number(values.length);
const rows = Number(values.rows) / collective.size;
const parameters = new ModelParameters(backend, config);
parameters.initialize(1);
const parts = {
  ...{ model: parameters.model(), parameters },
  objective: languageModelling({
    maxRows: rows * length,
    maxSequences: rows,
    maxPositions: length,
    zLoss: 1e-4,
    labelSmoothing: 0,
  }),
  optimizer: { maxGradNorm: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 },
};
const options = { zero: Number(values.zero), gradients: values.gradients } as DataParallelOptions;
const { learner, dispose } = openLearner(backend, parts, collective, options);
let state = 1 + collective.rank;
const draw = (): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * config.vocabSize);
};
const batch: TrainingBatch = {
  tokens: Int32Array.from({ length: rows * length }, draw),
  targets: Int32Array.from({ length: rows * length }, draw),
  sequences: Array.from({ length: rows }, (_, i) => [i * length, length] as const),
};
const source = { next: async () => ({ batch, documents: [], tokens: rows * length }), state: () => undefined };
const schedule = {
  ...{ name: 'constant' as const, maxIterations: 1, warmupIterations: 0 },
  ...{ warmupInitLearningRate: 0, maxLearningRate: 1e-4, minLearningRate: 0 },
};
const reports: StepReport[] = [];
const trainer = new Trainer(
  learner,
  source,
  { steps: Number(values.steps), schedule, accumulation: 1, collective },
  { onStep: (report) => void reports.push(report) },
);
await trainer.run();
if (collective.rank === 0) {
  const timed = reports.slice(1);
  const of = (value: (report: StepReport) => number): number[] => timed.map(value);
  console.log(JSON.stringify({ tokensPerSecond: of((r) => r.tokensPerSecond), communication: of((r) => r.communication ?? 0) }));
}
dispose();
await backend.dispose();
await collective.barrier();
mpi?.end();
