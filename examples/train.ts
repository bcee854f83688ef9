// Pretrains a very small model on a text and writes it where `openelm run` finds it. `npx tsx examples/train.ts [OUT]`

import { readFile } from 'node:fs/promises';
import { tokenizerFromModel } from 'openelm/tokenizer';
import * as training from 'openelm/train';

const [rows, length, steps] = [4, 128, 20];
const bytes = await readFile('models/tales-6m/tokenizer.model');
const tokenizer = tokenizerFromModel(bytes);
const ids = tokenizer.encode(await readFile('recipes/data/tales.txt', 'utf8'));
const sequences = Array.from({ length: rows }, (_, row) => [row * length, length] as const);
let at = 0;
const source: training.BatchSource<training.TrainingBatch> = {
  async next() {
    if (at + rows * length >= ids.length) at = 0;
    const [tokens, targets] = [0, 1].map((shift) => Int32Array.from(ids.slice(at + shift, at + shift + rows * length)));
    at += rows * length;
    return { batch: { tokens, targets, sequences }, documents: [], tokens: tokens.length };
  },
  state: () => at,
};

const shape = { num_transformer_layers: 2, model_dim: 64, head_dim: 16, num_query_heads: [4, 4], num_kv_heads: [1, 2] };
const config = training.configFromFields({ ...shape, vocab_size: tokenizer.vocabSize, ffn_multipliers: [2, 2] }, 'shape');
const { backend } = await training.openBackend();
const parameters = new training.ModelParameters(backend, config);
parameters.initialize(0);
const limits = { maxRows: rows * length, maxSequences: rows, maxPositions: length };
const objective = training.languageModelling({ ...limits, zLoss: 1e-4, labelSmoothing: 0 });
const optimizer = { maxGradNorm: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };
const step = new training.TrainingStep(backend, { model: parameters.model(), parameters, objective, optimizer });
const rates = { warmupIterations: 5, warmupInitLearningRate: 1e-6, maxLearningRate: 1e-2, minLearningRate: 1e-3 };
const schedule = { name: 'cosine', maxIterations: steps, ...rates } as const;
const onStep = (report: training.StepReport) => console.log(`step ${report.step}: loss ${report.means.loss.toFixed(3)}`);
await new training.Trainer(step, source, { steps, schedule, accumulation: 1 }, { onStep }).run();
const values: training.ParameterValues = ({ name }) => training.whole(parameters.read(name));
const out = process.argv[2];
const beside = [{ name: 'tokenizer.model', bytes }];
if (out) await training.writeDirectory(out, (write) => training.writeModel(write, config, 'f32', values, { beside }));
await backend.dispose();
