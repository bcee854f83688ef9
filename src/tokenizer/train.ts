// Learns a SentencePiece BPE vocabulary with byte fallback from text: identity normalization, a space put in front, words cut at
// spaces, digits and scripts, as LLaMA's was (Sennrich et al. 2016, arXiv 1508.07909; sentencepiece's bpe_model_trainer).
// Counts of pairs are kept up to date while merging, so that a merge costs what it changes. Writing the file is write.ts.

import { counted, InputError } from '../errors.js';
import { SPACE } from './vocabulary.js';
import { type ModelPiece, writeTokenizerModel } from './write.js';

/** Which vocabulary is learned. */
export interface TrainOptions {
  /** Pieces in all: 3 control pieces, 256 bytes, characters and merges. */
  readonly vocabSize: number;
  /** Share of the text's characters that get a piece of their own; the rarest others are spelled in bytes. Default 0.9995. */
  readonly characterCoverage?: number;
  /** Every digit is a piece of its own. Default true. */
  readonly splitDigits?: boolean;
  /** Characters of a piece at most. Default 16. */
  readonly maxPieceLength?: number;
}

const RESERVED: readonly ModelPiece[] = [
  { text: '<unk>', score: 0, kind: 'unknown' },
  { text: '<s>', score: 0, kind: 'control' },
  { text: '</s>', score: 0, kind: 'control' },
  ...Array.from({ length: 256 }, (_, byte): ModelPiece => {
    return { text: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, score: 0, kind: 'byte' };
  }),
];

// Words are few even in large corpora; should they not be, those seen once so far are forgotten.
const MAX_WORDS = 4_000_000;

/** Collects texts, then learns from them. */
export class TokenizerTrainer {
  // Words with their space symbol in front, and stretches without one (behind a line break).
  private readonly words = new Map<string, number>();

  /** Counts the words of a document. */
  add(text: string): void {
    const { words } = this;
    const count = (word: string): void => {
      words.set(word, (words.get(word) ?? 0) + 1);
    };
    let spaces = 1; // the one put in front
    for (const word of text.split(' ')) {
      if (word === '') {
        spaces++;
        continue;
      }
      // Only the last space goes with the word.
      if (spaces > 1) count(SPACE.repeat(Math.min(spaces - 1, MAX_WORDS)));
      spaces = 1;
      if (!LINE_ENDS.test(word)) {
        count(SPACE + word);
        continue;
      }
      const [first, ...rest] = word.split(LINE_ENDS);
      count(SPACE + first);
      for (const stretch of rest) if (stretch !== '') count(stretch);
    }
    if (words.size > MAX_WORDS) for (const [word, times] of words) if (times === 1) words.delete(word);
  }

  /** Learns the pieces and gives the bytes of a `tokenizer.model`. Throws `InputError` when the text does not yield as many as asked for. */
  train(options: TrainOptions): Uint8Array {
    const { vocabSize, characterCoverage = 0.9995, splitDigits = true, maxPieceLength = 16 } = options;
    const characters = requiredCharacters(this.words, characterCoverage);
    const merges = vocabSize - RESERVED.length - characters.length;
    if (characters.length === 0) throw new InputError('there is no text to learn a tokenizer from');
    if (merges < 0) {
      throw new InputError(
        `a vocabulary of ${vocabSize} is too small: ${RESERVED.length} control and byte pieces and ${counted(characters.length, 'character')} need ${vocabSize - merges}`,
      );
    }
    const learner = new PairMerger(maxPieceLength);
    const known = new Set(characters);
    // In order of text, so that the result depends on the counts alone.
    for (const word of [...this.words.keys()].sort()) {
      for (const chunk of chunksOf(word, known, splitDigits)) learner.add(chunk, this.words.get(word)!);
    }
    const pieces = learner.learn(merges);
    if (pieces.length < merges) {
      throw new InputError(
        `the text yields only ${counted(vocabSize - merges + pieces.length, 'piece')}; ask for at most that many, not ${vocabSize}`,
      );
    }
    const learned = [...pieces, ...characters].map((text, rank): ModelPiece => ({ text, score: 0 - rank, kind: 'normal' }));
    return writeTokenizerModel([...RESERVED, ...learned], { characterCoverage, splitDigits, maxPieceLength });
  }
}

const LINE_ENDS = /[\t\n\v\f\r]/;
const CONTROL = /\p{Cc}/u;

