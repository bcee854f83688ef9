import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import {
  type CorpusFile,
  type CorpusFiles,
  type Document,
  type Position,
  readDocuments,
  readRows,
} from '../../src/data/readers.js';
import { localCorpora } from '../../src/io/node/corpora.js';
import { memoryCorpora } from './build.js';

const folder = fileURLToPath(new URL('../golden/data/corpora/', import.meta.url));
const texts = readFileSync(`${folder}documents.jsonl`, 'utf8')
  .trim()
  .split('\n')
  .map((line) => (JSON.parse(line) as { text: string }).text);

async function all(corpora: CorpusFiles, file: CorpusFile, from?: Position): Promise<Document[]> {
  const documents: Document[] = [];
  for await (const document of readDocuments(corpora, file, from)) documents.push(document);
  return documents;
}

const read = (content: string | Uint8Array, name = 'a.jsonl', rest: Partial<CorpusFile> = {}): Promise<Document[]> =>
  all(memoryCorpora({ [name]: content }), { path: name, textKey: 'text', ...rest });

describe('readDocuments', () => {
  it.each(['documents.jsonl', 'documents.jsonl.zst'])('reads %s, from any document on', async (name) => {
    const file = { path: folder + name, textKey: 'text' };
    const documents = await all(localCorpora, file);
    expect(documents.map(({ text }) => text)).toEqual(texts);
    expect(documents.map(({ row }) => row)).toEqual(texts.map((_, i) => i));
    for (const start of [1, 19, 20, 21, 49]) {
      expect(documents[start].at).toEqual(documents[start - 1].next);
      expect(await all(localCorpora, file, documents[start].at)).toEqual(documents.slice(start));
    }
    expect(await all(localCorpora, file, documents[49].next)).toEqual([]);
  });

  it('reads Parquet in every compression, one column of several, from any row on', async () => {
    const found: Document[] = [];
    for (const part of ['00', '01', '02', '03']) {
      const file = { path: `${folder}part-${part}.parquet`, textKey: 'content' };
      const documents = await all(localCorpora, file);
      expect(await all(localCorpora, file, documents[7].at)).toEqual(documents.slice(7));
      found.push(...documents);
    }
    expect(found.map(({ text }) => text)).toEqual(texts);
  });

  it('cuts plain text at the separator and drops blanks around it', async () => {
    const text = ' one\nmore \n<|end|>\ntwo<|end|><|end|>\n <|e <|end\n';
    const documents = await read(text, 'a.txt', { separator: '<|end|>' });
    expect(documents.map((document) => document.text)).toEqual(['one\nmore', 'two', '<|e <|end']);
    const corpora = memoryCorpora({ 'a.txt': text });
    const file = { path: 'a.txt', textKey: 'text', separator: '<|end|>' };
    expect(await all(corpora, file, documents[0].next)).toEqual(documents.slice(1));
    expect(await all(corpora, file, documents[2].next)).toEqual([]);
  });

  it('takes a text file without a separator whole', async () => {
    expect((await read('a b\n\nc\n', 'a.txt')).map(({ text }) => text)).toEqual(['a b\n\nc\n']);
  });

  it('does without a line end at the end, and with blank lines', async () => {
    const documents = await read('{"text":"é"}\n\n  \r\n{"x":[1],"text":"b"}');
    expect(documents.map(({ text, row }) => [text, row])).toEqual([
      ['é', 0],
      ['b', 3],
    ]);
  });

  it.each([
    ['{"text":"a"}\n{"text":"b', /^a\.jsonl: row 1 \(byte 13\).*cut in the middle$/],
    ['{"text":"a"}\n{"text" "b"}\n{"text":"c"}\n', /^a\.jsonl: row 1 \(byte 13\): expected ":".*column 9\)$/],
    ['{"content":"a","id":2}\n', /^a\.jsonl: row 0 \(byte 0\): no key "text"; it has "content", "id"$/],
    ['{"text":null}\n', /row 0 \(byte 0\): "text" is null, expected text/],
    ['{"text":7}\n', /"text" is of type number, expected text/],
    ['[1]\n', /expected a JSON object a line, found "\[1\]"/],
    ['\n[\n {"text": "a"}\n]\n', /row 1 \(byte 1\): a JSON list begins here/],
    ['{\n "text": "a"\n}\n', /row 0 \(byte 0\): a JSON object over several lines begins here/],
    [`{"text": "a", "x": ${'['.repeat(600)}${']'.repeat(600)}}`, /row 0 \(byte 0\): brackets are nested more than 500 deep/],
    [Uint8Array.of(0x7b, 0xff, 0x0a), /row 0 \(byte 0\): not valid UTF-8/],
  ])('says where %j is wrong', async (content, message) => {
    await expect(read(content)).rejects.toThrow(message);
  });

  it('reads NaN and Infinity as Python writes them', async () => {
    const documents = await read('{"text":"a","score":NaN}\n{"x":[-Infinity],"text":"b"}\n');
    expect(documents.map(({ text }) => text)).toEqual(['a', 'b']);
    await expect(read('{"text":NaN}\n')).rejects.toThrow('"text" is of type number, expected text');
    await expect(read('{"text":"a","x":nan}\n')).rejects.toThrow('expected a value, found "nan}"');
  });

  it('goes on behind bad elements of a list when told to', async () => {
    const corpora = memoryCorpora({ 'a.json': '[{"a": 1}, 7, {"a": 2}, null, ["a"]]' });
    const bad: string[] = [];
    const found: unknown[] = [];
    for await (const { row, value } of readRows(corpora, 'a.json', ({ message }) => bad.push(message))) found.push([row, value]);
    expect(found).toEqual([
      [0, { a: 1 }],
      [2, { a: 2 }],
    ]);
    expect(bad).toEqual(
      ['1: expected an object, found "7"', '3: expected an object, found "null"', '4: expected an object, found "[\\"a\\"]"'].map(
        (what) => `a.json: row ${what}`,
      ),
    );
    await expect(readRows(corpora, 'a.json').next()).resolves.toMatchObject({ value: { row: 0 } });
  });

  it('reads a list with what Python writes, an object over lines, and tables with tabs', async () => {
    const files = { 'a.json': '\n [{"a": NaN},\n{"a": 1}]', 'b.json': '{ \r\n "a": 1\n}', 'c.tsv': 'a\tb\n1\t2,3\n' };
    const values = async (name: string) => {
      const found: unknown[] = [];
      for await (const { value } of readRows(memoryCorpora(files), name)) found.push(value);
      return found;
    };
    expect(await values('a.json')).toEqual([{ a: Number.NaN }, { a: 1 }]);
    expect(await values('b.json')).toEqual([{ a: 1 }]);
    expect(await values('c.tsv')).toEqual([{ a: '1', b: '2,3' }]);
  });

  it('reads tables of comma-separated values as texts', async () => {
    const table = '\ufeffprompt,completion\r\n"a, ""b""\nc",07\r\n\nx\nNA,\n';
    const corpora = memoryCorpora({ 'a.csv': table, 'b.csv': '' });
    const bad: string[] = [];
    const found: unknown[] = [];
    for await (const { row, value } of readRows(corpora, 'a.csv', ({ message }) => bad.push(message))) found.push([row, value]);
    expect(found).toEqual([
      [0, { prompt: 'a, "b"\nc', completion: '07' }],
      [2, { prompt: 'NA', completion: '' }],
    ]);
    expect(bad).toEqual(['a.csv: row 1: 1 cell, but the header has 2']);
    await expect(readRows(corpora, 'b.csv').next()).rejects.toThrow('b.csv: there is no header line');
  });

  it('goes on behind bad rows when told to', async () => {
    const good = (i: number) => `{"text":"${i}"}`;
    const lines = [good(0), '{"text":null}', good(2), '{"text":["a"]}', '{"te', good(5), '7', '{"a":1}', good(8), '{"text":"cut'];
    const bad: string[] = [];
    const file = { path: 'a.jsonl', textKey: 'text' };
    const found: Document[] = [];
    const corpora = memoryCorpora({ 'a.jsonl': lines.join('\n') });
    for await (const document of readDocuments(corpora, file, undefined, ({ message }) => bad.push(message)))
      found.push(document);
    expect(found.map(({ text, row }) => [text, row])).toEqual([0, 2, 5, 8].map((i) => [String(i), i]));
    expect(bad.map((message) => /row (\d)/.exec(message)![1]).join('')).toBe('134679');
    expect(await all(memoryCorpora({ 'a.jsonl': lines.slice(0, 3).join('\n') }), file, found[0].next).catch(String)).toMatch(
      /row 1/,
    );
    const nulls: string[] = [];
    const path = `${folder}with-null.parquet`;
    const rows: number[] = [];
    for await (const { row } of readDocuments(localCorpora, { path, textKey: 'text' }, undefined, ({ message }) =>
      nulls.push(message),
    )) {
      rows.push(row);
    }
    expect([rows, nulls]).toEqual([[0, 2], [`${path}: row 1: "text" is null, expected text`]]);
  });

  it('names the columns when the one asked for is not there', async () => {
    const file = { path: `${folder}part-00.parquet`, textKey: 'text' };
    await expect(all(localCorpora, file)).rejects.toThrow(/part-00\.parquet: no column "text"; it has "id", "content", "meta"$/);
  });

  it('says where a Parquet file holds no text, was cut or is none', async () => {
    const path = `${folder}with-null.parquet`;
    await expect(all(localCorpora, { path, textKey: 'text' })).rejects.toThrow('with-null.parquet: row 1: "text" is null');
    const whole = new Uint8Array(readFileSync(`${folder}part-00.parquet`));
    const cut = read(whole.slice(0, 2000), 'a.parquet', { textKey: 'content' });
    await expect(cut).rejects.toThrow(/^a\.parquet: no Parquet file, or it was cut/);
    const middle = whole.slice();
    middle.fill(0xff, 200, 2500);
    await expect(read(middle, 'a.parquet', { textKey: 'content' })).rejects.toThrow(
      /^a\.parquet: rows \d+ to \d+ cannot be read/,
    );
  });

  it('refuses other kinds of files', () => {
    expect(() => readDocuments(memoryCorpora({}), { path: 'a.csv', textKey: 'text' })).toThrow(/^a\.csv: not a corpus format/);
  });
});

