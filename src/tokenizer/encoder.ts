// Text with its spaces already written as the vocabulary has them -> ids. Cuts the text into words where no piece can cross,
// keeps the ids of short words in a fixed-size table, merges the others (merger.ts), and spells characters that are no
// piece as bytes or as the unknown piece. Normalization and special tokens are in tokenizer.ts.

import type { Characters } from './characters.js';
import { Merger } from './merger.js';
import type { Pairs } from './pairs.js';
import { utf8Bytes } from './utf8.js';
import { PieceKind, SPACE_UNIT, type Vocabulary } from './vocabulary.js';

/** How a `WordEncoder`'s text is cut and what becomes of characters that are no piece. */
export interface EncoderRules {
  /** Characters that are no piece become their UTF-8 bytes' pieces; otherwise the unknown piece. */
  readonly byteFallback: boolean;
  /** Unknown pieces in a row are written once. */
  readonly fuseUnknown: boolean;
  /** Every space symbol starts a word of its own (Hugging Face's Metaspace with `split`), whatever the vocabulary holds. */
  readonly splitAtEverySpace: boolean;
}

// The table of known words is direct-mapped: a word's hash names its one slot, a newcomer replaces what was there.
const CACHE_SLOTS = 1 << 15;
const CACHE_UNITS = 16; // longest word kept, UTF-16 units
const CACHE_IDS = 8; // most ids kept for one

export class WordEncoder {
  private readonly merger: Merger;
  /** Whether words are encoded one by one, whatever stands beside them. */
  readonly wordwise: boolean;
  private readonly keyLengths: Uint8Array;
  private readonly keys: Uint16Array; // [slot, unit]
  private readonly idCounts: Uint8Array;
  private readonly ids: Int32Array; // [slot, id]
  private afterUnknown = false;
  // For unused pieces: how each was last about to be made, over the whole text (SentencePiece's rev_merge).
  private readonly unusedParts = new Map<number, readonly [number, number]>();

  constructor(
    private readonly vocabulary: Vocabulary,
    private readonly characters: Characters,
    pairs: Pairs,
    private readonly rules: EncoderRules,
  ) {
    this.merger = new Merger(pairs);
    // An unused piece is taken apart by what happened anywhere in the text, so such texts are merged whole.
    this.wordwise = !vocabulary.hasUnused && (rules.splitAtEverySpace || characters.spacesOnlyLead);
    const slots = this.wordwise ? CACHE_SLOTS : 0;
    this.keyLengths = new Uint8Array(slots);
    this.keys = new Uint16Array(slots * CACHE_UNITS);
    this.idCounts = new Uint8Array(slots);
    this.ids = new Int32Array(slots * CACHE_IDS);
    if (vocabulary.hasUnused) {
      this.merger.onPair = (left, right, merged) => {
        if (vocabulary.kinds[merged] === PieceKind.unused) this.unusedParts.set(merged, [left, right]);
      };
    }
  }

  /**
   * Appends the ids of `text` to `out`. `frozen` are the stretches (start, end, id) that stand for a piece whole, in order. Says whether it
   * ends with something unknown, which what follows at once has to be told.
   */
  encode(text: string, frozen: readonly (readonly [number, number, number])[], out: number[], afterUnknown = false): boolean {
    this.afterUnknown = afterUnknown;
    let from = 0;
    for (const [start, end, id] of frozen) {
      this.encodeStretch(text, from, start, out);
      from = end;
      if (this.wordwise) {
        out.push(id);
        this.afterUnknown = false;
      } else {
        this.merger.reserve(1);
        this.merger.add(id, start);
      }
    }
    this.encodeStretch(text, from, text.length, out);
    if (!this.wordwise) this.finish(text, text.length, out);
    this.unusedParts.clear();
    return this.afterUnknown;
  }

  private encodeStretch(text: string, from: number, to: number, out: number[]): void {
    if (!this.wordwise) {
      this.addCharacters(text, from, to);
      return;
    }
    const everySpace = this.rules.splitAtEverySpace;
    const inPiece = this.characters.inPiece;
    for (let start = from; start < to; ) {
      let previous = text.charCodeAt(start);
      let hash = Math.imul(previous, 0x9e3779b1);
      let end = start + 1;
      for (; end < to && inPiece[previous] === 1; end++) {
        const unit = text.charCodeAt(end);
        if (inPiece[unit] === 0 || (unit === SPACE_UNIT && (everySpace || previous !== SPACE_UNIT))) break;
        hash = Math.imul(hash ^ unit, 0x01000193);
        previous = unit;
      }
      this.encodeWord(text, start, end, hash, out);
      start = end;
    }
  }

