// Which two neighbouring symbols merge into which piece, and in what order, without touching strings: by the scores of pieces
// (SentencePiece), or by a list of merges (Hugging Face). A symbol is a piece's id, or an id past the vocabulary for a character
// that is no piece but is part of one (characters.ts).

import { InputError, shown } from '../errors.js';
import type { Characters } from './characters.js';
import { utf8Bytes } from './utf8.js';
import { HASH_BASE, hashBytes, isText, MAX_PIECES, type SymbolBytes, type Vocabulary } from './vocabulary.js';

/** No pair has this rank: it marks "these two do not merge". */
export const NO_RANK = 0x7fffffff;

/** Answers whether two symbols merge. */
export interface Pairs {
  /** A handle of what the two merge into, or -1 when they do not; both must be symbols (not negative). */
  find(left: number, right: number): number;
  /** The piece that a handle stands for. */
  merged(found: number): number;
  /** Its rank: lower ones merge first. */
  rank(found: number): number;
}

/** An open-addressing table of (left, right) -> (merged, rank). */
class PairTable implements Pairs {
  private readonly slots: Int32Array; // four a slot: left + 1 (0: free), right, merged, rank
  private readonly mask: number;

  /** For so many pairs at most, which fill up to half of it. */
  constructor(most: number) {
    const capacity = 1 << (33 - Math.clz32(Math.max(most, 8)));
    this.slots = new Int32Array(capacity * 4);
    this.mask = capacity - 1;
  }

  /** Sets the pair's result; a pair set twice keeps the last. */
  set(left: number, right: number, merged: number, rank: number): void {
    const at = this.slot(left, right);
    this.slots[at] = left + 1;
    this.slots[at + 1] = right;
    this.slots[at + 2] = merged;
    this.slots[at + 3] = rank;
  }

  find(left: number, right: number): number {
    const at = this.slot(left, right);
    return this.slots[at] === 0 ? -1 : at;
  }

  merged(at: number): number {
    return this.slots[at + 2];
  }

  rank(at: number): number {
    return this.slots[at + 3];
  }

  private slot(left: number, right: number): number {
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    const key = left + 1;
    const slots = this.slots;
    const mask = this.mask;
    let at = (hash & mask) * 4;
    while (slots[at] !== 0 && (slots[at] !== key || slots[at + 1] !== right)) at = (at + 4) & (mask * 4 + 3);
    return at;
  }
}

/**
 * SentencePiece's rule: any two neighbours whose texts together are a normal (or unused) piece merge, the highest score first,
 * the leftmost first among equals (equal scores share a rank). Nothing is listed beforehand: the hash of the joined text follows
 * from the two hashes, and one look into the vocabulary answers.
 */
export class ScoredPairs implements Pairs {
  private readonly symbols: SymbolBytes;
  private readonly hashes: Int32Array;
  private readonly powers: Int32Array; // HASH_BASE^i, by length of the left symbol
  private readonly ranks: Int32Array;

  /** `scores` by piece id. */
  constructor(
    private readonly vocabulary: Vocabulary,
    characters: Characters,
    scores: Float32Array,
  ) {
    const { symbols, hashes } = withCharacters(vocabulary, characters.extra);
    this.symbols = symbols;
    this.hashes = hashes;
    this.ranks = ranksOf(scores);
    const longest = Math.max(vocabulary.longest, 4); // bytes; a character has at most 4
    this.powers = new Int32Array(longest + 1);
    this.powers[0] = 1;
    for (let i = 1; i <= longest; i++) this.powers[i] = Math.imul(this.powers[i - 1], HASH_BASE);
  }

  find(left: number, right: number): number {
    const length = this.symbols.ends[left] - this.symbols.starts[left];
    const hash = (this.hashes[left] + Math.imul(this.hashes[right], this.powers[length])) | 0;
    const id = this.vocabulary.findJoined(this.symbols, left, right, hash);
    return id >= 0 && isText(this.vocabulary, left) && isText(this.vocabulary, right) && isText(this.vocabulary, id) ? id : -1;
  }

  merged(found: number): number {
    return found;
  }

