// A Tokenizer of SentencePiece's `tokenizer.model`. BPE models with the identity normalization only; anything that would change ids and
// is not done here is refused by name. What the file's bytes say is sentencepiece-model.ts's.

import { InputError, shown } from '../errors.js';
import { Characters } from './characters.js';
import type { AddedToken, TokenizerDecisions } from './decisions.js';
import { ScoredPairs } from './pairs.js';
import { readModel, type SentencePieceModel } from './sentencepiece-model.js';
import type { TokenRule } from './stretches.js';
import { Tokenizer } from './tokenizer.js';
import { PieceKind, Vocabulary } from './vocabulary.js';

const MODEL_TYPES = ['', 'UNIGRAM', 'BPE', 'WORD', 'CHAR'];

/**
 * A tokenizer from the bytes of a `tokenizer.model`; `name` is the file for messages. The ids of bos, eos and pad are those of
 * the control pieces that trainer_spec names, as in SentencePiece, unless `decisions` name others. Throws `InputError` for a damaged or unsupported file.
 */
export function tokenizerFromModel(bytes: Uint8Array, name = 'tokenizer.model', decisions?: TokenizerDecisions): Tokenizer {
  const model = readModel(bytes, name);
  refuseUnsupported(model, name);
  const trained = model.starts.length;
  const added = appendTokens(model, decisions, name);
  const kinds = new Uint8Array(model.kinds);
  const scores = new Float32Array(model.scores);
  const vocabulary = new Vocabulary(
    { bytes: model.bytes, starts: new Int32Array(model.starts), ends: new Int32Array(model.ends), kinds },
    name,
  );
  if (vocabulary.unknownId < 0) throw new InputError(`${name}: none of its ${trained} pieces is of type UNKNOWN; one must be`);
  if (model.byteFallback) vocabulary.requireBytes(name);
  const characters = new Characters(vocabulary);
  const pairs = new ScoredPairs(vocabulary, characters, scores);

  const found = piecesFound(model, vocabulary, { kinds, trained, isSpecial: specialBy(model, decisions, added) }, name);
  const { specialTokens, normalizedTokens } = found;
  const rawTokens = new Map<string, number>();
  const tokenRules = new Map<string, TokenRule>();
  for (const { id, content, special, rule } of added) {
    if (rule) tokenRules.set(content, rule);
    if (special) specialTokens.set(content, id);
    else if (!specialTokens.has(content) && !normalizedTokens.has(content)) rawTokens.set(content, id);
  }
  const controlId = (piece: string): number => {
    const id = vocabulary.idOf(piece);
    return id !== undefined && kinds[id] === PieceKind.control ? id : -1;
  };
  const named = (text: string | null | undefined, piece: string): number => {
    if (text === undefined) return controlId(piece);
    return text === null ? -1 : (specialTokens.get(text) ?? vocabulary.idOf(text) ?? -1);
  };
  const padId = named(decisions?.pad, model.padPiece);
  return new Tokenizer({
    vocabulary,
    characters,
    pairs,
    scores: () => scores,
    bosId: named(decisions?.bos, model.bosPiece),
    eosId: named(decisions?.eos, model.eosPiece),
    addBos: decisions?.addBos,
    addEos: decisions?.addEos,
    padId: padId < 0 ? undefined : padId,
    byteFallback: model.byteFallback,
    fuseUnknown: true,
    splitAtEverySpace: false,
    prefix: decisions?.prefix ?? (model.dummyPrefix ? 'always' : 'never'),
    prefixUnlessSpace: decisions?.prefix !== undefined,
    removeExtraSpaces: model.removeExtraSpaces,
    escapeSpaces: model.escapeSpaces,
    stripPrefix: model.dummyPrefix && decisions?.prefix !== 'never',
    stripLeadingSpaces: model.removeExtraSpaces && decisions?.prefix !== 'never',
    unknownSurface: model.unknownSurface,
    specialTokens,
    rawTokens,
    normalizedTokens,
    tokenRules,
    names: { unk_token: vocabulary.text(vocabulary.unknownId)!, ...decisions?.names },
  });
}

/** Throws `InputError` on what would change ids and is not done here. */
function refuseUnsupported(model: SentencePieceModel, name: string): void {
  const { modelType } = model;
  if (model.starts.length === 0) throw new InputError(`${name}: holds no pieces; it is not a tokenizer model, or it was cut off`);
  if (modelType !== 2) {
    throw new InputError(`${name}: model_type is ${MODEL_TYPES[modelType] ?? modelType}; only BPE models are supported`);
  }
  for (const [spec, charsMap] of [
    ['normalizer_spec', model.normalizerMap],
    ['denormalizer_spec', model.denormalizerMap],
  ] as const) {
    if (charsMap > 0) {
      throw new InputError(
        `${name}: ${spec}.precompiled_charsmap holds ${charsMap} bytes of rules; only identity normalization (none) is supported`,
      );
    }
  }
  if (model.spaceAsSuffix) throw new InputError(`${name}: trainer_spec.treat_whitespace_as_suffix is not supported`);
}

