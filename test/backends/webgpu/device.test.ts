// What a device does that others do not: it has limits that weights and the arena are split by, may be lost, and tells of mistakes
// later. Skipped, and said so, without an adapter.

import { describe, expect, it } from 'vitest';
import { referenceBackend } from '../../../src/backends/reference.js';
import { type WebgpuBackend, type WebgpuOptions, webgpuBackend } from '../../../src/backends/webgpu/backend.js';
import { findGpu, nodeWebgpuBackend } from '../../../src/backends/webgpu/node.js';
import { tilesOf } from '../../../src/backends/webgpu/products.js';
import { createCache } from '../../../src/model/cache.js';
import { configFromName } from '../../../src/model/config.js';
import type { Backend, DeviceBuffer, Executable } from '../../../src/tensor/backend.js';
import { Ops } from '../../../src/tensor/ops.js';
import { view } from '../../../src/tensor/plan.js';
import { failure, gather, random, rows } from '../../behaviour.suite.js';
import { type Case, execute, relativeError, storedMatrix } from '../../op-bench.js';

const first = await nodeWebgpuBackend().catch(() => undefined);
await first?.dispose();

async function withBackend(options: WebgpuOptions, test: (backend: WebgpuBackend) => Promise<void>): Promise<void> {
  const backend = await nodeWebgpuBackend(options);
  try {
    await test(backend);
  } finally {
    await backend.dispose();
  }
}

describe('a GPU with too small limits', () => {
  it('is refused by the limit that it lacks', async () => {
    const limits = {
      maxStorageBuffersPerShaderStage: 8,
      maxComputeWorkgroupStorageSize: 32768,
      maxComputeInvocationsPerWorkgroup: 128,
    };
    const adapter = { limits, features: new Set() } as unknown as GPUAdapter;
    await expect(webgpuBackend(adapter)).rejects.toThrow(
      'its limit maxComputeInvocationsPerWorkgroup is 128, and models need 256 whatever their size: compute on the CPU',
    );
  });
});

describe('a GPU without f16', () => {
  it('says so where arithmetic in f16 is asked for', async () => {
    const least = {
      maxStorageBuffersPerShaderStage: 8,
      maxComputeWorkgroupStorageSize: 16384,
      maxComputeInvocationsPerWorkgroup: 256,
    };
    const limits = { ...least, maxComputeWorkgroupSizeX: 256, maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 };
    const adapter = { limits, features: new Set(['subgroups']) } as unknown as GPUAdapter;
    await expect(webgpuBackend(adapter, { arithmetic: 'f16' })).rejects.toThrow(
      /has no arithmetic in f16 \(shader-f16\): leave that out/,
    );
  });
});

