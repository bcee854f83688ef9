// How every backend behaves, whatever an op computes: the order of its queue, ranges and views, checks when a program is compiled,
// cancellation, failures and what depends on them, uploads, and its end. The conformance suite calls it for each backend.

import { afterEach, expect, it } from 'vitest';
import { InputError } from '../src/errors.js';
import { bytesInMemory, type StoredTensor } from '../src/io/bytes.js';
import type { Backend, DeviceBuffer, Executable, OpRecord } from '../src/tensor/backend.js';
import { ExecutionError } from '../src/tensor/execution.js';
import { Ops, type Tensor } from '../src/tensor/ops.js';
import { view } from '../src/tensor/plan.js';

/** Makes a backend; the suite disposes of it. */
export type Open = () => Backend | Promise<Backend>;

/** Evenly spread numbers from -1 to 1. */
export function random(length: number, seed = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** A persistent tensor with these contents. */
export function rows(backend: Backend, data: Float32Array, columns: number): Tensor {
  const buffer = backend.create('f32', [data.length / columns, columns]);
  backend.write(buffer, data);
  return { buffer, rows: data.length / columns, columns };
}

/** A tensor as a file has it. */
export function stored(
  source: StoredTensor['source'],
  shape: readonly number[],
  dtype: StoredTensor['dtype'] = 'F32',
  offset = 0,
): StoredTensor {
  const bytes = shape.reduce((product, size) => product * size, 1) * (dtype === 'F32' ? 4 : 2);
  return { name: 'layer.weight', dtype, shape, source, offset, bytes };
}

/** A weight [outputs, inputs] as the op table sees it: the identity times it. */
export async function weightAsRows(backend: Backend, weight: DeviceBuffer): Promise<Float32Array> {
  const [outputs, inputs] = weight.shape;
  const identity = Float32Array.from({ length: inputs * inputs }, (_, i) => (i % (inputs + 1) === 0 ? 1 : 0));
  const out = backend.create('f32', [inputs, outputs]);
  const ops = new Ops();
  ops.linear(rows(backend, identity, inputs), weight, { into: out });
  await backend.submit(backend.compile(ops.finish()), new Int32Array(0)).done;
  return backend.read(out);
}

/** The error that a promise must reject with. */
export async function failure(promise: Promise<unknown>): Promise<ExecutionError> {
  const error = await promise.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ExecutionError)) throw error;
  return error;
}

const none = new Int32Array(0);

/** Reads row `params[0]` of `x` into `out`: an index out of range fails. */
export function gather(backend: Backend, x: Tensor, out: DeviceBuffer): Executable {
  const ops = new Ops();
  const indices = ops.params(1);
  ops.copy(ops.gatherRows(x, indices, 1), out);
  return backend.compile(ops.finish());
}

/** As many records as take this backend a seventh of a second or more; the last writes `out`. */
async function longProgram(backend: Backend, out: DeviceBuffer): Promise<Executable> {
  const input = rows(backend, random(64 * 1024), 1024);
  for (let records = 20; ; records *= 2) {
    const ops = new Ops();
    let x = input;
    for (let i = 0; i < records; i++) x = ops.silu(x);
    ops.copy({ ...x, rows: 1 }, out);
    const program = backend.compile(ops.finish());
    const time = async (): Promise<number> => {
      const start = performance.now();
      await backend.submit(program, none).done;
      return performance.now() - start;
    };
    if ((await time()) > 150 && (await time()) > 150) return program; // the first may have waited for threads that start
    program.dispose();
  }
}

function shortProgram(backend: Backend): Executable {
  const ops = new Ops();
  ops.copy(rows(backend, random(8), 8), backend.create('f32', [1, 8]));
  return backend.compile(ops.finish());
}

