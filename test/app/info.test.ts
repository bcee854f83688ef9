// What `info` prints: the whole text for a small model, and that no line is wider than the terminal.

import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { type ModelInfo, modelInfo, renderInfo } from '../../src/app/info.js';
import { configFromFields, configFromName, configNames } from '../../src/model/config.js';
import { run } from './terminal.js';

const config = configFromFields(
  {
    num_transformer_layers: 4,
    model_dim: 256,
    head_dim: 32,
    vocab_size: 4096,
    max_context_length: 1024,
    num_gqa_groups: 4,
    qkv_multipliers: [0.5, 1.0],
    ffn_multipliers: [0.5, 4.0],
    ffn_dim_divisor: 32,
    normalize_qk_projections: true,
    share_input_output_layers: true,
  },
  'config',
);

describe('modelInfo', () => {
  it('is plain JSON', () => {
    const info = modelInfo(config, { model: 'small', weights: '/models/small', dtype: 'f16', backend: 'reference' });
    expect(JSON.parse(JSON.stringify(info))).toEqual(info);
    expect(info).toMatchObject({
      model: 'small',
      dtype: 'f16',
      parameters: { total: 3_394_048, embeddings: 1_048_576, layers: 2_345_216 },
      kv_bytes_per_token: { f32: 1792, f16: 896, q8: 504 },
      context: { default: 1024, max: 2048 },
    });
    expect(info.layers[3]).toEqual({
      index: 3,
      query_heads: 8,
      kv_heads: 2,
      ffn_dim: 1024,
      parameters: { total: 950_848, attention: 164_160, ffn: 786_688 },
    });
    const sum = info.layers.reduce((total, layer) => total + layer.parameters.total, 0);
    expect(sum + info.parameters.embeddings + info.model_dim).toBe(info.parameters.total);
    expect(modelInfo(config, { model: 'small' })).toMatchObject({ weights: null, dtype: null, backend: null });
  });
});

