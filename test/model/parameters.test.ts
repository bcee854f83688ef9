// Names, shapes and sizes of a model's tensors, and what a checkpoint that does not fit its config is told.

import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.js';
import { bytesInMemory, DTYPE_BYTES, type StoredDType, type StoredTensor } from '../../src/io/bytes.js';
import { configFromFields, configFromName, configNames, countParameters, type ModelConfig } from '../../src/model/config.js';
import { canonicalName, checkWeights, kvBytesPerToken, parameterShapes, weightBytes } from '../../src/model/parameters.js';

/** The shape of the golden model tiny-elm. */
const fields = {
  num_transformer_layers: 4,
  model_dim: 96,
  head_dim: 16,
  vocab_size: 320,
  num_gqa_groups: 4,
  qkv_multipliers: [0.5, 1.0],
  ffn_multipliers: [0.5, 4.0],
  ffn_dim_divisor: 32,
  normalize_qk_projections: true,
  share_input_output_layers: true,
};
const tied = configFromFields(fields, 'config.json');
const untied = configFromFields({ ...fields, share_input_output_layers: false, normalize_qk_projections: false }, 'config.json');

function stored(config: ModelConfig, dtype: StoredDType = 'F16'): Map<string, StoredTensor> {
  return new Map(parameterShapes(config).map(({ name, shape }) => [name, tensor(name, shape, dtype)]));
}

function tensor(name: string, shape: readonly number[], dtype: StoredDType = 'F16'): StoredTensor {
  const bytes = shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype]);
  return { name, dtype, shape, source: bytesInMemory('model.safetensors', new Uint8Array()), offset: 0, bytes };
}

describe('parameterShapes', () => {
  it('lists the tensors of a checkpoint', () => {
    expect(parameterShapes(tied).slice(0, 9)).toEqual([
      { name: 'transformer.token_embeddings.weight', shape: [320, 96] },
      { name: 'transformer.layers.0.attn_norm.weight', shape: [96] },
      { name: 'transformer.layers.0.attn.qkv_proj.weight', shape: [96, 96] },
      { name: 'transformer.layers.0.attn.q_norm.weight', shape: [16] },
      { name: 'transformer.layers.0.attn.k_norm.weight', shape: [16] },
      { name: 'transformer.layers.0.attn.out_proj.weight', shape: [96, 64] },
      { name: 'transformer.layers.0.ffn_norm.weight', shape: [96] },
      { name: 'transformer.layers.0.ffn.proj_1.weight', shape: [128, 96] },
      { name: 'transformer.layers.0.ffn.proj_2.weight', shape: [96, 64] },
    ]);
    expect(parameterShapes(tied).at(-1)).toEqual({ name: 'transformer.norm.weight', shape: [96] });
    expect(parameterShapes(untied).at(-1)).toEqual({ name: 'transformer.classifier.weight', shape: [320, 96] });
    expect(parameterShapes(untied).some(({ name }) => name.includes('q_norm'))).toBe(false);
  });

  it('adds up to the count', () => {
    for (const config of [...configNames.map((name) => configFromName(name)), tied, untied]) {
      const sum = parameterShapes(config).reduce(
        (total, { shape }) => total + shape.reduce((product, size) => product * size, 1),
        0,
      );
      expect(sum).toBe(countParameters(config));
    }
  });
});

describe('sizes', () => {
  it('of the 270M', () => {
    const config = configFromName('OpenELM-270M');
    const norms = 44_288;
    const matrices = 271_527_168 - norms;
    expect(weightBytes(config, 'f32')).toBe(4 * 271_527_168);
    expect(weightBytes(config, 'bf16')).toBe(2 * matrices + 4 * norms);
    expect(weightBytes(config, 'q8')).toBe((matrices / 32) * 34 + 4 * norms);
    expect(weightBytes(config, 'q4')).toBe((matrices / 32) * 18 + 4 * norms);
    expect(kvBytesPerToken(config, 'f16')).toBe(16_128);
    expect(kvBytesPerToken(configFromName('OpenELM-3B'), 'f32')).toBe(2 * 83_968);
  });

  it('pad quantized groups along the input', () => {
    const config = configFromFields(
      { num_transformer_layers: 1, model_dim: 48, head_dim: 12, vocab_size: 10, ffn_dim_divisor: 8 },
      'x',
    );
    // Rows of 48 take two groups: 10 + 10 (tables), 144 (qkv), 48 (out), 384 (proj_1); proj_2 has 48 rows of 192, six groups.
    expect(weightBytes(config, 'q8')).toBe((10 + 10 + 144 + 48 + 384) * 2 * 34 + 48 * 6 * 34 + 3 * 48 * 4);
  });
});

describe('canonicalName', () => {
  it('knows both namings', () => {
    expect(canonicalName('transformer.layers.3.attn.qkv_proj.weight')).toBe('transformer.layers.3.attn.qkv_proj.weight');
    expect(canonicalName('layers.3.attn.qkv_proj.weight')).toBe('transformer.layers.3.attn.qkv_proj.weight');
    expect(canonicalName('norm.weight')).toBe('transformer.norm.weight');
    expect(canonicalName('lm_head.weight')).toBe('transformer.classifier.weight');
    expect(canonicalName('layers.x.weight')).toBeUndefined();
    expect(canonicalName('optimizer.step')).toBeUndefined();
  });
});

