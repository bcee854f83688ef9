import type { StoredTensor } from '../src/io/bytes.js';

/** A stored tensor of 32-bit integers, whole; row-major. */
export async function readInt32({ name, dtype, source, offset, bytes }: StoredTensor): Promise<Int32Array> {
  if (dtype !== 'I32') throw new Error(`${source.name}: ${name}: expected I32, found ${dtype}`);
  return new Int32Array((await source.read(offset, bytes)).slice().buffer);
}
