import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bytesInMemory, type StoredTensor } from '../../src/io/bytes.js';
import { readFloat32 } from '../../src/io/decode.js';
import { readSafetensors, type TensorSpec, writeSafetensors } from '../../src/io/safetensors.js';
import { readInt32 } from '../integers.js';
import { memorySink, safetensorsFile } from './build.js';

const golden = join(import.meta.dirname, '../golden');
const shared = join(import.meta.dirname, '../../../shared/fixtures');

const read = (file: Uint8Array) => readSafetensors(bytesInMemory('w.safetensors', file));
const f32 = (shape: unknown, ...data_offsets: unknown[]) => ({ dtype: 'F32', shape, data_offsets });

describe('reading', () => {
  test('a file gives its tensors in the order of the bytes, with their places and metadata', async () => {
    const header = {
      b: f32([3], 8, 20),
      a: f32([2, 1], 0, 8),
      z: f32([0, 7], 20, 20),
      s: f32([], 20, 24),
      __metadata__: { format: 'pt' },
    };
    const { tensors, metadata } = await read(safetensorsFile(header, 24));
    expect([...tensors.keys()]).toEqual(['a', 'b', 'z', 's']);
    expect(metadata).toEqual({ format: 'pt' });
    const start = 8 + JSON.stringify(header).length;
    expect(tensors.get('b')).toMatchObject({ name: 'b', dtype: 'F32', shape: [3], offset: start + 8, bytes: 12 });
    expect(tensors.get('z')).toMatchObject({ shape: [0, 7], bytes: 0 });
    expect(tensors.get('s')).toMatchObject({ shape: [], bytes: 4 });
  });

  test('an empty file of no tensors, blanks after the header, unknown keys and __proto__ as a name are read', async () => {
    expect((await read(safetensorsFile('{}    '))).tensors.size).toBe(0);
    const text =
      '{"__proto__":{"dtype":"I8","shape":[1],"data_offsets":[0,1],"note":[{"deep":null}]},"__metadata__":{"__proto__":"x"}}  \n';
    const { tensors, metadata } = await read(safetensorsFile(text, 1));
    expect(tensors.get('__proto__')).toMatchObject({ dtype: 'I8', bytes: 1 });
    expect(Object.entries(metadata)).toEqual([['__proto__', 'x']]);
    expect(({} as { dtype?: string }).dtype).toBeUndefined();
  });

  const deep = (depth: number) => `{"a":{"x":${'['.repeat(depth)}${']'.repeat(depth)}}}`;
  const wrong: [name: string, file: Uint8Array, message: RegExp][] = [
    ['too short', new Uint8Array(7), /w\.safetensors: not a safetensors file: it has 7 bytes/],
    ['a Git LFS pointer', new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\n'), /Git LFS pointer/],
    ['a header past the end', safetensorsFile('{}', 3, 6n), /claims a header of 6 bytes but has 5 after/],
    ['an enormous header', safetensorsFile('{}', 0, 0xffff_ffff_ffff_ffffn), /claims a header of 18446744073709551615 bytes/],
    ['invalid UTF-8', safetensorsFile('{"a\u0000').map((byte) => (byte === 0 ? 0xff : byte)), /claims a header|not valid UTF-8/],
    ['a header that is no object', safetensorsFile('[1]'), /starts with "\[1\]" instead of "\{"/],
    ['a byte order mark', safetensorsFile('\ufeff{}'), /instead of "\{"/],
    ['cut JSON', safetensorsFile('{"a":{"dtype":"F32"'), /expected "," or "}", found the end of the text \(line 1, column 20\)/],
    ['text after the JSON', safetensorsFile('{} {}'), /expected the end, found "\{\}"/],
    ['deep nesting', safetensorsFile(deep(100_000)), /nested more than 500 deep/],
    [
      'a duplicate name',
      safetensorsFile('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}'),
      /the key "a" comes twice/,
    ],
    [
      'a duplicate key',
      safetensorsFile('{"a":{"dtype":"F32","dtype":"F16"}}'),
      /the key "dtype" comes twice in an object for tensor "a"/,
    ],
    ['an entry that is no object', safetensorsFile({ a: [] }), /expected an object for tensor "a", found "\[\]\}"/],
    [
      'metadata that is no string',
      safetensorsFile({ __metadata__: { n: 1 } }),
      /expected a string as __metadata__ "n", found "1/,
    ],
    ['metadata that is no object', safetensorsFile({ __metadata__: null }), /expected __metadata__ as an object of strings/],
    ['no dtype', safetensorsFile({ a: { shape: [], data_offsets: [0, 0] } }), /tensor "a" has no dtype/],
    ['no shape', safetensorsFile({ a: { dtype: 'F32', data_offsets: [0, 0] } }), /tensor "a" has no shape/],
    ['no offsets', safetensorsFile({ a: { dtype: 'F32', shape: [] } }), /tensor "a" has no data_offsets/],
    [
      'an unknown dtype',
      safetensorsFile({ a: { dtype: 'F33', shape: [1], data_offsets: [0, 4] } }, 4),
      /dtype "F33", expected one of F64, F32/,
    ],
    [
      'a dtype of Object',
      safetensorsFile({ a: { dtype: 'constructor', shape: [], data_offsets: [0, 0] } }),
      /dtype "constructor", expected/,
    ],
    ['a negative extent', safetensorsFile({ a: f32([-1], 0, 4) }, 4), /non-negative integer in shape of tensor "a", found "-1/],
    ['a fraction', safetensorsFile({ a: f32([1.5], 0, 6) }, 6), /non-negative integer in shape/],
    [
      'an exponent',
      safetensorsFile('{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}', 4),
      /non-negative integer in shape/,
    ],
    [
      'NaN',
      safetensorsFile('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', 4),
      /non-negative integer in shape.*found "NaN/,
    ],
    [
      'an unsafe integer',
      safetensorsFile('{"a":{"dtype":"F32","shape":[9007199254740992],"data_offsets":[0,4]}}', 4),
      /non-negative integer in shape/,
    ],
    [
      'an overflowing product',
      safetensorsFile({ a: f32([2 ** 40, 2 ** 40, 0], 0, 0) }),
      /the size of F32 \[1099511627776, 1099511627776, 0\] overflows/,
    ],
    ['an overflowing size', safetensorsFile({ a: f32([2 ** 52], 0, 4) }, 4), /the size of F32 \[4503599627370496\] overflows/],
    ['offsets out of order', safetensorsFile({ a: f32([1], 4, 0) }, 4), /begin <= end, found \[4, 0\]/],
    ['three offsets', safetensorsFile({ a: f32([1], 0, 4, 8) }, 8), /begin <= end, found \[0, 4, 8\]/],
    [
      'a size that disagrees',
      safetensorsFile({ a: f32([2, 3], 0, 20) }, 20),
      /tensor "a": F32 \[2, 3\] takes 24 bytes, but data_offsets \[0, 20\] hold 20/,
    ],
    [
      'a cut file',
      safetensorsFile({ a: f32([2], 0, 8), b: f32([2], 8, 16) }, 10),
      /tensor "b" ends at byte 16 of the data, but the file holds only 10/,
    ],
    [
      'an overlap',
      safetensorsFile({ a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12),
      /tensors "a" and "b" overlap: one ends at byte 8 .* begins at 4/,
    ],
    ['the same bytes twice', safetensorsFile({ a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4), /overlap/],
    [
      'a hole',
      safetensorsFile({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12),
      /tensor "b" begins at byte 8 of the data, expected 4/,
    ],
    [
      'trailing bytes',
      safetensorsFile({ a: f32([1], 0, 4) }, 9),
      /end at byte 4 of the data, but the file holds 9: 5 bytes too many/,
    ],
  ];
  test.each(wrong)('%s is refused in one sentence', async (_, file, message) => {
    const error = await read(file).then(
      () => undefined,
      (thrown: Error) => thrown,
    );
    expect(error).toMatchObject({ name: 'InputError', message: expect.stringMatching(message) });
    expect(error?.message).toMatch(/^w\.safetensors/);
    expect(error?.message).not.toContain('\n');
    expect(error?.message.length).toBeLessThan(400);
  });

  test('control characters and long names from the file are escaped and cut in messages', async () => {
    const error = await read(safetensorsFile({ [`\u001b[31m${'x'.repeat(5000)}`]: f32([1], 4, 0) }, 4)).catch(
      (thrown) => thrown as Error,
    );
    expect((error as Error).message).toContain('tensor "\\u001b[31mxxx');
    expect((error as Error).message.length).toBeLessThan(300);
  });
});

describe('writing', () => {
  async function* bytesOf(tensor: StoredTensor) {
    yield await tensor.source.read(tensor.offset, tensor.bytes);
  }

  test('a written file reads back, chunks of any size', async () => {
    const sink = memorySink();
    const specs: TensorSpec[] = [
      { name: 'flags', dtype: 'BOOL', shape: [3] },
      { name: 'ä "q" \\', dtype: 'F16', shape: [2, 2] },
      { name: 'x', dtype: 'F32', shape: [2] },
      { name: 'none', dtype: 'F32', shape: [0] },
    ];
    const asked: string[] = [];
    await writeSafetensors(
      sink,
      specs,
      function* ({ name, dtype, shape }) {
        asked.push(name);
        const bytes = shape.reduce((a, b) => a * b, 1) * { BOOL: 1, F16: 2, F32: 4 }[dtype as 'F32'];
        for (let i = 0; i < bytes; i++) yield Uint8Array.of(name.length);
      },
      { format: 'pt', note: 'ü' },
    );
    expect(asked).toEqual(['none', 'x', 'ä "q" \\', 'flags']); // the widest first: every tensor lies aligned
    const { tensors, metadata } = await read(sink.bytes());
    expect(metadata).toEqual({ format: 'pt', note: 'ü' });
    for (const { name, dtype, shape } of specs) {
      const tensor = tensors.get(name) as StoredTensor;
      expect(tensor).toMatchObject({ dtype, shape });
      expect((await tensor.source.read(tensor.offset, tensor.bytes)).every((byte) => byte === name.length)).toBe(true);
    }
    expect((tensors.get('none') as StoredTensor).offset % 8).toBe(0);
  });

  test('too few or too many bytes, a name twice, a reserved name and bad shapes are refused', async () => {
    const x: TensorSpec = { name: 'x', dtype: 'F32', shape: [2] };
    const write = (specs: TensorSpec[], bytes: number) => writeSafetensors(memorySink(), specs, () => [new Uint8Array(bytes)]);
    await expect(write([x], 7)).rejects.toThrow('tensor "x": F32 [2] takes 8 bytes, but 7 were given');
    await expect(write([x], 9)).rejects.toThrow('takes 8 bytes, but more were given');
    await expect(write([x, x], 8)).rejects.toThrow('tensor "x": the name is given twice');
    await expect(write([{ ...x, name: '__metadata__' }], 8)).rejects.toThrow('the name is reserved');
    await expect(write([{ ...x, shape: [-1] }], 8)).rejects.toThrow('[-1] is no shape');
    await expect(write([{ ...x, shape: [2 ** 52] }], 8)).rejects.toThrow('is no shape');
  });

  // Written by the reference implementation: reading and writing them again must give the very same bytes.
  const written = [golden, shared].filter(existsSync).flatMap((root) =>
    readdirSync(root, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.safetensors') && !path.includes('mlx'))
      .map((path): [name: string, path: string] => [path, join(root, path)]),
  );
  test('there are files of the reference writer to compare with', () => expect(written.length).toBeGreaterThanOrEqual(2));
  test.each(written)('%s is written again byte for byte', async (_, path) => {
    const original = new Uint8Array(readFileSync(path));
    const { tensors, metadata } = await read(original);
    const sink = memorySink();
    await writeSafetensors(sink, [...tensors.values()].reverse(), bytesOf, metadata);
    expect(Buffer.compare(sink.bytes(), original)).toBe(0);
  });
});

test('golden values decode: ids of UTF-8 bytes, as the producer stored them', async () => {
  const { tensors } = await read(new Uint8Array(readFileSync(join(golden, 'data/packing.safetensors'))));
  const samples = tensors.get('samples') as StoredTensor;
  const ids = await readInt32(samples);
  expect(ids.length).toBe(samples.shape.reduce((a, b) => a * b, 1));
  expect(ids[0]).toBe(1);
  expect(String.fromCharCode(...ids.subarray(1, 20).map((id) => id - 3))).toBe('Hello,   World!!  T');
  await expect(readFloat32(samples)).rejects.toThrow('w.safetensors: tensor "samples": expected floating-point numbers');
});
