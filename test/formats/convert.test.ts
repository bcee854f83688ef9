// From each format to the next: what comes back is what went in, tensor by tensor, with its tokenizer and template; and our own blocks
// are those of the files.

import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { openChatTemplate, openCheckpoint, openTokenizer } from '../../src/checkpoint.js';
import { convertModel } from '../../src/convert.js';
import { elementsOf } from '../../src/io/bytes.js';
import { readFloat32 } from '../../src/io/decode.js';
import { readGguf } from '../../src/io/gguf.js';
import { openFile } from '../../src/io/node/files.js';
import { writeSafetensors } from '../../src/io/safetensors.js';
import { configFromFields } from '../../src/model/config.js';
import { checkWeights, parameterShapes } from '../../src/model/parameters.js';
import { quantizeWeights } from '../../src/tensor/quantize.js';
import { run } from '../app/terminal.js';
import { memorySink } from '../io/build.js';
import { temporaryFolder } from '../temporary.js';
import { smallFields, template, writeSmall } from './build.js';

const folder = temporaryFolder();
const place = (name: string): string => join(folder, name);
beforeAll(() => writeSmall(place('model')));

/** To the bit: arrays of this length take the test runner's own comparison long. */
function expectSame(found: Float32Array | undefined, expected: Float32Array, what: string): void {
  const bytes = (of: Float32Array) => Buffer.from(of.buffer, of.byteOffset, of.byteLength);
  expect(found && bytes(found).equals(bytes(expected)), what).toBe(true);
}

function expectAllSame(found: ReadonlyMap<string, Float32Array>, expected: ReadonlyMap<string, Float32Array>): void {
  expect([...found.keys()]).toEqual([...expected.keys()]);
  for (const [name, values] of expected) expectSame(found.get(name), values, name);
}

/** Every parameter's values. */
async function weightsOf(name: string): Promise<Map<string, Float32Array>> {
  const checkpoint = await openCheckpoint(name);
  const weights = await checkpoint.openWeights();
  try {
    const values = new Map<string, Float32Array>();
    for (const [parameter, tensor] of checkWeights(checkpoint.config, weights.tensors, name).tensors) {
      values.set(parameter, (await readFloat32(tensor)).slice());
    }
    return values;
  } finally {
    await weights.close();
  }
}

async function tensorBytes(file: string): Promise<Map<string, Buffer>> {
  const source = await openFile(file);
  try {
    const { tensors } = await readGguf(source);
    const read = async ({ offset, bytes }: { offset: number; bytes: number }) => Buffer.from(await source.read(offset, bytes));
    return new Map(await Promise.all(tensors.map(async (tensor) => [tensor.name, await read(tensor)] as const)));
  } finally {
    await source.close();
  }
}

async function textsOf(name: string): Promise<unknown[]> {
  const checkpoint = await openCheckpoint(name);
  const tokenizer = (await openTokenizer(checkpoint))!;
  const text = 'Once upon a time, 42 naïve  cats\n\t<s> sat </s>: ☃.';
  const ids = [tokenizer.encode(text), tokenizer.encodeTemplate(text, { bos: true })];
  return [...ids, tokenizer.bosId, tokenizer.eosId, tokenizer.addBos, tokenizer.vocabSize, await openChatTemplate(checkpoint)];
}

