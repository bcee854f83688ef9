// The LLaMA vocabulary (32,000 pieces) from the npm package llama-tokenizer-js, for models whose directory has no tokenizer:
// OpenELM's repositories ship none. Only the package's list of pieces is used; encoding is ours. The package (700 KB) is
// imported on the first call, and then once.

import { InputError } from '../errors.js';
import { Characters } from './characters.js';
import { ScoredPairs } from './pairs.js';
import { Tokenizer } from './tokenizer.js';
import { PieceKind, piecesFromStrings, Vocabulary } from './vocabulary.js';

const FIRST_BYTE = 3; // 0 <unk>, 1 <s>, 2 </s>, then 256 byte pieces, then the merged ones

let loaded: Promise<Tokenizer> | undefined;

/**
 * The tokenizer of LLaMA 1 and 2, equal to Meta's `tokenizer.model` id by id. Also for models with 32,128 rows: the ids past
 * 31,999 have no pieces. Throws `InputError` when the package is not installed.
 */
export function llamaTokenizer(): Promise<Tokenizer> {
  loaded ??= build().catch((error) => {
    loaded = undefined;
    throw error;
  });
  return loaded;
}

async function build(): Promise<Tokenizer> {
  const name = 'llama-tokenizer-js';
  const imported = await import('llama-tokenizer-js').catch((error: unknown) => {
    throw new InputError(`the npm package ${name}, which holds LLaMA's vocabulary, cannot be imported (${error}); install it`);
  });
  const pieces = imported.default.vocabById;
  const firstMerged = FIRST_BYTE + 256;
  const kinds = new Uint8Array(pieces.length).fill(PieceKind.normal);
  kinds.fill(PieceKind.byte, FIRST_BYTE, firstMerged);
  kinds[0] = PieceKind.unknown;
  kinds[1] = kinds[2] = PieceKind.control;
  // Meta's model scores its pieces in the order of their ids, but for runs of spaces, which all come last and equal.
  const scores = Float32Array.from(pieces, (piece, id) => (/^▁+$/.test(piece) ? -1e9 : firstMerged - id));
  const vocabulary = new Vocabulary(piecesFromStrings(pieces, kinds), name);
  vocabulary.requireBytes(name);
  const characters = new Characters(vocabulary);
  const pairs = new ScoredPairs(vocabulary, characters, scores);
  return new Tokenizer({
    vocabulary,
    characters,
    pairs,
    scores: () => scores,
    bosId: 1,
    eosId: 2,
    padId: undefined,
    byteFallback: true,
    fuseUnknown: true,
    splitAtEverySpace: false,
    prefix: 'always',
    prefixUnlessSpace: false,
    removeExtraSpaces: false,
    escapeSpaces: true,
    stripPrefix: true,
    stripLeadingSpaces: false,
    unknownSurface: ' \u2047 ',
    specialTokens: new Map([
      [pieces[0], 0],
      [pieces[1], 1],
      [pieces[2], 2],
    ]),
    rawTokens: new Map(),
    normalizedTokens: new Map(),
  });
}
