// Reads SentencePiece's `tokenizer.model` (a ModelProto of sentencepiece_model.proto) into a Tokenizer. BPE models with the
// identity normalization only; anything that would change ids and is not done here is refused by name.

import { InputError, shown } from '../errors.js';
import { Characters } from './characters.js';
import type { AddedToken, TokenizerDecisions } from './decisions.js';
import { ScoredPairs } from './pairs.js';
import { ProtoReader, Wire } from './protobuf.js';
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
  const { modelType, byteFallback } = model;
  const count = model.starts.length;
  if (count === 0) throw new InputError(`${name}: holds no pieces; it is not a tokenizer model, or it was cut off`);
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

  const trained = count;
  const added = appendTokens(model, decisions, name);
  const kinds = new Uint8Array(model.kinds);
  const scores = new Float32Array(model.scores);
  const vocabulary = new Vocabulary(
    { bytes: model.bytes, starts: new Int32Array(model.starts), ends: new Int32Array(model.ends), kinds },
    name,
  );
  if (vocabulary.unknownId < 0) throw new InputError(`${name}: none of its ${count} pieces is of type UNKNOWN; one must be`);
  if (byteFallback) vocabulary.requireBytes(name);
  const characters = new Characters(vocabulary);
  const pairs = new ScoredPairs(vocabulary, characters, scores);

  const names = new Set([...(decisions?.named ?? []), ...added.map(({ content }) => content)]);
  if (decisions?.bos === undefined) names.add(model.bosPiece);
  if (decisions?.eos === undefined) names.add(model.eosPiece);
  const specialTokens = new Map<string, number>();
  const normalizedTokens = new Map<string, number>();
  for (const id of vocabulary.unusualIds) {
    if (kinds[id] === PieceKind.control || kinds[id] === PieceKind.unknown) {
      const text = vocabulary.text(id)!;
      if (kinds[id] === PieceKind.unknown || !decisions?.namedOnly || names.has(text)) specialTokens.set(text, id);
    }
    if (kinds[id] === PieceKind.byte && !byteFallback) {
      throw new InputError(`${name}: piece ${id} is of type BYTE but trainer_spec.byte_fallback is off`);
    }
    if (kinds[id] !== PieceKind.userDefined || id >= trained) continue;
    const text = vocabulary.text(id)!;
    if (model.removeExtraSpaces && text.includes(' ')) {
      throw new InputError(
        `${name}: user-defined piece ${id} holds a space, which remove_extra_whitespaces does not go with here`,
      );
    }
    normalizedTokens.set(text, id);
  }
  const controlId = (piece: string): number => {
    const id = vocabulary.idOf(piece);
    return id !== undefined && kinds[id] === PieceKind.control ? id : -1;
  };
  const rawTokens = new Map<string, number>();
  const tokenRules = new Map<string, TokenRule>();
  for (const { id, content, special, rule } of added) {
    if (rule) tokenRules.set(content, rule);
    if (special) specialTokens.set(content, id);
    else if (!specialTokens.has(content) && !normalizedTokens.has(content)) rawTokens.set(content, id);
  }
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
    byteFallback,
    fuseUnknown: true,
    splitAtEverySpace: false,
    prefix: decisions?.prefix ?? (model.dummyPrefix ? 'always' : 'never'),
    prefixUnlessSpace: decisions?.prefix !== undefined,
    removeExtraSpaces: model.removeExtraSpaces,
    escapeSpaces: model.escapeSpaces,
    stripPrefix: model.dummyPrefix,
    stripLeadingSpaces: model.removeExtraSpaces,
    unknownSurface: model.unknownSurface,
    specialTokens,
    rawTokens,
    normalizedTokens,
    tokenRules,
  });
}

/**
 * Puts added tokens behind the trained pieces, and special tokens that are named but in no vocabulary behind those, as transformers
 * does. Returns all of them, with those that the pieces have already.
 */
