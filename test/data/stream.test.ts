import { describe, expect, it } from 'vitest';
import { type DataConfig, processOptions } from '../../src/data/config.js';
import { type Batch, BatchStream, type StreamOptions } from '../../src/data/stream.js';
import { byteTokenizer, memoryCorpora, scatteredProcessor, smallConfig } from './build.js';

const tokenizer = byteTokenizer();
const padId = tokenizer.vocabSize;

// Documents of 1 to 12 words, told apart by their first.
const document = (name: string, i: number): string => `${name}${i}${' w'.repeat((i * 7) % 12)}`;
const lines = (name: string, count: number): string =>
  Array.from({ length: count }, (_, i) => `${JSON.stringify({ text: document(name, i) })}\n`).join('');
const files = {
  'a-00.jsonl': lines('a', 9),
  'a-01.jsonl': lines('b', 4),
  'a-02.jsonl': lines('c', 6),
  'books.txt': Array.from({ length: 30 }, (_, i) => document('d', i)).join('<|end|>'),
};
const numbered = { file_name: 'a-{file_id:02d}.jsonl', file_id_range: [0, 3] };
const books = { file_name: 'books.txt', separator: '<|end|>' };

function open(config: DataConfig, changes: Partial<StreamOptions> = {}, state?: unknown, depth = 1): BatchStream {
  const processor = scatteredProcessor(tokenizer, processOptions(config), depth);
  return new BatchStream(
    { config, split: 'train', batchSize: 3, corpora: memoryCorpora(files), processor, padId, ...changes },
    state,
  );
}

async function take(stream: BatchStream, count: number): Promise<Batch[]> {
  const batches: Batch[] = [];
  for (let i = 0; i < count; i++) batches.push((await stream.next())!);
  return batches;
}

const textOf = (ids: ArrayLike<number>): string => tokenizer.decode(Array.from(ids).filter((id) => id > 2 && id < padId));