describe('encodings', () => {
  const content = texts.map((text) => `${JSON.stringify({ text })}\n`).join('');
  const little = Buffer.from(content, 'utf16le');
  const big = Buffer.from(little).swap16();
  const mark = Buffer.from('\ufeff', 'utf16le');

  it.each([
    ['UTF-8 with a mark', Buffer.from(`\ufeff${content}`)],
    ['UTF-16, little end first', Buffer.concat([mark, little])],
    ['UTF-16, big end first', Buffer.concat([Buffer.from(mark).swap16(), big])],
    ['UTF-16 without a mark', little],
    ['UTF-16 without a mark, big end first', big],
  ])('%s are read alike, compressed or not', async (_, bytes) => {
    await inFolder(async (directory) => {
      for (const [name, data] of [
        ['a.jsonl', bytes],
        ['a.jsonl.gz', gzipSync(bytes)],
      ] as const) {
        const file = { path: `${directory}/${name}`, textKey: 'text' };
        writeFileSync(file.path, data);
        const documents = await all(localCorpora, file);
        expect(documents.map(({ text }) => text)).toEqual(texts);
        expect(await all(localCorpora, file, documents[20].at)).toEqual(documents.slice(20));
      }
    });
  });

  it('that are no text here are named', async () => {
    await inFolder(async (directory) => {
      const path = `${directory}/a.txt`;
      const refusal = (bytes: Uint8Array) => {
        writeFileSync(path, bytes);
        return expect(all(localCorpora, { path, textKey: 'text' })).rejects;
      };
      await refusal(Uint8Array.of(0xff, 0xfe, 0, 0, 0x61, 0, 0, 0)).toThrow(/a\.txt: text in UTF-32; write it as UTF-8$/);
      await refusal(Uint8Array.of(0xff, 0xfe, 0x61, 0, 0, 0xd8, 0x62, 0)).toThrow('not valid UTF-16');
      await refusal(Uint8Array.of(0x61, 0xe9, 0x62)).toThrow('row 0 (byte 0): not valid UTF-8');
    });
  });
});

