// What undoes the compression of Parquet's pages. Each refuses what is damaged as far as it can tell: gzip and zstd by their
// checksums, all by the length that the page's header gives.

import { crc32 } from './crc32.js';

export type Decompress = (input: Uint8Array, length: number) => Uint8Array;

/** By codec as Parquet names it. zstd's is loaded only where it is used. */
export async function pageDecompressors(usesZstd: boolean): Promise<Record<string, Decompress>> {
  const { compressors } = await import('hyparquet-compressors');
  const decompressors = { ...compressors, GZIP: checkedGzip(compressors.GZIP as Decompress) } as Record<string, Decompress>;
  if (usesZstd) decompressors.ZSTD = await (await import('./zstd-wasm.js')).blockDecoder();
  return Object.fromEntries(Object.entries(decompressors).map(([codec, undo]) => [codec, unlessEmpty(undo)]));
}

/** A page of nothing but missing values holds no bytes, which no codec knows. */
function unlessEmpty(undo: Decompress): Decompress {
  return (input, length) => (length === 0 ? new Uint8Array(0) : undo(input, length));
}

// A page may be several gzip members end to end; each ends in the checksum and the length of what it holds.
function checkedGzip(gunzip: Decompress): Decompress {
  return (input, length) => {
    const output = gunzip(input, length);
    const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
    let done = 0;
    for (let end = memberEnd(input, 18); done < output.length || end < input.length; end = memberEnd(input, end + 1)) {
      if (end > input.length) throw new Error('gzip data do not match their checksum');
      const held = done + view.getUint32(end - 4, true);
      if (held <= output.length && view.getUint32(end - 8, true) === crc32(output.subarray(done, held))) done = held;
    }
    return output;
  };
}

/** Where the next member may begin, from `at` on; the end behind the last one, and then beyond. */
function memberEnd(input: Uint8Array, at: number): number {
  while (at < input.length && !(input[at] === 0x1f && input[at + 1] === 0x8b && input[at + 2] === 8)) at++;
  return at;
}
