// Who takes part in the next step, with how many tokens. Those that already speak come first, a token each; prompts get the rest, and
// only so much of it that nobody who speaks waits long for its next token. Numbers only; what a step does is `engine.ts`.

import { maxStepRows } from './step.js';

/** A request as the plan sees it, in the order in which they came. */
interface Wanting<Request> {
  readonly request: Request;
  /** Tokens still to be computed; more than one are a prompt. */
  readonly pending: number;
}

export interface Share<Request> {
  readonly request: Request;
  readonly count: number;
}

/**
 * Shares a step of at most 256 rows. `promptRows`: what prompts may take beside those that speak. Half of the prompts' room belongs to
 * the one that came first, so that none waits for ever; the rest goes to those that need least.
 */
export function shareStep<Request>(wanting: readonly Wanting<Request>[], promptRows: number): Share<Request>[] {
  const speaking = wanting.filter(({ pending }) => pending === 1).slice(0, maxStepRows);
  const prompts = wanting.filter(({ pending }) => pending > 1);
  const shares = speaking.map(({ request }) => ({ request, count: 1 }));
  if (prompts.length === 0) return shares;
  const left = maxStepRows - speaking.length;
  let room = speaking.length === 0 ? left : Math.min(left, promptRows);
  const [first] = prompts;
  const reserved = Math.min(first.pending, Math.ceil(room / 2));
  room -= reserved;
  const shortest = [...prompts].sort((a, b) => a.pending - b.pending);
  for (const { request, pending } of shortest) {
    const own = request === first.request ? reserved : 0;
    const count = own + Math.min(pending - own, room);
    room -= count - own;
    if (count > 0) shares.push({ request, count });
  }
  return shares;
}

/** Milliseconds that a step may take while somebody speaks. */
const stepMs = 40;
const leastRows = 16;

/** How many rows fit into `stepMs`, by the steps of late. */
export class Pace {
  private msPerRow = 0;

  get rows(): number {
    if (this.msPerRow === 0) return 4 * leastRows;
    const rows = Math.floor(stepMs / this.msPerRow / leastRows) * leastRows;
    return Math.min(maxStepRows, Math.max(leastRows, rows));
  }

  /** A step's rows and time. Steps of few rows say little: they read all weights for them. */
  add(rows: number, milliseconds: number): void {
    if (rows < leastRows) return;
    const now = milliseconds / rows;
    this.msPerRow = this.msPerRow === 0 ? now : this.msPerRow + 0.2 * (now - this.msPerRow);
  }
}

/** What a step of one token costs, by the steps of late; the first ones, which make programs ready, do not count. */
export class PlainSteps {
  milliseconds = 0;
  private seen = 0;

  get isKnown(): boolean {
    return this.seen > 2;
  }

  add(milliseconds: number): void {
    this.seen++;
    if (this.seen < 3) return;
    this.milliseconds = this.seen === 3 ? milliseconds : this.milliseconds + 0.1 * (milliseconds - this.milliseconds);
  }
}
