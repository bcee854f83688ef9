// Thousands of damaged headers and indexes, from a fixed seed: each is either read or refused with an InputError of one line,
// without reading past the file or taking memory that the file's own size does not justify.

import { expect, test } from 'vitest';
import { type ByteSource, bytesInMemory } from '../../src/io/bytes.js';
import { readSafetensors } from '../../src/io/safetensors.js';
import { readShardedIndex, readShards } from '../../src/io/safetensors-index.js';
import { safetensorsFile, seededRandom } from './build.js';

const random = seededRandom(20240422);
const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)];
const below = (limit: number) => Math.floor(random() * limit);

const NUMBERS = [
  '-1',
  '0',
  '1',
  '7',
  '1e3',
  '1e999',
  '-0',
  '1.5',
  '2147483648',
  '4294967296',
  '9007199254740991',
  '9007199254740992',
  '18446744073709551616',
  'NaN',
  'Infinity',
  '0x10',
  '01',
];
const VALUES = [
  ...NUMBERS,
  '""',
  '"F16"',
  '"F4"',
  '"__proto__"',
  'null',
  'true',
  '{}',
  '[]',
  '[[]]',
  '{"a":1,"a":2}',
  '"\\ud800"',
  '"\\u000"',
  '[0,8]',
  `${'['.repeat(500)}`,
  `${'{"a":'.repeat(100)}1${'}'.repeat(100)}`,
];
const KEYS = ['a', 'dtype', 'shape', 'data_offsets', '__metadata__', '__proto__', 'constructor', 'toString', '', 'weight_map'];

const HEADER = JSON.stringify({
  __metadata__: { format: 'pt' },
  a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
  b: { dtype: 'F16', shape: [3], data_offsets: [16, 22] },
  c: { dtype: 'I8', shape: [], data_offsets: [22, 23] },
});
const INDEX = JSON.stringify({
  metadata: { total_size: 23 },
  weight_map: { a: '1.safetensors', b: '1.safetensors', c: '1.safetensors' },
});

/** Changes a text in one to three places: a number, a value, a key, a few characters, a cut, a repetition. */
function mutateText(text: string): string {
  let result = text;
  for (let times = 1 + below(3); times > 0; times--) {
    const at = below(result.length + 1);
    const to = Math.min(result.length, at + below(12));
    result = pick([
      () => replaceOne(result, /-?\d+/g, pick(NUMBERS)),
      () => replaceOne(result, /"[^"]*"(?=[,}])|\d+|\[[^[\]]*\]|\{[^{}]*\}/g, pick(VALUES)),
      () => replaceOne(result, /"[^"]*"(?=:)/g, JSON.stringify(pick(KEYS))),
      () => result.slice(0, at) + result.slice(to),
      () => result.slice(0, to) + result.slice(at),
      () => result.slice(0, at) + String.fromCharCode(below(pick([128, 0x3000]))) + result.slice(to),
      () => result.slice(0, at),
      () => `${result} ${pick(VALUES)}`,
    ])();
  }
  return result;
}

function replaceOne(text: string, pattern: RegExp, by: string): string {
  const matches = [...text.matchAll(pattern)];
  if (matches.length === 0) return text;
  const { index, 0: found } = pick(matches);
  return text.slice(0, index) + by + text.slice(index + found.length);
}

function mutateBytes(file: Uint8Array): Uint8Array {
  let result = file.slice();
  for (let times = 1 + below(4); times > 0; times--) {
    const at = random() < 0.3 ? below(8) : below(result.length);
    if (random() < 0.8) result[at] = pick([result[at] ^ (1 << below(8)), below(256), 0, 255]);
    else result = random() < 0.5 ? result.slice(0, at) : new Uint8Array([...result, ...new Uint8Array(below(40))]);
    if (result.length === 0) break;
  }
  return result;
}

/** A source that fails the test when it is asked for anything outside itself. */
function watched(name: string, data: Uint8Array): ByteSource {
  const source = bytesInMemory(name, data);
  return {
    ...source,
    async read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= data.length))
        throw new Error(`read ${offset} ${length} of ${data.length}`);
      return source.read(offset, length);
    },
  };
}

/** True when it was read, false when it was refused properly; anything else fails the test. */
async function outcome(work: () => Promise<unknown>, input: string | Uint8Array): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    const { name, message } = error as Error;
    if (name !== 'InputError' || message.includes('\n') || message.length > 700) {
      throw new Error(`${name}: ${message} on ${typeof input === 'string' ? input : Buffer.from(input).toString('latin1')}`);
    }
    return false;
  }
}

async function readWhole(file: Uint8Array): Promise<void> {
  const source = watched('w.safetensors', file);
  const { tensors } = await readSafetensors(source);
  let bytes = 0;
  for (const tensor of tensors.values()) bytes += (await source.read(tensor.offset, tensor.bytes)).length;
  expect(bytes).toBeLessThanOrEqual(file.length);
}

test('12,000 damaged safetensors files are read or refused', async () => {
  const good = safetensorsFile(HEADER, 23);
  let refused = 0;
  for (let i = 0; i < 12_000; i++) {
    const file = i % 3 === 0 ? mutateBytes(good) : safetensorsFile(mutateText(HEADER), 23);
    if (!(await outcome(() => readWhole(file), file))) refused++;
  }
  expect(refused).toBeGreaterThan(8_000);
  expect(refused).toBeLessThan(12_000); // some damage does no harm (metadata, names): then it must still be read
});

test('4,000 damaged indexes are read or refused', async () => {
  const shard = safetensorsFile(HEADER, 23);
  let refused = 0;
  for (let i = 0; i < 4_000; i++) {
    const text = mutateText(INDEX);
    const read = async () => {
      const index = await readShardedIndex(watched('i.json', new TextEncoder().encode(text)));
      await readShards(index, async (name) => {
        expect(name).toMatch(/^[^/\\]+\.safetensors$/);
        return watched(name, shard);
      });
    };
    if (!(await outcome(read, text))) refused++;
  }
  expect(refused).toBeGreaterThan(2_500);
  expect(refused).toBeLessThan(4_000);
});
