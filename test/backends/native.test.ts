// What is peculiar to the native backend: uploads from files, memory, threads, instruction sets, and how it lives and dies with
// the Node process. What each op computes, and how any backend behaves, is the shared suite's.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import {
  type Isa,
  loadNative,
  type NativeBackend,
  type NativeOptions,
  nativeBackend,
  nativeEncoder,
} from '../../src/backends/native.js';
import { InputError } from '../../src/errors.js';
import { encodeBlocks } from '../../src/formats/encode.js';
import { type ByteSource, bytesInMemory } from '../../src/io/bytes.js';
import { encodeBfloat16, encodeFloat16 } from '../../src/io/float16.js';
import { blockTypes } from '../../src/io/gguf-blocks.js';
import type { DType } from '../../src/tensor/backend.js';
import { ExecutionError } from '../../src/tensor/execution.js';
import { Ops } from '../../src/tensor/ops.js';
import { opNames, opSpec } from '../../src/tensor/optable.js';
import { gather, random, rows, stored, weightAsRows } from '../behaviour.suite.js';
import { seededRandom } from '../io/build.js';

const loaded = loadNative();
const addonPath = fileURLToPath(new URL('../../native/build/Release/openelm.node', import.meta.url));
const operands = opNames.reduce((sum, op) => sum + opSpec(op).operands.length, 0);
const folder = mkdtempSync(join(tmpdir(), 'openelm-native-'));
const opened: NativeBackend[] = [];

function open(options: NativeOptions = {}): NativeBackend {
  const made = nativeBackend({ threads: 2, ...options });
  if ('reason' in made) throw new Error(made.reason);
  opened.push(made.backend);
  return made.backend;
}

function fileSource(path: string, size: number): ByteSource {
  const read = () => Promise.reject(new Error('the backend reads files itself'));
  return { name: path, size, file: path, read, close: async () => {} };
}

async function node(script: string): Promise<{ stdout: string; milliseconds: number }> {
  const native = new URL('../../src/backends/native.ts', import.meta.url).href;
  const ops = new URL('../../src/tensor/ops.ts', import.meta.url).href;
  const code = `
    import { nativeBackend } from '${native}';
    import { Ops } from '${ops}';
    const { backend } = nativeBackend({ threads: 2 });
    const x = backend.create('f32', [512, 2048]);
    const program = (records) => {
      const ops = new Ops();
      let tensor = { buffer: x, rows: 512, columns: 2048 };
      for (let i = 0; i < records; i++) tensor = ops.silu(tensor);
      ops.copy(tensor, backend.create('f32', [512, 2048]));
      return backend.compile(ops.finish());
    };
    const none = new Int32Array(0);
    ${script}`;
  const start = performance.now();
  const args = ['--import', 'tsx', '--input-type=module', '-e', code];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 });
  return { stdout, milliseconds: performance.now() - start };
}

