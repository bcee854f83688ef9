// The WASM backend in Node: how it behaves with threads and without shared memory, that neither changes a bit, which instruction set
// is chosen, and that the committed modules are those of the sources. What its ops compute is in native.conformance.test.ts.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import { wasmHash } from '../../native/sources.mjs';
import {
  type WasmBackend,
  type WasmBytes,
  type WasmHost,
  type WasmModule,
  wasmBackend,
  wasmBackendNow,
  wasmIsas,
} from '../../src/backends/wasm.js';
import { nodeHost, nodeWasmBackend, readWasmModule } from '../../src/backends/wasm-node.js';
import { ggufTensor } from '../../src/formats/gguf.js';
import { bytesInMemory } from '../../src/io/bytes.js';
import { encodeFloat16 } from '../../src/io/float16.js';
import { Ops } from '../../src/tensor/ops.js';
import { behaviourSuite } from '../behaviour.suite.js';
import { gradientCases } from '../gradient.cases.js';
import { bitsOf, execute, storedMatrix } from '../op-bench.js';

const native = fileURLToPath(new URL('../../native/', import.meta.url));
const load = async (name: WasmModule): Promise<WasmBytes> => readWasmModule(name);
const withoutThreads = (): Promise<WasmBackend> => wasmBackend({}, load);
/** What it makes from now on lies above 2 GiB: addresses there are negative as 32-bit numbers. Nothing touches what is below. */
const filled = (backend: WasmBackend): WasmBackend => {
  for (let i = 0; i < 3; i++) backend.create('f32', [190_000_000]);
  return backend;
};

