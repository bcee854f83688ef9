// Writes a model in any of the formats, from tensors that are read a piece at a time: nothing larger than a few MiB is ever held but
// the scales of MLX's groups. Hugging Face's and MLX's are folders, the others one file that carries the texts too.

import { InputError } from '../errors.js';
import { packCodes } from '../io/affine.js';
import { type ByteSink, byteLengthOf, DTYPE_BYTES, type NamedBytes, type StoredTensor } from '../io/bytes.js';
import { encodeBfloat16, encodeFloat16 } from '../io/float16.js';
import { type BlockName, blockTypes, type EncodeBlocks } from '../io/gguf-blocks.js';
import { type GgufSpec, ggufBytes, writeGguf } from '../io/gguf-write.js';
import { jsonBytes } from '../io/json.js';
import { rowsOf, valuesOf } from '../io/pieces.js';
import { type TensorSpec, writeSafetensors } from '../io/safetensors.js';
import { WEIGHTS_FILE } from '../io/safetensors-index.js';
import { type TorchSpec, writeTorch } from '../io/torch.js';
import { type ModelConfig, toHuggingFaceConfig } from '../model/config.js';
import { type CheckpointType, checkpointTypes, type Precision, parameterShapes } from '../model/parameters.js';
import { CONFIG_FILE, encoded, type WriteFile, writeModel } from '../model/write.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { llamaVocabulary } from './corenet.js';
import { blockTypeOf, encodedTensor } from './encode.js';
import { ggufMetadata, ggufNames } from './gguf.js';
import { templateMetadata, tokenizerMetadata } from './gguf-tokenizer.js';
import { type AffineFormat, quantizeAffine } from './mlx.js';

/** A model to write; the tensors are those of `checkWeights`. */
export interface WritableModel {
  readonly name: string;
  readonly config: ModelConfig;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** What lies beside the weights. */
  readonly texts: readonly NamedBytes[];
}

/** Called with bytes so far and in all. */
export type OnBytes = (done: number, total: number) => void;

const shardBytes = 5e9;
/** A multiple of every group. */
const pieceValues = 1 << 20;

/** Hugging Face's folder, in shards where it is large. */
export async function writeHuggingFace(
  write: WriteFile,
  { config, tensors, texts }: WritableModel,
  dtype: CheckpointType,
  onProgress?: OnBytes,
): Promise<void> {
  const values = ({ name }: { name: string }) => valuesOf(tensors.get(name)!);
  await writeModel(write, config, dtype, values, { beside: texts, shardBytes, onProgress });
}

/** llama.cpp's file. Norms are f32 always; `encode` makes the blocks. Throws `InputError` when llama.cpp's `openelm` cannot be such a model. */
export async function writeGgufFile(
  sink: ByteSink,
  { name, config, tensors }: WritableModel,
  precision: Precision,
  {
    tokenizer,
    templates = {},
    encode,
  }: { readonly tokenizer?: Tokenizer; readonly templates?: Readonly<Record<string, string>>; readonly encode?: EncodeBlocks },
  onProgress?: OnBytes,
): Promise<void> {
  const type = blockTypeOf[precision];
  const metadata = ggufMetadata(config, fileTypes[type]!, name);
  if (tokenizer) metadata.push(...tokenizerMetadata(tokenizer, config.vocabSize, config.eosTokenIds));
  else metadata.push(['tokenizer.ggml.model', { type: 'string', value: 'no_vocab' }]);
  metadata.push(...templateMetadata(templates));
  type Spec = GgufSpec & { readonly tensor: StoredTensor };
  const specs = parameterShapes(config).flatMap((parameter): Spec[] => {
    const tensor = tensors.get(parameter.name)!;
    const names = ggufNames(parameter.name, config.ffnWithGlu);
    const rows = parameter.shape[0] / names.length;
    return names.map((own, i) => {
      const part = names.length === 1 ? tensor : rowsOf(tensor, i * rows, rows);
      return { name: own, type: parameter.shape.length === 1 ? 'F32' : type, shape: part.shape, tensor: part };
    });
  });
  const { values } = blockTypes[type];
  for (const { name: own, type: its, shape } of specs) {
    if (its === type && shape.at(-1)! % values !== 0) {
      throw new InputError(`${own} has rows of ${shape.at(-1)}, no multiple of ${values} as ${type} takes; choose f16`);
    }
  }
  const total = specs.reduce((sum, spec) => sum + ggufBytes(spec), 0);
  const progress = counter(total, onProgress);
  await writeGguf(sink, metadata, specs, (spec) => progress(encodedTensor(spec.tensor, spec.type, encode)));
}

