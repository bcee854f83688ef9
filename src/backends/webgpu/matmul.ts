// Products with uploaded weights for speed: a few rows of x by matvec.wgsl, which reads the weight once and can take in the norm before
// and the gate after it; more rows by tiles, in f32 (matmul.wgsl) or, of quantized rows, by packed products (matmulInt8.wgsl). How large a
// tile is and how many invocations share an output follows from the sizes alone, so that sums have one order. Odd sizes are left
// to the plain kernels of linear.ts.

import type { Dim } from '../../tensor/backend.js';
import { maxOf } from '../../tensor/plan.js';
import type { AttentionShares } from './attention.js';
import type { DeviceTraits, Dispatch, Operand, SizeNow, Slice, Weight } from './dispatch.js';
import { isAligned } from './layout.js';
import { perElement, read, written } from './planning.js';
import { isAffine, weightAccess } from './weights.js';

/** A product and what is computed with it. */
export interface Product {
  readonly device: DeviceTraits;
  readonly rows: Dim;
  readonly x: Operand;
  readonly weight: Weight;
  readonly residual: Operand | null;
  readonly out: Slice;
  /** Meet 8-bit activations, if the weight is quantized. */
  readonly int8: boolean;
  /** In f16, of many rows. */
  readonly halves: boolean;
  readonly scratch: (bytes: number) => Slice;
  /** The norm of x: its weight, f32. Of few rows only. */
  readonly norm?: { readonly weight: Operand; readonly eps: number };
  /** The weight is [gate; up]: out = silu(x gate^T) * (x up^T). */
  readonly gate?: boolean;
  /** x is yet to be put together from shares of attention. Of one row only. */
  readonly joined?: AttentionShares;
  /** x and residual are those rows of `sourceRows`. Of few rows only. */
  readonly indices?: { readonly rows: Operand; readonly sourceRows: Dim };
}

/** Rows that matvec.wgsl takes at once. */
export const fewRows = 4;

/** Elements in a vec4u; 0: of a type that these kernels do not take. */
const blocks = { f32: 4, f16: 8, bf16: 8, q8: 16, q4: 32, affine8: 16, affine4: 32, affine3: 0 } as const;

/** The dispatches of a product; undefined where the kernels here do not fit its sizes. */
export function planProduct(product: Product): Dispatch[] | undefined {
  const { weight, rows, gate } = product;
  if (!fits(product) || (gate && weight.parts.length > 1)) return undefined;
  return maxOf(rows) <= fewRows ? vectorProducts(product) : tiledProducts(product);
}

function fits({ weight, x, device }: Product): boolean {
  const { columns: inputs, dtype } = weight;
  const unit = weight.group > 0 ? 32 : blocks[dtype];
  if (device.plain || blocks[dtype] === 0 || inputs % unit !== 0 || !isAligned(x, 'vec4f', 4 * inputs)) return false;
  return weight.parts.every(({ codes }) => isAligned(codes, 'vec4u', 4 * weight.stride));
}

/** What all kernels take of one part of the weight. */
function common(product: Product, part: Weight['parts'][number]) {
  const { weight, rows, gate } = product;
  const { bindings, constants, uniforms } = weightAccess(weight, part);
  const columns = gate ? part.rows / 2 : part.rows;
  return {
    constants: { ...constants, gate: gate === true, minimums: isAffine(weight.dtype) },
    bindings: {
      weight: { ...bindings.weight, element: 'vec4u' },
      scales: bindings.scales,
      residual: read(product.residual),
      out: written(product.out),
    },
    uniforms: {
      ...uniforms,
      rows,
      columns,
      inputs: weight.columns,
      outputs: gate ? weight.rows / 2 : weight.rows,
      first: part.firstRow,
    },
  } as const;
}

function vectorProducts(product: Product): Dispatch[] {
  const { weight, rows, norm, indices, device, gate, joined } = product;
  const int8 = product.int8 && weight.group > 0;
  return weight.parts.map((part): Dispatch => {
    const shape = vectorShape(weight, gate ? part.rows / 2 : part.rows, maxOf(rows), int8, gate === true, device);
    const { constants, bindings, uniforms } = common(product, part);
    const { outputsEach, ...sizes } = shape;
    return {
      shader: 'matvec',
      constants: { ...constants, ...sizes, int8, norm: norm !== undefined, ...sharesOf(joined) },
      bindings: {
        ...bindings,
        x: read(product.x, 'vec4f'),
        norm_weight: read(norm?.weight ?? null, 'vec4f'),
        indices: read(indices?.rows ?? null, 'i32'),
      },
      uniforms: { ...uniforms, source_rows: indices?.sourceRows ?? rows, eps: { f32: norm?.eps ?? 0 } },
      workgroups: (size: SizeNow) => [
        size(rows) === 0 ? 0 : Math.ceil(uniforms.columns / outputsEach),
        Math.ceil(size(rows) / shape.rows),
        1,
      ],
    };
  });
}

/**
 * The part of attendNew.wgsl that is a product of a normed row with `headDim` rows of the weight a workgroup: what it takes, and its bytes of workgroup
 * memory. Undefined where it does not fit the sizes.
 */
