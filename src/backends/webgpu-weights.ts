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
// scale in its low half, the minimum in its high half. What no binding can hold is cut into parts of whole rows.

import type { Operand, Weight, WeightPart } from './webgpu-dispatch.js';

/** f32 rows [rows, columns] as a weight. */
export function weightOfRows(operand: Operand, bindingBytes: number): Weight {
  const [rows, columns] = operand.shape;
  const each = Math.max(1, Math.floor((bindingBytes - 512) / (4 * columns)));
  const parts: WeightPart[] = [];
  for (let firstRow = 0; firstRow < rows; firstRow += each) {
    const count = Math.min(each, rows - firstRow);
    const offset = operand.offset + 4 * columns * firstRow;
    parts.push({ firstRow, rows: count, codes: { memory: operand.memory, offset, bytes: 4 * columns * count }, scales: null });
  }
  return { dtype: 'f32', rows, columns, stride: columns, group: 0, parts };
}