/** llama.cpp's numbers for what a file is mostly of (enum llama_ftype). */
const fileTypes: Partial<Record<BlockName, number>> = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32 };

/** CoreNet's state_dict, with the config and the texts put into the archive; LLaMA's vocabulary gets CoreNet's padding. */
export async function writeCoreNetFile(
  sink: ByteSink,
  { config, tensors, texts }: WritableModel,
  dtype: CheckpointType,
  onProgress?: OnBytes,
): Promise<void> {
  const { stored, torch } = checkpointTypes[dtype];
  const rows = config.vocabSize === llamaVocabulary.pieces ? llamaVocabulary.rows : config.vocabSize;
  type Spec = TorchSpec & { readonly tensor: StoredTensor };
  const specs = parameterShapes(config).map(({ name, shape }): Spec => {
    const isTable = shape.length === 2 && /\.(token_embeddings|classifier)\./.test(name);
    return {
      name: name.replace(/^transformer\./, ''),
      dtype: stored,
      shape: isTable ? [rows, shape[1]] : shape,
      tensor: tensors.get(name)!,
    };
  });
  const total = bytesOfSpecs(specs);
  const progress = counter(total, onProgress);
  async function* data({ tensor, shape }: Spec): AsyncGenerator<Uint8Array> {
    yield* encoded(valuesOf(tensor), dtype);
    const missing = shape[0] - tensor.shape[0];
    if (missing > 0) yield new Uint8Array(missing * shape[1] * DTYPE_BYTES[stored]);
  }
  const extras = [{ name: CONFIG_FILE, bytes: jsonBytes(toHuggingFaceConfig(config, torch)) }, ...texts];
  await writeTorch(sink, specs, (spec) => progress(data(spec)), extras);
}

