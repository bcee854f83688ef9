// The reference backend is judged by definitions written out here on tiny inputs, and by the golden models; the shared suite only
// makes sure that it covers every op, behaves and reports failures like the others.

import { describe, expect, it } from 'vitest';
import { referenceBackend } from '../../src/backends/reference.js';
import { Ops } from '../../src/tensor/ops.js';
import { quantizeActivations, quantizeWeights } from '../../src/tensor/quantize.js';
import { backendSuite } from '../backend.suite.js';
import { storedMatrix } from '../op-bench.js';

backendSuite('reference', referenceBackend, { reference: true });

describe('reference', () => {
  it('computes a linear with residual', async () => {
    const backend = referenceBackend();
    const weight = await backend.upload(storedMatrix(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]), 'f32');
    const x = { buffer: backend.create('f32', [1, 3]), rows: 1, columns: 3 };
    const residual = { buffer: backend.create('f32', [1, 2]), rows: 1, columns: 2 };
    backend.write(x.buffer, Float32Array.of(1, 0, -1));
    backend.write(residual.buffer, Float32Array.of(10, 20));
    const into = backend.create('f32', [1, 2]);
    const ops = new Ops();
    ops.linear(x, weight, { residual, into });
    await backend.submit(backend.compile(ops.finish()), new Int32Array(0)).done;
    expect(await backend.read(into)).toEqual(Float32Array.of(8, 18));
  });
});

describe('quantization', () => {
  it('takes the inverse of the scale before rounding it, and rounds halves away from zero', () => {
    const row = new Float32Array(32);
    row.set([127, 0.5, -0.5, 1.5, -2.5]);
    expect([...quantizeWeights(row, 8).codes.subarray(0, 5)]).toEqual([127, 1, -1, 2, -3]);
  });

  it('lets the largest 4-bit weight, with its sign, be -8', () => {
    const row = new Float32Array(32);
    row.set([-1, 1, 0.5, -0.51]);
    const { codes, scales } = quantizeWeights(row, 4);
    expect([...codes.subarray(0, 4)]).toEqual([-8, 7, 4, -4]);
    expect(scales[0]).toBe(0.125);
  });

  it('rounds activations to even and pads the last group', () => {
    const row = new Float32Array(33);
    row.set([127, 0.5, 1.5, 2.5, -0.5, -1.5]);
    row[32] = 4;
    const { codes, scales } = quantizeActivations(row);
    expect([...codes.subarray(0, 6)]).toEqual([127, 0, 2, 2, 0, -2]);
    expect(codes.length).toBe(64);
    expect(scales[1]).toBe(Math.fround(4 / 127));
  });
});
