// The tensors a config calls for: names and shapes, their sizes at each precision, and the check of a checkpoint against them.
// Names are those of Hugging Face's OpenELM; CoreNet's own lack the `transformer.` prefix, and `canonicalName` is the one
// place that knows. Headers only: no value is read here.

import { counted, InputError } from '../errors.js';
import { elementsOf, type StoredTensor } from '../io/bytes.js';
import type { AffineType, DType } from '../tensor/backend.js';
import { affineType, codedHeadWords } from '../tensor/quantize.js';
import type { ModelConfig } from './config.js';

/** A tensor of the model; matrices are [output, input], row-major. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
}

/** What weights are kept as and computed with. */
export type WeightType = Exclude<DType, 'i32'>;

/** Those that any weights are converted to. */
export type Precision = Exclude<WeightType, AffineType>;

export const precisions: readonly Precision[] = ['f32', 'f16', 'bf16', 'q8', 'q4'];

/** How weights may be stored. */
export type WeightDType = 'F32' | 'F16' | 'BF16';

/** The types a checkpoint can be written in: what safetensors and config.json call them. */
export const checkpointTypes = {
  f32: { stored: 'F32', torch: 'float32' },
  f16: { stored: 'F16', torch: 'float16' },
  bf16: { stored: 'BF16', torch: 'bfloat16' },
} as const;

/** What a checkpoint's weights can be written as. */
export type CheckpointType = keyof typeof checkpointTypes;

/** Bytes of 32 weights along the input: q8 and q4 keep one f16 scale with them, as GGUF's Q8_0 and Q4_0. */
const GROUP_BYTES: Readonly<Record<Precision, number>> = { f32: 128, f16: 64, bf16: 64, q8: 34, q4: 18 };

const EMBEDDING = 'transformer.token_embeddings.weight';
const CLASSIFIER = 'transformer.classifier.weight';

/** Every tensor of the model, in the order of the forward pass. */
export function parameterShapes(config: ModelConfig): Parameter[] {
  const { modelDim, headDim } = config;
  const parameters: Parameter[] = [{ name: EMBEDDING, shape: [config.vocabSize, modelDim] }];
  const add = (name: string, ...shape: number[]) => parameters.push({ name: `transformer.${name}.weight`, shape });
  config.layers.forEach((layer, i) => {
    add(`layers.${i}.attn_norm`, modelDim);
    add(`layers.${i}.attn.qkv_proj`, layer.qkvDim, modelDim);
    if (config.normalizeQk) {
      add(`layers.${i}.attn.q_norm`, headDim);
      add(`layers.${i}.attn.k_norm`, headDim);
    }
    add(`layers.${i}.attn.out_proj`, modelDim, layer.queryHeads * headDim);
    add(`layers.${i}.ffn_norm`, modelDim);
    add(`layers.${i}.ffn.proj_1`, layer.proj1Dim, modelDim);
    add(`layers.${i}.ffn.proj_2`, modelDim, layer.ffnDim);
  });
  add('norm', modelDim);
  if (!config.tieEmbeddings) add('classifier', config.vocabSize, modelDim);
  return parameters;
}

/**
 * Bytes of all weights in memory. Matrices are kept at `precision`, with groups of 32 padded up along the input for q8 and q4;
 * the norms' vectors are f32 at every precision.
 */
export function weightBytes(config: ModelConfig, precision: Precision): number {
  let bytes = 0;
  for (const { shape } of parameterShapes(config)) bytes += tensorBytes(shape, precision);
  return bytes;
}

function tensorBytes(shape: readonly number[], precision: Precision): number {
  if (shape.length === 1) return 4 * shape[0];
  const [rows, columns] = shape;
  if (precision === 'q8' || precision === 'q4') return rows * Math.ceil(columns / 32) * GROUP_BYTES[precision];
  return (rows * columns * GROUP_BYTES[precision]) / 32;
}

/** Bytes of a checkpoint's weights in memory, at a precision or as they are stored. */
export function memoryBytes({ tensors }: CheckedWeights, precision?: Precision): number {
  const bytesOf = (tensor: StoredTensor): number => {
    const type = precision ?? storedPrecision(tensor);
    if (!isAffine(type)) return tensorBytes(tensor.shape, type);
    return codedBytes(tensor.shape, tensor.affine!);
  };
  return [...tensors.values()].reduce((sum, tensor) => sum + bytesOf(tensor), 0);
}

