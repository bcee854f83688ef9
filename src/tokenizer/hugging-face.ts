// Reads a Hugging Face `tokenizer.json` whose model is SentencePiece-like BPE (LLaMA and kin) into a Tokenizer: legacy form
// (normalizer Prepend + Replace) or Metaspace. Anything that would change ids and is not done here is refused by the key's
// name. Truncation and padding are not applied, and the post-processor says only what EncodeOptions adds: they belong to the caller.

import { InputError, shown } from '../errors.js';
import { decodeUtf8, parseJson } from '../io/json.js';
import { Characters } from './characters.js';
import { type TokenizerDecisions, tokenRule } from './decisions.js';
import type { DecoderRules } from './decoder.js';
import { type Json, Reader } from './json-file.js';
import { listedPairs, scoresOfMerges } from './pairs.js';
import { edgesOf } from './post-processor.js';
import type { TokenRule } from './stretches.js';
import { Tokenizer } from './tokenizer.js';
import { MAX_PIECES, PieceKind, piecesFromStrings, SPACE, Vocabulary } from './vocabulary.js';

/** What travels beside the file: a `tokenizer.json` alone does not tell which pieces begin and end a text (`<s>` and `</s>` then). */
export type SpecialPieces = Partial<TokenizerDecisions>;

interface Spaces {
  prefix: 'always' | 'first' | 'never';
  prefixUnlessSpace: boolean;
  escapeSpaces: boolean;
  splitAtEverySpace: boolean;
}

/**
 * A tokenizer from a `tokenizer.json`'s text; `name` is the file for messages. Added tokens with `special: true` are found in
 * template text only, the others in any text. Decoding follows SentencePiece's rules: one U+FFFD a broken byte, and the unknown
 * piece is ` ⁇ `. Throws `InputError` for a damaged or unsupported file.
 */
export function tokenizerFromJson(source: string | Uint8Array, name = 'tokenizer.json', special: SpecialPieces = {}): Tokenizer {
  const file = new Reader(name);
  const root = file.object(parseJson(typeof source === 'string' ? source : decodeUtf8(source, name), name), 'the file');
  const model = file.object(root.model, 'model');
  checkModel(file, model);
  const byteFallback = file.flag(model.byte_fallback, 'model.byte_fallback');
  const spaces = readSpaces(file, root.normalizer, root.pre_tokenizer);
  const decoding = readDecoder(file, root.decoder, byteFallback);
  const edges = edgesOf(root.post_processor, name);

  const pieces = readPieces(file, file.object(model.vocab, 'model.vocab'), model.unk_token);
  const trained = pieces.length;
  const added = readAddedTokens(file, root.added_tokens, pieces);
  addBeside(pieces, added, special, name);
  addNamed(pieces, added, special);
  const kinds = new Uint8Array(pieces.length).fill(PieceKind.normal);
  for (let id = 0; id < pieces.length; id++) if (byteFallback && /^<0x[0-9A-F]{2}>$/.test(pieces[id])) kinds[id] = PieceKind.byte;
  for (const token of added) kinds[token.id] = token.special ? PieceKind.control : PieceKind.userDefined;
  const unknown = model.unk_token == null ? -1 : pieces.indexOf(file.text(model.unk_token, 'model.unk_token'));
  if (unknown >= 0) kinds[unknown] = PieceKind.unknown;

  const vocabulary = new Vocabulary(piecesFromStrings(pieces, kinds), name);
  if (byteFallback) vocabulary.requireBytes(name);
  else if (unknown < 0)
    throw new InputError(`${name}: model.unk_token is missing, and model.byte_fallback is off; one is needed`);
  const tokensBeforeSpaces = file.steps(root.pre_tokenizer, 'pre_tokenizer', 'pretokenizers').length > 0;
  const controlId = (piece: string | null | undefined): number => {
    const id = piece == null ? undefined : vocabulary.idOf(piece);
    return id !== undefined && kinds[id] === PieceKind.control ? id : -1;
  };
  const padId = controlId(special.pad);
  const edgeId = (named: string | null | undefined, put: string | undefined, otherwise: string): number => {
    if (put !== undefined)
      return vocabulary.idOf(put) ?? file.fail('post_processor', put, 'a token of the vocabulary is expected');
    return controlId(named === undefined ? otherwise : named);
  };
  const merges = readMerges(file, model.merges);
  if (!byteFallback) {
    const made = merges.findIndex((merge) => merge.includes(pieces[unknown]));
    if (made >= 0) file.fail(`model.merges[${made}]`, merges[made], 'merging unknown characters is not supported');
  }
  const mayMerge = (id: number): boolean =>
    kinds[id] === PieceKind.normal || (kinds[id] === PieceKind.userDefined && id < trained);
  return new Tokenizer({
    vocabulary,
    characters: new Characters(vocabulary, mayMerge),
    pairs: listedPairs(vocabulary, merges, name, mayMerge),
    scores: () => scoresOfMerges(vocabulary, merges, name),
    bosId: edgeId(special.bos, edges.begins, '<s>'),
    eosId: edgeId(special.eos, edges.ends, '</s>'),
    addBos: edges.begins !== undefined,
    addEos: edges.ends !== undefined,
    padId: padId < 0 ? undefined : padId,
    byteFallback,
    fuseUnknown: file.flag(model.fuse_unk, 'model.fuse_unk'),
    ...spaces,
    removeExtraSpaces: false,
    ...decoding,
    stripLeadingSpaces: false,
    unknownSurface: ' \u2047 ',
    ...tokensByText(added, (content) => (tokensBeforeSpaces ? content : normalizedContent(content, spaces))),
    tokensBeforeSpaces,
    names: special.names,
  });
}