// The characters, most frequent first, until they make up the share asked for; the space symbol among them.
function requiredCharacters(words: ReadonlyMap<string, number>, coverage: number): string[] {
  const counts = new Map<string, number>();
  let total = 0;
  for (const [word, times] of words) {
    for (const character of word) {
      if (CONTROL.test(character) || isLoneSurrogate(character)) continue;
      counts.set(character, (counts.get(character) ?? 0) + times);
      total += times;
    }
  }
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  const required: string[] = [];
  let covered = 0;
  for (const [character, times] of sorted) {
    if (covered >= coverage * total) break;
    required.push(character);
    covered += times;
  }
  return required;
}

function isLoneSurrogate(character: string): boolean {
  const unit = character.charCodeAt(0);
  return character.length === 1 && unit >= 0xd800 && unit <= 0xdfff;
}

// The stretches of a word inside which characters may merge: of known characters of one script, a space symbol only in front.
function* chunksOf(word: string, known: ReadonlySet<string>, splitDigits: boolean): Generator<string[]> {
  let chunk: string[] = [];
  let script = -1;
  for (const character of word) {
    const isSpace = character === SPACE;
    const own = isSpace ? -1 : scriptOf(character, splitDigits);
    const afterSpacesOnly = chunk.every((other) => other === SPACE);
    const joins = isSpace ? afterSpacesOnly : own !== DIGIT && (script === -1 || script === own);
    if (!joins || !known.has(character)) {
      if (chunk.length > 1) yield chunk;
      chunk = [];
    }
    script = own;
    if (known.has(character) && own !== DIGIT) chunk.push(character);
    else script = -1;
  }
  if (chunk.length > 1) yield chunk;
}

const DIGIT = 0;
const SCRIPTS = ['Common', 'Latin', 'Greek', 'Cyrillic', 'Arabic', 'Hebrew', 'Devanagari', 'Bengali', 'Thai', 'Hangul'].map(
  (name) => new RegExp(`\\p{Script=${name}}`, 'u'),
);
const HAN = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u30fc]/u;
const scripts = new Map<string, number>();

// A number for the script; rarer scripts share one. As in sentencepiece, Japanese is one script.
function scriptOf(character: string, splitDigits: boolean): number {
  if (splitDigits && /\p{Nd}/u.test(character)) return DIGIT;
  let script = scripts.get(character);
  if (script === undefined) {
    script = HAN.test(character) ? 1 : 2 + SCRIPTS.findIndex((pattern) => pattern.test(character)) + 1;
    scripts.set(character, script);
  }
  return script;
}

const MAX_SYMBOLS = 2 ** 24;

/** Chunks of symbols and the counts of what two neighbours would join to. Two pairs that join to the same text are one candidate. */
class PairMerger {
  private readonly texts: string[] = []; // by symbol
  private readonly lengths: number[] = []; // characters, by symbol
  private readonly symbolOf = new Map<string, number>();
  // By place: the symbol (-1: merged into the one before), its neighbours (-1: none), and how often its chunk occurs.
  private readonly symbols: number[] = [];
  private readonly before: number[] = [];
  private readonly after: number[] = [];
  private readonly weights: number[] = [];
  // Candidates.
  private readonly candidateOf = new Map<string, number>();
  private readonly candidateOfPair = new Map<number, number>();
  private readonly candidateTexts: string[] = [];
  private readonly candidateLengths: number[] = [];
  private readonly counts: number[] = [];
  private readonly places: number[][] = [];
  private readonly touched = new Set<number>();
  // A binary heap of candidates with the counts they had when they were put there.
  private readonly heap: number[] = [];
  private readonly heapCounts: number[] = [];

  constructor(private readonly maxLength: number) {}

  add(chunk: readonly string[], weight: number): void {
    const start = this.symbols.length;
    chunk.forEach((character, i) => {
      this.symbols.push(this.symbol(character, 1));
      this.before.push(i === 0 ? -1 : start + i - 1);
      this.after.push(i === chunk.length - 1 ? -1 : start + i + 1);
      this.weights.push(weight);
    });
    for (let place = start; place < this.symbols.length; place++) this.count(place);
  }

  /** The texts of the best `merges` candidates, in the order in which they were merged; fewer when nothing is left to merge. */
  learn(merges: number): string[] {
    const pieces: string[] = [];
    this.pushTouched();
    while (pieces.length < merges) {
      const candidate = this.pop();
      if (candidate < 0) break;
      const text = this.candidateTexts[candidate];
      // A piece that comes about in another way later on is merged as well, but is no new piece.
      if (!this.symbolOf.has(text)) pieces.push(text);
      this.merge(candidate, this.symbol(text, this.candidateLengths[candidate]));
      this.pushTouched();
    }
    return pieces;
  }

