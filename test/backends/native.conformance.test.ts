// The native and the WASM backend against the reference, once for each instruction set that this machine has (in one file: the
// reference's numbers are computed once); and the same bits at any number of threads.

import { describe, expect, it } from 'vitest';
import { loadNative, nativeBackend } from '../../src/backends/native.js';
import { wasmIsas } from '../../src/backends/wasm.js';
import { nodeWasmBackend } from '../../src/backends/wasm-node.js';
import { elementsOf } from '../../src/io/bytes.js';
import type { Backend } from '../../src/tensor/backend.js';
import { Ops } from '../../src/tensor/ops.js';
import { backendSuite, conformanceSuite } from '../backend.suite.js';
import { gradientCases } from '../gradient.cases.js';
import { bitsOf, execute, randomNumbers, storedCodes, storedMatrix } from '../op-bench.js';
import { isAffine, weightTypes } from '../weight-types.js';

const native = loadNative();

function open(options: Parameters<typeof nativeBackend>[0]): Backend {
  const opened = nativeBackend(options);
  if ('reason' in opened) throw new Error(opened.reason);
  return opened.backend;
}

for (const isa of wasmIsas()) conformanceSuite(`wasm ${isa}`, () => nodeWasmBackend({ isa, threads: 2 }));

describe.skipIf('reason' in native)('native', () => {
  // How it behaves is the executor's, which is the same whatever the kernels are.
  for (const [i, isa] of ('addon' in native ? native.addon.isas : []).entries())
    (i === 0 ? backendSuite : conformanceSuite)(`native ${isa}`, () => open({ isa, threads: 2 }));

  it('gives the same bits with 1, 2 and 3 threads', async () => {
    const next = randomNumbers(1);
    const [rows, width, heads] = [70, 192, { queryHeads: 8, kvHeads: 2, headDim: 16 }];
    const values = Float32Array.from({ length: 320 * 192 }, next);
    const input = Float32Array.from({ length: rows * width }, next);
    const results: Uint8Array[] = [];
    for (const threads of [1, 2, 3]) {
      const backend = open({ threads });
      const ops = new Ops();
      const x = { buffer: backend.create('f32', [rows, width]), rows, columns: width };
      backend.write(x.buffer, input);
      const cache = { keys: backend.create('f16', [rows, 2, 16]), values: backend.create('f16', [rows, 2, 16]) };
      const norm = backend.create('f32', [width]);
      const rope = backend.create('f32', [rows, 16]);
      for (const buffer of [norm, rope]) backend.write(buffer, values.subarray(0, elementsOf(buffer.shape)));
      const [positions, sequences, segments] = [ops.params(rows), ops.params(4), ops.params(2)];
      let y = ops.rmsNorm(x, norm, 1e-6);
      const into: Parameters<typeof backend.read>[0][] = [];
      for (const dtype of weightTypes) {
        const stored = isAffine(dtype)
          ? storedCodes(192, 192, Number(dtype.at(-1)), 2)
          : storedMatrix(values.subarray(0, 192 * 192), [192, 192]);
        const weight = await backend.upload(stored, dtype);
        const qkv = ops.linear(y, weight, { int8: true });
        const query = ops.qkNormRope(qkv, heads, cache, { positions, kvRows: positions, rope, eps: 1e-6 });
        const mixed = ops.attention(query, heads, cache, { sequences, sequenceCount: 1, segments, segmentCount: 1 });
        const down = await backend.upload(
          storedMatrix(values.subarray(0, 192 * 128), [192, 128]),
          isAffine(dtype) ? 'q8' : dtype,
        );
        y = ops.linear(mixed, down, { residual: x, int8: true });
        into.push(backend.create('f32', [rows, width]));
        ops.copy(y, into[into.length - 1]);
      }
      const program = ops.finish();
      const params = new Int32Array(program.paramsLength);
      for (let i = 0; i < rows; i++) params[positions.offset + i] = i;
      params.set([0, rows, 0, 1], sequences.offset);
      params.set([0, rows], segments.offset);
      await backend.submit(backend.compile(program), params).done;
      const bits: number[] = [];
      for (const buffer of into) bits.push(...new Uint8Array((await backend.read(buffer)).buffer));
      results.push(Uint8Array.from(bits));
      await backend.dispose();
    }
    expect(Buffer.compare(results[0], results[1])).toBe(0);
    expect(Buffer.compare(results[0], results[2])).toBe(0);
    expect(new Set(results[0]).size).toBeGreaterThan(100);
  });

  it('gives the same bits with 1 and 3 threads in training', async () => {
    const backends = [1, 3].map((threads) => open({ threads }));
    for (const { op, name, build } of gradientCases) {
      const [one, three] = await Promise.all(backends.map((backend) => execute(backend, build)));
      expect(Buffer.compare(bitsOf(three), bitsOf(one)), `${op}: ${name}`).toBe(0);
    }
    for (const backend of backends) await backend.dispose();
  });
});
