// llama.cpp's `openelm` models in GGUF: keys to a config and back, tensor names, the gate and the up projection that lie apart there
// and together here. The container is io/gguf.ts, the vocabulary gguf-tokenizer.ts.

import { InputError, shown } from '../errors.js';
import type { ByteSource, Piece, StoredTensor } from '../io/bytes.js';
import { toFloat32 } from '../io/decode.js';
import { type GgufContents, type GgufTensor, type GgufValue, isNumbers, isTexts, readGguf } from '../io/gguf.js';
import { affineBlocks } from '../io/gguf-affine.js';
import { blockTypes } from '../io/gguf-blocks.js';
import type { GgufEntry } from '../io/gguf-write.js';
import { decoded, joined } from '../io/pieces.js';
import { type ConfigFields, configFromWidths, type ModelConfig } from '../model/config.js';
import { readTokenizerTexts } from './gguf-tokenizer.js';
import type { ModelFile } from './model-file.js';

/** Reads a GGUF file's header. Throws `InputError` when it is damaged, or no OpenELM. */
export async function readGgufModel(source: ByteSource): Promise<ModelFile & { readonly contents: GgufContents }> {
  const contents = await readGguf(source);
  const config = configFrom(contents, source.name);
  return {
    format: 'gguf',
    config,
    contents,
    metadata: Object.fromEntries([...contents.metadata].map(([key, value]) => [key, inWords(value)])),
    text: async (name) => readTokenizerTexts(contents.metadata, source.name, name),
    tensors: (of) => tensorsOf(contents.tensors, of, config.layers.length),
  };
}

/** A value in a few words. */
function inWords(value: GgufValue): string {
  if (isTexts(value)) return `${value.starts.length} texts`;
  if (!isNumbers(value)) return String(value);
  const { numbers } = value;
  return numbers.length > 64 ? `${numbers.length} numbers` : `[${Array.from(numbers).join(', ')}]`;
}

/** The config that the keys and shapes tell of. */
function configFrom({ metadata, tensors }: GgufContents, file: string): ModelConfig {
  const architecture = metadata.get('general.architecture');
  if (architecture !== 'openelm') {
    throw new InputError(`${file}: general.architecture is ${shown(architecture ?? null)}; only "openelm" is supported`);
  }
  const parts = metadata.get('split.count');
  if (typeof parts === 'number' && parts > 1) {
    throw new InputError(`${file}: one of ${parts} parts; join them with llama.cpp's gguf-split --merge`);
  }
  const shapes = new Map(tensors.map(({ name, shape }) => [name, shape]));
  const number = (key: string, absent?: number): number => {
    const value = metadata.get(key) ?? absent;
    if (typeof value !== 'number') throw new InputError(`${file}: ${key} is ${value === undefined ? 'missing' : 'no number'}`);
    return value;
  };
  const layers = number('openelm.block_count');
  const perLayer = (key: string): number[] => {
    const value = metadata.get(key);
    if (isNumbers(value)) return [...value.numbers];
    return new Array<number>(Math.min(layers, 10_000)).fill(number(key));
  };
  const modelDim = number('openelm.embedding_length');
  const headDim = number('openelm.attention.key_length', number('openelm.rope.dimension_count', Number.NaN));
  for (const [key, expected, what] of [
    ['openelm.attention.value_length', headDim, 'openelm.attention.key_length'],
    ['openelm.rope.dimension_count', headDim, 'openelm.attention.key_length'],
    ['openelm.attention.layer_norm_rms_epsilon', Math.fround(1e-6), "OpenELM's"],
  ] as const) {
    const found = number(key, expected);
    if (found !== expected) throw new InputError(`${file}: ${key} is ${found}; only ${expected} (${what}) is supported`);
  }
  if (metadata.has('openelm.rope.scaling.type') && metadata.get('openelm.rope.scaling.type') !== 'none') {
    throw new InputError(`${file}: openelm.rope.scaling.type is not supported`);
  }
  const [ffnDims, queryHeads, kvHeads] = ['feed_forward_length', 'attention.head_count', 'attention.head_count_kv'].map((key) => {
    const list = perLayer(`openelm.${key}`);
    if (list.length !== layers) throw new InputError(`${file}: openelm.${key} has ${list.length} numbers for ${layers} layers`);
    return list;
  });
  const vocabSize = shapes.get('token_embd.weight')?.[0];
  if (vocabSize === undefined) throw new InputError(`${file}: the tensor token_embd.weight is missing`);
  const ids = ['bos', 'eos', 'eot'].map((name) => metadata.get(`tokenizer.ggml.${name}_token_id`));
  const known = ids.map((id) => (typeof id === 'number' && id >= 0 && id < vocabSize ? id : undefined));
  const ends = [...new Set(known.slice(1).filter((id) => id !== undefined))];
  const context = number('openelm.context_length');
  const fields: ConfigFields = {
    num_transformer_layers: layers,
    model_dim: modelDim,
    head_dim: headDim,
    vocab_size: vocabSize,
    max_context_length: context,
    rope_max_length: number('openelm.rope.max_length', Math.min(2 ** 31 - 1, 2 * context)),
    rope_freq_constant: number('openelm.rope.freq_base', 10_000),
    ffn_with_glu: shapes.has('blk.0.ffn_gate.weight'),
    normalize_qk_projections: shapes.has('blk.0.attn_q_norm.weight'),
    share_input_output_layers: !shapes.has('output.weight'),
    bos_token_id: known[0] ?? null,
    eos_token_id: ends.length === 0 ? null : ends,
  };
  const widths = ffnDims.map((ffnDim, i) => ({ ffnDim, queryHeads: queryHeads[i], kvHeads: kvHeads[i] }));
  return configFromWidths(fields, widths, file);
}

