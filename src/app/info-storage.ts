// How a model's weights are stored, for `openelm info`: the format, the types of tensors and what a weight takes on average, the file's
// metadata, and on demand every tensor. Headers only.

import { counted, visible } from '../errors.js';
import type { ModelFormat } from '../formats/model-file.js';
import type { StoredTensor } from '../io/bytes.js';

/** `storage` of `info --json`. */
export interface StorageInfo {
  format: ModelFormat;
  /** Bytes of the tensors as they are stored, and bits of them a weight. */
  bytes: number;
  bits_per_weight: number;
  /** Tensors and bytes of each type. */
  types: Record<string, { tensors: number; bytes: number }>;
  tensors: { name: string; type: string; shape: readonly number[]; bytes: number }[];
  metadata: Record<string, string>;
}

const formatNames: Readonly<Record<ModelFormat, string>> = {
  hf: 'Hugging Face (safetensors)',
  corenet: 'CoreNet (PyTorch)',
  gguf: 'GGUF (llama.cpp)',
  mlx: 'MLX',
};

export function storageInfo(
  format: ModelFormat,
  stored: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>>,
): StorageInfo {
  const tensors = [...stored.values()].map(({ name, dtype, shape, bytes, packed }) => ({
    ...{ name, type: packed?.format ?? dtype, shape },
    bytes: packed ? packed.bytes + (packed.besideBytes ?? 0) : bytes,
  }));
  const types: StorageInfo['types'] = {};
  let [bytes, weights] = [0, 0];
  for (const { type, shape, bytes: size } of tensors) {
    types[type] ??= { tensors: 0, bytes: 0 };
    types[type].tensors++;
    types[type].bytes += size;
    bytes += size;
    weights += shape.reduce((product, extent) => product * extent, 1);
  }
  return { format, bytes, bits_per_weight: weights === 0 ? 0 : (8 * bytes) / weights, types, tensors, metadata: { ...metadata } };
}

/** What it is and how much, in a few words each. */
export function storageFacts({ format, types, bits_per_weight: bits }: StorageInfo): string[] {
  const byBytes = Object.entries(types).sort(([, a], [, b]) => b.bytes - a.bytes);
  const kinds = byBytes.map(([type, { tensors }]) => `${counted(tensors, 'tensor')} in ${type}`);
  return [formatNames[format], ...kinds, `${bits.toFixed(2)} bits a weight`];
}

/** One line for each of the file's own entries, cut to `width`. */
export function metadataLines({ metadata }: StorageInfo, width: number): string[] {
  const entries = Object.entries(metadata).filter(([key]) => key !== 'format'); // safetensors': of which library
  return entries.map(([key, value]) => cut(visible(`${key}: ${value}`), width));
}

/** One line for each tensor. */
export function tensorLines({ tensors }: StorageInfo, width: number): string[] {
  const longest = Math.max(...tensors.map(({ name }) => name.length));
  const types = Math.max(...tensors.map(({ type }) => type.length));
  return tensors.map(({ name, type, shape, bytes }) =>
    cut(visible(`${name.padEnd(longest)}  ${type.padEnd(types)}  [${shape.join(', ')}]  ${counted(bytes, 'byte')}`), width),
  );
}

function cut(line: string, width: number): string {
  return line.length > width ? `${line.slice(0, width - 3)}...` : line;
}
