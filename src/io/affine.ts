// Matrices whose values are scale * code + minimum by groups of inputs (`AffineParts`): their codes to bytes and back, and rows of them as
// backends keep them. Which file holds them under which names is the format's (formats/mlx.ts).

import { type AffineParts, DTYPE_BYTES, type StoredTensor } from './bytes.js';
import { toFloat32 } from './decode.js';
import { float16ToNumber, numberToFloat16 } from './float16.js';

/** Rows of an affine matrix: codes [rows, columns], one a byte, and the f16 scales and minimums as numbers [rows, columns / group]. */
export interface AffineRows {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly minimums: Float32Array;
}

/** The rows [first, first + count). Scales and minimums are rounded to f16, which is what backends keep. */
export async function readAffineRows(parts: AffineParts, columns: number, first: number, count: number): Promise<AffineRows> {
  const { bits, group } = parts;
  const rowsOf = async ({ source, offset }: StoredTensor, rowBytes: number): Promise<Uint8Array> =>
    source.read(offset + first * rowBytes, count * rowBytes);
  const factors = async (part: StoredTensor): Promise<Float32Array> => {
    const values = toFloat32(await rowsOf(part, (columns / group) * DTYPE_BYTES[part.dtype]), part.dtype);
    return part.dtype === 'F16' ? values : values.map((value) => float16ToNumber(numberToFloat16(value)));
  };
  const codes = new Uint8Array(count * columns);
  unpackCodes(await rowsOf(parts.codes, (columns * bits) / 8), bits, codes);
  return { codes, scales: await factors(parts.scales), minimums: await factors(parts.minimums) };
}

/** Codes one after another, lowest bits first, through bytes and words alike. */
export function unpackCodes(bytes: Uint8Array, bits: number, out: Float32Array | Uint8Array): void {
  if (bits === 8) {
    out.set(bytes);
    return;
  }
  const mask = (1 << bits) - 1;
  if (8 % bits === 0) {
    const each = 8 / bits;
    for (let i = 0; i < bytes.length; i++) {
      for (let j = 0; j < each; j++) out[i * each + j] = (bytes[i] >> (j * bits)) & mask;
    }
    return;
  }
  for (let i = 0, at = 0, held = 0, have = 0; i < out.length; i++) {
    for (; have < bits; have += 8) held |= bytes[at++] << have;
    out[i] = held & mask;
    held >>>= bits;
    have -= bits;
  }
}

/** The way back; eight codes make whole bytes. */
export function packCodes(codes: Uint8Array, bits: number): Uint8Array {
  const packed = new Uint8Array((codes.length * bits) / 8);
  let [held, have, at] = [0, 0, 0];
  for (const code of codes) {
    held |= code << have;
    for (have += bits; have >= 8; have -= 8) {
      packed[at++] = held & 255;
      held >>>= 8;
    }
  }
  return packed;
}
