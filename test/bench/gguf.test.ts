// The GGUF writer of the benchmarks: rounding of single blocks against values worked out by hand from GGML's rule, and whole
// files against ones made by the gguf Python package where those fixtures are at hand.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { convert, writeGguf } from '../../bench/gguf.js';

const fixtures = join(import.meta.dirname, '../../../shared/fixtures/models/tiny-elm');

const block = (first: readonly number[]) => Float32Array.from({ length: 32 }, (_, i) => first[i] ?? 0);

test('f16 rounds to nearest even, keeps subnormals, overflows to infinity', () => {
  const bytes = convert(Float32Array.from([1, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 65519.9, 65520, -(2 ** -24), 2 ** -25]), 'F16');
  const bits = Array.from({ length: 7 }, (_, i) => bytes.readUInt16LE(2 * i));
  expect(bits).toEqual([0x3c00, 0x3c00, 0x3c02, 0x7bff, 0x7c00, 0x8001, 0]);
});

test('Q8_0 rounds halves away from zero and takes the scale before it is rounded to f16', () => {
  const bytes = convert(block([127, 2.5, -2.5, -127]), 'Q8_0');
  expect(bytes.readUInt16LE(0)).toBe(0x3c00);
  expect([2, 3, 4, 5, 6].map((i) => bytes.readInt8(i))).toEqual([127, 3, -3, -127, 0]);
  // Scale 1.0004 is 1 in f16. 64.515 / 1.0004 rounds to 64, 64.515 / 1 would round to 65.
  const shifted = convert(block([127.0508, 64.515]), 'Q8_0');
  expect(shifted.readUInt16LE(0)).toBe(0x3c00);
  expect([shifted.readInt8(2), shifted.readInt8(3)]).toEqual([127, 64]);
});

test('Q4_0 maps the value of largest magnitude to code 0 and packs i beside i + 16', () => {
  const values = block([-8, 7, 0.5, 8]);
  values[16] = -3;
  const bytes = convert(values, 'Q4_0');
  expect(bytes.readUInt16LE(0)).toBe(0x3c00);
  // -8 -> 0 and -3 -> 5; 7 -> 15 and 0 -> 8; 0.5 -> 9; 8 -> 16, held at 15.
  expect([...bytes.subarray(2, 6)]).toEqual([0x50, 0x8f, 0x89, 0x8f]);
  // Zeros: the scale is 0 / -8, a negative zero.
  expect([...convert(block([]), 'Q4_0')]).toEqual([0, 0x80, ...new Array(16).fill(0x88)]);
});

test.skipIf(!existsSync(fixtures)).each(['F32', 'F16', 'Q8_0', 'Q4_0'] as const)(
  'tiny-elm in %s: the same tensor bytes',
  async (type) => {
    const directory = mkdtempSync(join(tmpdir(), 'openelm-gguf-'));
    try {
      const file = join(directory, 'model.gguf');
      await writeGguf(fixtures, file, type);
      // Tensor infos (names, shapes, types, offsets) and data: everything from the first tensor's name on.
      const fromTensors = (path: string) => {
        const bytes = readFileSync(path);
        const infos = bytes.indexOf('token_embd.weight');
        const end = bytes.indexOf('blk.3.ffn_down.weight') + 'blk.3.ffn_down.weight'.length + 4 + 16 + 4 + 8;
        return { infos: bytes.subarray(infos, end), data: bytes.subarray(Math.ceil(end / 32) * 32) };
      };
      const written = fromTensors(file);
      const expected = fromTensors(join(fixtures, `model-${type}.gguf`));
      expect(written.infos.equals(expected.infos)).toBe(true);
      expect(written.data.equals(expected.data)).toBe(true);
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
);
