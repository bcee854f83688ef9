// Weights beyond 2 and 4 GiB in Chromium: part of `npm run browser`. The embedded model's tensors lie behind padding of 4.5 GB that nobody
// sends, keeps or reads: a server makes it up, a file of holes stands for what was downloaded before. Skipped, and says so, where there is
// no Chromium.

import { deepStrictEqual, match, strictEqual } from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as Door from '../../src/browser.js';
import { packagePath } from '../../src/io/node/paths.js';
import { executablePath, launch } from './launch.js';
import { staticServer } from './static-server.js';

declare const openelm: typeof Door;

const model = packagePath('models/tales-6m');
const names = ['config.json', 'model.safetensors', 'tokenizer.model'];
const [golden] = JSON.parse(readFileSync(packagePath('test/golden/tales-6m/golden_greedy.json'), 'utf8'));
const padding = 4_500_000_000;

/** The beginning and the end of the file; all between is zeros. */
function ends(): { head: Buffer; tail: Buffer; bytes: number } {
  const whole = readFileSync(join(model, 'model.safetensors'));
  const length = Number(whole.readBigUInt64LE(0));
  const header = JSON.parse(whole.subarray(8, 8 + length).toString()) as Record<string, { data_offsets?: [number, number] }>;
  for (const { data_offsets: at } of Object.values(header)) {
    if (at) at.splice(0, 2, at[0] + padding, at[1] + padding);
  }
  const padded = { padding: { dtype: 'F32', shape: [padding / 4], data_offsets: [0, padding] }, ...header };
  const json = Buffer.from(JSON.stringify(padded));
  const head = Buffer.concat([Buffer.alloc(8), json, Buffer.alloc(8 - (json.length % 8), ' ')]);
  head.writeBigUInt64LE(BigInt(head.length - 8));
  const tail = whole.subarray(8 + length);
  return { head, tail, bytes: head.length + padding + tail.length };
}

if (executablePath === undefined) {
  console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
} else {
  const temporary = mkdtempSync(join(tmpdir(), 'openelm-large-'));
  const pages = await staticServer(packagePath('.'), { isolated: true });
  const asked: string[] = [];
  const { url, server } = await sparseServer(asked);
  const { context, wrong, close } = await launch();
  try {
    const page = await context.newPage();
    await page.goto(`${pages.url}/page`);
    await page.waitForFunction(() => 'openelm' in globalThis);
    const { bytes, tail } = ends();
    const options = { files: names } as const;
    const broken = await page.evaluate(
      ([address, given]) => {
        const left = new AbortController();
        const onProgress = ({ bytes: come }: Door.LoadProgress): void => {
          if (come > 500_000) left.abort(new Error('left'));
        };
        return openelm.load(address, { ...given, onProgress, signal: left.signal }).then(String, ({ message }) => message);
      },
      [url, options] as const,
    );
    strictEqual(broken, 'left');
    // As if the download had come so far.
    const before = bytes - tail.length - 100_000;
    await page.evaluate(extend, before);
    const run = async ([source, given]: readonly [string | undefined, { files: readonly string[] }]) => {
      const chosen = [...(document.querySelector('input')!.files ?? [])];
      const loaded = await openelm.load(source ?? chosen, source === undefined ? {} : given);
      const { ids } = await loaded.complete('Once upon a time', { temperature: 0, maxTokens: 20 });
      await loaded.dispose();
      return ids;
    };
    deepStrictEqual(await page.evaluate(run, [url, options] as const), golden.ids.slice(0, 20));
    deepStrictEqual(asked, ['-', `bytes=${before}-`]);
    console.log(`ok: a download of ${bytes} bytes goes on at ${before}, and its weights are read there`);
    await page.setInputFiles('input', [
      holes(temporary),
      ...names.filter((name) => !name.startsWith('model')).map((name) => join(model, name)),
    ]);
    deepStrictEqual(await page.evaluate(run, [undefined, options] as const), golden.ids.slice(0, 20));
    console.log('ok: a chosen file of that size is read where its weights are');
    const refused = await page.evaluate(
      async (address) => openelm.load(address, { dtype: 'f32', context: 2 ** 24 }).then(String, ({ message }) => message),
      `${pages.url}/models/tales-6m/model.safetensors`,
    );
    match(refused, /the model is too large here: .* of cache, and WebAssembly has 4\.29 GB; take a smaller context/);
    strictEqual(wrong.filter((what) => !what.includes('404')).join('\n'), '');
  } finally {
    await close();
    pages.close();
    server.close();
    rmSync(temporary, { recursive: true });
  }
}

/** In the page: makes what is kept of the weights as long as that, with a hole at its end. */
async function extend(bytes: number): Promise<void> {
  const worker = new Worker(
    URL.createObjectURL(
      new Blob([
        `onmessage = async ({ data }) => {
          const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('openelm-models');
          for await (const folder of root.values()) {
            const handle = await (await folder.getFileHandle('model.safetensors')).createSyncAccessHandle();
            handle.truncate(data);
            handle.close();
          }
          postMessage('done');
        }`,
      ]),
    ),
  );
  await new Promise((resolve, reject) => {
    worker.onmessage = resolve;
    worker.onerror = reject;
    worker.postMessage(bytes);
  });
  worker.terminate();
}

/** The same as a file on disk, which takes no room there. */
function holes(folder: string): string {
  const { head, tail, bytes } = ends();
  const path = join(folder, 'model.safetensors');
  const file = openSync(path, 'w');
  writeSync(file, head, 0, head.length, 0);
  writeSync(file, tail, 0, tail.length, bytes - tail.length);
  closeSync(file);
  return path;
}

/** The model at an address of another origin, as the hub's files are. The first answer stops in the middle. */
async function sparseServer(asked: string[]): Promise<{ url: string; server: Server }> {
  const { head, tail, bytes } = ends();
  const server = createServer(async ({ url, headers: { range } }, response) => {
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('access-control-expose-headers', 'content-range, etag');
    const name = url!.split('/').at(-1)!;
    if (name !== 'model.safetensors') {
      response.end(readFileSync(join(model, name)));
      return;
    }
    asked.push(range ?? '-');
    const from = Number(/^bytes=([0-9]+)-$/.exec(range ?? '')?.[1] ?? 0);
    response.setHeader('etag', '"sparse"');
    response.setHeader('content-length', bytes - from);
    if (range) response.setHeader('content-range', `bytes ${from}-${bytes - 1}/${bytes}`);
    response.writeHead(range ? 206 : 200);
    if (range) await rest(response, from);
    else response.write(Buffer.concat([head, Buffer.alloc(1 << 20)]));
  });
  async function rest(response: ServerResponse, from: number): Promise<void> {
    const zeros = bytes - tail.length - from;
    response.write(Buffer.alloc(zeros));
    response.end(tail);
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/sparse/`, server };
}