describe.skipIf(!first)(`webgpu device${first ? '' : ' (no adapter)'}`, () => {
  it.each(['f32', 'q8', 'q4'] as const)('cuts %s weights by rows where a binding is limited', (dtype) =>
    withBackend({ traits: { bindingBytes: 64 * 128, plain: true } }, async (backend) => {
      const values = random(400 * 64);
      const table = await backend.upload(storedMatrix(values, [400, 64]), dtype);
      const reference = referenceBackend();
      const whole = await reference.upload(storedMatrix(values, [400, 64]), dtype);
      const run = async (on: Backend, weight: DeviceBuffer, ids: Int32Array): Promise<Float32Array> => {
        const ops = new Ops();
        const out = on.create('f32', [3, 400]);
        ops.linear(ops.embedding(weight, ops.params(3), 3), weight, { into: out });
        await on.submit(on.compile(ops.finish()), ids).done;
        return on.read(out);
      };
      const ids = Int32Array.of(0, 130, 399);
      expect(relativeError(await run(backend, table, ids), await run(reference, whole, ids))).toBeLessThan(2e-6);
      const outside = run(backend, table, Int32Array.of(0, 400, 1));
      expect(await failure(outside)).toMatchObject({ op: 'embedding', code: 'index-out-of-range' });
      const ops = new Ops();
      ops.silu({ buffer: backend.create('f32', [3, 1000]), rows: 3, columns: 1000 });
      expect(() => backend.compile(ops.finish())).toThrow(/takes 12000 bytes at once, but this GPU binds at most 8192/);
    }),
  );

  // By the plain kernels here; the fast ones take seconds to compile in software: test/webgpu.
  it.skipIf(!first?.traits.f16)('multiplies with gates in f16 where that is asked for, and in f32 with all else', () =>
    withBackend({ arithmetic: 'f16', traits: { plain: true } }, async (backend) => {
      const build: Case['build'] = async (b) => {
        const x = b.floats(20, 256, 1);
        const gated = b.ops.swiglu(b.ops.linear(x, await b.weight(128, 256, 'f16', 2)));
        b.output(gated);
        b.output(b.ops.linear(x, await b.weight(64, 256, 'f16', 3)));
        b.output(b.ops.swiglu(b.ops.linear(x, await b.weight(128, 256, 'f32', 4))));
      };
      const reference = referenceBackend();
      const [found, expected] = [await execute(backend, build), await execute(reference, build)];
      const errors = found.results.map((result, i) => relativeError(result, expected.results[i]));
      expect(errors[0]).toBeGreaterThan(1e-5);
      expect(errors[0]).toBeLessThan(2e-3);
      expect(Math.max(errors[1], errors[2])).toBeLessThan(2e-6);
    }),
  );

  it('names the limit that a context does not fit, and what fits', () =>
    withBackend({ leastLimits: true }, async (backend) => {
      expect(backend.traits).toMatchObject({
        storageBuffers: 7,
        bindingBytes: 2 ** 27,
        workgroupBytes: 16384,
        workgroupSize: 256,
      });
      const config = configFromName('OpenELM-270M');
      // Five heads of 64 of the last layer: 640 bytes a token in f16.
      expect(() => createCache(backend, config, 2 ** 18, 2048, 'f16')).toThrow(
        'a cache of 262144 tokens in f16 takes 167772160 bytes for the keys of a layer, but an op of the webgpu backend sees at most 134217728 at once ' +
          '(on a GPU maxStorageBufferBindingSize): 104857 in f32, 209715 in f16, 394758 in q8 fit; take a smaller context',
      );
      createCache(backend, config, 64, 64, 'f16').free();
    }));

  it('computes the same with the least that a device may have', async () => {
    const build: Case['build'] = async (b) => {
      const heads = { queryHeads: 4, kvHeads: 2, headDim: 16 };
      const cache = b.cache(20, 2, 16, 'f16', 1);
      const qkv = b.ops.silu(b.floats(3, 128, 2));
      const query = b.ops.qkNormRope(qkv, heads, cache, {
        ...{ positions: b.ints(0, 1, 2), kvRows: b.ints(4, 5, 6), rope: b.floats(8, 16, 4).buffer, eps: 1e-6 },
        norms: { query: b.vector(16, 5), key: b.vector(16, 6) },
      });
      const ragged = { sequences: b.ints(0, 3, 0, 2), sequenceCount: 1, segments: b.ints(9, 2, 4, 3), segmentCount: 2 };
      const attended = b.ops.attention(query, heads, cache, ragged, true);
      b.output(b.ops.linear(attended, await b.weight(64, 64, 'affine4', 7), { int8: true, residual: attended }));
    };
    // WebGPU's default limits, and none of what is optional. 7: one of 8 is for the status.
    const least = { ...{ storageBuffers: 7, bindingBytes: 128 << 20, workgroupBytes: 16384, workgroupSize: 256 } };
    const traits = { ...least, dot4: false, f16: false, subgroups: false };
    const reference = referenceBackend();
    const expected = (await execute(reference, build)).results[0];
    for (const plain of [true, false]) {
      await withBackend({ traits: { ...traits, plain } }, async (backend) => {
        // An f16 key may be rounded to the other side.
        expect(relativeError((await execute(backend, build)).results[0], expected)).toBeLessThan(2 ** -10);
      });
    }
  });

  it('makes the heads of a token, attends and multiplies as one, as the reference does apart', async () => {
    const build: Case['build'] = async (b) => {
      const heads = { queryHeads: 12, kvHeads: 3, headDim: 64 };
      const cache = b.cache(300, 3, 64, 'f16', 1);
      const query = b.ops.qkNormRope(b.floats(1, 18 * 64, 2), heads, cache, {
        ...{ positions: b.ints(5), kvRows: b.ints(299), rope: b.floats(8, 64, 4).buffer, eps: 1e-6 },
        norms: { query: b.vector(64, 5), key: b.vector(64, 6) },
      });
      const ragged = { sequences: b.ints(0, 1, 0, 2), sequenceCount: 1, segments: b.ints(10, 150, 170, 130), segmentCount: 2 };
      const attended = b.ops.attention(query, heads, cache, ragged);
      b.output(b.ops.linear(attended, await b.weight(96, 768, 'q8', 7), { residual: b.floats(1, 96, 9) }));
    };
    const expected = (await execute(referenceBackend(), build)).results[0];
    await withBackend({ traits: { plain: false } }, async (backend) => {
      // An f16 key may be rounded to the other side.
      expect(relativeError((await execute(backend, build)).results[0], expected)).toBeLessThan(2 ** -12);
    });
  });

  // The new key is none of the last: of three shares of 187 keys the first has it, and makes it.
  it('makes the heads of a token from the norm on where it attends to them', async () => {
    const build: Case['build'] = async (b) => {
      const heads = { queryHeads: 6, kvHeads: 2, headDim: 64 };
      const cache = b.cache(600, 2, 64, 'q8', 1);
      const x = b.floats(1, 96, 9);
      const qkv = b.ops.linear(b.ops.rmsNorm(x, b.vector(96, 8), 1e-6), await b.weight(640, 96, 'q8', 2), { int8: true });
      const query = b.ops.qkNormRope(qkv, heads, cache, {
        ...{ positions: b.ints(5), kvRows: b.ints(40), rope: b.floats(8, 64, 4).buffer, eps: 1e-6 },
        norms: { query: b.vector(64, 5), key: b.vector(64, 6) },
      });
      const ragged = { sequences: b.ints(0, 1, 0, 2), sequenceCount: 1, segments: b.ints(0, 50, 60, 510), segmentCount: 2 };
      const attended = b.ops.attention(query, heads, cache, ragged);
      b.output(b.ops.linear(attended, await b.weight(96, 384, 'f16', 7), { residual: x }));
    };
    const expected = (await execute(referenceBackend(), build)).results[0];
    await withBackend({ traits: { plain: false } }, async (backend) => {
      // A key or value may be rounded to the other side.
      expect(relativeError((await execute(backend, build)).results[0], expected)).toBeLessThan(2 ** -12);
    });
  });

  it('attends to blocks of rows as the reference does row by row, beside a sequence of few', async () => {
    const build: Case['build'] = (b) => {
      const heads = { queryHeads: 6, kvHeads: 2, headDim: 40 };
      const ragged = {
        ...{ sequences: b.ints(0, 50, 0, 2, 50, 1, 2, 1, 51, 39, 3, 1), sequenceCount: 3 },
        ...{ segments: b.ints(10, 150, 170, 30, 0, 77, 211, 60), segmentCount: 4 },
      };
      b.output(b.ops.attention(b.floats(90, 240, 3), heads, b.cache(300, 2, 40, 'q8', 1), ragged));
    };
    const expected = (await execute(referenceBackend(), build)).results[0];
    await withBackend({ traits: { plain: false } }, async (backend) => {
      expect(relativeError((await execute(backend, build)).results[0], expected)).toBeLessThan(2e-6);
    });
  });

  it('adds up what a table of few ids is told by more rows than a workgroup sees at once', async () => {
    const ids = Array.from({ length: 8300 }, (_, i) => ((i * i) % 7) % 3);
    const build: Case['build'] = (b) => {
      const table = b.floats(3, 5, 2);
      b.ops.derivative('embeddingGrad', [b.floats(8300, 5, 1).buffer, b.ints(...ids), table.buffer], [8300, 5, 3, 0]);
      b.output(table);
    };
    const expected = (await execute(referenceBackend(), build)).results[0];
    await withBackend({}, async (backend) => {
      expect((await execute(backend, build)).results[0]).toEqual(expected); // sums of one order
    });
  });

  it('makes a gradient of large tiles in parts of the rows', () =>
    withBackend({}, async (backend) => {
      const [count, outputs, inputs] = [650, 1000, 500];
      const [dout, x, before] = [random(count * outputs, 1), random(count * inputs, 2), random(outputs * inputs, 3)];
      const grad = rows(backend, before, inputs).buffer;
      const ops = new Ops();
      const operands = [rows(backend, dout, outputs).buffer, rows(backend, x, inputs).buffer, grad];
      ops.derivative('linearWeightGrad', operands, [count, inputs, outputs]);
      const program = backend.compile(ops.finish());
      await backend.submit(program, new Int32Array(0)).done;
      const found = await backend.read(grad);
      expect(tilesOf(outputs, inputs, count)).toEqual({ tile: 128, splits: 5 });
      for (let at = 0; at < found.length; at += 7919) {
        const [n, k] = [Math.floor(at / inputs), at % inputs];
        let sum = before[at];
        for (let row = 0; row < count; row++) sum += dout[row * outputs + n] * x[row * inputs + k];
        expect(Math.abs(found[at] - sum)).toBeLessThan(2e-5);
      }
    }));

  it('quantizes as the reference does, to the last bit', () =>
    withBackend({}, async (backend) => {
      const reference = referenceBackend();
      const [outputs, inputs] = [67, 90];
      // Of many sizes, with ties between codes, and groups of nothing, of what is too large and of what is no number.
      const sizes = random(outputs * inputs, 5);
      const values = random(outputs * inputs).map((value, i) => value * 10 ** (6 * sizes[i - (i % 45)] - 2));
      for (let i = 0; i < 40; i++) values[i] = i === 0 ? 127 : i - 20.5;
      values.fill(0, 90, 180);
      values[200] = Number.POSITIVE_INFINITY;
      values[300] = Number.NaN;
      const all = Int32Array.from({ length: outputs }, (_, i) => i);
      for (const stored of ['F32', 'F16', 'BF16'] as const) {
        for (const dtype of ['q8', 'q4'] as const) {
          const rowsOf = async (on: Backend): Promise<Float32Array> => {
            const table = await on.upload(storedMatrix(values, [outputs, inputs], stored), dtype);
            const ops = new Ops();
            const out = on.create('f32', [outputs, inputs]);
            ops.copy(ops.embedding(table, ops.params(outputs), outputs), out);
            await on.submit(on.compile(ops.finish()), all).done;
            return on.read(out);
          };
          const [found, expected] = [await rowsOf(backend), await rowsOf(reference)];
          // Signs of zeros aside.
          const differs = (value: number, i: number): boolean => value !== found[i] && !Number.isNaN(value + found[i]);
          const wrong = [...expected].filter(differs);
          expect(Array.from(found, Number.isNaN)).toEqual(Array.from(expected, Number.isNaN));
          expect(wrong, `${stored} to ${dtype}`).toEqual([]);
        }
      }
    }));

  it('makes what is larger than a buffer may be of several', () =>
    withBackend({ traits: { bufferBytes: 1024 } }, async (backend) => {
      const values = random(1000);
      const x = backend.create('f32', [1000]);
      backend.write(x, values);
      backend.write(x, Float32Array.of(1, 2, 3, 4), 254);
      values.set([1, 2, 3, 4], 254);
      expect(await backend.read(x)).toEqual(values);
      expect(await backend.read(x, 500, 300)).toEqual(values.slice(500, 800));
      const copy = (from: number): Executable => {
        const ops = new Ops();
        ops.copy({ buffer: view(x, from, [1, 100]), rows: 1, columns: 100 }, view(x, 900, [1, 100]));
        return backend.compile(ops.finish());
      };
      await backend.submit(copy(600), new Int32Array(0)).done;
      expect(await backend.read(x, 900)).toEqual(values.slice(600, 700));
      expect(() => copy(700)).toThrow(/an operand lies across a multiple of 1024 bytes/);
      const halves = backend.create('f16', [1025]);
      backend.write(halves, new Uint16Array(1025).fill(7));
      backend.write(halves, Uint16Array.of(1, 2, 3), 511);
      expect(await backend.read(halves, 510, 5)).toEqual(Uint16Array.of(7, 1, 2, 3, 7));
    }));

  it('says where there is no memory, and goes on with what there is memory for', async () => {
    const { adapter, language } = await findGpu();
    const most = { bytes: 2 ** 20 };
    const backend = await webgpuBackend(scarce(adapter, most), { language });
    try {
      const scaled = (columns: number, out?: DeviceBuffer<'f32'>): Executable => {
        const ops = new Ops();
        const x = ops.silu({ buffer: backend.create('f32', [1, columns]), rows: 1, columns });
        ops.copy(x, out ?? backend.create('f32', [1, columns]));
        return backend.compile(ops.finish());
      };
      const run = (program: Executable): Promise<void> => backend.submit(program, new Int32Array(0)).done;
      const small = scaled(64);
      await run(small);
      // A buffer: of what is written to it, of runs and of reads.
      const large = backend.create('f32', [1, 2 ** 19]);
      backend.write(large, new Float32Array(2 ** 19));
      expect(await failure(run(scaled(2 ** 19, large)))).toMatchObject({ code: 'out-of-memory' });
      expect(await failure(backend.read(large))).toMatchObject({ op: 'read', code: 'out-of-memory' });
      backend.free(large);
      // The arena, where operands fit: what such a run should have written is none.
      const out = backend.create('f32', [1, 2 ** 16]);
      const grown = scaled(2 ** 16, out);
      most.bytes = 2 ** 17;
      const [failed, read, after] = [run(grown), backend.read(out, 0, 1), run(small)].map((each) => failure(each));
      expect(await failed).toMatchObject({ op: 'allocate', code: 'out-of-memory' });
      expect(await read).toMatchObject({ op: 'read', code: 'poisoned' });
      await expect(after).rejects.toThrow('it did not fail');
      most.bytes = 2 ** 20;
      await run(grown);
      expect(await backend.read(out, 5, 1)).toEqual(Float32Array.of(0));
      // Weights: of f32 as they are, of q8 quantized on the device.
      for (const dtype of ['f32', 'q8'] as const) {
        most.bytes = 2 ** 10;
        const matrix = storedMatrix(random(64 * 64), [64, 64]);
        expect(await failure(backend.upload(matrix, dtype))).toMatchObject({ op: 'upload', code: 'out-of-memory' });
        most.bytes = 2 ** 20;
        backend.free(await backend.upload(matrix, dtype));
      }
      await run(small);
    } finally {
      await backend.dispose();
    }
  });

  it('is gone for all that it was asked, and for all that it is asked, when it is lost', () =>
    withBackend({}, async (backend) => {
      const x = rows(backend, random(64), 16);
      const program = gather(backend, x, backend.create('f32', [1, 16]));
      await backend.submit(program, Int32Array.of(0)).done;
      const runs = Array.from({ length: 8 }, () => backend.submit(program, Int32Array.of(0)).done);
      const read = backend.read(x.buffer);
      backend.device.destroy();
      const codes = await Promise.all(runs.map(async (run) => (await failure(run.then(() => failed()))).code));
      expect(codes.at(-1)).toBe('device-lost');
      expect((await failure(read)).code).toBe('device-lost');
      await backend.device.lost;
      const late = backend.submit(program, Int32Array.of(0));
      expect(await failure(late.done)).toMatchObject({ op: 'gatherRows', code: 'device-lost' });
      expect(await failure(backend.read(x.buffer))).toMatchObject({ op: 'read', code: 'device-lost' });
      expect(() => backend.create('f32', [4])).toThrow(/the GPU was lost/);
      await expect(backend.upload(storedMatrix(random(4), [2, 2]), 'f32')).rejects.toThrow(/the GPU was lost/);
    }));

  it('says what WebGPU says when it is used wrong', () =>
    withBackend({}, async (backend) => {
      backend.device.createBuffer({ size: 4, usage: 1 | 128 });
      const out = backend.create('f32', [4]);
      await expect(backend.read(out)).rejects.toThrow(/WebGPU: /);
    }));

  it('tells how many shaders are compiled, and counts its memory', async () => {
    const told: [number, number][] = [];
    await withBackend({ onProgress: (...progress) => told.push(progress) }, async (backend) => {
      const before = backend.memoryBytes;
      const x = rows(backend, random(64), 16);
      const program = gather(backend, x, backend.create('f32', [1, 16]));
      await backend.submit(program, Int32Array.of(0)).done;
      expect(told.at(-1)).toEqual([2, 2]);
      expect(backend.memoryBytes - before).toBeGreaterThanOrEqual(64 * 4 + 16 * 4 + program.arenaBytes);
      backend.free(x.buffer);
      await backend.read(backend.create('f32', [1]));
      expect(backend.memoryBytes).toBeLessThan(before + 64 * 4 + program.arenaBytes + 256);
    });
  });
});

/**
 * A GPU that has no memory for buffers of more than `most.bytes`: what is made then may not be used, as any mistake of WebGPU's, and the
 * error scope around it tells.
 */
function scarce(adapter: GPUAdapter, most: { bytes: number }): GPUAdapter {
  const requestDevice: GPUAdapter['requestDevice'] = async (descriptor) => {
    const device = await adapter.requestDevice(descriptor);
    const [create, pop] = [device.createBuffer.bind(device), device.popErrorScope.bind(device)];
    let missing = false;
    device.createBuffer = (wanted) => {
      missing = wanted.size > most.bytes;
      if (!missing) return create(wanted);
      device.pushErrorScope('validation');
      const none = create({ ...wanted, usage: 0 });
      void pop();
      return none;
    };
    device.popErrorScope = () => {
      const error = missing ? ({ message: 'no memory' } as GPUError) : null;
      missing = false;
      return pop().then((found) => error ?? found);
    };
    return device;
  };
  return new Proxy(adapter, {
    get: (target, key) => (key === 'requestDevice' ? requestDevice : target[key as keyof GPUAdapter]),
  });
}

function failed(): never {
  throw new Error('it did not fail');
}
