// Writes a model as Hugging Face lays it out, which is how it is loaded: config.json, model.safetensors (or shards with their
// index) and what lies beside them, from values made or read a piece at a time. It names and fills files; where they go is the caller's.

import { type ByteSink, byteLengthOf, type NamedBytes } from '../io/bytes.js';
import { encodeBfloat16, encodeFloat16 } from '../io/float16.js';
import { jsonBytes } from '../io/json.js';
import { type TensorSpec, writeSafetensors } from '../io/safetensors.js';
import { INDEX_FILE, WEIGHTS_FILE } from '../io/safetensors-index.js';
import { type ModelConfig, toHuggingFaceConfig } from './config.js';
import { type CheckpointType, checkpointTypes, type Parameter, parameterShapes } from './parameters.js';

export const CONFIG_FILE = 'config.json';

/** Writes one file, whole or not at all. */
export type WriteFile = (name: string, write: (sink: ByteSink) => Promise<void>) => Promise<void>;

/** A parameter's values in order, in pieces; a piece may be overwritten once the next is asked for. */
export type ParameterValues = (parameter: Parameter) => Iterable<Float32Array> | AsyncIterable<Float32Array>;

/** What goes with the weights of a model that is written, and how they are split. */
export interface WriteModelOptions {
  /** What lies beside the weights, as it is: a tokenizer, a chat template. */
  readonly beside?: readonly NamedBytes[];
  /** Split into shards of at most this many bytes of weights; a larger tensor has a shard of its own. Default: one file. */
  readonly shardBytes?: number;
  /** Called as weights are written, with bytes so far and in all. */
  readonly onProgress?: (bytes: number, total: number) => void;
}

/** Values that are whole, as `ParameterValues` gives them. */
export async function* whole(values: Promise<Float32Array>): AsyncGenerator<Float32Array> {
  yield await values;
}

/** Writes the files, the config last; the bytes of weights. Throws what `write` throws. */
export async function writeModel(
  write: WriteFile,
  config: ModelConfig,
  dtype: CheckpointType,
  values: ParameterValues,
  { beside = [], shardBytes = Number.POSITIVE_INFINITY, onProgress }: WriteModelOptions = {},
): Promise<number> {
  const { stored, torch } = checkpointTypes[dtype];
  const specs = parameterShapes(config).map((parameter) => ({ ...parameter, dtype: stored }));
  const total = specs.reduce((sum, spec) => sum + byteLengthOf(spec), 0);
  let done = 0;
  async function* data(spec: TensorSpec): AsyncGenerator<Uint8Array> {
    for await (const chunk of encoded(values(spec), dtype)) {
      yield chunk;
      done += chunk.byteLength;
      onProgress?.(done, total);
    }
  }
  for (const { name, bytes } of beside) await write(name, (sink) => sink.write(bytes));
  const shards = splitIntoShards(specs, shardBytes);
  for (const { file, tensors } of shards) await write(file, (sink) => writeSafetensors(sink, tensors, data, { format: 'pt' }));
  if (shards.length > 1) {
    const weightMap = Object.fromEntries(shards.flatMap(({ file, tensors }) => tensors.map(({ name }) => [name, file])));
    await write(INDEX_FILE, (sink) => sink.write(jsonBytes({ metadata: { total_size: total }, weight_map: weightMap })));
  }
  await write(CONFIG_FILE, (sink) => sink.write(jsonBytes(toHuggingFaceConfig(config, torch))));
  return total;
}

/** Pieces of values as little-endian bytes; like the values, each may be overwritten by the next. */
export async function* encoded(chunks: ReturnType<ParameterValues>, dtype: CheckpointType): AsyncGenerator<Uint8Array> {
  let halves = new Uint16Array(0);
  for await (const values of chunks) {
    if (dtype === 'f32') {
      yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      continue;
    }
    if (halves.length < values.length) halves = new Uint16Array(values.length);
    const out = halves.subarray(0, values.length);
    if (dtype === 'f16') encodeFloat16(values, out);
    else encodeBfloat16(values, out);
    yield new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
  }
}

function splitIntoShards<Spec extends TensorSpec>(
  specs: readonly Spec[],
  shardBytes: number,
): { file: string; tensors: Spec[] }[] {
  const shards: Spec[][] = [];
  let room = 0;
  for (const spec of specs) {
    const bytes = byteLengthOf(spec);
    if (shards.length === 0 || bytes > room) {
      shards.push([]);
      room = shardBytes;
    }
    shards[shards.length - 1].push(spec);
    room -= bytes;
  }
  if (shards.length === 1) return [{ file: WEIGHTS_FILE, tensors: shards[0] }];
  const number = (n: number) => String(n).padStart(5, '0');
  return shards.map((tensors, i) => ({ file: `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`, tensors }));
}