describe('BatchStream', () => {
  const configs: [string, DataConfig][] = [
    ['rows of one document', smallConfig({ train_data_info: [numbered] })],
    ['packed rows', smallConfig({ train_data_info: [numbered], packing: true, shuffle_data: true })],
    ['split documents', smallConfig({ train_data_info: [books], document_split_size: 3, min_characters_per_text: 2 })],
    [
      'a weighted, shuffled, packed, filtered mixture',
      smallConfig({
        train_data_info: [
          { ...numbered, weight: 1 },
          { ...books, weight: 3 },
        ],
        document_split_size: 4,
        min_tokens_per_text: 5,
        packing: true,
        shuffle_data: true,
        shuffle_buffer: 5,
        random_seed: 3,
      }),
    ],
  ];

  it('shuffles packed rows, so that a long document does not come in one stretch', async () => {
    const chapters = ['x', 'y', 'z'].map((name) => `${JSON.stringify({ text: Array(150).fill(name).join(' ') })}\n`).join('');
    const corpora = memoryCorpora({ 'chapters.jsonl': chapters });
    const rowsOf = async (shuffle_buffer: number): Promise<string[]> => {
      const config = smallConfig({ train_data_info: [{ file_name: 'chapters.jsonl' }], packing: true, shuffle_buffer });
      const stream = open(config, { corpora, batchSize: 1 });
      const batches = await take(stream, 15);
      await stream.close();
      return batches.map(({ documents }) => documents[0].join());
    };
    const changes = (rows: string[]): number => rows.filter((row, i) => i > 0 && row !== rows[i - 1]).length;
    expect(changes(await rowsOf(40))).toBeGreaterThan(3 + changes(await rowsOf(0)));
  });

  it.each(configs)('goes on exactly where its state was taken: %s', async (_, config) => {
    const whole = open(config);
    const expected = await take(whole, 24);
    for (const at of [0, 1, 5, 11]) {
      const first = open(config, {}, undefined, 3);
      expect(await take(first, at)).toEqual(expected.slice(0, at));
      const second = open(config, {}, JSON.parse(JSON.stringify(first.state())), 2);
      expect(await take(second, 24 - at)).toEqual(expected.slice(at));
      expect(second.counts).toEqual(whole.counts);
      expect(second.state()).toEqual(whole.state());
      await first.close();
      await second.close();
    }
    await whole.close();
  });

  it('begins the next epoch where its state was taken at the end of one', async () => {
    const config = smallConfig({ train_data_info: [{ file_name: 'a-01.jsonl' }] });
    const [first, ...others] = await take(open(config, { batchSize: 1 }), 4);
    expect(others.map(({ documents }) => documents)).not.toContainEqual(first.documents);
    const whole = open(config, { batchSize: 1 });
    await take(whole, 4);
    expect(await take(open(config, { batchSize: 1 }, JSON.parse(JSON.stringify(whole.state()))), 1)).toEqual([first]);
  });

  it('reads every document of every epoch once, file by file', async () => {
    const stream = open(smallConfig({ train_data_info: [numbered], sequence_length: 40 }), { batchSize: 19 });
    const [first, second] = await take(stream, 2);
    const texts = (batch: Batch): string[] =>
      Array.from({ length: batch.rows }, (_, i) => textOf(batch.samples.subarray(i * batch.length, (i + 1) * batch.length)));
    const all = [9, 4, 6].flatMap((count, file) => Array.from({ length: count }, (_, i) => document('abc'[file], i)));
    expect(texts(first)).toEqual(all);
    expect([...texts(second)].sort()).toEqual([...all].sort());
    expect(texts(second)).not.toEqual(all); // the second epoch's files come in another order
    expect(first.documents[0]).toEqual(['a-00.jsonl:0']);
    await stream.close();
  });

  it('packs documents so that no stretch holds two, and every token but the first is a target once', async () => {
    const config = smallConfig({ train_data_info: [books], packing: true });
    const stream = open(config, { split: 'train', batchSize: 4 });
    const pieces: number[][] = [];
    for (const batch of await take(stream, 20)) {
      batch.sequences.forEach((row, i) => {
        let filled = 0;
        for (const [start, length] of row) {
          expect(start).toBe(filled);
          filled += length;
          const at = i * batch.length + start;
          pieces.push([...batch.samples.subarray(at, at + length), batch.targets[at + length - 1]]);
          expect([...batch.targets.subarray(at, at + length - 1)]).toEqual([...batch.samples.subarray(at + 1, at + length)]);
        }
        expect(filled).toBe(batch.length);
      });
    }
    const joined: number[][] = [];
    for (const piece of pieces) {
      if (piece[0] === 1) joined.push(piece);
      else joined[joined.length - 1].push(...piece.slice(1)); // its first token was the last target of the piece before
    }
    expect(joined.slice(0, 30).map(textOf)).toEqual(Array.from({ length: 30 }, (_, i) => document('d', i)));
    await stream.close();
  });

  it('mixes by tokens as the weights say', async () => {
    const config = smallConfig({
      train_data_info: [
        { ...numbered, weight: 1 },
        { ...books, weight: 3 },
      ],
    });
    const stream = open(config, { batchSize: 100 });
    await take(stream, 3);
    const [small, large] = stream.state().drawn;
    expect(large / small).toBeGreaterThan(2.9);
    expect(large / small).toBeLessThan(3.1);
    await stream.close();
  });

  it('goes through a validation set once, in order, the last batch smaller', async () => {
    const config = smallConfig({ train_data_info: [books], val_data_info: [numbered], shuffle_buffer: 7, shuffle_data: true });
    const stream = open(config, { split: 'val', batchSize: 8 });
    const batches = [...(await take(stream, 3)), await stream.next()];
    expect(batches.map((batch) => batch?.rows)).toEqual([8, 8, 3, undefined]);
    expect(batches[0]!.documents[0]).toEqual(['a-00.jsonl:0']);
    expect(() => open(smallConfig({ train_data_info: [books] }), { split: 'val' })).toThrow('val_data_info is missing');
  });

  it('deals the files out to ranks', async () => {
    const config = smallConfig({ train_data_info: [{ ...numbered, file_id_range: [0, 2] }], sequence_length: 40 });
    const names = async (rank: number): Promise<Set<string>> => {
      const stream = open(config, { rank, worldSize: 2, batchSize: 8 });
      const batches = await take(stream, 2);
      await stream.close();
      return new Set(batches.flatMap(({ documents }) => documents.flat().map((name) => name.split(':')[0])));
    };
    expect([await names(0), await names(1)]).toEqual([new Set(['a-00.jsonl']), new Set(['a-01.jsonl'])]);
  });

  it('stops at a bad file, or skips the rest of it and says so', async () => {
    const broken = memoryCorpora({ ...files, 'a-01.jsonl': '{"text":"one"}\n{"text":' });
    const config = smallConfig({
      train_data_info: [{ ...numbered, file_id_range: [0, 4] }],
      val_data_info: [{ ...numbered, file_id_range: [0, 4] }],
    });
    await expect(take(open(config, { corpora: broken }), 9)).rejects.toThrow(/^a-01\.jsonl: row 1/);
    const reasons: string[] = [];
    const onBadFile = (reason: string): void => {
      reasons.push(reason);
    };
    const skipping = { ...config, skip_bad_files: true };
    const stream = open(skipping, { corpora: broken, onBadFile, split: 'val', batchSize: 50 });
    expect((await stream.next())!.rows).toBe(9 + 1 + 6);
    expect(reasons.map((reason) => reason.slice(0, 17))).toEqual(['a-01.jsonl: row 1', 'a-03.jsonl: canno']);
  });

  it('does not search for ever when nothing passes', async () => {
    const strict = smallConfig({ train_data_info: [numbered], min_tokens_per_text: 1000, min_characters_per_text: 4 });
    await expect(open(strict).next()).rejects.toThrow(/no text passes the filters: of 19 documents, \d+ sequences fell below/);
    const missing = smallConfig({ train_data_info: [{ file_name: 'no.jsonl' }], skip_bad_files: true });
    await expect(open(missing).next()).rejects.toThrow('no corpus file can be read; the last: no.jsonl: cannot read it');
    const empty = open(smallConfig({ train_data_info: [{ file_name: 'e.txt' }] }), { corpora: memoryCorpora({ 'e.txt': '' }) });
    await expect(empty.next()).rejects.toThrow('e.txt: no documents in it');
  });

  it('passes over bad rows up to a limit, in each epoch anew', async () => {
    const corpora = memoryCorpora({ 'x.jsonl': `${lines('x', 2)}{"text":null}\n${lines('y', 2)}{"text":3}\n` });
    const config = (limit: number) => smallConfig({ train_data_info: [{ file_name: 'x.jsonl' }], skip_bad_rows: limit });
    const reasons: string[] = [];
    const stream = open(config(2), { corpora, onBadRow: (reason) => reasons.push(reason) });
    await take(stream, 4);
    expect(stream.counts.badRows).toBe(reasons.length);
    expect(reasons.slice(0, 2)).toEqual([expect.stringMatching(/^x\.jsonl: row 2 /), expect.stringMatching(/^x\.jsonl: row 5 /)]);
    expect(reasons.length).toBeGreaterThan(2);
    await stream.close();
    await expect(open(config(1), { corpora }).next()).rejects.toThrow(/row 5 .*; 1 bad row passed over already/);
    await expect(open(config(0), { corpora }).next()).rejects.toThrow(/^x\.jsonl: row 2 \(byte \d+\): "text" is null/);
  });

  it('refuses the state of another config, and what is no state', async () => {
    const stream = open(smallConfig({ train_data_info: [numbered] }));
    await take(stream, 2);
    const state = stream.state();
    await stream.close();
    const other = smallConfig({ train_data_info: [numbered], sequence_length: 17 });
    expect(() => open(other, {}, state)).toThrow('saved with sequence_length 16, which is now 17');
    expect(() => open(smallConfig({ train_data_info: [books] }), {}, state)).toThrow('saved with other corpora');
    expect(() => open(smallConfig({ train_data_info: [numbered] }), {}, { ...state, drawn: 'x' })).toThrow('data state: drawn');
    // A corpus may move, and the batch size may change.
    const moved = memoryCorpora(
      Object.fromEntries(Object.entries(files).map(([name, content]) => [`/elsewhere/${name}`, content])),
    );
    const again = open(smallConfig({ train_data_info: [numbered] }), { corpora: moved, base: '/elsewhere', batchSize: 1 }, state);
    expect((await again.next())!.documents[0]).toEqual(['/elsewhere/a-00.jsonl:6']);
    await again.close();
  });
});
