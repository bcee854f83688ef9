// GGUF: the values of blocks against the gguf Python package (gguf-blocks.json: three random blocks of each type and what its
// `dequantize` makes of them), a file written and read again, and one sentence for what is damaged.

import { readFileSync } from 'node:fs';
import { describe, expect, it, test } from 'vitest';
import { encodeQ4, encodeQ8, encodeQ8Halves } from '../../src/formats/encode.js';
import { readAffineRows, unpackCodes } from '../../src/io/affine.js';
import { bytesInMemory } from '../../src/io/bytes.js';
import { readFloat32 } from '../../src/io/decode.js';
import { decodeFloat16, encodeFloat16 } from '../../src/io/float16.js';
import { isNumbers, isTexts, readGguf, textAt } from '../../src/io/gguf.js';
import { affineBlocks } from '../../src/io/gguf-affine.js';
import { type BlockName, blockTypes } from '../../src/io/gguf-blocks.js';
import { writeGguf } from '../../src/io/gguf-write.js';
import { quantizeWeights } from '../../src/tensor/quantize.js';
import { memorySink, seededRandom } from './build.js';

const blocks = JSON.parse(readFileSync(new URL('gguf-blocks.json', import.meta.url), 'utf8')) as Record<
  BlockName,
  { bytes: string; values: string }
>;

it.each(Object.keys(blocks) as BlockName[])('blocks of %s are what the gguf package makes of them', (type) => {
  const bytes = new Uint8Array(Buffer.from(blocks[type].bytes, 'base64'));
  const expected = new Float32Array(new Uint8Array(Buffer.from(blocks[type].values, 'base64')).buffer);
  const { decode, values } = blockTypes[type] as {
    decode: (b: Uint8Array, n: number, out: Float32Array) => void;
    values: number;
  };
  const found = new Float32Array(expected.length);
  decode(bytes, expected.length / values, found);
  expect(found).toEqual(expected);
});

it.each(['Q4_1', 'Q5_0', 'Q5_1', 'Q4_K', 'Q5_K'] as const)('blocks of %s have parts of the same values', async (type) => {
  const bytes = new Uint8Array(Buffer.from(blocks[type].bytes, 'base64'));
  const expected = new Float32Array(new Uint8Array(Buffer.from(blocks[type].values, 'base64')).buffer);
  const columns = blockTypes[type].values;
  const rows = expected.length / columns;
  const place = { source: bytesInMemory('x', bytes), offset: 0, bytes: bytes.length };
  const parts = affineBlocks('w', type, [rows, columns], place)!;
  const [scales, minimums] = [await readFloat32(parts.scales), await readFloat32(parts.minimums)];
  const codes = new Uint8Array(rows * columns);
  unpackCodes(await parts.codes.source.read(0, parts.codes.bytes), parts.bits, codes);
  for (const [i, code] of codes.entries()) {
    expect(Math.fround(code * scales[i >> 5]) + minimums[i >> 5]).toBeCloseTo(expected[i], 6);
  }
  // What backends keep: f16 scales and minimums.
  const kept = await readAffineRows(parts, columns, 0, rows);
  const peak = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (const [i, code] of kept.codes.entries()) {
    expect(Math.abs(code * kept.scales[i >> 5] + kept.minimums[i >> 5] - expected[i])).toBeLessThan(peak * 1e-3);
  }
});

test('every type that is read has a fixture, but for plain numbers', () => {
  expect(
    Object.keys(blockTypes)
      .filter((type) => !['F32', 'F16', 'BF16'].includes(type))
      .sort(),
  ).toEqual(Object.keys(blocks).sort());
});

