// Judges a configs.json: for each entry, heads, widths and parameter totals as this package resolves them against the numbers
// written there, exactly. An entry whose name is not built in is built from its own fields.

import { readFile } from 'node:fs/promises';
import { InputError, messageOf } from '../../src/errors.js';
import {
  configFromFields,
  configFromName,
  configNames,
  countParameters,
  type ModelConfig,
  scaleMultipliers,
} from '../../src/model/config.js';

/** One judged entry: how many numbers were compared, and a sentence for each that differs. */
export interface JudgedConfig {
  item: string;
  judged: number;
  failures: string[];
}

/** The fields that decide a shape and may stand in an entry. */
const SHAPE_FIELDS = [
  'num_transformer_layers',
  'model_dim',
  'head_dim',
  'num_gqa_groups',
  'ffn_dim_divisor',
  'ffn_with_glu',
  'normalize_qk_projections',
  'share_input_output_layers',
  'rope_freq_constant',
  'rope_max_length',
  'max_context_length',
  'vocab_size',
];

/** Judges every entry of the file. */
export async function judgeConfigs(file: string): Promise<JudgedConfig[]> {
  const entries: unknown = JSON.parse(await readFile(file, 'utf8'));
  if (typeof entries !== 'object' || entries === null) throw new InputError(`${file}: expected an object of configs`);
  return Object.entries(entries as Record<string, Record<string, unknown>>).map(([name, entry]) => judge(name, entry));
}

function judge(name: string, entry: Record<string, unknown>): JudgedConfig {
  const result: JudgedConfig = { item: name, judged: 0, failures: [] };
  const compare = (what: string, found: unknown, expected: unknown) => {
    if (expected === undefined) return;
    result.judged++;
    if (found !== expected) result.failures.push(`${what} is ${found}, expected ${expected}`);
  };
  const compareList = (what: string, found: readonly unknown[], expected: unknown) => {
    if (!Array.isArray(expected)) return;
    compare(`${what}.length`, found.length, expected.length);
    for (let i = 0; i < expected.length; i++) compare(`${what}[${i}]`, found[i], expected[i]);
  };

  const resolve = (vocabSize?: number): ModelConfig =>
    configNames.includes(name)
      ? configFromName(name, vocabSize === undefined ? {} : { vocab_size: vocabSize })
      : configFromFields({ ...freeFields(entry), ...(vocabSize === undefined ? {} : { vocab_size: vocabSize }) }, name);

  try {
    const config = resolve();
    const count = config.layers.length;
    compare('num_transformer_layers', count, entry.num_transformer_layers);
    compare('model_dim', config.modelDim, entry.model_dim);
    compare('head_dim', config.headDim, entry.head_dim);
    compare('num_gqa_groups', config.scaling.numGqaGroups, entry.num_gqa_groups);
    compare('normalize_qk_projections', config.normalizeQk, entry.normalize_qk_projections);
    compare('share_input_output_layers', config.tieEmbeddings, entry.share_input_output_layers);
    compare('ffn_with_glu', config.ffnWithGlu, entry.ffn_with_glu);
    compare('ffn_dim_divisor', config.scaling.ffnDimDivisor, entry.ffn_dim_divisor);
    compare('rope_freq_constant', config.ropeFreqConstant, entry.rope_freq_constant);
    compare('rope_max_length', config.ropeMaxLength, entry.rope_max_length);
    compareList('qkv_multipliers', scaleMultipliers(config.scaling.qkvMultipliers!, count), entry.qkv_multipliers_rounded);
    compareList('ffn_multipliers', scaleMultipliers(config.scaling.ffnMultipliers, count), entry.ffn_multipliers);
    const columns = {
      num_query_heads: config.layers.map((layer) => layer.queryHeads),
      num_kv_heads: config.layers.map((layer) => layer.kvHeads),
      ffn_hidden: config.layers.map((layer) => layer.ffnDim),
      proj_1_out: config.layers.map((layer) => layer.proj1Dim),
      qkv_out: config.layers.map((layer) => layer.qkvDim),
    };
    for (const [what, found] of Object.entries(columns)) compareList(what, found, entry[what]);
    for (const [vocabSize, total] of Object.entries((entry.total_parameters as Record<string, number>) ?? {})) {
      compare(`total parameters with vocabulary ${vocabSize}`, countParameters(resolve(Number(vocabSize))), total);
    }
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    result.judged++;
    result.failures.push(messageOf(error));
  }
  return result;
}

/** The entry's own fields as a free config; its multipliers are already one per layer, or as a recipe gives them. */
function freeFields(entry: Record<string, unknown>): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const key of SHAPE_FIELDS) if (entry[key] !== undefined) fields[key] = entry[key];
  const multipliers = {
    qkv_multipliers: entry.qkv_multipliers ?? entry.qkv_multipliers_rounded,
    ffn_multipliers: entry.ffn_multipliers,
  };
  for (const [key, value] of Object.entries(multipliers)) {
    if (value === undefined) continue;
    // Two equal numbers for two layers would read as a pair, to be rounded; as one number they stay as they are.
    fields[key] = Array.isArray(value) && value.length > 0 && value.every((item) => item === value[0]) ? value[0] : value;
  }
  return fields;
}
