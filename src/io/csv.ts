// Tables as comma-separated values (RFC 4180) with a header line: texts in rows and columns. What a cell's text means is the readers'.

import { InputError } from '../errors.js';

export interface CsvTable {
  /** By column; a name that comes again gets a number behind it, as pandas does it. */
  readonly names: readonly string[];
  /** As many cells as names each; counted from 0 below the header. */
  readonly rows: readonly { readonly row: number; readonly cells: readonly string[] }[];
}

/**
 * Reads a table; lines without a cell are passed over. `onBadRow` hears of rows with more or fewer cells than the header, which are left
 * out unless it throws, as it does by default. Throws `InputError` that names the file and the place when a quote is not closed, or there is no header.
 */
export function readCsv(
  text: string,
  file: string,
  onBadRow = (error: InputError): void => {
    throw error;
  },
): CsvTable {
  const [header, ...body] = cellsOf(text, file).filter((row) => row.length > 1 || (row.length === 1 && row[0] !== ''));
  if (!header) throw new InputError(`${file}: there is no header line`);
  const names = header.map((name, j) => {
    const before = header.slice(0, j).filter((other) => other === name).length;
    return before === 0 ? name : `${name}.${before}`;
  });
  const rows = body.flatMap((cells, row) => {
    if (cells.length === header.length) return [{ row, cells }];
    onBadRow(new InputError(`${file}: row ${row}: ${cells.length} cells, but the header has ${header.length}`));
    return [];
  });
  return { names, rows };
}

function cellsOf(text: string, file: string): string[][] {
  const rows: string[][] = [[]];
  let at = text.startsWith('\ufeff') ? 1 : 0;
  while (at < text.length) {
    let cell = '';
    if (text[at] === '"') {
      const start = at++;
      for (; ; at++) {
        if (at >= text.length) throw new InputError(`${file}: the quote at character ${start} is not closed`);
        if (text[at] !== '"') cell += text[at];
        else if (text[at + 1] === '"') cell += text[at++];
        else break;
      }
      at++;
    } else {
      const start = at;
      while (at < text.length && !',\r\n'.includes(text[at])) at++;
      cell = text.slice(start, at);
    }
    rows.at(-1)!.push(cell);
    if (text[at] === ',') {
      at++;
      if (at === text.length || text[at] === '\n' || text[at] === '\r') rows.at(-1)!.push('');
    }
    if (text[at] === '\r') at++;
    if (text[at] === '\n') {
      at++;
      rows.push([]);
    }
  }
  return rows;
}
