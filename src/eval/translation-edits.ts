// The number of edits of the translation edit rate (Snover et al. 2006): words inserted, deleted, substituted, and runs of words shifted
// at the cost of one, found greedily within the limits of sacreBLEU's form of Tercom, whose every choice among equals it makes. A search,
// not a score.

/** Shifted runs are at most so long and move at most so far; the alignment stays so near to the diagonal. */
const [MAX_RUN, MAX_DISTANCE, BEAM] = [10, 50, 25];
/** Shifts tried at most before it is left at what there is. */
const MAX_TRIED = 1000;
/** Rows of alignments kept at most. */
const MAX_ROWS = 10_000;

const [SAME, SUBSTITUTE, DELETE, INSERT] = [0, 1, 2, 3];

/** Edits that make the hypothesis the reference. */
export function translationEdits(hypothesis: readonly string[], reference: readonly string[]): number {
  if (reference.length === 0) return hypothesis.length;
  const numbers = new Map([...new Set([...hypothesis, ...reference])].map((word, i) => [word, i]));
  const theirs = reference.map((word) => numbers.get(word)!);
  let ours = hypothesis.map((word) => numbers.get(word)!);
  const aligner = new Aligner(ours.length, theirs);
  let [shifts, tried] = [0, 0];
  while (true) {
    const best = bestShift(ours, theirs, aligner, tried);
    tried = best.tried;
    if (tried >= MAX_TRIED || best.gain <= 0) return shifts + aligner.edits(ours);
    shifts++;
    ours = best.words;
  }
}

interface Shift {
  readonly gain: number;
  readonly words: number[];
  /** Shifts tried so far. */
  readonly tried: number;
}

/** The shift that saves the most edits; of equals the longest run, then the first one, then the first place. */
function bestShift(ours: number[], theirs: readonly number[], aligner: Aligner, triedBefore: number): Shift {
  const before = aligner.edits(ours);
  const { place, wrongHere, wrongThere } = aligned(aligner.operations(ours));
  let best: { gain: number; length: number; from: number; to: number; words: number[] } | undefined;
  let tried = triedBefore;
  for (const [from, at, length] of commonRuns(ours, theirs)) {
    // A run is left where it is if all of it stands right, here or there, or if it would move into itself.
    if (!wrongHere.slice(from, from + length).includes(true) || !wrongThere.slice(at, at + length).includes(true)) continue;
    if (from <= place[at] && place[at] < from + length) continue;
    let last = -1;
    for (let offset = -1; offset < length; offset++) {
      const to = at + offset === -1 ? 0 : place[at + offset] + 1;
      if (to === last) continue;
      last = to;
      const words = shifted(ours, from, length, to);
      const gain = before - aligner.edits(words);
      tried++;
      const lead = best ? gain - best.gain || length - best.length || best.from - from || best.to - to : 1;
      if (lead > 0) best = { gain, length, from, to, words };
    }
    if (tried >= MAX_TRIED) break;
  }
  return { gain: best?.gain ?? 0, words: best?.words ?? ours, tried };
}

/** A run of words put before the place `to`; a place within or right behind the run counts from its beginning in what is left. */
function shifted(words: readonly number[], from: number, length: number, to: number): number[] {
  const rest = [...words.slice(0, from), ...words.slice(from + length)];
  const target = to > from + length ? to - length : to;
  return [...rest.slice(0, target), ...words.slice(from, from + length), ...rest.slice(target)];
}

/** Where, in both, the same words follow each other: start here, start there, every length. */
function* commonRuns(ours: readonly number[], theirs: readonly number[]): Generator<[number, number, number]> {
  for (let from = 0; from < ours.length; from++) {
    const end = Math.min(theirs.length, from + MAX_DISTANCE + 1);
    for (let at = Math.max(0, from - MAX_DISTANCE); at < end; at++) {
      const most = Math.min(MAX_RUN, ours.length - from, theirs.length - at);
      for (let length = 1; length <= most && ours[from + length - 1] === theirs[at + length - 1]; length++) {
        yield [from, at, length];
      }
    }
  }
}

