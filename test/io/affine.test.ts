// Matrices of codes, scales and minimums: packing, and the values that backends compute with.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import { affineTensor } from '../../src/formats/mlx.js';
import { packCodes, unpackCodes } from '../../src/io/affine.js';
import { readFloat32 } from '../../src/io/decode.js';
import { openFile } from '../../src/io/node/files.js';
import type { Backend } from '../../src/tensor/backend.js';
import { Ops } from '../../src/tensor/ops.js';
import { affineType } from '../../src/tensor/quantize.js';
import { relativeError, storedCodes } from '../op-bench.js';
import { temporaryFolder } from '../temporary.js';

const folder = temporaryFolder();

describe('codes', () => {
  it.each([2, 3, 4, 5, 6, 8])('of %i bits lie end to end from the lowest bits up', (bits) => {
    const codes = Uint8Array.from({ length: 64 }, (_, i) => (i * 37) % 2 ** bits);
    const packed = packCodes(codes, bits);
    expect(packed.length).toBe(8 * bits);
    let value = 0n;
    for (const [i, byte] of packed.entries()) value |= BigInt(byte) << BigInt(8 * i);
    expect(Number((value >> BigInt(bits * 21)) & BigInt(2 ** bits - 1))).toBe(codes[21]);
    const unpacked = new Uint8Array(64);
    unpackCodes(packed, bits, unpacked);
    expect(unpacked).toEqual(codes);
  });
});

describe('an affine matrix', () => {
  const native = nativeBackend({ threads: 2 });
  const backends: [string, Backend][] = [['reference', referenceBackend()]];
  if ('backend' in native) backends.push(['native', native.backend]);
  afterAll(() => Promise.all(backends.map(([, backend]) => backend.dispose())));

  it.each(backends)('has its values on the %s backend, from memory and from a file', async (_, backend) => {
    for (const bits of [2, 3, 4, 5, 6, 8]) {
      const stored = storedCodes(300, 64, bits, bits);
      const { codes, scales, minimums, group } = stored.affine!;
      const parts = [codes, scales, minimums];
      const path = join(folder, `${bits}.bin`);
      const pieces = await Promise.all(parts.map(({ source, offset, bytes }) => source.read(offset, bytes)));
      writeFileSync(path, Buffer.concat([new Uint8Array(5), ...pieces]));
      const file = await openFile(path);
      let offset = 5;
      const [movedCodes, movedScales, movedMinimums] = parts.map((part) => {
        offset += part.bytes;
        return { ...part, source: file, offset: offset - part.bytes };
      });
      const fromFile = affineTensor(movedCodes, movedScales, movedMinimums, { bits, groupSize: group });
      const expected = await readFloat32(stored);
      for (const tensor of [stored, fromFile]) {
        for (const type of [affineType(bits), 'f32'] as const) {
          const weight = await backend.upload(tensor, type);
          const ops = new Ops();
          const ids = ops.params(300);
          const out = backend.create('f32', [300, 64]);
          ops.copy(ops.embedding(weight, ids, 300), out);
          const params = Int32Array.from({ length: 300 }, (_, i) => i);
          await backend.submit(backend.compile(ops.finish()), params).done;
          // Tiny factors lose bits in f16.
          expect(relativeError(await backend.read(out), expected)).toBeLessThan(1e-6);
        }
      }
      await file.close();
    }
  });

  it.each(backends)('keeps to the types that hold its codes (%s)', async (_, backend) => {
    await expect(backend.upload(storedCodes(16, 32, 8, 1), 'affine4')).rejects.toThrow(/codes of 8 bits, too many for affine4/);
    const plain = { ...storedCodes(16, 32, 4, 1), affine: undefined };
    await expect(backend.upload(plain, 'affine4')).rejects.toThrow(/not stored as codes/);
  });
});
