import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type DownloadOptions, type DownloadProgress, downloadModel, isRepoId } from '../../../src/io/node/hub.js';
import { openWeights } from '../../../src/io/node/weights.js';
import { safetensorsFile } from '../build.js';
import { FakeHub, gitSha1, type SeenRequest, sha256 } from './hub-server.js';

const REPO = 'acme/tiny-elm';
const weights = Buffer.from(safetensorsFile({ w: { dtype: 'U8', shape: [300_000], data_offsets: [0, 300_000] } }, 300_000));
const shard = (name: string) => Buffer.from(safetensorsFile({ [name]: { dtype: 'U8', shape: [9], data_offsets: [0, 9] } }, 9));
const config = Buffer.from('{"model_type": "openelm"}');

let hub: FakeHub;
let cacheDir: string;
let notices: string[];

beforeEach(async () => {
  for (const name of ['HF_TOKEN', 'HF_TOKEN_PATH', 'HF_HOME', 'HF_HUB_CACHE', 'HF_ENDPOINT', 'HF_HUB_OFFLINE', 'XDG_CACHE_HOME'])
    vi.stubEnv(name, undefined);
  cacheDir = mkdtempSync(join(tmpdir(), 'openelm-hub-'));
  vi.stubEnv('HF_HOME', join(cacheDir, 'home')); // never the token of whoever runs the tests
  notices = [];
  hub = await new FakeHub(
    REPO,
    new Map([
      ['config.json', config],
      ['model.safetensors', weights],
      ['pytorch_model.bin', Buffer.from('never')],
      ['tokenizer.json', Buffer.from('{}')],
      ['README.md', Buffer.from('# no')],
    ]),
  ).start();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
  rmSync(cacheDir, { recursive: true });
});

const download = (options: DownloadOptions = {}) =>
  downloadModel(REPO, {
    cacheDir,
    endpoint: hub.endpoint,
    patience: { retries: 3, delayMs: 2, stallMs: 400, longestWaitMs: 3000 },
    onNotice: (message) => notices.push(message),
    ...options,
  });
const folder = () => join(cacheDir, 'models--acme--tiny-elm');
const blobs = () => readdirSync(join(folder(), 'blobs')).sort();
const refused = (message: RegExp) => ({ name: 'InputError', message: expect.stringMatching(message) });
const isWeights = ({ host }: SeenRequest) => host === 'cdn';
/** Faults for the first requests of the weights' content, in order; null for none. */
const weightFaults = (...faults: (object | null)[]) => {
  hub.fault = (request) => (isWeights(request) ? (faults.shift() ?? undefined) : undefined);
};
const incomplete = () => join(folder(), 'blobs', `${sha256(weights)}.openelm.incomplete`);
const leaveIncomplete = (content: Uint8Array) => {
  mkdirSync(join(folder(), 'blobs'), { recursive: true });
  writeFileSync(incomplete(), content);
};

