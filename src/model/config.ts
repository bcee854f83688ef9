// A model's shape, resolved once: whatever it came from (a built-in name, a Hugging Face config.json, fields in a recipe),
// the result is a `ModelConfig` with one `LayerConfig` per layer, and nothing downstream computes a width again.
// The layer-wise scaling is that of the OpenELM paper, section 2.1, with the rounding of CoreNet's `GPTConfig`
// (corenet/modeling/models/language_modeling/general_gpt.py). Not here: reading files, and the names of tensors.

import { counted, InputError, nearest, shown } from '../errors.js';
import { FieldReader } from './fields.js';

/** One decoder layer's widths. */
export interface LayerConfig {
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Width inside the feed-forward network: `proj_2`'s input. */
  readonly ffnDim: number;
  /** Rows of `qkv_proj`: (queryHeads + 2 * kvHeads) * headDim. */
  readonly qkvDim: number;
  /** Rows of `proj_1`: 2 * ffnDim with a gated linear unit (gate, then up), else ffnDim. */
  readonly proj1Dim: number;
}

/** A number for every layer, a [first, last] pair that is interpolated, or one number per layer. */
export type Multipliers = number | readonly number[];

/** A resolved and checked model shape. */
export interface ModelConfig {
  readonly vocabSize: number;
  readonly modelDim: number;
  readonly headDim: number;
  /** One after another: each has heads and a width of its own. */
  readonly layers: readonly LayerConfig[];
  /** Tokens the model was trained to see at once; the default context. */
  readonly maxContextLength: number;
  /** Positions the rotary table is meant to reach; the longest context that can be asked for. */
  readonly ropeMaxLength: number;
  /** The base of the rotary angles: pair i of a head turns by position / base^(2i / headDim). */
  readonly ropeFreqConstant: number;
  /** RMSNorm of queries and keys over headDim, before the rotation. */
  readonly normalizeQk: boolean;
  /** The feed-forward part is gated (SwiGLU); else one projection with SiLU. */
  readonly ffnWithGlu: boolean;
  /** The output layer is the embedding table (`share_input_output_layers`). */
  readonly tieEmbeddings: boolean;
  /** Added to the mean square before its root, in every RMSNorm. */
  readonly normEps: number;
  readonly bosTokenId: number | undefined;
  /** Each of them ends a text. */
  readonly eosTokenIds: readonly number[];
  /** The rule the layers were made by, as it was given; only `toHuggingFaceConfig` needs it. */
  readonly scaling: {
    /** Absent when the head lists were given instead. */
    readonly qkvMultipliers?: Multipliers;
    readonly numGqaGroups?: number;
    readonly ffnMultipliers: Multipliers;
    readonly ffnDimDivisor: number;
  };
}

/** A config's fields under the names of CoreNet and of Hugging Face's config.json. */
export interface ConfigFields {
  num_transformer_layers: number;
  model_dim: number;
  head_dim: number;
  vocab_size?: number;
  max_context_length?: number;
  rope_max_length?: number;
  rope_freq_constant?: number;
  qkv_multipliers?: Multipliers;
  num_gqa_groups?: number;
  num_query_heads?: number | readonly number[];
  num_kv_heads?: number | readonly number[];
  ffn_multipliers?: Multipliers;
  ffn_dim_divisor?: number;
  ffn_with_glu?: boolean;
  normalize_qk_projections?: boolean;
  share_input_output_layers?: boolean;
  activation_fn_name?: string;
  normalization_layer_name?: string;
  bos_token_id?: number | null;
  eos_token_id?: number | readonly number[] | null;
}

const FIELD_NAMES: readonly (keyof ConfigFields)[] = [
  'num_transformer_layers',
  'model_dim',
  'head_dim',
  'vocab_size',
  'max_context_length',
  'rope_max_length',
  'rope_freq_constant',
  'qkv_multipliers',
  'num_gqa_groups',
  'num_query_heads',
  'num_kv_heads',
  'ffn_multipliers',
  'ffn_dim_divisor',
  'ffn_with_glu',
  'normalize_qk_projections',
  'share_input_output_layers',
  'activation_fn_name',
  'normalization_layer_name',
  'bos_token_id',
  'eos_token_id',
];

