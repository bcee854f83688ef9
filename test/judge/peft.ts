// Judges adapters on a backend against numbers of CoreNet and PEFT (peft.json and its safetensors): logits with and without the
// adapter merged, every gradient, the parameters after some steps, merged weights, and PEFT's files read and written again.

import { join } from 'node:path';
import { type ByteSink, bytesInMemory, type StoredTensor } from '../../src/io/bytes.js';
import { readFloat32 } from '../../src/io/decode.js';
import { isObject } from '../../src/io/json.js';
import { openFile, readJson } from '../../src/io/node/files.js';
import { kindOf } from '../../src/io/node/paths.js';
import { openWeights } from '../../src/io/node/weights.js';
import { readSafetensors } from '../../src/io/safetensors.js';
import { type Adapter, type AdapterRule, adapterParameters, chooseModules, transposed } from '../../src/model/adapter.js';
import { configFromHuggingFace, type ModelConfig } from '../../src/model/config.js';
import { loadModel } from '../../src/model/load.js';
import { mergedWeight } from '../../src/model/merge.js';
import { type CheckedWeights, checkWeights } from '../../src/model/parameters.js';
import { peftFiles, readPeft, writePeft } from '../../src/model/peft.js';
import type { Backend } from '../../src/tensor/backend.js';
import { AdapterParameters } from '../../src/train/adapter.js';
import { languageModelling, type TrainingBatch } from '../../src/train/language-modelling.js';
import { TrainingStep } from '../../src/train/step.js';
import { absoluteError, type Check, type Judgement, relativeError } from './judgement.js';
import { forward } from './models.js';
import { normError, readBatches, readTensors } from './train.js';

const logitsBound = 2e-5; // relative to the largest
const lossBound = 2e-6; // relative
const gradientBound = 5e-5; // norm of the difference over norm
const parameterBound = 1e-4; // absolute, after steps of 0.01: where a gradient is next to nothing, AdamW takes its sign
const mergedBound = 1e-6; // absolute, of weights below 1

interface Golden {
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weight_decay: number;
  readonly grad_clip: number;
  readonly ignore_index?: number;
  readonly [kind: string]: unknown;
}
interface GoldenKind {
  readonly steps: readonly {
    readonly total_loss: number;
    readonly ce_loss: number;
    readonly z_loss: number;
    readonly grad_norm_before_clip: number;
  }[];
  readonly config: readonly { readonly regex: string; readonly params: Record<string, unknown> }[];
}

interface Base {
  readonly config: ModelConfig;
  readonly weights: CheckedWeights;
  readonly batches: readonly TrainingBatch[];
  readonly paddingId: number;
  readonly zLoss: number;
}

const relative = (found: number, expected: number): number => Math.abs(found - expected) / Math.abs(expected);

/** CoreNet calls an adapter's tensors after the adapter too: `lora_A.lora.weight` of the one called lora. */
async function corenetAdapter(
  tensors: ReadonlyMap<string, StoredTensor>,
  adapter: string,
  modules: Adapter['modules'],
): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const module of modules) {
    for (const { name } of adapterParameters(module)) values.set(name, await corenetValue(tensors, '', adapter, module, name));
  }
  return values;
}

async function corenetValue(
  tensors: ReadonlyMap<string, StoredTensor>,
  prefix: string,
  adapter: string,
  { name, embedding, rank, inputs }: Adapter['modules'][number],
  parameter: string,
): Promise<Float32Array> {
  const module = name.slice('transformer.'.length);
  const part = parameter.slice(name.length + 1);
  const key = embedding ? part.replace('lora_', 'lora_embedding_') : part;
  const stored = ['.weight', ''].map((end) => tensors.get(`${prefix}${module}.${key}.${adapter}${end}`)).find((tensor) => tensor);
  if (!stored) throw new Error(`${prefix}${module}.${key} is missing`);
  const values = await readFloat32(stored);
  return embedding && part === 'lora_A' ? transposed(values, rank, inputs) : values;
}

