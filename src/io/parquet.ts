// Parquet files over a byte source: opened to be read in parts (the corpora of data/readers.ts, row group by row group), or whole
// with plain values, for data sets that fit in memory: texts, numbers, booleans, null, lists and objects.

import type { FileMetaData, ParquetParsers, SchemaTree } from 'hyparquet';
import { counted, InputError, messageOf } from '../errors.js';
import { floatOf } from '../python-float.js';
import type { ByteSource } from './bytes.js';
import { quoted } from './json.js';
import { pageDecompressors } from './parquet-codecs.js';
import { chunksOf, pageChecker, refuseColumns } from './parquet-pages.js';

/** An opened Parquet file. */
export interface ParquetFile {
  readonly metadata: FileMetaData;
  readonly schema: SchemaTree;
  readonly columns: readonly string[];
  /**
   * Rows [rowStart, rowEnd) and the named columns, by default all; bytes that are no UTF-8 stay bytes. Rejects with `InputError` when a column
   * is of a kind that is not read here, else with whatever is wrong with the bytes.
   */
  rows(part?: { columns?: string[]; rowStart?: number; rowEnd?: number }): Promise<Record<string, unknown>[]>;
}

/** Reads the footer. Throws `InputError` when it is no Parquet file, or its footer is damaged. */
export async function openParquet(source: ByteSource): Promise<ParquetFile> {
  const parquet = await import('hyparquet');
  const footer = {
    byteLength: source.size,
    slice: async (start: number, end = source.size) => bufferOf(await source.read(start, end - start)),
  };
  if (source.size < 12)
    throw new InputError(`${source.name}: no Parquet file, or it was cut: it has ${counted(source.size, 'byte')}`);
  let metadata: FileMetaData;
  let schema: SchemaTree;
  try {
    // geoparquet: looking for maps can take for ever in a damaged footer
    metadata = await parquet.parquetMetadataAsync(footer, { geoparquet: false });
    schema = parquet.parquetSchema(metadata);
  } catch (error) {
    if (error instanceof InputError) throw error;
    if (new TextDecoder().decode(await source.read(source.size - 4, 4)) === 'PARE')
      throw new InputError(`${source.name}: it is encrypted, which is not read here`);
    throw new InputError(`${source.name}: no Parquet file, or it was cut: ${messageOf(error)}`);
  }
  const chunks = chunksOf(metadata, source.size, source.name);
  const compressors = await pageDecompressors(chunks.some(({ meta }) => meta.codec === 'ZSTD'));
  const check = await pageChecker(chunks, schema, compressors);

  const rows: ParquetFile['rows'] = async (part = {}) => {
    refuseColumns(chunks, schema, compressors, source.name, part.columns);
    // Reads are begun all at once, some that nobody waits for, and where what begins them fails halfway nobody hears of the others:
    // their failures would end the process. So each is heard here, and goes on only a turn later, if it is still wanted.
    let isGivenUp = false;
    const read = async (start: number, end: number): Promise<ArrayBuffer> => {
      await new Promise<void>((resolve) => setTimeout(() => !isGivenUp && resolve()));
      const buffer = bufferOf(await source.read(start, end - start));
      check(new Uint8Array(buffer), start);
      return buffer;
    };
    const slice = (start: number, end = source.size): Promise<ArrayBuffer> => {
      const reading = read(start, end);
      reading.catch(() => {});
      return reading;
    };
    try {
      const file = { byteLength: source.size, slice };
      return await parquet.parquetReadObjects({ file, metadata, compressors, parsers, ...part });
    } catch (error) {
      isGivenUp = true;
      throw error;
    }
  };
  return { metadata, schema, columns: schema.children.map(({ element }) => element.name), rows };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Days and microseconds as Python prints them: a day has no hours, and a `Date` no microseconds. */
const parsers: Partial<ParquetParsers> = {
  stringFromBytes(bytes: Uint8Array | undefined) {
    try {
      return bytes && utf8.decode(bytes);
    } catch {
      return bytes?.slice();
    }
  },
  dateFromDays: (days: number) => new Date(days * 86_400_000).toISOString().slice(0, 10),
  timestampFromNanoseconds: (nanos: bigint) => timestamp((nanos - (((nanos % 1000n) + 1000n) % 1000n)) / 1000n),
  timestampFromMicroseconds: timestamp,
};

function timestamp(micros: bigint): string {
  const rest = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const second = new Date(Number((micros - rest) / 1000n)).toISOString().slice(0, 19).replace('T', ' ');
  return rest === 0n ? second : `${second}.${String(rest).padStart(6, '0')}`;
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): ArrayBuffer {
  return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
}

/** All rows. Throws `InputError` when it is no Parquet file, is cut or damaged. */
export async function readParquet(source: ByteSource): Promise<Record<string, unknown>[]> {
  const { metadata, schema, rows: read } = await openParquet(source);
  const rows = await read().catch((error: unknown) => {
    if (error instanceof InputError) throw error;
    throw new InputError(`${source.name}: it cannot be read; it was cut or damaged: ${messageOf(error)}`);
  });
  if (rows.length !== Number(metadata.num_rows)) {
    throw new InputError(
      `${source.name}: it has ${counted(rows.length, 'row')}, its footer says ${metadata.num_rows}; it was cut or damaged`,
    );
  }
  return rows.map((row, i) => plain(row, schema, `${source.name}: row ${i}`) as Record<string, unknown>);
}

/**
 * 64-bit integers become numbers unless those cannot hold them, typed arrays lists, whole values of float columns `PythonFloat`s, bytes
 * texts. `column` is the schema's node of the value, as far as it is known. Throws `InputError` for a text that is no UTF-8.
 */
function plain(value: unknown, column: SchemaTree | undefined, where: string): unknown {
  if (typeof value === 'number') return isFloat(column) ? floatOf(value) : value;
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (value === undefined) return null;
  if (value === null || typeof value !== 'object' || value instanceof Date) return value;
  if (value instanceof Uint8Array && column?.element.type === 'BYTE_ARRAY') {
    const { converted_type: type, logical_type: logical } = column.element;
    if (type !== 'UTF8' && logical?.type !== 'STRING') return new TextDecoder().decode(value);
    throw new InputError(`${where}: column ${quoted(column.path.join('.'))} is not valid UTF-8 text`);
  }
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    const inner = itemOf(column);
    return Array.from(value as ArrayLike<unknown>, (item) => plain(item, inner, where));
  }
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item, childOf(column, name), where)]));
}

function isFloat(column: SchemaTree | undefined): boolean {
  const { type, logical_type: logical } = column?.element ?? {};
  return type === 'DOUBLE' || type === 'FLOAT' || logical?.type === 'FLOAT16';
}

function childOf(column: SchemaTree | undefined, name: string): SchemaTree | undefined {
  return column?.children.find(({ element }) => element.name === name);
}

/** The schema of a list's items: a repeated leaf is its own, a LIST has them two levels down. */
function itemOf(column: SchemaTree | undefined): SchemaTree | undefined {
  if (column === undefined || column.children.length === 0) return column;
  const [repeated] = column.children;
  return repeated.children.length === 1 && repeated.element.repetition_type === 'REPEATED' ? repeated.children[0] : repeated;
}
