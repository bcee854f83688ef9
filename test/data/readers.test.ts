import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type CorpusFile, type CorpusFiles, type Document, type Position, readDocuments } from '../../src/data/readers.js';
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
    [Uint8Array.of(0x7b, 0xff, 0x0a), /row 0 \(byte 0\): not valid UTF-8/],
  ])('says where %j is wrong', async (content, message) => {
    await expect(read(content)).rejects.toThrow(message);
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
