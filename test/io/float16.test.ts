import { describe, expect, test } from 'vitest';
import { toFloat32 } from '../../src/io/decode.js';
import * as float16 from '../../src/io/float16.js';

const floats = new Float32Array(1);
const bits = new Uint32Array(floats.buffer);
const fromBits = (pattern: number) => {
  bits[0] = pattern;
  return floats[0];
};
const toBits = (value: number) => {
  floats[0] = value;
  return bits[0];
};

/** The definition: sign, exponent and mantissa of a 16-bit float with that many mantissa bits. */
function valueByDefinition(half: number, mantissaBits: number): number {
  const exponentBits = 15 - mantissaBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> mantissaBits) & (2 ** exponentBits - 1);
  const mantissa = (half & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  if (exponent === 2 ** exponentBits - 1) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1 + mantissa) * 2 ** (exponent - bias) : mantissa * 2 ** (1 - bias));
}

describe.each([
  ['f16', 10, 65520, float16.float16ToNumber, float16.numberToFloat16, float16.decodeFloat16, float16.encodeFloat16] as const,
  [
    'bf16',
    7,
    2 ** 128 - 2 ** 119,
    (half: number) => float16.decodeBfloat16(Uint16Array.of(half))[0],
    (value: number) => float16.encodeBfloat16(Float32Array.of(value))[0],
    float16.decodeBfloat16,
    float16.encodeBfloat16,
  ] as const,
])('%s', (_, mantissaBits, overflow, toNumber, fromNumber, decode, encode) => {
  const all = Uint16Array.from({ length: 0x10000 }, (_, half) => half);
  const infinity = 0x8000 - 2 ** mantissaBits;

  test('every value is the one of the definition, alone and in an array', () => {
    const decoded = decode(all);
    for (const half of all) {
      const expected = valueByDefinition(half, mantissaBits);
      if (!Object.is(toNumber(half), expected) || !Object.is(decoded[half], expected))
        expect([half, toNumber(half), decoded[half]]).toEqual([half, expected, expected]);
    }
  });

  test('every value that is not NaN comes back as its own bits; NaN stays NaN, quiet, with its sign', () => {
    const again = encode(decode(all));
    for (const half of all) {
      const nan = (half & 0x7fff) > infinity;
      const expected = nan ? half | (1 << (mantissaBits - 1)) : half;
      if (again[half] !== expected) expect([half, again[half]]).toEqual([half, expected]);
      if (!nan && fromNumber(toNumber(half)) !== half) expect([half, fromNumber(toNumber(half))]).toEqual([half, half]);
    }
  });

  test('between two neighbours it rounds to the nearer, at the middle to the even one, for every pair', () => {
    for (let half = 0; half < infinity - 1; half++) {
      const middle = (valueByDefinition(half, mantissaBits) + valueByDefinition(half + 1, mantissaBits)) / 2;
      expect(Math.fround(middle)).toBe(middle); // an f32 holds the middle exactly, subnormals of f32 too
      const even = half + (half & 1);
      const at = toBits(middle);
      const found = [at - 1, at, at + 1].map((pattern) => fromNumber(fromBits(pattern)));
      const negative = fromNumber(-fromBits(at));
      if (found[0] !== half || found[1] !== even || found[2] !== half + 1 || negative !== (even | 0x8000)) {
        expect([half, ...found, negative]).toEqual([half, half, even, half + 1, even | 0x8000]);
      }
    }
  });

  test('past the largest value it becomes infinity, from the middle on', () => {
    expect(fromNumber(overflow)).toBe(infinity);
    expect(fromNumber(fromBits(toBits(overflow) - 1))).toBe(infinity - 1);
    expect(fromNumber(Number.NEGATIVE_INFINITY)).toBe(infinity | 0x8000);
    expect(fromNumber(fromBits(0x7f800001)) & 0x7fff).toBeGreaterThan(infinity); // a NaN whose payload is cut off
  });

  test('arrays give what scalars give, at odd offsets of a buffer too', () => {
    const source = new Float32Array(2001).subarray(1);
    for (let i = 0; i < source.length; i++) source[i] = (i - 1000) * 1.2345e-5 * 2 ** (i % 40);
    const encoded = encode(source, new Uint16Array(2003).subarray(3));
    expect([...encoded]).toEqual([...source].map(fromNumber));
    expect(() => decode(encoded, new Float32Array(3))).toThrow('arrays of 3 and 2000 elements');
  });
});

test('stored bytes decode at any alignment and refuse the wrong kind', () => {
  const shifted = (array: Float32Array | Float64Array | Uint16Array) => {
    const bytes = new Uint8Array(array.byteLength + 1).subarray(1);
    bytes.set(new Uint8Array(array.buffer));
    return bytes;
  };
  expect([...toFloat32(shifted(Float32Array.of(1.5, -2)), 'F32')]).toEqual([1.5, -2]);
  expect([...toFloat32(shifted(Float64Array.of(0.1)), 'F64')]).toEqual([Math.fround(0.1)]);
  expect([...toFloat32(shifted(Uint16Array.of(0x3c00, 0xc000)), 'F16')]).toEqual([1, -2]);
  expect([...toFloat32(shifted(Uint16Array.of(0x3f80, 0xc000)), 'BF16')]).toEqual([1, -2]);
  const aligned = Float32Array.of(3);
  expect(toFloat32(new Uint8Array(aligned.buffer), 'F32').buffer).toBe(aligned.buffer);
  expect(() => toFloat32(new Uint8Array(4), 'I32')).toThrow('found I32');
  expect(() => toFloat32(new Uint8Array(6), 'F32')).toThrow('6 bytes are no whole number of F32 elements');
});
