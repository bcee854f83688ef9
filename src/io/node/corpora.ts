// Corpora on this machine's disks: a file's bytes in order, from any position, gzip and zstd undone on the way. What the bytes
// hold (lines, columns, documents) is not known here.

import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Decompress } from 'fzstd';
import { InputError, messageOf } from '../../errors.js';
import type { ByteSource } from '../bytes.js';
import { openFile } from './files.js';

const CHUNK = 1 << 20;
// What zstd itself accepts without being told otherwise; more would be claimed memory.
const MAX_WINDOW = 1 << 27;

/** Reads corpora from files: what the data pipeline wants of its surroundings. */
export const localCorpora = {
  open: (path: string): Promise<ByteSource> => openFile(path),
  bytes: corpusBytes,
};

/**
 * The bytes of a file from position `from` on, in chunks; decompressed when its name ends in `.gz` or `.zst`, and then `from`
 * counts decompressed bytes. Throws `InputError` when the file is missing, cut or damaged.
 */
export async function* corpusBytes(path: string, from = 0): AsyncGenerator<Uint8Array> {
  const source = await openFile(path);
  try {
    if (path.endsWith('.gz')) yield* skip(gunzip(fileChunks(source, 0), path), from);
    else if (path.endsWith('.zst')) yield* skip(unzstd(fileChunks(source, 0), path), from);
    else yield* fileChunks(source, from);
  } finally {
    await source.close();
  }
}

async function* fileChunks(source: ByteSource, from: number): AsyncGenerator<Uint8Array> {
  for (let at = from; at < source.size; at += CHUNK) yield await source.read(at, Math.min(CHUNK, source.size - at));
}

async function* skip(chunks: AsyncIterable<Uint8Array>, count: number): AsyncGenerator<Uint8Array> {
  let left = count;
  for await (const chunk of chunks) {
    if (left >= chunk.length) left -= chunk.length;
    else {
      yield left > 0 ? chunk.subarray(left) : chunk;
      left = 0;
    }
  }
}

async function* gunzip(chunks: AsyncIterable<Uint8Array>, path: string): AsyncGenerator<Uint8Array> {
  const stop = new AbortController();
  const out = new PassThrough({ readableHighWaterMark: CHUNK });
  let failure: unknown;
  const running = pipeline(Readable.from(chunks), createGunzip({ chunkSize: CHUNK >> 2 }), out, { signal: stop.signal }).catch(
    (error) => {
      failure = error;
    },
  );
  let bytes = 0;
  try {
    for await (const chunk of out) {
      bytes += (chunk as Uint8Array).length;
      yield chunk as Uint8Array;
    }
  } catch {
    // the pipeline's failure says more
  } finally {
    stop.abort();
    await running;
  }
  if (failure instanceof InputError) throw failure;
  if (failure !== undefined && (failure as Error).name !== 'AbortError') throw damaged(path, 'gzip', bytes, failure);
}

async function* unzstd(chunks: AsyncIterable<Uint8Array>, path: string): AsyncGenerator<Uint8Array> {
  let ready: Uint8Array[] = [];
  let bytes = 0;
  const decompress = new Decompress((chunk) => {
    if (chunk.length > 0) ready.push(chunk);
  });
  const push = (chunk: Uint8Array, last: boolean): void => {
    try {
      decompress.push(chunk, last);
    } catch (error) {
      throw damaged(path, 'zstd', bytes, error);
    }
  };
  let first = true;
  for await (const chunk of chunks) {
    if (first) checkWindow(chunk, path);
    first = false;
    // In small steps: what one step makes is held at once, and text may shrink a hundredfold.
    for (let at = 0; at < chunk.length; at += CHUNK >> 4) {
      push(chunk.subarray(at, at + (CHUNK >> 4)), false);
      for (const part of ready) {
        bytes += part.length;
        yield part;
      }
      ready = [];
    }
  }
  push(new Uint8Array(0), true);
  yield* ready;
}

// The decompressor allocates the window that a frame's header claims (RFC 8878, 3.1.1.1).
function checkWindow(head: Uint8Array, path: string): void {
  const isFrame = head.length >= 14 && head[0] === 0x28 && head[1] === 0xb5 && head[2] === 0x2f && head[3] === 0xfd;
  if (!isFrame) return; // a skippable frame, or no zstd at all: the decompressor says so
  let window = 2 ** (10 + (head[5] >> 3));
  if ((head[4] & 0x20) !== 0) {
    // A single segment: its window is its content, whose size follows the dictionary id.
    const at = 5 + [0, 1, 2, 4][head[4] & 3];
    const bytes = 1 << (head[4] >> 6);
    window = 0;
    for (let i = 0; i < bytes && at + i < head.length; i++) window += head[at + i] * 256 ** i;
  }
  if (window > MAX_WINDOW) {
    throw new InputError(`${path}: compressed with a window of ${window} bytes; at most ${MAX_WINDOW} is read here`);
  }
}

function damaged(path: string, kind: string, bytes: number, error: unknown): InputError {
  return new InputError(
    `${path}: the ${kind} data break off or are damaged after ${bytes} decompressed bytes: ${messageOf(error)}`,
  );
}