/** Bytes in memory of a matrix that is stored as codes, with a scale and a minimum a group. */
export function codedBytes([rows, columns]: readonly number[], { bits, group }: { bits: number; group: number }): number {
  return rows * columns * (affineBits[affineType(bits)] / 8 + 4 / group);
}

function isAffine(type: WeightType): type is AffineType {
  return type in affineBits;
}

const affineBits: Readonly<Record<AffineType, number>> = { affine8: 8, affine4: 4, affine3: 3 };

/** What keys and values are kept in: q8 has codes of 8 bits, with a scale a head. */
export const cacheTypes = ['f32', 'f16', 'q8'] as const;
/** What keys and values are kept in. */
export type CacheType = (typeof cacheTypes)[number];

/** Bytes that one position of one sequence takes in the KV cache, over all layers. */
export function kvBytesPerToken(config: ModelConfig, type: CacheType): number {
  const bytesOf = (headDim: number): number => (type === 'q8' ? 4 * codedHeadWords(headDim) : headDim * (type === 'f32' ? 4 : 2));
  return config.layers.reduce((sum, { kvHeads, headDim }) => sum + 2 * kvHeads * bytesOf(headDim), 0);
}

/**
 * A stored tensor's name as the model's parameters are called, or undefined for one that is none of them. CoreNet's names
 * lack the prefix; `lm_head` is the output layer that Hugging Face's OpenELM adds to an untied model.
 */
export function canonicalName(name: string): string | undefined {
  if (name === 'lm_head.weight') return CLASSIFIER;
  const bare = name.startsWith('transformer.') ? name.slice('transformer.'.length) : name;
  return /^(token_embeddings|norm|classifier|layers\.\d+)\./.test(bare) ? `transformer.${bare}` : undefined;
}

/** A checkpoint that fits its config. */
export interface CheckedWeights {
  /** The model's tensors under their parameter names, in the order of `parameterShapes`. */
  readonly tensors: Map<string, StoredTensor>;
  /** What most of the values are stored in. */
  readonly dtype: WeightType;
  /** Stored tensors that the model has no use for, by their stored names. */
  readonly ignored: readonly string[];
}

/**
 * Finds every parameter of `config` among the stored tensors. Throws `InputError` where one is missing or has another shape or
 * an unexpected dtype, and where the tensors tell of another model than the config: more or fewer layers, query and key norms,
 * an output layer, biases. Other surplus tensors are ignored. `where` names the checkpoint in messages.
 */
export function checkWeights(config: ModelConfig, stored: ReadonlyMap<string, StoredTensor>, where: string): CheckedWeights {
  const { known, ignored } = byParameterName(config, stored, where);
  checkSameModel(config, known, where);

  const tensors = new Map<string, StoredTensor>();
  const values = new Map<WeightType, number>();
  for (const { name, shape } of parameterShapes(config)) {
    const tensor = known.get(name);
    if (!tensor) throw new InputError(`${where}: tensor ${name} is missing${missingHint(name)}`);
    known.delete(name);
    if (!isWeightDType(tensor.dtype)) {
      throw new InputError(`${where}: tensor ${tensor.name} has dtype ${tensor.dtype}; expected F32, F16 or BF16`);
    }
    const found = tensor.shape;
    if (found.length !== shape.length || found.some((size, i) => size !== shape[i])) {
      const list = found.length > 8 ? `${found.slice(0, 8).join(', ')}, ...` : found.join(', ');
      throw new InputError(
        `${where}: tensor ${tensor.name} has shape [${list}], but the config makes it [${shape.join(', ')}] (${shapeKeys(name)})`,
      );
    }
    const precision = storedPrecision(tensor);
    const elements = elementsOf(shape);
    values.set(precision, (values.get(precision) ?? 0) + elements);
    tensors.set(name, tensor);
  }
  for (const tensor of known.values()) ignored.push(tensor.name);
  const [dtype] = [...values].reduce((best, next) => (next[1] > best[1] ? next : best));
  return { tensors, dtype, ignored };
}

