// What a `tokenizer.model` of SentencePiece holds: the fields of its ModelProto (sentencepiece_model.proto) that are of use here, with the
// proto's defaults for what it leaves out. Whether that can be a tokenizer is sentencepiece.ts's to say.

import { InputError } from '../errors.js';
import { ProtoReader, Wire } from './protobuf.js';
import { PieceKind } from './vocabulary.js';

/** A ModelProto. Piece i is `bytes[starts[i], ends[i])`. */
export type SentencePieceModel = ReturnType<typeof emptyModel> & { bytes: Uint8Array };

function emptyModel() {
  return {
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
    /** Bytes of normalization rules. */
    normalizerMap: 0,
    denormalizerMap: 0,
    dummyPrefix: true,
    removeExtraSpaces: true,
    escapeSpaces: true,
  };
}

/** Reads a copy of the bytes; `name` is the file for messages. Throws `InputError` for a damaged file. */
export function readModel(source: Uint8Array, name: string): SentencePieceModel {
  const bytes = source.slice(); // the vocabulary keeps it
  const model = { ...emptyModel(), bytes };
  const outer = new ProtoReader(bytes, name);
  const inner = new ProtoReader(bytes, name);
  while (outer.next()) {
    const read = readers[outer.field];
    if (!read) continue;
    outer.expect(Wire.bytes);
    read(inner.open(outer.start, outer.end), model);
  }
  return model;
}

/** By the field of ModelProto that the message is. */
const readers: Readonly<Record<number, (reader: ProtoReader, model: SentencePieceModel) => void>> = {
  1: readPiece,
  2: readTrainer,
  3: readNormalizer,
  5: readDenormalizer,
};

function readPiece(reader: ProtoReader, model: SentencePieceModel): void {
  let [start, end] = [0, 0];
  let score = 0;
  let kind: number = PieceKind.normal;
  while (reader.next()) {
    if (reader.field === 1) {
      reader.expect(Wire.bytes);
      ({ start, end } = reader);
    } else if (reader.field === 2) score = reader.float();
    else if (reader.field === 3) kind = reader.int();
  }
  const { name } = reader;
  const id = model.starts.length;
  if (Number.isNaN(score)) throw new InputError(`${name}: the score of piece ${id} is not a number; the file is damaged`);
  if (kind < 1 || kind > 6) throw new InputError(`${name}: piece ${id} is of the unknown type ${kind}; types are 1 to 6`);
  model.starts.push(start);
  model.ends.push(end);
  model.scores.push(score);
  model.kinds.push(kind);
}

function readTrainer(reader: ProtoReader, model: SentencePieceModel): void {
  while (reader.next()) {
    if (reader.field === 3) model.modelType = reader.int();
    else if (reader.field === 24) model.spaceAsSuffix = reader.bool();
    else if (reader.field === 35) model.byteFallback = reader.bool();
    else if (reader.field === 44) model.unknownSurface = reader.string();
    else if (reader.field === 46) model.bosPiece = reader.string();
    else if (reader.field === 47) model.eosPiece = reader.string();
    else if (reader.field === 48) model.padPiece = reader.string();
  }
}

function readNormalizer(reader: ProtoReader, model: SentencePieceModel): void {
  while (reader.next()) {
    if (reader.field === 2) model.normalizerMap = bytesOf(reader);
    else if (reader.field === 3) model.dummyPrefix = reader.bool();
    else if (reader.field === 4) model.removeExtraSpaces = reader.bool();
    else if (reader.field === 5) model.escapeSpaces = reader.bool();
  }
}

function readDenormalizer(reader: ProtoReader, model: SentencePieceModel): void {
  while (reader.next()) if (reader.field === 2) model.denormalizerMap = bytesOf(reader);
}

function bytesOf(reader: ProtoReader): number {
  reader.expect(Wire.bytes);
  return reader.end - reader.start;
}