/** Judges a directory in that format; the base is looked up from `parent`. */
export async function judgePeft(backend: Backend, dir: string, parent: string): Promise<Judgement> {
  const golden = (await readJson(join(dir, 'peft.json'))) as Golden;
  const kinds = Object.keys(golden).filter((kind) => isKind(golden[kind]));
  const hf = (kind: string): string => join(dir, `${kind}_hf`);
  const { base_model_name_or_path: name } = (await readJson(join(hf(kinds[0]), peftFiles.config))) as Record<string, string>;
  const modelDir = join(parent, 'models', name);
  const train = join(parent, 'train', 'train.json');
  const settings = ((await kindOf(train)) ? await readJson(train) : golden) as Record<string, number>;
  const ignore = golden.ignore_index ?? settings.ignore_index;
  const config = configFromHuggingFace(await readJson(join(modelDir, 'config.json')), modelDir);
  const files = await openWeights(modelDir);
  const checks: Check[] = [];
  try {
    const base: Base = {
      config,
      weights: checkWeights(config, files.tensors, modelDir),
      batches: await readBatches(dir, ignore),
      paddingId: settings.embedding_padding_idx ?? ignore,
      zLoss: settings.z_loss_eps ?? 1e-4,
    };
    for (const kind of kinds) {
      const found = await judgeKind(backend, golden, kind, dir, base);
      checks.push(...found.map(({ name, ...rest }) => ({ name: `${kind}: ${name}`, ...rest })));
      checks.push(...(await judgeFiles(backend, hf(kind), join(dir, `${kind}_golden.safetensors`), base)));
    }
  } finally {
    await files.close();
  }
  return { item: dir, checks, skipped: [] };
}

const isKind = (value: unknown): value is GoldenKind => isObject(value) && Array.isArray(value.steps);

function rulesOf(config: GoldenKind['config']): AdapterRule[] {
  return config.map(({ regex, params }) => ({
    pattern: regex,
    r: params.r as number,
    alpha: params.lora_alpha as number,
    dropout: params.lora_dropout as number,
    use_rslora: params.use_rslora as boolean,
    use_dora: params.use_dora as boolean,
    init: true,
  }));
}

async function judgeKind(backend: Backend, golden: Golden, kind: string, dir: string, base: Base): Promise<Check[]> {
  const { steps, config: rules } = golden[kind] as GoldenKind;
  const { batches, zLoss, paddingId } = base;
  const modules = chooseModules(base.config, rulesOf(rules));
  const called = (rules[0].params.adapter_name as string | undefined) ?? 'lora';
  const checks: Check[] = [];
  const adapter = new AdapterParameters(backend, modules);
  const loaded = await loadModel(backend, base.config, base.weights, adapter.wrapping);
  const values = await readTensors(join(dir, `${kind}_adapter.safetensors`), (tensors) =>
    corenetAdapter(tensors, called, modules),
  );
  await adapter.begin(values);
  const limits = {
    maxRows: batches[0].tokens.length,
    maxSequences: batches[0].sequences.length,
    maxPositions: batches[0].sequences[0][1],
  };
  const [beta1, beta2] = golden.betas;
  const step = new TrainingStep(backend, {
    model: loaded.model,
    parameters: adapter,
    objective: languageModelling({ ...limits, zLoss, labelSmoothing: 0 }),
    optimizer: { maxGradNorm: golden.grad_clip, beta1, beta2, eps: golden.eps, weightDecay: golden.weight_decay },
    paddingId,
  });
  await readTensors(join(dir, `${kind}_golden.safetensors`), async (tensors) => {
    const logits = await readFloat32(tensors.get('logits')!);
    const found = (await forward(backend, loaded, batches[0].tokens, limits.maxSequences)).get('logits')!;
    checks.push({ name: 'logits', error: relativeError(found, logits), bound: logitsBound });
    for (const [i, { total_loss, ce_loss, z_loss, grad_norm_before_clip }] of steps.entries()) {
      const { means } = await step.accumulate(batches[i]);
      checks.push({ name: `loss ${i}`, error: relative(means.loss, total_loss), bound: lossBound });
      checks.push({ name: `cross-entropy ${i}`, error: relative(means.crossEntropy, ce_loss), bound: lossBound });
      checks.push({ name: `z-loss ${i}`, error: relative(means.zLoss, z_loss), bound: lossBound });
      if (i === 0) await compare('grad.', 'grad', normError, gradientBound);
      const { gradNorm } = await step.update(golden.lr, i + 1);
      checks.push({ name: `gradient norm ${i}`, error: relative(gradNorm, grad_norm_before_clip), bound: gradientBound });
    }
    await compare(`after${steps.length}.`, 'parameters', absoluteError, parameterBound);

    async function compare(
      prefix: string,
      state: 'grad' | 'parameters',
      errorOf: typeof normError,
      bound: number,
    ): Promise<void> {
      for (const module of modules) {
        for (const { name } of adapterParameters(module)) {
          const expected = await corenetValue(tensors, prefix, called, module, name);
          checks.push({ name: prefix + name, error: errorOf(await adapter.read(name, state), expected), bound });
        }
      }
    }
  });
  step.dispose();
  adapter.free();
  loaded.free();
  checks.push(...(await judgeMerged(backend, kind, dir, base, { modules, values, dropout: 0 })));
  return checks;
}

