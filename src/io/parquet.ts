// Rows of a Parquet file, all columns, as plain values: texts, numbers, booleans, null, lists and objects. Whole files only, for
// data sets that fit in memory; columns of large corpora are read row group by row group in data/readers.ts.

import type { FileMetaData } from 'hyparquet';
import { InputError, messageOf } from '../errors.js';
import type { ByteSource } from './bytes.js';

/** A page of a data set is about a megabyte; what a damaged header claims beyond this is not allocated. */
const maxPageBytes = 1 << 30;

/** Throws `InputError` when it is no Parquet file, is cut or damaged, or a whole number is too large for a double. */
export async function readParquet(source: ByteSource): Promise<Record<string, unknown>[]> {
  const parquet = await import('hyparquet');
  const file = {
    byteLength: source.size,
    async slice(start: number, end = source.size): Promise<ArrayBuffer> {
      const { buffer, byteOffset, byteLength } = await source.read(start, end - start);
      return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
    },
  };
  const broken = (what: string) => (error: unknown) => {
    throw error instanceof InputError ? error : new InputError(`${source.name}: ${what}: ${messageOf(error)}`);
  };
  const metadata: FileMetaData = await parquet.parquetMetadataAsync(file).catch(broken('no Parquet file, or it was cut'));
  const options = { file, metadata, compressors: await boundedCompressors(source.name) };
  const rows = await parquet.parquetReadObjects(options).catch(broken('it cannot be read; it was cut or damaged'));
  if (rows.length !== Number(metadata.num_rows)) {
    throw new InputError(
      `${source.name}: ${rows.length} rows are there, its footer says ${metadata.num_rows}; it was cut or damaged`,
    );
  }
  return rows.map((row, i) => plain(row, `${source.name}, row ${i}`) as Record<string, unknown>);
}

async function boundedCompressors(name: string): Promise<Record<string, (input: Uint8Array, length: number) => Uint8Array>> {
  const { compressors } = await import('hyparquet-compressors');
  const bounded = Object.entries(compressors).map(([kind, decompress]) => {
    const checked = (input: Uint8Array, length: number): Uint8Array => {
      if (length > maxPageBytes) throw new InputError(`${name}: a page claims ${length} bytes`);
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
