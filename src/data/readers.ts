// Corpora as streams of documents: Parquet, JSON lines and plain text, each by the end of the file's name, gzip and zstd included.
// Memory is bounded by one document (Parquet: one row group of one column), whatever the file's size. Where bytes come from is
// the caller's (`CorpusFiles`); what text becomes is process.ts.

import { InputError, messageOf } from '../errors.js';
import type { ByteSource } from '../io/bytes.js';
import { readCsv } from '../io/csv.js';
import { withRoom } from '../io/grow.js';
import { isObject, isOneValue, parseData, quoted } from '../io/json.js';
import { openParquet } from '../io/parquet.js';

/** Where corpora lie. */
export interface CorpusFiles {
  /** A file for reading by position. */
  open(path: string): Promise<ByteSource>;
  /**
   * The file's text in UTF-8 from position `from` on, decompressed when its name ends in `.gz` or `.zst` (`from` counts bytes of
   * what comes out). Throws `InputError` when it is missing, cut or damaged.
   */
  bytes(path: string, from: number): AsyncIterable<Uint8Array>;
}

/** One file of a corpus. */
export interface CorpusFile {
  readonly path: string;
  /** The Parquet column or JSON key that holds the text. */
  readonly textKey: string;
  /** Between the documents of a plain text file; without one the file is one document. */
  readonly separator?: string;
}

/** A place between documents: the number of the next one, and in files of bytes where it begins. */
export interface Position {
  readonly row: number;
  readonly offset: number;
}

export interface Document {
  readonly text: string;
  readonly file: string;
  readonly row: number;
  /** Where the document begins, and where the one behind it does. */
  readonly at: Position;
  readonly next: Position;
}

export const START: Position = { row: 0, offset: 0 };

// A claim in a file never makes one document larger than this.
const MAX_DOCUMENT_BYTES = 256 << 20;

interface Format {
  /** Of a file's name. */
  readonly ending: RegExp;
  /** What a corpus of it has: files that are read piece by piece, from any place on. */
  readonly documents?: (files: CorpusFiles, file: CorpusFile, from: Position, onBadRow: OnBadRow) => AsyncGenerator<Document>;
  /** Where a file of it holds objects. */
  readonly rows?: (files: CorpusFiles, path: string, onBadRow: OnBadRow) => AsyncGenerator<FileRow>;
}

const formats: readonly Format[] = [
  { ending: /\.parquet$/, documents: readParquet, rows: (files, path) => parquetRows(files, path) },
  { ending: /\.(jsonl|ndjson|json)(\.gz|\.zst)?$/, documents: readJsonLines, rows: readJsonRows },
  { ending: /\.(csv|tsv)(\.gz|\.zst)?$/, rows: readCsvRows },
  { ending: /\.(txt|text)(\.gz|\.zst)?$/, documents: readText },
];

function formatOf(path: string): Format | undefined {
  return formats.find(({ ending }) => ending.test(path));
}

/** Hears of a row that holds no document; the file is read on unless it throws. */
export type OnBadRow = (reason: InputError) => void;

const refuseRow: OnBadRow = (reason) => {
  throw reason;
};

/** Undefined where `read` finds a bad row that is passed over. */
export function orBad<T>(onBadRow: OnBadRow, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    onBadRow(error);
    return undefined;
  }
}

/**
 * The documents of a file from a position on. Throws `InputError` with the file's name and the row when it is missing, cut or
 * damaged, holds no such key, or is of no known format; what was read before stays good. `onBadRow` decides on what is wrong with one
 * row alone (not JSON, not UTF-8, no such key, no text under it).
 */
export function readDocuments(
  files: CorpusFiles,
  file: CorpusFile,
  from: Position = START,
  onBadRow: OnBadRow = refuseRow,
): AsyncGenerator<Document> {
  const documents = formatOf(file.path)?.documents;
  if (!documents) {
    throw new InputError(
      `${file.path}: not a corpus format known here; names end in .parquet, .jsonl, .json or .txt, the last three also with .gz or .zst behind`,
    );
  }
  return documents(files, file, from, onBadRow);
}

/** Whether a file of this name can hold rows. */
export function isRowFile(path: string): boolean {
  return formatOf(path)?.rows !== undefined;
}

async function* readJsonLines(
  files: CorpusFiles,
  { path, textKey }: CorpusFile,
  from: Position,
  onBadRow: OnBadRow,
): AsyncGenerator<Document> {
  yield* documentsOf(jsonLines(files, path, from, onBadRow), textKey, onBadRow);
}

async function* documentsOf(rows: AsyncIterable<Located>, textKey: string, onBadRow: OnBadRow): AsyncGenerator<Document> {
  for await (const row of rows) {
    const document = orBad(onBadRow, () => documentOf(row, textKey));
    if (document) yield document;
  }
}

