// Values into what files hold them in: GGML's blocks of 8 and 4 bits by its reference rule (tensor/quantize.ts is the definition, this
// its form for whole files), and plain numbers. A piece at a time; every piece is a whole number of blocks. native/encode.cc makes the
// same bytes on other threads.

import { DTYPE_BYTES, type StoredTensor } from '../io/bytes.js';
import { toFloat32 } from '../io/decode.js';
import { float16Values, numberToFloat16 } from '../io/float16.js';
import { type BlockName, blockTypes, type EncodeBlocks } from '../io/gguf-blocks.js';
import { ahead, bytesOf, valuesOf } from '../io/pieces.js';
import type { CheckpointType, Precision } from '../model/parameters.js';
import { encoded } from '../model/write.js';

/** The block type that a precision is stored in. */
export const blockTypeOf: Readonly<Record<Precision, BlockName>> = {
  ...{ f32: 'F32', f16: 'F16', bf16: 'BF16' },
  ...{ q8: 'Q8_0', q4: 'Q4_0' },
};

/** On this thread. */
export const encodeBlocks: EncodeBlocks = (type, dtype, numbers, out) => {
  if (type === 'Q8_0' && dtype === 'F16') {
    return encodeQ8Halves(new Uint16Array(numbers.buffer, numbers.byteOffset, numbers.length / 2), out);
  }
  return (type === 'Q8_0' ? encodeQ8 : encodeQ4)(toFloat32(numbers, dtype), out);
};

/** A tensor's bytes in a type; blocks that are of that type already pass as they are. A chunk may be overwritten by the next. */
export async function* encodedTensor(
  tensor: StoredTensor,
  type: BlockName,
  encode: EncodeBlocks = encodeBlocks,
): AsyncGenerator<Uint8Array> {
  const { dtype } = tensor;
  if (tensor.packed?.format === type || (!tensor.packed && dtype === type)) yield* bytesOf(tensor.packed ?? tensor);
  else if ((type === 'Q8_0' || type === 'Q4_0') && (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16')) {
    const { values, bytes } = blockTypes[type];
    const ratio = bytes / (values * DTYPE_BYTES[dtype]);
    yield* ahead(bytesOf(tensor, 1 << 20), (piece) => {
      const aligned = piece.byteOffset % DTYPE_BYTES[dtype] === 0 ? piece : piece.slice();
      return encode(type, dtype, aligned, new Uint8Array(piece.length * ratio));
    });
  } else yield* encoded(valuesOf(tensor), type.toLowerCase() as CheckpointType);
}

const f32 = Math.fround;

const floats = new Float32Array(1);
const words = new Int32Array(floats.buffer);

/**
 * Q8_0: an f16 scale, max|x| / 127, and 32 codes; the inverse is taken before the scale is rounded. Magnitudes are compared as bits (what
 * is not a number is the largest) and halves are added by sign without a branch, which random signs would make wait.
 */
export function encodeQ8(values: Float32Array, out: Uint8Array): Uint8Array {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const codes = new Int8Array(out.buffer, out.byteOffset, out.length);
  for (let from = 0, to = 2; from < values.length; from += 32, to += 34) {
    let top = 0;
    for (let i = from; i < from + 32; i++) {
      const size = bits[i] & 0x7fffffff;
      if (size > top) top = size;
    }
    words[0] = top;
    const scale = f32(floats[0] / 127);
    const inverse = scale === 0 ? 0 : f32(1 / scale);
    const half = numberToFloat16(scale);
    out[to - 2] = half & 255;
    out[to - 1] = half >> 8;
    // Stored towards zero: halves go away from it.
    for (let i = 0; i < 32; i++) codes[to + i] = f32(values[from + i] * inverse) + (0.5 - (bits[from + i] >>> 31));
  }
  return out;
}

/** The same of f16 bits, whose values are looked up where they are wanted: a pass less over memory. */
export function encodeQ8Halves(halves: Uint16Array, out: Uint8Array): Uint8Array {
  const values = float16Values();
  const codes = new Int8Array(out.buffer, out.byteOffset, out.length);
  for (let from = 0, to = 2; from < halves.length; from += 32, to += 34) {
    let top = 0;
    for (let i = from; i < from + 32; i++) {
      const size = halves[i] & 0x7fff;
      if (size > top) top = size;
    }
    const scale = f32(values[top] / 127);
    const inverse = scale === 0 ? 0 : f32(1 / scale);
    const half = numberToFloat16(scale);
    out[to - 2] = half & 255;
    out[to - 1] = half >> 8;
    for (let i = 0; i < 32; i++) {
      const bits = halves[from + i];
      codes[to + i] = f32(values[bits] * inverse) + (0.5 - (bits >>> 15));
    }
  }
  return out;
}

/** Q4_0: an f16 scale, the value of largest magnitude / -8, and the codes 0 to 15 of value i beside value i + 16. */
export function encodeQ4(values: Float32Array, out: Uint8Array): Uint8Array {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  for (let from = 0, to = 2; from < values.length; from += 32, to += 18) {
    let top = -1;
    let at = from;
    for (let i = from; i < from + 32; i++) {
      const size = bits[i] & 0x7fffffff;
      if (size <= top) continue;
      top = size;
      at = i;
    }
    const scale = f32(values[at] / -8);
    const inverse = scale === 0 ? 0 : f32(1 / scale);
    const half = numberToFloat16(scale);
    out[to - 2] = half & 255;
    out[to - 1] = half >> 8;
    for (let i = 0; i < 16; i++) {
      const low = f32(f32(values[from + i] * inverse) + 8.5) | 0;
      const high = f32(f32(values[from + 16 + i] * inverse) + 8.5) | 0;
      out[to + i] = (low > 15 ? 15 : low) | ((high > 15 ? 15 : high) << 4);
    }
  }
  return out;
}
