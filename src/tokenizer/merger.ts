// Byte-pair merging of one run of symbols: always the pair of lowest rank, the leftmost among equals, until none is left.
// Short runs are scanned (fewer instructions than any structure), long ones go through a heap of (rank, position), so that a
// word of n characters costs O(n log n). It knows ids only; words, caching and unknown characters are in encoder.ts.

import { NO_RANK, type Pairs } from './pairs.js';

const SCAN_LIMIT = 32;
const KEPT = 1 << 17; // room for symbols that is kept between words
// A heap key is rank * POSITIONS + position: exact in a double for ranks below 2^22 (strings have at most 2^29 units).
const POSITIONS = 2 ** 30;
const DIGITS = 2 ** 11; // two of them make a rank

export class Merger {
  /** Symbols to merge, and after `merge` the merged ones: symbols[0, count). -1 is a character without a symbol. */
  symbols = new Int32Array(256);
  /** Where each symbol's text starts, carried along. */
  starts = new Int32Array(256);
  count = 0;
  /** Set by the caller to see every pair that could merge (left, right, merged), in the order they come up. */
  onPair: ((left: number, right: number, merged: number) => void) | undefined;

  private ranks = new Int32Array(256); // rank of the pair (i, next of i)
  private results = new Int32Array(256); // what that pair becomes
  private next = new Int32Array(0);
  private previous = new Int32Array(0);
  private first = new Float64Array(0); // keys of the pairs of single characters, sorted
  private heap = new Float64Array(0); // keys of the pairs that merging made
  private heapSize = 0;

  constructor(private readonly pairs: Pairs) {}

  /** Makes room for so many more symbols; `add` does not look. */
  reserve(more: number): void {
    const needed = this.count + more;
    if (needed > this.symbols.length) this.resize(2 ** Math.ceil(Math.log2(needed)));
  }

  add(symbol: number, start: number): void {
    this.symbols[this.count] = symbol;
    this.starts[this.count++] = start;
  }

  merge(): void {
    if (this.count <= SCAN_LIMIT) this.mergeByScan();
    else this.mergeByHeap();
  }

  /** Forgets the symbols, and gives back the memory that an uncommonly long word took. */
  clear(): void {
    this.count = 0;
    if (this.symbols.length <= KEPT) return;
    this.resize(256);
    this.next = this.previous = new Int32Array(0);
    this.heap = new Float64Array(0);
  }

  private resize(length: number): void {
    const resized = (old: Int32Array) => {
      const grown = new Int32Array(length);
      grown.set(old.subarray(0, Math.min(length, this.count)));
      return grown;
    };
    this.symbols = resized(this.symbols);
    this.starts = resized(this.starts);
    this.ranks = new Int32Array(length);
    this.results = new Int32Array(length);
  }

  // Looks up the pair (at, next) and notes its rank and result.
  private look(at: number, next: number): number {
    const left = this.symbols[at];
    const right = this.symbols[next];
    const entry = left < 0 || right < 0 ? -1 : this.pairs.find(left, right);
    if (entry < 0) {
      this.ranks[at] = NO_RANK;
      return NO_RANK;
    }
    const rank = this.pairs.rank(entry);
    this.ranks[at] = rank;
    this.results[at] = this.pairs.merged(entry);
    this.onPair?.(left, right, this.results[at]);
    return rank;
  }

  private mergeByScan(): void {
    const { symbols, starts, ranks, results } = this;
    for (let i = 0; i + 1 < this.count; i++) this.look(i, i + 1);
    for (;;) {
      let best = NO_RANK;
      let at = -1;
      for (let i = 0; i + 1 < this.count; i++) {
        if (ranks[i] < best) {
          best = ranks[i];
          at = i;
        }
      }
      if (at < 0) return;
      symbols[at] = results[at];
      const last = --this.count;
      for (let i = at + 1; i < last; i++) {
        symbols[i] = symbols[i + 1];
        starts[i] = starts[i + 1];
        ranks[i] = ranks[i + 1];
        results[i] = results[i + 1];
      }
      if (at > 0) this.look(at - 1, at);
      if (at + 1 < last) this.look(at, at + 1);
    }
  }

  private mergeByHeap(): void {
    const count = this.count;
    if (this.next.length < count) {
      this.next = new Int32Array(this.symbols.length);
      this.previous = new Int32Array(this.symbols.length);
      this.first = new Float64Array(this.symbols.length);
      this.heap = new Float64Array(this.symbols.length * 2); // each merge puts at most two keys in
    }
    const { symbols, starts, ranks, next, previous, first, heap } = this;
    for (let i = 0; i < count; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
      ranks[i] = NO_RANK;
      if (i + 1 < count) this.look(i, i + 1);
    }
    const firstCount = this.sortFirst();
    this.heapSize = 0;
    for (let taken = 0; taken < firstCount || this.heapSize > 0; ) {
      const fromHeap = taken === firstCount || (this.heapSize > 0 && heap[0] < first[taken]);
      const key = fromHeap ? this.pop() : first[taken++];
      const rank = Math.floor(key / POSITIONS);
      const at = key - rank * POSITIONS;
      if (ranks[at] !== rank) continue; // the pair is gone: one of the two merged with another since
      const eaten = next[at];
      const after = next[eaten];
      symbols[at] = this.results[at];
      ranks[eaten] = NO_RANK;
      next[at] = after;
      const before = previous[at];
      if (before >= 0) this.push(this.look(before, at), before);
      if (after < count) {
        previous[after] = at;
        this.push(this.look(at, after), at);
      } else {
        ranks[at] = NO_RANK;
      }
    }
    let kept = 0;
    for (let at = 0; at < count; at = next[at]) {
      symbols[kept] = symbols[at];
      starts[kept++] = starts[at];
    }
    this.count = kept;
  }

  // Puts the keys of all pairs in order into `first`, by counting (two passes of 11 bits; stable, so positions stay in order):
  // a heap of them all would outgrow the processor's caches in long words. Returns how many there are.
  private sortFirst(): number {
    const { ranks, count } = this;
    let from = this.heap; // free until merging starts
    let to = this.first;
    let keys = 0;
    for (let i = 0; i < count; i++) if (ranks[i] !== NO_RANK) from[keys++] = ranks[i] * POSITIONS + i;
    for (const divisor of [1, DIGITS]) {
      const places = new Int32Array(DIGITS + 1);
      const digit = (key: number): number => Math.floor(Math.floor(key / POSITIONS) / divisor) % DIGITS;
      for (let i = 0; i < keys; i++) places[digit(from[i]) + 1]++;
      for (let i = 0; i < DIGITS; i++) places[i + 1] += places[i];
      for (let i = 0; i < keys; i++) to[places[digit(from[i])]++] = from[i];
      [from, to] = [to, from];
    }
    this.first.set(from.subarray(0, keys));
    return keys;
  }

  private push(rank: number, position: number): void {
    if (rank === NO_RANK) return;
    const heap = this.heap;
    const key = rank * POSITIONS + position;
    let at = this.heapSize++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent] <= key) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = key;
  }

  private pop(): number {
    const top = this.heap[0];
    if (--this.heapSize > 0) this.siftDown(0, this.heap[this.heapSize]);
    return top;
  }

  private siftDown(from: number, key: number): void {
    const heap = this.heap;
    const size = this.heapSize;
    let at = from;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= size) break;
      if (child + 1 < size && heap[child + 1] < heap[child]) child++;
      if (heap[child] >= key) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = key;
  }
}
