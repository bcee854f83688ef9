// A file on a server as bytes by position, for a look into it before it is downloaded: its header, mostly. Each read is a request of its
// own but those of the beginning; downloads are download.ts's.

import { InputError, messageOf } from '../../errors.js';
import { type ByteSource, checkRange } from '../bytes.js';

export interface RangeSettings {
  readonly fetch?: typeof globalThis.fetch;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** So much is fetched at first: most headers. */
const firstBytes = 1 << 20;

/** Undefined where the server sends no ranges, or does not answer: a download will say why. Reads throw `InputError`. */
export async function rangeSource(name: string, url: string, settings: RangeSettings = {}): Promise<ByteSource | undefined> {
  const { fetch = globalThis.fetch, signal } = settings;
  const ask = (from: number, to: number): Promise<Response> =>
    fetch(url, { headers: { ...settings.headers, Range: `bytes=${from}-${to - 1}` }, signal, cache: 'no-store' });
  const response = await ask(0, firstBytes).catch(() => undefined);
  signal?.throwIfAborted();
  const size = Number(/^bytes 0-[0-9]+\/([0-9]+)$/.exec(response?.headers.get('content-range') ?? '')?.[1]);
  if (response?.status !== 206 || !Number.isSafeInteger(size)) {
    await response?.body?.cancel().catch(() => undefined);
    return undefined;
  }
  const first = new Uint8Array(await response.arrayBuffer());
  const source: ByteSource = {
    name,
    size,
    async read(offset, length) {
      checkRange(source, offset, length);
      if (offset + length <= first.length) return first.subarray(offset, offset + length);
      const broken = (why: string) => new InputError(`${url}: bytes ${offset} to ${offset + length} cannot be had: ${why}`);
      let bytes: Uint8Array;
      try {
        const answer = await ask(offset, offset + length);
        if (answer.headers.get('content-range') !== `bytes ${offset}-${offset + length - 1}/${size}`) {
          await answer.body?.cancel().catch(() => undefined);
          throw new Error(`the server answers with status ${answer.status} and another range`);
        }
        bytes = new Uint8Array(await answer.arrayBuffer());
      } catch (error) {
        signal?.throwIfAborted();
        throw broken(messageOf(error));
      }
      if (bytes.length !== length) throw broken(`${bytes.length} bytes came`);
      return bytes;
    },
    async close() {},
  };
  return source;
}