const MAX_LAYERS = 10_000;
const MAX_HEAD_DIM = 65_536;
/** Ids and row counts are int32 on every backend. */
const MAX_INT32 = 2 ** 31 - 1;

const OPENELM = {
  num_gqa_groups: 4,
  qkv_multipliers: [0.5, 1.0],
  ffn_multipliers: [0.5, 4.0],
  normalize_qk_projections: true,
  share_input_output_layers: true,
} as const;

const BUILT_IN: Readonly<Record<string, ConfigFields>> = {
  'OpenELM-270M': { ...OPENELM, num_transformer_layers: 16, model_dim: 1280, head_dim: 64 },
  'OpenELM-450M': { ...OPENELM, num_transformer_layers: 20, model_dim: 1536, head_dim: 64 },
  'OpenELM-1_1B': { ...OPENELM, num_transformer_layers: 28, model_dim: 2048, head_dim: 64 },
  'OpenELM-3B': { ...OPENELM, num_transformer_layers: 36, model_dim: 3072, head_dim: 128 },
  'gpt-1_3B': {
    ...OPENELM,
    num_transformer_layers: 24,
    model_dim: 2048,
    head_dim: 64,
    qkv_multipliers: 1.0,
    ffn_multipliers: 3.0,
  },
  'gpt-test': {
    ...OPENELM,
    num_transformer_layers: 1,
    model_dim: 128,
    head_dim: 64,
    num_gqa_groups: 1,
    qkv_multipliers: [0.25, 0.5],
    ffn_multipliers: [0.25, 0.75],
  },
};

/** The names `configFromName` knows: shapes, not weights. */
export const configNames: readonly string[] = Object.keys(BUILT_IN);

/** The shape of that name, with a vocabulary of 32,000 unless `overrides` says otherwise; throws `InputError` on an unknown name. */
export function configFromName(name: string, overrides: Partial<ConfigFields> = {}): ModelConfig {
  if (!Object.hasOwn(BUILT_IN, name)) {
    const guess = nearest(name, configNames);
    const hint = guess ? `did you mean ${guess}?` : `known are ${configNames.join(', ')}`;
    throw new InputError(`there is no built-in model shape named ${shown(name)}; ${hint}`);
  }
  return configFromFields({ ...BUILT_IN[name], ...overrides }, name);
}

/**
 * A free config: the fields of `ConfigFields`, an unknown one being an error. Defaults are CoreNet's, except that
 * `rope_max_length` is twice `max_context_length` (CoreNet's 4096 is that for its 2048), and `max_context_length` no more than a
 * `rope_max_length` that is given. `where` names the source in messages.
 */
export function configFromFields(fields: unknown, where: string): ModelConfig {
  const reader = new FieldReader(fields, where);
  for (const key of reader.keys()) {
    if (!(FIELD_NAMES as readonly string[]).includes(key)) {
      const guess = nearest(key.slice(0, 80), FIELD_NAMES);
      throw new InputError(
        `${where}: unknown field ${shown(key)}; ${guess ? `did you mean ${guess}?` : `known are ${FIELD_NAMES.join(', ')}`}`,
      );
    }
  }
  return resolve(reader);
}

/**
 * A Hugging Face `config.json` (parsed) of `model_type` openelm; `file` names it in messages. Keys that do not shape the model
 * are ignored. Upstream's configuration_openelm.py recomputes `num_query_heads` from `qkv_multipliers` but takes a saved
 * `num_kv_heads` as it stands, and other runtimes read only the lists; here both must agree, and where `qkv_multipliers` is
 * absent the lists alone decide.
 */
