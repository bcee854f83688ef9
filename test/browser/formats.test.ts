// Models in every format, in what a page's worker runs: chosen files, folders, addresses. What they write is what Node writes of the same
// files.

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeWasmBackend } from '../../src/backends/wasm-node.js';
import { Caller, type Port } from '../../src/browser/messages.js';
import { type LoadAnswer, type LoadRequest, serveSession } from '../../src/browser/session.js';
import { BrowserModel } from '../../src/browser.js';
import { openCheckpoint } from '../../src/checkpoint.js';
import { convertModel } from '../../src/convert.js';
import { load } from '../../src/index.js';
import { reasonOf } from '../../src/page/elements.js';
import { writeSmall } from '../formats/build.js';
import { type StaticServer, staticServer } from './static-server.js';

const folder = mkdtempSync(join(tmpdir(), 'openelm-browser-formats-'));
const place = (name: string): string => join(folder, name);
const greedy = { temperature: 0, maxTokens: 8, ignoreEos: true } as const;
const ports: MessagePort[] = [];
let server: StaticServer;

beforeAll(async () => {
  await writeSmall(place('model'));
  const model = await openCheckpoint(place('model'));
  await convertModel(model, place('small-q4.gguf'), { dtype: 'q4' });
  await convertModel(model, place('small.pt'), { dtype: 'f16' });
  await convertModel(model, place('mlx'), { to: 'mlx', dtype: 'q4' });
  server = await staticServer(folder, { isolated: false });
});
afterAll(() => {
  for (const port of ports) port.close();
  server.close();
  rmSync(folder, { recursive: true });
});

async function opened(source: LoadRequest['source'], options: LoadRequest['options'] = {}): Promise<BrowserModel> {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  serveSession(port2 as unknown as Port, async () => nodeWasmBackend({ threads: 1 }));
  const caller = new Caller(port1 as unknown as Port);
  return new BrowserModel({ caller, end: () => undefined }, await caller.call<LoadAnswer>('load', { source, options }));
}

function chosen(name: string) {
  const paths = statSync(place(name)).isDirectory()
    ? readdirSync(place(name)).map((file) => join(place(name), file))
    : [place(name)];
  return paths.map((path) => ({ name: basename(path), blob: new Blob([readFileSync(path)]) }));
}

async function expectNodes(model: BrowserModel, name: string): Promise<void> {
  await using node = await load(place(name), { backend: 'wasm', threads: 1 });
  expect(model.config).toEqual((await openCheckpoint(place(name))).config);
  expect(model.hasTokenizer && model.hasChatTemplate).toBe(true);
  const { ids } = await node.complete('Once upon a time', greedy);
  expect((await model.complete('Once upon a time', greedy)).ids).toEqual(ids);
}

describe('a model in a page', () => {
  it.each([
    ['small-q4.gguf', 'q4'],
    ['small.pt', 'f16'],
    ['mlx', 'affine4'],
  ])('opens as chosen files: %s', async (name, dtype) => {
    await using model = await opened(chosen(name));
    expect(model.weights.dtype).toBe(dtype);
    await expectNodes(model, name);
  });

  it.each(['small-q4.gguf', 'small.pt'])('opens at an address: %s', async (name) => {
    await using model = await opened(`${server.url}/${name}`, name.endsWith('.pt') ? { files: [] } : {});
    await expectNodes(model, name);
  });

  it('is looked into before it is downloaded', async () => {
    const before = server.asked.length;
    await expect(opened(`${server.url}/small-q4.gguf`, { context: 2 ** 28 })).rejects.toThrow(
      /the model is too large here: 0\.00 GB of weights and .* of cache, and WebAssembly has 4\.\d+ GB; take a smaller context/,
    );
    expect(server.asked.slice(before)).toEqual([{ path: '/small-q4.gguf', range: 'bytes=0-1048575' }]);
  });

  it("is refused with options as the page's fields are called", async () => {
    const refused = async (options: LoadRequest['options']): Promise<string> =>
      reasonOf(await opened(`${server.url}/small-q4.gguf`, options).catch((error: unknown) => error));
    expect(await refused({ context: 2 ** 28 })).toMatch(/take a smaller “Context, tokens” or model/);
    expect(await refused({ context: 0.5 })).toBe(
      'the options of load: “Context, tokens” is 0.5; expected a whole number of at least 1',
    );
  });

  it('of the hub is refused where a page comes in place of the list', async () => {
    const pages = createServer((_request, response) => response.end('<!doctype html><title>Log in</title>'));
    await new Promise<void>((listening) => pages.listen(0, '127.0.0.1', listening));
    const endpoint = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
    await expect(opened('some/model', { hub: { endpoint }, keep: false })).rejects.toThrow(
      /api\/models\/some\/model\/revision\/main\?blobs=true: the server sends a page in place of the list of files/,
    );
    pages.close();
  });

  it('is refused in a sentence where it is none', async () => {
    const [{ blob }] = chosen('small-q4.gguf');
    const named = (...names: string[]) => names.map((name) => ({ name, blob }));
    await expect(opened(named('a.gguf', 'b.gguf'))).rejects.toThrow('there are 2 models (a.gguf, b.gguf): choose one of them');
    await expect(opened([{ name: 'cut.gguf', blob: blob.slice(0, 100_000) }])).rejects.toThrow(
      /^cut\.gguf: .*was it cut short\?|cut short/,
    );
    await expect(opened([{ name: 'x.gguf', blob: new Blob(['no model']) }])).rejects.toThrow(/x\.gguf: not a GGUF file/);
    await expect(opened([{ name: 'x.pt', blob: new Blob(['no model']) }])).rejects.toThrow(/^x\.pt: /);
    await expect(opened(`${server.url}/none.gguf`)).rejects.toThrow(
      /none\.gguf: there is no none\.gguf \(404\): check the address/,
    );
  });
});
