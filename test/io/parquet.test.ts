// Rows of Parquet files as plain values, and what is said of files that are none.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.js';
import { bytesInMemory } from '../../src/io/bytes.js';
import { stringifyData } from '../../src/io/json.js';
import { openParquet, readParquet } from '../../src/io/parquet.js';
import { floatOf } from '../../src/python-float.js';

const bytesOf = (name: string) => readFileSync(fileURLToPath(new URL(`parquet/${name}.parquet`, import.meta.url)));
const read = (bytes: Uint8Array) => readParquet(bytesInMemory('x.parquet', bytes));

describe('a Parquet file', () => {
  it('gives rows of texts, numbers, nulls, lists and objects', async () => {
    const rows = [...(await read(bytesOf('part-0'))), ...(await read(bytesOf('part-1')))];
    expect(rows).toEqual(
      [0, 1, 2, 3, 4].map((i) => ({
        id: `made-up-${i}`,
        question: `What sinks in pond ${i}? Même ça?`,
        choices: { text: ['a stone', 'a leaf', 'an egg'], label: ['A', 'B', 'C'] },
        answerKey: 'ABC'[i % 3],
        number: i * 1000003,
        share: floatOf(i / 4),
        note: i % 2 ? null : 'even',
      })),
    );
    expect(Object.keys(rows[0]).join()).toBe('id,question,choices,answerKey,number,share,note');
  });

  it('that is damaged is refused in one sentence', async () => {
    const bytes = bytesOf('part-0');
    await expect(read(new TextEncoder().encode('{"not": "parquet"}'))).rejects.toThrow(/^x\.parquet: no Parquet file/);
    await expect(read(bytes.subarray(0, bytes.length - 50))).rejects.toThrow(/^x\.parquet: no Parquet file, or it was cut/);
    // Whatever byte is wrong: rows, or one sentence with the file's name.
    for (let at = 0; at < bytes.length; at += 7) {
      const wrong = Uint8Array.from(bytes);
      wrong[at] ^= 0x55;
      const outcome = await read(wrong).then(
        () => 'x.parquet',
        (error: Error) => `${error.name} ${error.message}`,
      );
      expect(outcome).toMatch(/^(InputError )?x\.parquet/);
    }
  });

  it('keeps whole numbers that a double cannot hold', async () => {
    expect(Object.values((await read(bytesOf('too-large')))[0])).toContain(1152921504606846976n);
  });

  it.each([
    ['no-utf8', 'x.parquet: row 1: column "text" is not valid UTF-8 text'],
    ['twice', 'x.parquet: column "text" comes twice'],
    ['interval', 'x.parquet: column "iv" is of type INTERVAL, which is not read here'],
    ['encrypted', 'x.parquet: column "x" is encrypted, which is not read here'],
  ])('with a column that cannot be read names it: %s', async (name, message) => {
    await expect(read(bytesOf(name))).rejects.toThrow(new InputError(message));
  });

  it('gives what other columns than such hold, to the nanosecond and the byte', async () => {
    const columns = async (name: string, ...columns: string[]) => {
      const { rows } = await openParquet(bytesInMemory(name, bytesOf(name)));
      return (await rows({ columns })).map((row) => Object.values(row));
    };
    expect(await columns('encrypted', 'text')).toEqual([['a'], ['b']]);
    expect(await columns('no-utf8', 'at')).toEqual([['2020-01-02 03:04:05.678901'], ['1969-12-31 23:59:59.999999'], [null]]);
    expect(await columns('no-utf8', 'text')).toEqual([['\ufeffok'], [Uint8Array.of(0xff, 0xfe)], ['fine']]);
    const sealed = Uint8Array.from(bytesOf('plain'));
    sealed.set(new TextEncoder().encode('PARE'), sealed.length - 4);
    await expect(read(sealed)).rejects.toThrow('x.parquet: it is encrypted');
  });

  it('is read as DuckDB writes it, whose runs are longer than the page', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({ n: i % 3 === 0 ? null : `w${i % 2}`, l: [i, null], s: { a: i % 4 } }));
    expect(await read(bytesOf('duckdb'))).toEqual(rows);
  });

  it('of any compression and page format gives the same rows', async () => {
    const rows = Array.from({ length: 12 }, (_, i) => ({
      text: i === 5 ? null : `document ${i} ${'w'.repeat(i)}`,
      b: i % 3 === 0,
      l: Array.from({ length: i % 4 }, (_, j) => `a${j}`),
    }));
    for (const name of ['checked', 'gzip', 'plain']) expect(await read(bytesOf(name))).toEqual(rows);
  });

  // Arrow's C++ miscounts missing values in lists of structs (version 2), and gives a page of nothing else no bytes.
  it.each(['arrow-1', 'arrow-2'])('as Arrow writes it gives what Python reads: %s', async (name) => {
    const rows = await read(bytesOf(name));
    expect(rows).toEqual(
      ['2024-02-28', '2024-02-29', '2024-03-01', '2024-03-02', '2024-03-03'].map((day, i) => ({
        l: Array.from({ length: i % 3 }, (_, j) => ({ text: `t${j}`, label: j, f: floatOf(j) })),
        none: null,
        day,
        time: `${i < 2 ? `1969-12-31 23:59:5${8 + i}` : `1970-01-01 00:00:0${i - 2}`}.000007`,
        half: floatOf(i / 2),
        s: i === 1 ? null : { a: i === 2 ? null : 'x', b: [i] },
      })),
    );
  });

  // `checked` has checksums of its pages, zstd and gzip their own. Of `plain` a run that is too long ended the process once.
  it.each(['checked', 'gzip', 'plain', 'arrow-2'])('with any byte of %s wrong is refused, or read', async (name) => {
    const bytes = bytesOf(name);
    const right = JSON.stringify(await read(bytes));
    const footer = bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8);
    const changed: number[] = [];
    for (let at = 0; at < bytes.length; at++) {
      const wrong = Uint8Array.from(bytes);
      wrong[at] ^= at % 3 === 0 ? 0xff : 1 << (at & 7);
      const outcome = await read(wrong).then(
        (rows) => stringifyData(rows),
        (error: Error) => error,
      );
      if (outcome instanceof Error) expect(`${outcome.name} ${outcome.message}`).toMatch(/^InputError x\.parquet[^\n]{5,400}$/);
      else if (outcome !== right && at < footer) changed.push(at);
    }
    if (name === 'checked') expect(changed).toEqual([]);
  });
});
