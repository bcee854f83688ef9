// `initCheckpoint`: what it writes reads back as the same model, and a directory is never left half made.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { initCheckpoint } from '../../src/app/init.js';
import { InputError } from '../../src/errors.js';
import { readFloat32 } from '../../src/io/decode.js';
import { readJson } from '../../src/io/node/files.js';
import { openWeights } from '../../src/io/node/weights.js';
import { configFromFields, configFromHuggingFace } from '../../src/model/config.js';
import { parameterValues } from '../../src/model/initialize.js';
import { checkWeights, parameterShapes } from '../../src/model/parameters.js';
import { run } from './terminal.js';

const config = configFromFields(
  {
    num_transformer_layers: 2,
    model_dim: 64,
    head_dim: 16,
    vocab_size: 1200,
    ffn_dim_divisor: 16,
    share_input_output_layers: true,
  },
  'config',
);
const parameterCount = parameterShapes(config).reduce((sum, { shape }) => sum + shape.reduce((p, s) => p * s, 1), 0);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'openelm-init-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

describe('what a killed openelm init left', () => {
  it('is removed by the next, beside the directory and inside it', async () => {
    const out = join(folder, 'model');
    const [beside, others] = ['.model.12345-0123abcd.tmp', '.other.12345-0123abcd.tmp'];
    for (const left of [beside, others]) {
      await mkdir(join(folder, left));
      await writeFile(join(folder, left, 'model.safetensors'), 'half');
    }
    await initCheckpoint({ config, out, dtype: 'f16', seed: 1 });
    expect((await readdir(folder)).sort()).toEqual([others, 'model']);
    const empty = join(folder, 'empty');
    await mkdir(join(empty, '.init.12345-0123abcd.tmp'), { recursive: true });
    await writeFile(join(empty, '.init.lock'), '');
    await initCheckpoint({ config, out: empty, dtype: 'f16', seed: 1 });
    expect((await readdir(empty)).sort()).toEqual(['config.json', 'model.safetensors']);
  });
});

describe('initCheckpoint', () => {
  it.each([
    ['f32', 2 ** -30],
    ['f16', 2 ** -11],
    ['bf16', 2 ** -8],
  ] as const)('writes %s that reads back', async (dtype, tolerance) => {
    const out = join(folder, 'deep', 'model');
    const progress: number[] = [];
    const result = await initCheckpoint({ config, out, dtype, seed: 5, onProgress: (bytes) => progress.push(bytes) });
    expect(result).toMatchObject({ directory: out, files: ['model.safetensors', 'config.json'] });
    expect(result.bytes).toBe(parameterCount * (dtype === 'f32' ? 4 : 2));
    expect(progress.at(-1)).toBe(result.bytes);

    expect(configFromHuggingFace(await readJson(join(out, 'config.json')), 'config.json')).toEqual(config);
    const weights = await openWeights(out);
    try {
      const checked = checkWeights(config, weights.tensors, out);
      expect(checked).toMatchObject({ dtype, ignored: [] });
      for (const parameter of parameterShapes(config)) {
        const values = await readFloat32(checked.tensors.get(parameter.name)!);
        let at = 0;
        for (const chunk of parameterValues(config, parameter, 5)) {
          for (const value of chunk) {
            const error = Math.abs(values[at++] - value);
            if (error > tolerance * Math.abs(value) + 2 ** -25) expect.fail(`${parameter.name}[${at - 1}] is off by ${error}`);
          }
        }
        expect(at).toBe(values.length);
      }
    } finally {
      await weights.close();
    }
  });

  it('refuses a directory in use, and with force replaces only the weights', async () => {
    const out = join(folder, 'model');
    await initCheckpoint({ config, out, dtype: 'f16', seed: 5 });
    await writeFile(join(out, 'notes.txt'), 'mine');
    for (const shard of ['model-00001-of-00001.safetensors', 'model.safetensors.index.json'])
      await writeFile(join(out, shard), '');
    const again = { config, out, dtype: 'f32', seed: 6 } as const;
    await expect(initCheckpoint(again)).rejects.toThrow(InputError);
    await expect(initCheckpoint(again)).rejects.toThrow('not empty (it holds config.json)');
    await initCheckpoint({ ...again, force: true });
    expect((await readdir(out)).sort()).toEqual(['config.json', 'model.safetensors', 'notes.txt']);
    expect(JSON.parse(await readFile(join(out, 'config.json'), 'utf8'))).toMatchObject({ torch_dtype: 'float32' });
  });

  it('fills an empty directory', async () => {
    const out = join(folder, 'empty');
    await mkdir(out);
    await initCheckpoint({ config, out, dtype: 'f16', seed: 5 });
    expect((await readdir(out)).sort()).toEqual(['config.json', 'model.safetensors']);
  });

  it('leaves nothing behind when it is stopped', async () => {
    const stop = new AbortController();
    const out = join(folder, 'model');
    const stopped = initCheckpoint({ config, out, dtype: 'f16', seed: 5, signal: stop.signal, onProgress: () => stop.abort() });
    await expect(stopped).rejects.toThrow('aborted');
    expect(await readdir(folder)).toEqual([]);
  });

  it('says what is wrong with its options', async () => {
    const out = join(folder, 'file');
    await writeFile(out, '');
    await expect(initCheckpoint({ config, out, dtype: 'f16', seed: 5 })).rejects.toThrow('a part of the path is not a directory');
  });
});

describe('openelm init', () => {
  it('writes a model that runs, and says where', async () => {
    const shape = join(folder, 'shape.json');
    await writeFile(shape, JSON.stringify({ num_transformer_layers: 2, model_dim: 64, head_dim: 16, vocab_size: 1200 }));
    const out = join(folder, 'model');
    const made = await run(['init', shape, '--out', out, '--dtype', 'bf16', '--seed', '3']);
    expect(made.code).toBe(0);
    expect(made.stdout).toMatch(/^\S+\/model: [\d,]+ parameters, [\d.]+ kB in bf16\n$/);
    expect(made.stdout.startsWith(`${out}: `)).toBe(true);
    expect((await run(['run', '--model', out, '--ids', '1,2', '-n', '2'])).code).toBe(0);
    expect(await run(['init', shape, '--out', out])).toMatchObject({ code: 1, stdout: '' });
    expect(await run(['init', shape, '--out', out, '--force'])).toMatchObject({ code: 0 });
  });

  it('says what cannot be written by the name that was asked for', async () => {
    const out = join(folder, 'x'.repeat(252)); // its lock's name is too long
    const { code, stderr } = await run(['init', 'OpenELM-270M', '--out', out]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: `openelm: ${out}: cannot write it: the name is too long\n` });
  });

  it.each([
    ['Ctrl-C', 130, (interrupt: () => void) => interrupt()],
    ['SIGTERM', 143, () => process.emit('SIGTERM')],
  ])('leaves nothing when %s ends it', async (_, expected, end) => {
    const out = join(folder, 'model');
    const { code, stdout } = await run(['init', 'OpenELM-270M', '--out', out], {
      onListen: (interrupt) => setTimeout(() => end(interrupt), 100),
    });
    expect({ code, stdout }).toEqual({ code: expected, stdout: '' });
    expect(await readdir(folder)).toEqual([]);
  });
});
