// How a session of the Prompt API lives: what it is asked is done one after another, and broken off when a signal aborts or the session
// ends. What it does is conversation.ts's; errors are given the names that the specification has for them.

import { InputError, messageOf } from '../errors.js';

export class SessionLife {
  private readonly destruction = new AbortController();
  private last: Promise<unknown> = Promise.resolve();

  /** Aborted when the session ends. */
  get ended(): AbortSignal {
    return this.destruction.signal;
  }

  end(reason: unknown): void {
    this.destruction.abort(reason);
  }

  /** After all that was queued before. Rejects at once when the signal aborts or the session ends; a refusal is called `refused`. */
  queue<T>(signal: AbortSignal | undefined, refused: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.now(signal, refused, (composite) => {
      const result = this.last.then(() => {
        composite.throwIfAborted();
        return work(composite);
      });
      this.last = result.catch(() => {});
      return result;
    });
  }

  /** As `queue`, beside what is queued. */
  async now<T>(signal: AbortSignal | undefined, refused: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signals = combined([this.ended, signal]);
    const composite = signals.signal;
    try {
      composite.throwIfAborted();
      return await until(composite, work(composite));
    } catch (error) {
      throw composite.aborted ? composite.reason : failure(error, refused);
    } finally {
      signals.release();
    }
  }
}

/** What the specification says an error is: its own kinds as they are, a refusal of the engine's by the name that is given. */
export function failure(error: unknown, refused: string): unknown {
  if (error instanceof DOMException || error instanceof TypeError || error instanceof RangeError) return error;
  return new DOMException(messageOf(error), error instanceof InputError ? refused : 'UnknownError');
}

/** A signal that aborts with the first of several, and what takes it off them. */
export function combined(signals: readonly (AbortSignal | undefined)[]): { readonly signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const released = new AbortController();
  for (const signal of signals) {
    if (signal?.aborted) controller.abort(signal.reason);
    signal?.addEventListener('abort', () => controller.abort(signal.reason), { once: true, signal: released.signal });
  }
  return { signal: controller.signal, release: () => released.abort() };
}

/** Whether a value is an object of a class of the platform's, that of another frame too. */
export function isA<T>(name: string, value: unknown): value is T {
  return Object.prototype.toString.call(value) === `[object ${name}]`;
}

/** The work's outcome, or the signal's reason as soon as it aborts. */
export function until<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal?.removeEventListener('abort', abort));
  });
}
