// What records run as on a GPU, planned without one: a token of OpenELM-270M on weights that are not there, and when records
// must stay apart. That fused records compute the same is judged on a device, in webgpu.test.ts.

import { describe, expect, it } from 'vitest';
import { attentionPlanners } from '../../../src/backends/webgpu/attention.js';
import type { DeviceTraits, Memory, Planners, Slice, Weight } from '../../../src/backends/webgpu/dispatch.js';
import { linearPlanners } from '../../../src/backends/webgpu/linear.js';
import { opPlanners } from '../../../src/backends/webgpu/ops.js';
import { planProgram } from '../../../src/backends/webgpu/plan.js';
import { strideOf } from '../../../src/backends/webgpu/weights.js';
import { Stepper } from '../../../src/infer/step.js';
import { createCache } from '../../../src/model/cache.js';
import { configFromName } from '../../../src/model/config.js';
import { plainEmbedding, plainLinear } from '../../../src/model/linear.js';
import { OpenELM } from '../../../src/model/openelm.js';
import { parameterShapes } from '../../../src/model/parameters.js';
import type { Backend, DeviceBuffer, DType, Program } from '../../../src/tensor/backend.js';
import { Ops } from '../../../src/tensor/ops.js';

/** The least that WebGPU has. */
const least: DeviceTraits = {
  f16: false,
  subgroups: false,
  dot4: false,
  bindingBytes: 2 ** 27,
  storageBuffers: 7,
  workgroupBytes: 16384,
  workgroupSize: 256,
  bufferBytes: 2 ** 28,
  workgroups: 65535,
};
const planners: Planners = { ...opPlanners, ...linearPlanners, ...attentionPlanners };

let lastId = 0;
function made(dtype: DType, shape: readonly number[], layout: 'rows' | 'weight'): DeviceBuffer {
  return { kind: 'persistent', id: ++lastId, dtype, layout, shape, bytes: 0, offset: 0 };
}

/** A slice of a buffer that is nowhere. */
function slice(buffer: DeviceBuffer, part: string, bytes: number): Slice {
  return {
    memory: { kind: 'persistent', buffers: [`${buffer.id} ${part}` as unknown as GPUBuffer] } as Memory,
    offset: 0,
    bytes,
  };
}

function placed(buffer: DeviceBuffer) {
  const { dtype, shape, layout } = buffer;
  const { memory } = slice(buffer, 'rows', 0);
  if (layout === 'rows') return { memory };
  const [rows, columns] = shape;
  const stride = strideOf(dtype as Weight['dtype'], columns);
  const group = dtype.startsWith('q') ? 32 : 0;
  const scales = group ? slice(buffer, 'scales', (rows * columns) / 16) : null;
  const parts = [{ firstRow: 0, rows, codes: slice(buffer, 'codes', 4 * stride * rows), scales }];
  return { memory, weight: { dtype: dtype as Weight['dtype'], rows, columns, stride, group, parts } };
}

/** The program of a step that decodes one token greedily. */
async function decodeProgram(dtype: DType): Promise<Program> {
  const config = configFromName('OpenELM-270M');
  const shapes = new Map(parameterShapes(config).map(({ name, shape }) => [name, shape]));
  const weight = (name: string): DeviceBuffer => made(dtype, shapes.get(`${name}.weight`)!, 'weight');
  const table = weight('transformer.token_embeddings');
  const model = new OpenELM(
    {
      linear: (name) => plainLinear(weight(name), true),
      embedding: () => plainEmbedding(table),
      vector: (name) => made('f32', shapes.get(`${name}.weight`)!, 'rows'),
      tied: () => plainLinear(table, true),
    },
    config,
  );
  const programs: Program[] = [];
  const backend = {
    limits: { maxBufferBytes: 2 ** 28, maxBindingBytes: 2 ** 27, threads: 1 },
    create: (type: DType, shape: readonly number[]) => made(type, shape, 'rows'),
    write: () => {},
    compile: (program: Program) => {
      programs.push(program);
      return { program, arenaBytes: 0, dispose() {} };
    },
    submit: () => ({ done: Promise.resolve(), cancel() {} }),
    read: async () => new Int32Array(1),
  } as unknown as Backend;
  const cache = createCache(backend, config, 2048, 2048, 'f16');
  const stepper = new Stepper(backend, model, cache, { maxSequences: 1, maxSegments: 4 });
  await stepper.run([{ ids: [1], past: 5, segments: [[0, 6]], wanted: [0] }], 'argmax');
  return programs[0];
}

describe('records that run as one', () => {
  it.each(['q8', 'q4', 'f16'] as const)(
    'takes 83 dispatches for a token of the 270M in %s with the least limits, 5 a layer',
    async (dtype) => {
      const program = await decodeProgram(dtype);
      const { dispatches } = planProgram(program, placed, planners, least, []);
      expect(program.records.length).toBe(150);
      // The embedding, the last norm with the output layer, the largest logit.
      expect(dispatches.length).toBe(16 * 5 + 3);
      expect(new Set(dispatches.map(({ dispatch }) => dispatch.shader))).toEqual(
        new Set(['embedding', 'matvec', 'attention', 'argmax']),
      );
    },
  );

  it.each(['q8', 'q4', 'f16'] as const)(
    'takes 67 for it in %s on a GPU that binds ten buffers, as most do: 4 a layer',
    async (dtype) => {
      const program = await decodeProgram(dtype);
      const { dispatches } = planProgram(program, placed, planners, { ...least, storageBuffers: 9, workgroupBytes: 32768 }, []);
      expect(dispatches.length).toBe(16 * 4 + 3);
      const shaders = new Set(dispatches.map(({ dispatch }) => dispatch.shader));
      expect(shaders).toEqual(new Set(['embedding', 'attendNew', 'matvec', 'argmax']));
    },
  );

  it('runs each record alone where only plain kernels are wanted', async () => {
    const { dispatches } = planProgram(await decodeProgram('f16'), placed, planners, { ...least, plain: true }, []);
    expect(dispatches.length).toBe(150);
  });

  it('keeps apart what a cut divides, and what is read twice', () => {
    const build = (twice: boolean): Program => {
      const ops = new Ops();
      const x = { buffer: made('f32', [1, 64], 'rows'), rows: 1, columns: 64 };
      const normed = ops.rmsNorm(x, made('f32', [64], 'rows'), 1e-6);
      ops.linear(normed, made('f16', [32, 64], 'weight'), { into: made('f32', [1, 32], 'rows') });
      if (twice) ops.copy(normed, made('f32', [1, 64], 'rows'));
      return ops.finish();
    };
    const count = (twice: boolean, cuts: number[]): number =>
      planProgram(build(twice), placed, planners, least, cuts).dispatches.length;
    expect([count(false, []), count(false, [0]), count(false, [1]), count(true, [])]).toEqual([1, 1, 2, 3]);
  });
});
