// From stored tensors to a model on a backend: every tensor, checked against the config before, is uploaded and converted once, and
// handed to `OpenELM` under its key. Where the tensors come from (files, a hub, memory) is the caller's.

import type { Backend, DeviceBuffer } from '../tensor/backend.js';
import type { ModelConfig } from './config.js';
import { type Embedding, type Linear, plainEmbedding, plainLinear } from './linear.js';
import { OpenELM } from './openelm.js';
import { type CheckedWeights, type Precision, storedPrecision, type WeightType } from './parameters.js';

export interface LoadOptions {
  /** Default: what each tensor is stored in. Norms stay f32. */
  readonly dtype?: Precision;
  /** With quantized weights: quantize activations on the fly too (default), or keep them f32. */
  readonly activations?: 'int8' | 'f32';
  /** Takes the place of each Linear, by module name: adapters, probes. */
  readonly wrapLinear?: (name: string, base: Linear) => Linear;
  readonly wrapEmbedding?: (name: string, base: Embedding) => Embedding;
  /** Called as tensors arrive, with bytes as stored. */
  readonly onProgress?: (loadedBytes: number, totalBytes: number) => void;
}

export interface LoadedModel {
  readonly model: OpenELM;
  /** On the same weights, without what was wrapped around them; else `model`. */
  readonly base: OpenELM;
  /** What most of the weights are kept as. */
  readonly dtype: WeightType;
  /** Bytes on the backend. */
  readonly bytes: number;
  free(): void;
}

/** Uploads a checkpoint's tensors. Throws `InputError` when a file was cut, `ExecutionError` when memory is short; nothing stays allocated then. */
export async function loadModel(
  backend: Backend,
  config: ModelConfig,
  { tensors, dtype: own }: CheckedWeights,
  options: LoadOptions = {},
): Promise<LoadedModel> {
  const dtype = options.dtype ?? own;
  const int8 = options.activations !== 'f32';
  const totalBytes = [...tensors.values()].reduce((sum, tensor) => sum + tensor.bytes, 0);
  let loadedBytes = 0;
  const buffers = new Map<string, DeviceBuffer>();
  const free = (): void => {
    for (const buffer of buffers.values()) backend.free(buffer);
    buffers.clear();
  };
  // In the order in which they lie: a file may still be arriving.
  const inOrder = [...tensors].sort(([, a], [, b]) => a.offset - b.offset);
  const uploads = inOrder.map(async ([name, tensor]) => {
    buffers.set(name, await backend.upload(tensor, options.dtype ?? storedPrecision(tensor)));
    loadedBytes += tensor.bytes;
    options.onProgress?.(loadedBytes, totalBytes);
  });
  const failed = (await Promise.allSettled(uploads)).find((result) => result.status === 'rejected');
  if (failed) {
    free();
    throw failed.reason;
  }
  const buffer = (name: string): DeviceBuffer => buffers.get(`${name}.weight`)!;
  const { wrapLinear = (_, own) => own, wrapEmbedding = (_, own) => own }: LoadOptions = options;
  const plain = (name: string): Linear => plainLinear(buffer(name), int8);
  const linear = (name: string): Linear => wrapLinear(name, plain(name));
  const table = (name: string): Embedding => plainEmbedding(buffer(name));
  const embedding = (name: string): Embedding => wrapEmbedding(name, table(name));
  const model = new OpenELM({ linear, tied: linear, embedding, vector: buffer }, config);
  const wrapped = options.wrapLinear ?? options.wrapEmbedding;
  const base = wrapped ? new OpenELM({ linear: plain, tied: plain, embedding: table, vector: buffer }, config) : model;
  const bytes = [...buffers.values()].reduce((sum, { bytes: size }) => sum + size, 0);
  return { model, base, dtype, bytes, free };
}
