// What the files of a model say before its weights are read, in each format: the shape, how much memory they will take, where the tensors
// lie and the texts beside them. Readers of formats are fetched when a model is in theirs.

import { InputError } from '../errors.js';
import { isGgufFile, type ModelFile } from '../formats/model-file.js';
import type { ByteSource, StoredTensor } from '../io/bytes.js';
import { decodeUtf8, isObject, parseJson } from '../io/json.js';
import { readSafetensors, type SafetensorsContents } from '../io/safetensors.js';
import { INDEX_FILE, readShardedIndex, readShards, WEIGHTS_FILE } from '../io/safetensors-index.js';
import { configFromHuggingFace, type ModelConfig, withGenerationConfig } from '../model/config.js';
import { checkWeights, memoryBytes, type Precision, weightBytes } from '../model/parameters.js';
import { type ModelFiles, readSmall } from './model-files.js';

export interface Described {
  readonly config: ModelConfig;
  /** What the weights are stored in, where that is a precision and is told. */
  readonly stated?: Precision;
  /** Where the weights are, for messages; and the texts. */
  readonly weights: string;
  readonly where: string;
  /** Bytes of the weights in memory, at a precision or as they are stored; undefined where that is not known yet. */
  bytes(precision?: Precision): number | undefined;
  /** The tensors, all of whose files are here then. */
  tensors(): Promise<ReadonlyMap<string, StoredTensor>>;
  /** Settles when all of what the tensors lie in has come, where that is read while it comes. */
  arrived?(): Promise<unknown>;
  /** Closes the tensors' files: nothing is read from them any more. */
  readonly close: () => Promise<void>;
  text(name: string): Promise<Uint8Array | undefined>;
}

/** Throws `InputError` when a file is missing or damaged. */
export async function describe(files: ModelFiles): Promise<Described> {
  return files.single === undefined ? describeFolder(files) : describeFile(files, files.single);
}

const torchTypes: Readonly<Record<string, Precision>> = { float32: 'f32', float16: 'f16', bfloat16: 'bf16' };

/** Hugging Face's layout, and MLX's. */
async function describeFolder(files: ModelFiles): Promise<Described> {
  const { where } = files;
  const file = `${where}config.json`;
  const fields = await readJson(files, 'config.json');
  if (fields === undefined) throw new InputError(`${file} is missing: it says what shape the model has`);
  const generation = await readJson(files, 'generation_config.json');
  const own = configFromHuggingFace(fields, file);
  const config = generation === undefined ? own : withGenerationConfig(own, generation, `${where}generation_config.json`);
  const common = { config, where, weights: where || WEIGHTS_FILE, text: (name: string) => readSmall(files, name) };
  const { torch_dtype: type, quantization } = isObject(fields) ? fields : {};
  const opened: ByteSource[] = [];
  if (quantization !== undefined && quantization !== null) {
    const { affineFormats, affineTensors, affineWeightBytes } = await import('../formats/mlx.js');
    const formats = affineFormats(fields, file)!;
    const bytes = (precision?: Precision): number =>
      precision ? weightBytes(config, precision) : affineWeightBytes(config, formats);
    const tensors: Described['tensors'] = async () => affineTensors((await readWeights(files, opened)).tensors, formats);
    return { ...common, bytes, tensors, close: () => closeAll(opened) };
  }
  const stated = typeof type === 'string' ? torchTypes[type] : undefined;
  const bytes = (precision = stated): number | undefined => precision && weightBytes(config, precision);
  let whole: Promise<unknown> | undefined;
  const tensors: Described['tensors'] = async () => {
    const coming = await files.stream?.(WEIGHTS_FILE);
    whole = coming?.whole;
    if (coming) opened.push(coming.source);
    return (coming ? await readSafetensors(coming.source) : await readWeights(files, opened)).tensors;
  };
  return { ...common, stated, bytes, tensors, arrived: async () => whole, close: () => closeAll(opened) };
}

/** A model that is one file. */
async function describeFile(files: ModelFiles, single: string): Promise<Described> {
  const name = files.where + single;
  const opened: ByteSource[] = [];
  const read = await readerOf(files, single);
  const here = async (): Promise<ByteSource> => {
    const source = await files.source(single);
    if (!source) throw new InputError(`${name}: there is no such file`);
    opened.push(source);
    return source;
  };
  const early = await files.peek?.(single);
  const source = early ?? (await here());
  const model = await read(source);
  const checked = checkWeights(model.config, model.tensors(source), name);
  return {
    ...{ config: model.config, weights: name, where: `${name}/` },
    bytes: (precision) => memoryBytes(checked, precision),
    text: async (wanted) => (await model.text(wanted)) ?? (isGgufFile(single) ? undefined : readSmall(files, wanted)),
    async tensors() {
      if (!early) return model.tensors(source);
      const whole = await here();
      return (await read(whole)).tensors(whole);
    },
    close: () => closeAll(opened),
  };
}

async function readerOf(files: ModelFiles, single: string): Promise<(source: ByteSource) => Promise<ModelFile>> {
  if (isGgufFile(single)) return (await import('../formats/gguf.js')).readGgufModel;
  const { readCoreNetModel } = await import('../formats/corenet.js');
  const fields = await readJson(files, 'config.json');
  const beside = fields === undefined ? undefined : configFromHuggingFace(fields, `${files.where}config.json`);
  return (source) => readCoreNetModel(source, beside);
}

async function readJson(files: ModelFiles, name: string): Promise<unknown> {
  const bytes = await readSmall(files, name);
  return bytes && parseJson(decodeUtf8(bytes, files.where + name), files.where + name);
}

/** Adds what it opens to `opened`. */
async function readWeights(files: ModelFiles, opened: ByteSource[]): Promise<SafetensorsContents> {
  const { where } = files;
  const take = async (name: string): Promise<ByteSource | undefined> => {
    const source = await files.source(name);
    if (source) opened.push(source);
    return source;
  };
  const whole = await take(WEIGHTS_FILE);
  if (whole) return readSafetensors(whole);
  const index = await take(INDEX_FILE);
  if (!index) throw new InputError(`${where || 'these files'}: there are no weights, neither ${WEIGHTS_FILE} nor ${INDEX_FILE}`);
  return readShards(await readShardedIndex(index), async (name) => {
    const shard = await take(name);
    if (!shard) throw new InputError(`${where}${name} is missing: ${INDEX_FILE} names it`);
    return shard;
  });
}

/** They open again when they are read. */
async function closeAll(sources: readonly ByteSource[]): Promise<void> {
  for (const source of sources) await source.close();
}
