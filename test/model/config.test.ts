// The resolver against CoreNet's own numbers (test/golden/configs.json), the round trip through config.json, and what each
// kind of bad config says. The mutation test holds the reader to its promise: an InputError or a config, never anything else.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.js';
import {
  configFromFields,
  configFromHuggingFace,
  configFromName,
  configNames,
  countParameters,
  makeDivisible,
  scaleMultipliers,
  toHuggingFaceConfig,
  withGenerationConfig,
} from '../../src/model/config.js';
import { judgeConfigs } from '../judge/configs.js';

const golden = fileURLToPath(new URL('../golden/configs.json', import.meta.url));

/** tiny-elm's config.json as Hugging Face's OpenELM saved it. */
const saved = {
  activation_fn_name: 'swish',
  architectures: ['OpenELMForCausalLM'],
  bos_token_id: 1,
  eos_token_id: 2,
  ffn_dim_divisor: 32,
  ffn_multipliers: [0.5, 1.67, 2.83, 4.0],
  ffn_with_glu: true,
  head_dim: 16,
  initializer_range: 0.02,
  max_context_length: 64,
  model_dim: 96,
  model_type: 'openelm',
  normalization_layer_name: 'rms_norm',
  normalize_qk_projections: true,
  num_gqa_groups: 4,
  num_kv_heads: [1, 1, 2, 2],
  num_query_heads: [4, 4, 8, 8],
  num_transformer_layers: 4,
  qkv_multipliers: [0.5, 1.0],
  rope_freq_constant: 10000,
  rope_max_length: 256,
  share_input_output_layers: true,
  torch_dtype: 'float32',
  use_cache: true,
  vocab_size: 320,
};

const read = (changes: Record<string, unknown>) => {
  const json: Record<string, unknown> = { ...saved, ...changes };
  for (const key of Object.keys(changes)) if (changes[key] === undefined) delete json[key];
  return configFromHuggingFace(json, 'config.json');
};