/** The precision that keeps what a tensor is stored in; of groups of bits that no kernel takes as they are: q8, which loses least. */
export function storedPrecision({ packed, affine, dtype }: StoredTensor): WeightType {
  if (affine) return affineType(affine.bits);
  if (packed) return packed.format === 'Q4_0' ? 'q4' : 'q8';
  return dtype === 'F16' ? 'f16' : dtype === 'BF16' ? 'bf16' : 'f32';
}

/** The precision that loses least of a type which only weights stored so can have. */
export function plainPrecision(type: WeightType): Precision {
  return isAffine(type) ? 'q8' : type;
}

/** The type that a checkpoint of such weights is written in: one that holds all of them where types are mixed; what is quantized as f16. */
export function checkpointTypeOf({ tensors, dtype }: CheckedWeights): CheckpointType {
  const types = new Set([...tensors.values()].filter(({ shape }) => shape.length > 1).map(storedPrecision));
  if (types.size > 1 && [...types].every((type) => type in checkpointTypes)) return 'f32';
  return dtype === 'f32' || dtype === 'bf16' ? dtype : 'f16';
}

function isWeightDType(dtype: string): dtype is WeightDType {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
}

function byParameterName(config: ModelConfig, stored: ReadonlyMap<string, StoredTensor>, where: string) {
  const known = new Map<string, StoredTensor>();
  const ignored: string[] = [];
  for (const tensor of stored.values()) {
    const name = canonicalName(tensor.name);
    // A tied model saved with a copy of its embedding as lm_head is still tied; upstream drops that copy too.
    if (name === undefined || (config.tieEmbeddings && tensor.name === 'lm_head.weight')) {
      ignored.push(tensor.name);
      continue;
    }
    const other = known.get(name);
    if (!other) known.set(name, tensor);
    else if (tensor.name === 'lm_head.weight' || other.name === 'lm_head.weight') {
      // Upstream's untied model has both and computes its logits with lm_head.
      const [used, unused] = tensor.name === 'lm_head.weight' ? [tensor, other] : [other, tensor];
      known.set(name, used);
      ignored.push(unused.name);
    } else {
      throw new InputError(`${where}: tensors ${other.name} and ${tensor.name} are the same parameter; remove one`);
    }
  }
  return { known, ignored };
}

/** What the tensors' names alone tell about the model, against the config. */
function checkSameModel(config: ModelConfig, known: ReadonlyMap<string, StoredTensor>, where: string): void {
  let layers = 0;
  for (const [name, tensor] of known) {
    const index = /^transformer\.layers\.(\d+)\./.exec(name)?.[1];
    if (index !== undefined) layers = Math.max(layers, Number(index) + 1);
    if (name.endsWith('.bias')) throw new InputError(`${where}: tensor ${tensor.name} is a bias, and OpenELM's layers have none`);
    if (!config.normalizeQk && /\.attn\.[qk]_norm\.weight$/.test(name)) {
      throw new InputError(`${where}: the weights hold ${tensor.name}, but the config says normalize_qk_projections: false`);
    }
  }
  if (layers > 0 && layers !== config.layers.length) {
    throw new InputError(
      `${where}: the weights hold ${counted(layers, 'layer')}, but the config says num_transformer_layers: ${config.layers.length}`,
    );
  }
  const classifier = known.get(CLASSIFIER);
  if (config.tieEmbeddings && classifier) {
    throw new InputError(
      `${where}: the weights hold an output layer of their own (${classifier.name}), but the config says share_input_output_layers: true`,
    );
  }
}

function missingHint(name: string): string {
  if (name === CLASSIFIER) return ', and the config says share_input_output_layers: false';
  return /\.[qk]_norm\.weight$/.test(name) ? ', and the config says normalize_qk_projections: true' : '';
}

/** The config's keys that a parameter's shape comes from. */
function shapeKeys(name: string): string {
  if (name === EMBEDDING || name === CLASSIFIER) return 'vocab_size, model_dim';
  if (name.includes('qkv_proj')) return 'num_query_heads, num_kv_heads, head_dim; model_dim';
  if (name.includes('out_proj')) return 'model_dim; num_query_heads, head_dim';
  if (name.includes('proj_1')) return 'ffn_multipliers, ffn_dim_divisor, ffn_with_glu; model_dim';
  if (name.includes('proj_2')) return 'model_dim; ffn_multipliers, ffn_dim_divisor';
  return /\.[qk]_norm\./.test(name) ? 'head_dim' : 'model_dim';
}
