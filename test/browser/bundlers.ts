// The examples of `openelm/browser` in Chromium, as bundlers built them and from files as a CDN has them: part of `.ci/bundlers.sh`, which
// makes them. `tsx test/browser/bundlers.ts NAME=FOLDER|cdn=PACKAGE:EXAMPLE|development=EXAMPLE ...`

import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { load } from '../../src/index.js';
import { executablePath, launch } from './launch.js';
import { type StaticServer, staticServer } from './static-server.js';

const cdn = 'https://cdn.jsdelivr.net/npm/openelm';

if (executablePath === undefined) {
  console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
} else {
  const node = await load('tales-6m', { backend: 'wasm' });
  const { text } = await node.complete('Once upon a time', { temperature: 0, maxTokens: 60 });
  await node.dispose();
  for (const argument of process.argv.slice(2)) {
    const [name, place] = argument.split('=');
    if (name === 'cdn') await fromCdn(place.split(':'), text);
    else if (name === 'prompt') await served(place, { isolated: true }, ({ url }) => answersPrompt(url));
    else if (name === 'development') await fromVite(place, text);
    else {
      await served(place, { isolated: true }, async (server) => {
        await writes(name, server.url, text, true);
        const asked = [...new Set(server.asked.map(({ path }) => path))].filter((path) => /\.(js|wasm)$/.test(path));
        const size = (path: string): number => gzipSync(readFileSync(join(place, path))).length;
        const sum = (kind: string): number =>
          asked.filter((path) => path.endsWith(kind)).reduce((all, path) => all + size(path), 0);
        console.log(
          `    ${kilobytes(sum('.js'))} of scripts and ${kilobytes(sum('.wasm'))} of WebAssembly were loaded (gzipped)`,
        );
        // What is needed now and then, LLaMA's vocabulary for one, is not.
        ok(sum('.js') < (name === 'next' ? 350_000 : 150_000), asked.join(' '));
      });
      await served(place, { isolated: false }, (server) => writes(name, server.url, text, false));
    }
  }
}

/** Vite's development server, as it is without settings of ours for it. */
async function fromVite(folder: string, text: string): Promise<void> {
  const { createServer } = (await import(join(folder, 'node_modules/vite/dist/node/index.js'))) as {
    createServer(options: object): Promise<ViteServer>;
  };
  const server = await createServer({ root: folder, logLevel: 'warn', server: { host: '127.0.0.1', port: 0 } });
  try {
    await server.listen();
    await writes('vite in development', server.resolvedUrls!.local[0], text, false);
  } finally {
    await server.close();
  }
}

interface ViteServer {
  listen(): Promise<unknown>;
  readonly resolvedUrls: { readonly local: readonly string[] } | null;
  close(): Promise<void>;
}

/** The package's files at another origin, below a path, and a page that has no files of its own but itself and the model. */
async function fromCdn([packed, example]: string[], text: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'openelm-cdn-'));
  try {
    cpSync(example, folder, { recursive: true, filter: (path) => !path.includes('node_modules') });
    cpSync(join(packed, 'models/tales-6m'), join(folder, 'tales-6m'), { recursive: true });
    await served(packed, { isolated: false, shared: true }, async (other) => {
      const page = readFileSync(join(example, 'plain.html'), 'utf8');
      ok(page.includes(`${cdn}/dist/bundle/browser.js`));
      writeFileSync(join(folder, 'index.html'), page.replace(cdn, other.url));
      for (const isolated of [true, false])
        await served(folder, { isolated }, (server) => writes('cdn', server.url, text, isolated));
      const asked = new Set(other.asked.map(({ path }) => path));
      ok(asked.has('/dist/bundle/worker.js') && asked.has('/native/wasm/openelm-relaxed.wasm'), [...asked].join(' '));
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function served(
  folder: string,
  how: { isolated: boolean; shared?: boolean },
  work: (server: StaticServer) => Promise<void>,
): Promise<void> {
  const server = await staticServer(folder, how);
  try {
    await work(server);
  } finally {
    server.close();
  }
}

/** The example writes what Node writes, on as many threads as the page may have. */
async function writes(name: string, url: string, text: string, isolated: boolean): Promise<void> {
  const { context, wrong, close } = await launch();
  try {
    const page = await context.newPage();
    await page.goto(url);
    const done = (): boolean => document.querySelector('#status')!.textContent!.endsWith(', done');
    await page.waitForFunction(done, undefined, { timeout: 60_000 }).catch(() => undefined); // it says what is wrong
    const status = (await page.textContent('#status'))!;
    match(status, /^wasm, .*, done$/, wrong.join('\n'));
    strictEqual(await page.textContent('#story'), text);
    strictEqual(!status.includes('no shared memory'), isolated, status);
    deepStrictEqual(wrong, []);
    console.log(`ok: ${name} writes what Node writes: ${status.replace(', done', '')}`);
  } finally {
    await close();
  }
}

/** The example of the Prompt API: its model came along with the scripts. */
async function answersPrompt(url: string): Promise<void> {
  const { context, close } = await launch();
  try {
    const page = await context.newPage();
    await page.goto(url);
    await page.waitForFunction(() => /tokens$|Error/.test(document.querySelector('#status')!.textContent!));
    match((await page.textContent('#status'))!, /^[0-9]+ of 1024 tokens$/);
    ok((await page.textContent('#story'))!.length > 100);
    console.log('ok: the Prompt API writes a story with the model that Vite brought along');
  } finally {
    await close();
  }
}

function kilobytes(bytes: number): string {
  return `${(bytes / 1000).toFixed(0)} kB`;
}
