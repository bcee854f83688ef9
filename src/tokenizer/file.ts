// Which reader a tokenizer file belongs to, by its name. The bytes are the caller's to read.

import { InputError } from '../errors.js';
import { tokenizerFromJson } from './hugging-face.js';
import { tokenizerFromModel } from './sentencepiece.js';
import type { Tokenizer } from './tokenizer.js';

/** The tokenizer in a `.model` (SentencePiece) or `.json` (Hugging Face) file. Throws `InputError` for other names and damaged files. */
export function tokenizerFromFile(bytes: Uint8Array, name: string): Tokenizer {
  if (name.endsWith('.model')) return tokenizerFromModel(bytes, name);
  if (name.endsWith('.json')) return tokenizerFromJson(bytes, name);
  throw new InputError(`${name}: not a tokenizer's name; expected tokenizer.model or tokenizer.json`);
}
