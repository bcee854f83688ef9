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
