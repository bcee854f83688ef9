// What a model argument leads to: a folder, a file, or a hub id, and in it the config, the texts that travel with it and the weights'
// place, whatever the format. Reads only headers and small files; part of the library's door, because it joins files, tokenizer and
// model. Each format's own reader is in formats/.

import { InputError } from './errors.js';
import { affineFormats, affineTensors } from './formats/mlx.js';
import { isCoreNetFile, isGgufFile, type ModelFile, type ModelFormat } from './formats/model-file.js';
import { type ChatTemplates, chatTemplateBeside } from './infer/chat.js';
import { NotFiniteError } from './infer/not-finite.js';
import type { NamedBytes } from './io/bytes.js';
import { CARRIED_FILES } from './io/hub-listing.js';
import { decodeUtf8, parseJson } from './io/json.js';
import { openFile, readJson } from './io/node/files.js';
import type { DownloadOptions } from './io/node/hub.js';
import { kindOf, parentOf, readIfThere } from './io/node/paths.js';
import { openWeights, type Weights } from './io/node/weights.js';
import { defaultModel, locateModel } from './locate.js';
import { findBadTensor } from './model/check.js';
import { configFromHuggingFace, type ModelConfig, withGenerationConfig } from './model/config.js';
import { checkWeights, type WeightType } from './model/parameters.js';
import { tokenizerBeside } from './tokenizer/beside.js';
import type { Tokenizer } from './tokenizer/tokenizer.js';

/** Texts by their names in Hugging Face's layout. */
export interface Texts {
  /** Where they are, for messages. */
  readonly place: string;
  /** Undefined when there is none of that name. */
  text(name: string): Promise<Uint8Array | undefined>;
}

/** A model on this machine, in any format. */
export interface Checkpoint extends Texts {
  /** As it was asked for. */
  readonly name: string;
  /** The folder, or the one file, that holds the weights; and the folder. */
  readonly weights: string;
  readonly directory: string;
  readonly format: ModelFormat;
  readonly config: ModelConfig;
  /** Opens the tensors; the caller closes them. Throws `InputError` when a file is missing or damaged. */
  openWeights(): Promise<Weights>;
}

/**
 * Finds a model: nothing for the embedded one, a folder of Hugging Face's or MLX's layout (a run's: its last checkpoint), a GGUF file,
 * a PyTorch file of CoreNet's, a safetensors file with its config beside it, or a hub id (`org/name`, fetched if it is not cached).
 * Throws `InputError` when there is nothing of the kind, or its config is malformed.
 */
export async function openCheckpoint(model?: string, hub: DownloadOptions = {}): Promise<Checkpoint> {
  const name = model ?? defaultModel;
  const place = await locateModel(name, hub);
  // Readers of single files are imported only for such.
  if (isGgufFile(place)) return fileCheckpoint(name, place, (await import('./formats/gguf.js')).readGgufModel);
  if (isCoreNetFile(place)) {
    const file = `${parentOf(place)}/config.json`;
    const { readCoreNetModel } = await import('./formats/corenet.js');
    const beside = (await kindOf(file)) ? configFromHuggingFace(await readJson(file), file) : undefined;
    return fileCheckpoint(name, place, (source) => readCoreNetModel(source, beside), folder(parentOf(place)));
  }
  const directory = (await kindOf(place)) === 'file' ? parentOf(place) : place;
  const texts = folder(directory);
  const file = `${directory}/config.json`;
  const json = await readJson(file);
  const formats = affineFormats(json, file);
  let config = configFromHuggingFace(json, file);
  const generation = await readJsonText(texts, 'generation_config.json');
  if (generation !== undefined) config = withGenerationConfig(config, generation, `${directory}/generation_config.json`);
  const open = async (): Promise<Weights> => {
    const weights = await openWeights(place);
    try {
      return formats ? { ...weights, tensors: affineTensors(weights.tensors, formats) } : weights;
    } catch (error) {
      await weights.close();
      throw error;
    }
  };
  return { name, ...texts, weights: place, directory, format: formats ? 'mlx' : 'hf', config, openWeights: open };
}

/** The texts in a directory. */
export function folder(directory: string): Texts {
  return { place: directory, text: (name) => readIfThere(`${directory}/${name}`) };
}

/** A model whose weights and config are one file; texts that it lacks may lie beside it. */
async function fileCheckpoint(
  name: string,
  place: string,
  read: (source: Awaited<ReturnType<typeof openFile>>) => Promise<ModelFile>,
  beside?: Texts,
): Promise<Checkpoint> {
  const source = await openFile(place);
  const model = await read(source).finally(() => source.close());
  const { format, config } = model;
  const text = async (wanted: string): Promise<Uint8Array | undefined> =>
    (await model.text(wanted)) ?? (await beside?.text(wanted));
  const open = async (): Promise<Weights> => {
    const opened = await openFile(place);
    return { tensors: model.tensors(opened), metadata: model.metadata, files: [place], close: () => opened.close() };
  };
  return { name, place, weights: place, directory: parentOf(place), format, config, text, openWeights: open };
}

/** The tokenizer that travels with the weights, see `tokenizerBeside`. */
export async function openTokenizer({ place, text, config }: Texts & Pick<Checkpoint, 'config'>): Promise<Tokenizer | undefined> {
  return tokenizerBeside(text, `${place}/`, config.vocabSize);
}

/** The chat templates that travel with a model or an adapter, if any do. */
export async function openChatTemplate({ place, text }: Texts): Promise<ChatTemplates | undefined> {
  return chatTemplateBeside(text, `${place}/`);
}

/** What lies beside a model's weights and goes with them wherever they go: its tokenizer, its chat template. */
export async function sideFiles(texts: Texts): Promise<NamedBytes[]> {
  const files = await Promise.all(CARRIED_FILES.map(async (name) => ({ name, bytes: await texts.text(name) })));
  return files.flatMap(({ name, bytes }) => (bytes ? [{ name, bytes }] : []));
}

/**
 * Runs `work` on a checkpoint's model. When its output is not finite, its weights are looked at, and the error says which of them are
 * bad. Throws what `work` throws otherwise.
 */
export async function explained<T>(checkpoint: Checkpoint, dtype: WeightType, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof NotFiniteError)) throw error;
    const files = await checkpoint.openWeights();
    try {
      const { tensors } = checkWeights(checkpoint.config, files.tensors, checkpoint.place);
      const why = await findBadTensor(tensors.values(), dtype);
      throw new InputError((option) => {
        const advice = dtype === 'f32' ? '' : ` (try ${option('dtype', 'f32')})`;
        return `${error.message}: ${why ?? `the weights are finite, so they overflow at ${dtype}${advice}`}`;
      });
    } finally {
      await files.close();
    }
  }
}

async function readJsonText(texts: Texts, name: string): Promise<unknown> {
  const bytes = await texts.text(name);
  const file = `${texts.place}/${name}`;
  return bytes && parseJson(decodeUtf8(bytes, file), file);
}
