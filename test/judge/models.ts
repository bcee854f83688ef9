// Judges a model directory on a backend: config.json and model.safetensors with golden.safetensors (logits, hidden states, caches
// and cached decode of the f32 weights) and, where there, golden_quant.safetensors (rounded and quantized weights) and copies of
// the weights in other types. Also greedy continuations. The numbers were made with Apple's own code.

import { access, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { referenceBackend } from '../../src/backends/reference.js';
import { openCheckpoint } from '../../src/checkpoint.js';
import { affineTensor, quantizeAffine } from '../../src/formats/mlx.js';
import { Stepper } from '../../src/infer/step.js';
import type { StoredTensor } from '../../src/io/bytes.js';
import { readFloat32 } from '../../src/io/decode.js';
import { openFile, readJson } from '../../src/io/node/files.js';
import { openWeights } from '../../src/io/node/weights.js';
import { readSafetensors } from '../../src/io/safetensors.js';
import { createCache } from '../../src/model/cache.js';
import { findBadTensor } from '../../src/model/check.js';
import type { Linear } from '../../src/model/linear.js';
import { type LoadedModel, type LoadOptions, loadModel } from '../../src/model/load.js';
import type { Tap } from '../../src/model/openelm.js';
import { checkWeights } from '../../src/model/parameters.js';
import type { Backend, DeviceBuffer } from '../../src/tensor/backend.js';
import { Ops, type Tensor } from '../../src/tensor/ops.js';
import { tokenizerFromModel } from '../../src/tokenizer/sentencepiece.js';
import { readInt32 } from '../integers.js';
import { judgeContinuation } from './greedy.js';
import { absoluteError, type Check, floatBound, type Judgement, mismatches, relativeError } from './judgement.js';

/** Sums of exact integer products, scaled in f32. */
const int8Bound = 1e-4;
const dequantizedBound = 1e-6;

type Tensors = ReadonlyMap<string, StoredTensor>;

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function withTensors<T>(path: string, use: (tensors: Tensors) => Promise<T>): Promise<T> {
  const source = await openFile(path);
  try {
    return await use((await readSafetensors(source)).tensors);
  } finally {
    await source.close();
  }
}

async function withModel<T>(
  backend: Backend,
  place: string,
  options: LoadOptions,
  use: (model: LoadedModel) => Promise<T>,
): Promise<T> {
  const checkpoint = await openCheckpoint(place);
  const weights = await checkpoint.openWeights();
  // CoreNet's rotary table grows with the keys: its goldens may be longer than rope_max_length.
  const config = { ...checkpoint.config, ropeMaxLength: Math.max(checkpoint.config.ropeMaxLength, 4096) };
  try {
    const loaded = await loadModel(backend, config, checkWeights(config, weights.tensors, place), options);
    try {
      return await use(loaded);
    } finally {
      loaded.free();
    }
  } finally {
    await weights.close();
  }
}

/** A parameter under its own name or CoreNet's, which lacks the prefix. */
function stored(tensors: Tensors, name: string): StoredTensor {
  return tensors.get(name) ?? tensors.get(name.replace(/^transformer\./, ''))!;
}

/** Forward of ids [sequences, length], each row a sequence of its own in one ragged step; logits and what `taps` names. */
export async function forward(
  backend: Backend,
  { model }: LoadedModel,
  ids: Int32Array,
  sequences: number,
  names: readonly string[] = [],
): Promise<Map<string, Float32Array>> {
  const length = ids.length / sequences;
  const { config } = model;
  const cache = createCache(backend, config, ids.length, length, 'f32');
  const ops = new Ops();
  const views = { ids: ops.params(ids.length), positions: ops.params(ids.length), kvRows: ops.params(ids.length) };
  const ragged = {
    ...{ sequences: ops.params(4 * sequences), sequenceCount: sequences },
    ...{ segments: ops.params(2 * sequences), segmentCount: sequences },
  };
  const kept = new Map<string, DeviceBuffer<'f32'>>();
  const tap: Tap = (name, tensor) => {
    if (!names.includes(name)) return;
    const into = backend.create('f32', [ids.length, tensor.columns]);
    kept.set(name, into);
    ops.copy(tensor, into);
  };
  const hidden = model.forward(
    ops,
    { rows: ids.length, ...views, ragged, rope: cache.rope, cacheOf: (i) => cache.layers[i] },
    tap,
  );
  const logits = backend.create('f32', [ids.length, config.vocabSize]);
  kept.set('logits', logits);
  model.logits(ops, hidden, { into: logits, tap });
  const program = ops.finish();
  const params = new Int32Array(program.paramsLength);
  params.set(ids, views.ids.offset);
  for (let row = 0; row < ids.length; row++) {
    params[views.positions.offset + row] = row % length;
    params[views.kvRows.offset + row] = row;
  }
  for (let s = 0; s < sequences; s++) {
    params.set([s * length, length, s, 1], ragged.sequences.offset + 4 * s);
    params.set([s * length, length], ragged.segments.offset + 2 * s);
  }
  const executable = backend.compile(program);
  await backend.submit(executable, params).done;
  const results = new Map<string, Float32Array>();
  for (const [name, buffer] of kept) {
    results.set(name, await backend.read(buffer));
    backend.free(buffer);
  }
  executable.dispose();
  cache.free();
  return results;
}

/** The golden tensor's name for one of ours; module outputs there come without the residual that is fused in here. */
function goldenNames(layers: number): Map<string, string> {
  const names = new Map([
    ['transformer.token_embeddings', 'embed'],
    ['transformer.layers.0.attn_norm', 'layer0.attn_norm'],
    ['transformer.layers.0.ffn_norm', 'layer0.ffn_norm'],
    ['transformer.norm', 'final_norm'],
  ]);
  for (let i = 0; i < layers; i++) names.set(`transformer.layers.${i}.out`, `hidden.${i}`);
  return names;
}

async function judgeForward(backend: Backend, loaded: LoadedModel, golden: Tensors): Promise<Check[]> {
  const ids = golden.get('input_ids')!;
  const names = goldenNames(loaded.model.config.layers.length);
  const taps = [...names.keys(), 'transformer.layers.0.attended'];
  const found = await forward(backend, loaded, await readInt32(ids), ids.shape[0], taps);
  const checks: Check[] = [];
  const compare = async (name: string, values: Float32Array): Promise<void> => {
    const tensor = golden.get(name);
    if (tensor) checks.push({ name, error: relativeError(values, await readFloat32(tensor)), bound: floatBound });
  };
  await compare('logits', found.get('logits')!);
  for (const [ours, theirs] of names) await compare(theirs, found.get(ours)!);
  // What a module added, known no better than the sum is.
  const compareAdded = async (name: string, sum: Float32Array, before: Float32Array): Promise<void> => {
    const tensor = golden.get(name);
    if (!tensor) return;
    const added = await readFloat32(tensor);
    checks.push({
      name,
      error: relativeError(
        sum,
        added.map((value, i) => value + before[i]),
      ),
      bound: floatBound,
    });
  };
  const attended = found.get('transformer.layers.0.attended')!;
  await compareAdded('layer0.attn', attended, found.get('transformer.token_embeddings')!);
  await compareAdded('layer0.ffn', found.get('transformer.layers.0.out')!, attended);
  return checks;
}

/** Prefill in pieces, then token by token with all sequences in each step; logits and the caches' contents. */
async function judgeDecode(backend: Backend, { model }: LoadedModel, golden: Tensors): Promise<Check[]> {
  const expected = golden.get('decode_logits');
  const { shape } = golden.get('input_ids')!;
  if (!expected) return [];
  const ids = await readInt32(golden.get('input_ids')!);
  const [sequences, length] = shape;
  const steps = expected.shape[1];
  const prefill = length - steps;
  const { config } = model;
  const cache = createCache(backend, config, sequences * length, length, 'f32');
  const stepper = new Stepper(backend, model, cache, { maxSequences: sequences, maxSegments: sequences });
  const item = (s: number, past: number, count: number, wanted: number[]) => ({
    ...{ ids: ids.subarray(s * length + past, s * length + past + count), past, wanted },
    segments: [[s * length, past + count]] as const,
  });
  for (let s = 0; s < sequences; s++) {
    const piece = 13 + 4 * s; // pieces that fill no tile
    for (let past = 0; past < prefill; past += piece) {
      await stepper.run([item(s, past, Math.min(piece, prefill - past), [])], 'none');
    }
  }
  const checks: Check[] = [];
  for (const [i, layer] of config.layers.entries()) {
    for (const [name, buffer] of [
      [`cache_k_roped.${i}`, cache.layers[i].keys],
      [`cache_v.${i}`, cache.layers[i].values],
    ] as const) {
      const tensor = golden.get(name);
      if (!tensor) continue;
      const rows = await backend.read(buffer); // [sequences * length, kvHeads, headDim]
      const { kvHeads, headDim } = layer;
      const ordered = new Float32Array(sequences * kvHeads * prefill * headDim); // [sequences, kvHeads, prefill, headDim]
      for (let n = 0; n < ordered.length; n++) {
        const [d, p] = [n % headDim, Math.floor(n / headDim) % prefill];
        const h = Math.floor(n / (headDim * prefill)) % kvHeads;
        const s = Math.floor(n / (headDim * prefill * kvHeads));
        ordered[n] = rows[((s * length + p) * kvHeads + h) * headDim + d];
      }
      checks.push({ name, error: relativeError(ordered, await readFloat32(tensor)), bound: floatBound });
    }
  }
  const vocab = config.vocabSize;
  const logits = new Float32Array(sequences * steps * vocab);
  for (let t = 0; t < steps; t++) {
    const items = Array.from({ length: sequences }, (_, s) => item(s, prefill + t, 1, [0]));
    const output = await stepper.run(items, 'logits');
    for (let s = 0; s < sequences; s++) {
      logits.set(output.logits!.subarray(s * vocab, (s + 1) * vocab), (s * steps + t) * vocab);
    }
  }
  checks.push({ name: 'decode_logits', error: relativeError(logits, await readFloat32(expected)), bound: floatBound });
  stepper.dispose();
  cache.free();
  return checks;
}

/** A copy of the model in another type or format, and the golden logits that it must give. */
interface Copy {
  readonly place: string;
  readonly logits: string;
}

/** Folders, GGUF files (`model-TYPE.gguf`) and PyTorch files (their type in the name) beside a model. */
async function copiesIn(dir: string): Promise<Copy[]> {
  const named = (text: string): string => {
    const type = /bf16|f16/i.exec(text)?.[0];
    return type === undefined ? 'logits' : `logits_${type.toLowerCase()}`;
  };
  const copies: Copy[] = [];
  for (const name of (await readdir(dir)).sort()) {
    const place = join(dir, name);
    const gguf = /-(\w+)\.gguf$/.exec(name)?.[1];
    if (gguf) copies.push({ place, logits: gguf === 'F32' ? 'logits' : `logits_${gguf}` });
    else if (name.endsWith('.pt')) copies.push({ place, logits: named(name) });
    else if (await exists(join(place, 'config.json'))) {
      const { quantization } = (await readJson(join(place, 'config.json'))) as { quantization?: Record<string, number> };
      const mlx = quantization && `logits_mlx_q${quantization.bits}_g${quantization.group_size}`;
      copies.push({ place, logits: mlx ?? named(name) });
    }
  }
  return copies;
}

async function judgeCopies(backend: Backend, dir: string, golden: Tensors, quant: Tensors): Promise<Judgement> {
  const ids = golden.get('input_ids')!;
  const length = ids.shape[1];
  const row = (await readInt32(ids)).subarray(0, length);
  const checks: Check[] = [];
  const skipped: string[] = [];
  const logits = new Map([...golden, ...quant]);
  const compare = async (name: string, place: string, options: LoadOptions): Promise<void> => {
    await withModel(backend, place, options, async (loaded) => {
      const found = (await forward(backend, loaded, row, 1)).get('logits')!;
      const expected = (await readFloat32(logits.get(name)!)).subarray(0, found.length);
      const item = `${relative(dir, place) || '.'} at ${loaded.dtype}: ${name}`;
      checks.push({ name: item, error: relativeError(found, expected), bound: floatBound });
    });
  };
  for (const { place, logits: name } of await copiesIn(dir)) {
    if (!logits.has(name)) {
      skipped.push(`${place}: there is no ${name} to judge it by`);
      continue;
    }
    // As they are stored where a kernel takes just that (factors that are no f16 are rounded), and decoded.
    if (!/_(Q\d_K|IQ|mlx)/.test(name)) await compare(name, place, { activations: 'f32' });
    if (/_(Q|IQ|mlx)/.test(name)) await compare(name, place, { dtype: 'f32' });
  }
  if (quant.has('logits_F16')) await compare('logits_F16', dir, { dtype: 'f16' });
  for (const dtype of ['q8', 'q4'] as const) {
    const format = dtype === 'q8' ? 'Q8_0' : 'Q4_0';
    if (quant.has(`logits_${format}`)) await compare(`logits_${format}`, dir, { dtype, activations: 'f32' });
    checks.push(...(await judgeDequantized(backend, dir, quant, dtype, format)));
    if (quant.size > 0 && backend.name !== 'reference') checks.push(await judgeInt8(backend, dir, row, dtype));
  }
  return { item: dir, checks, skipped };
}

/** Tensors of MLX's groups beside what they stand for: `NAME.weight`, `.scales`, `.biases`, `.source` and `.dequant`. */
async function judgeGroups(file: string): Promise<Check[]> {
  const groupSize = Number(/g(\d+)\.safetensors$/.exec(file)![1]);
  return withTensors(file, async (tensors) => {
    const checks: Check[] = [];
    for (const name of tensors.keys()) {
      const module = /^(.*)\.dequant$/.exec(name)?.[1];
      if (module === undefined) continue;
      const part = (suffix: string): StoredTensor => tensors.get(`${module}.${suffix}`)!;
      const [weight, scales, biases] = [part('weight'), part('scales'), part('biases')];
      const bits = (weight.shape[1] * 32) / (scales.shape[1] * groupSize);
      const values = await readFloat32(affineTensor(weight, scales, biases, { bits, groupSize }));
      const expected = await readFloat32(part('dequant'));
      checks.push({ name: `${module} decoded`, error: absoluteError(values, expected), bound: dequantizedBound });
      const { codes } = quantizeAffine(await readFloat32(part('source')), { bits, groupSize });
      const stored = await weight.source.read(weight.offset, weight.bytes);
      checks.push({ name: `${module} quantized`, error: mismatches([...codes], [...stored]), bound: 0 });
    }
    return checks;
  });
}

/** Quantized tensors read back through the embedding op: its rows are the dequantized rows of any weight. */
async function judgeDequantized(
  backend: Backend,
  dir: string,
  quant: Tensors,
  dtype: 'q8' | 'q4',
  format: string,
): Promise<Check[]> {
  const checks: Check[] = [];
  const weights = await openWeights(dir);
  for (const [name, expected] of quant) {
    if (!name.startsWith(`${format}.`)) continue;
    const weight = await backend.upload(stored(weights.tensors, `transformer.${name.slice(format.length + 1)}`), dtype);
    const [rows, columns] = expected.shape;
    const into = backend.create('f32', [rows, columns]);
    const ops = new Ops();
    const ids = ops.params(rows);
    ops.copy(ops.embedding(weight, ids, rows), into);
    const executable = backend.compile(ops.finish());
    await backend.submit(
      executable,
      Int32Array.from({ length: rows }, (_, i) => i),
    ).done;
    const found = await backend.read(into);
    checks.push({ name, error: absoluteError(found, await readFloat32(expected)), bound: dequantizedBound });
    executable.dispose();
    for (const buffer of [weight, into]) backend.free(buffer);
  }
  await weights.close();
  return checks;
}

/**
 * Every linear of the model with int8 activations, on the inputs that it really sees, against the reference backend. Not the
 * logits: where two backends' inputs differ in the last bit, a code may round to the other side and the difference grows.
 */
async function judgeInt8(backend: Backend, dir: string, ids: Int32Array, dtype: 'q8' | 'q4'): Promise<Check> {
  const probes: { name: string; x: DeviceBuffer; residual?: DeviceBuffer; y: DeviceBuffer }[] = [];
  const keep = (ops: Ops, tensor: Tensor): DeviceBuffer => {
    const into = backend.create('f32', [ids.length, tensor.columns]);
    ops.copy(tensor, into);
    return into;
  };
  const wrapLinear = (name: string, base: Linear): Linear => ({
    ...base,
    forward(ops, x, options) {
      const y = base.forward(ops, x, options);
      const residual = options?.residual && keep(ops, options.residual);
      probes.push({ name, x: keep(ops, x), residual, y: keep(ops, y) });
      return y;
    },
  });
  const reference = referenceBackend();
  const weights = await openWeights(dir);
  let error = 0;
  await withModel(backend, dir, { dtype, wrapLinear }, async (loaded) => {
    await forward(backend, loaded, ids, 1);
    for (const { name, x, residual, y } of probes) {
      const weight = await reference.upload(stored(weights.tensors, `${name}.weight`), dtype);
      const ops = new Ops();
      const there = async (buffer: DeviceBuffer): Promise<Tensor> => {
        const copy = reference.create('f32', buffer.shape);
        reference.write(copy, await backend.read(buffer));
        return { buffer: copy, rows: buffer.shape[0], columns: buffer.shape[1] };
      };
      const into = reference.create('f32', y.shape);
      ops.linear(await there(x), weight, { int8: true, into, residual: residual && (await there(residual)) });
      await reference.submit(reference.compile(ops.finish()), new Int32Array(0)).done;
      error = Math.max(error, relativeError(await backend.read(y), await reference.read(into)));
      for (const buffer of [x, y, ...(residual ? [residual] : [])]) backend.free(buffer);
    }
  });
  await weights.close();
  await reference.dispose();
  return { name: `${dtype}, int8 activations: ${probes.length} linears against the reference`, error, bound: int8Bound };
}

/** Judges one model directory that holds a golden.safetensors. */
export async function judgeModel(backend: Backend, dir: string): Promise<Judgement> {
  return withTensors(join(dir, 'golden.safetensors'), async (golden) => {
    const checks = await withModel(backend, dir, {}, async (loaded) => {
      const found = [...(await judgeForward(backend, loaded, golden)), ...(await judgeDecode(backend, loaded, golden))];
      const [prompt, greedy] = [golden.get('prompt'), golden.get('greedy')];
      if (prompt && greedy) {
        const [given, expected] = [Array.from(await readInt32(prompt)), Array.from(await readInt32(greedy))];
        found.push(await judgeContinuation(backend, loaded.model, 'greedy', given, expected));
      }
      return found;
    });
    const quantFile = join(dir, 'golden_quant.safetensors');
    const withQuant = async (use: (quant: Tensors) => Promise<Judgement>): Promise<Judgement> =>
      (await exists(quantFile)) ? withTensors(quantFile, use) : use(new Map());
    const copies = await withQuant((quant) => judgeCopies(backend, dir, golden, quant));
    checks.push(...copies.checks);
    for (const name of await readdir(dir)) {
      if (/^mlx_g\d+\.safetensors$/.test(name)) checks.push(...(await judgeGroups(join(dir, name))));
    }
    return { item: dir, checks, skipped: copies.skipped };
  });
}

/** Judges a model without numbers of its own, which others are made from: its weights fit its config, and are numbers. */
export async function judgeFit(dir: string): Promise<Judgement> {
  const checkpoint = await openCheckpoint(dir);
  const weights = await checkpoint.openWeights();
  try {
    const { tensors } = checkWeights(checkpoint.config, weights.tensors, dir);
    const error = (await findBadTensor(tensors.values(), 'f32')) === undefined ? 0 : 1;
    return { item: dir, checks: [{ name: `${tensors.size} tensors fit the config, all finite`, error, bound: 0 }], skipped: [] };
  } finally {
    await weights.close();
  }
}

/** Judges greedy.json: continuations of ids by the model it names, which is looked up from `parent`. */
export async function judgeGreedy(backend: Backend, dir: string, parent: string): Promise<Judgement> {
  const golden = (await readJson(join(dir, 'greedy.json'))) as Record<string, string & number[]>;
  return withModel(backend, join(parent, golden.model), {}, async (loaded) => {
    const checks: Check[] = [];
    for (const kind of ['', 'repetitive_']) {
      const [prompt, expected] = [golden[`${kind}prompt`], golden[`${kind}continuation`]];
      if (!prompt || !expected) continue;
      checks.push(await judgeContinuation(backend, loaded.model, `${kind}continuation`, prompt, expected));
    }
    return { item: join(dir, 'greedy.json'), checks, skipped: [] };
  });
}

/** Judges golden_greedy.json beside a model with a tokenizer: prompt ids, greedy ids, and their text. */
export async function judgeStories(backend: Backend, dir: string, modelDir = dir): Promise<Judgement> {
  const file = join(dir, 'golden_greedy.json');
  const cases = (await readJson(file)) as { prompt: string; prompt_ids: number[]; ids: number[]; text: string }[];
  const source = await openFile(join(modelDir, 'tokenizer.model'));
  const tokenizer = tokenizerFromModel(await source.read(0, source.size));
  await source.close();
  return withModel(backend, modelDir, {}, async (loaded) => {
    const checks: Check[] = [];
    for (const { prompt, prompt_ids, ids, text } of cases) {
      const name = JSON.stringify(prompt);
      checks.push({
        name: `${name} prompt ids`,
        error: mismatches(tokenizer.encode(prompt, { bos: true }), prompt_ids),
        bound: 0,
      });
      checks.push(await judgeContinuation(backend, loaded.model, `${name} ids`, prompt_ids, ids));
      checks.push({ name: `${name} text`, error: tokenizer.decode(ids) === text ? 0 : 1, bound: 0 });
    }
    return { item: file, checks, skipped: [] };
  });
}
