// The pages of Parquet files, looked at before `hyparquet` decodes them, which believes what it reads: places, sizes and counts that
// the headers claim, checksums where the writer gave any, and the runs of levels and dictionary indices, of which one that is too
// long would end the process.

import type { ColumnMetaData, FileMetaData, SchemaTree } from 'hyparquet';
import type { PageHeader } from 'hyparquet/src/types.js';
import { InputError } from '../errors.js';
import { crc32 } from './crc32.js';
import { quoted } from './json.js';
import type { Decompress } from './parquet-codecs.js';

/** A page of a data set is about a megabyte; what a damaged header claims beyond this is not allocated. */
const maxPageBytes = 1 << 29;
const maxPageValues = 1 << 24;

/** Values behind a page's own, which fill its last run. */
const maxFill = 1 << 12;

/** A column's part of a row group, and its place in the file. */
export interface Chunk {
  readonly meta: ColumnMetaData;
  readonly isEncrypted: boolean;
  readonly start: number;
  readonly end: number;
}

/** The column chunks of the file. Throws `InputError` when places and counts in its footer do not go together. */
export function chunksOf(metadata: FileMetaData, size: number, name: string): Chunk[] {
  const wrong = (what: string): InputError => new InputError(`${name}: its footer is damaged: ${what}`);
  const leaves = metadata.schema.filter((element) => element.type !== undefined).length;
  let total = 0;
  const chunks = metadata.row_groups.flatMap((group, i) => {
    const rows = count(group.num_rows);
    if (rows === undefined) throw wrong(`row group ${i} has ${group.num_rows} rows`);
    if (group.columns.length !== leaves) {
      throw wrong(`row group ${i} has ${group.columns.length} columns, the schema ${leaves}`);
    }
    total += rows;
    return group.columns.map(({ meta_data: meta, crypto_metadata: key }) => {
      if (!meta) throw new InputError(`${name}: its columns are encrypted, or in other files, which is not read here`);
      const column = `column ${meta.path_in_schema.join('.')} of row group ${i}`;
      const start = count(meta.dictionary_page_offset || meta.data_page_offset);
      const bytes = count(meta.total_compressed_size);
      if (start === undefined || bytes === undefined || start + bytes > size) throw wrong(`${column} lies outside the file`);
      if (count(meta.num_values) === undefined) throw wrong(`${column} has ${meta.num_values} values`);
      return { meta, isEncrypted: key !== undefined, start, end: start + bytes };
    });
  });
  if (total !== count(metadata.num_rows)) {
    throw wrong(`its row groups have ${total} rows, together it says ${metadata.num_rows}`);
  }
  return chunks;
}

/** Throws `InputError` when one of the named columns (all, by default) is of a kind that is not read here, or their names are no keys. */
export function refuseColumns(
  chunks: readonly Chunk[],
  { children }: SchemaTree,
  decompressors: Record<string, Decompress>,
  name: string,
  columns = children.map(({ element }) => element.name),
): void {
  const refuse = (column: string, what: string): never => {
    throw new InputError(`${name}: column ${quoted(column)} ${what}`);
  };
  const refuseIn = ({ element, children: inner, path }: SchemaTree): void => {
    const names = inner.map((child) => child.element.name);
    const again = names.find((child, i) => names.indexOf(child) < i);
    if (again !== undefined) refuse([...path, again].join('.'), 'comes twice');
    if (element.name === '__proto__') refuse(path.join('.'), 'cannot be read under this name');
    const { converted_type: type } = element;
    if (type === 'INTERVAL' || type === 'BSON') refuse(path.join('.'), `is of type ${type}, which is not read here`);
    inner.forEach(refuseIn);
  };
  for (const child of children) {
    const column = child.element.name;
    if (!columns.includes(column)) continue;
    if (children.filter(({ element }) => element.name === column).length > 1) refuse(column, 'comes twice');
    refuseIn(child);
  }
  for (const { meta, isEncrypted } of chunks) {
    if (!columns.includes(meta.path_in_schema[0])) continue;
    const column = meta.path_in_schema.join('.');
    if (isEncrypted) refuse(column, 'is encrypted, which is not read here');
    if (meta.codec !== 'UNCOMPRESSED' && !decompressors[meta.codec])
      refuse(column, `is compressed by ${meta.codec ?? 'an unknown codec'}, which is not read here`);
  }
}

function count(value: bigint | number | undefined): number | undefined {
  const number = Number(value);
  return Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}

