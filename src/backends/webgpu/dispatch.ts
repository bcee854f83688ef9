// What a record becomes on a GPU: dispatches of shaders over slices of memory, and what an op's planner sees when it makes them.
// Types only. Who plans which op is in plan.ts, how shaders see their bindings in shaders.ts, how dispatches run in
// backend.ts. A shader is shaders/NAME.wgsl: functions, workgroup variables and the entry `main`; all declarations are generated.

import type { DeviceBuffer, Dim, DType } from '../../tensor/backend.js';
import type { ConstantName, OperandName, OpName, SizeName } from '../../tensor/optable.js';
import type { ShaderName } from './wgsl.js';

/** What a planner may choose by. Shaders must be right with the least of it: no features, WebGPU's default limits. */
export interface DeviceTraits {
  /** `enable f16` is possible. */
  readonly f16: boolean;
  /** `enable subgroups` is possible, of whatever size, and the language numbers them (subgroup_id). */
  readonly subgroups: boolean;
  /** The language has dot4I8Packed and dot4U8Packed; `dot4(a, b)` is the former, or the same from plain parts. */
  readonly dot4: boolean;
  /** Bytes of one binding; storage buffers of a shader, the status buffer not counted. */
  readonly bindingBytes: number;
  readonly storageBuffers: number;
  /** Of a workgroup: bytes of its variables, invocations. */
  readonly workgroupBytes: number;
  readonly workgroupSize: number;
  /** Of a buffer: larger ones are several. Slices of ops that take any number of elements are cut there. */
  readonly bufferBytes: number;
  /** Workgroups along one dimension. */
  readonly workgroups: number;
  /** Products that SwiGLU takes are to be in f16, which the device has, where there are many rows; sums stay in f32. */
  readonly halves?: boolean;
  /** Only the plain kernels, to judge the fast ones by. */
  readonly plain?: boolean;
}

/** Memory that slices lie in; arena places are known only once the whole program was planned. */
export type Memory =
  /** More than one where it is larger than a buffer may be: blocks of that size, across which no slice lies. */
  | { readonly kind: 'persistent'; readonly buffers: readonly GPUBuffer[] }
  | { readonly kind: 'arena'; readonly id: number }
  | { readonly kind: 'params' };

/** Bytes [offset, offset + bytes) of a memory; whole words. Arena buffers and whole persistent ones begin at multiples of 256. */
export interface Slice {
  readonly memory: Memory;
  readonly offset: number;
  readonly bytes: number;
}

/** An operand of a record that lies in rows. */
export interface Operand extends Slice {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/**
 * A matrix [rows, columns], uploaded or f32 rows, in parts of whole rows, each of which can be bound; usually one. Its memory
 * order is told in weights.ts.
 */
export interface Weight {
  readonly dtype: Exclude<DType, 'i32'>;
  readonly rows: number;
  readonly columns: number;
  /** u32 words from one row of codes (or values) to the next. */
  readonly stride: number;
  /** Columns that share a scale; 0: there are none. */
  readonly group: number;
  readonly parts: readonly WeightPart[];
}

export interface WeightPart {
  readonly firstRow: number;
  readonly rows: number;
  /** Values (f32, f16, bf16) or codes. */
  readonly codes: Slice;
  readonly scales: Slice | null;
}

export type Element = 'f32' | 'i32' | 'u32' | 'vec2f' | 'vec4f' | 'vec2i' | 'vec4i' | 'vec2u' | 'vec4u';

/**
 * An array that a shader sees as NAME: array<element>, its first element at `p.NAME_at`; shaders only ever write `NAME[index]`, as
 * NAME may become a part of a larger array (no local name may be the same). The slice must begin at a multiple of the element's size (`isAligned`). Null: an
 * optional operand that is left out; `has_NAME` is false then.
 */
export interface Binding {
  readonly slice: Slice | null;
  readonly element: Element;
  readonly access: 'read' | 'write' | 'readwrite';
}

/** `p.NAME`: u32, a size of the record or any number; or f32. */
export type Uniform = Dim | { readonly f32: number };

/** The value of a size in this run. */
export type SizeNow = (dim: Dim) => number;

/** One run of a shader. */
export interface Dispatch {
  readonly shader: ShaderName;
  /** `const NAME = VALUE;`: each set of values is a pipeline of its own. */
  readonly constants?: Readonly<Record<string, number | boolean>>;
  readonly bindings: Readonly<Record<string, Binding>>;
  readonly uniforms?: Readonly<Record<string, Uniform>>;
  /** Extensions of the language that the device has (`DeviceTraits`); with f16 the type `real` of shaders is that, else f32. */
  readonly enable?: readonly 'f16'[];
  /**
   * Workgroups; none where one is 0. Past the limit of a dimension [n, 1, 1] is folded into [m, ceil(n / m), 1]: such shaders
   * take their number from `workgroup_index(workgroup_id, num_workgroups)` and return where it is past the end.
   */
  readonly workgroups: (size: SizeNow) => readonly [number, number, number];
}

/** A record as its planner sees it: operands, sizes and constants by their names in the op table. */
export interface OpCall<Op extends OpName = OpName> {
  readonly op: Op;
  readonly device: DeviceTraits;
  /** An operand in rows. */
  operand(name: OperandName<Op>): Operand;
  /** The same of one that may be left out. */
  maybe(name: OperandName<Op>): Operand | null;
  weight(name: OperandName<Op>): Weight;
  /** What the record holds. */
  buffer(name: OperandName<Op>): DeviceBuffer | null;
  /** A size that may be known only when the program runs (rows, counts). */
  size(name: SizeName<Op>): Dim;
  /** The largest value of a size. */
  most(name: SizeName<Op>): number;
  /** A size that must be known now (columns, heads). @throws Error when it is not. */
  fixed(name: SizeName<Op>): number;
  constant(name: ConstantName<Op>): number;
  /** A product that is to be in f16 (`DeviceTraits.halves`). */
  readonly halves: boolean;
  /** Memory for the life of this record. */
  scratch(bytes: number): Slice;
}

/** Makes a record's dispatches, in order. @throws InputError where this device cannot. */
export type Planner<Op extends OpName> = (call: OpCall<Op>) => readonly Dispatch[];

export type Planners = { readonly [Op in OpName]?: Planner<Op> };
