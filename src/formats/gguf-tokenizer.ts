// A SentencePiece vocabulary in GGUF's keys (tokenizer.ggml.model "llama") to and from the files of Hugging Face's layout: what is
// read becomes a tokenizer.model, a tokenizer_config.json and a chat template, for the readers that know those. No other vocabularies.

import { InputError, shown } from '../errors.js';
import { type GgufContents, type GgufValue, isNumbers, isTexts, textAt } from '../io/gguf.js';
import type { GgufEntry } from '../io/gguf-write.js';
import { TOOL_TEMPLATE } from '../io/hub-listing.js';
import { jsonBytes } from '../io/json.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { MAX_PIECES, PieceKind } from '../tokenizer/vocabulary.js';
import { writePieces } from '../tokenizer/write.js';

const prefix = 'tokenizer.ggml.';
const templateKey = 'tokenizer.chat_template';

/** The file of that name, as the keys describe it; undefined when they say nothing of it. Throws `InputError` naming the key. */
export function readTokenizerTexts(metadata: GgufContents['metadata'], file: string, name: string): Uint8Array | undefined {
  if (name === 'chat_template.jinja' || name === TOOL_TEMPLATE) {
    const template = metadata.get(name === TOOL_TEMPLATE ? `${templateKey}.tool_use` : templateKey);
    return typeof template === 'string' ? new TextEncoder().encode(template) : undefined;
  }
  const kind = metadata.get(`${prefix}model`);
  if (kind === undefined || kind === 'no_vocab' || kind === 'none') return undefined;
  if (name !== 'tokenizer.model' && name !== 'tokenizer_config.json') return undefined;
  if (kind !== 'llama') {
    throw new InputError(`${file}: ${prefix}model is ${shown(kind)}; only "llama" (SentencePiece BPE) is supported`);
  }
  return name === 'tokenizer.model' ? tokenizerModel(metadata, file) : tokenizerConfig(metadata);
}

function tokenizerModel(metadata: GgufContents['metadata'], file: string): Uint8Array {
  const charsMap = metadata.get(`${prefix}precompiled_charsmap`);
  if (isNumbers(charsMap) && charsMap.numbers.length > 0) {
    throw new InputError(`${file}: ${prefix}precompiled_charsmap: only identity normalization (none) is supported`);
  }
  const tokens = metadata.get(`${prefix}tokens`);
  if (!isTexts(tokens)) throw new InputError(`${file}: ${prefix}tokens is missing, or no list of texts`);
  const count = tokens.starts.length;
  if (count > MAX_PIECES)
    throw new InputError(`${file}: ${prefix}tokens holds ${count} pieces, more than the ${MAX_PIECES} supported`);
  const numbers = (key: string): ArrayLike<number> => {
    const value = metadata.get(`${prefix}${key}`);
    if (!isNumbers(value) || value.numbers.length !== count) {
      throw new InputError(`${file}: ${prefix}${key} is not a list of ${count} numbers, one for each of ${prefix}tokens`);
    }
    return value.numbers;
  };
  const [scores, types] = [numbers('scores'), numbers('token_type')];
  const kinds = Uint8Array.from(types);
  for (let id = 0; id < count; id++) {
    if (!(types[id] >= PieceKind.normal && types[id] <= PieceKind.byte)) {
      throw new InputError(`${file}: ${prefix}token_type of piece ${id} is ${types[id]}; types are 1 to 6`);
    }
  }
  return writePieces({ ...tokens, kinds }, scores, {
    byteFallback: kinds.includes(PieceKind.byte),
    dummyPrefix: metadata.get(`${prefix}add_space_prefix`) !== false,
    removeExtraSpaces: metadata.get(`${prefix}remove_extra_whitespaces`) === true,
  });
}