function checkModel(file: Reader, model: Json): void {
  if (model.type !== undefined && model.type !== 'BPE') file.fail('model.type', model.type, 'only BPE is supported');
  for (const key of ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix', 'ignore_merges']) {
    if (model[key]) file.fail(`model.${key}`, model[key], 'only tokenizers without it are supported');
  }
}

// How spaces are written: the legacy normalizer (Prepend, Replace), or the Metaspace pre-tokenizer, or neither.
function readSpaces(file: Reader, normalizer: unknown, preTokenizer: unknown): Spaces {
  const spaces: Spaces = { prefix: 'never', prefixUnlessSpace: false, escapeSpaces: false, splitAtEverySpace: false };
  for (const { step, key } of file.steps(normalizer, 'normalizer', 'normalizers')) {
    if (step.type === 'Prepend' && !spaces.escapeSpaces && spaces.prefix === 'never') {
      if (step.prepend !== SPACE) file.fail(`${key}.prepend`, step.prepend, `only "${SPACE}" is supported`);
      spaces.prefix = 'always';
    } else if (step.type === 'Replace') {
      if (!replaces(step, ' ', SPACE)) file.fail(key, step, `only replacing " " by "${SPACE}" is supported`);
      spaces.escapeSpaces = true;
    } else {
      file.fail(`${key}.type`, step.type, 'only Prepend and then Replace are supported');
    }
  }
  if (spaces.prefix !== 'never' && !spaces.escapeSpaces)
    file.fail('normalizer', normalizer, `with Prepend a step that replaces " " by "${SPACE}" is expected`);
  const [metaspace, ...more] = file.steps(preTokenizer, 'pre_tokenizer', 'pretokenizers');
  if (!metaspace) return spaces;
  const { step, key } = metaspace;
  if (step.type !== 'Metaspace') file.fail(`${key}.type`, step.type, 'only Metaspace, or none, is supported');
  if (more.length > 0) file.fail(more[0].key, more[0].step, 'only one pre-tokenizer is supported');
  if (spaces.prefix !== 'never' || spaces.escapeSpaces)
    file.fail('normalizer', normalizer, 'with Metaspace only null is supported');
  if ((step.replacement ?? SPACE) !== SPACE) file.fail(`${key}.replacement`, step.replacement, `only "${SPACE}" is supported`);
  const fallback = file.flag(step.add_prefix_space, `${key}.add_prefix_space`, true) ? 'always' : 'never';
  const scheme = step.prepend_scheme ?? fallback;
  if (scheme !== 'always' && scheme !== 'first' && scheme !== 'never') {
    file.fail(`${key}.prepend_scheme`, scheme, 'always, first and never are supported');
  }
  const splitAtEverySpace = file.flag(step.split, `${key}.split`, true);
  return { prefix: scheme, prefixUnlessSpace: true, escapeSpaces: true, splitAtEverySpace };
}

