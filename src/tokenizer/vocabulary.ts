// The pieces of a vocabulary: their bytes in one arena, their kinds, and a hash table from bytes to id. Strings are made only
// when asked for, so that 32,000 pieces load in milliseconds. It knows nothing of merging (pairs.ts, merger.ts).

import { InputError, shown } from '../errors.js';
import { isUtf8 } from './utf8.js';

/** What a piece is, with SentencePiece's numbers (ModelProto.SentencePiece.Type). */
export const PieceKind = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** The space symbol of SentencePiece, U+2581. */
export const SPACE = '▁';
export const SPACE_UNIT = 0x2581;

/** More pieces than any vocabulary has; it keeps (merge rank, position) within the exact integers of a double. */
export const MAX_PIECES = 1 << 20;

// The hash of bytes s is sum s[i] * HASH_BASE^i mod 2^32: that of two strings joined follows from theirs (pairs.ts).
export const HASH_BASE = 0x01000193;

/** Pieces as bytes: piece i is `bytes[starts[i], ends[i])` in UTF-8, of kind `kinds[i]`. */
export interface PieceBytes {
  readonly bytes: Uint8Array;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  readonly kinds: Uint8Array;
}

/** Where the bytes of symbols lie: those of pieces, or more. */
export interface SymbolBytes {
  readonly bytes: Uint8Array;
  readonly starts: ArrayLike<number>;
  readonly ends: ArrayLike<number>;
}

export class Vocabulary {
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  readonly kinds: Uint8Array;
  /** Byte value of a byte piece, by id; -1 for the others. */
  readonly byteValues: Int16Array;
  /** Id of the piece for each byte, or -1. */
  readonly byteIds = new Int32Array(256).fill(-1);
  readonly unknownId: number;
  /** Ids of the pieces that are not normal ones. */
  readonly unusualIds: number[] = [];
  /** Bytes of the longest piece. */
  readonly longest: number;
  readonly hasUnused: boolean;
  /** Hash of each piece's bytes (see HASH_BASE). */
  readonly hashes: Int32Array;
  private readonly slots: Int32Array; // id + 1 of the normal, user-defined or unused piece there; 0: free
  private readonly reserved = new Map<string, number>(); // control, unknown and byte pieces by their text
  private readonly texts: (string | undefined)[] = [];
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  /** Checks the pieces (UTF-8, none empty or twice, at most one unknown) and indexes them; `name` is the file for messages. */
  constructor(pieces: PieceBytes, name: string) {
    const { bytes, starts, ends, kinds } = pieces;
    this.size = starts.length;
    if (this.size > MAX_PIECES) throw new InputError(`${name}: holds ${this.size} pieces, more than the ${MAX_PIECES} supported`);
    this.bytes = bytes;
    this.starts = starts;
    this.ends = ends;
    this.kinds = kinds;
    this.byteValues = new Int16Array(this.size).fill(-1);
    this.hashes = new Int32Array(this.size);
    this.slots = new Int32Array(1 << (33 - Math.clz32(this.size))); // at most half full
    this.longest = this.indexPieces(name);
    this.unknownId = this.indexReserved(name);
    this.hasUnused = kinds.includes(PieceKind.unused);
  }

  // One loop over all bytes, with everything in locals: it runs once, cold, and is most of the loading time.
  private indexPieces(name: string): number {
    const { bytes, starts, ends, kinds, hashes, slots, size } = this;
    const mask = slots.length - 1;
    let longest = 0;
    for (let id = 0; id < size; id++) {
      const start = starts[id];
      const end = ends[id];
      let hash = 0;
      let power = 1;
      let ascii = 0;
      for (let at = start; at < end; at++) {
        const byte = bytes[at];
        hash = (hash + Math.imul(byte, power)) | 0;
        power = Math.imul(power, HASH_BASE);
        ascii |= byte;
      }
      if (start === end) throw new InputError(`${name}: piece ${id} is empty; the file is damaged`);
      if (ascii >= 0x80 && !isUtf8(bytes, start, end)) {
        throw new InputError(`${name}: piece ${id} is not valid UTF-8; the file is damaged`);
      }
      hashes[id] = hash;
      if (end - start > longest) longest = end - start;
      const kind = kinds[id];
      if (kind !== PieceKind.normal) this.unusualIds.push(id);
      if (kind === PieceKind.control || kind === PieceKind.unknown || kind === PieceKind.byte) continue;
      let slot = firstSlot(hash) & mask;
      while (slots[slot] !== 0) {
        const other = slots[slot] - 1;
        if (hashes[other] === hash && ends[other] - starts[other] === end - start && this.sameBytes(other, id)) {
          throw new InputError(`${name}: pieces ${other} and ${id} are both ${shown(this.text(id))}`);
        }
        slot = (slot + 1) & mask;
      }
      slots[slot] = id + 1;
    }
    return longest;
  }