/** The text of a row under a key. */
function documentOf({ value, where, ...place }: Located, textKey: string): Document {
  const text = Object.hasOwn(value, textKey) ? value[textKey] : undefined;
  if (typeof text !== 'string') {
    const found =
      text === undefined
        ? `no key ${quoted(textKey)}; it has ${Object.keys(value).slice(0, 20).map(quoted).join(', ')}`
        : quotedType(textKey, text);
    throw new InputError(`${where}: ${found}`);
  }
  return { text, ...place };
}

/** A row as an object, and what messages call its place. */
interface Located extends FileRow, Pick<Document, 'at' | 'next'> {
  readonly where: string;
}

async function* jsonLines(
  files: CorpusFiles,
  path: string,
  from: Position,
  onBadRow: OnBadRow = refuseRow,
): AsyncGenerator<Located> {
  let isFirst = from.offset === 0;
  for await (const { bytes, at, next } of splitBytes(files, path, Uint8Array.of(0x0a), from)) {
    const where = `${path}: row ${at.row} (byte ${at.offset})`;
    const line = orBad(onBadRow, () => decode(bytes, where));
    if (isFirst && line?.trim()) {
      refuseOneValue(line, where);
      isFirst = false;
    }
    const value = line && orBad(onBadRow, () => objectIn(line, where, next === undefined));
    if (!value) continue;
    yield { value, where, file: path, row: at.row, at, next: next ?? { row: at.row + 1, offset: at.offset + bytes.length } };
  }
}

/** A corpus's rows are lines: another layout is said to be one, whatever its first line breaks off in. */
function refuseOneValue(line: string, where: string): void {
  const expected = 'one JSON object a line is expected';
  if (/^\s*\[\s*(?:\{|$)/.test(line))
    throw new InputError(`${where}: a JSON list begins here, and ${expected}; \`jq -c '.[]'\` writes those`);
  if (line.trim() === '{')
    throw new InputError(`${where}: a JSON object over several lines begins here, and ${expected}; \`jq -c .\` writes those`);
}

/** Undefined for a blank line. NaN and Infinity are read as Python writes them. */
function objectIn(line: string, where: string, isLast: boolean): Record<string, unknown> | undefined {
  if (/^\s*$/.test(line)) return undefined;
  let value: unknown;
  try {
    value = parseData(line, where);
  } catch (error) {
    throw new InputError(`${messageOf(error)}${isLast ? '; the file may have been cut in the middle' : ''}`);
  }
  if (!isObject(value)) throw new InputError(`${where}: expected a JSON object a line, found ${quoted(line)}`);
  return value;
}

/** A row of a file of objects: a line of JSON, an element of a JSON list, or a row of a table. */
export interface FileRow {
  readonly value: Readonly<Record<string, unknown>>;
  readonly file: string;
  /** From 0. */
  readonly row: number;
}

/**
 * The rows of a file of objects: Parquet, JSON lines, one JSON list or object, or a table (CSV, TSV), whose cells are texts. Throws `InputError` with the file's
 * name and the row when it is missing, cut or damaged, or of no such format; `onBadRow` decides on what is wrong with one row alone.
 */
export async function* readRows(files: CorpusFiles, path: string, onBadRow: OnBadRow = refuseRow): AsyncGenerator<FileRow> {
  const rows = formatOf(path)?.rows;
  if (!rows) {
    throw new InputError(
      `${path}: not a format of rows; names end in .parquet, .jsonl, .json, .csv or .tsv, the last four also with .gz or .zst behind`,
    );
  }
  yield* rows(files, path, onBadRow);
}

async function* readJsonRows(files: CorpusFiles, path: string, onBadRow: OnBadRow): AsyncGenerator<FileRow> {
  if (!(await holdsOneValue(files, path))) {
    yield* jsonLines(files, path, START, onBadRow);
    return;
  }
  const whole = parseData(await wholeText(files, path), path);
  for (const [row, value] of (Array.isArray(whole) ? whole : [whole]).entries()) {
    if (isObject(value)) yield { value, file: path, row };
    else onBadRow(new InputError(`${path}: row ${row}: expected an object, found ${quoted(JSON.stringify(value))}`));
  }
}

async function* readCsvRows(files: CorpusFiles, path: string, onBadRow: OnBadRow): AsyncGenerator<FileRow> {
  const { names, rows } = readCsv(await wholeText(files, path), path, onBadRow);
  for (const { row, cells } of rows) {
    yield { value: Object.fromEntries(names.map((name, j) => [name, cells[j]])), file: path, row };
  }
}

async function wholeText(files: CorpusFiles, path: string): Promise<string> {
  for await (const { bytes } of splitBytes(files, path, new Uint8Array(0), START)) return decode(bytes, path);
  return '';
}

async function holdsOneValue(files: CorpusFiles, path: string): Promise<boolean> {
  const decoder = new TextDecoder();
  let beginning = '';
  for await (const chunk of files.bytes(path, 0)) {
    beginning = beginning.trimEnd() + decoder.decode(chunk, { stream: true });
    const found = isOneValue(beginning);
    if (found !== undefined) return found;
  }
  return false;
}

function quotedType(key: string, value: unknown): string {
  if (value instanceof Uint8Array) return `${quoted(key)} is not valid UTF-8 text`;
  return `${quoted(key)} is ${value === null ? 'null' : `of type ${typeof value}`}, expected text`;
}

async function* readText(
  files: CorpusFiles,
  { path, separator }: CorpusFile,
  from: Position,
  onBadRow: OnBadRow,
): AsyncGenerator<Document> {
  const between = new TextEncoder().encode(separator ?? '');
  for await (const { bytes, at, next } of splitBytes(files, path, between, from)) {
    const whole = orBad(onBadRow, () => decode(bytes, `${path}: row ${at.row} (byte ${at.offset})`));
    const text = separator === undefined ? whole : whole?.trim();
    if (!text) continue;
    yield { text, file: path, row: at.row, at, next: next ?? { row: at.row + 1, offset: at.offset + bytes.length } };
  }
}

interface Part {
  readonly bytes: Uint8Array;
  readonly at: Position;
  /** Where the next part begins; undefined for the last, behind which no separator came. */
  readonly next: Position | undefined;
}

// The parts of a file between separators (none: the whole file). The bytes are good until the next part is asked for.
async function* splitBytes(files: CorpusFiles, path: string, separator: Uint8Array, from: Position): AsyncGenerator<Part> {
  let at = from;
  let buffer = new Uint8Array(1 << 16);
  let held = 0; // bytes in the buffer, from `at` on
  let searched = 0; // of which this many begin no separator
  for await (const chunk of files.bytes(path, from.offset)) {
    if (held > MAX_DOCUMENT_BYTES) throw tooLarge(path, at, separator);
    buffer = withRoom(buffer, held, chunk.length);
    buffer.set(chunk, held);
    held += chunk.length;
    const bytes = buffer.subarray(0, held);
    let start = 0;
    for (;;) {
      const end = separator.length === 0 ? -1 : find(bytes, separator, Math.max(start, searched));
      if (end < 0) break;
      const next = { row: at.row + 1, offset: at.offset + (end - start) + separator.length };
      yield { bytes: bytes.subarray(start, end), at, next };
      at = next;
      start = end + separator.length;
    }
    buffer.copyWithin(0, start, held);
    held -= start;
    searched = Math.max(0, held - separator.length + 1);
  }
  if (held > 0) yield { bytes: buffer.subarray(0, held), at, next: undefined };
}

function tooLarge(path: string, at: Position, separator: Uint8Array): InputError {
  const hint = separator.length === 0 ? '; give a separator between its documents' : '';
  return new InputError(`${path}: row ${at.row} (byte ${at.offset}) is larger than ${MAX_DOCUMENT_BYTES} bytes${hint}`);
}

function find(bytes: Uint8Array, wanted: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(wanted[0], from); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
    if (at + wanted.length > bytes.length) return -1;
    let same = 1;
    while (same < wanted.length && bytes[at + same] === wanted[same]) same++;
    if (same === wanted.length) return at;
  }
  return -1;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function decode(bytes: Uint8Array, where: string): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new InputError(`${where}: not valid UTF-8 text`);
  }
}