// What decoding drops at the beginning: the text's first space, or the first piece's. The steps must be the known ones in an order that gives what
// is done here; fusing is always done.
function readDecoder(
  file: Reader,
  decoder: unknown,
  byteFallback: boolean,
): Pick<DecoderRules, 'stripPrefix' | 'stripFirstPiece' | 'stripPlainSpace'> {
  let [spaced, bytes, fused, strip, stripFirstPiece] = [false, false, false, false, false];
  for (const { step, key } of file.steps(decoder, 'decoder', 'decoders')) {
    if (step.type === 'Strip') {
      if (step.content !== ' ' || step.start !== 1 || step.stop !== 0 || !spaced || !fused || strip)
        file.fail(key, step, 'only stripping one " " at the start, once spaces are back and the text is fused, is supported');
      strip = true;
    } else if (step.type === 'Replace') {
      if (!replaces(step, SPACE, ' ')) file.fail(key, step, `only replacing "${SPACE}" by " " is supported`);
      spaced = true;
    } else if (step.type === 'Metaspace') {
      const scheme = step.prepend_scheme ?? (step.add_prefix_space === false ? 'never' : 'always');
      if ((step.replacement ?? SPACE) !== SPACE || fused || spaced)
        file.fail(key, step, `only one that comes first and replaces "${SPACE}" is supported`);
      spaced = true;
      stripFirstPiece = scheme !== 'never';
    } else if (step.type === 'ByteFallback') {
      if (fused) file.fail(key, step, 'it is supported before Fuse only');
      bytes = true;
    } else if (step.type === 'Fuse') fused = true;
    else file.fail(`${key}.type`, step.type, 'only Replace, ByteFallback, Fuse, Strip and Metaspace are supported');
  }
  if (!spaced) file.fail('decoder', decoder, `a step that replaces "${SPACE}" by " " is expected`);
  if (byteFallback && !bytes) file.fail('decoder', decoder, 'with model.byte_fallback a step ByteFallback is expected');
  return { stripPrefix: strip, stripFirstPiece, stripPlainSpace: strip };
}

function replaces(step: Json, from: string, to: string): boolean {
  const pattern = step.pattern as Json | null | undefined;
  return pattern?.String === from && step.content === to;
}

// The pieces by id; ids must run from 0 without gaps once the added tokens are in.
function readPieces(file: Reader, vocab: Json, unknown: unknown): string[] {
  const entries = Object.entries(vocab);
  if (entries.length > MAX_PIECES) file.fail('model.vocab', entries.length, `at most ${MAX_PIECES} pieces are supported`);
  if (unknown != null && !Object.hasOwn(vocab, String(unknown))) {
    file.fail('model.unk_token', unknown, 'it must be a piece of model.vocab');
  }
  const pieces: string[] = [];
  for (const [piece, id] of entries) {
    const key = `model.vocab[${shown(piece)}]`;
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= entries.length) {
      file.fail(key, id, `an id from 0 to ${entries.length - 1} is expected: one for each piece, without gaps`);
    }
    if (pieces[id as number] !== undefined) file.fail(key, id, `${shown(pieces[id as number])} has that id too`);
    pieces[id as number] = piece;
  }
  return pieces;
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  special: boolean;
  readonly normalized: boolean;
  rule?: TokenRule;
}