describe('wasm', () => {
  it('is built from the sources that lie here', () => {
    const built = readFileSync(`${native}wasm/sources.txt`, 'utf8').trim();
    expect(built, 'native/ has changed since the WASM modules were built: run `npm run wasm` and commit them').toBe(
      wasmHash(native),
    );
  });

  it('takes the best instruction set, or the one that is asked for', async () => {
    const best = nodeWasmBackend({ threads: 1 });
    expect(best.isa === 'simd').toBe(wasmIsas().length === 1);
    expect(best.description).toMatch(/^wasm, .*SIMD.*, 1 thread$/);
    await best.dispose();
    const simd = nodeWasmBackend({ isa: 'simd', threads: 2 });
    expect(simd.description).toBe('wasm, SIMD, 2 threads');
    await simd.dispose();
    expect(() => nodeWasmBackend({ isa: 'avx2' as 'simd' })).toThrow(/instruction set 'avx2' is not known: use one of simd/);
  });

  it('passes over a module that the engine has not all instructions of', async () => {
    const has = vi.spyOn(WebAssembly, 'validate').mockReturnValue(true);
    const half = (name: WasmModule): WasmBytes => readWasmModule(name).slice(0, name === 'relaxed' ? -10_000 : undefined);
    const backend = await wasmBackend({}, async (name) => half(name));
    expect(backend.description).toBe('wasm, SIMD, 1 thread, no shared memory');
    await backend.dispose();
    expect(wasmBackendNow({}, half).isa).toBe('simd');
    await expect(wasmBackend({}, async (name) => half(name), { isa: 'relaxed' })).rejects.toThrow(
      /^the instruction set 'relaxed' is not whole here \(.*\): use simd$/,
    );
    has.mockRestore();
  });

  describe('behaviour', () => behaviourSuite(() => nodeWasmBackend({ threads: 2 })));
  describe('behaviour without threads', () => behaviourSuite(withoutThreads, { threads: false }));

  it('ends its work when a thread fails', async () => {
    let fail: (error: Error) => void = () => undefined;
    const host: WasmHost = {
      ...nodeHost,
      startThread: (start, finished, failed) => {
        fail = failed;
        return nodeHost.startThread!(start, finished, failed);
      },
    };
    const backend = wasmBackendNow(host, readWasmModule);
    const buffer = backend.create('f32', [4]);
    const reads = Array.from({ length: 4 }, () => backend.read(buffer));
    fail(new Error('the worker was refused'));
    for (const read of reads) await expect(read).rejects.toThrow(/refused/);
    expect(() => backend.create('f32', [4])).toThrow(/refused/);
    await backend.dispose();
  });

  it('takes infinite weights in f16 for what they are, beside finite ones and alone', async () => {
    const backend = nodeWasmBackend({ threads: 1 });
    const values = Float32Array.from({ length: 48 * 64 }, (_, i) => Math.sin(i));
    const finite = await backend.upload(storedMatrix(values, [48, 64]), 'f16');
    values[20 * 64 + 5] = Number.POSITIVE_INFINITY;
    const infinite = await backend.upload(storedMatrix(values, [48, 64]), 'f16');
    const x = { buffer: backend.create('f32', [1, 64]), rows: 1, columns: 64 };
    backend.write(x.buffer, new Float32Array(64).fill(0.5));
    const outputs: Float32Array[] = [];
    for (const weight of [finite, infinite]) {
      const ops = new Ops();
      const into = backend.create('f32', [1, 48]);
      ops.copy(ops.linear(x, weight), into);
      const program = ops.finish();
      await backend.submit(backend.compile(program), new Int32Array(program.paramsLength)).done;
      outputs.push(await backend.read(into));
    }
    const [all, some] = outputs;
    expect(all.every(Number.isFinite)).toBe(true);
    expect(some[20]).toBe(Number.POSITIVE_INFINITY);
    expect(some.map((value, i) => (i === 20 ? 0 : value))).toEqual(all.map((value, i) => (i === 20 ? 0 : value)));
    await backend.dispose();
  });

  // As GGUF's blocks, whose scales may be anything: one row has kernels of its own, which take them in two ways.
  it.each([
    ['the smallest', (i: number) => (i % 2049) * 2 ** -24],
    ['negative', (i: number) => (i % 3 === 0 ? -1 : 1) * (i % 2049) * 2 ** -24],
  ])('multiplies one row of int8 by %s scales', async (_, scaleOf) => {
    const [rows, columns, groups] = [48, 96, 3];
    const scales = Float32Array.from({ length: rows * groups }, (_, i) => scaleOf(i * 331));
    const halves = encodeFloat16(scales);
    const bytes = new Uint8Array(rows * groups * 34);
    for (let g = 0; g < rows * groups; g++) {
      new DataView(bytes.buffer).setUint16(g * 34, halves[g], true);
      for (let k = 0; k < 32; k++) bytes[g * 34 + 2 + k] = ((g * 7 + k * 5) % 16) - 8;
    }
    const x = Float32Array.from({ length: columns }, (_, k) => (k % 32 === 0 ? 127 : (k % 7) - 3)); // their scale is 1
    const expected = Array.from({ length: rows }, (_, row) => {
      let sum = 0;
      for (let k = 0; k < columns; k++) {
        const group = row * groups + Math.floor(k / 32);
        sum += x[k] * scales[group] * ((bytes[group * 34 + 2 + (k % 32)] << 24) >> 24);
      }
      return sum;
    });
    const backend = nodeWasmBackend({ threads: 1 });
    const part = { name: 'test', type: 'Q8_0' as const, shape: [rows, columns], offset: 0, bytes: bytes.length };
    const weight = await backend.upload(ggufTensor('test', [part], bytesInMemory('test', bytes)), 'q8');
    const row = { buffer: backend.create('f32', [1, columns]), rows: 1, columns };
    const out = backend.create('f32', [1, rows]);
    backend.write(row.buffer, x);
    const ops = new Ops();
    ops.copy(ops.linear(row, weight, { int8: true }), out);
    const program = ops.finish();
    await backend.submit(backend.compile(program), new Int32Array(program.paramsLength)).done;
    // Whole multiples of 2^-24, as are all sums on the way: floats hold them.
    expect([...(await backend.read(out))]).toEqual(expected);
    await backend.dispose();
  });

  it('gives the same bits with 1 and 3 threads, without shared memory, and above 2 GiB', async () => {
    const backends = [nodeWasmBackend({ threads: 1 }), nodeWasmBackend({ threads: 3 }), await withoutThreads()];
    backends.push(filled(nodeWasmBackend({ threads: 2 })), filled(await withoutThreads()));
    const firsts = gradientCases.filter((item, i) => gradientCases.findIndex(({ op }) => op === item.op) === i);
    for (const { op, name, build } of firsts) {
      const bits: Buffer[] = [];
      for (const backend of backends) bits.push(bitsOf(await execute(backend, build)));
      expect(bits[0].length, op).toBeGreaterThan(0);
      for (const other of bits.slice(1)) expect(Buffer.compare(bits[0], other), `${op}: ${name}`).toBe(0);
    }
    for (const backend of backends) await backend.dispose();
  });
});