/** Tests of one backend, to be called inside its `describe`. Without threads a run that has begun cannot be cancelled. */
export function behaviourSuite(openBackend: Open, { threads = true } = {}): void {
  const opened: Backend[] = [];
  const open = async (): Promise<Backend> => {
    const backend = await openBackend();
    opened.push(backend);
    return backend;
  };
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((backend) => backend.dispose()));
  });

  it('tells when it has come to a cut, and computes the same', async () => {
    const backend = await open();
    const x = rows(backend, random(64), 8);
    const outs = [0, 1].map(() => backend.create('f32', [8, 8]));
    const ops = new Ops();
    const half = ops.silu(x);
    ops.copy(half, outs[0]);
    ops.copy(ops.silu(half), outs[1]);
    const program = ops.finish();
    const whole = backend.compile(program);
    await backend.submit(whole, none).done;
    const expected = await Promise.all(outs.map((out) => backend.read(out)));
    for (const out of outs) backend.write(out, new Float32Array(64));
    const cut = backend.compile(program, [2, 3]);
    const { done, reached = [done, done] } = backend.submit(cut, none);
    const order: number[] = [];
    await Promise.all([...reached, done].map((promise, i) => promise.then(() => order.push(i))));
    expect(order).toEqual([0, 1, 2]);
    expect(await Promise.all(outs.map((out) => backend.read(out)))).toEqual(expected);

    // Held up at each cut, where the backend can be.
    for (const out of outs) backend.write(out, new Float32Array(64));
    let goOn!: () => void;
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let asked = false;
    const paced = backend.submit(cut, none, () => {
      asked = true;
      return held;
    });
    let ended = false;
    const end = paced.done.then(() => {
      ended = true;
    });
    await paced.reached?.[0];
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (asked) expect(ended).toBe(false);
    goOn();
    await end;
    expect(await Promise.all(outs.map((out) => backend.read(out)))).toEqual(expected);
  });

  it('keeps writes, runs and reads in order', async () => {
    const backend = await open();
    const x = rows(backend, random(4096), 64);
    const out = backend.create('f32', [64, 64]);
    const ops = new Ops();
    ops.copy(x, out);
    const copy = backend.compile(ops.finish());
    const reads: Promise<Float32Array>[] = [];
    for (let i = 1; i <= 50; i++) {
      backend.write(x.buffer, new Float32Array(4096).fill(i));
      void backend.submit(copy, none).done;
      reads.push(backend.read(out, 4095, 1));
    }
    backend.free(out);
    const values = await Promise.all(reads);
    expect(values.map((value) => value[0])).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
  });

  it('goes on from the ids that the run before picked, without a wait between', async () => {
    const backend = await open();
    // What follows row r of the table is its largest column.
    const [rowCount, columns] = [32, 40];
    const next = (row: number): number => (row * 11 + 5) % rowCount;
    const values = random(rowCount * columns);
    for (let row = 0; row < rowCount; row++) values[row * columns + next(row)] = 3;
    const table = await backend.upload(stored(bytesInMemory('table', new Uint8Array(values.buffer)), [rowCount, columns]), 'f32');
    const picked = backend.create('i32', [1]);
    const program = (ops: Ops, ids: DeviceBuffer): Executable => {
      ops.argmax(ops.embedding(table, ids, 1), picked);
      return backend.compile(ops.finish());
    };
    const first = new Ops();
    const runs = [program(first, first.params(1)), ...new Array(20).fill(program(new Ops(), picked))];
    const reads = runs.map((run, i) => {
      const { done } = backend.submit(run, i === 0 ? Int32Array.of(7) : none);
      return Promise.all([done, backend.read(picked)]);
    });
    const ids = (await Promise.all(reads)).map(([, [id]]) => id);
    for (const [i, id] of ids.entries()) expect(id).toBe(next(i === 0 ? 7 : ids[i - 1]));
  });

  it('takes data and params as they are when it is called', async () => {
    const backend = await open();
    const [data, params] = [random(32), Int32Array.of(1)];
    const x = rows(backend, data, 16);
    const out = backend.create('f32', [1, 16]);
    const { done } = backend.submit(gather(backend, x, out), params);
    params[0] = 9;
    data.fill(0);
    await done;
    expect(await backend.read(out)).toEqual(random(32).slice(16));
  });

  it('reads and writes ranges and views in every dtype', async () => {
    const backend = await open();
    const half = backend.create('f16', [8]);
    backend.write(half, Uint16Array.of(1, 2, 3), 4);
    expect(await backend.read(half)).toEqual(Uint16Array.of(0, 0, 0, 0, 1, 2, 3, 0));
    const ints = backend.create('i32', [2, 4]);
    const second = view(ints, 4, [4]);
    backend.write(second, Int32Array.of(7), 1);
    expect(await backend.read(ints)).toEqual(Int32Array.of(0, 0, 0, 0, 0, 7, 0, 0));
    expect(await backend.read(ints, 4, 3)).toEqual(Int32Array.of(0, 7, 0));
    expect(await backend.read(second)).toEqual(Int32Array.of(0, 7, 0, 0));
    expect(await backend.read(view(second, 1, [2]), 0, 1)).toEqual(Int32Array.of(7));
    expect(await backend.read(ints, 8)).toEqual(new Int32Array(0));
    expect(() => backend.write(ints, Int32Array.of(1), 8)).toThrow(/of a buffer of 8/);
    expect(() => backend.write(second, Int32Array.of(1, 2), 3)).toThrow(/of a buffer of 4/);
    expect(() => backend.write(ints, Float32Array.of(1))).toThrow(/takes a Int32Array/);
    expect(() => backend.read(half, -1, 2)).toThrow(/of a buffer of 8/);
    expect(() => backend.read(half, 0.5, 2)).toThrow(/of a buffer of 8/);
  });

  it('computes on views', async () => {
    const backend = await open();
    const all = backend.create('f32', [4, 8]);
    backend.write(all, random(32));
    const ops = new Ops();
    ops.copy({ buffer: view(all, 8, [1, 8]), rows: 1, columns: 8 }, view(all, 24, [1, 8]));
    await backend.submit(backend.compile(ops.finish()), none).done;
    const expected = random(32);
    expected.copyWithin(24, 8, 16);
    expect(await backend.read(all)).toEqual(expected);
  });

  it('checks a program when it is compiled', async () => {
    const backend = await open();
    const x = backend.create('f32', [2, 8]);
    const out = backend.create('f32', [2, 8]);
    const compile = (record: Partial<OpRecord>) => () =>
      backend.compile({
        records: [{ op: 'silu', operands: [x, out], ints: [2, 8], floats: [], ...record }],
        arena: [],
        paramsLength: 1,
      });
    const params: DeviceBuffer = { kind: 'params', id: 0, dtype: 'i32', layout: 'rows', shape: [2], bytes: 8, offset: 0 };
    expect(compile({})).not.toThrow();
    expect(compile({ operands: [x] })).toThrow(/silu: takes 2 operands, not 1/);
    expect(compile({ operands: [null, out] })).toThrow(/silu: operand 'x' is missing/);
    expect(compile({ operands: [x, x] })).toThrow(/silu: reads and writes the same memory/);
    expect(compile({ operands: [backend.create('i32', [2, 8]), out] })).toThrow(/silu: operand 'x' cannot be i32/);
    expect(compile({ operands: [{ ...x, kind: 'arena', id: 0 }, out] })).toThrow(/belongs to another program/);
    expect(compile({ operands: [{ ...x, offset: 8 }, out] })).toThrow(/a view past the end of its buffer/);
    expect(compile({ ints: [2] })).toThrow(/silu: takes 2 sizes, not 1/);
    expect(compile({ ints: [-1, 8] })).toThrow(/silu: size 'rows' is -1/);
    expect(compile({ ints: [{ param: 1, max: 2 }, 8] })).toThrow(/silu: size 'rows' is no param/);
    expect(compile({ op: 'gatherRows', operands: [x, params, out], ints: [2, 8, 2] })).toThrow(
      /'indices' lies outside the params/,
    );
  });

  it.skipIf(!threads)('cancels between records, and resolves when it is too late', async () => {
    const backend = await open();
    const long = await longProgram(backend, backend.create('f32', [1, 1024]));
    // The short one is known to be done when the long one has only begun, or is about to.
    const cancelled = async (): Promise<unknown> => {
      const [short, run] = [shortProgram(backend), long].map((program) => backend.submit(program, none));
      await short.done;
      run.cancel();
      return run.done.then(
        () => undefined,
        (error: unknown) => error,
      );
    };
    let error: unknown;
    // Where others kept this thread waiting, it was done before.
    for (let tries = 0; tries < 5 && error === undefined; tries++) error = await cancelled();
    expect(error).toMatchObject({ code: 'cancelled', op: 'silu' });
    const whole = backend.submit(long, none);
    await whole.done;
    whole.cancel();
    const waiting = [backend.submit(long, none), backend.submit(long, none)];
    waiting[1].cancel();
    await waiting[0].done;
    expect(await failure(waiting[1].done)).toMatchObject({ code: 'cancelled', opIndex: 0, op: 'silu' });
  });

  it('names the record that failed, and rejects what was queued behind it and depends on it', async () => {
    const backend = await open();
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

  it('does not hold a run back that only writes what a failed one left', async () => {
    const backend = await open();
    const x = rows(backend, random(8 * 16), 16);
    const out = backend.create('f32', [1, 16]);
    const program = gather(backend, x, out);
    const failed = backend.submit(program, Int32Array.of(8));
    const again = backend.submit(program, Int32Array.of(7));
    expect((await failure(failed.done)).code).toBe('index-out-of-range');
    await again.done;
    expect(await backend.read(out)).toEqual(random(8 * 16).slice(7 * 16));
  });

  it('takes a whole write as a fresh start for a buffer that a failed run left', async () => {
    const backend = await open();
    const x = rows(backend, random(8 * 16), 16);
    const out = backend.create('f32', [1, 16]);
    const failed = backend.submit(gather(backend, x, out), Int32Array.of(-1));
    backend.write(out, random(16));
    const read = backend.read(out);
    expect((await failure(failed.done)).code).toBe('index-out-of-range');
    expect(await read).toEqual(random(16));
  });

  it('rejects sizes past what was planned, before anything runs', async () => {
    const backend = await open();
    const x = rows(backend, random(8 * 16), 16);
    const [before, out] = [backend.create('f32', [8, 16]), backend.create('f32', [8, 16])];
    const ops = new Ops();
    const size = ops.size(8);
    ops.copy(x, before);
    ops.copy(ops.silu({ ...x, rows: size }), out);
    const program = backend.compile(ops.finish());
    for (const rowsNow of [9, -1]) {
      const run = backend.submit(program, Int32Array.of(rowsNow));
      expect(await failure(run.done)).toMatchObject({ opIndex: 1, op: 'silu', code: 'size-out-of-range' });
    }
    expect(await backend.read(before)).toEqual(new Float32Array(8 * 16));
    await backend.submit(program, Int32Array.of(0)).done;
    await backend.submit(program, Int32Array.of(8)).done;
    expect(() => backend.submit(program, new Int32Array(2))).toThrow(/takes 1 params/);
  });

  it('says so when there is not enough memory', async () => {
    const backend = await open();
    expect(() => backend.create('f32', [2 ** 40])).toThrow(/not enough memory/);
    expect(() => backend.create('f32', [-1])).toThrow(/shape \[-1\]/);
  });

  it('refuses buffers that were freed or belong to another backend', async () => {
    const [backend, other] = [await open(), await open()];
    const x = rows(backend, random(16), 16);
    const out = backend.create('f32', [1, 16]);
    const program = gather(backend, x, out);
    const last = backend.submit(program, Int32Array.of(0));
    backend.free(out);
    await last.done;
    expect(() => backend.submit(program, Int32Array.of(0))).toThrow(/was freed/);
    expect(() => gather(backend, x, out)).toThrow(/unknown or freed/);
    expect(() => backend.write(out, random(16))).toThrow(/unknown or freed/);
    expect(() => backend.read(out)).toThrow(/unknown or freed/);
    expect(() => gather(other, x, other.create('f32', [1, 16]))).toThrow(/unknown or freed/);
    expect(() => other.submit(program, Int32Array.of(0))).toThrow(/was freed/);
    program.dispose();
    program.dispose();
    expect(() => backend.submit(program, Int32Array.of(0))).toThrow(/was freed/);
  });

  it.each(['f32', 'f16', 'bf16', 'q8', 'q4'] as const)('uploads a matrix as %s, and vectors as f32', async (dtype) => {
    const backend = await open();
    const [outputs, inputs] = [100, 40];
    const data = random(outputs * inputs, 3);
    const source = bytesInMemory('memory', new Uint8Array(data.buffer));
    const weight = await backend.upload(stored(source, [outputs, inputs]), dtype);
    expect(weight).toMatchObject({ layout: 'weight', dtype, shape: [outputs, inputs] });
    const values = await weightAsRows(backend, weight);
    const bound = { f32: 0, f16: 5e-4, bf16: 4e-3, q8: 6e-3, q4: 0.15 }[dtype];
    let worst = 0;
    for (let o = 0; o < outputs; o++) {
      for (let i = 0; i < inputs; i++) worst = Math.max(worst, Math.abs(values[i * outputs + o] - data[o * inputs + i]));
    }
    expect(worst).toBeLessThanOrEqual(bound);
    const vector = await backend.upload(stored(source, [1000]), dtype);
    expect(vector).toMatchObject({ layout: 'rows', dtype: 'f32' });
    expect(await backend.read(vector)).toEqual(data.slice(0, 1000));
    const halves = bytesInMemory('memory', new Uint8Array(Uint16Array.of(0x3f80, 0xc000, 0).buffer));
    expect(await backend.read(await backend.upload(stored(halves, [3], 'BF16'), dtype))).toEqual(Float32Array.of(1, -2, 0));
    expect(() => backend.read(weight)).toThrow(/only a persistent rows buffer/);
  });

  it('refuses stored tensors that it cannot take, by name', async () => {
    const backend = await open();
    const source = bytesInMemory('some.file', new Uint8Array(4096));
    const good = stored(source, [16, 64]);
    expect((await backend.upload(good, 'f16')).shape).toEqual([16, 64]);
    const refused = async (tensor: StoredTensor, message: RegExp): Promise<void> => {
      const error = await backend.upload(tensor, 'f16').catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(InputError);
      expect(String(error)).toMatch(message);
    };
    await refused(stored(source, [17, 64]), /some.file: tensor 'layer.weight' ends at byte 4352, but the file has 4096/);
    await refused({ ...good, bytes: 5 }, /has 5 bytes/);
    await refused({ ...good, dtype: 'I64' }, /is I64/);
    await refused({ ...good, shape: [4, 4, 64] }, /one or two dimensions/);
    await refused({ ...good, shape: [0, 64], bytes: 0 }, /one or two dimensions/);
  });

  it('drops what waits when it is disposed of', async () => {
    const backend = await open();
    const long = await longProgram(backend, backend.create('f32', [1, 1024]));
    const codes = Array.from({ length: 12 }, () =>
      backend.submit(long, none).done.then(
        () => 'done',
        (error) => error.code,
      ),
    );
    await codes[0];
    await backend.dispose();
    // How many were done by then is up to the machine; not all, and none behind one that was dropped.
    expect((await Promise.all(codes)).join(' ')).toMatch(/^done( done)*( cancelled)+$/);
    expect(() => backend.create('f32', [1])).toThrow(/disposed/);
    expect(() => backend.submit(long, none)).toThrow(/disposed/);
    await backend.dispose();
  });
}
