// The characters of a vocabulary: which symbol a single character of text starts as, and where text may be cut. A character
// that is no piece itself, but is part of one, gets a symbol past the vocabulary, so that it can still merge.

import { utf8CodePoint, utf8Length } from './utf8.js';
import { isText, SPACE_UNIT, type Vocabulary } from './vocabulary.js';

// What the tables hold: nothing known, seen inside pieces but not as one, or the symbol plus SHIFT.
const NONE = 0;
const PART = 1;
const SHIFT = 2;

export class Characters {
  /** No piece has U+2581 behind another character: merging never crosses from one word to the next. */
  readonly spacesOnlyLead: boolean;
  /** The characters that are no pieces but parts of some: extra[i] has symbol `vocabulary.size + i`. */
  readonly extra: readonly number[];
  /** By UTF-16 unit: 0 for a character that is in no piece, so that text may be cut around it; 1 for the others (surrogates too). */
  readonly inPiece = new Uint8Array(0x10000).fill(1, 0xd800, 0xe000);
  private readonly low = new Int32Array(0x10000); // the basic plane
  private readonly high = new Map<number, number>();

  private neighbours: Int32Array | undefined; // a bit for every hash of two characters side by side in a piece

  /** Of the pieces that `mayMerge` by their ids; those are the normal and the unused ones unless told. */
  constructor(
    private readonly vocabulary: Vocabulary,
    private readonly mayMerge: (id: number) => boolean = (id) => isText(vocabulary, id),
  ) {
    const { bytes, starts, ends, size } = vocabulary;
    const low = this.low;
    const parts: number[] = [];
    let spacesOnlyLead = true;
    for (let id = 0; id < size; id++) {
      if (!mayMerge(id)) continue;
      const start = starts[id];
      const end = ends[id];
      const first = bytes[start];
      if ((first < 0x80 ? 1 : utf8Length(first)) === end - start) {
        this.set(utf8CodePoint(bytes, start), id + SHIFT);
        continue;
      }
      let other = false; // a character that is not the space symbol has gone by
      for (let at = start; at < end; ) {
        const lead = bytes[at];
        if (lead < 0x80) {
          other = true;
          at++;
          if (low[lead] !== NONE) continue;
          parts.push(lead);
          this.set(lead, PART);
          continue;
        }
        const codePoint = utf8CodePoint(bytes, at);
        at += utf8Length(lead);
        if (codePoint !== SPACE_UNIT) other = true;
        else if (other) spacesOnlyLead = false;
        if (this.raw(codePoint) !== NONE) continue;
        parts.push(codePoint);
        this.set(codePoint, PART);
      }
    }
    this.spacesOnlyLead = spacesOnlyLead;
    this.extra = parts.filter((codePoint) => this.raw(codePoint) === PART);
    this.extra.forEach((codePoint, i) => {
      this.set(codePoint, size + i + SHIFT);
    });
  }

  /** The symbol of a character; negative when it is in no piece. */
  get(codePoint: number): number {
    return this.raw(codePoint) - SHIFT;
  }

  /**
   * Whether some piece may hold the two characters side by side. Never wrongly false; rarely wrongly true (a hash decides).
   * The table is made on the first call, since only long words ask.
   */
  mayTouch(left: number, right: number): boolean {
    this.neighbours ??= neighboursOf(this.vocabulary, this.mayMerge);
    const bit = neighbourBit(left, right);
    return (this.neighbours[bit >>> 5] & (1 << (bit & 31))) !== 0;
  }

  private raw(codePoint: number): number {
    return codePoint < 0x10000 ? this.low[codePoint] : (this.high.get(codePoint) ?? NONE);
  }

  private set(codePoint: number, value: number): void {
    if (codePoint < 0x10000) {
      this.low[codePoint] = value;
      this.inPiece[codePoint] = 1;
    } else {
      this.high.set(codePoint, value);
    }
  }
}

const NEIGHBOUR_BITS = 17;

function neighbourBit(left: number, right: number): number {
  const hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  return Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> (32 - NEIGHBOUR_BITS);
}

function neighboursOf(vocabulary: Vocabulary, mayMerge: (id: number) => boolean): Int32Array {
  const { bytes, starts, ends, size } = vocabulary;
  const bits = new Int32Array(1 << (NEIGHBOUR_BITS - 5));
  for (let id = 0; id < size; id++) {
    if (!mayMerge(id)) continue;
    let left = utf8CodePoint(bytes, starts[id]);
    for (let at = starts[id] + utf8Length(bytes[starts[id]]); at < ends[id]; at += utf8Length(bytes[at])) {
      const right = utf8CodePoint(bytes, at);
      const bit = neighbourBit(left, right);
      bits[bit >>> 5] |= 1 << (bit & 31);
      left = right;
    }
  }
  return bits;
}
