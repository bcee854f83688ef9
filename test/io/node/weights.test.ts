import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openWeights } from '../../../src/io/node/weights.js';
import { temporaryFolder } from '../../temporary.js';
import { safetensorsFile } from '../build.js';

const root = temporaryFolder();

function directory(name: string, files: Record<string, string | Uint8Array>): string {
  const path = join(root, name);
  mkdirSync(path);
  for (const [file, content] of Object.entries(files)) writeFileSync(join(path, file), content);
  return path;
}
const one = (tensor: string) =>
  safetensorsFile({ __metadata__: { from: tensor }, [tensor]: { dtype: 'U8', shape: [2], data_offsets: [0, 2] } }, 2);
const index = (weight_map: Record<string, string>) => JSON.stringify({ weight_map });
const openFiles = () => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0);

test('a directory with one file, the file itself, and shards by their index are opened', async () => {
  const single = directory('single', { 'model.safetensors': one('a'), 'model.safetensors.index.json': 'not looked at' });
  const sharded = directory('sharded', {
    '1.safetensors': one('a'),
    '2.safetensors': one('b'),
    'model.safetensors.index.json': index({ a: '1.safetensors', b: '2.safetensors' }),
  });
  for (const [path, names, files] of [
    [single, ['a'], ['model.safetensors']],
    [join(single, 'model.safetensors'), ['a'], ['model.safetensors']],
    [sharded, ['a', 'b'], ['1.safetensors', '2.safetensors']],
    [join(sharded, 'model.safetensors.index.json'), ['a', 'b'], ['1.safetensors', '2.safetensors']],
  ] as const) {
    const before = openFiles();
    const weights = await openWeights(path);
    expect([...weights.tensors.keys()]).toEqual(names);
    expect(weights.files.map((file) => file.split(/[/\\]/).at(-1))).toEqual(files);
    expect(weights.metadata).toEqual({ from: names.at(-1) });
    for (const tensor of weights.tensors.values()) {
      expect(tensor.source.file).toBeDefined();
      expect([...(await tensor.source.read(tensor.offset, tensor.bytes))]).toEqual([0, 1]);
    }
    await weights.close();
    expect(openFiles()).toBe(before);
  }
});

test('when nothing is found the error names what was looked for and what is there', async () => {
  await expect(openWeights(join(root, 'nowhere'))).rejects.toMatchObject({
    name: 'InputError',
    message: expect.stringContaining('no such file or directory'),
  });
  await expect(openWeights(directory('empty', { 'config.json': '{}' }))).rejects.toThrow(
    /no weights there: looked for model\.safetensors and model\.safetensors\.index\.json$/,
  );
  await expect(openWeights(directory('torch', { 'pytorch_model.bin': '' }))).rejects.toThrow('(it holds pytorch_model.bin)');
  await expect(openWeights(join(root, 'torch', 'pytorch_model.bin'))).rejects.toThrow(
    'expected a directory, a .safetensors file',
  );
});

test('a bad or missing shard is named and nothing stays open', async () => {
  const before = openFiles();
  const map = { 'model.safetensors.index.json': index({ a: '1.safetensors', b: '2.safetensors' }), '1.safetensors': one('a') };
  await expect(openWeights(directory('missing', map))).rejects.toThrow(/2\.safetensors: cannot read it: no such file/);
  await expect(openWeights(directory('bad', { ...map, '2.safetensors': 'short' }))).rejects.toThrow(
    /2\.safetensors: not a safetensors file: it has 5 bytes/,
  );
  await expect(openWeights(directory('broken', { 'model.safetensors.index.json': '{' }))).rejects.toThrow(
    /index\.json: expected a key/,
  );
  expect(openFiles()).toBe(before);
});
