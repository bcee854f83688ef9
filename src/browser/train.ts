// Pretraining on one text, as a page does it: a tokenizer learned from the text or given, a small model of a shape of one's own, and
// the trainer on windows of the text. The same on any backend; corpora, checkpoints and resuming are Node's (data/, app/pretrain.ts).

import { InputError } from '../errors.js';
import type { NamedBytes } from '../io/bytes.js';
import { type ConfigFields, configFromFields, configFromName, type ModelConfig } from '../model/config.js';
import { whole, writeModel } from '../model/write.js';
import { PythonRandom } from '../python-random.js';
import type { Backend } from '../tensor/backend.js';
import { tokenizerFromModel } from '../tokenizer/sentencepiece.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { TokenizerTrainer } from '../tokenizer/train.js';
import { languageModelling, type TrainingBatch } from '../train/language-modelling.js';
import { ModelParameters } from '../train/parameters.js';
import { TrainingStep } from '../train/step.js';
import { type BatchSource, type StepReport, Trainer } from '../train/trainer.js';

export interface TrainOptions {
  readonly text: string;
  /** A `tokenizer.model`; default: one with `vocabSize` pieces is learned from the text. */
  readonly tokenizer?: Uint8Array;
  /** Default 1024. */
  readonly vocabSize?: number;
  /** The model's shape: a built-in name (`OpenELM-270M`), or fields of CoreNet's. Default: 4 layers of width 128, 0.6M parameters beside the vocabulary. */
  readonly shape?: string | Partial<ConfigFields>;
  readonly steps: number;
  /** Windows in a step; default 8. */
  readonly batch?: number;
  /** Tokens of a window; default 128. */
  readonly length?: number;
  /** At its highest, after a tenth of the steps; default 3e-3. It falls to a tenth of it. */
  readonly learningRate?: number;
  /** Default 0. */
  readonly seed?: number;
}

export interface TrainEvents {
  readonly signal?: AbortSignal;
  onStep?(report: StepReport): void;
}

export interface TrainResult {
  readonly steps: number;
  readonly interrupted: boolean;
  readonly config: ModelConfig;
  /** The model as Hugging Face lays it out: config.json, model.safetensors in f32, tokenizer.model. */
  readonly files: readonly NamedBytes[];
}

const smallShape = {
  ...{ num_transformer_layers: 4, model_dim: 128, head_dim: 32, num_query_heads: [4, 4, 4, 4], num_kv_heads: [2, 2, 2, 2] },
  ffn_multipliers: [2, 2, 3, 3],
};
const optimizer = { maxGradNorm: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };

/** Trains until the steps are done or the signal aborts; either way the model is whole. Throws `InputError` for a text that is too short. */
export async function trainOn(
  backend: Backend,
  options: TrainOptions,
  { signal, onStep }: TrainEvents = {},
): Promise<TrainResult> {
  const { text, steps, batch = 8, length = 128, learningRate = 3e-3, seed = 0 } = options;
  for (const [name, value] of Object.entries({ steps, batch, length })) {
    if (!(Number.isSafeInteger(value) && value > 0)) throw new InputError(`${name} is ${value}; expected a whole number above 0`);
  }
  const bytes = options.tokenizer ?? learnTokenizer(text, options.vocabSize ?? 1024);
  const tokenizer = tokenizerFromModel(bytes, 'tokenizer.model');
  const ids = Int32Array.from(tokenizer.encode(text));
  if (ids.length <= batch * length) {
    throw new InputError(
      `the text has ${ids.length} tokens, ${batch} windows of ${length} take ${batch * length + 1}: give a longer one, or a smaller batch or length`,
    );
  }
  const config = configOf(options.shape ?? smallShape, tokenizer, length);
  const parameters = new ModelParameters(backend, config);
  parameters.initialize(seed);
  const limits = { maxRows: batch * length, maxSequences: batch, maxPositions: length };
  const objective = languageModelling({ ...limits, zLoss: 1e-4, labelSmoothing: 0 });
  const step = new TrainingStep(backend, { model: parameters.model(), parameters, objective, optimizer });
  const rates = {
    maxLearningRate: learningRate,
    minLearningRate: learningRate / 10,
    warmupInitLearningRate: learningRate / 1000,
  };
  const schedule = { name: 'cosine', maxIterations: steps, warmupIterations: Math.ceil(steps / 10), ...rates } as const;
  const trainer = new Trainer(step, windows(ids, batch, length, seed), { steps, schedule, accumulation: 1 }, { onStep, signal });
  const { step: done, interrupted } = await trainer.run();
  const files: NamedBytes[] = [];
  await writeModel(
    async (name, write) => {
      const parts: Uint8Array[] = [];
      await write({ write: async (chunk) => void parts.push(chunk.slice()) });
      files.push({ name, bytes: new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer()) });
    },
    config,
    'f32',
    ({ name }) => whole(parameters.read(name)),
    { beside: [{ name: 'tokenizer.model', bytes }] },
  );
  return { steps: done, interrupted, config, files };
}

function learnTokenizer(text: string, vocabSize: number): Uint8Array {
  const trainer = new TokenizerTrainer();
  for (const line of text.split('\n')) trainer.add(line);
  return trainer.train({ vocabSize });
}

function configOf(shape: string | Partial<ConfigFields>, tokenizer: Tokenizer, length: number): ModelConfig {
  const sizes = { vocab_size: tokenizer.vocabSize, max_context_length: length, rope_max_length: 2 * length };
  if (typeof shape === 'string') return configFromName(shape, sizes);
  return configFromFields({ ...shape, ...sizes }, 'shape');
}

/** Windows side by side, all of them once in an order of chance before any comes again. */
function windows(ids: Int32Array, rows: number, length: number, seed: number): BatchSource<TrainingBatch> {
  const count = Math.floor((ids.length - 1) / length);
  const sequences = Array.from({ length: rows }, (_, row) => [row * length, length] as const);
  let order: number[] = [];
  let epoch = 0;
  let drawn = 0;
  const next = (): number => {
    if (order.length === 0) order = new PythonRandom(seed + epoch++).sample(count, count);
    drawn++;
    return order.pop()!;
  };
  return {
    async next() {
      const starts = Array.from({ length: rows }, () => next() * length);
      const part = (shift: number): Int32Array => {
        const out = new Int32Array(rows * length);
        for (const [row, start] of starts.entries()) out.set(ids.subarray(start + shift, start + shift + length), row * length);
        return out;
      };
      return { batch: { tokens: part(0), targets: part(1), sequences }, documents: [], tokens: rows * length };
    },
    state: () => drawn,
  };
}