/** What is added to a text, as llama.cpp does where the keys say nothing; undefined where that is what a tokenizer.model alone stands for. */
function tokenizerConfig(metadata: GgufContents['metadata']): Uint8Array | undefined {
  const tokens = metadata.get(`${prefix}tokens`);
  const named = (key: string): string | undefined => {
    const id = metadata.get(`${prefix}${key}_token_id`);
    return isTexts(tokens) && typeof id === 'number' && id >= 0 && id < tokens.starts.length ? textAt(tokens, id) : undefined;
  };
  const flag = (value: GgufValue | undefined, absent: boolean): boolean => (typeof value === 'boolean' ? value : absent);
  const [bos, eos, pad] = [named('bos') ?? null, named('eos') ?? null, named('padding')];
  const addBos = flag(metadata.get(`${prefix}add_bos_token`), true);
  const addEos = flag(metadata.get(`${prefix}add_eos_token`), false);
  if (bos === '<s>' && eos === '</s>' && (pad ?? '<pad>') === '<pad>' && addBos && !addEos) return undefined;
  return jsonBytes({
    ...{ bos_token: bos, eos_token: eos, unk_token: named('unknown'), pad_token: pad },
    ...{ add_bos_token: addBos, add_eos_token: addEos, legacy: true, sentencepiece_spaces: true },
    ...(metadata.get(`${prefix}add_space_prefix`) === false && { add_prefix_space: false }),
  });
}

/** The keys of chat templates by name, as llama.cpp's converter writes them. */
export function templateMetadata(templates: Readonly<Record<string, string>>): [string, GgufEntry][] {
  const others = Object.keys(templates).filter((name) => name !== 'default');
  const keys = Object.entries(templates).map(([name, value]): [string, GgufEntry] => [
    name === 'default' ? templateKey : `${templateKey}.${name}`,
    { type: 'string', value },
  ]);
  if (others.length > 0) keys.push([`${templateKey}s`, { type: 'strings', value: others }]);
  return keys;
}

/**
 * The keys of a tokenizer; `rows` are the model's, and ids without a piece get one that is in no text. Throws `InputError` when the
 * vocabulary is none that scores of pieces describe.
 */
export function tokenizerMetadata(tokenizer: Tokenizer, rows: number, eosIds: readonly number[]): [string, GgufEntry][] {
  const { pieces, spaces } = tokenizer.describe();
  const texts = pieces.map(({ text }) => text);
  const kinds = pieces.map(({ kind }) => kind as number);
  const scores = pieces.map(({ score }) => score);
  for (let id = texts.length; id < rows; id++) {
    texts.push(`[PAD${id}]`);
    kinds.push(PieceKind.unused);
    scores.push(-1e9);
  }
  const entries: [string, GgufEntry][] = [
    ['model', { type: 'string', value: 'llama' }],
    ['pre', { type: 'string', value: 'default' }],
    ['tokens', { type: 'strings', value: texts }],
    ['scores', { type: 'float32s', value: scores }],
    ['token_type', { type: 'int32s', value: kinds }],
  ];
  const id = (key: string, value: number | undefined): void => {
    if (value !== undefined && value >= 0) entries.push([`${key}_token_id`, { type: 'uint32', value }]);
  };
  id('bos', tokenizer.bosId);
  id('eos', tokenizer.eosId >= 0 ? tokenizer.eosId : eosIds[0]);
  id(
    'eot',
    eosIds.find((other) => other !== tokenizer.eosId),
  );
  id('unknown', tokenizer.unkId);
  id('padding', tokenizer.padId);
  entries.push(
    ['add_bos_token', { type: 'bool', value: tokenizer.addBos }],
    ['add_eos_token', { type: 'bool', value: tokenizer.addEos }],
    ['add_space_prefix', { type: 'bool', value: spaces.prefix !== 'never' }],
    ['remove_extra_whitespaces', { type: 'bool', value: spaces.removeExtraSpaces }],
  );
  return entries.map(([key, entry]) => [`${prefix}${key}`, entry]);
}