describe('renderInfo', () => {
  it('fits a model on a screen of 80 columns', () => {
    const info = modelInfo(config, {
      model: 'small',
      weights: '/models/small',
      dtype: 'f16',
      backend: 'native (AVX2, 2 threads)',
    });
    expect(renderInfo(info, { color: false, width: 80 })).toBe(
      [
        'small',
        '3,394,048 parameters · 4 layers · width 256 · heads of 32 · vocabulary 4,096',
        'tied embeddings · SwiGLU · qk-norm',
        '',
        'layer  query heads  kv heads  ffn width  parameters  █ attention ▒ ffn',
        '    0            4         1        128     180,800  ██▒▒▒',
        '    1            8         2        416     483,904  █████▒▒▒▒▒▒▒▒▒',
        '    2            8         2        736     729,664  █████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒',
        '    3            8         2      1,024     950,848  █████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒',
        '',
        'weights   /models/small · stored in f16',
        'size at   f32 13.6 MB · f16 6.79 MB · bf16 6.79 MB · q8 3.61 MB · q4 1.92 MB',
        'kv cache  896 bytes per token in f16 · 918 KB for 1,024 tokens · 504 in q8',
        'context   1,024 tokens · at most 2,048',
        'backend   native (AVX2, 2 threads)',
      ].join('\n'),
    );
  });

  it('never exceeds the width, whatever the model', () => {
    for (const width of [50, 64, 80, 132]) {
      for (const name of configNames) {
        const text = renderInfo(modelInfo(configFromName(name), { model: name }), { color: false, width });
        for (const line of text.split('\n')) expect(line.length, line).toBeLessThanOrEqual(width);
        const bars = text.match(/[█▒]+$/gm) ?? [];
        expect(Math.max(...bars.map((bar) => bar.length))).toBeGreaterThanOrEqual(10);
      }
    }
  });

  it('colours without changing the text', () => {
    const info = modelInfo(config, { model: 'small' });
    const coloured = renderInfo(info, { color: true, width: 80 });
    expect(coloured).toContain('\x1b[36m█');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the colours
    expect(coloured.replace(/\x1b\[\d+m/g, '')).toBe(renderInfo(info, { color: false, width: 80 }));
  });
});

describe('openelm info', () => {
  it('describes this machine', async () => {
    const { code, stdout, stderr } = await run(['info', '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const info = JSON.parse(stdout);
    expect(info).toMatchObject({
      version: manifest.version,
      node: process.version,
      default_model: { model: 'tales-6m', dtype: 'f16' },
    });
    expect(info.backend_reason === null).toBe(info.backend === 'native');
    expect(info.instruction_set === null).toBe(info.backend === 'reference');
    expect(info.threads).toBeGreaterThan(0);
    expect(info.memory_bytes.available).toBeLessThanOrEqual(info.memory_bytes.total);
    expect(info.gpus.length === 0).toBe(info.gpus_reason !== null);
    const text = (await run(['info'])).stdout;
    expect(text).toContain(`backend   ${info.backend_description}`);
    expect(text).toContain('tales-6m, embedded: 5,821,184 parameters');
    expect(text).toMatch(info.gpus_reason === null ? /^gpu 0 {5}.* · /m : /^gpu {7}none: /m);
  });

  it('describes names, configs and checkpoints', async () => {
    const model = fileURLToPath(new URL('../../models/tales-6m', import.meta.url));
    const described = async (argument: string) => JSON.parse((await run(['info', argument, '--json'])).stdout) as ModelInfo;
    const embedded = await described('tales-6m');
    expect(embedded).toMatchObject({ weights: model, dtype: 'f16', parameters: { total: 5_821_184 } });
    expect(await described(model)).toEqual({ ...embedded, model });
    expect(await described('tales-6m-instruct')).toMatchObject({ parameters: embedded.parameters });
    expect(await described(`${model}/config.json`)).toMatchObject({ weights: null, layers: embedded.layers });
    expect(await described('OpenELM-1_1B')).toMatchObject({ weights: null, parameters: { total: 1_079_891_456 } });
    expect((await run(['info', 'OpenELM-270M'])).stdout).toMatch(/^OpenELM-270M\n271,527,168 parameters · 16 layers/);
  });
});

describe('info --mpi', () => {
  it('says what was looked for where no MPI can be used', async () => {
    process.env.OPENELM_MPI = 'libnone-at-all.so';
    const { code, stdout } = await run(['info', '--mpi', '--json']);
    delete process.env.OPENELM_MPI;
    expect(code).toBe(0);
    const { reason, ...report } = JSON.parse(stdout);
    expect(report).toEqual({ library: null, abi: null, version: null, ranks: 1 });
    expect(reason).toMatch(/^no MPI library is installed: looked for libnone-at-all\.so; install Open MPI or MPICH/);
  });
});

describe('a file of another format', () => {
  const golden = (name: string): string => fileURLToPath(new URL(`../golden/${name}`, import.meta.url));

  it.each([
    ['models/tiny-elm/model-Q4_0.gguf', 'gguf', 'q4', { F32: 17, Q4_0: 17 }, 'openelm.block_count', '4'],
    ['models/tiny-elm/mlx-q4', 'mlx', 'affine4', { F16: 17, '4 bits, groups of 32': 17 }, 'format', 'mlx'],
    ['train/ckpt/training_checkpoint_last.pt', 'corenet', 'f32', { F32: 26 }, 'iterations', '3'],
  ])('%s is shown with its types and metadata', async (name, format, dtype, types, key, value) => {
    const { code, stdout, stderr } = await run(['info', golden(name), '--json']);
    expect(code, stderr).toBe(0);
    const info = JSON.parse(stdout) as ModelInfo;
    expect([info.dtype, info.storage?.format, info.storage?.metadata[key]]).toEqual([dtype, format, value]);
    const counts = Object.entries(info.storage!.types).map(([type, { tensors }]) => [type, tensors]);
    expect(Object.fromEntries(counts)).toEqual(types);
    const text = await run(['info', golden(name), '--tensors']);
    expect(text.stdout).toMatch(/\nformat {4}\S.* bits a weight\n/);
    expect(text.stdout.match(/ bytes$/gm)?.length).toBe(info.storage!.tensors.length);
  });
});