/** For each word of the reference the place of what it is aligned to, the last one before it if to nothing; which words stand wrong. */
function aligned(operations: readonly number[]) {
  const place: number[] = [];
  const wrongHere: boolean[] = [];
  const wrongThere: boolean[] = [];
  for (const operation of operations) {
    if (operation !== INSERT) wrongHere.push(operation !== SAME);
    if (operation === DELETE) continue;
    wrongThere.push(operation !== SAME);
    place.push(wrongHere.length - 1);
  }
  return { place, wrongHere, wrongThere };
}

/** Edits from the words so far to each beginning of the reference, from one of `start` words on, with the last operation. */
interface Row {
  readonly start: number;
  readonly edits: Float64Array;
  readonly operations: Uint8Array;
  /** What the next word makes of it; not made where none is kept. */
  next?: Map<number, Row>;
}

/** Edit distances (Levenshtein) of orders of the same number of words to one reference, what they begin with in common found once. */
class Aligner {
  private readonly first: Row;
  private readonly slope: number;
  private readonly beam: number;
  private kept = 0;

  constructor(
    private readonly length: number,
    private readonly theirs: readonly number[],
  ) {
    this.slope = length > 0 ? theirs.length / length : 1;
    this.beam = BEAM < this.slope / 2 ? Math.ceil(this.slope / 2 + BEAM) : BEAM;
    this.first = {
      start: 0,
      edits: Float64Array.from({ length: theirs.length + 1 }, (_, j) => j),
      operations: new Uint8Array(theirs.length + 1).fill(INSERT),
    };
  }

  edits(words: readonly number[]): number {
    return this.rows(words).at(-1)!.edits.at(-1)!;
  }

  /** From the beginning on. */
  operations(words: readonly number[]): number[] {
    const rows = this.rows(words);
    const operations: number[] = [];
    let [i, j] = [words.length, this.theirs.length];
    while (i > 0 || j > 0) {
      const operation = rows[i].operations[j - rows[i].start];
      operations.push(operation);
      if (operation !== INSERT) i--;
      if (operation !== DELETE) j--;
    }
    return operations.reverse();
  }

  private rows(words: readonly number[]): Row[] {
    const rows = [this.first];
    for (const [i, word] of words.entries()) {
      const before = rows[i];
      let row = before.next?.get(word);
      if (!row) {
        row = this.row(before, word, i + 1);
        if (this.kept++ < MAX_ROWS) {
          before.next ??= new Map();
          before.next.set(word, row);
        }
      }
      rows.push(row);
    }
    return rows;
  }

  private row(before: Row, word: number, i: number): Row {
    const { theirs } = this;
    const diagonal = Math.floor(i * this.slope);
    const start = Math.max(0, diagonal - this.beam);
    const end = i === this.length ? theirs.length + 1 : Math.min(theirs.length + 1, diagonal + this.beam);
    const edits = new Float64Array(end - start);
    const operations = new Uint8Array(end - start);
    const over = before.edits;
    const ahead = start - before.start;
    let [left, corner] = [Number.POSITIVE_INFINITY, over[ahead - 1] ?? Number.POSITIVE_INFINITY];
    for (let k = 0; k < edits.length; k++) {
      const above = k + ahead < over.length ? over[k + ahead] : Number.POSITIVE_INFINITY;
      const isSame = start + k > 0 && word === theirs[start + k - 1];
      // Of equals: the same word or another in its place, then a deletion, then an insertion.
      let least = isSame ? corner : corner + 1;
      let operation = isSame ? SAME : SUBSTITUTE;
      if (above + 1 < least) {
        least = above + 1;
        operation = DELETE;
      }
      if (left + 1 < least) {
        least = left + 1;
        operation = INSERT;
      }
      edits[k] = least;
      operations[k] = operation;
      left = least;
      corner = above;
    }
    return { start, edits, operations };
  }
}
