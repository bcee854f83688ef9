// From a program to the dispatches that a device runs: every record is given to its op's planner (or several to one: fuse.ts), the arena is planned with what
// planners asked for besides, bindings become variables, and uniforms become words, apart by whether they are known now. Nothing
// is made on a device here; who plans which op is a table.

import { elementsOf } from '../../io/bytes.js';
import type { DeviceBuffer, Dim, OpRecord, Program } from '../../tensor/backend.js';
import { type OpName, opSpec } from '../../tensor/optable.js';
import { alignment, maxOf, planArena } from '../../tensor/plan.js';
import type { DeviceTraits, Dispatch, Memory, OpCall, Operand, Planner, Planners, Slice, Weight } from './dispatch.js';
import { Fuser } from './fuse.js';
import { type Layout, layOut } from './layout.js';
import { perElement, read, written } from './planning.js';
import { isFloat } from './shaders.js';
import { weightOfRows } from './weights.js';

/** What a persistent buffer is on the device. */
export interface Placed {
  readonly memory: Memory;
  readonly weight?: Weight;
}

/** Where slices lie once the arena is planned: a persistent buffer, a block of the arena, the params. */
export type DeviceMemory = GPUBuffer | number | 'params';

/** A dispatch ready for a device. Its uniforms are words [uniformAt, uniformAt + 64) of the fixed or of the changing ones. */
export interface PlannedDispatch {
  readonly record: number;
  readonly dispatch: Dispatch;
  readonly layout: Layout<DeviceMemory>;
  readonly changes: boolean;
  readonly uniformAt: number;
}

/** A uniform that is known only when the program runs. */
export interface ChangingUniform {
  readonly word: number;
  readonly dim: Exclude<Dim, number>;
}

export interface ProgramPlan {
  readonly dispatches: readonly PlannedDispatch[];
  /** Bytes of each block of the arena. */
  readonly arena: readonly number[];
  readonly arenaBytes: number;
  readonly fixed: Uint32Array<ArrayBuffer>;
  readonly changing: Uint32Array<ArrayBuffer>;
  readonly changes: readonly ChangingUniform[];
}

/** Uniform words of a dispatch: what bindings of uniform buffers must be aligned to. */
export const uniformWords = alignment / 4;

/** @throws InputError where this device cannot run a record. */
export function planProgram(
  program: Program,
  placed: (buffer: DeviceBuffer) => Placed,
  planners: Planners,
  device: DeviceTraits,
  cuts: readonly number[],
): ProgramPlan {
  const { bufferBytes } = device;
  const scratch: DeviceBuffer[] = [];
  const records: OpRecord[] = [];
  const newScratch = (bytes: number): Slice => {
    const id = program.arena.length + scratch.length;
    const shape = [Math.ceil(bytes / 4)];
    scratch.push({ kind: 'arena', id, dtype: 'f32', layout: 'rows', shape, bytes: 4 * shape[0], offset: 0 });
    return { memory: { kind: 'arena', id }, offset: 0, bytes: 4 * shape[0] };
  };
  const halves = device.halves ? gatedProducts(program) : new Set();
  const callOf = <Op extends OpName>(record: OpRecord): OpCall<Op> =>
    new Call(record, device, placed, newScratch, halves.has(record)) as unknown as OpCall<Op>;
  const fuser = new Fuser(program, cuts, callOf);
  const planned: { record: number; dispatch: Dispatch }[] = [];
  for (let index = 0; index < program.records.length; ) {
    const first = scratch.length;
    const record = program.records[index];
    const plan = planners[record.op] as Planner<OpName> | undefined;
    if (!plan) throw new Error(`the webgpu backend cannot compute ${record.op}`);
    const { count, dispatches } = fuser.at(index) ?? { count: 1, dispatches: plan(callOf(record)) };
    for (const dispatch of dispatches.flatMap((each) => apart(each, newScratch))) planned.push({ record: index, dispatch });
    const operands = program.records.slice(index, index + count).flatMap((each) => each.operands);
    records.push({ ...record, operands: [...operands, ...scratch.slice(first)] });
    index += count;
  }
  const arena = planArena({ ...program, records, arena: [...program.arena, ...scratch] }, bufferBytes);

  const placeOf = ({ memory, offset, bytes }: Slice): { buffer: DeviceMemory; offset: number } => {
    if (memory.kind === 'params') return { buffer: 'params', offset };
    const at = memory.kind === 'arena' ? arena.offsets[memory.id] + offset : offset;
    const block = Math.floor(at / bufferBytes);
    if (at + bytes > (block + 1) * bufferBytes) throw new Error(`an operand lies across a multiple of ${bufferBytes} bytes`);
    return { buffer: memory.kind === 'arena' ? block : memory.buffers[block], offset: at - block * bufferBytes };
  };
  const [fixed, changing] = [new Words(), new Words()];
  const changes: ChangingUniform[] = [];
  const dispatches = planned.map(({ record, dispatch }): PlannedDispatch => {
    const layout = layOut(dispatch, placeOf, device);
    const values = Object.values(dispatch.uniforms ?? {});
    const isDynamic = values.some((value) => typeof value === 'object' && 'param' in value);
    const words = isDynamic ? changing : fixed;
    const uniformAt = words.next(uniformWords);
    if (values.length + layout.bindings.length >= uniformWords) throw new Error(`shader ${dispatch.shader}: too many uniforms`);
    words.u32[uniformAt] = record;
    for (const [i, value] of values.entries()) {
      const word = uniformAt + 1 + i;
      if (typeof value === 'number') words.u32[word] = value;
      else if (isFloat(value)) words.f32[word] = value.f32;
      else changes.push({ word, dim: value as Exclude<Dim, number> });
    }
    for (const [i, { at }] of layout.bindings.entries()) words.u32[uniformAt + 1 + values.length + i] = at;
    return { record, dispatch, layout, changes: isDynamic, uniformAt };
  });
  const blocks = Math.ceil(arena.bytes / bufferBytes);
  return {
    dispatches,
    arena: Array.from({ length: blocks }, (_, i) => Math.min(bufferBytes, arena.bytes - i * bufferBytes)),
    arenaBytes: arena.bytes,
    fixed: fixed.all(),
    changing: changing.all(),
    changes,
  };
}

