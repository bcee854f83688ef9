// A kept file that a thread of its own writes while it is downloaded, so that the disk holds up neither what comes next nor the weights
// that are put onto the backend meanwhile. Its code is text, as wasm-thread.ts's is: neither a bundler nor another origin stands between.

import { workerOf } from '../worker-script.js';
import { inTime, type Receiver } from './place.js';

const threadSource = `
let handle;
const jobs = {
  async open(file) {
    handle = await file.createSyncAccessHandle();
    return handle.getSize();
  },
  write({ chunk, at }) {
    for (let done = 0; done < chunk.byteLength; ) {
      const rest = chunk.byteLength - done;
      const written = handle.write(chunk.subarray(done), { at: at + done });
      // Where there is no more room, Chromium tells of 2^32 - 1 bytes.
      if (!(written > 0 && written <= rest)) throw new DOMException('no more room', 'QuotaExceededError');
      done += written;
    }
    return { memory: chunk.buffer };
  },
  read({ memory, length, at }) {
    return { memory, found: handle.read(new Uint8Array(memory, 0, length), { at }) };
  },
  clear() {
    handle.truncate(0);
  },
  close() {
    handle.flush();
    handle.close();
  },
};
self.onmessage = async ({ data: { job, value } }) => {
  try {
    const answer = await jobs[job](value);
    self.postMessage({ answer }, answer?.memory ? [answer.memory] : []);
  } catch ({ name, message }) {
    self.postMessage({ name, message });
  }
};
`;

interface Answer {
  readonly answer?: unknown;
  /** Of what went wrong. */
  readonly name?: string;
  readonly message?: string;
}

/** Read at once. */
const readBytes = 1 << 20;

/** Memory that was the thread's meanwhile. */
interface Moved {
  readonly memory: ArrayBuffer;
}

/** Opens the file in a new thread. Throws where the page forbids such, the file is open elsewhere, or it is not opened in time. */
export async function receiveInThread(file: FileSystemFileHandle): Promise<Receiver> {
  const thread = workerOf(threadSource, { name: 'openelm file' });
  const { worker } = thread;
  const end = (): void => {
    broken ??= new Error('the file is closed');
    thread.end();
  };
  // Jobs are done one after the other, and so answered.
  const waiting: { resolve(answer: unknown): void; reject(reason: unknown): void }[] = [];
  let broken: Error | undefined;
  worker.onmessage = ({ data: { answer, name, message } }: MessageEvent<Answer>) => {
    const { resolve, reject } = waiting.shift()!;
    if (name === undefined) resolve(answer);
    else reject(new DOMException(message, name));
  };
  worker.onerror = ({ message }) => {
    broken = new Error(`a worker could not be started: ${message || 'the page forbids blob: workers'}`);
    for (const { reject } of waiting.splice(0)) reject(broken);
  };
  const ask = <T>(job: string, value?: unknown, moved: Transferable[] = []): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      if (broken) throw broken;
      waiting.push({ resolve: resolve as (answer: unknown) => void, reject });
      worker.postMessage({ job, value }, moved);
    });
  /** Memory that was read into, for the next. */
  const spare: ArrayBuffer[] = [];
  const reading = new Set<Promise<number>>();
  const readInSteps = async (bytes: Uint8Array, at: number): Promise<number> => {
    for (let done = 0; done < bytes.length; done += readBytes) {
      const length = Math.min(readBytes, bytes.length - done);
      const given = spare.pop() ?? new ArrayBuffer(readBytes);
      const asked = { memory: given, length, at: at + done };
      const { memory, found } = await ask<Moved & { readonly found: number }>('read', asked, [given]);
      bytes.set(new Uint8Array(memory, 0, found), done);
      spare.push(memory);
      if (found < length) return done + found;
    }
    return bytes.length;
  };
  let size: number;
  let failed = false;
  try {
    size = await inTime(ask<number>('open', file));
  } catch (error) {
    end();
    throw error;
  }
  return {
    get size() {
      return size;
    },
    get failed() {
      return failed;
    },
    write(chunk) {
      const at = size;
      size += chunk.byteLength;
      return ask<Moved>('write', { chunk, at }, [chunk.buffer]).then(
        ({ memory }) => memory,
        (error: unknown) => {
          failed = true;
          throw error;
        },
      );
    },
    read(bytes, at) {
      const read = readInSteps(bytes, at).finally(() => reading.delete(read));
      reading.add(read);
      return read;
    },
    async clear() {
      size = 0;
      await ask('clear');
    },
    async close() {
      await Promise.allSettled(reading); // in steps, which are asked for one after the other
      await ask('close').finally(end);
    },
  };
}
