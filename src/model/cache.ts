// The key/value cache of a model and its table of rotations: allocated once, never grown. Rows are one pool; which rows belong
// to which sequence is the engine's business.

import { InputError } from '../errors.js';
import { elementsOf } from '../io/bytes.js';
import { decodeFloat16 } from '../io/float16.js';
import type { Backend, DeviceBuffer, HostArray, HostType } from '../tensor/backend.js';
import type { KeyValues } from '../tensor/ops.js';
import { alignment, bytesOf, view } from '../tensor/plan.js';
import { codedHeadWords, decodeHead } from '../tensor/quantize.js';
import type { ModelConfig } from './config.js';
import { ropeTable } from './openelm.js';
import { type CacheType, cacheTypes } from './parameters.js';

export interface Cache {
  readonly rows: number;
  readonly layers: readonly KeyValues[];
  /** f32 [positions, headDim] */
  readonly rope: DeviceBuffer;
  free(): void;
}

/** Room for `rows` tokens in every layer, and rotations for `positions`. Throws `ExecutionError` when memory is short, `InputError` when an op would see too much at once. */
export function createCache(backend: Backend, config: ModelConfig, rows: number, positions: number, type: CacheType): Cache {
  checkBinding(backend, config, rows, type);
  const made: DeviceBuffer[] = [];
  const free = (): void => {
    for (const buffer of made.splice(0)) backend.free(buffer);
  };
  const create = (dtype: HostType, shape: readonly number[]): DeviceBuffer => {
    try {
      const buffer = backend.create(dtype, shape);
      made.push(buffer);
      return buffer;
    } catch (error) {
      free();
      throw error;
    }
  };
  // One buffer for both where it may be so large: shaders see few buffers at once. Values begin at a multiple of what GPUs bind.
  const createHeads = (kvHeads: number, headDim: number): KeyValues => {
    const dtype = type === 'q8' ? 'i32' : type;
    const shape = [rows, kvHeads, type === 'q8' ? codedHeadWords(headDim) : headDim];
    const second = Math.ceil(elementsOf(shape) / alignment) * alignment;
    const elements = second + elementsOf(shape);
    if (bytesOf(dtype, elements) > backend.limits.maxBufferBytes) {
      return { keys: create(dtype, shape), values: create(dtype, shape) };
    }
    const both = create(dtype, [elements]);
    return { keys: view(both, 0, shape), values: view(both, second, shape) };
  };
  const layers = config.layers.map(({ kvHeads, headDim }) => createHeads(kvHeads, headDim));
  const rope = create('f32', [positions, config.headDim]);
  backend.write(rope, ropeTable(positions, config.headDim, config.ropeFreqConstant));
  return { rows, layers, rope, free };
}

/** A layer's keys are seen by one op at once, for which GPUs have a limit of their own. */
function checkBinding({ limits, name }: Backend, { layers }: ModelConfig, rows: number, type: CacheType): void {
  const most = limits.maxBindingBytes;
  const rowBytes = (each: CacheType): number =>
    Math.max(...layers.map(({ kvHeads, headDim }) => kvHeads * headBytes(headDim, each)));
  const bytes = rows * rowBytes(type);
  if (bytes <= most) return;
  const fits = cacheTypes.map((each) => `${Math.floor(most / rowBytes(each))} in ${each}`).join(', ');
  throw new InputError(
    `a cache of ${rows} tokens in ${type} takes ${bytes} bytes for the keys of a layer, but an op of the ${name} backend sees at most ${most} at once ` +
      `(on a GPU maxStorageBufferBindingSize): ${fits} fit; take a smaller context, fewer sequences at once or another type of cache`,
  );
}

function headBytes(headDim: number, type: CacheType): number {
  return type === 'q8' ? 4 * codedHeadWords(headDim) : bytesOf(type, headDim);
}

/** Copies the keys and values of `count` rows to other rows of the same cache, in order with what else is queued. */
export async function copyRows(backend: Backend, cache: Cache, from: number, to: number, count: number): Promise<void> {
  const copies = buffersOf(cache).map(async (buffer) =>
    writeBuffer(backend, buffer, to, await readBuffer(backend, buffer, from, count)),
  );
  await Promise.all(copies);
}

/** The keys and values of rows: of each layer [count, kvHeads, headDim] twice. */
export function readRows(backend: Backend, cache: Cache, from: number, count: number): Promise<CacheArray[]> {
  return Promise.all(buffersOf(cache).map((buffer) => readBuffer(backend, buffer, from, count)));
}

/** Rows of one layer's keys or values as numbers, f32 [count, kvHeads, headDim], whatever the cache keeps. */
export async function readHeads(
  backend: Backend,
  buffer: DeviceBuffer,
  headDim: number,
  from: number,
  count: number,
): Promise<Float32Array> {
  const rows = await readBuffer(backend, buffer as DeviceBuffer<HostType>, from, count);
  if (rows instanceof Float32Array) return rows;
  if (rows instanceof Uint16Array) return decodeFloat16(rows);
  const words = codedHeadWords(headDim);
  const headOf = (i: number): Int32Array => rows.subarray(Math.floor(i / headDim) * words, (Math.floor(i / headDim) + 1) * words);
  return Float32Array.from({ length: (rows.length / words) * headDim }, (_, i) => decodeHead(headOf(i), i % headDim));
}

/** Puts what `readRows` gave into rows. */
export function writeRows(backend: Backend, cache: Cache, to: number, rows: readonly CacheArray[]): void {
  for (const [i, buffer] of buffersOf(cache).entries()) writeBuffer(backend, buffer, to, rows[i]);
}

/** f16 as bits, f32, or words of codes. */
export type CacheArray = HostArray;

function buffersOf({ layers }: Cache): DeviceBuffer<HostType>[] {
  return layers.flatMap(({ keys, values }) => [keys, values] as DeviceBuffer<HostType>[]);
}

function widthOf({ shape }: DeviceBuffer): number {
  return shape[1] * shape[2];
}

function readBuffer(backend: Backend, buffer: DeviceBuffer<HostType>, from: number, count: number): Promise<CacheArray> {
  return backend.read(buffer, from * widthOf(buffer), count * widthOf(buffer));
}

function writeBuffer(backend: Backend, buffer: DeviceBuffer, to: number, rows: CacheArray): void {
  backend.write(buffer, rows, to * widthOf(buffer));
}