  private symbol(text: string, length: number): number {
    let symbol = this.symbolOf.get(text);
    if (symbol === undefined) {
      symbol = this.texts.push(text) - 1;
      this.lengths.push(length);
      this.symbolOf.set(text, symbol);
    }
    return symbol;
  }

  // The candidate of a place and the one after it, or -1.
  private candidateAt(place: number): number {
    const next = place < 0 ? -1 : this.after[place];
    if (next < 0) return -1;
    const left = this.symbols[place];
    const right = this.symbols[next];
    const key = left * MAX_SYMBOLS + right;
    const known = this.candidateOfPair.get(key);
    if (known !== undefined) return known;
    const length = this.lengths[left] + this.lengths[right];
    let candidate = -1;
    if (length <= this.maxLength) {
      const text = this.texts[left] + this.texts[right];
      candidate = this.candidateOf.get(text) ?? -1;
      if (candidate < 0) {
        candidate = this.candidateTexts.push(text) - 1;
        this.candidateLengths.push(length);
        this.counts.push(0);
        this.places.push([]);
        this.candidateOf.set(text, candidate);
      }
    }
    this.candidateOfPair.set(key, candidate);
    return candidate;
  }

  private count(place: number): void {
    const candidate = this.candidateAt(place);
    if (candidate < 0) return;
    this.counts[candidate] += this.weights[place];
    this.places[candidate].push(place);
    this.touched.add(candidate);
  }

  private uncount(place: number): void {
    const candidate = this.candidateAt(place);
    if (candidate >= 0) this.counts[candidate] -= this.weights[place];
  }

  private merge(candidate: number, merged: number): void {
    const { symbols, before, after } = this;
    const places = this.places[candidate].sort((a, b) => a - b);
    this.places[candidate] = [];
    for (const place of places) {
      // The list also has places that have changed since.
      if (symbols[place] < 0 || this.candidateAt(place) !== candidate) continue;
      const previous = before[place];
      const next = after[place];
      this.uncount(place);
      this.uncount(next);
      if (previous >= 0) this.uncount(previous);
      symbols[place] = merged;
      symbols[next] = -1;
      after[place] = after[next];
      if (after[place] >= 0) before[after[place]] = place;
      if (previous >= 0) this.count(previous);
      this.count(place);
    }
  }

  private pushTouched(): void {
    for (const candidate of this.touched) if (this.counts[candidate] > 0) this.push(candidate);
    this.touched.clear();
  }

  // More frequent first; of equals the shorter, then by text.
  private comesFirst(a: number, aCount: number, b: number, bCount: number): boolean {
    if (aCount !== bCount) return aCount > bCount;
    const shorter = this.candidateLengths[a] - this.candidateLengths[b];
    return shorter !== 0 ? shorter < 0 : this.candidateTexts[a] < this.candidateTexts[b];
  }

  private push(candidate: number): void {
    const { heap, heapCounts } = this;
    const count = this.counts[candidate];
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.comesFirst(candidate, count, heap[parent], heapCounts[parent])) break;
      heap[at] = heap[parent];
      heapCounts[at] = heapCounts[parent];
      at = parent;
    }
    heap[at] = candidate;
    heapCounts[at] = count;
  }

  // The best candidate by its count of now, or -1. Counts that fell since are put back in their new place.
  private pop(): number {
    while (this.heap.length > 0) {
      const candidate = this.heap[0];
      const count = this.heapCounts[0];
      this.removeTop();
      const now = this.counts[candidate];
      if (now === count && now > 0) return candidate;
      if (now < count && now > 0) this.push(candidate);
    }
    return -1;
  }

  private removeTop(): void {
    const { heap, heapCounts } = this;
    const candidate = heap.pop()!;
    const count = heapCounts.pop()!;
    const size = heap.length;
    if (size === 0) return;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= size) break;
      if (child + 1 < size && this.comesFirst(heap[child + 1], heapCounts[child + 1], heap[child], heapCounts[child])) child++;
      if (!this.comesFirst(heap[child], heapCounts[child], candidate, count)) break;
      heap[at] = heap[child];
      heapCounts[at] = heapCounts[child];
      at = child;
    }
    heap[at] = candidate;
    heapCounts[at] = count;
  }
}
