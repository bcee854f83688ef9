// 8-bit and 4-bit weights, and 8-bit activations (affine weights are made in quantize/): the arithmetic of GGUF's Q8_0 and Q4_0 (ggml `quantize_row_q8_0_ref`,
// `quantize_row_q4_0_ref`), every step rounded to f32 as in C. This is the definition that kernels are judged by; their
// memory orders are their own.

import { float16ToNumber, numberToFloat16 } from '../io/float16.js';
import type { AffineType } from './backend.js';

/** Weights (or activations) that share one scale, along the input. */
export const groupSize = 32;

const f32 = Math.fround;

/** Codes and scales of one row: value = codes[i] * scales[i / 32] (+ minimums[i / 32]). */
export interface QuantizedRow {
  readonly codes: Int8Array | Uint8Array;
  readonly scales: Float32Array;
  readonly minimums?: Float32Array;
}

/** What codes of so many bits are computed with. */
export function affineType(bits: number): AffineType {
  return bits <= 3 ? 'affine3' : bits === 4 ? 'affine4' : 'affine8';
}

/**
 * A row padded with zeros to whole groups; the scale is rounded to f16 after its inverse was taken, as GGUF does. A group with an
 * element that is not a number has such a scale.
 */
export function quantizeWeights(row: Float32Array, bits: 8 | 4): QuantizedRow {
  const groups = Math.ceil(row.length / groupSize);
  const codes = new Int8Array(groups * groupSize);
  const scales = new Float32Array(groups);
  for (let g = 0; g < groups; g++) {
    const start = g * groupSize;
    const end = Math.min(row.length, start + groupSize);
    let peak = 0; // the element of largest magnitude, with its sign
    for (let i = start; i < end; i++) if (Math.abs(row[i]) > Math.abs(peak) || Number.isNaN(row[i])) peak = row[i];
    const scale = bits === 8 ? f32(Math.abs(peak) / 127) : f32(peak / -8);
    const inverse = scale === 0 ? 0 : f32(1 / scale);
    for (let i = start; i < end; i++) {
      const x = f32(row[i] * inverse);
      // Q8_0: roundf, halves away from zero. Q4_0: truncation of x + 8.5 to 0..15, stored here without the offset of 8.
      codes[i] = bits === 8 ? Math.sign(x) * Math.floor(Math.abs(x) + 0.5) : Math.min(15, Math.trunc(f32(x + 8.5))) - 8;
    }
    scales[g] = float16ToNumber(numberToFloat16(scale));
  }
  return { codes, scales };
}

/** Activations on the fly: scale = max|x| / 127 in f32, codes rounded to nearest, ties to even. */
export function quantizeActivations(row: Float32Array): QuantizedRow {
  const groups = Math.ceil(row.length / groupSize);
  const codes = new Int8Array(groups * groupSize);
  const scales = new Float32Array(groups);
  for (let g = 0; g < groups; g++) {
    const start = g * groupSize;
    const end = Math.min(row.length, start + groupSize);
    let peak = 0;
    for (let i = start; i < end; i++) peak = Math.max(peak, Math.abs(row[i]));
    const inverse = peak > 0 ? f32(127 / peak) : 0;
    for (let i = start; i < end; i++) codes[i] = roundToEven(f32(row[i] * inverse));
    scales[g] = f32(peak / 127);
  }
  return { codes, scales };
}

/** Words of a head in an 8-bit key or value cache: codes, four a word, and their scale. */
export function codedHeadWords(headDim: number): number {
  return Math.ceil(headDim / 4) + 1;
}

/** Writes a head's codes and scale into such words: see `qkNormRope` in the op table. */
export function encodeHead(head: Float32Array, words: Int32Array): void {
  const codes = new Int8Array(words.buffer, words.byteOffset, 4 * (words.length - 1));
  let peak = 0;
  for (const x of head) peak = Math.max(peak, Math.abs(x));
  const inverse = f32(127 / peak);
  codes.fill(0);
  if (Number.isFinite(inverse)) for (const [i, x] of head.entries()) codes[i] = roundToEven(f32(x * inverse));
  new Float32Array(words.buffer, words.byteOffset)[words.length - 1] = Number.isFinite(peak) ? peak / 127 : Number.NaN;
}

/** Element `i` of such a head. */
export function decodeHead(words: Int32Array, i: number): number {
  const code = (words[i >> 2] << (24 - 8 * (i & 3))) >> 24;
  return code * new Float32Array(words.buffer, words.byteOffset)[words.length - 1];
}

function roundToEven(x: number): number {
  const floor = Math.floor(x);
  const fraction = x - floor;
  if (fraction !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}
