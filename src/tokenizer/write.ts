// Writes SentencePiece's `tokenizer.model` (a ModelProto of sentencepiece_model.proto) for a BPE vocabulary with byte fallback
// and identity normalization; sentencepiece.ts reads it back. No other model types.

import { withRoom } from '../io/grow.js';
import { PieceKind } from './vocabulary.js';

export interface ModelPiece {
  readonly text: string;
  /** Pieces of higher score merge first. */
  readonly score: number;
  readonly kind: keyof typeof PieceKind;
}

/** What the file tells of how it was trained, and of how spaces are written. */
export interface ModelSpec {
  readonly characterCoverage?: number;
  readonly splitDigits?: boolean;
  readonly maxPieceLength?: number;
  /** Default true. */
  readonly byteFallback?: boolean;
  /** A space is put in front of a text; default true. */
  readonly dummyPrefix?: boolean;
  /** Default false. */
  readonly removeExtraSpaces?: boolean;
}

/** The bytes of a `tokenizer.model`. The first three pieces are taken for the unknown piece, the text's beginning and its end. */
export function writeTokenizerModel(pieces: readonly ModelPiece[], spec: ModelSpec): Uint8Array {
  const { characterCoverage = 0.9995, splitDigits = false, maxPieceLength = 16 } = spec;
  const { byteFallback = true, dummyPrefix = true, removeExtraSpaces = false } = spec;
  const model = new ProtoWriter();
  for (const { text, score, kind } of pieces) {
    const piece = new ProtoWriter().text(1, text).float(2, score);
    if (kind !== 'normal') piece.number(3, PieceKind[kind]);
    model.message(1, piece);
  }
  const trainer = new ProtoWriter()
    .number(3, 2) // model_type: BPE
    .number(4, pieces.length) // vocab_size
    .float(10, characterCoverage)
    .number(20, maxPieceLength) // max_sentencepiece_length
    .number(21, 1) // split_by_unicode_script
    .number(22, 1) // split_by_whitespace
    .number(23, 1) // split_by_number
    .number(25, Number(splitDigits))
    .number(26, 1) // allow_whitespace_only_pieces
    .number(35, Number(byteFallback))
    .number(40, 0) // unk_id, bos_id, eos_id, pad_id
    .number(41, 1)
    .number(42, 2)
    .number(43, -1);
  const normalizer = new ProtoWriter()
    .text(1, 'identity')
    .number(3, Number(dummyPrefix)) // add_dummy_prefix
    .number(4, Number(removeExtraSpaces)) // remove_extra_whitespaces
    .number(5, 1); // escape_whitespaces
  return model.message(2, trainer).message(3, normalizer).bytes();
}

const utf8 = new TextEncoder();

/** Appends fields in protobuf's wire format. */
class ProtoWriter {
  private data = new Uint8Array(64);
  private length = 0;

  number(field: number, value: number): this {
    return this.varint(field * 8).varint(value);
  }

  float(field: number, value: number): this {
    this.varint(field * 8 + 5).reserve(4);
    new DataView(this.data.buffer).setFloat32(this.length, value, true);
    this.length += 4;
    return this;
  }

  text(field: number, value: string): this {
    return this.field(field, utf8.encode(value));
  }

  message(field: number, value: ProtoWriter): this {
    return this.field(field, value.bytes());
  }

  bytes(): Uint8Array {
    return this.data.slice(0, this.length);
  }

  private field(field: number, value: Uint8Array): this {
    this.varint(field * 8 + 2)
      .varint(value.length)
      .reserve(value.length);
    this.data.set(value, this.length);
    this.length += value.length;
    return this;
  }

  // Negative numbers are ten bytes, of the value modulo 2^64.
  private varint(value: number): this {
    this.reserve(10);
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest >= 128n; rest >>= 7n) this.data[this.length++] = Number(rest & 127n) | 128;
    this.data[this.length++] = Number(rest);
    return this;
  }

  private reserve(bytes: number): void {
    this.data = withRoom(this.data, this.length, bytes);
  }
}