export function configFromHuggingFace(json: unknown, file: string): ModelConfig {
  const reader = new FieldReader(json, file);
  const type = reader.get('model_type');
  if (type !== 'openelm') throw reader.wrong('model_type', '"openelm"');
  reader.require('vocab_size');
  return resolve(reader);
}

/** The widths of a layer as its weights have them. */
export interface LayerWidths {
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly ffnDim: number;
}

/** A config of layers whose widths are known and not the rule that made them. Throws `InputError` where no config can say them. */
export function configFromWidths(fields: ConfigFields, layers: readonly LayerWidths[], where: string): ModelConfig {
  const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));
  const widths = layers.map(({ ffnDim }) => ffnDim);
  const config = configFromFields(
    {
      ...fields,
      num_transformer_layers: layers.length,
      num_query_heads: layers.map(({ queryHeads }) => queryHeads),
      num_kv_heads: layers.map(({ kvHeads }) => kvHeads),
      ffn_multipliers: widths.map((width) => width / fields.model_dim),
      ffn_dim_divisor: widths.reduce(commonDivisor, 0),
    },
    where,
  );
  const wrong = config.layers.findIndex(({ ffnDim }, i) => ffnDim !== widths[i]);
  if (wrong >= 0) {
    throw new InputError(`${where}: the feed-forward width of layer ${wrong}, ${widths[wrong]}, is none that a config can say`);
  }
  return config;
}

/** `config` with the token ids that a parsed `generation_config.json` names in place of its own. */
export function withGenerationConfig(config: ModelConfig, json: unknown, file: string): ModelConfig {
  const reader = new FieldReader(json, file);
  return {
    ...config,
    bosTokenId:
      reader.get('bos_token_id') === undefined ? config.bosTokenId : reader.tokenIds('bos_token_id', config.vocabSize)[0],
    eosTokenIds:
      reader.get('eos_token_id') === undefined ? config.eosTokenIds : reader.tokenIds('eos_token_id', config.vocabSize),
  };
}

/** The parsed `config.json` that describes `config`, as Hugging Face's OpenELM writes it; reading it gives `config` back. */
export function toHuggingFaceConfig(
  config: ModelConfig,
  torchDtype: 'float32' | 'float16' | 'bfloat16',
): Record<string, unknown> {
  const { qkvMultipliers, numGqaGroups, ffnMultipliers, ffnDimDivisor } = config.scaling;
  const count = config.layers.length;
  return {
    activation_fn_name: 'swish',
    architectures: ['OpenELMForCausalLM'],
    bos_token_id: config.bosTokenId ?? null,
    eos_token_id: config.eosTokenIds.length === 1 ? config.eosTokenIds[0] : config.eosTokenIds.length ? config.eosTokenIds : null,
    ffn_dim_divisor: ffnDimDivisor,
    // Other readers want one number per layer. With two layers that would read as a pair, to be rounded again.
    ffn_multipliers: count === 2 ? ffnMultipliers : scaleMultipliers(ffnMultipliers, count),
    ffn_with_glu: config.ffnWithGlu,
    head_dim: config.headDim,
    initializer_range: 0.02,
    max_context_length: config.maxContextLength,
    model_dim: config.modelDim,
    model_type: 'openelm',
    normalization_layer_name: 'rms_norm',
    normalize_qk_projections: config.normalizeQk,
    ...(numGqaGroups === undefined ? {} : { num_gqa_groups: numGqaGroups }),
    num_kv_heads: config.layers.map((layer) => layer.kvHeads),
    num_query_heads: config.layers.map((layer) => layer.queryHeads),
    num_transformer_layers: count,
    ...(qkvMultipliers === undefined ? {} : { qkv_multipliers: qkvMultipliers }),
    rope_freq_constant: config.ropeFreqConstant,
    rope_max_length: config.ropeMaxLength,
    share_input_output_layers: config.tieEmbeddings,
    torch_dtype: torchDtype,
    use_cache: true,
    vocab_size: config.vocabSize,
  };
}

