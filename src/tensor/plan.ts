// Makes a program ready for a backend: checks each record against the op table, gives arena buffers their places by liveness,
// and writes the records as int32 words for backends behind a door. Not an optimizer: records run in the order given.

import { elementsOf } from '../io/bytes.js';
import type { DeviceBuffer, Dim, DType, HostType, OpRecord, Program } from './backend.js';
import { executionError } from './execution.js';
import { mayLieIn, opNames, opSpec } from './optable.js';

export const alignment = 256;

const elementBytes = { f32: 4, i32: 4, f16: 2, bf16: 2, q8: 1, q4: 1, affine8: 1, affine4: 1, affine3: 1 } as const;

/** Bytes of a `rows` buffer of that many elements. */
export function bytesOf(dtype: HostType, elements: number): number {
  return elements * elementBytes[dtype];
}

/** The largest value a size can take. */
export function maxOf(dim: Dim): number {
  return typeof dim === 'number' ? dim : dim.max;
}

/** The value of a size in this run; `undefined` when the params hold one outside 0..max. */
export function sizeOf(dim: Dim, params: Int32Array): number | undefined {
  if (typeof dim === 'number') return dim;
  const value = params[dim.param];
  return value >= 0 && value <= dim.max ? value : undefined;
}

/**
 * Checks a record against the op table: operand count, dtypes, access, sizes.
 * @throws Error naming the op and the operand.
 */
export function checkRecord(record: OpRecord, program: Pick<Program, 'arena' | 'paramsLength'>): void {
  const spec = opSpec(record.op);
  const fail = (what: string): never => {
    throw new Error(`${record.op}: ${what}`);
  };
  if (record.operands.length !== spec.operands.length)
    fail(`takes ${spec.operands.length} operands, not ${record.operands.length}`);
  if (record.ints.length !== spec.ints.length) fail(`takes ${spec.ints.length} sizes, not ${record.ints.length}`);
  if (record.floats.length !== spec.floats.length) fail(`takes ${spec.floats.length} constants, not ${record.floats.length}`);
  record.ints.forEach((dim, i) => {
    if (!Number.isInteger(maxOf(dim)) || maxOf(dim) < 0) fail(`size '${spec.ints[i]}' is ${maxOf(dim)}`);
    if (typeof dim !== 'number' && !(dim.param >= 0 && dim.param < program.paramsLength))
      fail(`size '${spec.ints[i]}' is no param`);
  });
  const written: DeviceBuffer[] = [];
  spec.operands.forEach((operand, i) => {
    const buffer = record.operands[i];
    if (!buffer) {
      if (!operand.optional) fail(`operand '${operand.name}' is missing`);
      return;
    }
    const kind = buffer.layout === 'weight' ? 'weight' : buffer.dtype;
    if (!(operand.dtypes as readonly string[]).includes(kind)) fail(`operand '${operand.name}' cannot be ${kind}`);
    if (buffer.kind === 'arena' && program.arena[buffer.id] !== buffer)
      fail(`operand '${operand.name}' belongs to another program`);
    if (buffer.kind === 'params' && !(buffer.offset >= 0 && buffer.offset + elementsOf(buffer.shape) <= program.paramsLength)) {
      fail(`operand '${operand.name}' lies outside the params`);
    }
    if (operand.access !== 'read') {
      if (buffer.kind === 'params') fail(`operand '${operand.name}' is written, but params are read only`);
      written.push(buffer);
    }
  });
  const inPlace = writtenInPlace(record);
  for (const buffer of written) {
    if (record.operands.filter((other) => other && overlap(other, buffer)).length > (buffer === inPlace ? 2 : 1)) {
      fail('reads and writes the same memory through two operands');
    }
  }
}

/** A program without the records whose results nothing reads; what lies in persistent buffers counts as read. */
export function withoutUnread(program: Program): Program {
  const read = new Set<number>();
  const records = [...program.records].reverse().filter(({ op, operands }) => {
    const { operands: specs } = opSpec(op);
    const needed = operands.some((buffer, i) => {
      return buffer && specs[i].access !== 'read' && (buffer.kind !== 'arena' || read.has(buffer.id));
    });
    for (const [i, buffer] of operands.entries()) {
      if (needed && buffer?.kind === 'arena' && specs[i].access !== 'write') read.add(buffer.id);
    }
    return needed;
  });
  return { ...program, records: records.reverse() };
}

