// What a model argument leads to: a directory, a file, or a hub id, and in it the config, the tokenizer, the chat template and
// the weights' place. Reads only the small files; part of the library's door, because it joins files, tokenizer and model.

import { InputError } from './errors.js';
import { chatTemplateFrom } from './infer/chat.js';
import { NotFiniteError } from './infer/not-finite.js';
import { decodeUtf8, parseJson } from './io/json.js';
import { readJson } from './io/node/files.js';
import type { DownloadOptions } from './io/node/hub.js';
import { kindOf, parentOf, readIfThere } from './io/node/paths.js';
import { openWeights } from './io/node/weights.js';
import { defaultModel, locateModel } from './locate.js';
import { findBadTensor } from './model/check.js';
import { configFromHuggingFace, type ModelConfig, withGenerationConfig } from './model/config.js';
import { checkWeights, type Precision } from './model/parameters.js';
import { tokenizerDecisions } from './tokenizer/decisions.js';
import { tokenizerFromJson } from './tokenizer/hugging-face.js';
import { llamaTokenizer } from './tokenizer/llama.js';
import { tokenizerFromModel } from './tokenizer/sentencepiece.js';
import type { Tokenizer } from './tokenizer/tokenizer.js';

/** A model's files on this machine. */
export interface Checkpoint {
  /** As it was asked for. */
  readonly name: string;
  readonly directory: string;
  /** The directory, or the one weights file that was named. */
  readonly weights: string;
  readonly config: ModelConfig;
}

/** LLaMA's vocabulary, which OpenELM was trained with but does not ship: 32,000 pieces, in CoreNet's tables padded to 32,128. */
const llamaVocabularies = [32000, 32128];

/**
 * Finds a model: nothing for the embedded one, a directory (a run's: its last checkpoint), a weights file with its config beside it,
 * or a hub id (`org/name`, fetched if it is not cached). Throws `InputError` when there is nothing of the kind, or its config is malformed.
 */
export async function openCheckpoint(model?: string, hub: DownloadOptions = {}): Promise<Checkpoint> {
  const name = model ?? defaultModel;
  const path = await locateModel(name, hub);
  const directory = (await kindOf(path)) === 'file' ? parentOf(path) : path;
  const file = `${directory}/config.json`;
  let config = configFromHuggingFace(await readJson(file), file);
  const generationFile = `${directory}/generation_config.json`;
  const generation = await readJsonIfThere(generationFile);
  if (generation !== undefined) config = withGenerationConfig(config, generation, generationFile);
  return { name, directory, weights: path, config };
}

/**
 * The tokenizer beside the weights (`tokenizer.model`, else `tokenizer.json`), with what the files beside it decide (see
 * tokenizer/decisions.ts), else LLaMA's when the vocabulary has its size;
 * undefined when there is none. Throws `InputError` when it has more pieces than the model has rows.
 */
export async function openTokenizer(checkpoint: Checkpoint): Promise<Tokenizer | undefined> {
  const { directory, config } = checkpoint;
  let from = `${directory}/tokenizer.model`;
  let bytes = await readIfThere(from);
  const json = `${directory}/tokenizer.json`;
  const whole = await readIfThere(json);
  const decisions = tokenizerDecisions({
    'tokenizer_config.json': await readJsonIfThere(`${directory}/tokenizer_config.json`),
    'added_tokens.json': await readJsonIfThere(`${directory}/added_tokens.json`),
    'special_tokens_map.json': await readJsonIfThere(`${directory}/special_tokens_map.json`),
    'tokenizer.json': whole && parseJson(decodeUtf8(whole, json), json),
  });
  let tokenizer: Tokenizer | undefined;
  if (bytes) tokenizer = tokenizerFromModel(bytes, from, decisions);
  else {
    from = json;
    bytes = whole;
    if (bytes) tokenizer = tokenizerFromJson(bytes, from, decisions);
    else if (llamaVocabularies.includes(config.vocabSize)) tokenizer = await llamaTokenizer();
  }
  if (tokenizer && tokenizer.vocabSize > config.vocabSize) {
    throw new InputError(
      `${from} has ${tokenizer.vocabSize} pieces, but the model's vocabulary only ${config.vocabSize}: this tokenizer belongs to another model`,
    );
  }
  return tokenizer;
}

/** The chat template in a directory, if it has one. */
export async function openChatTemplate({ directory }: Pick<Checkpoint, 'directory'>): Promise<string | undefined> {
  const config = await readJsonIfThere(`${directory}/tokenizer_config.json`);
  const file = `${directory}/chat_template.jinja`;
  const template = await readIfThere(file);
  return chatTemplateFrom(config ?? {}, template && decodeUtf8(template, file));
}

/**
 * Runs `work` on a checkpoint's model. When its output is not finite, its weights are looked at, and the error says which of them are
 * bad. Throws what `work` throws otherwise.
 */
export async function explained<T>({ weights, config }: Checkpoint, dtype: Precision, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof NotFiniteError)) throw error;
    const files = await openWeights(weights);
    try {
      const { tensors } = checkWeights(config, files.tensors, weights);
      const why = await findBadTensor(tensors.values(), dtype);
      const advice = dtype === 'f32' ? '' : ' (try --dtype f32)';
      throw new InputError(`${error.message}: ${why ?? `the weights are finite, so they overflow at ${dtype}${advice}`}`);
    } finally {
      await files.close();
    }
  }
}

async function readJsonIfThere(file: string): Promise<unknown> {
  const bytes = await readIfThere(file);
  return bytes && parseJson(decodeUtf8(bytes, file), file);
}