function appendTokens(
  model: ReturnType<typeof readModel>,
  decisions: TokenizerDecisions | undefined,
  name: string,
): AddedToken[] {
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
        ...(id < 0 && { rule: decisions.namedRules?.get(content) }),
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

// What the file holds, with the proto's defaults for what it leaves out.
function readModel(source: Uint8Array, name: string) {
  const bytes = source.slice(); // the vocabulary keeps it
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const text = (reader: ProtoReader): string => {
    reader.expect(Wire.bytes);
    return decoder.decode(bytes.subarray(reader.start, reader.end));
  };
  const flag = (reader: ProtoReader): boolean => {
    reader.expect(Wire.varint);
    return reader.value !== 0;
  };
  const model = {
    bytes,
    starts: [] as number[],
    ends: [] as number[],
    scores: [] as number[],
    kinds: [] as number[],
    modelType: 1,
    byteFallback: false,
    spaceAsSuffix: false,
    bosPiece: '<s>',
    eosPiece: '</s>',
    padPiece: '<pad>',
    unknownSurface: ' \u2047 ',
    normalizerMap: 0,
    denormalizerMap: 0,
    dummyPrefix: true,
    removeExtraSpaces: true,
    escapeSpaces: true,
  };
  const inner = new ProtoReader(bytes, name);

  const readPiece = (start: number, end: number): void => {
    let pieceStart = start;
    let pieceEnd = start;
    let score = 0;
    let kind: number = PieceKind.normal;
    inner.open(start, end);
    while (inner.next()) {
      if (inner.field === 1) {
        inner.expect(Wire.bytes);
        pieceStart = inner.start;
        pieceEnd = inner.end;
      } else if (inner.field === 2) {
        inner.expect(Wire.fixed32);
        score = view.getFloat32(inner.start, true);
      } else if (inner.field === 3) {
        inner.expect(Wire.varint);
        kind = inner.value;
      }
    }
    const id = model.starts.length;
    if (Number.isNaN(score)) throw new InputError(`${name}: the score of piece ${id} is not a number; the file is damaged`);
    if (kind < 1 || kind > 6) throw new InputError(`${name}: piece ${id} is of the unknown type ${kind}; types are 1 to 6`);
    model.starts.push(pieceStart);
    model.ends.push(pieceEnd);
    model.scores.push(score);
    model.kinds.push(kind);
  };
  const readTrainer = (start: number, end: number): void => {
    inner.open(start, end);
    while (inner.next()) {
      if (inner.field === 3) {
        inner.expect(Wire.varint);
        model.modelType = inner.value;
      } else if (inner.field === 24) model.spaceAsSuffix = flag(inner);
      else if (inner.field === 35) model.byteFallback = flag(inner);
      else if (inner.field === 44) model.unknownSurface = text(inner);
      else if (inner.field === 46) model.bosPiece = text(inner);
      else if (inner.field === 47) model.eosPiece = text(inner);
      else if (inner.field === 48) model.padPiece = text(inner);
    }
  };
  const readNormalizer = (start: number, end: number): void => {
    inner.open(start, end);
    while (inner.next()) {
      if (inner.field === 2) {
        inner.expect(Wire.bytes);
        model.normalizerMap = inner.end - inner.start;
      } else if (inner.field === 3) model.dummyPrefix = flag(inner);
      else if (inner.field === 4) model.removeExtraSpaces = flag(inner);
      else if (inner.field === 5) model.escapeSpaces = flag(inner);
    }
  };
  const readDenormalizer = (start: number, end: number): void => {
    inner.open(start, end);
    while (inner.next()) {
      if (inner.field === 2) {
        inner.expect(Wire.bytes);
        model.denormalizerMap = inner.end - inner.start;
      }
    }
  };

  const outer = new ProtoReader(bytes, name);
  const readers = new Map([
    [1, readPiece],
    [2, readTrainer],
    [3, readNormalizer],
    [5, readDenormalizer],
  ]);
  while (outer.next()) {
    const read = readers.get(outer.field);
    if (!read) continue;
    outer.expect(Wire.bytes);
    read(outer.start, outer.end);
  }
  return model;
}
