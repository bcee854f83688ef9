// `openelm web`: what its server sends, with the headers that isolate the page; and what is refused before it listens. The page itself is
// tried in Chromium (test/browser/chromium.ts).

import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportWeb } from '../../src/app/web-files.js';
import { serveWeb } from '../../src/app/web-server.js';
import { packagePath } from '../../src/io/node/paths.js';
import { run } from './terminal.js';

const temporary = mkdtempSync(join(tmpdir(), 'openelm-web-'));
const directory = packagePath('models/tales-6m');
let server: Awaited<ReturnType<typeof serveWeb>>;
beforeAll(async () => {
  server = await serveWeb([{ id: 'org/tales', directory }], '127.0.0.1', 0);
});
afterAll(async () => {
  await server.close();
  rmSync(temporary, { recursive: true });
});
const get = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(new URL(path, server.url), { headers });

describe('openelm web', () => {
  it('sends an isolated page, the code that it runs, and its models', async () => {
    const page = await get('/');
    expect(page.headers.get('cross-origin-opener-policy')).toBe('same-origin');
    expect(page.headers.get('cross-origin-embedder-policy')).toBe('require-corp');
    const html = await page.text();
    for (const [, path] of html.matchAll(/(?:src|href)="([^"#]+)"/g)) expect((await get(path)).status, path).toBe(200);
    expect(html).not.toContain('name="key"'); // there is no server to give one to
    const code = await (await get('/page/main.js')).text();
    expect(code).not.toContain('/v1/');
    const named = [...code.matchAll(/["'`](page\/[\w./-]+\.\w+)["'`]/g)].map(([, path]) => path);
    expect(named).toContain('page/train/tales.txt');
    for (const path of named) expect((await get(path)).status, path).toBe(200);
    for (const name of ['train', 'look', 'bench']) expect((await get(`/page/${name}/${name}.css`)).status, name).toBe(200);
    expect((await get('/openelm/wasm/openelm-simd.wasm')).headers.get('content-type')).toBe('application/wasm');
    const [model] = (await (await get('/models.json')).json()) as { id: string; address: string; files: string[] }[];
    expect(model.id).toBe('org/tales');
    expect(model.files.sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.model']);
    for (const name of model.files) expect((await get(model.address + name)).status, name).toBe(200);
  });

  it('packs the page and its modules, not models', async () => {
    const path = '/openelm/wasm/openelm-simd.wasm';
    const module = await get(path);
    expect(module.headers.get('content-encoding')).toBe('gzip');
    expect(Number(module.headers.get('content-length'))).toBeLessThan(200_000);
    expect(module.headers.get('vary')).toBe('accept-encoding');
    const bytes = readFileSync(packagePath('native/wasm/openelm-simd.wasm'));
    expect(Buffer.compare(Buffer.from(await module.arrayBuffer()), bytes)).toBe(0);
    const etag = module.headers.get('etag')!;
    expect((await get(path, { 'if-none-match': etag })).status).toBe(304);
    const plain = await get(path, { 'accept-encoding': 'identity', 'if-none-match': etag });
    expect([plain.status, plain.headers.get('content-encoding')]).toEqual([200, null]);
    expect((await plain.arrayBuffer()).byteLength).toBe(bytes.length);
    expect((await get('/')).headers.get('content-encoding')).toBe('gzip');
    expect((await get('/models/org/tales/config.json')).headers.get('content-encoding')).toBeNull();
  });

  it('sends ranges, and nothing that it does not offer', async () => {
    const path = '/models/org/tales/model.safetensors';
    const bytes = readFileSync(join(directory, 'model.safetensors'));
    const rest = await get(path, { range: `bytes=${bytes.length - 1000}-` });
    expect(rest.status).toBe(206);
    expect(rest.headers.get('content-range')).toBe(`bytes ${bytes.length - 1000}-${bytes.length - 1}/${bytes.length}`);
    expect(Buffer.compare(Buffer.from(await rest.arrayBuffer()), bytes.subarray(-1000))).toBe(0);
    expect((await get(path, { range: `bytes=${bytes.length}-` })).status).toBe(416);
    const etag = rest.headers.get('etag')!;
    expect((await get(path, { 'if-none-match': etag })).status).toBe(304);
    for (const other of ['/models/org/tales/README.md', '/package.json', '/models/../package.json', '/page/%2e%2e/x'])
      expect((await get(other)).status, other).toBe(404);
    expect((await fetch(new URL('/', server.url), { method: 'POST' })).status).toBe(405);
  });

  it('writes all of it into a folder, and nothing where something else is', async () => {
    const site = join(temporary, 'some', 'site');
    const done = await run(['web', directory, '--export', site]);
    expect(done).toMatchObject({ code: 0 });
    const worker = readFileSync(join(site, 'service-worker.js'), 'utf8');
    const [version, kept] = worker.split('\n', 2).map((line) => JSON.parse(/= (.*);$/.exec(line)![1]) as unknown);
    expect(version).toMatch(/^[0-9a-f]{16}$/);
    const files = kept as Record<string, string>;
    for (const [path, digest] of Object.entries(files)) {
      const bytes = readFileSync(join(site, path));
      expect(createHash('sha256').update(bytes).digest('hex'), path).toBe(digest);
    }
    expect(Object.keys(files).filter((path) => path.startsWith('models'))).toEqual([]);
    expect(worker).not.toMatch(/^(import|export) /m);
    const [model] = JSON.parse(readFileSync(join(site, 'models.json'), 'utf8')) as { address: string; files: string[] }[];
    for (const name of model.files) expect(existsSync(join(site, model.address, name)), name).toBe(true);
    const code = Object.keys(files).filter((path) => /^page\/.*\.(js|css)$|\.html$/.test(path));
    const bytes = code.reduce((sum, path) => sum + gzipSync(readFileSync(join(site, path))).length, 0);
    console.log(`gzipped: ${bytes} bytes of the page's own code`);
    expect(bytes).toBeLessThan(100_000);

    expect((await run(['web', directory, '--export', site])).code).toBe(0);
    const refused = await run(['web', directory, '--export', temporary]);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain(`${temporary} is not empty and no page that was exported before: name another folder`);
  });

  it('writes a new folder whole or not at all', async () => {
    const site = join(temporary, 'ended', 'site');
    const model = { id: 'org/tales', directory };
    await expect(exportWeb([model], site, AbortSignal.abort())).rejects.toThrow();
    expect(readdirSync(join(temporary, 'ended'))).toEqual([]);
  });

  it('refuses what a page cannot load, and a port that is taken', async () => {
    writeFileSync(join(temporary, 'config.json'), readFileSync(join(directory, 'config.json')));
    const model = { id: 'x', directory: temporary };
    await expect(serveWeb([model], '127.0.0.1', 0)).rejects.toThrow(/no config.json with safetensors weights beside it/);
    const port = Number(new URL(server.url).port);
    await expect(serveWeb([], '127.0.0.1', port)).rejects.toThrow(`port ${port} of 127.0.0.1 is in use`);
    const twice = await run(['web', directory, directory]);
    expect(twice).toMatchObject({ code: 1, stdout: '' });
    expect(twice.stderr).toContain("two models are called tales-6m: rename one's directory");
  });
});
