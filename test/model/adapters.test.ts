// Adapters around a loaded model: several at once, each row with its own; files that are damaged, foreign or for another base; rules that
// choose modules. What they compute is judged by golden numbers (test/golden/peft).

import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openAdapter } from '../../src/adapters.js';
import { load } from '../../src/index.js';
import { bytesInMemory } from '../../src/io/bytes.js';
import { readJson } from '../../src/io/node/files.js';
import { readSafetensors } from '../../src/io/safetensors.js';
import { writeTorch } from '../../src/io/torch.js';
import { type AdapterRule, chooseModules, initialValues } from '../../src/model/adapter.js';
import { configFromHuggingFace } from '../../src/model/config.js';
import { writePeft } from '../../src/model/peft.js';
import { temporaryFolder } from '../temporary.js';

const golden = fileURLToPath(new URL('../golden', import.meta.url));
const base = join(golden, 'models/tiny-train');
const [lora, dora] = ['lora_hf', 'dora_hf'].map((name) => join(golden, 'peft', name));
const config = configFromHuggingFace(await readJson(join(base, 'config.json')), base);
const temporary = temporaryFolder();

const rule: AdapterRule = { pattern: 'qkv_proj', r: 4, alpha: 8, dropout: 0, use_rslora: false, use_dora: false, init: true };
const prompt = [5, 17, 40, 3, 77, 12, 9];

describe('adapters of one model', () => {
  it('answer as each does alone, in steps that mix them', async () => {
    const alone = async (adapter?: string): Promise<readonly number[]> => {
      await using model = await load(base, { adapter, dtype: 'f32', context: 64 });
      return (await model.complete(prompt, { maxTokens: 12, temperature: 0, ignoreEos: true })).ids;
    };
    const expected = [await alone(), await alone(lora), await alone(dora)];
    expect(new Set(expected.map(String)).size).toBe(3);
    await using model = await load(base, { adapters: { lora, dora }, dtype: 'f32', context: 64, slots: 3 });
    const answer = async (adapter: string | null): Promise<readonly number[]> =>
      (await model.complete(prompt, { maxTokens: 12, temperature: 0, ignoreEos: true, adapter })).ids;
    // Twice: the second time there are slots with the same prompt, made by other adapters.
    for (let round = 0; round < 2; round++) {
      expect(await Promise.all([answer(null), answer('lora'), answer('dora')])).toEqual(expected);
    }
    for (const name of ['dora', null, 'lora']) expect(await answer(name)).toEqual(expected[[null, 'lora', 'dora'].indexOf(name)]);
    await expect(answer('other')).rejects.toThrow('there is no adapter other; there are lora, dora');
  });

  it('score over quantized weights, and give them up for one call', async () => {
    await using plain = await load(base, { dtype: 'q8', context: 64 });
    await using model = await load(base, { adapter: lora, dtype: 'q8', context: 64 });
    const ids = [...prompt, 8, 30];
    const without = await model.score(ids, undefined, null);
    expect(without).toEqual(await plain.score(ids));
    expect(await model.score(ids)).not.toEqual(without);
    await expect(plain.score(ids, undefined, 'lora')).rejects.toThrow(
      'there is no adapter lora: the model was loaded without any',
    );
  });
});