/** One multiplier per layer: a pair is interpolated and rounded to two decimals, as numpy's `round(linspace(a, b, n), 2)`. */
export function scaleMultipliers(given: Multipliers, layers: number): number[] {
  if (typeof given === 'number') return new Array<number>(layers).fill(given);
  if (given.length !== 2) return [...given];
  const [first, last] = given;
  const step = (last - first) / (layers - 1);
  // numpy scales by 100, rounds half to even and divides again; the two ends are exact before that.
  return Array.from({ length: layers }, (_, i) => {
    const value = i === 0 ? first : i === layers - 1 ? last : i * step + first;
    return roundHalfEven(value * 100) / 100;
  });
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/** The multiple of `divisor` nearest to `value`, at least one, and one more where that would lose over a tenth (CoreNet's `make_divisible`). */
export function makeDivisible(value: number, divisor: number): number {
  const rounded = Math.max(divisor, Math.floor(Math.trunc(value + divisor / 2) / divisor) * divisor);
  return rounded < 0.9 * value ? rounded + divisor : rounded;
}

/** Parameters in one layer, its norms included. */
export function countLayerParameters(config: ModelConfig, layer: LayerConfig): number {
  const attention =
    (layer.qkvDim + layer.queryHeads * layer.headDim) * config.modelDim + (config.normalizeQk ? 2 * layer.headDim : 0);
  return attention + (layer.proj1Dim + layer.ffnDim) * config.modelDim + 2 * config.modelDim;
}

/** Parameters in all; a tied output layer is counted once, as it is stored. */
export function countParameters(config: ModelConfig): number {
  const tables = (config.tieEmbeddings ? 1 : 2) * config.vocabSize * config.modelDim;
  return config.layers.reduce((sum, layer) => sum + countLayerParameters(config, layer), tables + config.modelDim);
}

function resolve(reader: FieldReader): ModelConfig {
  const count = reader.integer('num_transformer_layers', { max: MAX_LAYERS });
  const modelDim = reader.integer('model_dim', { max: MAX_INT32 });
  const headDim = reader.integer('head_dim', { max: MAX_HEAD_DIM });
  if (headDim % 2 !== 0) throw reader.wrong('head_dim', 'an even number, as rotary embeddings turn pairs');
  const vocabSize = reader.integer('vocab_size', { max: MAX_INT32, absent: 32_000 });
  const table = reader.has('rope_max_length') ? reader.integer('rope_max_length', { max: MAX_INT32 }) : undefined;
  const maxContextLength = reader.integer('max_context_length', { max: MAX_INT32, absent: Math.min(2048, table ?? 2048) });
  // A table that is shorter than the context grows with the keys in CoreNet, and in Hugging Face's OpenELM.
  const ropeMaxLength = Math.max(maxContextLength, Math.min(MAX_INT32, table ?? 2 * maxContextLength));
  const ffnWithGlu = reader.boolean('ffn_with_glu', true);
  reader.oneOf('activation_fn_name', ['swish', 'silu']);
  reader.oneOf('normalization_layer_name', ['rms_norm']);

  const heads = resolveHeads(reader, count, modelDim, headDim);
  const ffnMultipliers = reader.multipliers('ffn_multipliers', count, 4.0);
  const ffnDimDivisor = reader.integer('ffn_dim_divisor', { max: MAX_INT32, absent: 256 });
  const ffnDims = scaleMultipliers(ffnMultipliers, count).map((m) => makeDivisible(modelDim * m, ffnDimDivisor));

  const layers = ffnDims.map((ffnDim, i): LayerConfig => {
    const queryHeads = heads.query[i];
    const kvHeads = heads.kv[i];
    const layer = {
      queryHeads,
      kvHeads,
      headDim,
      ffnDim,
      qkvDim: (queryHeads + 2 * kvHeads) * headDim,
      proj1Dim: ffnWithGlu ? 2 * ffnDim : ffnDim,
    };
    for (const [name, width] of [
      ['qkv_proj', layer.qkvDim],
      ['proj_1', layer.proj1Dim],
    ] as const) {
      if (width > MAX_INT32)
        throw new InputError(`${reader.where}: layer ${i}'s ${name} would have ${counted(width, 'row')}; at most ${MAX_INT32}`);
    }
    return layer;
  });

  const config: ModelConfig = {
    vocabSize,
    modelDim,
    headDim,
    layers,
    maxContextLength,
    ropeMaxLength,
    ropeFreqConstant: reader.positive('rope_freq_constant', 10_000),
    normalizeQk: reader.boolean('normalize_qk_projections', false),
    ffnWithGlu,
    tieEmbeddings: reader.boolean('share_input_output_layers', false),
    normEps: 1e-6,
    bosTokenId: reader.tokenIds('bos_token_id', vocabSize, 1)[0],
    eosTokenIds: reader.tokenIds('eos_token_id', vocabSize, 2),
    scaling: { ...heads.scaling, ffnMultipliers, ffnDimDivisor },
  };
  const parameters = countParameters(config);
  if (parameters > Number.MAX_SAFE_INTEGER) {
    throw new InputError(
      `${reader.where}: the model would have ${parameters.toExponential(1)} parameters; at most 2^53 can be counted`,
    );
  }
  return config;
}

interface Heads {
  query: readonly number[];
  kv: readonly number[];
  scaling: Pick<ModelConfig['scaling'], 'qkvMultipliers' | 'numGqaGroups'>;
}

/** Heads per layer from `qkv_multipliers` and `num_gqa_groups`, or from the lists; where both are given they must agree. */
function resolveHeads(reader: FieldReader, count: number, modelDim: number, headDim: number): Heads {
  const groups = reader.integer('num_gqa_groups', { max: MAX_INT32, absent: 1 });
  const queryList = reader.perLayer('num_query_heads', count, MAX_INT32);
  const kvList = reader.perLayer('num_kv_heads', count, MAX_INT32);

  const listsDecide = queryList !== undefined && !reader.has('qkv_multipliers');
  const qkvMultipliers = listsDecide ? undefined : reader.multipliers('qkv_multipliers', count, 1.0);
  const query = listsDecide
    ? queryList
    : scaleMultipliers(qkvMultipliers!, count).map((m) => makeDivisible(modelDim * m, headDim * groups) / headDim);
  const groupsDecide = !listsDecide || kvList === undefined || reader.has('num_gqa_groups');
  const kv = groupsDecide ? query.map((heads) => Math.floor(heads / groups)) : kvList;

  const rule = listsDecide ? 'num_query_heads and num_gqa_groups make' : 'qkv_multipliers and num_gqa_groups make';
  if (queryList) reader.agree('num_query_heads', queryList, query, rule);
  if (kvList) reader.agree('num_kv_heads', kvList, kv, rule);
  for (let i = 0; i < count; i++) {
    if (kv[i] < 1 || query[i] % kv[i] !== 0) {
      throw new InputError(
        `${reader.where}: layer ${i} has ${counted(query[i], 'query head')} (num_query_heads) and ${counted(kv[i], 'key/value head')} (num_kv_heads); the first must be a multiple of the second`,
      );
    }
  }
  return { query, kv, scaling: { qkvMultipliers, numGqaGroups: groupsDecide ? groups : undefined } };
}

/** Throws `InputError` where a sequence of this model cannot have so many tokens. */
export function checkContext(context: number, { ropeMaxLength }: ModelConfig): void {
  if (Number.isInteger(context) && context >= 2 && context <= ropeMaxLength) return;
  throw new InputError(`a context of ${counted(context, 'token')} is out of range: this model takes 2 to ${ropeMaxLength}`);
}
