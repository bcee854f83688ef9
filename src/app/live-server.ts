// The live page's server, on this machine only: its few files, and a stream of events that tells the page what to draw. It does
// not know what is told: a function gives it as text. What the page does with it is in live/.

import { readFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { listen } from './listening.js';

/** Looked up when asked for: every verb's start would pay for it here. */
const beside = (name: string) => (): string => fileURLToPath(new URL(`./live/${name}`, import.meta.url));
const packaged = (name: string) => (): string => createRequire(import.meta.url).resolve(name);

const files: Record<string, { readonly path: () => string; readonly type: string }> = {
  '/': { path: beside('page.html'), type: 'text/html' },
  '/page.css': { path: beside('page.css'), type: 'text/css' },
  '/page.js': { path: beside('page.js'), type: 'text/javascript' },
  '/uPlot.css': { path: packaged('uplot/dist/uPlot.min.css'), type: 'text/css' },
  '/uPlot.js': { path: packaged('uplot/dist/uPlot.iife.min.js'), type: 'text/javascript' },
};

const interval = 1000;

export interface LiveServer {
  readonly url: string;
  close(): Promise<void>;
}

/** Serves the page. `tell` is asked once a second while somebody looks; each reader gets what it has not got yet. */
export async function serveLive(tell: () => Promise<string>, port: number): Promise<LiveServer> {
  const readers = new Map<ServerResponse, string>();
  let timer: NodeJS.Timeout | undefined;
  const update = async (): Promise<void> => {
    clearTimeout(timer);
    const text = await tell().catch(() => undefined); // a log that is just being replaced; the next time tells
    for (const [reader, last] of readers) {
      if (text === undefined || text === last || reader.writableNeedDrain) continue; // a sleeping page gets the newest later
      reader.write(`data: ${text}\n\n`);
      readers.set(reader, text);
    }
    clearTimeout(timer);
    if (readers.size > 0) timer = setTimeout(update, interval);
  };
  const server = createServer(async (request, response) => {
    if (request.url === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      response.on('close', () => readers.delete(response));
      readers.set(response, '');
      await update();
      return;
    }
    const file = Object.hasOwn(files, request.url ?? '') ? files[request.url!] : undefined;
    const bytes = file && (await readFile(file.path()).catch(() => undefined));
    if (bytes) response.writeHead(200, { 'content-type': `${file.type}; charset=utf-8`, 'cache-control': 'no-cache' }).end(bytes);
    else response.writeHead(404).end();
  });
  return {
    url: await listen(server, '127.0.0.1', port),
    async close() {
      const closed = new Promise((done) => server.close(done));
      for (const reader of readers.keys()) reader.end();
      readers.clear();
      clearTimeout(timer);
      server.closeAllConnections();
      await closed;
    },
  };
}