/** What an op reads and writes through two operands, and may. */
function writtenInPlace({ op, operands }: OpRecord): DeviceBuffer | null {
  const rule = mayLieIn[op];
  const named = (name: string): DeviceBuffer | null => operands[opSpec(op).operands.findIndex((each) => each.name === name)];
  if (!rule || (rule.rows && named(rule.rows)?.layout !== 'rows')) return null;
  return named(rule.operand) === named(rule.result) ? named(rule.result) : null;
}

function overlap(a: DeviceBuffer, b: DeviceBuffer): boolean {
  if (a.kind !== b.kind || a.id !== b.id) return false;
  return a.offset < b.offset + elementsOf(b.shape) && b.offset < a.offset + elementsOf(a.shape);
}

/** A part of a persistent `rows` buffer, as a buffer of its own shape. @throws Error when it does not lie inside. */
export function view<Type extends DType>(
  buffer: DeviceBuffer<Type>,
  offset: number,
  shape: readonly number[],
): DeviceBuffer<Type> {
  const elements = elementsOf(shape);
  if (buffer.kind !== 'persistent' || buffer.layout !== 'rows') throw new Error('view: only persistent rows have views');
  if (offset < 0 || offset + elements > elementsOf(buffer.shape)) {
    throw new Error(`view: [${offset}, ${offset + elements}) lies outside ${elementsOf(buffer.shape)} elements`);
  }
  return { ...buffer, shape, bytes: elements * elementBytes[buffer.dtype], offset: buffer.offset + offset };
}

/** Places of the arena buffers, by index, in bytes, and the bytes of the whole arena. */
export interface ArenaPlan {
  readonly offsets: readonly number[];
  readonly bytes: number;
}

/**
 * Greedy by liveness: each buffer takes the lowest place free during its life, the largest placed first. None lies across a multiple
 * of `block` bytes. @throws ExecutionError `out-of-memory` where one is larger than that.
 */
export function planArena(program: Program, block = Number.POSITIVE_INFINITY): ArenaPlan {
  const first = new Array<number>(program.arena.length).fill(-1);
  const last = new Array<number>(program.arena.length).fill(-1);
  program.records.forEach((record, index) => {
    for (const operand of record.operands) {
      if (operand?.kind !== 'arena') continue;
      if (first[operand.id] < 0) first[operand.id] = index;
      last[operand.id] = index;
    }
  });
  const order = program.arena.map((_, id) => id).filter((id) => first[id] >= 0);
  order.sort((a, b) => program.arena[b].bytes - program.arena[a].bytes || a - b);
  const offsets = new Array<number>(program.arena.length).fill(0);
  const placed: number[] = [];
  let total = 0;
  for (const id of order) {
    const size = align(program.arena[id].bytes);
    const living = placed.filter((other) => first[other] <= last[id] && last[other] >= first[id]);
    living.sort((a, b) => offsets[a] - offsets[b]);
    if (size > block) throw executionError('allocate', 'out-of-memory');
    const within = (place: number): number => ((place % block) + size > block ? Math.ceil(place / block) * block : place);
    let place = 0;
    for (const other of living) {
      if (place + size <= offsets[other]) break;
      place = within(Math.max(place, offsets[other] + align(program.arena[other].bytes)));
    }
    offsets[id] = place;
    placed.push(id);
    total = Math.max(total, place + size);
  }
  return { offsets, bytes: total };
}

function align(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

/** Operand kinds in the words. */
const operandKind = { none: 0, persistent: 1, arena: 2, params: 3 } as const;

/**
 * A program as int32 words, for executors behind a door. Per record: op id; per operand (kind, persistent id or arena place in
 * units of 256 bytes, first element, elements); per size (value or max, param index or -1); per constant its f32 bits.
 */
export function encodeWords(program: Program, plan: ArenaPlan): Int32Array {
  const words: number[] = [];
  const bits = new DataView(new ArrayBuffer(4));
  for (const record of program.records) {
    words.push(opNames.indexOf(record.op));
    for (const buffer of record.operands) {
      if (!buffer) words.push(operandKind.none, 0, 0, 0);
      else {
        const place = buffer.kind === 'arena' ? plan.offsets[buffer.id] / alignment : buffer.id;
        words.push(operandKind[buffer.kind], place, buffer.offset, elementsOf(buffer.shape));
      }
    }
    for (const dim of record.ints) words.push(maxOf(dim), typeof dim === 'number' ? -1 : dim.param);
    for (const value of record.floats) {
      bits.setFloat32(0, value);
      words.push(bits.getInt32(0));
    }
  }
  return Int32Array.from(words);
}
