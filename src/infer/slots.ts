// The places in a cache where sequences keep their keys and values, each with room for a whole context. Who comes when all are
// taken waits for its turn. A place keeps its tokens after its user has left, so that a prompt which begins alike starts there.
// What is computed in them is the engine's business.

import { commonPrefix } from '../tokenizer/prefix.js';

export interface Slot {
  readonly firstRow: number;
  /** Tokens whose keys and values lie in the cache, and the adapter that made them. */
  cached: number[];
  adapter: number;
  lastUsed: number;
  busy: boolean;
}

export class Slots {
  private readonly all: readonly Slot[];
  private waiting: (() => void)[] = [];
  private closed = false;
  private clock = 0;

  constructor(
    readonly count: number,
    rows: number,
  ) {
    this.all = Array.from({ length: count }, (_, i) => ({
      firstRow: i * rows,
      cached: [],
      adapter: 0,
      lastUsed: 0,
      busy: false,
    }));
  }

  /**
   * The free slot whose tokens agree longest with the prompt (then the least recently used), cut back to what agrees; undefined
   * when the signal aborts first.
   */
  async take(prompt: ArrayLike<number>, adapter: number, signal: AbortSignal | undefined): Promise<Slot | undefined> {
    for (;;) {
      if (this.closed) throw new Error('the engine was disposed');
      if (signal?.aborted) {
        this.waiting.shift()?.(); // it may have been this one's turn
        return undefined;
      }
      const free = this.all.filter((slot) => !slot.busy);
      if (free.length > 0) {
        // The last prompt token is always computed: its logits are wanted.
        const agreement = (slot: Slot): number =>
          slot.adapter === adapter ? Math.min(commonPrefix(slot.cached, prompt), Math.max(0, prompt.length - 1)) : 0;
        const best = free.reduce((a, b) => {
          const difference = agreement(b) - agreement(a);
          return difference > 0 || (difference === 0 && b.lastUsed < a.lastUsed) ? b : a;
        });
        best.busy = true;
        best.lastUsed = ++this.clock;
        best.cached.length = agreement(best);
        best.adapter = adapter;
        return best;
      }
      let wake = (): void => {};
      const giveUp = (): void => wake();
      signal?.addEventListener('abort', giveUp);
      await new Promise<void>((resolve) => {
        wake = resolve;
        this.waiting.push(resolve);
      });
      signal?.removeEventListener('abort', giveUp);
      this.waiting = this.waiting.filter((other) => other !== wake);
    }
  }

  /** Gives a slot back, with the tokens that it holds. */
  release(slot: Slot): void {
    slot.busy = false;
    this.waiting.shift()?.();
  }

  /** Ends the waiting: whoever waits, or comes later, is told that the engine is gone. */
  close(): void {
    this.closed = true;
    for (const wake of this.waiting.splice(0)) wake();
  }
}