describe('built-in shapes', () => {
  it('equal CoreNet, layer by layer and in total', async () => {
    const items = await judgeConfigs(golden);
    expect(items.map((item) => item.item)).toEqual([
      'OpenELM-270M',
      'OpenELM-450M',
      'OpenELM-1_1B',
      'OpenELM-3B',
      'gpt-1_3B',
      'gpt-test',
    ]);
    for (const item of items) expect(item).toMatchObject({ failures: [] });
    expect(items.reduce((sum, item) => sum + item.judged, 0)).toBeGreaterThan(800);
  });

  it('are judged under another name from their fields, and a wrong number is found', async () => {
    const entries = JSON.parse(await readFile(golden, 'utf8'));
    const wrong = structuredClone(entries['OpenELM-270M']);
    wrong.ffn_hidden[3] += 256;
    wrong.total_parameters['32000'] += 1;
    const folder = await mkdtemp(join(tmpdir(), 'openelm-'));
    try {
      const file = join(folder, 'configs.json');
      await writeFile(file, JSON.stringify({ right: entries['gpt-1_3B'], wrong, odd: { ...entries['gpt-test'], head_dim: 63 } }));
      const [right, second, odd] = await judgeConfigs(file);
      expect(right).toMatchObject({ item: 'right', failures: [] });
      expect(second.failures).toEqual([
        'ffn_hidden[3] is 1536, expected 1792',
        'total parameters with vocabulary 32000 is 271527168, expected 271527169',
      ]);
      expect(odd.failures).toEqual(['odd: head_dim is 63; expected an even number, as rotary embeddings turn pairs']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('take a vocabulary and a context', () => {
    const config = configFromName('OpenELM-270M', { vocab_size: 32128, max_context_length: 4096 });
    expect(countParameters(config)).toBe(271_691_008);
    expect(config.ropeMaxLength).toBe(8192);
    expect(config).toMatchObject({ bosTokenId: 1, eosTokenIds: [2], normEps: 1e-6, tieEmbeddings: true });
  });

  it('suggest the nearest name', () => {
    expect(() => configFromName('OpenELM-1.1B')).toThrow('did you mean OpenELM-1_1B?');
    expect(() => configFromName('constructor')).toThrow('known are OpenELM-270M');
  });
});

describe('scaling arithmetic', () => {
  it('rounds a pair as numpy does', () => {
    // Computed with numpy 2.4: [round(v, 2) for v in np.linspace(a, b, n)].
    expect(scaleMultipliers([0.5, 4], 4)).toEqual([0.5, 1.67, 2.83, 4]);
    expect(scaleMultipliers([0.125, 0.375], 3)).toEqual([0.12, 0.25, 0.38]);
    expect(scaleMultipliers([4, 0.5], 3)).toEqual([4, 2.25, 0.5]);
    expect(scaleMultipliers([0.3, 2], 1)).toEqual([0.3]);
    expect(scaleMultipliers(0.125, 2)).toEqual([0.125, 0.125]);
    expect(scaleMultipliers([0.111, 0.222, 0.333], 3)).toEqual([0.111, 0.222, 0.333]);
  });

  it('never loses more than a tenth to divisibility', () => {
    expect(makeDivisible(100, 256)).toBe(256);
    expect(makeDivisible(383, 256)).toBe(512); // 256 would be under 0.9 * 383
    expect(makeDivisible(281, 256)).toBe(256);
    expect(makeDivisible(640, 256)).toBe(768);
  });
});

describe('config.json', () => {
  it('is read and written back', () => {
    const config = read({});
    expect(config.layers.map((l) => [l.queryHeads, l.kvHeads, l.ffnDim, l.qkvDim, l.proj1Dim])).toEqual([
      [4, 1, 64, 96, 128],
      [4, 1, 160, 96, 320],
      [8, 2, 256, 192, 512],
      [8, 2, 384, 192, 768],
    ]);
    expect(toHuggingFaceConfig(config, 'float32')).toEqual(saved);
    for (const name of configNames) {
      const builtIn = configFromName(name);
      const again = configFromHuggingFace(JSON.parse(JSON.stringify(toHuggingFaceConfig(builtIn, 'float16'))), name);
      expect({ ...again, scaling: undefined }).toEqual({ ...builtIn, scaling: undefined });
    }
  });

  it('with two layers keeps multipliers that rounding would change', () => {
    const config = configFromFields(
      { num_transformer_layers: 2, model_dim: 4096, head_dim: 64, ffn_multipliers: 0.8125, ffn_dim_divisor: 8 },
      'recipe',
    );
    expect(config.layers[0].ffnDim).toBe(3328);
    expect(configFromHuggingFace(toHuggingFaceConfig(config, 'float32'), 'again')).toEqual(config);
  });

  it('may give head lists in place of multipliers', () => {
    const config = read({
      qkv_multipliers: undefined,
      num_gqa_groups: undefined,
      num_query_heads: [6, 4, 8, 2],
      num_kv_heads: [2, 1, 8, 2],
    });
    expect(config.layers.map((l) => [l.queryHeads, l.kvHeads])).toEqual([
      [6, 2],
      [4, 1],
      [8, 8],
      [2, 2],
    ]);
    expect(configFromHuggingFace(toHuggingFaceConfig(config, 'float32'), 'again')).toEqual(config);
  });

  it('takes several end ids, and generation_config.json over its own', () => {
    expect(read({ eos_token_id: [2, 5] }).eosTokenIds).toEqual([2, 5]);
    const config = read({ bos_token_id: null });
    expect(config.bosTokenId).toBeUndefined();
    expect(withGenerationConfig(config, { bos_token_id: 1, eos_token_id: [2, 7] }, 'generation_config.json')).toMatchObject({
      bosTokenId: 1,
      eosTokenIds: [2, 7],
    });
    expect(withGenerationConfig(config, { transformers_version: '4.39.3' }, 'generation_config.json')).toEqual(config);
    expect(() => withGenerationConfig(config, { eos_token_id: 320 }, 'generation_config.json')).toThrow(
      'generation_config.json: eos_token_id is 320; expected a token id from 0 to 319 (vocab_size is 320)',
    );
  });

  it.each([
    [{ model_type: 'llama' }, 'config.json: model_type is "llama"; expected "openelm"'],
    [{ vocab_size: undefined }, 'config.json: vocab_size is missing'],
    [{ model_dim: undefined }, 'config.json: model_dim is missing; expected a whole number from 1 to 2147483647'],
    [{ model_dim: '96' }, 'config.json: model_dim is "96"; expected a whole number from 1 to 2147483647'],
    [{ model_dim: 96.5 }, 'model_dim is 96.5'],
    [{ num_transformer_layers: 0 }, 'num_transformer_layers is 0; expected a whole number from 1 to 10000'],
    [{ num_transformer_layers: 10001 }, 'num_transformer_layers is 10001'],
    [{ num_transformer_layers: 5 }, 'num_query_heads is a list of 4; expected a list of 5 whole numbers, one per layer'],
    [{ head_dim: 15 }, 'head_dim is 15; expected an even number'],
    [{ rope_max_length: 0 }, 'rope_max_length is 0; expected a whole number from 1'],
    [{ rope_freq_constant: 0 }, 'rope_freq_constant is 0; expected a number above 0'],
    [{ ffn_with_glu: 'yes' }, 'ffn_with_glu is "yes"; expected true or false'],
    [{ activation_fn_name: 'gelu' }, 'activation_fn_name is "gelu"; expected "swish" or "silu"'],
    [{ normalization_layer_name: 'layer_norm' }, 'normalization_layer_name is "layer_norm"; expected "rms_norm"'],
    [{ ffn_multipliers: [1, 2, 3] }, 'ffn_multipliers is a list of 3; expected a number above 0'],
    [{ ffn_multipliers: [1, 2, -3, 4] }, 'ffn_multipliers[2] is -3; expected a number above 0'],
    [{ num_query_heads: [4, 4, 4, 8] }, 'num_query_heads says 4 for layer 2, but qkv_multipliers and num_gqa_groups make it 8'],
    [{ num_kv_heads: [1, 1, 2, 4] }, 'num_kv_heads says 4 for layer 3, but qkv_multipliers and num_gqa_groups make it 2'],
    [
      { qkv_multipliers: undefined, num_gqa_groups: undefined, num_kv_heads: [3, 1, 2, 2] },
      'layer 0 has 4 query heads (num_query_heads) and 3 key/value heads (num_kv_heads); the first must be a multiple of the second',
    ],
    [{ eos_token_id: 'end' }, 'eos_token_id is "end"; expected a token id from 0 to 319'],
    [{ ffn_multipliers: 1e6, model_dim: 960000, qkv_multipliers: undefined }, "layer 0's proj_1 would have 1920000000000 rows"],
    [{ vocab_size: 2 ** 31 - 1, model_dim: 2 ** 23, qkv_multipliers: undefined }, 'the model would have 2.0e+16 parameters'],
  ])('with %j says so in one sentence', (changes, message) => {
    expect(() => read(changes)).toThrow(InputError);
    expect(() => read(changes)).toThrow(message);
  });

  it('must be an object', () => {
    expect(() => configFromHuggingFace([], 'config.json')).toThrow(
      "config.json: expected an object with the model's config, found a list of 0",
    );
    expect(() => configFromHuggingFace(null, 'config.json')).toThrow('found null');
  });
});

describe('free config', () => {
  it('needs only layers, width and head width', () => {
    const config = configFromFields({ num_transformer_layers: 3, model_dim: 64, head_dim: 16 }, 'recipe');
    expect(config.layers).toEqual(
      Array(3).fill({ queryHeads: 4, kvHeads: 4, headDim: 16, ffnDim: 256, qkvDim: 192, proj1Dim: 512 }),
    );
    expect(config).toMatchObject({
      vocabSize: 32000,
      maxContextLength: 2048,
      ropeMaxLength: 4096,
      tieEmbeddings: false,
      normalizeQk: false,
    });
  });

  it('grows a rotary table that is shorter than the context, as CoreNet does', () => {
    const lengths = (fields: object): number[] => {
      const shape = { num_transformer_layers: 1, model_dim: 64, head_dim: 16, ...fields };
      const { maxContextLength, ropeMaxLength } = configFromFields(shape, 'recipe');
      return [maxContextLength, ropeMaxLength];
    };
    expect(lengths({ max_context_length: 8192, rope_max_length: 4096 })).toEqual([8192, 8192]);
    expect(lengths({ rope_max_length: 128 })).toEqual([128, 128]);
    expect(lengths({ rope_max_length: 4096 })).toEqual([2048, 4096]);
  });

  it('refuses a field it does not know', () => {
    expect(() => configFromFields({ num_transformer_layer: 3, model_dim: 64, head_dim: 16 }, 'recipe')).toThrow(
      'recipe: unknown field "num_transformer_layer"; did you mean num_transformer_layers?',
    );
  });
});

describe('mutated configs', () => {
  it('give a config or an InputError, soon', () => {
    let state = 12345;
    const random = (n: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * n);
    };
    const hostile = (): unknown =>
      [
        null,
        undefined,
        true,
        '',
        'x'.repeat(100_000),
        -1,
        0,
        1,
        2,
        3.7,
        1e308,
        -1e308,
        Number.NaN,
        Number.POSITIVE_INFINITY,
        2 ** 31,
        2 ** 53,
        1e-300,
        [],
        {},
        [[1]],
        [1, 2],
        [0.5, 4, 'a', 4],
        new Array(9),
        Array(10_000).fill(1),
        { length: 4 },
        10_000,
        65_536,
        () => 1,
        Symbol('s'),
        5n,
      ][random(30)]; // prettier-ignore
    const keys = Object.keys(saved) as (keyof typeof saved)[];
    let refused = 0;
    for (let i = 0; i < 7000; i++) {
      const json: Record<string, unknown> = { ...saved };
      for (let n = random(4); n >= 0; n--) {
        const key = keys[random(keys.length)];
        const value = json[key];
        const kind = random(4);
        if (kind === 0) delete json[key];
        else if (kind === 1 && typeof value === 'number') json[key] = value * [2, 0.5, 3, 1e9, -1][random(5)];
        else if (kind === 2 && Array.isArray(value)) json[key] = value.map((item) => (random(3) === 0 ? hostile() : item));
        else json[key] = hostile();
      }
      try {
        const config = configFromHuggingFace(json, 'config.json');
        expect(Number.isSafeInteger(countParameters(config))).toBe(true);
        expect(config.layers.every((l) => l.queryHeads % l.kvHeads === 0 && l.ffnDim >= 1)).toBe(true);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        expect(error.message.length).toBeLessThan(400);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(3500);
    expect(refused).toBeLessThan(6900);
  });
});