export function headProduct(product: Product, headDim: number) {
  const { weight, norm, x, rows } = product;
  if (!norm || product.residual || weight.parts.length > 1 || !fits(product)) return undefined;
  const int8 = product.int8 && weight.group > 0;
  const block = blocks[weight.dtype];
  const lanes = lanesFor(weight.columns / block);
  let depth = 4;
  while (depth > 1 && block * lanes * (depth / 2) >= weight.columns) depth /= 2;
  const [size, unit] = [256, block * lanes * depth];
  const outs = [4, 2, 1].find((each) => headDim % ((size / lanes) * each) === 0);
  if (!outs) return undefined;
  const chunk = Math.ceil(weight.columns / unit) * unit;
  const { constants, bindings, uniforms } = common(product, weight.parts[0]);
  return {
    constants: { ...constants, rows: 1, size, lanes, outs, depth, chunk, int8, norm: true, ...sharesOf(undefined) },
    bindings: {
      weight: bindings.weight,
      scales: bindings.scales,
      x: read(x, 'vec4f'),
      norm_weight: read(norm.weight, 'vec4f'),
      indices: read(null, 'i32'),
    },
    uniforms: { ...uniforms, source_rows: rows, eps: { f32: norm.eps } },
    workgroupBytes: chunk * (int8 ? 1 : 4) + (weight.group > 0 ? chunk / 4 : 8) + 4 * size * (outs + 2) + 64,
  } as const;
}

function sharesOf(joined: AttentionShares | undefined) {
  return { joined: joined !== undefined, splits: joined?.splits ?? 1, heads: joined?.heads ?? 1, head_dim: joined?.headDim ?? 4 };
}

/** How matvec.wgsl is laid out: its constants, and outputs of a workgroup. Few choices, as each is a pipeline of its own. */
function vectorShape(weight: Weight, columns: number, mostRows: number, int8: boolean, gate: boolean, device: DeviceTraits) {
  const block = blocks[weight.dtype];
  const count = weight.columns / block;
  const rows = mostRows <= 1 ? 1 : fewRows;
  // Elements of x in workgroup memory at once: a byte and an eighth each, or four bytes.
  const budget = (int8 ? 6144 : 2048) * (device.workgroupBytes >= 32768 ? 2 : 1);
  const fits = (lanes: number, depth: number): boolean => rows * block * lanes * depth <= budget;
  let lanes = lanesFor(count);
  while (lanes > 4 && !fits(lanes, 1)) lanes /= 2;
  let depth = 4 / rows;
  while (!fits(lanes, depth)) depth /= 2;
  const size = 256;
  const teams = size / lanes;
  // Where x takes more words than the weight, two outputs share it; and where there are many, fewer workgroups prepare it.
  const perOutput = gate ? 2 : 1;
  let outs = gate || !int8 ? 2 : 1;
  while (outs < 4 && rows === 1 && columns * perOutput >= 512 * teams * 2 * outs) outs *= 2;
  const unit = block * lanes * depth;
  const chunk = Math.floor(budget / rows / unit) * unit;
  return { rows, size, lanes, outs, depth, chunk, outputsEach: (teams * outs) / perOutput };
}

/** Invocations that share an output of so many blocks. */
function lanesFor(count: number): number {
  let lanes = 8;
  while (lanes < 64 && 4 * lanes < count) lanes *= 2;
  return lanes;
}

function tiledProducts(product: Product): Dispatch[] {
  const { weight, rows, x, gate, halves } = product;
  const quantized = product.int8 && weight.group > 0 ? quantizedRows(product) : undefined;
  const dispatches = quantized ? [quantized.dispatch] : [];
  for (const part of weight.parts) {
    const { constants, bindings, uniforms } = common(product, part);
    const { tile_rows, tile_outputs } = tileShape(maxOf(rows), part.rows, product);
    const perTile = gate ? tile_outputs / 2 : tile_outputs;
    dispatches.push({
      shader: quantized ? 'matmulInt8' : 'matmul',
      constants: { ...constants, tile_rows, tile_outputs, ...(!quantized && { tile_inputs: tileInputs(product), halves }) },
      ...(!quantized && halves && { enable: ['f16'] }),
      bindings: {
        ...bindings,
        x: quantized ? read(quantized.codes, 'vec4u') : read(x, 'vec4f'),
        ...(quantized && { x_scales: read(quantized.scales) }),
      },
      uniforms,
      workgroups: (size: SizeNow) => [Math.ceil(uniforms.columns / perTile), Math.ceil(size(rows) / tile_rows), 1],
    });
  }
  return dispatches;
}

/** Activations in 8 bits: codes, 8 words a group of 32, and scales. */
export function quantizedRows({ x, rows, weight, scratch }: Product) {
  const groups = Math.ceil(weight.columns / 32);
  const [codes, scales] = [32, 4].map((bytes) => scratch(maxOf(rows) * groups * bytes));
  const dispatch = perElement({
    shader: 'quantizeRows',
    bindings: { x: read(x), codes: written(codes, 'u32'), scales: written(scales) },
    uniforms: { rows, columns: groups, inputs: weight.columns },
  });
  return { dispatch, codes, scales, groups };
}

/** In f16 as many, in half the memory: so more of them are summed at once. */
function tileInputs({ weight, halves }: Product): number {
  return halves || blocks[weight.dtype] === 32 ? 32 : 16;
}

/** 64 x 64, or less where there would be few tiles, or little workgroup memory. */
function tileShape(rows: number, outputs: number, product: Product) {
  let [tile_rows, tile_outputs] = [64, 64];
  const tiles = (): number => Math.ceil(rows / tile_rows) * Math.ceil(outputs / tile_outputs);
  const bytes = (): number => (tile_rows + tile_outputs) * (product.halves ? 8 : 16) * (tileInputs(product) / 4 + 1);
  while (tile_rows > 16 && (tile_rows >= 2 * rows || tiles() < 128 || bytes() > product.device.workgroupBytes)) tile_rows /= 2;
  while (tile_outputs > 32 && tiles() < 128) tile_outputs /= 2;
  return { tile_rows, tile_outputs };
}
