// What is peculiar to the native backend: its queue, cancellation, failures and their dependants, uploads from files, threads,
// instruction sets, and how it lives and dies with the Node process. What each op computes is the conformance suite's.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { type Isa, loadNative, type NativeBackend, type NativeOptions, nativeBackend } from '../../src/backends/native.js';
import { InputError } from '../../src/errors.js';
import { type ByteSource, bytesInMemory, type StoredTensor } from '../../src/io/bytes.js';
import type { DeviceBuffer, DType } from '../../src/tensor/backend.js';
import { ExecutionError } from '../../src/tensor/execution.js';
import { Ops, type Tensor } from '../../src/tensor/ops.js';
import { opNames, opSpec } from '../../src/tensor/optable.js';

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

function random(length: number, seed = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

function rows(backend: NativeBackend, data: Float32Array, columns: number): Tensor {
  const buffer = backend.create('f32', [data.length / columns, columns]);
  backend.write(buffer, data);
  return { buffer, rows: data.length / columns, columns };
}

function stored(source: ByteSource, shape: readonly number[], dtype: StoredTensor['dtype'] = 'F32', offset = 0): StoredTensor {
  const bytes = shape.reduce((product, size) => product * size, 1) * (dtype === 'F32' ? 4 : 2);
  return { name: 'layer.weight', dtype, shape, source, offset, bytes };
}

function fileSource(path: string, size: number): ByteSource {
  const read = () => Promise.reject(new Error('the backend reads files itself'));
  return { name: path, size, file: path, read, close: async () => {} };
}

// A weight [outputs, inputs] as the op table sees it: the identity times it.
async function weightAsRows(backend: NativeBackend, weight: DeviceBuffer): Promise<Float32Array> {
  const [outputs, inputs] = weight.shape;
  const identity = Float32Array.from({ length: inputs * inputs }, (_, i) => (i % (inputs + 1) === 0 ? 1 : 0));
  const out = backend.create('f32', [inputs, outputs]);
  const ops = new Ops();
  ops.linear(rows(backend, identity, inputs), weight, { into: out });
  await backend.submit(backend.compile(ops.finish()), new Int32Array(0)).done;
  return (await backend.read(out)) as Float32Array;
}

// Some hundred milliseconds of work in many records; `out` is written by the last.
function longProgram(backend: NativeBackend, out: DeviceBuffer) {
  const ops = new Ops();
  let x: Tensor = rows(backend, random(512 * 2048), 2048);
  for (let i = 0; i < 400; i++) x = ops.silu(x);
  ops.copy({ ...x, rows: 1 }, out);
  return backend.compile(ops.finish());
}

// Reads row `params[0]` of `x` into `out`: an index out of range fails.
function gather(backend: NativeBackend, x: Tensor, out: DeviceBuffer) {
  const ops = new Ops();
  const indices = ops.params(1);
  ops.copy(ops.gatherRows(x, indices, 1), out);
  return backend.compile(ops.finish());
}

async function failure(promise: Promise<unknown>): Promise<ExecutionError> {
  const error = await promise.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ExecutionError)) throw error;
  return error;
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
      results.push((await backend.read(out)) as Float32Array);
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

  it('keeps writes, runs and reads in order', async () => {
    const backend = open();
    const x = rows(backend, random(4096), 64);
    const out = backend.create('f32', [64, 64]);
    const ops = new Ops();
    ops.copy(x, out);
    const copy = backend.compile(ops.finish());
    const reads: Promise<unknown>[] = [];
    for (let i = 1; i <= 50; i++) {
      backend.write(x.buffer, new Float32Array(4096).fill(i));
      void backend.submit(copy, new Int32Array(0)).done;
      reads.push(backend.read(out, 4095, 1));
    }
    backend.free(out);
    const values = (await Promise.all(reads)) as Float32Array[];
    expect(values.map((value) => value[0])).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
  });

  it('reads and writes ranges and views in every dtype', async () => {
    const backend = open();
    const half = backend.create('f16', [8]);
    backend.write(half, Uint16Array.of(1, 2, 3), 4);
    expect(await backend.read(half)).toEqual(Uint16Array.of(0, 0, 0, 0, 1, 2, 3, 0));
    const ints = backend.create('i32', [2, 4]);
    backend.write({ ...ints, shape: [4], offset: 4 }, Int32Array.of(7), 1);
    expect(await backend.read(ints, 4, 3)).toEqual(Int32Array.of(0, 7, 0));
    expect(() => backend.write(ints, Int32Array.of(1), 8)).toThrow(/of a buffer of 8/);
    expect(() => backend.write(ints, Float32Array.of(1))).toThrow(/takes a Int32Array/);
    expect(() => backend.read(half, -1, 2)).toThrow(/of a buffer of 8/);
  });

  it('cancels between records, and resolves when it is too late', async () => {
    const backend = open();
    const out = backend.create('f32', [1, 2048]);
    const long = longProgram(backend, out);
    const start = performance.now();
    await backend.submit(long, new Int32Array(0)).done;
    const whole = performance.now() - start;
    const run = backend.submit(long, new Int32Array(0));
    setTimeout(() => run.cancel(), whole / 10);
    const again = performance.now();
    expect((await failure(run.done)).code).toBe('cancelled');
    expect(performance.now() - again).toBeLessThan(whole * 0.8);
    const short = backend.submit(long, new Int32Array(0));
    await short.done;
    short.cancel();
    const waiting = [backend.submit(long, new Int32Array(0)), backend.submit(long, new Int32Array(0))];
    waiting[1].cancel();
    await waiting[0].done;
    expect(await failure(waiting[1].done)).toMatchObject({ code: 'cancelled', opIndex: 0, op: 'silu' });
  });

  it('names the record that failed, and rejects what was queued behind it and depends on it', async () => {
    const backend = open();
    const x = rows(backend, random(8 * 16), 16);
    const [out, after, other] = [0, 1, 2].map(() => backend.create('f32', [1, 16]));
    const first = gather(backend, x, out);
    const second = gather(backend, { buffer: out, rows: 1, columns: 16 }, after);
    const apart = gather(backend, x, other);
    const failed = backend.submit(first, Int32Array.of(8));
    const dependent = backend.submit(second, Int32Array.of(0));
    const read = backend.read(after);
    const independent = backend.submit(apart, Int32Array.of(7));
    expect(await failure(failed.done)).toMatchObject({ opIndex: 0, op: 'gatherRows', code: 'index-out-of-range' });
    expect(await failure(dependent.done)).toMatchObject({ opIndex: 0, op: 'gatherRows', code: 'poisoned' });
    expect(await failure(read)).toMatchObject({ op: 'read', code: 'poisoned' });
    await independent.done;
    // Once the failure is known the buffers may be used again.
    await backend.submit(second, Int32Array.of(0)).done;
    await backend.submit(first, Int32Array.of(7)).done;
    expect(await backend.read(out)).toEqual(random(8 * 16).slice(7 * 16));
  });

  it('takes a whole write as a fresh start for a buffer that a failed run left', async () => {
    const backend = open();
    const x = rows(backend, random(8 * 16), 16);
    const out = backend.create('f32', [1, 16]);
    const failed = backend.submit(gather(backend, x, out), Int32Array.of(-1));
    backend.write(out, random(16));
    const read = backend.read(out);
    expect((await failure(failed.done)).code).toBe('index-out-of-range');
    expect(await read).toEqual(random(16));
  });

  it('rejects sizes past what was planned', async () => {
    const backend = open();
    const x = rows(backend, random(8 * 16), 16);
    const out = backend.create('f32', [8, 16]);
    const ops = new Ops();
    const size = ops.size(8);
    ops.copy(ops.silu({ ...x, rows: size }), out);
    const program = backend.compile(ops.finish());
    for (const rowsNow of [9, -1]) {
      const run = backend.submit(program, Int32Array.of(rowsNow));
      expect(await failure(run.done)).toMatchObject({ opIndex: 0, op: 'silu', code: 'size-out-of-range' });
    }
    await backend.submit(program, Int32Array.of(0)).done;
    await backend.submit(program, Int32Array.of(8)).done;
    expect(() => backend.submit(program, new Int32Array(2))).toThrow(/takes 1 params/);
  });

  it('says so when there is not enough memory', async () => {
    const backend = open();
    const huge = Array.from({ length: 64 }, () => () => backend.create('f32', [2 ** 31 - 1]));
    expect(() => huge.map((create) => create())).toThrow(ExecutionError);
    expect(() => backend.create('f32', [2 ** 40])).toThrow(/not enough memory/);
  });

  it('refuses buffers that were freed or belong to another backend', async () => {
    const backend = open();
    const other = open();
    const x = rows(backend, random(16), 16);
    const out = backend.create('f32', [1, 16]);
    const program = gather(backend, x, out);
    const last = backend.submit(program, Int32Array.of(0));
    backend.free(out);
    await last.done;
    expect(() => backend.submit(program, Int32Array.of(0))).toThrow(/was freed/);
    expect(() => gather(backend, x, out)).toThrow(/unknown or freed/);
    expect(() => gather(other, x, other.create('f32', [1, 16]))).toThrow(/unknown or freed/);
    expect(() => other.submit(program, Int32Array.of(0))).toThrow(/was freed/);
    program.dispose();
    program.dispose();
    expect(() => backend.submit(program, Int32Array.of(0))).toThrow(/was freed/);
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
      const values = await weightAsRows(backend, fromFile);
      expect(await weightAsRows(backend, fromMemory)).toEqual(values);
      const bound = { f32: 0, f16: 5e-4, bf16: 4e-3, q8: 6e-3, q4: 0.15 }[kind];
      const original = random(outputs * inputs, 3);
      let worst = 0;
      for (let o = 0; o < outputs; o++) {
        for (let i = 0; i < inputs; i++) worst = Math.max(worst, Math.abs(values[i * outputs + o] - original[o * inputs + i]));
      }
      expect(worst).toBeLessThanOrEqual(bound);
    },
  );

  it('uploads a matrix of many pieces, and vectors as f32', async () => {
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
    const vector = await backend.upload(stored(source, [100_000]), 'q8');
    expect(vector).toMatchObject({ layout: 'rows', dtype: 'f32' });
    expect(await backend.read(vector)).toEqual(data.slice(0, 100_000));
    const halves = bytesInMemory('memory', new Uint8Array(Uint16Array.of(0x3f80, 0xc000, 0).buffer));
    expect(await backend.read(await backend.upload(stored(halves, [3], 'BF16'), 'f16'))).toEqual(Float32Array.of(1, -2, 0));
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
    await expect(uploads[1]).rejects.toThrow(`${path}: tensor 'layer.weight' lies past the end of the file: the file was cut.`);
    await expect(uploads[1]).rejects.toBeInstanceOf(InputError);
    expect((await uploads[0]).shape).toEqual([16, 64]);
    expect((await uploads[2]).dtype).toBe('q8');
    await expect(backend.upload(stored(fileSource(`${path}.none`, 1 << 20), [16, 64]), 'f16')).rejects.toThrow(/cannot be read/);
    await expect(backend.upload(stored(fileSource(path, 100), [16, 64]), 'f16')).rejects.toThrow(/but the file has 100/);
    await expect(backend.upload({ ...good, bytes: 5 }, 'f16')).rejects.toThrow(/has 5 bytes/);
    await expect(backend.upload({ ...good, dtype: 'I64' }, 'f16')).rejects.toThrow(/is I64/);
    await expect(backend.upload({ ...good, shape: [4, 4, 64] }, 'f16')).rejects.toThrow(/one or two dimensions/);
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

  it('drops what waits when it is disposed of', async () => {
    const backend = open();
    const long = longProgram(backend, backend.create('f32', [1, 2048]));
    const runs = [0, 1, 2].map(() =>
      backend.submit(long, new Int32Array(0)).done.then(
        () => 'done',
        (error) => error.code,
      ),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
    await backend.dispose();
    expect(await Promise.all(runs)).toEqual(['done', 'cancelled', 'cancelled']);
    expect(() => backend.create('f32', [1])).toThrow(/disposed/);
    await backend.dispose();
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
