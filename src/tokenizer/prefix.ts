// What sequences of ids begin with alike: that much of one is computed already when another is. Nothing else about sequences.

/** How many ids two sequences begin with alike. */
export function commonPrefix(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const end = Math.min(a.length, b.length);
  let i = 0;
  while (i < end && a[i] === b[i]) i++;
  return i;
}
