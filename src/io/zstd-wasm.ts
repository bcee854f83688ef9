// libzstd in WebAssembly, as the package `zstddec` carries it. That package's own loop over `ZSTD_decompressStream` does not look at
// error codes, and never ends where one stays; so its module is driven here. What frames are is zstd.ts's affair.

import { ZSTDDecoder } from 'zstddec/stream';

/** What of the module is used; sizes and addresses are 32-bit. */
interface Libzstd {
  readonly memory: WebAssembly.Memory;
  malloc(bytes: number): number;
  free(address: number): void;
  ZSTD_createDCtx(): number;
  ZSTD_freeDCtx(context: number): number;
  ZSTD_DStreamOutSize(): number;
  /** Both buffers are `{address, size, position}`. What is left to do of the frame, or an error. */
  ZSTD_decompressStream(context: number, output: number, input: number): number;
  ZSTD_decompress(output: number, size: number, input: number, inputSize: number): number;
}

let loading: Promise<Libzstd> | undefined;

/** One for all streams: each has a context of its own. */
function libzstd(): Promise<Libzstd> {
  loading ??= (async () => {
    let exports: unknown;
    class Loader extends ZSTDDecoder {
      override _init(result: WebAssembly.WebAssemblyInstantiatedSource): void {
        super._init(result);
        exports = result.instance.exports;
      }
    }
    await new Loader().init();
    return exports as Libzstd;
  })();
  return loading;
}

/** After so much is decoded in this thread, whatever else waits for it has its turn. */
const TURN_BYTES = 1 << 22;
const BUFFER_BYTES = 12;

/** Decodes one frame from its parts, in pieces of at most 128 KiB. Throws when it is damaged or ends too early. */
export async function* decodeFrame(parts: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const zstd = await libzstd();
  const size = zstd.ZSTD_DStreamOutSize();
  const context = zstd.ZSTD_createDCtx();
  const buffers = zstd.malloc(2 * BUFFER_BYTES + size);
  const [output, input, piece] = [buffers, buffers + BUFFER_BYTES, buffers + 2 * BUFFER_BYTES];
  let source = 0;
  let left = 1;
  let decoded = 0;
  try {
    if (context === 0 || buffers === 0) throw outOfMemory();
    for await (const part of parts) {
      source = copyIn(zstd, part);
      setBuffer(zstd, input, source, part.length);
      let filled: number;
      do {
        setBuffer(zstd, output, piece, size);
        left = checked(zstd.ZSTD_decompressStream(context, output, input));
        filled = position(zstd, output);
        if (filled > 0) yield new Uint8Array(zstd.memory.buffer, piece, filled).slice();
        decoded += filled;
      } while (filled === size || position(zstd, input) < part.length);
      zstd.free(source);
      source = 0;
      if (decoded < TURN_BYTES) continue;
      decoded = 0;
      await new Promise((resolve) => setTimeout(resolve));
    }
    if (left !== 0) throw new Error('the data end in the middle of a frame');
  } finally {
    zstd.free(source);
    zstd.free(buffers);
    zstd.ZSTD_freeDCtx(context);
  }
}

/** What decodes whole frames in memory to `length` bytes; it throws when they are damaged or of another length. */
export async function blockDecoder(): Promise<(input: Uint8Array, length: number) => Uint8Array> {
  const zstd = await libzstd();
  return (input, length) => {
    const source = copyIn(zstd, input);
    const output = zstd.malloc(length);
    try {
      if (output === 0) throw outOfMemory();
      const found = checked(zstd.ZSTD_decompress(output, length, source, input.length));
      if (found !== length) throw new Error(`it holds ${found} bytes, expected ${length}`);
      return new Uint8Array(zstd.memory.buffer, output, length).slice();
    } finally {
      zstd.free(output);
      zstd.free(source);
    }
  };
}

function copyIn(zstd: Libzstd, bytes: Uint8Array): number {
  const address = zstd.malloc(bytes.length);
  if (address === 0) throw outOfMemory();
  new Uint8Array(zstd.memory.buffer, address).set(bytes);
  return address;
}

function setBuffer(zstd: Libzstd, at: number, address: number, size: number): void {
  new Uint32Array(zstd.memory.buffer, at, 3).set([address, size, 0]);
}

function position(zstd: Libzstd, at: number): number {
  return new Uint32Array(zstd.memory.buffer, at, 3)[2];
}

/** Errors are small negative numbers: ZSTD_ErrorCode of zstd_errors.h. */
function checked(result: number): number {
  const code = -result;
  if (code <= 0 || code > 128) return result >>> 0;
  if (code === 64) throw outOfMemory();
  throw new Error(code === 22 ? 'the content does not match its checksum' : `a block is wrong (zstd error ${code})`);
}

function outOfMemory(): Error {
  return new Error('no memory is left to decode it in');
}
