// The key/value cache of a model and its table of rotations: allocated once, never grown. Rows are one pool; which rows belong
// to which sequence is the engine's business.

import type { Backend, DeviceBuffer } from '../tensor/backend.js';
import type { KeyValues } from '../tensor/ops.js';
import type { ModelConfig } from './config.js';
import { ropeTable } from './openelm.js';

export interface Cache {
  readonly rows: number;
  readonly layers: readonly KeyValues[];
  /** f32 [positions, headDim] */
  readonly rope: DeviceBuffer;
  free(): void;
}

/** Room for `rows` tokens in every layer, and rotations for `positions`. Throws `ExecutionError` when memory is short. */
export function createCache(backend: Backend, config: ModelConfig, rows: number, positions: number, dtype: 'f16' | 'f32'): Cache {
  const made: DeviceBuffer[] = [];
  const free = (): void => {
    for (const buffer of made.splice(0)) backend.free(buffer);
  };
  const create = (type: 'f16' | 'f32', shape: readonly number[]): DeviceBuffer => {
    try {
      const buffer = backend.create(type, shape);
      made.push(buffer);
      return buffer;
    } catch (error) {
      free();
      throw error;
    }
  };
  const layers = config.layers.map(({ kvHeads, headDim }) => ({
    keys: create(dtype, [rows, kvHeads, headDim]),
    values: create(dtype, [rows, kvHeads, headDim]),
  }));
  const rope = create('f32', [positions, config.headDim]);
  backend.write(rope, ropeTable(positions, config.headDim, config.ropeFreqConstant));
  return { rows, layers, rope, free };
}

/** Copies the keys and values of `count` rows to other rows of the same cache, in order with what else is queued. */
export async function copyRows(backend: Backend, cache: Cache, from: number, to: number, count: number): Promise<void> {
  const buffers = cache.layers.flatMap(({ keys, values }) => [keys, values]);
  const copies = buffers.map(async (buffer) => {
    const width = buffer.shape[1] * buffer.shape[2];
    const rows = await backend.read(buffer as DeviceBuffer<'f16' | 'f32'>, from * width, count * width);
    backend.write(buffer, rows, to * width);
  });
  await Promise.all(copies);
}
