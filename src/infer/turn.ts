// Letting others run: long work on the thread of the event loop is cut into turns of a few milliseconds.

declare const setImmediate: ((callback: () => void) => unknown) | undefined;

const turnMs = 3;

/** Counts the time of one piece of work; `rest` waits for the next turn of the event loop when enough has passed. */
export class Turns {
  private began = performance.now();

  async rest(): Promise<void> {
    if (performance.now() - this.began < turnMs) return;
    await new Promise<void>((resolve) => (typeof setImmediate === 'function' ? setImmediate(resolve) : setTimeout(resolve)));
    this.began = performance.now();
  }
}