/** Parts of the names: GGUF's and the model's. */
const inLayers = {
  attn_norm: 'attn_norm',
  attn_qkv: 'attn.qkv_proj',
  attn_q_norm: 'attn.q_norm',
  attn_k_norm: 'attn.k_norm',
  attn_output: 'attn.out_proj',
  ffn_norm: 'ffn_norm',
  ffn_down: 'ffn.proj_2',
} as const;
const outside = { token_embd: 'token_embeddings', output_norm: 'norm', output: 'classifier' } as const;

/** Every parameter's GGUF tensors in their order there: two for a gated `proj_1`, each of half its rows. */
export function ggufNames(parameter: string, gated: boolean): string[] {
  const bare = parameter.replace(/^transformer\./, '').replace(/\.weight$/, '');
  const layer = /^layers\.(\d+)\.(.*)$/.exec(bare);
  if (!layer) return [`${Object.entries(outside).find(([, own]) => own === bare)![0]}.weight`];
  const [, index, name] = layer;
  if (name === 'ffn.proj_1') return (gated ? ['ffn_gate', 'ffn_up'] : ['ffn_up']).map((part) => `blk.${index}.${part}.weight`);
  return [`blk.${index}.${Object.entries(inLayers).find(([, own]) => own === name)![0]}.weight`];
}

function tensorsOf(listed: readonly GgufTensor[], source: ByteSource, layers: number): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  const byName = new Map(listed.map((tensor) => [tensor.name, tensor]));
  const put = (name: string, ...parts: (GgufTensor | undefined)[]): void => {
    const there = parts.filter((part) => part !== undefined);
    for (const { name: own } of there) byName.delete(own);
    if (there.length > 0) tensors.set(name, ggufTensor(name, there, source));
  };
  for (const [theirs, ours] of Object.entries(outside)) put(`transformer.${ours}.weight`, byName.get(`${theirs}.weight`));
  for (let i = 0; i < layers; i++) {
    const inLayer = (name: string): GgufTensor | undefined => byName.get(`blk.${i}.${name}.weight`);
    for (const [theirs, ours] of Object.entries(inLayers)) put(`transformer.layers.${i}.${ours}.weight`, inLayer(theirs));
    put(`transformer.layers.${i}.ffn.proj_1.weight`, inLayer('ffn_gate'), inLayer('ffn_up'));
  }
  for (const [name, tensor] of byName) tensors.set(name, ggufTensor(name, [tensor], source));
  return tensors;
}

