// How much work a grammar may make of a thread that others wait for. Work is counted in units that do not depend on the machine: states,
// steps and pairs of states looked at, some tenths of a microsecond each. Making automata is synchronous: one count at a time.

/** A grammar was more work than `within` allowed. */
export class TooMuchAtOnce extends Error {
  constructor() {
    super('the grammar is more work than may be done at once');
  }
}

let left = Number.POSITIVE_INFINITY;

/** Takes `units` from what is left; throws `TooMuchAtOnce` when nothing is. */
export function spend(units: number): void {
  left -= units;
  if (left < 0) throw new TooMuchAtOnce();
}

/** Runs `work` with so many units. */
export function within<T>(units: number, work: () => T): T {
  const before = left;
  left = units;
  try {
    return work();
  } finally {
    left = before;
  }
}
