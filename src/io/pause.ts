// Waiting before another try, and not longer than so long. What is tried or waited for, and how often, is the caller's.

/** Resolves after so many milliseconds. Rejects with the signal's reason once that is aborted. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/** The work's outcome, or `late` thrown once it took so many milliseconds; the work itself goes on. */
export async function within<T>(milliseconds: number, work: Promise<T>, late: Error): Promise<T> {
  const inTime = new AbortController();
  const over = pause(milliseconds, inTime.signal).then(() => {
    throw late;
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    inTime.abort();
  }
}
