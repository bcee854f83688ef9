// Sets of code points as sorted ranges that do not touch, and how ranges of them look as bytes of UTF-8. Surrogates are in no set:
// no text in UTF-8 holds one. Knows nothing of automata.

/** Both ends belong to it. */
export type Range = readonly [low: number, high: number];
export type CharacterSet = readonly Range[];

export const lastCharacter = 0x10ffff;
const surrogates: CharacterSet = [[0xd800, 0xdfff]];

/** Any ranges, in any order, as a set. */
export function characterSet(ranges: Iterable<Range>): CharacterSet {
  const merged: [number, number][] = [];
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else merged.push([low, high]);
  }
  return merged;
}

/** What is not in the set. */
export function complement(set: CharacterSet): CharacterSet {
  return without([[0, lastCharacter]], characterSet([...set, ...surrogates]));
}

export function without(set: CharacterSet, taken: CharacterSet): CharacterSet {
  const left: Range[] = [];
  for (const [low, high] of set) {
    let from = low;
    for (const [start, end] of taken) {
      if (end < from || start > high) continue;
      if (start > from) left.push([from, start - 1]);
      from = end + 1;
    }
    if (from <= high) left.push([from, high]);
  }
  return left;
}

export const anyCharacter = complement([]);

/** Sequences of byte ranges that together are the UTF-8 of exactly the characters of a range. */
export function utf8Sequences([low, high]: Range): readonly Range[][] {
  if (high <= 0x7f) return [[[low, high]]];
  const name = low * 0x200000 + high;
  const found = known.get(name);
  if (found) return found;
  const sequences = sequencesOf([low, high]);
  if (known.size > 10_000) known.clear();
  known.set(name, sequences);
  return sequences;
}

const known = new Map<number, Range[][]>();

function sequencesOf([low, high]: Range): Range[][] {
  return without([[low, high]], surrogates).flatMap(([from, to]) => {
    const parts: Range[][] = [];
    let start = from;
    for (const end of [0x7f, 0x7ff, 0xffff, lastCharacter]) {
      if (start > to || start > end) continue;
      parts.push(...sameLength(bytesOf(start), bytesOf(Math.min(to, end))));
      start = end + 1;
    }
    return parts;
  });
}

function bytesOf(character: number): number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(character))];
}

/** Splits at the first byte: where it is an end of the range the others are bounded, in between they are free. */
function sameLength(low: readonly number[], high: readonly number[]): Range[][] {
  const [first, last] = [low[0], high[0]];
  if (low.length === 1) return [[[first, last]]];
  if (first === last) return sameLength(low.slice(1), high.slice(1)).map((rest) => [[first, first], ...rest]);
  const lowest = low.slice(1).map(() => 0x80);
  const highest = low.slice(1).map(() => 0xbf);
  const lowFree = low.slice(1).every((byte) => byte === 0x80);
  const highFree = high.slice(1).every((byte) => byte === 0xbf);
  const middle: Range = [lowFree ? first : first + 1, highFree ? last : last - 1];
  return [
    ...(lowFree ? [] : sameLength(low.slice(1), highest).map((rest): Range[] => [[first, first], ...rest])),
    ...(middle[0] <= middle[1] ? [[middle, ...lowest.map((): Range => [0x80, 0xbf])]] : []),
    ...(highFree ? [] : sameLength(lowest, high.slice(1)).map((rest): Range[] => [[last, last], ...rest])),
  ];
}
