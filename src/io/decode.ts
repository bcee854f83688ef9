// Stored bytes as the Float32Array that the rest of the program computes with. For tensors small enough to be wanted whole in JavaScript
// (goldens, norms, tests); big weights go to a backend by range instead. Little-endian hosts only, like everything else here.

import { InputError, shown } from '../errors.js';
import { DTYPE_BYTES, type StoredDType, type StoredTensor } from './bytes.js';
import { decodeBfloat16, decodeFloat16 } from './float16.js';

/** Bytes of F64, F32, F16 or BF16 elements as f32. F32 bytes that lie aligned come back as a view of the same memory. Throws `InputError` for other types. */
export function toFloat32(bytes: Uint8Array, dtype: StoredDType): Float32Array {
  const { buffer, byteOffset, byteLength } = aligned(bytes, dtype);
  const length = byteLength / DTYPE_BYTES[dtype];
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, length);
    case 'F64':
      return Float32Array.from(new Float64Array(buffer, byteOffset, length));
    case 'F16':
      return decodeFloat16(new Uint16Array(buffer, byteOffset, length));
    case 'BF16':
      return decodeBfloat16(new Uint16Array(buffer, byteOffset, length));
    default:
      throw new InputError(`expected floating-point numbers (F64, F32, F16 or BF16), found ${dtype}`);
  }
}

/** A stored floating-point tensor, whole, as f32; row-major in the tensor's shape. */
export async function readFloat32(tensor: StoredTensor): Promise<Float32Array> {
  const bytes = await tensor.source.read(tensor.offset, tensor.bytes);
  try {
    return toFloat32(bytes, tensor.dtype);
  } catch (error) {
    if (error instanceof InputError)
      throw new InputError(`${tensor.source.name}: tensor ${shown(tensor.name)}: ${error.message}`);
    throw error;
  }
}

/** The bytes themselves, or a copy when a typed array cannot lie over them. */
function aligned(bytes: Uint8Array, dtype: StoredDType): Uint8Array<ArrayBuffer> {
  const size = DTYPE_BYTES[dtype];
  if (bytes.byteLength % size !== 0) throw new InputError(`${bytes.byteLength} bytes are no whole number of ${dtype} elements`);
  const usable = bytes.byteOffset % size === 0 && bytes.buffer instanceof ArrayBuffer;
  return usable ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
}
