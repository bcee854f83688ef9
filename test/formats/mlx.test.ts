// MLX's groups: codes of every width as the words hold them, against the same bits read one by one; and what config.json says.

import { describe, expect, it } from 'vitest';
import { affineFormats, affineTensor, affineTensors, quantizeAffine } from '../../src/formats/mlx.js';
import { bytesInMemory, DTYPE_BYTES, type StoredDType, type StoredTensor } from '../../src/io/bytes.js';
import { readFloat32 } from '../../src/io/decode.js';
import { seededRandom } from '../io/build.js';

const random = seededRandom(11);
function stored(name: string, dtype: StoredDType, shape: readonly number[], data: Uint8Array): StoredTensor {
  expect(data.length).toBe(shape.reduce((a, b) => a * b, DTYPE_BYTES[dtype]));
  return { name, dtype, shape, source: bytesInMemory('x.safetensors', data), offset: 0, bytes: data.length };
}
const floats = (values: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

describe.each([2, 3, 4, 6, 8])('%d bits', (bits) => {
  it.each([32, 64, 128])('in groups of %d', async (groupSize) => {
    const [rows, columns] = [3, 384];
    const words = (columns * bits) / 32;
    const bytes = Uint8Array.from({ length: rows * words * 4 }, () => Math.floor(random() * 256));
    const groups = columns / groupSize;
    const scales = Array.from({ length: rows * groups }, () => Math.fround(random()));
    const biases = scales.map(() => Math.fround(random() - 0.5));
    const tensor = affineTensor(
      stored('w.weight', 'U32', [rows, words], bytes),
      stored('w.scales', 'F32', [rows, groups], floats(scales)),
      stored('w.biases', 'F32', [rows, groups], floats(biases)),
      { bits, groupSize },
    );
    const found = await readFloat32(tensor);
    expect(tensor.shape).toEqual([rows, columns]);
    for (let i = 0; i < rows * columns; i++) {
      let code = 0; // bit by bit, the lowest first
      for (let bit = 0; bit < bits; bit++) {
        const at = i * bits + bit;
        code |= ((bytes[at >> 3] >> (at & 7)) & 1) << bit;
      }
      const group = Math.floor(i / groupSize);
      expect(found[i]).toBe(Math.fround(Math.fround(code * scales[group]) + biases[group]));
    }
    // A part that begins inside a group.
    const part = new Float32Array((await tensor.source.read(400, 200)).slice().buffer);
    expect(part).toEqual(found.slice(100, 150));
  });
});

it('quantizes so that the larger end and zero are codes', () => {
  const values = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i) * (i < 32 ? 1 : -3));
  values[3] = 0;
  const { codes, scales, biases } = quantizeAffine(values, { bits: 4, groupSize: 32 });
  const decoded = (i: number): number => ((codes[i >> 1] >> ((i & 1) * 4)) & 15) * scales[i >> 5] + biases[i >> 5];
  expect(decoded(3)).toBeCloseTo(0, 7);
  for (const [from, to] of [
    [0, 32],
    [32, 64],
  ]) {
    const group = [...values.subarray(from, to)];
    const edge = group.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a));
    expect(decoded(from + group.indexOf(edge))).toBeCloseTo(edge, 6);
    group.forEach((value, i) => {
      expect(Math.abs(decoded(from + i) - value)).toBeLessThanOrEqual(Math.abs(scales[from / 32]));
    });
  }
});

it('follows what config.json says of each module', () => {
  const formats = affineFormats(
    { quantization: { bits: 4, group_size: 64, a: false, 'transformer.b': { bits: 8, group_size: 32 } } },
    'c',
  )!;
  expect(formats('transformer.a')).toBeUndefined();
  expect(formats('transformer.b')).toEqual({ bits: 8, groupSize: 32 });
  expect(formats('transformer.c')).toEqual({ bits: 4, groupSize: 64 });
  expect(affineFormats({}, 'c')).toBeUndefined();
  expect(() => affineFormats({ quantization: { bits: 7, group_size: 64 } }, 'c')).toThrow(
    'c: quantization.bits is 7; one of 2, 3, 4, 5, 6, 8',
  );
  expect(() => affineFormats({ quantization: { bits: 4, group_size: 16 } }, 'c')).toThrow('quantization.group_size is 16');
  expect(() => affineFormats({ quantization: { bits: 4, group_size: 32, mode: 'mxfp4' } }, 'c')).toThrow(
    'quantization.mode is "mxfp4"',
  );
});

it('names the tensor that does not fit', () => {
  const tensors = (shape: readonly number[]): Map<string, StoredTensor> => {
    const weight = stored('w.weight', 'U32', [2, 8], new Uint8Array(64));
    const scales = stored('w.scales', 'F32', shape, new Uint8Array(4 * shape[0] * shape[1]));
    return new Map([weight, scales].map((tensor) => [tensor.name, tensor]));
  };
  const formats = affineFormats({ quantization: { bits: 4, group_size: 32 } }, 'c')!;
  expect(() => affineTensors(tensors([2, 2]), formats)).toThrow('tensor w.biases is missing beside its scales');
  const wrong = tensors([2, 1]);
  wrong.set('w.biases', { ...wrong.get('w.scales')!, name: 'w.biases' });
  expect(() => affineTensors(wrong, formats)).toThrow('w.scales is F32 [2, 1], which does not go with w.weight of [2, 8]');
});