// The added tokens; those past the vocabulary are appended to `pieces`.
function readAddedTokens(file: Reader, value: unknown, pieces: string[]): AddedToken[] {
  if (value == null) return [];
  const tokens = file.list(value, 'added_tokens').map((one, i): AddedToken => {
    const key = `added_tokens[${i}]`;
    const token = file.object(one, key);
    const content = file.text(token.content, `${key}.content`);
    if (content === '') file.fail(`${key}.content`, content, 'a text is expected');
    if (!Number.isInteger(token.id) || (token.id as number) < 0) file.fail(`${key}.id`, token.id, 'an id is expected');
    const rule = tokenRule(token, (option, value) => file.fail(`${key}.${option}`, value, 'true or false is expected'));
    const special = file.flag(token.special, `${key}.special`);
    const normalized = file.flag(token.normalized, `${key}.normalized`);
    return { id: token.id as number, content, special, normalized, rule };
  });
  tokens.sort((a, b) => a.id - b.id);
  for (const { id, content } of tokens) {
    const key = `the id of added token ${shown(content)}`;
    if (id > pieces.length) file.fail(key, id, `${pieces.length} is expected: ids must have no gaps`);
    if (id < pieces.length && pieces[id] !== content) {
      file.fail(key, id, `that is the id of ${shown(pieces[id])}`);
    }
    pieces[id] = content;
  }
  return tokens;
}

// The added tokens of `tokenizer_config.json`: they may say more of those that the file has, and add others.
function addBeside(pieces: string[], added: AddedToken[], { added: beside = [] }: SpecialPieces, name: string): void {
  for (const token of beside) {
    const known = added.find(({ content }) => content === token.content);
    if (known) {
      known.rule = token.rule ?? known.rule;
      known.special ||= token.special;
      continue;
    }
    if (token.id > pieces.length || (pieces[token.id] ?? token.content) !== token.content) {
      throw new InputError(
        `${name}: the added token ${shown(token.content)} has the id ${token.id}, which is taken or leaves a gap`,
      );
    }
    pieces[token.id] = token.content;
    added.push({ ...token, normalized: false });
  }
}

// Special tokens that are named elsewhere are added tokens too, as in transformers; those in no vocabulary follow behind it.
function addNamed(pieces: string[], added: AddedToken[], { named = [], namedRules }: SpecialPieces): void {
  if (named.length === 0) return;
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  const byContent = new Map(added.map((token) => [token.content, token]));
  for (const content of new Set(named)) {
    const known = byContent.get(content);
    if (known) known.special = true;
    else {
      const id = ids.get(content) ?? pieces.length;
      pieces[id] = content;
      added.push({ id, content, special: true, normalized: false, rule: namedRules?.get(content) });
    }
  }
}

// The ids of added tokens by the texts that they are found by: in template text, in any text as it is, in normalized text.
function tokensByText(added: readonly AddedToken[], normalize: (content: string) => string) {
  const specialTokens = new Map<string, number>();
  const normalizedSpecialTokens = new Map<string, number>();
  const rawTokens = new Map<string, number>();
  const normalizedTokens = new Map<string, number>();
  const tokenRules = new Map<string, TokenRule>();
  for (const { id, content, special, normalized, rule } of added) {
    const text = normalized ? normalize(content) : content;
    if (special) {
      specialTokens.set(content, id);
      if (normalized) normalizedSpecialTokens.set(text, id);
    } else (normalized ? normalizedTokens : rawTokens).set(text, id);
    if (rule) tokenRules.set(text, rule);
  }
  return { specialTokens, normalizedSpecialTokens, rawTokens, normalizedTokens, tokenRules };
}

// The normalizer goes over the text of an added token with `normalized: true` as over any text.
function normalizedContent(content: string, spaces: Spaces): string {
  const prefixed = spaces.prefix === 'always' ? SPACE + content : content;
  return spaces.escapeSpaces ? prefixed.replaceAll(' ', SPACE) : prefixed;
}

// "a b" or ["a", "b"], in order of rank.
function readMerges(file: Reader, value: unknown): (readonly [string, string])[] {
  const merges = file.list(value, 'model.merges');
  if (merges.length > MAX_PIECES * 4) file.fail('model.merges', merges.length, `at most ${MAX_PIECES * 4} are supported`);
  return merges.map((merge, i) => {
    const parts: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    if (!Array.isArray(parts) || parts.length !== 2 || !parts.every((part) => typeof part === 'string' && part !== '')) {
      file.fail(`model.merges[${i}]`, merge, 'two pieces are expected');
    }
    return parts as [string, string];
  });
}