/**
 * Checks the chunks that lie within bytes of the file from `start` on, and writes into them how many values pages are without, where
 * their headers say it wrongly. Throws a plain error, to be told with the file's name.
 */
export async function pageChecker(
  chunks: readonly Chunk[],
  schema: SchemaTree,
  decompressors: Record<string, Decompress>,
): Promise<(bytes: Uint8Array, start: number) => void> {
  const { parquetHeader } = await import('hyparquet/src/column.js');
  const { Encodings } = await import('hyparquet/src/constants.js');
  const { getTreePath, getMaxDefinitionLevel, getMaxRepetitionLevel } = await import('hyparquet/src/schema.js');

  const checkChunk = ({ meta }: Chunk, bytes: Uint8Array): void => {
    const path = getTreePath(schema, meta.path_in_schema);
    const levels = { repetition: getMaxRepetitionLevel(path), definition: getMaxDefinitionLevel(path) };
    const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 };
    let values = 0;
    while (reader.offset < bytes.length) {
      const place = reader.offset;
      const header = parquetHeader(reader);
      const { compressed_page_size: size, uncompressed_page_size: claimed, crc } = header;
      const page = bytes.subarray(reader.offset, reader.offset + size);
      if (size < 0 || page.length !== size) throw new Error('a page lies outside it');
      if (claimed < 0 || claimed > maxPageBytes) throw new Error(`a page claims ${claimed} bytes`);
      if (crc !== undefined && crc >>> 0 !== crc32(page)) throw new Error('a page does not match its checksum');
      const { data_page_header: v1, data_page_header_v2: v2, dictionary_page_header: dictionary } = header;
      const held = (v1 ?? v2 ?? dictionary)?.num_values ?? 0;
      if (held < 0 || held > maxPageValues) throw new Error(`a page claims ${held} values`);
      if (v1 || v2) {
        values += held;
        const nulls = checkRuns(page, header, meta, levels, decompressors[meta.codec]);
        if (v2 && nulls !== v2.num_nulls) {
          const numbers = [v2.num_values, nulls, v2.num_rows, Encodings.indexOf(v2.encoding)];
          mend(bytes.subarray(place, reader.offset), header, numbers);
        }
      }
      reader.offset += size;
    }
    if (values !== Number(meta.num_values)) throw new Error(`it has ${values} values, ${meta.num_values} are expected`);
  };

  return (bytes, start) => {
    for (const chunk of chunks) {
      if (chunk.start < start || chunk.end > start + bytes.length) continue;
      try {
        checkChunk(chunk, bytes.subarray(chunk.start - start, chunk.end - start));
      } catch (error) {
        throw new Error(`column ${chunk.meta.path_in_schema.join('.')}: ${(error as Error).message}`);
      }
    }
  };
}

interface Levels {
  readonly repetition: number;
  readonly definition: number;
}

/**
 * Writes a header of a page of version 2 anew in its own place, without its statistics: Arrow's C++ says that no value is missing in
 * all fields of a list's structs but the first, empty lists or not, and counts them right in the levels.
 */
function mend(place: Uint8Array, header: PageHeader, numbers: readonly number[]): void {
  const v2 = header.data_page_header_v2!;
  const bytes: number[] = [];
  const field = (value: number): void => {
    bytes.push(0x15); // the next field, a 32-bit number
    let rest = value * 2;
    for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push(128 + (rest % 128));
    bytes.push(rest);
  };
  for (const value of [3, header.uncompressed_page_size, header.compressed_page_size]) field(value);
  bytes.push(0x5c); // field 8, a struct
  for (const value of [...numbers, v2.definition_levels_byte_length, v2.repetition_levels_byte_length]) field(value);
  bytes.push(v2.is_compressed === false ? 0x12 : 0x11, 0);
  if (bytes.length >= place.length) throw new Error(`a page claims ${v2.num_nulls} missing values, its levels ${numbers[1]}`);
  // Fields that nobody knows fill what is left: texts of up to 127 bytes, or a single true.
  while (bytes.length < place.length - 1) {
    const left = Math.min(129, place.length - 1 - bytes.length);
    if (left === 1) bytes.push(0x11);
    else bytes.push(0x18, left - 2, ...new Array<number>(left - 2).fill(0));
  }
  bytes.push(0);
  place.set(bytes);
}

