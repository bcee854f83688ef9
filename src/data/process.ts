// From a document's text to token sequences: long documents are split, short texts filtered, text normalized and tokenized,
// by CoreNet's rules (general_lm.py, base_lm.py, sentencepiece_tokenizer.py). Stateless, so that any thread may do any block.
// Truncation, padding and packing come later (rows.ts).

import { withRoom } from '../io/grow.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { hasCleanLength } from './clean.js';
import { type Normalization, normalized } from './ftfy.js';

/** How texts become tokens. */
export interface ProcessOptions {
  /** Texts whose cleaned length is below are dropped (0: none). */
  readonly minCharacters: number;
  /** Sequences of fewer tokens, the two special ones included, are dropped (0: none). */
  readonly minTokens: number;
  /** Words (between single spaces) of a sequence at most: longer documents become several. */
  readonly splitWords: number;
  /** Whether the ids of a text's beginning and end are added. */
  readonly startToken: boolean;
  readonly endToken: boolean;
  readonly normalization: Normalization;
}

/** In `lengths`: the sequence was dropped, having too few characters. */
export const TOO_FEW_CHARACTERS = -1;

/** What became of a block of documents. */
export interface ProcessedBlock {
  /** Tokens of the kept sequences, end to end. */
  readonly tokens: Int32Array;
  /** By sequence: tokens kept; or `TOO_FEW_CHARACTERS`; or -2 - n for a sequence dropped for its n tokens being too few. */
  readonly lengths: Int32Array;
  /** By document: its sequences, at least one. */
  readonly counts: Int32Array;
}

/** Turns blocks of texts into tokens: in this thread, or in others. */
export interface TextProcessor {
  /** Blocks that are worth having under way at once. */
  readonly depth: number;
  process(texts: readonly string[]): Promise<ProcessedBlock>;
  close(): Promise<void>;
}

/** No piece is longer, whatever its words are: what is made of it at once must fit in memory. */
const MAX_PIECE_UNITS = 1 << 24;

/**
 * The pieces of a document, each of at most `words` words; the one space between two pieces is dropped. Longer ones than 2^24 UTF-16
 * units, where text has few spaces, are cut between characters.
 */
export function* splitDocument(text: string, words: number): Generator<string> {
  for (const piece of splitAtWords(text, words)) {
    let start = 0;
    while (piece.length - start > MAX_PIECE_UNITS) {
      const end = start + MAX_PIECE_UNITS;
      const isWithin = (piece.charCodeAt(end) & 0xfc00) === 0xdc00 && (piece.charCodeAt(end - 1) & 0xfc00) === 0xd800;
      yield piece.slice(start, isWithin ? end - 1 : end);
      start = isWithin ? end - 1 : end;
    }
    yield start === 0 ? piece : piece.slice(start);
  }
}

function* splitAtWords(text: string, words: number): Generator<string> {
  let start = 0;
  let count = 0;
  for (let at = text.indexOf(' '); at >= 0; at = text.indexOf(' ', at + 1)) {
    if (++count < words) continue;
    yield text.slice(start, at);
    start = at + 1;
    count = 0;
  }
  yield start === 0 ? text : text.slice(start);
}

/** The tokens of one sequence's text, or why it is dropped: a code of `ProcessedBlock.lengths`. */
export function processText(text: string, tokenize: (text: string) => number[], options: ProcessOptions): number[] | number {
  if (!hasCleanLength(text, options.minCharacters)) return TOO_FEW_CHARACTERS;
  const ids = tokenize(normalized(text, options.normalization));
  return ids.length < options.minTokens ? -2 - ids.length : ids;
}

/** Does a block of documents at once. Throws `InputError` when a start or end token is asked for and the vocabulary has none. */
export function processBlock(texts: readonly string[], tokenizer: Tokenizer, options: ProcessOptions): ProcessedBlock {
  const specials = { bos: options.startToken, eos: options.endToken };
  const tokenize = (text: string): number[] => tokenizer.encode(text, specials);
  const counts = new Int32Array(texts.length);
  const lengths: number[] = [];
  let tokens = new Int32Array(1 << 16);
  let used = 0;
  texts.forEach((document, i) => {
    for (const text of splitDocument(document, options.splitWords)) {
      const ids = processText(text, tokenize, options);
      counts[i]++;
      if (typeof ids === 'number') {
        lengths.push(ids);
        continue;
      }
      lengths.push(ids.length);
      tokens = withRoom(tokens, used, ids.length);
      tokens.set(ids, used);
      used += ids.length;
    }
  });
  return { tokens: tokens.slice(0, used), lengths: Int32Array.from(lengths), counts };
}

/** Processes in this thread. */
export function inlineProcessor(tokenizer: Tokenizer, options: ProcessOptions): TextProcessor {
  return {
    depth: 1,
    async process(texts) {
      return processBlock(texts, tokenizer, options);
    },
    async close() {},
  };
}