async function judgeMerged(backend: Backend, kind: string, dir: string, base: Base, adapter: Adapter): Promise<Check[]> {
  const checks: Check[] = [];
  const tensors = new Map(base.weights.tensors);
  await readTensors(join(dir, `${kind}_merged.safetensors`), async (expected) => {
    for (const module of adapter.modules) {
      const name = `${module.name}.weight`;
      const merged = mergedWeight(await readFloat32(tensors.get(name)!), module, adapter);
      const golden = await readFloat32(expected.get(name.slice('transformer.'.length))!);
      const error = golden.reduce((largest, value, i) => Math.max(largest, Math.abs(value - merged[i])), 0);
      checks.push({ name: `merged ${name}`, error, bound: mergedBound });
      const bytes = new Uint8Array(merged.buffer, merged.byteOffset, merged.byteLength);
      tensors.set(name, {
        ...tensors.get(name)!,
        dtype: 'F32',
        source: bytesInMemory(name, bytes),
        offset: 0,
        bytes: bytes.length,
      });
    }
  });
  const loaded = await loadModel(backend, base.config, { ...base.weights, tensors });
  const { tokens, sequences } = base.batches[0];
  const found = (await forward(backend, loaded, tokens, sequences.length)).get('logits')!;
  loaded.free();
  const expected = await readTensors(join(dir, `${kind}_golden.safetensors`), (golden) =>
    readFloat32(golden.get('logits_merged')!),
  );
  checks.push({ name: 'logits of the merged model', error: relativeError(found, expected), bound: logitsBound });
  return checks;
}

/** PEFT's own files: the logits with them, and the same tensors when they are written again. */
async function judgeFiles(backend: Backend, dir: string, goldenFile: string, base: Base): Promise<Check[]> {
  const checks: Check[] = [];
  const weights = await openFile(join(dir, peftFiles.weights));
  const { tensors } = await readSafetensors(weights);
  const adapter = await readPeft(await readJson(join(dir, peftFiles.config)), tensors, dir);
  const written = new Map<string, Uint8Array>();
  await writePeft(
    async (name, fill) => {
      const chunks: Uint8Array[] = [];
      const sink: ByteSink = { write: async (chunk) => void chunks.push(chunk.slice()) };
      await fill(sink);
      written.set(name, Buffer.concat(chunks));
    },
    adapter,
    null,
  );
  const again = (await readSafetensors(bytesInMemory('again', written.get(peftFiles.weights)!))).tensors;
  checks.push({
    name: `${dir}: names`,
    error: [...again.keys()].sort().join() === [...tensors.keys()].sort().join() ? 0 : 1,
    bound: 0,
  });
  for (const [name, tensor] of tensors) {
    const [mine, theirs] = [await readFloat32(again.get(name)!), await readFloat32(tensor)];
    checks.push({ name: `${dir}: ${name}`, error: relativeError(mine, theirs), bound: 0 });
  }
  await weights.close();
  const parameters = new AdapterParameters(
    backend,
    adapter.modules.map((module) => ({ ...module, dropout: 0, init: true })),
  );
  const loaded = await loadModel(backend, base.config, base.weights, parameters.wrapping);
  await parameters.begin(adapter.values);
  const { tokens, sequences } = base.batches[0];
  const found = (await forward(backend, loaded, tokens, sequences.length)).get('logits')!;
  const expected = await readTensors(goldenFile, (golden) => readFloat32(golden.get('logits_hf_adapter')!));
  checks.push({ name: `${dir}: logits`, error: relativeError(found, expected), bound: logitsBound });
  loaded.free();
  parameters.free();
  return checks;
}