/** One tensor, or several with rows under each other. */
export function ggufTensor(name: string, parts: readonly GgufTensor[], source: ByteSource): StoredTensor {
  const [{ type, shape: first }] = parts;
  const shape = parts.length === 1 ? first : [parts.reduce((rows, part) => rows + part.shape[0], 0), ...first.slice(1)];
  const label = `${source.name}: tensor ${name}`;
  if (parts.some((part) => part.type !== type)) {
    const values = parts.map((part) => plain(decodedPart(part, source)));
    return { name, dtype: 'F32', shape, ...run(label, values) };
  }
  const pieces = parts.map(({ offset, bytes }) => ({ source, offset, bytes }));
  if (type === 'F32' || type === 'F16' || type === 'BF16') return { name, dtype: type, shape, ...run(label, pieces) };
  const packed = { format: type, ...run(label, pieces) };
  const affine = affineBlocks(name, type, shape, packed);
  return { name, dtype: 'F32', shape, ...plain(decodedPart({ type, ...packed }, packed.source)), packed, affine };
}

function plain(source: ByteSource): Piece {
  return { source, offset: 0, bytes: source.size };
}

function run(label: string, pieces: readonly Piece[]): Piece {
  return pieces.length === 1 ? pieces[0] : plain(joined(label, pieces));
}

/** A tensor's values as F32. */
function decodedPart(tensor: Pick<GgufTensor, 'type' | 'offset' | 'bytes'>, source: ByteSource): ByteSource {
  const { values, bytes, ...rest } = blockTypes[tensor.type];
  const decode = 'decode' in rest ? rest.decode : undefined;
  if (!decode) {
    const dtype = tensor.type as 'F32' | 'F16' | 'BF16';
    return decoded(source.name, tensor.bytes / bytes, 1, async (start, count, out) => {
      const data = await source.read(tensor.offset + start * bytes, count * bytes);
      out.set(toFloat32(data, dtype));
    });
  }
  return decoded(source.name, tensor.bytes / bytes, values, async (start, count, out) => {
    decode(await source.read(tensor.offset + start * bytes, count * bytes), count, out);
  });
}

/** The keys of a model, without those of its vocabulary. Throws `InputError` for what llama.cpp's `openelm` cannot be. */
export function ggufMetadata(config: ModelConfig, fileType: number, name: string): [string, GgufEntry][] {
  const { layers, headDim, modelDim } = config;
  const missing = !config.ffnWithGlu
    ? 'a gated feed-forward network'
    : !config.normalizeQk
      ? 'query and key norms'
      : !config.tieEmbeddings
        ? 'tied embeddings'
        : undefined;
  if (missing) throw new InputError(`GGUF's openelm models have ${missing}, which this one lacks; choose another format`);
  const uint32 = (value: number): GgufEntry => ({ type: 'uint32', value });
  const list = (value: number[]): GgufEntry => ({ type: 'int32s', value });
  return [
    ['general.architecture', { type: 'string', value: 'openelm' }],
    ['general.name', { type: 'string', value: name }],
    ['general.file_type', uint32(fileType)],
    ['general.quantization_version', uint32(2)],
    ['openelm.block_count', uint32(layers.length)],
    ['openelm.context_length', uint32(config.maxContextLength)],
    ['openelm.embedding_length', uint32(modelDim)],
    ['openelm.feed_forward_length', list(layers.map(({ ffnDim }) => ffnDim))],
    ['openelm.attention.head_count', list(layers.map(({ queryHeads }) => queryHeads))],
    ['openelm.attention.head_count_kv', list(layers.map(({ kvHeads }) => kvHeads))],
    ['openelm.rope.freq_base', { type: 'float32', value: config.ropeFreqConstant }],
    ['openelm.attention.layer_norm_rms_epsilon', { type: 'float32', value: config.normEps }],
    ['openelm.rope.dimension_count', uint32(headDim)],
    ['openelm.rope.max_length', uint32(config.ropeMaxLength)], // ours; others pass over it
    ['openelm.attention.key_length', uint32(headDim)],
    ['openelm.attention.value_length', uint32(headDim)],
  ];
}