  private encodeWord(text: string, start: number, end: number, hash: number, out: number[]): void {
    if (this.rules.splitAtEverySpace && text.charCodeAt(start) === SPACE_UNIT) this.afterUnknown = false;
    const length = end - start;
    if (length > CACHE_UNITS) {
      this.encodeLongWord(text, start, end, out);
      return;
    }
    const slot = (hash ^ (hash >>> 15)) & (CACHE_SLOTS - 1);
    const key = slot * CACHE_UNITS;
    const value = slot * CACHE_IDS;
    if (this.keyLengths[slot] === length) {
      let at = 0;
      while (at < length && this.keys[key + at] === text.charCodeAt(start + at)) at++;
      if (at === length) {
        const count = this.idCounts[slot];
        for (let i = 0; i < count; i++) this.emit(this.ids[value + i], out);
        return;
      }
    }
    const before = out.length;
    const unknownBefore = this.afterUnknown;
    this.addCharacters(text, start, end);
    this.finish(text, end, out);
    const count = out.length - before;
    // After an unknown piece, the word's own first one may have been left out: that is not the word's ids.
    if (count > CACHE_IDS || unknownBefore) return;
    this.keyLengths[slot] = length;
    for (let at = 0; at < length; at++) this.keys[key + at] = text.charCodeAt(start + at);
    this.idCounts[slot] = count;
    for (let i = 0; i < count; i++) this.ids[value + i] = out[before + i];
  }

  // A long word (a URL, a sentence without spaces) falls apart further, between characters that stand together in no piece.
  private encodeLongWord(text: string, start: number, end: number, out: number[]): void {
    let from = start;
    let previous = -1;
    for (let at = start; at < end; ) {
      const codePoint = text.codePointAt(at)!;
      if (previous >= 0 && !this.characters.mayTouch(previous, scalarValue(codePoint))) {
        this.addCharacters(text, from, at);
        this.finish(text, at, out);
        from = at;
      }
      previous = scalarValue(codePoint);
      at += codePoint > 0xffff ? 2 : 1;
    }
    this.addCharacters(text, from, end);
    this.finish(text, end, out);
  }

  private addCharacters(text: string, from: number, to: number): void {
    this.merger.reserve(to - from);
    for (let at = from; at < to; ) {
      const codePoint = text.codePointAt(at)!;
      this.merger.add(this.characters.get(scalarValue(codePoint)), at);
      at += codePoint > 0xffff ? 2 : 1;
    }
  }

  private finish(text: string, end: number, out: number[]): void {
    const merger = this.merger;
    merger.merge();
    const { symbols, starts, count } = merger;
    for (let i = 0; i < count; i++) {
      this.emitSymbol(symbols[i], text, starts[i], i + 1 < count ? starts[i + 1] : end, out);
    }
    merger.clear();
  }

  private emitSymbol(symbol: number, text: string, start: number, end: number, out: number[]): void {
    const parts = this.unusedParts.get(symbol);
    if (parts) {
      const isPiece = parts[0] < this.vocabulary.size;
      const units = isPiece ? this.vocabulary.text(parts[0])!.length : String.fromCodePoint(text.codePointAt(start)!).length;
      const middle = start + units;
      this.emitSymbol(parts[0], text, start, middle, out);
      this.emitSymbol(parts[1], text, middle, end, out);
    } else if (symbol >= 0 && symbol === this.vocabulary.unknownId) {
      out.push(symbol); // written out as a token, not an unknown character
      this.afterUnknown = false;
    } else if (symbol >= 0 && symbol < this.vocabulary.size) {
      this.emit(symbol, out);
    } else if (this.rules.byteFallback) {
      utf8Bytes(text.codePointAt(start)!, (byte) => out.push(this.vocabulary.byteIds[byte]));
      this.afterUnknown = false;
    } else {
      this.emit(this.vocabulary.unknownId, out);
    }
  }

  private emit(id: number, out: number[]): void {
    const unknown = id === this.vocabulary.unknownId;
    if (!(unknown && this.afterUnknown && this.rules.fuseUnknown)) out.push(id);
    this.afterUnknown = unknown;
  }
}

// A lone surrogate counts as U+FFFD.
function scalarValue(codePoint: number): number {
  return codePoint >= 0xd800 && codePoint <= 0xdfff ? 0xfffd : codePoint;
}
