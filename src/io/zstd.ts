// Zstandard (RFC 8878) from untrusted files, checked and in bounded pieces. Frames are cut into blocks here, so that a decoder
// makes at most 128 KiB at once, and a cut, a claim or a block that cannot be is noticed before any decoder sees it; the decoder
// itself (libzstd in WebAssembly, or the one that is passed in) checks contents and checksums. Nothing here compresses.

import { InputError, messageOf } from '../errors.js';

/** Decodes one frame, given as its header, its blocks and its checksum, one after another. Throws when it is damaged. */
export type FrameDecoder = (parts: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;

/** What zstd itself accepts without being told otherwise; more would be claimed memory. */
const MAX_WINDOW = 1 << 27;
const MAX_BLOCK = 1 << 17;
const FRAME = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;

/**
 * The content of zstd data, frame by frame. Throws `InputError` with the name when the data break off, are damaged (a wrong content
 * checksum is damage), are no zstd, or want a dictionary or a window of more than 128 MiB.
 */
export async function* unzstd(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
  decode: FrameDecoder = decodeInWasm,
): AsyncGenerator<Uint8Array> {
  const intake = new Intake(chunks);
  let bytes = 0;
  try {
    while (await skipToFrame(intake)) {
      for await (const piece of decode(frameParts(intake, name))) {
        bytes += piece.length;
        yield piece;
      }
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(
      `${name}: the zstd data break off or are damaged after ${bytes} decompressed bytes: ${messageOf(error)}`,
    );
  } finally {
    await intake.close();
  }
}

/** Bytes from chunks, a wanted number at a time. */
class Intake {
  private readonly iterator: AsyncIterator<Uint8Array>;
  private held: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.iterator = chunks[Symbol.asyncIterator]();
  }

  /** The next bytes, still to be taken; fewer than `count` only at the end. */
  async peek(count: number): Promise<Uint8Array> {
    while (this.held.length < count) {
      const { value, done } = await this.iterator.next();
      if (done) break;
      const joined = new Uint8Array(this.held.length + value.length);
      joined.set(this.held);
      joined.set(value, this.held.length);
      this.held = joined;
    }
    return this.held.subarray(0, count);
  }

  async take(count: number): Promise<Uint8Array> {
    const taken = await this.peek(count);
    if (taken.length < count) throw new Error('the data end in the middle of a frame');
    this.held = this.held.subarray(count);
    return taken;
  }

  async close(): Promise<void> {
    await this.iterator.return?.();
  }
}

/** Passes over skippable frames; false at the end. */
async function skipToFrame(intake: Intake): Promise<boolean> {
  for (;;) {
    const head = await intake.peek(8);
    if (head.length === 0) return false;
    const magic = head.length < 4 ? 0 : littleEndian(head, 0, 4);
    if (magic === FRAME) return true;
    if (head.length < 8 || (magic & 0xfffffff0) !== SKIPPABLE) throw new Error('what comes next is no zstd frame');
    await intake.take(8);
    for (let left = littleEndian(head, 4, 4); left > 0; left -= Math.min(left, MAX_BLOCK)) {
      await intake.take(Math.min(left, MAX_BLOCK));
    }
  }
}

async function* frameParts(intake: Intake, name: string): AsyncGenerator<Uint8Array> {
  const descriptor = (await intake.peek(5))[4];
  if (descriptor === undefined || (descriptor & 8) !== 0) throw new Error('a frame header that cannot be');
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3];
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6];
  const header = await intake.take(5 + (isSingleSegment ? 0 : 1) + dictionaryBytes + sizeBytes);
  // A single segment's window is its content.
  const window = isSingleSegment ? contentSize(header, sizeBytes) : windowOf(header[5]);
  if (window > MAX_WINDOW) {
    throw new InputError(`${name}: compressed with a window of ${window} bytes; at most ${MAX_WINDOW} is read here`);
  }
  if (littleEndian(header, header.length - sizeBytes - dictionaryBytes, dictionaryBytes) !== 0) {
    throw new InputError(`${name}: compressed with a dictionary, which is not read here; compress it again without one`);
  }
  yield header;
  const largest = Math.min(window, MAX_BLOCK);
  for (let isLast = false; !isLast; ) {
    const head = littleEndian(await intake.peek(3), 0, 3);
    const [type, size] = [(head >> 1) & 3, head >> 3];
    if (type === 3 || size > largest) throw new Error('a block that cannot be');
    isLast = (head & 1) === 1;
    yield await intake.take(3 + (type === 1 ? 1 : size)); // type 1: one byte, repeated
  }
  if ((descriptor & 4) !== 0) yield await intake.take(4);
}

function windowOf(byte: number): number {
  const base = 2 ** (10 + (byte >> 3));
  return base + (base / 8) * (byte & 7);
}

function contentSize(header: Uint8Array, sizeBytes: number): number {
  return littleEndian(header, header.length - sizeBytes, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
}

/** 0 to 8 bytes as a number; bytes past the end count as 0. Beyond 2^53 it is rounded. */
function littleEndian(bytes: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let i = count - 1; i >= 0; i--) value = value * 256 + (bytes[at + i] ?? 0);
  return value;
}

/** Loaded when it is needed: most runs read no zstd. */
async function* decodeInWasm(parts: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { decodeFrame } = await import('./zstd-wasm.js');
  yield* decodeFrame(parts);
}
