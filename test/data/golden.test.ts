// CoreNet's rows, splits, files per worker, prompts and normalised texts, on the small copies.

import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { judgeData } from '../judge/data.js';
import { temporaryFolder } from '../temporary.js';

const golden = fileURLToPath(new URL('../golden/data', import.meta.url));

describe('data goldens', () => {
  const folder = temporaryFolder();

  it('are met', async () => {
    const verdicts = await judgeData(golden);
    expect(verdicts.map(({ item }) => item)).toEqual(['packing', 'sharding', 'commonsense_170k', 'ftfy_nfc']);
    expect(verdicts.flatMap(({ failures }) => failures)).toEqual([]);
    expect(verdicts.reduce((sum, { judged }) => sum + judged, 0)).toBeGreaterThan(200);
  });

  it('are missed when they say otherwise', async () => {
    await cp(golden, folder, { recursive: true });
    for (const [name, from, to] of [
      ['packing.json', '"min_tokens_per_text": 34', '"min_tokens_per_text": 43'],
      ['sharding.json', '"seed": 1337', '"seed": 1338'],
      ['commonsense_170k.json', '### Response:', '### Response'],
      ['ftfy_nfc.json', 'fine flow', 'fine fl0w'],
    ]) {
      const text = await readFile(join(folder, name), 'utf8');
      expect(text).toContain(from);
      await writeFile(join(folder, name), text.replace(from, to));
    }
    const verdicts = await judgeData(folder);
    expect(verdicts.filter(({ failures }) => failures.length > 0)).toHaveLength(4);
  });
});
