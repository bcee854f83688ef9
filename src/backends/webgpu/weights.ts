// The memory order of matrices on a GPU. Rows lie one after another, each padded to 16 bytes, so that four words are read at once:
//   f32         a word a value
//   f16, bf16   two values a word, the first in the low half
//   q8          groups of 32 columns: 8 words, four signed codes a word from the lowest bits up
//   q4          4 words a group: low nibbles of word k are columns 4k..4k+3, high nibbles 16+4k..16+4k+3 (as in GGUF's Q4_0, whose codes
//               are 8 more than what they stand for), so that both halves of a word meet four codes of an activation each
//   affine8     as q8, unsigned
//   affine4     as q4, without the 8
//   affine3     3 words a group: two of low bits (columns 0..15, 16..31: bits 2s, 2s+1 of byte b are column 4s+b), one of high bits
//               (bit s of byte b is column 4s+b)
// Scales lie apart, row by row without padding: f16, two a word, of q8 and q4; of the affine types a word a group of `group` columns, the
// scale in its low half, the minimum in its high half. What no binding can hold is cut into parts of whole rows, a multiple of 16 each.
// shaders/include/weight.wgsl reads any of them, an element at a time.

import type { AffineType, DType } from '../../tensor/backend.js';
import { groupSize } from '../../tensor/quantize.js';
import type { Binding, Operand, Uniform, Weight, WeightPart } from './dispatch.js';
import { read } from './planning.js';

export type WeightType = Exclude<DType, 'i32'>;

/** `weight_type` in shaders. */
const typeNumbers: Record<WeightType, number> = {
  ...{ f32: 0, f16: 1, bf16: 2, q8: 3, q4: 4, affine8: 5, affine4: 6, affine3: 7 },
};

export function isAffine(dtype: WeightType): dtype is AffineType {
  return dtype.startsWith('affine');
}

/** Words of a row. */
export function strideOf(dtype: WeightType, columns: number): number {
  const groups = Math.ceil(columns / groupSize);
  const words: Record<WeightType, number> = {
    f32: columns,
    f16: Math.ceil(columns / 2),
    bf16: Math.ceil(columns / 2),
    q8: 8 * groups,
    affine8: 8 * groups,
    q4: 4 * groups,
    affine4: 4 * groups,
    affine3: 3 * groups,
  };
  return Math.ceil(words[dtype] / 4) * 4;
}

/** Bytes of a row's scales. */
export function scaleBytesOf(dtype: WeightType, columns: number, group: number): number {
  if (isAffine(dtype)) return 4 * Math.ceil(columns / group);
  return dtype === 'q8' || dtype === 'q4' ? 2 * Math.ceil(columns / group) : 0;
}

/** Rows of the parts of a matrix: as many as fit a binding. */
export function partsOf(rows: number, rowBytes: number, bindingBytes: number): { firstRow: number; rows: number }[] {
  // A part of a larger buffer begins up to 255 bytes after its binding.
  const fit = Math.floor((bindingBytes - 512) / rowBytes);
  const each = Math.max(1, fit < 16 ? fit : Math.floor(fit / 16) * 16);
  const parts: { firstRow: number; rows: number }[] = [];
  for (let firstRow = 0; firstRow < rows; firstRow += each) parts.push({ firstRow, rows: Math.min(each, rows - firstRow) });
  return parts;
}

/** f32 rows [rows, columns] as a weight. */
export function weightOfRows(operand: Operand, bindingBytes: number): Weight {
  const [rows, columns] = operand.shape;
  const { memory } = operand;
  const parts = partsOf(rows, 4 * columns, bindingBytes).map(({ firstRow, rows }): WeightPart => {
    const offset = operand.offset + 4 * columns * firstRow;
    return { firstRow, rows, codes: { memory, offset, bytes: 4 * columns * rows }, scales: null };
  });
  return { dtype: 'f32', rows, columns, stride: columns, group: 0, parts };
}

/** What shaders that include weight.wgsl take of a part of a weight. */
export function weightAccess(
  { dtype, columns, stride, group }: Weight,
  { codes, scales }: WeightPart,
): {
  bindings: { weight: Binding; scales: Binding };
  constants: { weight_type: number; weight_group: number };
  uniforms: { stride: Uniform; groups: Uniform };
} {
  return {
    bindings: { weight: read(codes, 'u32'), scales: read(scales, 'u32') },
    constants: { weight_type: typeNumbers[dtype], weight_group: Math.max(1, group) },
    uniforms: { stride, groups: group ? Math.ceil(columns / group) : 0 },
  };
}