/** Which control pieces are special tokens: all, unless the decisions say that only named ones are. */
function specialBy(
  model: SentencePieceModel,
  decisions: TokenizerDecisions | undefined,
  added: readonly AddedToken[],
): (text: string) => boolean {
  if (!decisions?.namedOnly) return () => true;
  const names = new Set([...(decisions.named ?? []), ...added.map(({ content }) => content)]);
  if (decisions.bos === undefined) names.add(model.bosPiece);
  if (decisions.eos === undefined) names.add(model.eosPiece);
  return (text) => names.has(text);
}

interface Kinds {
  /** Of each piece. */
  readonly kinds: Uint8Array;
  /** So many pieces were there before any was added. */
  readonly trained: number;
  readonly isSpecial: (text: string) => boolean;
}

/** The ids of pieces that a text is cut at, by their texts: special tokens, and those that users defined when it was trained. */
function piecesFound(
  model: SentencePieceModel,
  vocabulary: Vocabulary,
  { kinds, trained, isSpecial }: Kinds,
  name: string,
): { specialTokens: Map<string, number>; normalizedTokens: Map<string, number> } {
  const specialTokens = new Map<string, number>();
  const normalizedTokens = new Map<string, number>();
  for (const id of vocabulary.unusualIds) {
    const kind = kinds[id];
    const text = (): string => vocabulary.text(id)!;
    if (kind === PieceKind.unknown || (kind === PieceKind.control && isSpecial(text()))) specialTokens.set(text(), id);
    if (kind === PieceKind.byte && !model.byteFallback) {
      throw new InputError(`${name}: piece ${id} is of type BYTE but trainer_spec.byte_fallback is off`);
    }
    if (kind !== PieceKind.userDefined || id >= trained) continue;
    // SentencePiece leaves the spaces inside such a piece alone; a single one stays in any case.
    if (model.removeExtraSpaces && text().includes('  ')) {
      throw new InputError(
        `${name}: user-defined piece ${id} holds spaces in a row, which remove_extra_whitespaces does not go with here`,
      );
    }
    normalizedTokens.set(text(), id);
  }
  return { specialTokens, normalizedTokens };
}

/**
 * Puts added tokens behind the trained pieces, and special tokens that are named but in no vocabulary behind those, as transformers
 * does. Returns all of them, with those that the pieces have already.
 */
function appendTokens(model: SentencePieceModel, decisions: TokenizerDecisions | undefined, name: string): AddedToken[] {
  if (!decisions) return [];
  const decoder = new TextDecoder();
  const text = (id: number) => decoder.decode(model.bytes.subarray(model.starts[id], model.ends[id]));
  const { trained, added } = { trained: model.starts.length, added: [...decisions.added] };
  const known = new Set(added.map(({ content }) => content));
  const named = (decisions.named ?? []).filter((token) => !known.has(token));
  if (named.length > 0) {
    const ids = new Map(named.map((token) => [token, -1]));
    for (let id = 0; id < trained; id++) if (ids.has(text(id))) ids.set(text(id), id);
    let next = Math.max(trained, (added.at(-1)?.id ?? -1) + 1);
    for (const [content, id] of ids)
      added.push({
        id: id < 0 ? next++ : id,
        content,
        special: true,
        // Control pieces that the model file itself has are plain ones, unless a list stands in their place.
        ...((id < 0 || decisions.namedOnly || model.kinds[id] === PieceKind.unknown) && {
          rule: decisions.namedRules?.get(content),
        }),
      });
  }
  const encoder = new TextEncoder();
  const bytes: Uint8Array[] = [model.bytes];
  let end = model.bytes.length;
  for (const { id, content, special } of added) {
    if (id < trained) {
      if (text(id) !== content)
        throw new InputError(`${name}: the added token ${shown(content)} has the id of ${shown(text(id))}, ${id}`);
      if (special && model.kinds[id] === PieceKind.normal) model.kinds[id] = PieceKind.control;
      continue;
    }
    if (id !== model.starts.length) {
      throw new InputError(
        `${name}: the added token ${shown(content)} has the id ${id}, but ${model.starts.length} is the next: ids must have no gaps`,
      );
    }
    const encoded = encoder.encode(content);
    bytes.push(encoded);
    model.starts.push(end);
    end += encoded.length;
    model.ends.push(end);
    model.scores.push(0);
    model.kinds.push(special ? PieceKind.control : PieceKind.userDefined);
  }
  if (bytes.length > 1) {
    const joined = new Uint8Array(end);
    let at = 0;
    for (const part of bytes) {
      joined.set(part, at);
      at += part.length;
    }
    model.bytes = joined;
  }
  return added;
}
