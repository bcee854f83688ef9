// Values into what files hold them in: GGML's blocks of 8 and 4 bits by its reference rule (tensor/quantize.ts is the definition, this
// its form for whole files), and plain numbers. A piece at a time; every piece is a whole number of blocks.

import type { StoredTensor } from '../io/bytes.js';
import { numberToFloat16 } from '../io/float16.js';
import { type BlockName, blockTypes } from '../io/gguf-blocks.js';
import { bytesOf, valuesOf } from '../io/pieces.js';
import type { CheckpointType, Precision } from '../model/parameters.js';
import { encoded } from '../model/write.js';

/** The block type that a precision is stored in. */
export const blockTypeOf: Readonly<Record<Precision, BlockName>> = {
  ...{ f32: 'F32', f16: 'F16', bf16: 'BF16' },
  ...{ q8: 'Q8_0', q4: 'Q4_0' },
};

/** A tensor's bytes in a type; blocks that are of that type already pass as they are. A chunk may be overwritten by the next. */
export async function* encodedTensor(tensor: StoredTensor, type: BlockName): AsyncGenerator<Uint8Array> {
  if (tensor.packed?.format === type || (!tensor.packed && tensor.dtype === type)) yield* bytesOf(tensor.packed ?? tensor);
  else if (type === 'Q8_0' || type === 'Q4_0') {
    const encode = type === 'Q8_0' ? encodeQ8 : encodeQ4;
    let bytes = new Uint8Array(0);
    for await (const values of valuesOf(tensor)) {
      const length = (values.length / blockTypes[type].values) * blockTypes[type].bytes;
      if (bytes.length < length) bytes = new Uint8Array(length);
      const out = bytes.subarray(0, length);
      encode(values, out);
      yield out;
    }
  } else yield* encoded(valuesOf(tensor), type.toLowerCase() as CheckpointType);
}

const f32 = Math.fround;

/** Q8_0: an f16 scale, max|x| / 127, and 32 codes; the inverse is taken before the scale is rounded. */
export function encodeQ8(values: Float32Array, out: Uint8Array): void {
  for (let from = 0, to = 0; from < values.length; from += 32, to += 34) {
    let peak = 0;
    for (let i = from; i < from + 32; i++) {
      const size = Math.abs(values[i]);
      if (size > peak || Number.isNaN(size)) peak = size; // what is not a number stays
    }
    const scale = f32(peak / 127);
    const inverse = scale === 0 ? 0 : f32(1 / scale);
    const half = numberToFloat16(scale);
    out[to] = half & 255;
    out[to + 1] = half >> 8;
    for (let i = 0; i < 32; i++) {
      const x = f32(values[from + i] * inverse);
      out[to + 2 + i] = x < 0 ? x - 0.5 : x + 0.5; // stored modulo 256, towards zero: halves go away from it
    }
  }
}

/** Q4_0: an f16 scale, the value of largest magnitude / -8, and the codes 0 to 15 of value i beside value i + 16. */
export function encodeQ4(values: Float32Array, out: Uint8Array): void {
  for (let from = 0, to = 0; from < values.length; from += 32, to += 18) {
    let size = 0;
    let peak = 0;
    for (let i = from; i < from + 32; i++) {
      const magnitude = Math.abs(values[i]);
      if (!(magnitude > size || Number.isNaN(magnitude))) continue;
      size = magnitude;
      peak = values[i];
    }
    const scale = f32(peak / -8);
    const inverse = scale === 0 ? 0 : f32(1 / scale);
    const half = numberToFloat16(scale);
    out[to] = half & 255;
    out[to + 1] = half >> 8;
    for (let i = 0; i < 16; i++) {
      const low = Math.min(15, f32(f32(values[from + i] * inverse) + 8.5)) | 0;
      const high = Math.min(15, f32(f32(values[from + 16 + i] * inverse) + 8.5)) | 0;
      out[to + 2 + i] = low | (high << 4);
    }
  }
}
