// How much work the templates of strangers may do: nested loops and doubled texts end in a sentence, not in a hang. Work is counted in
// steps that do not depend on the machine; a clock stands behind for what the count takes too lightly. Rendering is synchronous: one
// count at a time.

import { InputError } from '../errors.js';

/** What a node of a template costs; a character or an item that is made costs 1. */
export const STEP = 16;

/** A render may cost this much, and four times the characters that it was given: half a second on a slow machine. */
const LIMIT = 48e6;

/** And it may take so long, in milliseconds. */
const DEADLINE = 1200;

/** How much is spent between two looks at the clock. */
const GLANCE = 1e5;

let left = Number.POSITIVE_INFINITY;
let nextGlance = Number.NEGATIVE_INFINITY;
let end = Number.POSITIVE_INFINITY;

/** Takes `units` from what is left; throws `InputError` when nothing is. Call it before making something large. */
export function spend(units: number): void {
  left -= units;
  if (left > nextGlance) return;
  nextGlance = Math.max(0, left - GLANCE);
  if (left < 0 || Number.isNaN(left) || performance.now() > end) {
    throw new InputError('it asks for too much work (endless loops, or a text of many megabytes out of nothing)');
  }
}

/** A text that was made, paid for. */
export function made(text: string): string {
  spend(text.length);
  return text;
}

/** Runs `work` with a fresh budget, larger by what `given` characters of input allow. */
export function withBudget<T>(given: number, work: () => T): T {
  const before = [left, nextGlance, end];
  left = LIMIT + 4 * given;
  nextGlance = left - GLANCE;
  end = performance.now() + DEADLINE;
  try {
    return work();
  } finally {
    [left, nextGlance, end] = before;
  }
}