async function* readParquet(
  files: CorpusFiles,
  { path, textKey }: CorpusFile,
  from: Position,
  onBadRow: OnBadRow,
): AsyncGenerator<Document> {
  yield* documentsOf(parquetRows(files, path, textKey, from), textKey, onBadRow);
}

async function* parquetRows(files: CorpusFiles, path: string, column?: string, from: Position = START): AsyncGenerator<Located> {
  const source = await files.open(path);
  try {
    const { metadata, columns, rows: read } = await openParquet(source);
    if (column !== undefined && !columns.includes(column)) {
      throw new InputError(`${path}: no column ${quoted(column)}; it has ${columns.map(quoted).join(', ')}`);
    }
    let first = 0;
    for (const group of metadata.row_groups) {
      const end = first + Number(group.num_rows);
      if (end > from.row) {
        const part = { ...(column === undefined ? {} : { columns: [column] }), rowStart: first, rowEnd: end };
        const rows = await read(part).catch((error: unknown) => {
          if (error instanceof InputError) throw error;
          throw new InputError(`${path}: rows ${first} to ${end - 1} cannot be read; it was cut or damaged: ${messageOf(error)}`);
        });
        if (rows.length !== end - first)
          throw new InputError(`${path}: rows ${first} to ${end - 1}: only ${rows.length} are there; it was cut or damaged`);
        for (let row = Math.max(first, from.row); row < end; row++) {
          const places = { at: { row, offset: 0 }, next: { row: row + 1, offset: 0 } };
          yield { value: rows[row - first], where: `${path}: row ${row}`, file: path, row, ...places };
        }
      }
      first = end;
    }
  } finally {
    await source.close();
  }
}
