// An answer as a stream of its pieces, which ends with it, and which breaks it off when it is cancelled.

import { combined } from './session-life.js';

/** `ask` is called at once, with a signal that aborts as `signal` does, or when the stream is cancelled. */
export function textStream(
  signal: AbortSignal | undefined,
  ask: (signal: AbortSignal, onText: (text: string) => void) => Promise<unknown>,
): ReadableStream<string> {
  const left = new AbortController();
  const signals = combined([signal, left.signal]);
  let over = false;
  const end = (how: () => void): void => {
    if (!over) how();
    over = true;
    signals.release();
  };
  const stream = new ReadableStream<string>({
    start: (controller) => {
      const onText = (text: string): void => {
        if (!over) controller.enqueue(text);
      };
      ask(signals.signal, onText).then(
        () => end(() => controller.close()),
        (error: unknown) => end(() => controller.error(error)),
      );
    },
    cancel: () => {
      over = true;
      left.abort();
    },
  });
  return iterable(stream);
}

/** For browsers whose streams cannot be iterated. */
function iterable(stream: ReadableStream<string>): ReadableStream<string> {
  if (Symbol.asyncIterator in stream) return stream;
  return Object.defineProperty(stream as ReadableStream<string>, Symbol.asyncIterator, {
    async *value() {
      const reader = (stream as ReadableStream<string>).getReader();
      try {
        for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
      } finally {
        await reader.cancel().catch(() => {});
        reader.releaseLock();
      }
    },
  });
}
