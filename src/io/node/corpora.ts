// Corpora on this machine's disks: a file's bytes in order, from any position, gzip and zstd undone on the way. What the bytes
// hold (lines, columns, documents) is not known here.

import { type Duplex, PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import { InputError, messageOf } from '../../errors.js';
import type { ByteSource } from '../bytes.js';
import { encodingOf, toUtf8 } from '../encoding.js';
import { type FrameDecoder, unzstd } from '../zstd.js';
import { openFile } from './files.js';

const CHUNK = 1 << 20;
/** Reads corpora from files: what the data pipeline wants of its surroundings. */
export const localCorpora = {
  open: (path: string): Promise<ByteSource> => openFile(path),
  bytes: corpusBytes,
};

/**
 * The text of a file as UTF-8 from position `from` on, in chunks; decompressed when its name ends in `.gz` or `.zst`, turned from
 * UTF-16 when it begins so; `from` counts bytes of what comes out. Throws `InputError` when the file is missing, cut or damaged.
 */
export async function* corpusBytes(path: string, from = 0): AsyncGenerator<Uint8Array> {
  const source = await openFile(path);
  try {
    if (path.endsWith('.gz')) yield* skip(toUtf8(gunzip(source), path), from);
    else if (path.endsWith('.zst')) yield* skip(toUtf8(unzstd(fileChunks(source, 0), path, nodeZstd), path), from);
    else if (encodingOf(await source.read(0, Math.min(4, source.size)), path) === 'utf-8') yield* fileChunks(source, from);
    else yield* skip(toUtf8(fileChunks(source, 0), path), from);
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

async function* gunzip(source: ByteSource): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  let at = 0;
  try {
    do {
      const stream = zlib.createGunzip({ chunkSize: CHUNK >> 2 });
      for await (const chunk of through(stream, fileChunks(source, at))) {
        bytes += chunk.length;
        yield chunk;
      }
      // zlib ends at what begins no further member; only zeros, which some tools pad with, may be there.
      at = await nextByte(source, at + stream.bytesWritten);
    } while (at < source.size);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(
      `${source.name}: the gzip data break off or are damaged after ${bytes} decompressed bytes: ${messageOf(error)}`,
    );
  }
}

/** Where the first byte is that is not zero, from a position on; the file's size where there is none. */
async function nextByte(source: ByteSource, from: number): Promise<number> {
  let at = from;
  for await (const chunk of fileChunks(source, from)) {
    const found = chunk.findIndex((byte) => byte !== 0);
    if (found >= 0) return at + found;
    at += chunk.length;
  }
  return at;
}

// Node has its own libzstd from 22.15 on, which works on other threads; older ones take the one in WebAssembly.
const { createZstdDecompress } = zlib as { createZstdDecompress?: (options: { chunkSize: number }) => Duplex };
const nodeZstd: FrameDecoder | undefined =
  createZstdDecompress && ((parts) => through(createZstdDecompress({ chunkSize: CHUNK >> 2 }), parts));

/** What a stream makes of chunks; no more is under way than the streams' buffers hold. Rejects with what went wrong first. */
async function* through(stream: Duplex, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const stop = new AbortController();
  const out = new PassThrough({ readableHighWaterMark: CHUNK });
  let failure: unknown;
  const running = pipeline(Readable.from(chunks), stream, out, { signal: stop.signal }).catch((error) => {
    failure = error;
  });
  try {
    for await (const chunk of out) yield chunk as Uint8Array;
  } catch {
    // the pipeline's failure says more
  } finally {
    stop.abort();
    await running;
  }
  if (failure !== undefined && (failure as Error).name !== 'AbortError') throw failure;
}
