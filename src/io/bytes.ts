// Where bytes come from, whatever they are: a file, a buffer in memory, a range of a URL. Formats (safetensors, gguf, ...)
// are written over this, so they run in Node and in the browser alike. Not a stream: reads are by position.

/** Random-access bytes of known size. */
export interface ByteSource {
  /** What to call it in messages: a path or a URL. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /** The bytes at [offset, offset + length), whole; throws `InputError` past the end or when the file was cut meanwhile. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** The path, when the bytes are a plain file on this machine: a backend may then read ranges of it on its own threads. */
  readonly file?: string;
  close(): Promise<void>;
}

/** Element types of stored tensors, in safetensors' spelling. */
export type StoredDType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'U16' | 'U32' | 'U64' | 'BOOL';

/** One stored tensor: where its bytes lie, nothing read yet. Row-major, little-endian. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly source: ByteSource;
  /** Position of the first byte in the source, and the length in bytes. */
  readonly offset: number;
  readonly bytes: number;
}

/** Bytes that are already in memory, as a source. */
export function bytesInMemory(name: string, data: Uint8Array): ByteSource {
  return {
    name,
    size: data.byteLength,
    async read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= data.byteLength)) {
        throw new RangeError(`${name}: bytes ${offset}..${offset + length} lie outside its ${data.byteLength}`);
      }
      return data.subarray(offset, offset + length);
    },
    async close() {},
  };
}