  rank(found: number): number {
    return this.ranks[found];
  }
}

// The pieces' bytes and hashes, and behind them those of the characters that are no pieces.
function withCharacters(vocabulary: Vocabulary, extra: readonly number[]): { symbols: SymbolBytes; hashes: Int32Array } {
  if (extra.length === 0) return { symbols: vocabulary, hashes: vocabulary.hashes };
  const bytes = [...vocabulary.bytes];
  const starts = [...vocabulary.starts];
  const ends = [...vocabulary.ends];
  const hashes = [...vocabulary.hashes];
  for (const codePoint of extra) {
    const own: number[] = [];
    utf8Bytes(codePoint, (byte) => own.push(byte));
    starts.push(bytes.length);
    for (const byte of own) bytes.push(byte);
    ends.push(bytes.length);
    hashes.push(hashBytes(Uint8Array.from(own), 0, own.length));
  }
  const symbols = { bytes: new Uint8Array(bytes), starts: new Int32Array(starts), ends: new Int32Array(ends) };
  return { symbols, hashes: new Int32Array(hashes) };
}

// Dense ranks of the scores, highest score 0; equal scores share one. Sorted as numbers (order of the score's bits, then id):
// a typed array's own sort is many times faster than one with a comparison function.
function ranksOf(scores: Float32Array): Int32Array {
  const bits = new Int32Array(scores.buffer, scores.byteOffset, scores.length);
  const keys = new Float64Array(scores.length);
  for (let id = 0; id < keys.length; id++) {
    // As integers, floats of one sign are in order; turned so that the highest score gets the lowest key. Both zeros are 2^31 - 1.
    const own = bits[id];
    keys[id] = (own >= 0 ? 0x7fffffff - own : (own & 0x7fffffff) + 0x7fffffff) * MAX_PIECES + id;
  }
  keys.sort();
  const ranks = new Int32Array(keys.length);
  let rank = -1;
  let last = -1;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    const score = Math.floor(key / MAX_PIECES);
    if (score !== last) rank++;
    last = score;
    ranks[key - score * MAX_PIECES] = rank;
  }
  return ranks;
}

/** Hugging Face's rule: the listed pairs merge, in the list's order. Pairs that would make or use another piece than those that `mayMerge` are left out. */
export function listedPairs(
  vocabulary: Vocabulary,
  merges: readonly (readonly [string, string])[],
  name: string,
  mayMerge: (id: number) => boolean,
): Pairs {
  const ids = new Map<string, number>();
  for (let id = 0; id < vocabulary.size; id++) ids.set(vocabulary.text(id)!, id);
  const pairs = new PairTable(merges.length);
  const idOf = (text: string, index: number): number => {
    const id = ids.get(text);
    if (id === undefined) {
      throw new InputError(`${name}: model.merges[${index}] needs the piece ${shown(text)}, which model.vocab lacks`);
    }
    return id;
  };
  for (let index = 0; index < merges.length; index++) {
    const [leftText, rightText] = merges[index];
    const left = idOf(leftText, index);
    const right = idOf(rightText, index);
    const merged = idOf(leftText + rightText, index);
    if ([left, right, merged].every(mayMerge)) pairs.set(left, right, merged, index);
  }
  return pairs;
}

/**
 * Scores that make the listed merges, where there are such: each piece's merges must follow one another in the list. Throws
 * `InputError` where they do not.
 */
export function scoresOfMerges(
  vocabulary: Vocabulary,
  merges: readonly (readonly [string, string])[],
  name: string,
): Float32Array {
  const scores = new Float32Array(vocabulary.size).fill(-1e9);
  const done = new Set<string>();
  let current: string | undefined;
  let rank = 0;
  for (const [left, right] of merges) {
    const merged = left + right;
    if (merged === current) continue;
    if (done.has(merged)) {
      throw new InputError(
        `${name}: the merges into ${shown(merged)} lie apart in model.merges, which no scores of pieces can say`,
      );
    }
    done.add(merged);
    current = merged;
    scores[vocabulary.idOf(merged)!] = -rank++;
  }
  for (const id of vocabulary.unusualIds) scores[id] = 0;
  return scores;
}
