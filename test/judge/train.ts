// Judges training on a backend: losses, every gradient and the parameters after some steps, against numbers of CoreNet and
// PyTorch (train.json, batches, grads, steps_*.safetensors), and the learning rates of lr.json.

import { join } from 'node:path';
import { loadCoreNetTraining } from '../../src/app/pretrain-resume.js';
import { readCoreNetModel } from '../../src/formats/corenet.js';
import { bytesInMemory, type StoredTensor } from '../../src/io/bytes.js';
import { readFloat32 } from '../../src/io/decode.js';
import { openFile, readJson } from '../../src/io/node/files.js';
import { openWeights } from '../../src/io/node/weights.js';
import { readSafetensors } from '../../src/io/safetensors.js';
import { configFromHuggingFace } from '../../src/model/config.js';
import { checkWeights } from '../../src/model/parameters.js';
import type { Backend } from '../../src/tensor/backend.js';
import { MovingAverage, meanTensor } from '../../src/train/average.js';
import type { KeepOptions } from '../../src/train/backward.js';
import { type LanguageModellingOptions, languageModelling, type TrainingBatch } from '../../src/train/language-modelling.js';
import type { OptimizerOptions } from '../../src/train/optimizer.js';
import { ModelParameters, type ParameterState } from '../../src/train/parameters.js';
import { learningRate, type ScheduleOptions, scheduledRate } from '../../src/train/schedule.js';
import { TrainingStep } from '../../src/train/step.js';
import { readInt32 } from '../integers.js';
import { absoluteError, type Check, type Judgement } from './judgement.js';

const lossBound = 1e-6; // relative
const gradientBound = 2e-5; // norm of the difference over norm
const parameterBound = 1e-5; // absolute

interface MicroBatch {
  readonly total_loss: number;
  readonly ce_loss: number;
  readonly z_loss: number;
}
interface Golden {
  readonly base_model: string;
  readonly ignore_index: number;
  readonly embedding_padding_idx?: number;
  readonly z_loss_eps: number;
  readonly loss: {
    readonly plain: MicroBatch;
    readonly label_smoothing_0_1: MicroBatch;
    readonly no_z: { readonly total_loss: number };
  };
  readonly grad_norm_plain: number;
  readonly ema_momentum: number;
  readonly optimizer: { beta1: number; beta2: number; eps: number; weight_decay: number; grad_clip: number };
  readonly steps: readonly GoldenStep[];
  readonly steps_accum2?: readonly GoldenStep[];
}
interface GoldenStep {
  readonly iteration: number;
  readonly lr: number;
  readonly grad_norm_before_clip: number;
  readonly micro_batches: readonly MicroBatch[];
}

export async function readTensors<T>(file: string, use: (tensors: ReadonlyMap<string, StoredTensor>) => Promise<T>): Promise<T> {
  const source = await openFile(file);
  try {
    return await use((await readSafetensors(source)).tensors);
  } finally {
    await source.close();
  }
}

