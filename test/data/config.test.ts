import { describe, expect, it } from 'vitest';
import { corpusFiles, dataConfigFrom, mixture, parseDataConfig, processOptions } from '../../src/data/config.js';

const corpus = { file_name: 'a.jsonl', text_key: 'text' };

describe('a data config', () => {
  it("has the paper's settings by default", () => {
    const config = parseDataConfig('train_data_info: [{file_name: a.jsonl}]', 'c.yaml');
    expect(config).toMatchObject({
      sequence_length: 2048,
      min_characters_per_text: 200,
      min_tokens_per_text: 256,
      packing: false,
    });
    expect(config.train_data_info).toEqual([corpus]);
    expect(processOptions(config)).toEqual({
      minCharacters: 200,
      minTokens: 256,
      splitWords: 2048,
      startToken: true,
      endToken: true,
      normalization: 'nfc',
    });
  });

  it("may be nested as CoreNet's, in its README's shape", () => {
    const text = `
dataset:
  language_modeling:
    shuffle_data: true
    sequence_length: 1024
    general_lm:
      train_data_info: [
        # RefinedWeb
        { "file_name": "/data/refinedweb-{file_id:05d}-of-05534.parquet", "text_key": "content", "file_id_range": [0, 3] },
        { "file_name": "books/books-{file_id:04d}.json.gz", "text_key": "text", "file_id_range": [9, 11] },
      ]
text_tokenizer:
  name: "sentence_piece"
  sentence_piece: { enable_nfc_normalization: true, append_sot_token: true, append_eot_token: false, model_path: t.model }
`;
    const config = parseDataConfig(text, 'c.yaml');
    expect(config).toMatchObject({ sequence_length: 1024, normalization: 'ftfy', append_eot_token: false, tokenizer: 't.model' });
    const [{ files, weight }] = mixture(config.train_data_info, '/base/');
    expect(weight).toBe(1);
    expect(files.map(({ path }) => path)).toEqual([
      '/data/refinedweb-00000-of-05534.parquet',
      '/data/refinedweb-00001-of-05534.parquet',
      '/data/refinedweb-00002-of-05534.parquet',
      '/base/books/books-0009.json.gz',
      '/base/books/books-0010.json.gz',
    ]);
    expect(files.map(({ textKey }) => textKey)).toEqual(['content', 'content', 'content', 'text', 'text']);
  });

  it("may be one of CoreNet's whole recipes; what it leaves out is as there", () => {
    const text = `
taskname: x
common: { grad_clip: 1.0 }
dataset:
  root_train: ""
  disable_val: true
  train_batch_size0: 16
  workers: 4
  category: "language_modeling"
  name: "general_lm"
  language_modeling:
    general_lm: { reader_chunk_size: 64, train_data_info: [{ file_name: a.jsonl, text_key: text, file_id_range: [0, 1] }] }
scheduler: { name: cosine }
`;
    expect(parseDataConfig(text, 'c.yaml')).toMatchObject({
      ...{ sequence_length: 2048, document_split_size: 2048, min_tokens_per_text: 0, min_characters_per_text: 0, random_seed: 0 },
      ...{ shuffle_data: false, append_sot_token: false, append_eot_token: false, normalization: 'none' },
    });
    expect(() => parseDataConfig(text.replace('"general_lm"', 'commonsense_170k'), 'c.yaml')).toThrow(/dataset\.name/);
  });

  it.each([
    ['min_token_per_text: 5', 'c.yaml: unknown key min_token_per_text; did you mean min_tokens_per_text?'],
    ['sequence_length: x', 'c.yaml: sequence_length: expected whole number from 1, found "x"'],
    ['sequence_length: 0', 'c.yaml: sequence_length: expected whole number from 1, found 0'],
    ['{', /^c\.yaml: .*line 2/],
    ['sequence_length: 5\nsequence_length: 6', /^c\.yaml: Map keys must be unique.*line 3/],
    ['normalization: nfd', 'c.yaml: normalization: expected none or nfc or ftfy, found "nfd"'],
  ])('names what is wrong with %j', (line, message) => {
    expect(() => parseDataConfig(`train_data_info: [{file_name: a.jsonl}]\n${line}`, 'c.yaml')).toThrow(message);
  });

  it('names keys by their path', () => {
    const wrong = { train_data_info: [corpus, { ...corpus, text_kye: 'x' }] };
    expect(() => dataConfigFrom(wrong, 'c')).toThrow(
      'c: unknown key train_data_info[1].text_kye; did you mean train_data_info[1].text_key?',
    );
    const nested = { dataset: { language_modeling: { general_ml: {} } } };
    expect(() => dataConfigFrom(nested, 'c')).toThrow(/general_l?m?/);
    expect(() => dataConfigFrom('x', 'c')).toThrow('c: expected keys and values');
  });
});

describe('corpusFiles', () => {
  it.each([
    ['a-{file_id}.txt', undefined, 'holds a file_id, so file_id_range must say which'],
    ['a-{file_id}.txt', [3, 3], 'file_id_range [3, 3] is empty'],
    ['a.txt', [0, 2], 'holds no {file_id}, but file_id_range names 2 files'],
    ['a-{id:05d}.txt', [0, 2], 'braces may only hold file_id'],
  ])('refuses %s with the range %j', (file_name, file_id_range, message) => {
    const range = file_id_range as [number, number] | undefined;
    expect(() => corpusFiles({ file_name, text_key: 'text', file_id_range: range })).toThrow(message);
  });
});

describe('mixture', () => {
  it('makes each weighted corpus a source of its own', () => {
    const parts = mixture([
      { ...corpus, weight: 2 },
      { ...corpus, file_name: 'b.jsonl', weight: 0.5 },
    ]);
    expect(parts.map(({ weight, files }) => [weight, files[0].path])).toEqual([
      [2, 'a.jsonl'],
      [0.5, 'b.jsonl'],
    ]);
  });

  it('wants weights for all or none', () => {
    expect(() => mixture([{ ...corpus, weight: 2 }, corpus])).toThrow('file_name "a.jsonl" has no weight, but others have');
  });
});
