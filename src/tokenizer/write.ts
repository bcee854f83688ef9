// Writes SentencePiece's `tokenizer.model` (a ModelProto of sentencepiece_model.proto) for a BPE vocabulary with byte fallback
// and identity normalization; sentencepiece.ts reads it back. No other model types.

import { withRoom } from '../io/grow.js';
import { type PieceBytes, PieceKind } from './vocabulary.js';

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
  const texts = pieces.map(({ text }) => utf8.encode(text));
  const starts = new Int32Array(texts.length);
  const ends = new Int32Array(texts.length);
  for (let id = 0, at = 0; id < texts.length; id++) {
    starts[id] = at;
    at += texts[id].length;
    ends[id] = at;
  }
  const bytes = new Uint8Array(ends.at(-1) ?? 0);
  for (let id = 0; id < texts.length; id++) bytes.set(texts[id], starts[id]);
  const kinds = Uint8Array.from(pieces, ({ kind }) => PieceKind[kind]);
  return writePieces(
    { bytes, starts, ends, kinds },
    Float32Array.from(pieces, ({ score }) => score),
    spec,
  );
}

/** The same of pieces as bytes. */
export function writePieces({ bytes, starts, ends, kinds }: PieceBytes, scores: ArrayLike<number>, spec: ModelSpec): Uint8Array {
  const { characterCoverage = 0.9995, splitDigits = false, maxPieceLength = 16 } = spec;
  const { byteFallback = true, dummyPrefix = true, removeExtraSpaces = false } = spec;
  const model = new ProtoWriter();
  const piece = new ProtoWriter();
  for (let id = 0; id < starts.length; id++) {
    piece.clear().field(1, bytes, starts[id], ends[id]).float(2, scores[id]);
    if (kinds[id] !== PieceKind.normal) piece.number(3, kinds[id]);
    model.message(1, piece);
  }
  const trainer = new ProtoWriter()
    .number(3, 2) // model_type: BPE
    .number(4, starts.length) // vocab_size
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
  return model.message(2, trainer).message(3, normalizer).bytes().slice();
}

const utf8 = new TextEncoder();
const float = new Float32Array(1);
const floatBytes = new Uint8Array(float.buffer);

/** Appends fields in protobuf's wire format. */
class ProtoWriter {
  private data = new Uint8Array(64);
  private length = 0;

  number(field: number, value: number): this {
    return this.varint(field * 8).varint(value);
  }

  float(field: number, value: number): this {
    this.varint(field * 8 + 5).reserve(4);
    float[0] = value;
    for (const byte of floatBytes) this.data[this.length++] = byte;
    return this;
  }

  text(field: number, value: string): this {
    const bytes = utf8.encode(value);
    return this.field(field, bytes, 0, bytes.length);
  }

  message(field: number, { data, length }: ProtoWriter): this {
    return this.field(field, data, 0, length);
  }

  /** Bytes [start, end). */
  field(field: number, from: Uint8Array, start: number, end: number): this {
    this.varint(field * 8 + 2)
      .varint(end - start)
      .reserve(end - start);
    for (let i = start; i < end; i++) this.data[this.length++] = from[i]; // a few: set() would take longer
    return this;
  }

  clear(): this {
    this.length = 0;
    return this;
  }

  /** Valid until more is written. */
  bytes(): Uint8Array {
    return this.data.subarray(0, this.length);
  }

  // Negative numbers are ten bytes, of the value modulo 2^64.
  private varint(value: number): this {
    this.reserve(10);
    let rest = value;
    if (value < 0) {
      let wide = BigInt.asUintN(64, BigInt(value));
      for (; wide > 0x7fffffffn; wide >>= 7n) this.data[this.length++] = Number(wide & 127n) | 128;
      rest = Number(wide);
    }
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.data[this.length++] = (rest % 128) | 128;
    this.data[this.length++] = rest;
    return this;
  }

  private reserve(bytes: number): void {
    this.data = withRoom(this.data, this.length, bytes);
  }
}