describe('an adapter that cannot be used', () => {
  const changed = (name: string, change: (directory: string) => void): string => {
    const directory = join(temporary, name);
    cpSync(lora, directory, { recursive: true });
    change(directory);
    return directory;
  };
  const withConfig = (name: string, changes: object): string =>
    changed(name, (directory) => {
      const file = join(directory, 'adapter_config.json');
      writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...changes }));
    });

  it.each([
    ['of another kind', () => withConfig('kind', { peft_type: 'IA3' }), /peft_type is "IA3"; only LORA is known/],
    ['with biases', () => withConfig('bias', { lora_bias: true }), /lora_bias is true, which is not supported/],
    [
      'that changed the base',
      () => withConfig('pissa', { init_lora_weights: 'pissa_niter_4' }),
      /"pissa_niter_4", which changed the base/,
    ],
    ['of another rank', () => withConfig('rank', { r: 3 }), /lora_A.weight is \[8,.*but its rank by adapter_config.json is 3/],
    ['with a pattern of no numbers', () => withConfig('alpha', { alpha_pattern: { '.*': 'x' } }), /alpha_pattern\.\.\* is "x"/],
    ['with a switch of another kind', () => withConfig('flag', { use_dora: 'yes' }), /use_dora is "yes"; expected true or false/],
    ['of a variant', () => withConfig('kasa', { kasa_config: {} }), /kasa_config is {}, which is not supported/],
    [
      'without weights',
      () => changed('empty', (d) => rmSync(join(d, 'adapter_model.safetensors'))),
      /adapter_model.safetensors is missing/,
    ],
    [
      'cut',
      () => changed('cut', (d) => writeFileSync(join(d, 'adapter_model.safetensors'), new Uint8Array(100))),
      /adapter_model/,
    ],
    ['that is no directory', () => join(temporary, 'nowhere'), /nowhere: no such directory; an adapter is one/],
  ])('is refused in a sentence: %s', async (_, make, message) => {
    await expect(openAdapter(make(), config)).rejects.toThrow(message);
  });

  it('is read as PyTorch wrote it, where there is no other file', async () => {
    const file = join(lora, 'adapter_model.safetensors');
    const { tensors } = await readSafetensors(bytesInMemory(file, readFileSync(file)));
    const bytes: Uint8Array[] = [];
    const data = async function* ({ name }: { name: string }) {
      const { source, offset, bytes: length } = tensors.get(name)!;
      yield await source.read(offset, length);
    };
    const specs = [...tensors.values()].map(({ name, shape }) => ({ name, dtype: 'F32' as const, shape }));
    await writeTorch({ write: async (chunk) => void bytes.push(chunk.slice()) }, specs, data);
    const old = changed('torch', (d) => {
      rmSync(join(d, 'adapter_model.safetensors'));
      writeFileSync(join(d, 'adapter_model.bin'), Buffer.concat(bytes));
    });
    const [read, written] = [await openAdapter(old, config), await openAdapter(lora, config)];
    expect(read.modules.map(({ name }) => name).sort()).toEqual(written.modules.map(({ name }) => name).sort());
    for (const [name, values] of written.values) expect(read.values.get(name)).toEqual(values);
    writeFileSync(join(old, 'adapter_model.bin'), 'no zip');
    await expect(openAdapter(old, config)).rejects.toThrow(/adapter_model\.bin: /);
  });

  it('is taken where what it asks for changes nothing here', async () => {
    const asks = { bias: 'all', fan_in_fan_out: true, init_lora_weights: 'orthogonal', modules_to_save: [] };
    expect((await openAdapter(withConfig('asks', asks), config)).modules).toEqual((await openAdapter(lora, config)).modules);
  });

  it('is refused for another base, naming what differs', async () => {
    const elm = join(golden, 'models/tiny-elm');
    const other = configFromHuggingFace(await readJson(join(elm, 'config.json')), elm);
    await expect(openAdapter(lora, other)).rejects.toThrow(
      /an adapter for another base: its .* inputs and has .* outputs, the model's/,
    );
    const shorter = { ...config, layers: config.layers.slice(0, 1) };
    await expect(openAdapter(lora, shorter)).rejects.toThrow(/an adapter for another base: the model has no layers\.1\./);
  });
});

describe('an adapter that is written', () => {
  it('names its modules and no other layer of the same name, for PEFT adapts whatever is named', async () => {
    const modules = chooseModules(config, [{ ...rule, pattern: 'layers\\.1\\..*qkv_proj' }]);
    const files = new Map<string, string>();
    await writePeft(
      async (name, fill) => fill({ write: async (chunk) => void files.set(name, Buffer.from(chunk).toString()) }),
      { modules, values: initialValues(modules, 1), dropout: 0 },
      null,
    );
    expect(JSON.parse(files.get('adapter_config.json')!).target_modules).toEqual(['transformer.layers.1.attn.qkv_proj']);
  });
});

describe('rules', () => {
  it('choose modules by expressions or by the ends of names, the first that matches', () => {
    const names = (...rules: Partial<AdapterRule>[]): [string, number][] =>
      chooseModules(
        config,
        rules.map((part) => ({ ...rule, ...part })),
      ).map(({ name, rank }) => [name, rank]);
    expect(names({}).map(([name]) => name)).toEqual(config.layers.map((_, i) => `transformer.layers.${i}.attn.qkv_proj`));
    expect(names({ pattern: '.*token_embedding.*' })).toEqual([['transformer.token_embeddings', 4]]);
    expect(names({ pattern: 'layers\\.0\\..*proj_\\d', r: 2 }, { pattern: '.*proj_1' })).toContainEqual([
      'transformer.layers.0.ffn.proj_1',
      2,
    ]);
  });

  it('that match nothing or cannot be are errors', () => {
    expect(() => chooseModules(config, [{ ...rule, pattern: 'q_proj' }])).toThrow(
      '"q_proj" matches no module; there are qkv_proj, out_proj, proj_1, proj_2, token_embeddings',
    );
    const untied = { ...config, tieEmbeddings: false };
    expect(chooseModules(untied, [{ ...rule, pattern: '.*' }])).toEqual(chooseModules(config, [{ ...rule, pattern: '.*' }]));
    expect(() => chooseModules(untied, [{ ...rule, pattern: 'classifier' }])).toThrow(
      '"classifier" matches only the output layer, which adapters are not trained for; there are ',
    );
    expect(() => chooseModules(config, [{ ...rule, pattern: '(' }])).toThrow('"(" is no regular expression');
    expect(() => chooseModules(config, [{ ...rule, pattern: 'token_embeddings', use_dora: true }])).toThrow(
      /no DoRA for an embedding/,
    );
  });

  it('begin where nothing is added', () => {
    const modules = chooseModules(config, [rule, { ...rule, pattern: 'token_embeddings' }]);
    const values = initialValues(modules, 1);
    const zero = (name: string): boolean => values.get(name)!.every((value) => value === 0);
    expect(zero('transformer.layers.0.attn.qkv_proj.lora_B')).toBe(true);
    expect(zero('transformer.token_embeddings.lora_A')).toBe(true);
    const a = values.get('transformer.layers.0.attn.qkv_proj.lora_A')!;
    expect(Math.max(...a.map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(config.modelDim));
    expect(initialValues(modules, 1)).toEqual(values);
    expect(initialValues(modules, 2)).not.toEqual(values);
  });
});
