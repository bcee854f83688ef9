import { describe, expect, it } from 'vitest';
import { processOptions } from '../../src/data/config.js';
import { inlineProcessor } from '../../src/data/process.js';
import { collectStats } from '../../src/data/stats.js';
import { byteTokenizer, memoryCorpora, smallConfig } from './build.js';

const texts = ['ab', 'a', 'abcdefgh', '...', 'abcd', 'x'.repeat(40)];
const files = { 'a.jsonl': texts.map((text) => `${JSON.stringify({ text })}\n`).join(''), 'b.jsonl': '{"text":"abc"}\n{"te' };

function stats(changes: Record<string, unknown>, limit?: number) {
  const config = smallConfig({ train_data_info: [{ file_name: 'a.jsonl' }], ...changes });
  return collectStats({
    config,
    split: 'train',
    corpora: memoryCorpora(files),
    processor: inlineProcessor(byteTokenizer(), processOptions(config)),
    limit,
  });
}

describe('collectStats', () => {
  it('counts what is kept and what is dropped, and why', async () => {
    // Tokens: the text's bytes, a space in front, beginning and end.
    expect(await stats({ min_characters_per_text: 2, min_tokens_per_text: 6, sequence_length: 20 })).toMatchObject({
      files: 1,
      documents: 6,
      characters: 2 + 1 + 8 + 3 + 4 + 40,
      sequences: 6,
      tooFewCharacters: 2,
      tooFewTokens: 1,
      kept: 3,
      tokens: 11 + 7 + 43,
      cutTokens: 43 - 21,
      shortest: 7,
      longest: 43,
      median: 11,
      mean: 61 / 3,
    });
    expect((await stats({ packing: true, sequence_length: 20 })).cutTokens).toBe(0);
  });

  it('stops after so many documents, and tells of bad files', async () => {
    expect((await stats({}, 2)).documents).toBe(2);
    const both = [{ file_name: 'b.jsonl' }, { file_name: 'a.jsonl' }];
    await expect(stats({ train_data_info: both })).rejects.toThrow('b.jsonl: row 1');
    const skipping = await stats({ train_data_info: both, skip_bad_files: true });
    expect(skipping).toMatchObject({ files: 2, documents: 7 });
    expect(skipping.badFiles).toHaveLength(1);
  });

  it('bins the lengths', async () => {
    const { histogram } = await stats({});
    expect(histogram.width).toBe(1);
    expect(histogram.counts.map((count, length) => (count > 0 ? length : 0)).filter(Boolean)).toEqual([4, 5, 6, 7, 11, 43]);
  });
});