describe('checkWeights', () => {
  it('passes what fits, under the parameter names', () => {
    const checked = checkWeights(tied, stored(tied, 'BF16'), 'dir');
    expect([...checked.tensors.keys()]).toEqual(parameterShapes(tied).map(({ name }) => name));
    expect(checked).toMatchObject({ dtype: 'bf16', ignored: [] });
  });

  it("passes CoreNet's names", () => {
    const bare = new Map([...stored(untied).values()].map((t) => [t.name.slice(12), { ...t, name: t.name.slice(12) }]));
    const { tensors } = checkWeights(untied, bare, 'dir');
    expect(tensors.get('transformer.classifier.weight')?.name).toBe('classifier.weight');
  });

  it('names the type of most bytes, norms in f32 beside f16 matrices', () => {
    const mixed = stored(tied);
    for (const [name, t] of mixed) if (t.shape.length === 1) mixed.set(name, tensor(name, t.shape, 'F32'));
    expect(checkWeights(tied, mixed, 'dir').dtype).toBe('f16');
  });

  it('ignores tensors of no use', () => {
    const tensors = stored(tied);
    for (const name of ['lm_head.weight', 'transformer.rotary.inv_freq', 'transformer.layers.0.attn.inv_freq'])
      tensors.set(name, tensor(name, [320, 96]));
    expect(checkWeights(tied, tensors, 'dir').ignored.toSorted()).toEqual([
      'lm_head.weight',
      'transformer.layers.0.attn.inv_freq',
      'transformer.rotary.inv_freq',
    ]);
  });

  it("takes lm_head as an untied model's output layer, as upstream does", () => {
    for (const order of [0, 1]) {
      const tensors = [...stored(untied).values()];
      tensors.splice(order * tensors.length, 0, tensor('lm_head.weight', [320, 96]));
      const checked = checkWeights(untied, new Map(tensors.map((t) => [t.name, t])), 'dir');
      expect(checked.tensors.get('transformer.classifier.weight')?.name).toBe('lm_head.weight');
      expect(checked.ignored).toEqual(['transformer.classifier.weight']);
    }
  });

  const with_ = (config: ModelConfig, ...tensors: StoredTensor[]) => {
    const all = stored(config);
    for (const t of tensors) all.set(t.name, t);
    return all;
  };
  const without = (config: ModelConfig, pattern: RegExp) => new Map([...stored(config)].filter(([name]) => !pattern.test(name)));

  it.each<[string, ModelConfig, Map<string, StoredTensor>, string]>([
    [
      'a missing tensor',
      tied,
      without(tied, /layers\.2\.ffn\.proj_2/),
      'dir: tensor transformer.layers.2.ffn.proj_2.weight is missing',
    ],
    ['nothing at all', tied, new Map(), 'dir: tensor transformer.token_embeddings.weight is missing'],
    [
      'a missing output layer',
      untied,
      without(untied, /classifier/),
      'dir: tensor transformer.classifier.weight is missing, and the config says share_input_output_layers: false',
    ],
    [
      'missing norms',
      tied,
      without(tied, /k_norm/),
      'dir: tensor transformer.layers.0.attn.k_norm.weight is missing, and the config says normalize_qk_projections: true',
    ],
    [
      'another shape',
      tied,
      with_(tied, tensor('transformer.layers.1.ffn.proj_1.weight', [160, 96])),
      'dir: tensor transformer.layers.1.ffn.proj_1.weight has shape [160, 96], but the config makes it [320, 96] (ffn_multipliers, ffn_dim_divisor, ffn_with_glu; model_dim)',
    ],
    [
      'another vocabulary',
      tied,
      with_(tied, tensor('transformer.token_embeddings.weight', [321, 96])),
      'has shape [321, 96], but the config makes it [320, 96] (vocab_size, model_dim)',
    ],
    [
      'another rank',
      tied,
      with_(tied, tensor('transformer.norm.weight', [1, 96])),
      'has shape [1, 96], but the config makes it [96] (model_dim)',
    ],
    [
      'integers',
      tied,
      with_(tied, tensor('transformer.layers.0.attn.qkv_proj.weight', [96, 96], 'U32')),
      'dir: tensor transformer.layers.0.attn.qkv_proj.weight has dtype U32; expected F32, F16 or BF16',
    ],
    [
      'more layers',
      tied,
      with_(tied, tensor('transformer.layers.5.attn_norm.weight', [96])),
      'dir: the weights hold 6 layers, but the config says num_transformer_layers: 4',
    ],
    [
      'fewer layers',
      tied,
      without(tied, /layers\.3/),
      'dir: the weights hold 3 layers, but the config says num_transformer_layers: 4',
    ],
    [
      'an output layer too many',
      tied,
      with_(tied, tensor('transformer.classifier.weight', [320, 96])),
      'dir: the weights hold an output layer of their own (transformer.classifier.weight), but the config says share_input_output_layers: true',
    ],
    [
      'norms too many',
      untied,
      with_(untied, tensor('transformer.layers.0.attn.q_norm.weight', [16])),
      'dir: the weights hold transformer.layers.0.attn.q_norm.weight, but the config says normalize_qk_projections: false',
    ],
    [
      'a bias',
      tied,
      with_(tied, tensor('transformer.layers.0.attn.qkv_proj.bias', [96])),
      "dir: tensor transformer.layers.0.attn.qkv_proj.bias is a bias, and OpenELM's layers have none",
    ],
    [
      'one parameter twice',
      tied,
      with_(tied, tensor('norm.weight', [96])),
      'dir: tensors transformer.norm.weight and norm.weight are the same parameter; remove one',
    ],
  ])('refuses %s in one sentence', (_, config, tensors, message) => {
    expect(() => checkWeights(config, tensors, 'dir')).toThrow(InputError);
    expect(() => checkWeights(config, tensors, 'dir')).toThrow(message);
  });
});