describe('what is written', () => {
  const random = seededRandom(3);
  const values = Float32Array.from({ length: 4096 }, (_, i) => (random() - 0.5) * 2 ** (((i >> 5) % 24) - 18));
  values.fill(0, 64, 96);

  it.each([8, 4] as const)('has the codes and scales of our own %d bits', (bits) => {
    const type = bits === 8 ? 'Q8_0' : 'Q4_0';
    const { bytes: size, decode } = blockTypes[type];
    const bytes = new Uint8Array((values.length / 32) * size);
    (bits === 8 ? encodeQ8 : encodeQ4)(values, bytes);
    const found = new Float32Array(values.length);
    decode(bytes, values.length / 32, found);
    const { codes, scales } = quantizeWeights(values, bits);
    expect(found).toEqual(Float32Array.from(codes, (code, i) => code * scales[i >> 5]));
  });

  it('is the same from f16', () => {
    const halves = encodeFloat16(values);
    const [a, b] = [new Uint8Array(4352), new Uint8Array(4352)];
    expect(encodeQ8Halves(halves, a)).toEqual(encodeQ8(decodeFloat16(halves), b));
  });

  it('rounds as GGML does', () => {
    const block = (first: readonly number[]) => Float32Array.from({ length: 32 }, (_, i) => first[i] ?? 0);
    const [eight, four] = [new Uint8Array(34), new Uint8Array(18)];
    // Halves go away from zero; the inverse is that of the scale before it is 1 in f16: 64.515 / 1.0004 rounds to 64.
    encodeQ8(block([127, 2.5, -2.5, -127]), eight);
    expect([...eight.subarray(0, 7)]).toEqual([0, 0x3c, 127, 3, 253, 129, 0]);
    encodeQ8(block([127.0508, 64.515]), eight);
    expect([...eight.subarray(0, 4)]).toEqual([0, 0x3c, 127, 64]);
    // -8 is 0 and -3 is 5; 7 is 15 and 0 is 8; 0.5 is 9; 8 is 16, held at 15.
    const fours = block([-8, 7, 0.5, 8]);
    fours[16] = -3;
    encodeQ4(fours, four);
    expect([...four.subarray(0, 6)]).toEqual([0, 0x3c, 0x50, 0x8f, 0x89, 0x8f]);
    encodeQ4(block([]), four); // the scale is 0 / -8, a negative zero
    expect([...four]).toEqual([0, 0x80, ...new Array(16).fill(0x88)]);
    encodeQ8(block([1, Number.NaN, 2]), eight);
    expect(eight[1] & 0x7c).toBe(0x7c);
  });
});

async function small(): Promise<Uint8Array> {
  const sink = memorySink();
  const tensors = [
    { name: 'a', type: 'F32', shape: [3] },
    { name: 'b', type: 'Q8_0', shape: [2, 32] },
  ] as const;
  await writeGguf(
    sink,
    [
      ['text', { type: 'string', value: 'é' }],
      ['number', { type: 'uint32', value: 7 }],
      ['flag', { type: 'bool', value: true }],
      ['numbers', { type: 'int32s', value: [1, -2] }],
      ['floats', { type: 'float32s', value: [0.5] }],
      ['texts', { type: 'strings', value: ['x', '▁y'] }],
    ],
    tensors,
    ({ name }) => [new Uint8Array(name === 'a' ? 12 : 68).fill(name === 'a' ? 1 : 2)],
  );
  return sink.bytes();
}

const read = (bytes: Uint8Array) => readGguf(bytesInMemory('x.gguf', bytes));

test('a file is read as it was written', async () => {
  const bytes = await small();
  const { metadata, tensors } = await read(bytes);
  expect(['text', 'number', 'flag'].map((key) => metadata.get(key))).toEqual(['é', 7, true]);
  const [numbers, floats, texts] = ['numbers', 'floats', 'texts'].map((key) => metadata.get(key));
  expect(isNumbers(numbers) && [...numbers.numbers]).toEqual([1, -2]);
  expect(isNumbers(floats) && [...floats.numbers]).toEqual([0.5]);
  expect(isTexts(texts) && [textAt(texts, 0), textAt(texts, 1)]).toEqual(['x', '▁y']);
  expect(tensors.map(({ name, type, shape, bytes: size }) => [name, type, shape, size])).toEqual([
    ['a', 'F32', [3], 12],
    ['b', 'Q8_0', [2, 32], 68],
  ]);
  for (const { offset, bytes: size, name } of tensors) {
    expect(new Set(bytes.subarray(offset, offset + size))).toEqual(new Set([name === 'a' ? 1 : 2]));
  }
});

test('what is damaged is refused in a sentence that says where', async () => {
  const bytes = await small();
  const changed = (at: number, value: number): Uint8Array => {
    const copy = bytes.slice();
    new DataView(copy.buffer).setUint32(at, value, true);
    return copy;
  };
  const typeOfA = Buffer.from(bytes).lastIndexOf(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 97)) + 9 + 4 + 8; // behind its name: one dimension, its size, the type
  for (const [file, message] of [
    [new Uint8Array(2), /cut short, or damaged: the magic/],
    [changed(0, 1), /not a GGUF file/],
    [changed(4, 1), /GGUF version 1 is not read, only 2 and 3/],
    [changed(4, 0x03000000), /big-endian/],
    [changed(8, 0xffffffff), /the number of tensors at byte 8 is 4294967295, more than can be true/],
    [changed(typeOfA, 23), /tensor "a" is IQ4_XS, which is not read; known are F32/],
    [changed(typeOfA, 12), /tensor "a": Q4_K comes in blocks of 256, which rows of 3 are no multiple of/],
    [bytes.slice(0, -40), /tensor "b" ends at byte \d+, but the file has \d+: was it cut short/],
  ] as const) {
    await expect(read(file)).rejects.toThrow(message);
  }
});
