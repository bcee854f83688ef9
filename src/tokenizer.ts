// Joins what rooms have; nothing is defined here.

/**
 * `openelm/tokenizer`: text to ids and back, as SentencePiece BPE does it, and training of new vocabularies. Runs anywhere: bytes
 * of files are the caller's to read.
 *
 * ```ts
 * const tokenizer = tokenizerFromFile(await readFile('tokenizer.model'), 'tokenizer.model');
 * tokenizer.decode(tokenizer.encode('Once upon a time'));
 * ```
 * @module
 */
export { InputError } from './errors.js';
export { tokenizerFromFile } from './tokenizer/file.js';
export { tokenizerFromJson } from './tokenizer/hugging-face.js';
export { llamaTokenizer } from './tokenizer/llama.js';
export { tokenizerFromModel } from './tokenizer/sentencepiece.js';
export { type EncodeOptions, type StreamDecoder, Tokenizer } from './tokenizer/tokenizer.js';
export { TokenizerTrainer, type TrainOptions as TokenizerTrainerOptions } from './tokenizer/train.js';