async function inFolder(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(`${tmpdir()}/openelm-encodings-`);
  try {
    await work(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

describe('localCorpora', () => {
  it('reads gzip with several members from a byte on, and says where it breaks off', async () => {
    const { mkdtemp, rm, writeFile } = await import('node:fs/promises');
    const { tmpdir } = await import('node:os');
    const directory = await mkdtemp(`${tmpdir()}/openelm-corpora-`);
    try {
      const path = `${directory}/a.json.gz`;
      const lines = texts.map((text) => `${JSON.stringify({ text })}\n`);
      const packed = Buffer.concat([gzipSync(lines.slice(0, 30).join('')), gzipSync(lines.slice(30).join(''))]);
      await writeFile(path, packed);
      const documents = await all(localCorpora, { path, textKey: 'text' });
      expect(documents.map(({ text }) => text)).toEqual(texts);
      expect(await all(localCorpora, { path, textKey: 'text' }, documents[33].at)).toEqual(documents.slice(33));
      const [first, second] = [gzipSync(lines.slice(0, 30).join('')), gzipSync(lines.slice(30).join(''))];
      await writeFile(path, Buffer.concat([first, Buffer.alloc(600), second, Buffer.alloc(3)]));
      expect(await all(localCorpora, { path, textKey: 'text' })).toEqual(documents);
      await writeFile(path, packed.subarray(0, packed.length - 100));
      await expect(all(localCorpora, { path, textKey: 'text' })).rejects.toThrow(
        /a\.json\.gz: the gzip data break off .* after \d+/,
      );
      const zst = readFileSync(`${folder}documents.jsonl.zst`);
      const cut = `${directory}/a.jsonl.zst`;
      await writeFile(cut, zst.subarray(0, zst.length - 30));
      await expect(all(localCorpora, { path: cut, textKey: 'text' })).rejects.toThrow(/a\.jsonl\.zst: the zstd data break off/);
      const claimed = Buffer.from(zst);
      claimed[4] = 0;
      claimed[5] = 0xf8;
      await writeFile(cut, claimed);
      await expect(all(localCorpora, { path: cut, textKey: 'text' })).rejects.toThrow(/window of 2199023255552 bytes/);
      await expect(all(localCorpora, { path: `${directory}/no.txt`, textKey: 'text' })).rejects.toThrow('no such file');
      // Leaving early closes what was opened.
      for await (const document of readDocuments(localCorpora, { path: `${folder}documents.jsonl.zst`, textKey: 'text' })) {
        expect(document.row).toBe(0);
        break;
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
