// The tokenizer among a model's files, wherever those lie: which of them is taken, what the others decide, and LLaMA's where OpenELM's
// repositories have none. Reading is the caller's.

import { InputError } from '../errors.js';
import { decodeUtf8, parseJson } from '../io/json.js';
import { tokenizerDecisions } from './decisions.js';
import { tokenizerFromJson } from './hugging-face.js';
import { llamaTokenizer } from './llama.js';
import { tokenizerFromModel } from './sentencepiece.js';
import type { Tokenizer } from './tokenizer.js';

/** LLaMA's vocabulary, which OpenELM was trained with but does not ship: 32,000 pieces, in CoreNet's tables padded to 32,128. */
const llamaVocabularies = [32000, 32128];

/**
 * `tokenizer.model`, else `tokenizer.json`, with what the files beside it decide (decisions.ts), else LLaMA's when the vocabulary has
 * its size; undefined when there is none. `read` gives a file by its name, `where` is put before names in messages.
 * @throws InputError when it has more pieces than the model has rows.
 */
export async function tokenizerBeside(
  read: (name: string) => Promise<Uint8Array | undefined>,
  where: string,
  vocabSize: number,
): Promise<Tokenizer | undefined> {
  const readJson = async (name: string): Promise<unknown> => {
    const bytes = await read(name);
    return bytes && parseJson(decodeUtf8(bytes, where + name), where + name);
  };
  let from = `${where}tokenizer.model`;
  let bytes = await read('tokenizer.model');
  const json = `${where}tokenizer.json`;
  const whole = await read('tokenizer.json');
  const decisions = tokenizerDecisions({
    'tokenizer_config.json': await readJson('tokenizer_config.json'),
    'added_tokens.json': await readJson('added_tokens.json'),
    'special_tokens_map.json': await readJson('special_tokens_map.json'),
    'tokenizer.json': whole && parseJson(decodeUtf8(whole, json), json),
  });
  let tokenizer: Tokenizer | undefined;
  if (bytes) tokenizer = tokenizerFromModel(bytes, from, decisions);
  else {
    from = json;
    bytes = whole;
    if (bytes) tokenizer = tokenizerFromJson(bytes, from, decisions);
    else if (llamaVocabularies.includes(vocabSize)) tokenizer = await llamaTokenizer();
  }
  if (tokenizer && tokenizer.vocabSize > vocabSize) {
    throw new InputError(
      `${from} has ${tokenizer.vocabSize} pieces, but the model's vocabulary only ${vocabSize}: this tokenizer belongs to another model`,
    );
  }
  return tokenizer;
}
