// Tables as comma-separated values (RFC 4180) with a header line: texts in rows and columns, cut as pandas and Python's csv do it. What a
// cell's text means is the readers'.

import { counted, InputError } from '../errors.js';

export interface CsvTable {
  /** By column, named as by pandas: a name that comes again gets a number behind it, a column without one its own. */
  readonly names: readonly string[];
  /** As many cells as names each; counted from 0 below the header. */
  readonly rows: readonly { readonly row: number; readonly cells: readonly string[] }[];
}

const refuse = (error: InputError): never => {
  throw error;
};

/**
 * Reads a table; between cells are tabs in a .tsv (also with .gz or .zst behind), else commas; blank lines are passed over. `onBadRow`
 * hears of rows with more or fewer cells than the header, which are left out unless it throws, as it does by default. Throws `InputError`
 * that names the file and the place when a quote is not closed, or there is no header.
 */
export function readCsv(text: string, file: string, onBadRow: (error: InputError) => void = refuse): CsvTable {
  const [header, ...body] = cellsOf(text, /\.tsv(\.\w+)?$/.test(file) ? '\t' : ',', file);
  if (!header) throw new InputError(`${file}: there is no header line`);
  const rows = body.flatMap((cells, row) => {
    if (cells.length === header.length) return [{ row, cells }];
    onBadRow(new InputError(`${file}: row ${row}: ${counted(cells.length, 'cell')}, but the header has ${header.length}`));
    return [];
  });
  return { names: namesOf(header), rows };
}

function namesOf(header: readonly string[]): string[] {
  const given = header.map((name, j) => (name === '' ? `Unnamed: ${j}` : name));
  const taken = new Set(given);
  const times = new Map<string, number>();
  return given.map((name) => {
    let number = times.get(name) ?? 0;
    let own = name;
    if (number > 0) while (taken.has(own)) own = `${name}.${number++}`;
    taken.add(own);
    times.set(name, Math.max(number, 1));
    return own;
  });
}

function cellsOf(text: string, separator: string, file: string): string[][] {
  const rows: string[][] = [];
  const ends = `${separator}\r\n`;
  for (let at = text.startsWith('\ufeff') ? 1 : 0; at < text.length; ) {
    const start = at;
    const cells: string[] = [];
    for (; ; at++) {
      let cell = '';
      // Only a cell's first character begins quotes, and what stands behind their end belongs to it too.
      if (text[at] === '"') [cell, at] = unquoted(text, at, file);
      const plain = at;
      while (at < text.length && !ends.includes(text[at])) at++;
      cells.push(cell + text.slice(plain, at));
      if (text[at] !== separator) break;
    }
    if (/[^ \t]/.test(text.slice(start, at)) || cells.length > 1) rows.push(cells);
    if (text[at] === '\r') at++;
    if (text[at] === '\n') at++;
  }
  return rows;
}

/** What is in the quotes that begin at `start`, of which two stand for one, and where they end. */
function unquoted(text: string, start: number, file: string): [string, number] {
  let cell = '';
  for (let at = start + 1; ; ) {
    const end = text.indexOf('"', at);
    if (end < 0) throw new InputError(`${file}: the quote at character ${start} is not closed`);
    cell += text.slice(at, end);
    if (text[end + 1] !== '"') return [cell, end + 1];
    cell += '"';
    at = end + 2;
  }
}
