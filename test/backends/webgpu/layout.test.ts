// How bindings become variables of a shader, without a device: what WebGPU forbids must never come out, and each binding must still
// begin where its slice does.

import { describe, expect, it } from 'vitest';
import type { Binding, Dispatch, Slice } from '../../../src/backends/webgpu/dispatch.js';
import { layOut } from '../../../src/backends/webgpu/layout.js';
import { shaderSource } from '../../../src/backends/webgpu/shaders.js';

const limits = { storageBuffers: 8, bindingBytes: 1 << 20 };

/** Bytes [offset, offset + bytes) of the arena block `id`. */
function slice(id: number, offset: number, bytes: number): Slice {
  return { memory: { kind: 'arena', id }, offset, bytes };
}

const placeOf = ({ memory, offset }: Slice) => ({ buffer: memory.kind === 'arena' ? memory.id : -1, offset });

function bind(bindings: Record<string, Binding>, some = limits) {
  return layOut({ shader: 'copy', bindings }, placeOf, some);
}

const x = { slice: slice(0, 256, 64), element: 'f32', access: 'read' } as const;

describe('bindings as variables', () => {
  it('binds memory that is only read as such, even twice', () => {
    const { variables, bindings } = bind({ x, y: { ...x, slice: slice(0, 260, 64) } });
    expect(variables.map(({ writable }) => writable)).toEqual([false, false]);
    expect(bindings.map(({ variable, at }) => [variable, at])).toEqual([
      ['x', 0],
      ['y', 1],
    ]);
  });

  it('binds memory that is written somewhere as writable everywhere', () => {
    const { variables } = bind({ x, out: { slice: slice(0, 512, 64), element: 'vec4f', access: 'write' } });
    expect(variables).toMatchObject([
      { name: 'x', writable: true, begin: 256, end: 320 },
      { name: 'out', writable: true, begin: 512, end: 576 },
    ]);
  });

  it('joins what overlaps where it is written, also by the room before a binding', () => {
    const out = { slice: slice(0, 336, 64), element: 'f32', access: 'write' } as const;
    const { variables, bindings } = bind({ x, out });
    expect(variables).toMatchObject([{ name: 'x', begin: 256, end: 400 }]);
    expect(bindings).toEqual([
      { name: 'x', variable: 'x', at: 0 },
      { name: 'out', variable: 'x', at: 20 },
    ]);
    expect(() => bind({ x, out: { ...out, element: 'u32' } })).toThrow(/'x' and 'out' overlap as different elements/);
  });

  it('joins bindings of one memory where a device has too few, and says so where it cannot', () => {
    const of = (id: number, access: Binding['access'], at = 0): Binding => ({
      ...{ slice: slice(id, at, 64), element: 'f32', access },
    });
    const bindings = { a: of(0, 'read'), b: of(0, 'read', 1024), c: of(0, 'read', 4096), d: of(1, 'write') };
    expect(bind(bindings, { ...limits, storageBuffers: 3 }).variables.map(({ name }) => name)).toEqual(['a', 'c', 'd']);
    const { variables } = bind(bindings, { ...limits, storageBuffers: 2 });
    expect(variables).toMatchObject([{ name: 'a', begin: 0, end: 4160 }, { name: 'd' }]);
    expect(() => bind(bindings, { ...limits, storageBuffers: 1 })).toThrow(/takes 2 storage buffers, the device has 1/);
    expect(() => bind(bindings, { storageBuffers: 2, bindingBytes: 4096 })).toThrow(
      /'a,b,c' of copy takes 4160 bytes at once, but this GPU binds at most 4096/,
    );
  });

  it('leaves out what is missing', () => {
    const { variables, bindings } = bind({ x, bias: { ...x, slice: null } });
    expect(variables).toHaveLength(1);
    expect(bindings[1]).toEqual({ name: 'bias', variable: null, at: 0 });
  });

  it('declares what a shader uses, and gives joined arrays one name', () => {
    const dispatch: Dispatch = {
      shader: 'copy',
      constants: { tile: 64, wide: true },
      bindings: { x, out: { slice: slice(0, 264, 64), element: 'f32', access: 'write' } },
      uniforms: { rows: 1, columns: 16, eps: { f32: 1 } },
      workgroups: () => [1, 1, 1],
    };
    const source = shaderSource(dispatch, layOut(dispatch, placeOf, limits), { dot4: false, subgroups: false });
    expect(source).toContain('@group(0) @binding(1) var<storage, read_write> x: array<f32>;');
    expect(source).toContain('x[p.out_at + i] = x[p.x_at + i];');
    for (const line of ['const tile = 64;', 'const wide = true;', 'eps: f32,', 'rows: u32,', 'const has_out = true;']) {
      expect(source).toContain(line);
    }
    expect(source).not.toContain('index_out_of_range');
  });
});