// The values that a page is without, by its levels. Levels and dictionary indices are runs in Parquet's hybrid of run lengths and packed bits (Encodings.md of apache/parquet-format).
function checkRuns(
  page: Uint8Array,
  { data_page_header: v1, data_page_header_v2: v2, uncompressed_page_size: claimed }: PageHeader,
  { codec, type }: ColumnMetaData,
  levels: Levels,
  decompress: Decompress | undefined,
): number {
  const undo = (bytes: Uint8Array, length: number): Uint8Array => {
    if (codec === 'UNCOMPRESSED') return bytes;
    if (!decompress) throw new Error(`its compression ${codec} is not known here`);
    return decompress(bytes, length);
  };
  let values: Runs;
  let held: number;
  if (v2) {
    const { repetition_levels_byte_length: repetition, definition_levels_byte_length: definition } = v2;
    const before = repetition + definition;
    if (repetition < 0 || definition < 0 || before > page.length || v2.num_nulls < 0)
      throw new Error('the levels of a page lie outside it');
    if (levels.repetition > 0) new Runs(page.subarray(0, repetition)).pass(levels.repetition, v2.num_values);
    held = v2.num_values;
    if (levels.definition > 0) held = new Runs(page.subarray(repetition, before)).pass(levels.definition, held);
    const data = page.subarray(before);
    values = new Runs(v2.is_compressed === false ? data : undo(data, claimed - before));
  } else {
    values = new Runs(undo(page, claimed));
    held = v1!.num_values;
    if (levels.repetition > 0) values.section().pass(levels.repetition, held);
    if (levels.definition > 0) held = values.section().pass(levels.definition, held);
  }
  const { encoding, num_values: all } = (v2 ?? v1)!;
  const nulls = all - held;
  if (encoding !== 'RLE' && !encoding.endsWith('_DICTIONARY')) return nulls;
  if (encoding === 'RLE' ? v2 || type === 'BOOLEAN' : !v2 && type === 'BOOLEAN') values.section().pass(1, held);
  else if (held > 0) values.pass(2 ** Math.min(32, values.byte()) - 1, held);
  return nulls;
}

/** A walk over runs. */
class Runs {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  byte(): number {
    if (this.at >= this.bytes.length) throw new Error('a page ends too early');
    return this.bytes[this.at++];
  }

  /** The bytes behind their own length; the walk goes on after them. */
  section(): Runs {
    const length = this.byte() + this.byte() * 2 ** 8 + this.byte() * 2 ** 16 + this.byte() * 2 ** 24;
    if (length > this.bytes.length - this.at) throw new Error('the levels of a page lie outside it');
    this.at += length;
    return new Runs(this.bytes.subarray(this.at - length, this.at));
  }

  /**
   * Passes over `total` numbers up to `largest`; how many are the largest. No run may have more than that and what fills a byte, but a
   * packed one that is there: DuckDB fills its up to 256.
   */
  pass(largest: number, total: number): number {
    const width = 32 - Math.clz32(largest);
    let found = 0;
    for (let seen = 0; seen < total; ) {
      const head = this.varint();
      const isPacked = head % 2 === 1;
      const length = isPacked ? (head - 1) * 4 : head / 2;
      const more = isPacked && this.at + (length * width) / 8 <= this.bytes.length ? maxFill : 7;
      if (length > total - seen + more) throw new Error(`a run claims ${length} of ${total - seen} values`);
      if (isPacked) found += this.packed(width, Math.min(length, total - seen), length, largest);
      else if (this.number(width) === largest) found += Math.min(length, total - seen);
      seen += length;
    }
    return found;
  }

  private varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      if (scale > 2 ** 28) throw new Error('a run has no length');
    }
  }

  private number(width: number): number {
    let value = 0;
    for (let bit = 0; bit < width; bit += 8) value += this.byte() * 2 ** bit;
    return value;
  }

  private packed(width: number, held: number, length: number, largest: number): number {
    const start = this.at;
    this.at = Math.min(this.bytes.length, start + (length * width) / 8);
    // Only levels are counted, which are small.
    if (width > 16) return 0;
    let found = 0;
    for (let i = 0; i < held; i++) {
      const bit = i * width;
      const at = start + (bit >> 3);
      const bits = (this.bytes[at] ?? 0) | ((this.bytes[at + 1] ?? 0) << 8) | ((this.bytes[at + 2] ?? 0) << 16);
      if (((bits >> (bit & 7)) & largest) === largest) found++;
    }
    return found;
  }
}