describe('the cache', () => {
  test('is laid out as Python lays it out, with the needed files only', async () => {
    const path = await download();
    expect(path).toBe(join(folder(), 'snapshots', hub.commit));
    expect(readdirSync(path).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect(blobs()).toEqual([gitSha1(config), gitSha1(Buffer.from('{}')), sha256(weights)].sort());
    expect(readFileSync(join(folder(), 'refs/main'), 'utf8')).toBe(hub.commit);
    expect(readlinkSync(join(path, 'model.safetensors'))).toBe(join('../../blobs', sha256(weights)));
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    expect(readdirSync(join(cacheDir, '.locks/models--acme--tiny-elm'))).toEqual([]);
  });

  test('asks only for the commit the second time, and follows a branch that moved without downloading equal files again', async () => {
    await download();
    hub.take();
    await download();
    expect(hub.take()).toEqual([`hub GET /api/models/${REPO}/revision/main`]);
    hub.commit = 'd00d'.padEnd(40, '1');
    hub.files.set('config.json', Buffer.from('{"model_type":"openelm","x":1}'));
    const path = await download();
    expect(readFileSync(join(path, 'config.json'), 'utf8')).toContain('"x"');
    expect(hub.take().filter((line) => line.startsWith('cdn'))).toEqual([]);
    expect(readFileSync(join(folder(), 'refs/main'), 'utf8')).toBe(hub.commit);
  });

  test('shards come with their index, and only those it names', async () => {
    const index = { weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' } };
    hub.files.delete('model.safetensors');
    hub.files.set('model.safetensors.index.json', Buffer.from(JSON.stringify(index)));
    for (const name of ['a', 'b', 'c']) hub.files.set(`model-${'_abc'.indexOf(name)}.safetensors`, shard(name));
    const path = await download({ revision: 'refs/pr/1' });
    expect(readdirSync(path).sort()).toEqual([
      'config.json',
      'model-1.safetensors',
      'model-2.safetensors',
      'model.safetensors.index.json',
      'tokenizer.json',
    ]);
    expect(readFileSync(join(folder(), 'refs/refs/pr/1'), 'utf8')).toBe(hub.commit);
    const opened = await openWeights(path);
    expect([...opened.tensors.keys()]).toEqual(['a', 'b']);
    await opened.close();
    rmSync(join(path, 'model-2.safetensors'));
    await expect(download({ revision: 'refs/pr/1', offline: true })).rejects.toMatchObject(
      refused(/model-2\.safetensors is missing/),
    );
  });

  test('an index that names a missing shard or leads out of the folder is refused', async () => {
    hub.files.delete('model.safetensors');
    hub.files.set('model.safetensors.index.json', Buffer.from('{"weight_map":{"a":"model-1.safetensors"}}'));
    await expect(download()).rejects.toMatchObject(refused(/its index names model-1\.safetensors, but it has no such file/));
    hub.files.set('model.safetensors.index.json', Buffer.from('{"weight_map":{"a":"../../../x.safetensors"}}'));
    await expect(download()).rejects.toMatchObject(refused(/plain file name/));
  });

  test('a hub that lists no sizes and hashes is asked for them file by file', async () => {
    hub.blobs = false;
    await download();
    expect(blobs()).toEqual([gitSha1(config), gitSha1(Buffer.from('{}')), sha256(weights)].sort());
    expect(hub.take().filter((line) => line.startsWith('cdn'))).toEqual(['cdn GET /model.safetensors']); // the HEAD went no further than the redirect
  });

  test.skipIf(process.platform === 'win32')('a blob that is there but cut short is replaced, a dangling link too', async () => {
    const path = await download();
    writeFileSync(join(folder(), 'blobs', sha256(weights)), 'short');
    rmSync(join(folder(), 'blobs', gitSha1(config)));
    await download();
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    expect(readFileSync(join(path, 'config.json')).equals(config)).toBe(true);
    expect(lstatSync(join(path, 'config.json')).isSymbolicLink()).toBe(true);
  });
});

describe('the environment', () => {
  test('HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and the token file are honoured', async () => {
    const plain = { cacheDir: undefined, endpoint: undefined };
    vi.stubEnv('HF_ENDPOINT', `${hub.endpoint}/`);
    hub.token = 'hf_file';
    mkdirSync(join(cacheDir, 'home'));
    writeFileSync(join(cacheDir, 'home/token'), 'hf_file\n');
    expect(await download(plain)).toBe(join(cacheDir, 'home/hub/models--acme--tiny-elm/snapshots', hub.commit));
    vi.stubEnv('HF_HUB_CACHE', join(cacheDir, 'other'));
    vi.stubEnv('HF_TOKEN', 'hf_env');
    hub.token = 'hf_env';
    expect(await download(plain)).toBe(join(cacheDir, 'other/models--acme--tiny-elm/snapshots', hub.commit));
    vi.stubEnv('HF_HUB_OFFLINE', 'yes');
    hub.take();
    await download(plain);
    expect(hub.take()).toEqual([]);
    vi.stubEnv('HF_TOKEN', 'two words');
    await expect(download(plain)).rejects.toMatchObject(refused(/check HF_TOKEN/));
    await expect(download({ endpoint: 'ftp://x' })).rejects.toMatchObject(refused(/no http\(s\) address/));
  });

  test('the token is sent to the hub and never to the origin it redirects to', async () => {
    hub.token = 'hf_secret';
    await download({ token: 'hf_secret' });
    expect(hub.seen.filter(({ host }) => host === 'cdn').length).toBe(1);
    for (const { host, authorization } of hub.seen) expect(authorization).toBe(host === 'hub' ? 'Bearer hf_secret' : undefined);
  });
});

describe('a bad connection', () => {
  test('a cut download goes on where it stopped, however often, while bytes arrive', async () => {
    weightFaults(...Array.from({ length: 8 }, () => ({ cutAfter: 30_000 })));
    const path = await download();
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    const ranges = hub.seen.filter(isWeights).map(({ range }) => range);
    expect(ranges.length).toBe(9);
    expect(ranges[0]).toBeUndefined();
    const starts = ranges.slice(1).map((range) => Number(/^bytes=(\d+)-$/.exec(range as string)?.[1]));
    for (const [i, start] of starts.entries()) expect(start).toBeGreaterThan(i === 0 ? 0 : starts[i - 1]);
  });

  test('a second run resumes what the first one left; nothing is asked twice', async () => {
    weightFaults({ cutAfter: 100_000 }, ...Array.from({ length: 9 }, () => ({ status: 503 })));
    await expect(download()).rejects.toMatchObject(refused(/has trouble \(status 503\)/));
    const left = statSync(incomplete()).size;
    expect(left).toBeGreaterThan(0);
    expect(existsSync(join(folder(), 'refs/main'))).toBe(false);
    hub.fault = () => undefined;
    hub.seen.length = 0;
    await download();
    expect(hub.seen.filter(isWeights).map(({ range }) => range)).toEqual([`bytes=${left}-`]);
    expect(blobs()).toContain(sha256(weights));
    expect(existsSync(incomplete())).toBe(false);
  });

  test('a whole incomplete file is checked and taken, one that is too long is thrown away', async () => {
    leaveIncomplete(weights);
    await download();
    expect(hub.seen.filter(isWeights)).toEqual([]);
    rmSync(folder(), { recursive: true });
    leaveIncomplete(Buffer.concat([weights, weights]));
    await download();
    expect(hub.seen.filter(isWeights).map(({ range }) => range)).toEqual([undefined]);
  });

  test('a server that ignores Range starts over from zero', async () => {
    weightFaults({ cutAfter: 50_000 }, { ignoreRange: true });
    const path = await download();
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    expect(notices).toEqual([]);
    expect(hub.seen.filter(isWeights).length).toBe(2);
  });

  test('a server that ignores Range and always cuts at the same place is given up on', async () => {
    weightFaults(...Array.from({ length: 50 }, () => ({ ignoreRange: true, cutAfter: 50_000 })));
    await expect(download()).rejects.toMatchObject(refused(/cannot be reached|broke off at byte/));
    expect(hub.seen.filter(isWeights).length).toBeLessThan(10);
  });

  test.each([`bytes 7-${weights.length - 1}/${weights.length}`, 'bytes 50000-99999/12', 'nonsense'])(
    'an answer with the wrong Content-Range (%s) starts over',
    async (range) => {
      weightFaults({ cutAfter: 50_000 }, { headers: { 'content-range': range } });
      const path = await download();
      expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
      expect(hub.seen.filter(isWeights).at(-1)?.range).toBeUndefined();
      expect(notices).toEqual([]);
    },
  );

  test('a silent connection is given up on and the download goes on', async () => {
    weightFaults({ stallAfter: 60_000 });
    const path = await download();
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    expect(hub.seen.filter(isWeights).length).toBe(2);
  });

  test('Retry-After is waited for, in seconds or as a date, up to a bound', async () => {
    weightFaults({ status: 429, headers: { 'retry-after': '1' } });
    const started = Date.now();
    await download();
    expect(Date.now() - started).toBeGreaterThanOrEqual(990);
    weightFaults({ status: 503, headers: { 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() } });
    rmSync(folder(), { recursive: true });
    await expect(download()).rejects.toMatchObject(
      refused(/has trouble \(status 503\) and asks to wait 3[56]\d\d s: try again later/),
    );
    weightFaults(...Array.from({ length: 9 }, () => ({ status: 429 })));
    await expect(download()).rejects.toMatchObject(refused(/too many requests \(429\)/));
  });

  test('RateLimit says when a used up quota is there again', async () => {
    weightFaults({ status: 429, headers: { ratelimit: '"api";r=40;t=900, "resolvers";r=0;t=1' } });
    const started = Date.now();
    await download();
    expect(Date.now() - started).toBeGreaterThanOrEqual(1990);
    for (const headers of [
      { ratelimit: '"api";r=0;t=700' },
      { ratelimit: 'limit=100, remaining=0, reset=700' },
      { 'ratelimit-reset': '700' },
      { 'x-ratelimit-reset': String(Math.round(Date.now() / 1000) + 700) },
    ] as Record<string, string>[]) {
      rmSync(folder(), { recursive: true, force: true });
      weightFaults({ status: 429, headers });
      await expect(download()).rejects.toMatchObject(refused(/\(429\) and asks to wait (?:6\d\d|70[0-2]) s: try again later/));
    }
  });

  test('without a network or a host it is given up at once', async () => {
    const patience = { retries: 5, delayMs: 10_000 };
    for (const code of ['ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH', 'ECONNREFUSED']) {
      const fetch = () => Promise.reject(Object.assign(new TypeError('fetch failed'), { cause: { code } }));
      const started = Date.now();
      await expect(download({ fetch, patience })).rejects.toMatchObject(refused(new RegExp(`cannot be reached \\(${code}\\)`)));
      expect(Date.now() - started).toBeLessThan(10_000);
    }
  });

  test('what is secret in an address is not shown', async () => {
    const endpoint = hub.endpoint.replace('//', '//me:secret@');
    await expect(download({ endpoint })).rejects.toMatchObject(refused(/^(?!.*secret).*without a user, a password or a query/));
    await expect(download({ endpoint: 'ftp://me:secret@host' })).rejects.toMatchObject(refused(/^(?!.*secret).*no http/));
    weightFaults({ status: 302, headers: { location: 'ftp://me:secret@cdn/file?signature=secret' } });
    await expect(download()).rejects.toMatchObject(refused(/^(?!.*secret).*redirects to an address.*"ftp:\/\/cdn\/file"/));
  });

  test('a link in the place of a partial file is not followed', async () => {
    const target = join(cacheDir, 'elsewhere');
    writeFileSync(target, 'mine');
    mkdirSync(join(folder(), 'blobs'), { recursive: true });
    symlinkSync(target, join(folder(), 'blobs', `${sha256(weights)}.openelm.incomplete`));
    await expect(download()).rejects.toMatchObject(refused(/incomplete: a symbolic link, where a partial download should be/));
    expect(readFileSync(target, 'utf8')).toBe('mine');
  });
});

describe('wrong bytes', () => {
  const corrupt = Buffer.from(weights);
  corrupt[200_000] ^= 1;

  test('are noticed by their hash and downloaded again, once', async () => {
    weightFaults({ body: corrupt });
    const path = await download();
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    expect(notices).toEqual([
      expect.stringMatching(
        /^model\.safetensors arrived wrong \(its hash is [0-9a-f]{64}, expected [0-9a-f]{64}\): downloading it again$/,
      ),
    ]);
    expect(hub.seen.filter(isWeights).map(({ range }) => range)).toEqual([undefined, undefined]);
  });

  test('in what an earlier run left are noticed too', async () => {
    leaveIncomplete(corrupt.subarray(0, 250_000));
    const path = await download();
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
  });

  test('twice are an error and leave nothing', async () => {
    weightFaults({ body: corrupt }, { body: corrupt });
    await expect(download()).rejects.toMatchObject(
      refused(/model\.safetensors: arrived wrong twice \(its hash is .*\); it was deleted/),
    );
    expect(blobs()).not.toContain(sha256(weights));
    expect(existsSync(incomplete())).toBe(false);
  });

  test("in a small file are noticed by git's hash; more bytes than there should be are noticed", async () => {
    hub.fault = ({ url }) =>
      url.includes('resolve-cache/config.json') ? { body: Buffer.from(String(config).replace('openelm', 'Openelm')) } : undefined;
    await expect(download()).rejects.toMatchObject(
      refused(/config\.json: arrived wrong twice \(its hash is [0-9a-f]{40}, expected [0-9a-f]{40}\)/),
    );
    weightFaults({ body: Buffer.concat([weights, corrupt]) }, { body: Buffer.concat([weights, corrupt]) });
    await expect(download()).rejects.toMatchObject(refused(/arrived wrong twice \(more than its \d+ bytes\)/));
  });
});

describe('refusals', () => {
  const answering = (status: number, headers: Record<string, string> = {}, only = '') => {
    hub.fault = ({ url }) => (url.includes(only) ? { status, headers } : undefined);
  };

  test('401, 403 and gated say what to do, and differ with and without a token', async () => {
    hub.token = 'right';
    await expect(download()).rejects.toMatchObject(refused(/does not exist at .*, or is private or gated \(401\).*set HF_TOKEN/));
    await expect(download({ token: 'wrong' })).rejects.toMatchObject(
      refused(/refuses the token for acme\/tiny-elm \(401\): check HF_TOKEN/),
    );
    answering(401, { 'x-error-code': 'GatedRepo' });
    await expect(download()).rejects.toMatchObject(
      refused(
        /acme\/tiny-elm is gated \(401\): accept its licence at http.*\/acme\/tiny-elm with your account, and set HF_TOKEN/,
      ),
    );
    answering(403, {}, '/resolve/');
    await expect(download({ token: 'right' })).rejects.toMatchObject(
      refused(/is gated \(403\): accept its licence .* the account of your token/),
    );
  });

  test('404 says whether the model, the revision or the file is missing', async () => {
    await expect(downloadModel('acme/other', { cacheDir, endpoint: hub.endpoint })).rejects.toMatchObject(
      refused(/there is no model acme\/other at .* \(404\)/),
    );
    await expect(download({ revision: 'v9' })).rejects.toMatchObject(refused(/acme\/tiny-elm has no revision "v9"/));
    answering(404, { 'x-error-code': 'RevisionNotFound' });
    await expect(download()).rejects.toMatchObject(refused(/has no revision "main"/));
    answering(404, { 'x-error-code': 'EntryNotFound' }, '/resolve/');
    await expect(download()).rejects.toMatchObject(refused(/has no file config\.json/));
  });

  test('other statuses, endless redirects and foreign schemes are told', async () => {
    answering(418, { 'x-error-message': 'a teapot' });
    await expect(download()).rejects.toMatchObject(refused(/with status 418 \("a teapot"\)/));
    answering(302, { location: '/api/models/acme/tiny-elm/revision/main' });
    await expect(download()).rejects.toMatchObject(refused(/redirects more than 10 times/));
    answering(302, { location: 'file:///etc/passwd' });
    await expect(download()).rejects.toMatchObject(refused(/redirects to an address that cannot be followed: "file:/));
  });

  test('a repository without config or without safetensors is refused before anything is downloaded', async () => {
    hub.files.delete('model.safetensors');
    hub.files.delete('pytorch_model.bin');
    hub.files.set('pytorch_model-00001-of-00002.bin', Buffer.from('half'));
    await expect(download()).rejects.toMatchObject(
      refused(/has no model\.safetensors and no model\.safetensors\.index\.json \(only "pytorch_model-00001-of-00002\.bin"\)/),
    );
    hub.files.delete('config.json');
    await expect(download()).rejects.toMatchObject(refused(/has no config\.json/));
    expect(hub.take().every((line) => line.startsWith('hub GET /api/models/'))).toBe(true);
  });

  test.each([
    ['{', /expected a key in quotes/],
    ['null', /its sha is no commit/],
    ['{"sha":"../../x","siblings":[]}', /its sha is no commit/],
    [`{"sha":"${'a'.repeat(40)}","siblings":{}}`, /its siblings are no list/],
    [`{"sha":"${'a'.repeat(40)}","siblings":[{}]}`, /a file has no name/],
    [
      `{"sha":"${'c0ffee'.padEnd(40, '0')}","siblings":[{"rfilename":"config.json","size":1,"blobId":"../../x"},{"rfilename":"model.safetensors"}]}`,
      /no usable etag/,
    ],
  ])('an answer that is no listing is refused: %s', async (body, message) => {
    hub.fault = ({ url }) => (url.startsWith('/api/models/') ? { body: Buffer.from(body) } : undefined);
    await expect(download()).rejects.toMatchObject(refused(message));
    expect(existsSync(join(cacheDir, 'x'))).toBe(false);
  });

  test('names that lead out of the cache never reach it', async () => {
    for (const id of ['../x', 'a/../b', 'a/b/c', '/a/b', 'a/', '', 'a b', 'a--b/c', '.a', 'a/-b', 'x'.repeat(97), 'a/b\n']) {
      expect([id, isRepoId(id)]).toEqual([id, false]);
      await expect(downloadModel(id, { cacheDir })).rejects.toMatchObject(refused(/is no model id of the hub/));
    }
    for (const id of ['gpt2', 'apple/OpenELM-1_1B-Instruct', 'a/b.c_d-e']) expect([id, isRepoId(id)]).toEqual([id, true]);
    for (const revision of ['', '..', 'a/../b', '/x', 'x/', 'a\\b', 'a\nb'])
      await expect(download({ revision })).rejects.toMatchObject(refused(/is no branch, tag or commit/));
  });

  test('a disk that is too small is told before the download starts', async () => {
    const listing = {
      sha: hub.commit,
      siblings: [
        { rfilename: 'config.json', size: 1, blobId: 'a'.repeat(40) },
        { rfilename: 'model.safetensors', lfs: { sha256: 'b'.repeat(64), size: 2 ** 52 } },
      ],
    };
    hub.fault = ({ url }) => (url.startsWith('/api/models/') ? { body: Buffer.from(JSON.stringify(listing)) } : undefined);
    await expect(download()).rejects.toMatchObject(refused(/needs 4503599627370497 more bytes in .*, but only \d+ are free/));
  });
});

describe('without a network', () => {
  test('the cache is used, with a notice, when it is complete', async () => {
    const path = await download();
    const { endpoint } = hub;
    await hub.stop();
    expect(await download({ endpoint })).toBe(path);
    expect(notices).toEqual([
      expect.stringMatching(/^127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\): using the cached copy of acme\/tiny-elm$/),
    ]);
    expect(await download({ endpoint, offline: true, revision: hub.commit })).toBe(path);
    rmSync(join(path, 'model.safetensors'));
    await expect(download({ endpoint })).rejects.toMatchObject(
      refused(/cannot be reached \(ECONNREFUSED\), and acme\/tiny-elm is not in the cache \(model\.safetensors is missing\)/),
    );
    await expect(download({ endpoint, offline: true })).rejects.toMatchObject(
      refused(/model\.safetensors is missing\), and offline mode \(HF_HUB_OFFLINE\) forbids/),
    );
    await expect(download({ offline: true, revision: 'v1' })).rejects.toMatchObject(refused(/revision v1 is missing/));
  });
});

describe('interruption and company', () => {
  test('an abort leaves incomplete files only, frees the lock, and the next run resumes', async () => {
    const controller = new AbortController();
    weightFaults({ stallAfter: 120_000 });
    const onProgress = ({ file, receivedBytes }: DownloadProgress) =>
      file === 'model.safetensors' && receivedBytes > 60_000 && controller.abort();
    await expect(download({ signal: controller.signal, onProgress })).rejects.toMatchObject({ name: 'AbortError' });
    expect(blobs().filter((name) => name.startsWith(sha256(weights)))).toEqual([`${sha256(weights)}.openelm.incomplete`]);
    expect(readdirSync(join(cacheDir, '.locks/models--acme--tiny-elm'))).toEqual([]);
    await download();
    expect(hub.seen.filter(isWeights).at(-1)?.range).toMatch(/^bytes=\d+-$/);
    await expect(download({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('progress counts every file up to its whole and never goes backwards', async () => {
    const seen: DownloadProgress[] = [];
    await download({ onProgress: (progress) => seen.push(progress) });
    const total = config.length + 2 + weights.length;
    expect(seen.at(-1)).toEqual({
      file: 'model.safetensors',
      receivedBytes: weights.length,
      totalBytes: weights.length,
      overallReceivedBytes: total,
      overallTotalBytes: total,
    });
    for (let i = 1; i < seen.length; i++)
      expect(seen[i].overallReceivedBytes).toBeGreaterThanOrEqual(seen[i - 1].overallReceivedBytes);
  });

  test('two downloads at once fetch each file once', async () => {
    weightFaults({ cutAfter: 100_000 });
    const [first, second] = await Promise.all([download(), download()]);
    expect(first).toBe(second);
    expect(readFileSync(join(first, 'model.safetensors')).equals(weights)).toBe(true);
    expect(hub.seen.filter(isWeights).length).toBe(2); // the cut and its rest
    expect(notices.some((notice) => notice.startsWith('another process is downloading'))).toBe(true);
  });

  test('the lock of a process that is gone, or that nobody touched for long, is taken over', async () => {
    const lock = join(cacheDir, '.locks/models--acme--tiny-elm', `${sha256(weights)}.openelm.lock`);
    mkdirSync(join(lock, '..'), { recursive: true });
    const child = spawn(process.execPath, ['-e', '']);
    await new Promise((ended) => child.on('exit', ended));
    writeFileSync(lock, `${child.pid}\n${hostname()}\n`);
    await download();
    rmSync(folder(), { recursive: true });
    writeFileSync(lock, '1\nanother-machine\n');
    const longAgo = new Date(Date.now() - 600_000);
    utimesSync(lock, longAgo, longAgo);
    await download();
    expect(existsSync(lock)).toBe(false);
  });

  test('a cache made by a copy without links works as well', async () => {
    const path = await download();
    const copy = join(cacheDir, 'copy');
    cpSync(path, join(copy, 'models--acme--tiny-elm/snapshots', hub.commit), { recursive: true, dereference: true });
    mkdirSync(join(copy, 'models--acme--tiny-elm/refs'));
    writeFileSync(join(copy, 'models--acme--tiny-elm/refs/main'), hub.commit);
    hub.take();
    await download({ cacheDir: copy });
    expect(hub.take()).toEqual([`hub GET /api/models/${REPO}/revision/main`]);
  });
});

describe('a repository without safetensors', () => {
  const gguf = Buffer.from('GGUF, not looked at here');
  const names = (): string[] => hub.seen.filter(({ method }) => method === 'GET').map(({ url }) => url.split('/').at(-1)!);
  const offer = (...files: string[]): void => {
    hub.files.delete('model.safetensors');
    hub.files.delete('pytorch_model.bin');
    for (const file of files) hub.files.set(file, gguf);
  };

  test('gives its one model file, and again without a network', async () => {
    offer('tiny-Q8_0.gguf');
    const path = await download();
    expect(path).toMatch(/snapshots[/\\]c0ffee0*[/\\]tiny-Q8_0\.gguf$/);
    expect(readFileSync(path)).toEqual(gguf);
    expect(names()).not.toContain('tokenizer.json'); // all of it is in the file
    expect(await download({ offline: true })).toBe(path);
  });

  test('gives a PyTorch file with what lies beside it', async () => {
    offer('checkpoint_last.pt');
    const path = await download();
    expect(path).toMatch(/checkpoint_last\.pt$/);
    expect(existsSync(join(path, '../config.json')) && existsSync(join(path, '../tokenizer.json'))).toBe(true);
  });

  test('wants one of several named', async () => {
    offer('a-Q4_0.gguf', 'b-Q8_0.gguf');
    await expect(download()).rejects.toThrow(
      `${REPO} holds 2 models (a-Q4_0.gguf, b-Q8_0.gguf): name one of them, like ${REPO}/a-Q4_0.gguf`,
    );
    const options = { cacheDir, endpoint: hub.endpoint };
    const path = await downloadModel(`${REPO}/b-Q8_0.gguf`, options);
    expect(path).toMatch(/b-Q8_0\.gguf$/);
    expect(existsSync(join(path, '../a-Q4_0.gguf'))).toBe(false);
    expect(await downloadModel(`${REPO}/b-Q8_0.gguf`, { ...options, offline: true })).toBe(path);
    await expect(downloadModel(`${REPO}/c.gguf`, options)).rejects.toThrow('has no file c.gguf; it has a-Q4_0.gguf, b-Q8_0.gguf');
  });
});