describe('convert', () => {
  it('goes from Hugging Face to GGUF, MLX, CoreNet and back, and all is equal', async () => {
    const original = place('model');
    const [weights, texts] = [await weightsOf(original), await textsOf(original)];
    expect(texts.at(-1)).toBe(template);
    let from = original;
    for (const [name, ...options] of [['a.gguf'], ['b', '--to', 'mlx'], ['c.pt'], ['d']]) {
      const { code, stdout, stderr } = await run(['convert', from, place(name), ...options]);
      expect(code, stderr).toBe(0);
      expect(stdout).toMatch(/ as (gguf|mlx|corenet|hf), f32\n$/);
      const found = await weightsOf(place(name));
      expectAllSame(found, weights);
      expect(await textsOf(place(name)), name).toEqual(texts);
      const [config, before] = [(await openCheckpoint(place(name))).config, (await openCheckpoint(original)).config];
      expect({ ...config, scaling: null }).toEqual({ ...before, scaling: null });
      const written = await run(['run', 'Once upon', '-m', place(name), '-n', '4', '--json']);
      expect(written.code, written.stderr).toBe(0);
      from = place(name);
    }
    expect(readdirSync(folder).filter((name) => name.includes('.tmp'))).toEqual([]);
  });

  it('keeps all bits of a file that mixes types', async () => {
    const config = configFromFields(smallFields, 'small');
    const typeOf = (name: string) => (name.includes('ffn.') ? 'BF16' : 'F16');
    const specs = parameterShapes(config).map(({ name, shape }) => ({ name, shape, dtype: typeOf(name) }) as const);
    const sink = memorySink();
    await writeSafetensors(sink, specs, ({ shape }) => [new Uint8Array(2 * elementsOf(shape)).fill(0x3b)]);
    await writeSmall(place('mixed'));
    writeFileSync(join(place('mixed'), 'model.safetensors'), sink.bytes());
    const weights = await weightsOf(place('mixed'));
    for (const name of ['mixed.pt', 'mixed.gguf']) {
      expect(await convertModel(await openCheckpoint(place('mixed')), place(name))).toMatchObject({ dtype: 'f32' });
      expectAllSame(await weightsOf(place(name)), weights);
    }
  });

  it('takes a template out of tokenizer_config.json too', async () => {
    await writeSmall(place('chat'), 'f16', {}, ['tokenizer.model']);
    writeFileSync(join(place('chat'), 'tokenizer_config.json'), JSON.stringify({ chat_template: template, eos_token: '</s>' }));
    await convertModel(await openCheckpoint(place('chat')), place('chat.gguf'));
    expect(await openChatTemplate(await openCheckpoint(place('chat.gguf')))).toBe(template);
    const named = { default: template, tool_use: '{{ tools }}' };
    const list = Object.entries(named).map(([name, template]) => ({ name, template }));
    writeFileSync(join(place('chat'), 'tokenizer_config.json'), JSON.stringify({ chat_template: list }));
    await convertModel(await openCheckpoint(place('chat')), place('chat.gguf'), { force: true });
    expect(await openChatTemplate(await openCheckpoint(place('chat.gguf')))).toEqual(named);
    await convertModel(await openCheckpoint(place('chat.gguf')), place('back'));
    expect(await openChatTemplate(await openCheckpoint(place('back')))).toEqual(named);
  });

  it.each(['q8', 'q4'] as const)('writes GGUF in %s whose values are our own', async (dtype) => {
    const out = place(`${dtype}.gguf`);
    await convertModel(await openCheckpoint(place('model')), out, { dtype });
    const found = await weightsOf(out);
    for (const [name, values] of await weightsOf(place('model'))) {
      if (name.includes('norm')) expectSame(found.get(name), values, name);
      else {
        const { codes, scales } = quantizeWeights(values, dtype === 'q8' ? 8 : 4); // rows are whole groups
        const own = Float32Array.from(codes, (code, i) => code * scales[i >> 5]);
        expectSame(found.get(name), own, name);
      }
    }
    const again = place(`${dtype}-again.gguf`);
    await convertModel(await openCheckpoint(out), again);
    expectAllSame(await weightsOf(again), found);
  });

  it.each(['Q8_0', 'Q4_0'])('writes the bytes that the gguf package does: %s', async (type) => {
    const golden = fileURLToPath(new URL('../golden/models/tiny-elm', import.meta.url));
    const out = place(`tiny-${type}.gguf`);
    await convertModel(await openCheckpoint(golden), out, { dtype: type === 'Q8_0' ? 'q8' : 'q4' });
    const [ours, theirs] = await Promise.all([out, join(golden, `model-${type}.gguf`)].map(tensorBytes));
    expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort());
    for (const [name, bytes] of theirs) expect(bytes.equals(ours.get(name)!), name).toBe(true);
  });

  it.each([
    ['q4', undefined, 0.1],
    ['q8', 32, 0.01],
  ] as const)('writes MLX in %s, in groups of %s', async (dtype, group, bound) => {
    const out = place(`mlx-${dtype}`);
    await convertModel(await openCheckpoint(place('model')), out, { to: 'mlx', dtype, group });
    const checkpoint = await openCheckpoint(out);
    expect(checkpoint.format).toBe('mlx');
    const found = await weightsOf(out);
    for (const [name, values] of await weightsOf(place('model'))) {
      const most = values.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0);
      const error = values.reduce((worst, value, i) => Math.max(worst, Math.abs(value - found.get(name)![i])), 0);
      expect(error, name).toBeLessThan(bound * most);
    }
  });

  it("pads LLaMA's vocabulary for CoreNet, and cuts it again", async () => {
    const fields = { vocab_size: 32_000, model_dim: 16, num_transformer_layers: 1, ffn_multipliers: 2, qkv_multipliers: 1 };
    await writeSmall(place('llama'), 'bf16', fields, []);
    await convertModel(await openCheckpoint(place('llama')), place('llama.pt'));
    const file = await openCheckpoint(place('llama.pt'));
    expect([file.config.vocabSize, (await openTokenizer(file))?.vocabSize]).toEqual([32_000, 32_000]);
    expectAllSame(await weightsOf(place('llama.pt')), await weightsOf(place('llama')));
    await convertModel(file, place('llama.gguf'));
    expect(await textsOf(place('llama.gguf'))).toEqual([...(await textsOf(place('llama')))]);
  });

  it('refuses what cannot be, in a sentence, and leaves nothing', async () => {
    await writeSmall(place('untied'), 'f16', { share_input_output_layers: false });
    writeFileSync(place('taken.gguf'), '');
    mkdirSync(place('others'));
    writeFileSync(place('others/letter'), '');
    for (const [argv, message] of [
      [['model', 'taken.gguf'], /taken\.gguf: something is there already; choose another name, or --force/],
      [['model', 'x.onnx'], /x\.onnx: an ONNX file is not written; name a \.gguf or \.pt file, or a folder/],
      [['model', 'others', '--force'], /others is a folder of other things: it has no config\.json, and is not replaced/],
      [['model', 'x.gguf', '--group', '32'], /--group is for mlx with q8 or q4: gguf with f32 has no groups/],
      [['model', 'model', '--to', 'gguf'], /model is a directory, and gguf is written as a file/],
      [['model', 'x', '--dtype', 'q8'], /hf holds f32, f16 or bf16, not q8/],
      [['model', 'x.pt', '--dtype', 'q4'], /corenet holds f32, f16 or bf16, not q4/],
      [['untied', 'x.gguf'], /GGUF's openelm models have tied embeddings, which this one lacks/],
      [['model', 'x', '--to', 'mlx', '--dtype', 'q4', '--group', '128'], /has rows of 64, no multiple of the group of 128/],
    ] as const) {
      const [from, out, ...rest] = argv;
      const { code, stdout, stderr } = await run(['convert', place(from), place(out), ...rest]);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(message);
      expect(existsSync(place('x')) || existsSync(place('x.pt')) || existsSync(place('x.gguf'))).toBe(false);
    }
    const stopped = convertModel(await openCheckpoint(place('model')), place('y.gguf'), { signal: AbortSignal.abort() });
    await expect(stopped).rejects.toThrow();
    expect(readdirSync(folder).filter((name) => name.startsWith('y') || name.startsWith('.'))).toEqual([]);
  });

  it('removes what was left by one that was killed, and gives way to one that runs', async () => {
    const files = ['.left.gguf.12345-0123abcd.tmp', '.left.12345-0123abcd.tmp', '.other.gguf.12345-0123abcd.tmp'];
    for (const name of files) writeFileSync(place(name), 'half');
    const checkpoint = await openCheckpoint(place('model'));
    await convertModel(checkpoint, place('left.gguf'));
    await convertModel(checkpoint, place('left'));
    expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([files[2]]);
    rmSync(place(files[2]));
    const both = [convertModel(checkpoint, place('both.gguf')), convertModel(checkpoint, place('both.gguf'))];
    const failed = (await Promise.allSettled(both)).flatMap((of) => (of.status === 'rejected' ? [String(of.reason)] : []));
    expect(failed).toEqual([
      expect.stringMatching(/both\.gguf: another process is making it; choose another place, or wait for it$/),
    ]);
  });
});
