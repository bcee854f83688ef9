// The places in a cache where sequences keep their keys and values, each with room for a whole context. Who comes when all are
// taken waits for its turn, in order. A place keeps its tokens after its user has left, so that a prompt which begins alike starts
// there, or takes what it shares. What is computed in them is the engine's business.

import { commonPrefix } from '../tokenizer/prefix.js';

export interface Slot {
  readonly firstRow: number;
  /** Tokens whose keys and values lie in the cache, and the adapter that made them. */
  cached: number[];
  adapter: number;
  lastUsed: number;
  busy: boolean;
}

/** Fewer tokens than this are not worth another's place. */
export const leastShared = 32;

interface Waiting {
  readonly prompt: ArrayLike<number>;
  readonly adapter: number;
  resolve(slot: Slot | undefined): void;
  reject(error: Error): void;
}

export class Slots {
  private readonly all: readonly Slot[];
  private waiting: Waiting[] = [];
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
   * A slot for a prompt, cut back to what agrees with it; undefined when the signal aborts first. Slots are given in the order in
   * which they were asked for.
   */
  async take(prompt: ArrayLike<number>, adapter: number, signal: AbortSignal | undefined): Promise<Slot | undefined> {
    if (this.closed) throw gone();
    if (signal?.aborted) return undefined;
    const free = this.waiting.length === 0 ? this.choose(prompt, adapter) : undefined;
    if (free) return free;
    let giveUp = (): void => {};
    try {
      return await new Promise((resolve, reject) => {
        const place: Waiting = { prompt, adapter, resolve, reject };
        this.waiting.push(place);
        giveUp = () => {
          this.waiting = this.waiting.filter((other) => other !== place);
          resolve(undefined);
        };
        signal?.addEventListener('abort', giveUp);
      });
    } finally {
      signal?.removeEventListener('abort', giveUp);
    }
  }

  /** Gives a slot back, with the tokens that it holds. */
  release(slot: Slot): void {
    slot.busy = false;
    const next = this.waiting.shift();
    next?.resolve(this.choose(next.prompt, next.adapter));
  }

  /** The slot other than `own` whose tokens begin most like a prompt's, and how many agree. */
  mostLike(own: Slot, prompt: ArrayLike<number>): { readonly slot: Slot; readonly shared: number } | undefined {
    let best: { slot: Slot; shared: number } | undefined;
    for (const slot of this.all) {
      const shared = slot === own ? 0 : agreement(slot, prompt, own.adapter);
      if (shared > (best?.shared ?? 0)) best = { slot, shared };
    }
    return best;
  }

  /** The slot, busy or free, that has most of some tokens, from the first on, and how many. */
  nearest(tokens: ArrayLike<number>, adapter: number): { readonly slot: Slot; readonly shared: number } | undefined {
    const all = this.all
      .filter((slot) => slot.adapter === adapter)
      .map((slot) => ({ slot, shared: commonPrefix(slot.cached, tokens) }));
    return all.reduce<(typeof all)[number] | undefined>((a, b) => (a && a.shared >= b.shared ? a : b), undefined);
  }

  /** Ends the waiting: whoever waits, or comes later, is told that the engine is gone. */
  close(): void {
    this.closed = true;
    for (const { reject } of this.waiting.splice(0)) reject(gone());
  }

  /**
   * The free slot that agrees longest with the prompt; but when that one holds more, which another conversation may go on with, the
   * least recently used: what is shared can be copied.
   */
  private choose(prompt: ArrayLike<number>, adapter: number): Slot | undefined {
    const free = this.all.filter((slot) => !slot.busy);
    if (free.length === 0) return undefined;
    const agrees = (slot: Slot): number => agreement(slot, prompt, adapter);
    const nearest = free.reduce((a, b) => (agrees(b) > agrees(a) ? b : a));
    const oldest = free.reduce((a, b) => (b.lastUsed < a.lastUsed ? b : a));
    const loses = nearest.cached.length - agrees(nearest) >= leastShared;
    const worth = agrees(nearest) > 0 && !(loses && agrees(nearest) >= leastShared);
    const chosen = worth ? nearest : oldest;
    chosen.busy = true;
    chosen.lastUsed = ++this.clock;
    chosen.cached.length = agrees(chosen);
    chosen.adapter = adapter;
    return chosen;
  }
}

/** The last prompt token is always computed: its logits are wanted. */
function agreement(slot: Slot, prompt: ArrayLike<number>, adapter: number): number {
  return slot.adapter === adapter ? Math.min(commonPrefix(slot.cached, prompt), Math.max(0, prompt.length - 1)) : 0;
}

function gone(): Error {
  return new Error('the engine was disposed');
}