describe.skipIf('reason' in loaded)('native backend', () => {
  const available = 'addon' in loaded ? loaded.addon.isas : [];

  afterEach(async () => {
    await Promise.all(opened.splice(0).map((backend) => backend.dispose()));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each(['Q8_0', 'Q4_0'] as const)('encodes %s to the same bytes as JavaScript does, from every type', async (type) => {
    const encode = nativeEncoder()!;
    const draw = seededRandom(7);
    // Every size down to none, ties and what lies beside them, equal magnitudes, what is not finite.
    const values = new Float32Array(64 * 1024).map((_, i) => (draw() - 0.5) * 2 ** (((i >> 5) % 160) - 135));
    values.fill(0, 0, 32);
    for (let block = 1; block < 200; block++) {
      const unit = 2 ** ((block % 60) - 30);
      const top = block % 2 ? 127 : 8;
      for (let i = 0; i < 32; i++) values[block * 32 + i] = Math.fround((i - 16.5) * (1 + ((i % 5) - 2) * 2 ** -23)) * unit;
      values[block * 32 + (block % 32)] = (block % 3 ? top : -top) * unit;
    }
    values.set([Number.NaN, 1, Infinity, -1], 7000);
    values.set([3, -Infinity, 2, 0], 8000);
    values.set([-0, 1e-45, -1e-45, 1e-44], 9000);
    for (const [dtype, numbers] of [
      ['F32', values],
      ['F16', encodeFloat16(values)],
      ['BF16', encodeBfloat16(values)],
    ] as const) {
      const bytes = new Uint8Array(numbers.buffer);
      const size = (values.length / 32) * blockTypes[type].bytes;
      const found = await encode(type, dtype, bytes, new Uint8Array(size));
      const expected = encodeBlocks(type, dtype, bytes, new Uint8Array(size));
      expect(Buffer.compare(found, await expected), dtype).toBe(0);
    }
    expect(() => encode(type, 'F32', new Uint8Array(132), new Uint8Array(34))).toThrow();
  });

  it.each(available)('computes with %s, the same bits with 1, 2 and 3 threads', async (isa: Isa) => {
    const results: Float32Array[] = [];
    const weights = random(96 * 64, 2);
    for (const threads of [1, 2, 3]) {
      const backend = open({ isa, threads });
      const source = bytesInMemory('test', new Uint8Array(weights.buffer));
      const weight = await backend.upload(stored(source, [96, 64]), 'f16');
      const ops = new Ops();
      const out = backend.create('f32', [33, 96]);
      const x = rows(backend, random(33 * 64), 64);
      ops.linear(ops.silu(x), weight, { into: out });
      await backend.submit(backend.compile(ops.finish()), new Int32Array(0)).done;
      results.push(await backend.read(out));
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
    const x = random(33 * 64);
    const silu = x.map((v) => v / (1 + Math.exp(-v)));
    for (const [row, column] of [
      [0, 0],
      [32, 95],
      [17, 40],
    ]) {
      let sum = 0;
      for (let k = 0; k < 64; k++) sum += silu[row * 64 + k] * weights[column * 64 + k];
      expect(results[0][row * 96 + column]).toBeCloseTo(sum, 2);
    }
  });

  it('says where a buffer and a view of it lie', () => {
    const backend = open();
    const buffer = backend.create('f32', [64]);
    const { address, length } = backend.memory!.of(buffer);
    expect(address > 0n && address % 256n === 0n && length === 64).toBe(true);
    expect(backend.memory!.of({ ...buffer, offset: 8, shape: [5] })).toEqual({ address: address + 32n, length: 5 });
    backend.free(buffer);
    expect(() => backend.memory!.of(buffer)).toThrow(/unknown or freed/);
  });

  it('refuses instruction sets and numbers of threads that cannot be', () => {
    expect(() => nativeBackend({ threads: 0 })).toThrow(InputError);
    expect(() => nativeBackend({ threads: 1.5 })).toThrow(/1 to 256/);
    expect(() => nativeBackend({ isa: 'sse9' as Isa })).toThrow(/use one of plain/);
    process.env.OPENELM_THREADS = 'many';
    expect(() => nativeBackend()).toThrow(/OPENELM_THREADS is 'many'/);
    delete process.env.OPENELM_THREADS;
    process.env.OPENELM_ISA = 'plain';
    expect(open().description).toBe('native, plain C++, 2 threads');
    delete process.env.OPENELM_ISA;
  });

  it('says so when there is not enough memory', async () => {
    const backend = open();
    const huge = Array.from({ length: 64 }, () => () => backend.create('f32', [2 ** 31 - 1]));
    expect(() => huge.map((create) => create())).toThrow(ExecutionError);
  });

  it.each(['f32', 'f16', 'bf16', 'q8', 'q4'] as const)(
    'uploads a matrix as %s alike from a file and from memory',
    async (dtype: DType) => {
      const backend = open();
      const [outputs, inputs] = [1000, 100];
      const data = new Uint8Array(random(outputs * inputs, 3).buffer);
      const path = join(folder, `${dtype}.bin`);
      writeFileSync(path, Buffer.concat([new Uint8Array(7), data]));
      const shape = [outputs, inputs];
      const kind = dtype as Exclude<DType, 'i32'>;
      const fromFile = await backend.upload(stored(fileSource(path, data.length + 7), shape, 'F32', 7), kind);
      const fromMemory = await backend.upload(stored(bytesInMemory('memory', data), shape), kind);
      expect(fromFile).toMatchObject({ layout: 'weight', dtype, shape, bytes: fromMemory.bytes });
      expect(await weightAsRows(backend, fromMemory)).toEqual(await weightAsRows(backend, fromFile));
    },
  );

  it('uploads a matrix of many pieces', async () => {
    const backend = open();
    const [outputs, inputs] = [3001, 512];
    const data = random(outputs * inputs, 4);
    const source = bytesInMemory('memory', new Uint8Array(data.buffer));
    const weight = await backend.upload(stored(source, [outputs, inputs]), 'f32');
    const values = await weightAsRows(backend, weight);
    for (const [o, i] of [
      [0, 0],
      [2047, 3],
      [2048, 4],
      [3000, 511],
    ]) {
      expect(values[i * outputs + o]).toBe(data[o * inputs + i]);
    }
  });

  it('names the file and the tensor when the file was cut, and goes on', async () => {
    const backend = open();
    const path = join(folder, 'cut.bin');
    const data = random(256 * 64);
    writeFileSync(path, new Uint8Array(data.buffer));
    const good = stored(fileSource(path, data.byteLength), [16, 64]);
    const cut = stored(fileSource(path, data.byteLength), [256, 64]);
    truncateSync(path, 40_000);
    const uploads = [backend.upload(good, 'f16'), backend.upload(cut, 'f16'), backend.upload(good, 'q8')];
    await expect(uploads[1]).rejects.toThrow(`${path}: tensor 'layer.weight' lies past the end of the file: the file was cut`);
    await expect(uploads[1]).rejects.toBeInstanceOf(InputError);
    expect((await uploads[0]).shape).toEqual([16, 64]);
    expect((await uploads[2]).dtype).toBe('q8');
    await expect(backend.upload(stored(fileSource(`${path}.none`, 1 << 20), [16, 64]), 'f16')).rejects.toThrow(/cannot be read/);
  });

  it('gives memory back', async () => {
    const backend = open();
    const buffers = [1, 20_000, 30_000_000].map((elements) => backend.create('f32', [elements]));
    expect(backend.memoryBytes).toBeGreaterThanOrEqual(120_000_000);
    for (const buffer of buffers) backend.free(buffer);
    const last = backend.create('f32', [64]);
    await backend.read(last);
    expect(backend.memoryBytes).toBe(256);
  });

  it('serves several backends in one process', async () => {
    const backends = [1, 2, 3].map((threads) => open({ threads }));
    const values = await Promise.all(
      backends.map(async (backend, i) => {
        const x = rows(backend, random(8 * 16, i), 16);
        const out = backend.create('f32', [1, 16]);
        const program = gather(backend, x, out);
        for (let run = 0; run < 200; run++) void backend.submit(program, Int32Array.of(run % 8)).done;
        return backend.read(out);
      }),
    );
    values.forEach((value, i) => {
      expect(value).toEqual(random(8 * 16, i).slice(7 * 16));
    });
  });

  it('keeps Node alive while work is pending, and no longer', async () => {
    const { stdout } = await node(`
      backend.submit(program(300), none).done.then(() => console.log('finished'));
      process.on('exit', () => console.log('exit'));`);
    expect(stdout).toBe('finished\nexit\n');
  });

  it('lets Node exit while a program runs', async () => {
    const { stdout, milliseconds } = await node(`
      const long = program(3000);
      for (let i = 0; i < 20; i++) backend.submit(long, none).done.then(() => {}, () => {});
      setTimeout(() => { console.log('leaving'); process.exit(0); }, 100);`);
    expect(stdout).toBe('leaving\n');
    expect(milliseconds).toBeLessThan(15_000);
  });

  it('ends with the worker thread that it runs in', async () => {
    const { stdout } = await node(`
      const { Worker } = await import('node:worker_threads');
      await backend.dispose();
      const source = \`
        const { parentPort, workerData } = require('node:worker_threads');
        const addon = require(workerData.path);
        const backend = addon.create('plain', 2, new Uint8Array(workerData.operands));
        const id = addon.allocate(backend, 0, 1024);
        addon.read(backend, id, 0, new Float32Array(1024)).then(() => parentPort.postMessage('read'));
        if (workerData.busy) addon.measure(backend, 2);\`;
      for (const busy of [false, true]) {
        const worker = new Worker(source, { eval: true, execArgv: [], workerData: { path: '${addonPath}', operands: ${operands}, busy } });
        await new Promise((resolve) => worker.once('message', resolve));
        if (busy) await worker.terminate();
        else await new Promise((resolve) => worker.once('exit', resolve));
        console.log('ended');
      }`);
    expect(stdout).toBe('ended\nended\n');
  });
});
