// Parquet files over a byte source: opened to be read in parts (the corpora of data/readers.ts, row group by row group), or whole
// with plain values, for data sets that fit in memory: texts, numbers, booleans, null, lists and objects.

import type { FileMetaData } from 'hyparquet';
import { InputError, messageOf } from '../errors.js';
import type { ByteSource } from './bytes.js';

/** A page of a data set is about a megabyte; what a damaged header claims beyond this is not allocated. */
const maxPageBytes = 1 << 30;

/** An opened Parquet file. */
export interface ParquetFile {
  readonly metadata: FileMetaData;
  readonly columns: readonly string[];
  /** Rows [rowStart, rowEnd) and the named columns, by default all. Rejects with whatever is wrong with the bytes. */
  rows(part?: { columns?: string[]; rowStart?: number; rowEnd?: number }): Promise<Record<string, unknown>[]>;
}

/** Reads the footer. Throws `InputError` when it is no Parquet file. */
export async function openParquet(source: ByteSource): Promise<ParquetFile> {
  const parquet = await import('hyparquet');
  const compressors = await boundedCompressors();
  const file = {
    byteLength: source.size,
    async slice(start: number, end = source.size): Promise<ArrayBuffer> {
      const { buffer, byteOffset, byteLength } = await source.read(start, end - start);
      return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
    },
  };
  const metadata = await parquet.parquetMetadataAsync(file).catch((error: unknown) => {
    throw error instanceof InputError
      ? error
      : new InputError(`${source.name}: no Parquet file, or it was cut: ${messageOf(error)}`);
  });
  return {
    metadata,
    columns: parquet.parquetSchema(metadata).children.map(({ element }) => element.name),
    rows: (part = {}) => parquet.parquetReadObjects({ file, metadata, compressors, ...part }),
  };
}

/** All rows. Throws `InputError` when it is no Parquet file, is cut or damaged, or a whole number is too large for a double. */
export async function readParquet(source: ByteSource): Promise<Record<string, unknown>[]> {
  const { metadata, rows: read } = await openParquet(source);
  const rows = await read().catch((error: unknown) => {
    if (error instanceof InputError) throw error;
    throw new InputError(`${source.name}: it cannot be read; it was cut or damaged: ${messageOf(error)}`);
  });
  if (rows.length !== Number(metadata.num_rows)) {
    throw new InputError(
      `${source.name}: ${rows.length} rows are there, its footer says ${metadata.num_rows}; it was cut or damaged`,
    );
  }
  return rows.map((row, i) => plain(row, `${source.name}, row ${i}`) as Record<string, unknown>);
}

// hyparquet allocates what a page's header claims; no real page comes near the limit.
async function boundedCompressors(): Promise<Record<string, (input: Uint8Array, length: number) => Uint8Array>> {
  const { compressors } = await import('hyparquet-compressors');
  const bounded = Object.entries(compressors).map(([kind, decompress]) => {
    const checked = (input: Uint8Array, length: number): Uint8Array => {
      if (length > maxPageBytes) throw new Error(`a page claims ${length} bytes`);
      return decompress(input, length);
    };
    return [kind, checked] as const;
  });
  return Object.fromEntries(bounded);
}

/** 64-bit integers become numbers, typed arrays lists. */
function plain(value: unknown, where: string): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw new InputError(`${where}: the whole number ${value} is too large`);
    return number;
  }
  if (value === null || typeof value !== 'object' || value instanceof Date) return value;
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    return Array.from(value as ArrayLike<unknown>, (item) => plain(item, where));
  }
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item, where)]));
}