  // Control, unknown and byte pieces are found by their text. Returns the id of the unknown piece, or -1.
  private indexReserved(name: string): number {
    let unknownId = -1;
    for (const id of this.unusualIds) {
      const kind = this.kinds[id];
      if (kind !== PieceKind.control && kind !== PieceKind.unknown && kind !== PieceKind.byte) continue;
      const text = this.text(id)!;
      if (this.reserved.has(text)) {
        throw new InputError(`${name}: pieces ${this.reserved.get(text)} and ${id} are both ${shown(text)}`);
      }
      this.reserved.set(text, id);
      if (kind === PieceKind.unknown) {
        if (unknownId >= 0) throw new InputError(`${name}: pieces ${unknownId} and ${id} are both of type UNKNOWN; one must be`);
        unknownId = id;
      } else if (kind === PieceKind.byte) {
        const digits = /^<0x([0-9A-F]{2})>$/.exec(text);
        if (!digits) throw new InputError(`${name}: piece ${id}, ${shown(text)}, is of type BYTE but not of the form <0x00>`);
        this.byteValues[id] = Number.parseInt(digits[1], 16);
        this.byteIds[this.byteValues[id]] = id;
      }
    }
    return unknownId;
  }

  private sameBytes(a: number, b: number): boolean {
    for (let at = this.starts[a], other = this.starts[b]; at < this.ends[a]; at++, other++) {
      if (this.bytes[at] !== this.bytes[other]) return false;
    }
    return true;
  }

  /**
   * The normal, user-defined or unused piece that is the bytes of `left` with those of `right` behind them, or -1; `hash` is
   * that of both together, and `symbols` where left's and right's bytes lie.
   */
  findJoined(symbols: SymbolBytes, left: number, right: number, hash: number): number {
    const { bytes, starts, ends, hashes, slots } = this;
    const mask = slots.length - 1;
    for (let slot = firstSlot(hash) & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const id = slots[slot] - 1;
      if (hashes[id] !== hash) continue;
      const start = starts[id];
      const leftStart = symbols.starts[left];
      const rightStart = symbols.starts[right];
      const leftLength = symbols.ends[left] - leftStart;
      const length = leftLength + symbols.ends[right] - rightStart;
      if (ends[id] - start !== length) continue;
      let at = 0;
      while (at < leftLength && symbols.bytes[leftStart + at] === bytes[start + at]) at++;
      if (at < leftLength) continue;
      while (at < length && symbols.bytes[rightStart + at - leftLength] === bytes[start + at]) at++;
      if (at === length) return id;
    }
    return -1;
  }

  /** The id of a piece by its text (control, unknown and byte pieces first, as SentencePiece looks them up). */
  idOf(text: string): number | undefined {
    const reserved = this.reserved.get(text);
    if (reserved !== undefined) return reserved;
    const bytes = new TextEncoder().encode(text);
    const alone = { bytes, starts: [0, 0], ends: [bytes.length, 0] };
    const id = this.findJoined(alone, 0, 1, hashBytes(bytes, 0, bytes.length));
    return id < 0 ? undefined : id;
  }

  /** The text of a piece as the vocabulary spells it, or undefined past its end. */
  text(id: number): string | undefined {
    if (!(id >= 0 && id < this.size)) return undefined;
    this.texts[id] ??= this.decoder.decode(this.bytes.subarray(this.starts[id], this.ends[id]));
    return this.texts[id];
  }

  /** Throws `InputError` unless there is a piece for every byte, as byte fallback needs. */
  requireBytes(name: string): void {
    const missing = this.byteIds.indexOf(-1);
    if (missing < 0) return;
    const piece = `<0x${missing.toString(16).toUpperCase().padStart(2, '0')}>`;
    throw new InputError(`${name}: byte_fallback is on but the piece ${piece} is missing; all 256 are needed`);
  }
}

/** Pieces given as strings, as bytes. */
export function piecesFromStrings(pieces: readonly string[], kinds: Uint8Array): PieceBytes {
  let units = 0;
  for (const piece of pieces) units += piece.length;
  const bytes = new Uint8Array(units * 3);
  const starts = new Int32Array(pieces.length);
  const ends = new Int32Array(pieces.length);
  const encoder = new TextEncoder();
  let at = 0;
  for (let id = 0; id < pieces.length; id++) {
    starts[id] = at;
    at += encoder.encodeInto(pieces[id], bytes.subarray(at)).written;
    ends[id] = at;
  }
  return { bytes: bytes.slice(0, at), starts, ends, kinds };
}

export function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0;
  for (let at = end - 1; at >= start; at--) hash = (Math.imul(hash, HASH_BASE) + bytes[at]) | 0;
  return hash;
}

function firstSlot(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return mixed ^ (mixed >>> 13);
}

/** Whether a symbol takes part in merging: normal and unused pieces do, and characters that are no pieces (past the end). */
export function isText(vocabulary: Vocabulary, symbol: number): boolean {
  const kind = vocabulary.kinds[symbol];
  return kind === PieceKind.normal || kind === PieceKind.unused || kind === undefined;
}