/** MLX's folder: matrices in groups of bits, norms and scales in `dtype`. */
export async function writeMlx(
  write: WriteFile,
  { config, tensors, texts }: WritableModel,
  dtype: CheckpointType,
  format: AffineFormat,
  onProgress?: OnBytes,
): Promise<void> {
  const { bits, groupSize } = format;
  const { stored: type, torch } = checkpointTypes[dtype];
  const specs = parameterShapes(config).flatMap(({ name, shape }): MlxSpec[] => {
    const tensor = tensors.get(name)!;
    if (shape.length === 1) return [{ name, dtype: type, shape, data: () => encoded(valuesOf(tensor), dtype) }];
    const [rows, columns] = shape;
    if (columns % groupSize !== 0) {
      const instead = groupSize > 32 ? 'a smaller group' : 'f16';
      throw new InputError(`${name} has rows of ${columns}, no multiple of the group of ${groupSize}; choose ${instead}`);
    }
    const module = name.replace(/\.weight$/, '');
    const groups = columns / groupSize;
    // The words are written before any 16-bit numbers (safetensors' order), so these are made with them and kept.
    const kept = { scales: [] as Uint8Array[], biases: [] as Uint8Array[] };
    async function* words(): AsyncGenerator<Uint8Array> {
      for await (const values of valuesOf(tensor, pieceValues)) {
        const made = quantizeAffine(values, format);
        for (const part of ['scales', 'biases'] as const) {
          const numbers = inType(made[part], dtype);
          kept[part].push(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
        }
        yield made.codes;
      }
    }
    const beside = (part: 'scales' | 'biases'): MlxSpec => {
      return { name: `${module}.${part}`, dtype: type, shape: [rows, groups], data: () => kept[part].splice(0) };
    };
    return [{ name, dtype: 'U32', shape: [rows, (columns * bits) / 32], data: words }, beside('scales'), beside('biases')];
  });
  const quantization = { group_size: groupSize, bits };
  await putMlx(
    write,
    { ...toHuggingFaceConfig(config, torch), quantization, quantization_config: quantization },
    specs,
    texts,
    onProgress,
  );
}

/** A matrix that is quantized already: codes one a byte, scales and minimums that are exact in f16. */
export interface AffineMatrix {
  readonly bits: number;
  readonly group: number;
  readonly rows: number;
  readonly columns: number;
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly minimums: Float32Array;
}

/** MLX's folder of such matrices, each with bits and groups of its own; vectors in `dtype`. The bytes of weights. */
export async function writeQuantized(
  write: WriteFile,
  { config, tensors, texts }: WritableModel,
  matrices: ReadonlyMap<string, AffineMatrix>,
  dtype: CheckpointType,
): Promise<number> {
  const { stored, torch } = checkpointTypes[dtype];
  const counts = new Map<string, number>();
  const formats: Record<string, { group_size: number; bits: number }> = {};
  const specs = parameterShapes(config).flatMap(({ name, shape }): MlxSpec[] => {
    const matrix = matrices.get(name);
    if (!matrix) return [{ name, dtype: stored, shape, data: () => encoded(valuesOf(tensors.get(name)!), dtype) }];
    const { bits, group, rows, columns, codes } = matrix;
    const module = name.replace(/\.weight$/, '');
    formats[module] = { group_size: group, bits };
    const key = `${bits} ${group}`;
    counts.set(key, (counts.get(key) ?? 0) + rows * columns);
    const halves = (values: Float32Array): Uint8Array[] => [new Uint8Array(encodeFloat16(values).buffer)];
    const factors = [rows, columns / group];
    return [
      { name, dtype: 'U32', shape: [rows, (columns * bits) / 32], data: () => [packCodes(codes, bits)] },
      { name: `${module}.scales`, dtype: 'F16', shape: factors, data: () => halves(matrix.scales) },
      { name: `${module}.biases`, dtype: 'F16', shape: factors, data: () => halves(matrix.minimums) },
    ];
  });
  // What most have stands for all; the others say so.
  const [most] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a));
  const [bits, group] = most.split(' ').map(Number);
  const others = Object.entries(formats).filter(([, format]) => format.bits !== bits || format.group_size !== group);
  const quantization = { group_size: group, bits, ...Object.fromEntries(others) };
  await putMlx(write, { ...toHuggingFaceConfig(config, torch), quantization, quantization_config: quantization }, specs, texts);
  return bytesOfSpecs(specs);
}

type MlxSpec = TensorSpec & { readonly data: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array> };

function bytesOfSpecs(specs: readonly TensorSpec[]): number {
  return specs.reduce((sum, spec) => sum + byteLengthOf(spec), 0);
}

async function putMlx(
  write: WriteFile,
  config: object,
  specs: readonly MlxSpec[],
  texts: WritableModel['texts'],
  onProgress?: OnBytes,
): Promise<void> {
  const progress = counter(bytesOfSpecs(specs), onProgress);
  for (const { name, bytes } of texts) await write(name, (sink) => sink.write(bytes));
  await write(WEIGHTS_FILE, (sink) => writeSafetensors(sink, specs, (spec) => progress(spec.data()), { format: 'mlx' }));
  await write(CONFIG_FILE, (sink) => sink.write(jsonBytes(config)));
}

/** Numbers in the type that they are to be written in. */
function inType(values: Float32Array, dtype: CheckpointType): Float32Array | Uint16Array {
  return dtype === 'f32' ? values : dtype === 'f16' ? encodeFloat16(values) : encodeBfloat16(values);
}

/** Passes chunks on and tells how many bytes went by over all tensors. */
function counter(total: number, onProgress?: OnBytes) {
  let done = 0;
  return async function* (chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      yield chunk;
      done += chunk.byteLength;
      onProgress?.(done, total);
    }
  };
}
