// Datasets from a hub in miniature: which files are fetched, that they are fetched once and read offline, and what is said when
// something is not there.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type DatasetSplits, downloadDataset } from '../../../src/io/node/hub-datasets.js';
import { FakeHub } from './hub-server.js';

const REPO = 'acme/questions';
const part = (index: number) => readFileSync(fileURLToPath(new URL(`../parquet/part-${index}.parquet`, import.meta.url)));

let hub: FakeHub;
let cacheDir: string;

beforeEach(async () => {
  for (const name of ['HF_TOKEN', 'HF_TOKEN_PATH', 'HF_HUB_CACHE', 'HF_ENDPOINT', 'HF_HUB_OFFLINE']) vi.stubEnv(name, undefined);
  cacheDir = mkdtempSync(join(tmpdir(), 'openelm-datasets-'));
  vi.stubEnv('HF_HOME', join(cacheDir, 'home'));
  const files = new Map([
    ['Easy/test/0000.parquet', part(0)],
    ['Easy/test/0001.parquet', part(1)],
    ['Easy/train/0000.parquet', Buffer.from('training rows')],
    ['Hard/test/0000.parquet', Buffer.from('hard rows')],
    ['Easy/../test/0000.parquet', part(0)],
    ['.gitattributes', Buffer.from('')],
  ]);
  hub = await new FakeHub(REPO, files, 'datasets').start();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
  rmSync(cacheDir, { recursive: true });
});

const download = (wanted: DatasetSplits[], more: object = {}) =>
  downloadDataset(REPO, wanted, {
    ...{ cacheDir, endpoint: hub.endpoint },
    patience: { retries: 1, delayMs: 2, stallMs: 400, longestWaitMs: 100 },
    ...more,
  });

describe('a dataset of the hub', () => {
  it('comes split by split, once, in order', async () => {
    const [easy, hard] = await download([
      { config: 'Easy', splits: ['test'] },
      { config: 'Hard', splits: ['test', 'validation'] },
    ]);
    expect([...easy.keys(), ...hard.keys()]).toEqual(['test', 'test']);
    expect(easy.get('test')!.map((file) => readFileSync(file))).toEqual([part(0), part(1)]);
    expect(hub.take().filter((request) => request.startsWith('cdn'))).toEqual([
      'cdn GET /Easy/test/0001.parquet',
      'cdn GET /Easy/test/0000.parquet',
      'cdn GET /Hard/test/0000.parquet',
    ]);
    await download([{ config: 'Easy', splits: ['test', 'train'] }]);
    expect(hub.take().filter((request) => request.startsWith('cdn'))).toEqual(['cdn GET /Easy/train/0000.parquet']);
    await hub.stop();
    const offline = await download([{ config: 'Easy', splits: ['train', 'test'] }], { offline: true });
    expect(offline[0].get('test')!.length).toBe(2);
    expect((await download([{ config: 'Easy', splits: ['train'] }]))[0].get('train')!.length).toBe(1);
  });

  it('goes on after a break, and is not taken for whole while a file is missing', async () => {
    hub.fault = ({ host, url, range }) => {
      if (host !== 'cdn' || !url.includes('Easy/test/0000')) return undefined;
      return range ? { status: 503 } : { cutAfter: 100 };
    };
    const wanted = [{ config: 'Easy', splits: ['test'] }];
    await expect(download(wanted)).rejects.toThrow('has trouble (status 503)');
    await expect(download(wanted, { offline: true })).rejects.toThrow('offline');
    hub.fault = () => undefined;
    hub.take();
    expect((await download(wanted))[0].get('test')!.map((file) => readFileSync(file))).toEqual([part(0), part(1)]);
    expect(hub.seen.filter(({ host }) => host === 'cdn').map(({ url, range }) => [url.split('?')[0], range])).toEqual([
      ['/Easy/test/0000.parquet', expect.stringMatching(/^bytes=\d+-$/)],
    ]);
  });

  it('takes the configuration that there is when none is named', async () => {
    await expect(download([{ splits: ['test'] }])).rejects.toThrow(
      'acme/questions: no configuration is named; it has "Easy", "Hard"',
    );
    await expect(download([{ config: 'easy', splits: ['test'] }])).rejects.toThrow('there is no configuration "easy"');
    hub.files.set('default/test/0000.parquet', part(1));
    expect((await download([{ splits: ['test'] }]))[0].get('test')!.length).toBe(1);
  });

  it('is refused in one sentence', async () => {
    await expect(downloadDataset('../x', [])).rejects.toThrow('no dataset id of the hub');
    await expect(downloadDataset('acme/none', [{ splits: ['test'] }], { cacheDir, endpoint: hub.endpoint })).rejects.toThrow(
      `there is no dataset acme/none at ${hub.endpoint} (404)`,
    );
    hub.fault = ({ host }) => (host === 'hub' ? { status: 403 } : undefined);
    await expect(download([{ config: 'Easy', splits: ['test'] }])).rejects.toThrow(
      `acme/questions is gated (403): accept its licence at ${hub.endpoint}/datasets/acme/questions`,
    );
    const endpoint = hub.endpoint;
    await hub.stop();
    await expect(download([{ config: 'Easy', splits: ['test'] }], { endpoint })).rejects.toThrow(
      /cannot be reached .*, and acme\/questions is not in the cache/,
    );
  });
});
