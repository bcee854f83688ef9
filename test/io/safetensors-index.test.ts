import { describe, expect, test } from 'vitest';
import { type ByteSource, bytesInMemory } from '../../src/io/bytes.js';
import { readShardedIndex, readShards } from '../../src/io/safetensors-index.js';
import { safetensorsFile } from './build.js';

const index = (value: unknown) =>
  bytesInMemory(
    'model.safetensors.index.json',
    new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value)),
  );
const one = (...names: string[]) =>
  safetensorsFile(
    Object.fromEntries(names.map((name, i) => [name, { dtype: 'U8', shape: [1], data_offsets: [i, i + 1] }])),
    names.length,
  );

/** Reads an index over shards held in memory. */
async function load(weightMap: Record<string, string>, shards: Record<string, Uint8Array>) {
  const open = async (name: string): Promise<ByteSource> => bytesInMemory(name, shards[name]);
  return readShards(await readShardedIndex(index({ metadata: { total_size: 1 }, weight_map: weightMap })), open);
}

test('tensors of all shards come back, each with its own shard as source', async () => {
  const { tensors } = await load(
    { c: '2.safetensors', a: '1.safetensors', b: '2.safetensors' },
    { '1.safetensors': one('a'), '2.safetensors': one('b', 'c') },
  );
  expect([...tensors].map(([name, { source }]) => [name, source.name])).toEqual([
    ['a', '1.safetensors'],
    ['b', '2.safetensors'],
    ['c', '2.safetensors'],
  ]);
});

describe('shards that tell another story than the index', () => {
  const map = { a: '1.safetensors', b: '2.safetensors' };
  test.each([
    [
      { '1.safetensors': one('a'), '2.safetensors': one('x') },
      'tensor "b" is listed in shard "2.safetensors", but no shard holds it',
    ],
    [
      { '1.safetensors': one('a', 'b'), '2.safetensors': one() },
      'shard "1.safetensors" holds tensor "b", which the index does not list there',
    ],
    [
      { '1.safetensors': one('b'), '2.safetensors': one('a') },
      'tensor "a" is listed in shard "1.safetensors", but it is in "2.safetensors"',
    ],
    [
      { '1.safetensors': one('a'), '2.safetensors': one('b', 'z') },
      'shard "2.safetensors" holds tensor "z", which the index does not list there',
    ],
    [
      { '1.safetensors': one('a'), '2.safetensors': one('b').subarray(0, 20) },
      '2.safetensors: not a safetensors file, or cut short',
    ],
  ])('%#: %s', async (shards, message) => {
    await expect(load(map, shards)).rejects.toMatchObject({ name: 'InputError', message: expect.stringContaining(message) });
  });
});

describe('a bad index', () => {
  test.each<[string, string]>([
    ['{"weight_map":{"a":', 'line 1, column 20'],
    ['{"metadata":{}}', 'it has no weight_map'],
    ['{"weight_map":{}}', 'its weight_map is empty'],
    ['{"weight_map":[]}', 'expected weight_map as an object of strings, found "[]}"'],
    ['{"weight_map":{"a":1}}', 'expected the shard of tensor "a" as a string, found "1}}"'],
    ['{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}', 'the key "a" comes twice'],
    ['{"weight_map":{"a":"1.safetensors"}} x', 'expected the end, found "x"'],
    ['[]', 'expected a shard index as an object'],
  ])('%s', async (text, message) => {
    await expect(readShardedIndex(index(text))).rejects.toMatchObject({
      name: 'InputError',
      message: expect.stringContaining(message),
    });
  });

  test.each([
    '../1.safetensors',
    '/etc/1.safetensors',
    'x/1.safetensors',
    'x\\1.safetensors',
    'c:1.safetensors',
    '.safetensors',
    '',
    'a.bin',
    'a\u0000.safetensors',
  ])('a shard called %j', async (shard) => {
    await expect(readShardedIndex(index({ weight_map: { a: shard } }))).rejects.toMatchObject({
      name: 'InputError',
      message: expect.stringContaining('tensor "a": expected a plain file name ending in .safetensors'),
    });
  });
});