/**
 * Products with uploaded weights of few bits that SwiGLU takes: near half of what a prompt costs. The others stay in f32: norms and softmax
 * enlarge what they were rounded by.
 */
function gatedProducts({ records }: Program): Set<OpRecord> {
  const taken = new Set(records.filter(({ op }) => op === 'swiglu').map(({ operands: [x] }) => x));
  const isGated = ({ operands: [, weight, , out] }: OpRecord): boolean =>
    weight?.layout === 'weight' && weight.dtype !== 'f32' && taken.has(out);
  return new Set(records.filter((record) => record.op === 'linear' && isGated(record)));
}

/**
 * Where one operand is read as different elements from memory that the dispatch writes too (which must then be one variable), all but one
 * are read from copies.
 */
function apart(dispatch: Dispatch, scratch: (bytes: number) => Slice): Dispatch[] {
  const copies: Dispatch[] = [];
  const bindings = { ...dispatch.bindings };
  const all = Object.values(dispatch.bindings);
  for (const [name, { slice, element, access }] of Object.entries(dispatch.bindings)) {
    if (!slice || access !== 'read') continue;
    const isWritten = all.some((other) => other.access !== 'read' && other.slice && sameBuffer(other.slice, slice));
    const before = Object.entries(bindings).slice(0, Object.keys(bindings).indexOf(name));
    const clashes = before.some(([, other]) => other.slice && other.element !== element && overlap(other.slice, slice));
    if (!isWritten || !clashes) continue;
    const copy = scratch(slice.bytes);
    bindings[name] = { slice: copy, element, access };
    const columns = slice.bytes / 4;
    copies.push(
      perElement({
        shader: 'copy',
        bindings: { x: read(slice), out: written(copy) },
        uniforms: { rows: 1, columns },
      }),
    );
  }
  return copies.length > 0 ? [...copies, { ...dispatch, bindings }] : [dispatch];
}

/** Whether slices may lie in one device buffer. */
function sameBuffer({ memory: a }: Slice, { memory: b }: Slice): boolean {
  if (a.kind === 'persistent' || b.kind === 'persistent') {
    return a.kind === 'persistent' && b.kind === 'persistent' && a.buffers[0] === b.buffers[0];
  }
  return a.kind === b.kind;
}

function overlap(a: Slice, b: Slice): boolean {
  if (!sameBuffer(a, b) || (a.memory.kind === 'arena' && b.memory.kind === 'arena' && a.memory.id !== b.memory.id)) return false;
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

/** Words that grow. */
class Words {
  u32 = new Uint32Array(1024);
  f32 = new Float32Array(this.u32.buffer);
  private length = 0;

  next(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.u32.length) {
      const larger = new Uint32Array(2 * this.u32.length);
      larger.set(this.u32);
      this.u32 = larger;
      this.f32 = new Float32Array(larger.buffer);
    }
    return at;
  }

  all(): Uint32Array<ArrayBuffer> {
    return this.u32.slice(0, this.length);
  }
}

class Call implements OpCall {
  readonly op: OpName;

  constructor(
    private readonly record: OpRecord,
    readonly device: DeviceTraits,
    private readonly placed: (buffer: DeviceBuffer) => Placed,
    readonly scratch: (bytes: number) => Slice,
    readonly halves: boolean,
  ) {
    this.op = record.op;
  }

  buffer(name: string): DeviceBuffer | null {
    return this.record.operands[opSpec(this.op).operands.findIndex((operand) => operand.name === name)];
  }

  maybe(name: string): Operand | null {
    const buffer = this.buffer(name);
    if (!buffer) return null;
    const { dtype, shape, kind, id } = buffer;
    const size = dtype === 'f16' ? 2 : 4;
    const memory: Memory =
      kind === 'params' ? { kind } : kind === 'arena' ? { kind, id } : (this.placed(buffer).memory satisfies Memory);
    return { memory, offset: buffer.offset * size, bytes: elementsOf(shape) * size, dtype, shape };
  }

  operand(name: string): Operand {
    return this.maybe(name)!;
  }

  weight(name: string): Weight {
    const buffer = this.buffer(name)!;
    return buffer.layout === 'weight' ? this.placed(buffer).weight! : weightOfRows(this.operand(name), this.device.bindingBytes);
  }

  size(name: string): Dim {
    return this.record.ints[(opSpec(this.op).ints as readonly string[]).indexOf(name)];
  }

  most(name: string): number {
    return maxOf(this.size(name));
  }

  fixed(name: string): number {
    const size = this.size(name);
    if (typeof size !== 'number') throw new Error(`${this.op}: size '${name}' must be known when the program is compiled`);
    return size;
  }

  constant(name: string): number {
    return this.record.floats[(opSpec(this.op).floats as readonly string[]).indexOf(name)];
  }
}