/** The ratio of norms by which a gradient is judged. */
export function normError(found: Float32Array, expected: Float32Array): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (found[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}

const relative = (found: number, expected: number): number => Math.abs(found - expected) / Math.abs(expected);

export async function readBatches(dir: string, ignore: number): Promise<TrainingBatch[]> {
  return readTensors(join(dir, 'batches.safetensors'), async (tensors) => {
    const [batches, rows, length] = tensors.get('samples')!.shape;
    const samples = await readInt32(tensors.get('samples')!);
    const targets = await readInt32(tensors.get('targets')!);
    const size = rows * length;
    return Array.from({ length: batches }, (_, b) => ({
      tokens: samples.slice(b * size, (b + 1) * size),
      targets: targets.slice(b * size, (b + 1) * size).map((target) => (target === ignore ? -1 : target)),
      sequences: Array.from({ length: rows }, (_, r) => [r * length, length] as const),
    }));
  });
}

/** A directory's numbers, and the model and settings that they belong to. */
interface Prepared {
  readonly golden: Golden;
  readonly modelDir: string;
  readonly batches: readonly TrainingBatch[];
  readonly language: LanguageModellingOptions;
  readonly keep: KeepOptions;
  readonly optimizer: OptimizerOptions;
}

async function prepare(dir: string, parent: string): Promise<Prepared> {
  const golden = (await readJson(join(dir, 'train.json'))) as Golden;
  const batches = await readBatches(dir, golden.ignore_index);
  const { beta1, beta2, eps, weight_decay: weightDecay, grad_clip: maxGradNorm } = golden.optimizer;
  const language: LanguageModellingOptions = {
    maxRows: batches[0].tokens.length,
    maxSequences: batches[0].sequences.length,
    maxPositions: batches[0].sequences[0][1],
    zLoss: golden.z_loss_eps,
    labelSmoothing: 0,
  };
  const keep = { paddingId: golden.embedding_padding_idx };
  const optimizer = { maxGradNorm, beta1, beta2, eps, weightDecay };
  return { golden, modelDir: join(parent, golden.base_model), batches, language, keep, optimizer };
}

/** What a check changes of the settings. */
interface Changes {
  readonly language?: Partial<LanguageModellingOptions>;
  readonly keep?: KeepOptions;
}

/** Runs something on the model as it is in the beginning. */
async function withFreshStep(
  backend: Backend,
  { modelDir, language, keep, optimizer }: Prepared,
  changes: Changes,
  use: (step: TrainingStep<TrainingBatch>, parameters: ModelParameters) => Promise<void>,
): Promise<void> {
  const config = configFromHuggingFace(await readJson(join(modelDir, 'config.json')), modelDir);
  const weights = await openWeights(modelDir);
  const parameters = new ModelParameters(backend, config);
  await parameters.load(checkWeights(config, weights.tensors, modelDir).tensors);
  await weights.close();
  const objective = languageModelling({ ...language, ...changes.language });
  const model = parameters.model();
  const step = new TrainingStep(backend, { model, parameters, objective, optimizer, ...keep, ...changes.keep });
  await use(step, parameters);
  step.dispose();
  parameters.free();
}

/** Judges a directory in that format; the model that it names is looked up from `parent`. */
export async function judgeTraining(backend: Backend, dir: string, parent: string): Promise<Judgement> {
  const prepared = await prepare(dir, parent);
  const { golden, batches } = prepared;
  const checks: Check[] = [];
  const withStep = (
    changes: Changes,
    use: (step: TrainingStep<TrainingBatch>, parameters: ModelParameters) => Promise<void>,
  ): Promise<void> => withFreshStep(backend, prepared, changes, use);
  const loss = (name: string, found: number, expected: number): void => {
    checks.push({ name, error: relative(found, expected), bound: lossBound });
  };
  const gradients = async (prefix: string, parameters: ModelParameters, suffix = ''): Promise<void> =>
    readTensors(join(dir, 'grads.safetensors'), async (tensors) => {
      for (const [name, tensor] of tensors) {
        if (!name.startsWith(prefix)) continue;
        const found = await parameters.read(`transformer.${name.slice(prefix.length)}`, 'grad');
        checks.push({ name: name + suffix, error: normError(found, await readFloat32(tensor)), bound: gradientBound });
      }
    });

  await withStep({}, async (step, parameters) => {
    const found = await step.accumulate(batches[0]);
    loss('loss', found.means.loss, golden.loss.plain.total_loss);
    loss('cross-entropy', found.means.crossEntropy, golden.loss.plain.ce_loss);
    loss('z-loss', found.means.zLoss, golden.loss.plain.z_loss);
    loss('evaluated loss', (await step.evaluate(batches[0])).means.loss, golden.loss.plain.total_loss);
    await gradients('grad.', parameters);
  });
  await withStep({ keep: { activationCheckpointing: true } }, async (step, parameters) => {
    await step.accumulate(batches[0]);
    await gradients('grad.', parameters, ', checkpointed');
  });
  await withStep({ language: { labelSmoothing: 0.1 } }, async (step, parameters) => {
    loss('label smoothing', (await step.accumulate(batches[0])).means.loss, golden.loss.label_smoothing_0_1.total_loss);
    await gradients('ls.grad.', parameters);
  });
  await withStep({ language: { zLoss: 0 } }, async (step) => {
    loss('without z-loss', (await step.accumulate(batches[0])).means.loss, golden.loss.no_z.total_loss);
  });
  for (const [steps, file] of [
    [golden.steps, 'steps_final.safetensors'],
    [golden.steps_accum2 ?? [], 'steps_accum2_final.safetensors'],
  ] as const) {
    if (steps.length === 0) continue;
    await withStep({}, async (step, parameters) => {
      let next = 0;
      for (const { iteration, lr, grad_norm_before_clip, micro_batches } of steps) {
        for (const expected of micro_batches) {
          const found = await step.accumulate(batches[next++]);
          checks.push({ name: `${file} loss ${iteration}`, error: relative(found.means.loss, expected.total_loss), bound: 5e-6 });
        }
        const { gradNorm } = await step.update(lr, iteration + 1);
        checks.push({
          name: `${file} grad norm ${iteration}`,
          error: relative(gradNorm, grad_norm_before_clip),
          bound: gradientBound,
        });
      }
      await compareStates(dir, file, parameters, checks);
    });
  }
  return { item: dir, checks, skipped: [] };
}

/** Parameters and moments after the last step. */
async function compareStates(dir: string, file: string, parameters: ModelParameters, checks: Check[], what = ''): Promise<void> {
  const states: Record<string, keyof ParameterState> = {
    'param.': 'parameters',
    'exp_avg.': 'firstMoment',
    'exp_avg_sq.': 'secondMoment',
  };
  await readTensors(join(dir, file), async (tensors) => {
    for (const [name, tensor] of tensors) {
      const prefix = Object.keys(states).find((key) => name.startsWith(key));
      if (!prefix) continue;
      const found = await parameters.read(`transformer.${name.slice(prefix.length)}`, states[prefix]);
      const error = absoluteError(found, await readFloat32(tensor));
      checks.push({ name: `${file} ${name}${what}`, error, bound: parameterBound });
    }
  });
}

/** Judges ckpt/: CoreNet's own checkpoints after some of the steps; going on from there ends where all steps end. */
export async function judgeCheckpoints(backend: Backend, dir: string, parent: string): Promise<Judgement> {
  const prepared = await prepare(dir, parent);
  const { golden, batches, modelDir } = prepared;
  const checks: Check[] = [];
  await withFreshStep(backend, prepared, {}, async (step, parameters) => {
    const done = await loadCoreNetTraining(join(dir, 'ckpt/training_checkpoint_last.pt'), parameters);
    const alone = join(dir, 'ckpt/checkpoint_last.pt');
    const source = await openFile(alone);
    const model = await readCoreNetModel(source, configFromHuggingFace(await readJson(join(modelDir, 'config.json')), modelDir));
    for (const [name, tensor] of checkWeights(model.config, model.tensors(source), alone).tensors) {
      const error = absoluteError(await parameters.read(name), await readFloat32(tensor));
      checks.push({ name: `checkpoint_last.pt ${name}`, error, bound: 0 });
    }
    await source.close();
    for (const { iteration, lr, micro_batches } of golden.steps.slice(done)) {
      const found = await step.accumulate(batches[iteration]);
      checks.push({ name: `loss ${iteration}`, error: relative(found.means.loss, micro_batches[0].total_loss), bound: 5e-6 });
      await step.update(lr, iteration + 1);
    }
    await compareStates(dir, 'steps_final.safetensors', parameters, checks, `, from step ${done}`);
  });
  return { item: join(dir, 'ckpt'), checks, skipped: [] };
}

/** Judges averages.safetensors: the mean of the parameters after steps 2 to 6, and their moving average over all steps. */
export async function judgeAverages(backend: Backend, dir: string, parent: string): Promise<Judgement> {
  const prepared = await prepare(dir, parent);
  const { golden, batches } = prepared;
  const checks: Check[] = [];
  await withFreshStep(backend, prepared, {}, async (step, parameters) => {
    const average = await MovingAverage.create(parameters, golden.ema_momentum);
    const snapshots: Map<string, Float32Array>[] = [];
    for (const { iteration, lr } of golden.steps) {
      await step.accumulate(batches[iteration]);
      await step.update(lr, iteration + 1);
      average.follow();
      const snapshot = new Map<string, Float32Array>();
      for (const { name } of parameters.list) snapshot.set(name, await parameters.read(name));
      snapshots.push(snapshot);
    }
    const moving = await average.current();
    const last = snapshots.slice(-5);
    await readTensors(join(dir, 'averages.safetensors'), async (tensors) => {
      for (const [name, tensor] of tensors) {
        const [kind, ...rest] = name.split('.');
        const own = `transformer.${rest.join('.')}`;
        const taken = Number(/^ckpt(\d+)$/.exec(kind)?.[1]);
        const found =
          kind === 'ema'
            ? moving.get(own)!
            : taken
              ? snapshots[taken - 1].get(own)!
              : await meanTensor(last.map((snapshot) => inMemory(own, tensor.shape, snapshot.get(own)!)));
        const expected = await readFloat32(tensor);
        checks.push({ name, error: absoluteError(found, expected), bound: parameterBound });
        // From the golden inputs themselves the mean is exact to the last place.
        if (kind === 'avg5' && tensors.has(`ckpt2.${rest.join('.')}`)) {
          const mean = await meanTensor([2, 3, 4, 5, 6].map((n) => tensors.get(`ckpt${n}.${rest.join('.')}`)!));
          checks.push({ name: `${name} of golden inputs`, error: absoluteError(mean, expected), bound: 1.2e-7 });
        }
      }
    });
  });
  return { item: join(dir, 'averages.safetensors'), checks, skipped: [] };
}

function inMemory(name: string, shape: readonly number[], values: Float32Array): StoredTensor {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { name, dtype: 'F32', shape, source: bytesInMemory(name, bytes), offset: 0, bytes: bytes.length };
}

interface GoldenRates {
  readonly max_iterations: number;
  readonly warmup_iterations: number;
  readonly warmup_init_lr: number;
  readonly max_lr: number;
  readonly min_lr: number;
  readonly values: Record<string, { get_lr: number; applied: number }>;
}

/** Judges lr.json: the rates of the released recipes at some iterations. */
export async function judgeLearningRates(file: string): Promise<Judgement> {
  const golden = (await readJson(file)) as Record<string, GoldenRates>;
  const checks: Check[] = [];
  for (const [name, rates] of Object.entries(golden)) {
    const options: ScheduleOptions = {
      name: 'cosine',
      maxIterations: rates.max_iterations,
      warmupIterations: rates.warmup_iterations,
      warmupInitLearningRate: rates.warmup_init_lr,
      maxLearningRate: rates.max_lr,
      minLearningRate: rates.min_lr,
      decimals: 8,
    };
    for (const [iteration, { get_lr, applied }] of Object.entries(rates.values ?? {})) {
      checks.push({
        name: `${name} ${iteration}`,
        error: Math.abs(scheduledRate(options, Number(iteration)) - get_lr),
        bound: 1e-15,
      });
      checks.push({
        name: `${name} ${iteration} applied`,
        error: Math.abs(learningRate(options, Number(iteration)) - applied),
        bound: 1e-15,
      });
    }
  }
  return { item: file, checks, skipped: [] };
}
