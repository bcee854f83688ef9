// The server of `openelm web`: the files of web-files.ts with the headers that isolate the page, so that memory can be shared and there
// are threads. It computes nothing.

import { createReadStream, type Stats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { listen } from './listening.js';
import { type WebFile, type WebModel, webFiles, headers as webHeaders } from './web-files.js';

const types: Readonly<Record<string, string>> = {
  ...{ html: 'text/html; charset=utf-8', css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8' },
  ...{
    svg: 'image/svg+xml',
    png: 'image/png',
    json: 'application/json',
    txt: 'text/plain; charset=utf-8',
    wasm: 'application/wasm',
  },
  webmanifest: 'application/manifest+json',
};

/** Nobody frames the page of this machine. */
const headers = {
  ...webHeaders,
  'content-security-policy': `${webHeaders['content-security-policy']}; frame-ancestors 'none'`,
  'cache-control': 'no-cache',
};

/** Listens; `port` 0 takes a free one. Throws `InputError` where that cannot be, or a model has no files that a page could load. */
export async function serveWeb(
  models: readonly WebModel[],
  host: string,
  port: number,
): Promise<{ url: string; close(): Promise<void> }> {
  const files = await webFiles(models);
  const server = createServer((request, response) => {
    const path = decoded((request.url ?? '/').split('?')[0].slice(1)) || 'index.html';
    send(path, files.get(path), request, response).catch(() => response.destroy()); // a file that went away meanwhile
  });
  return {
    url: await listen(server, host, port),
    async close() {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** What is packed on its way: the page, its code and modules; models hardly get smaller, and are asked for by ranges. */
const packable = /^(?!models\/).*\.(html|css|js|wasm|svg|json|txt|webmanifest)$/;
const packed = promisify(gzip);

async function send(path: string, file: WebFile | undefined, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const made = typeof file === 'function' ? await file().catch(() => undefined) : undefined;
  const found = typeof file === 'string' ? await stat(file).catch(() => undefined) : undefined;
  const there = made !== undefined || found !== undefined;
  if (!there || (request.method !== 'GET' && request.method !== 'HEAD')) {
    response.writeHead(there ? 405 : 404, headers).end();
    return;
  }
  const type = types[/\.(\w+)$/.exec(path)?.[1] ?? ''] ?? 'application/octet-stream';
  const described = { ...headers, ...(packable.test(path) ? { vary: 'accept-encoding' } : {}), 'content-type': type };
  const packs = packable.test(path) && request.headers.range === undefined;
  if (packs && /\bgzip\b/.test(`${request.headers['accept-encoding']}`)) {
    const etag = found && { etag: etagOf(found, '-gzip') };
    const isKnown = etag !== undefined && request.headers['if-none-match'] === etag.etag;
    const bytes = isKnown ? undefined : await packed(made ?? (await readFile(file as string)));
    const encoded = bytes && { 'content-encoding': 'gzip', 'content-length': bytes.length };
    response.writeHead(isKnown ? 304 : 200, { ...described, ...etag, ...encoded }).end(bytes);
  } else if (made !== undefined) response.writeHead(200, described).end(made);
  else await sendFile(file as string, found!, described, request, response);
}

function etagOf({ size, mtimeMs }: Stats, how = ''): string {
  return `"${size.toString(16)}-${Math.floor(mtimeMs).toString(16)}${how}"`;
}

async function sendFile(
  file: string,
  found: Stats,
  described: Readonly<Record<string, string>>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { size } = found;
  const etag = etagOf(found);
  const shared = { ...described, etag, 'accept-ranges': 'bytes' };
  if (request.headers['if-none-match'] === etag) {
    response.writeHead(304, shared).end();
    return;
  }
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const start = first === undefined ? 0 : Number(first);
  const end = Math.min(size - 1, last ? Number(last) : size - 1);
  if (first !== undefined && start > end) {
    response.writeHead(416, { ...shared, 'content-range': `bytes */${size}` }).end();
    return;
  }
  const range = first === undefined ? {} : { 'content-range': `bytes ${start}-${end}/${size}` };
  response.writeHead(first === undefined ? 200 : 206, {
    ...shared,
    ...range,
    'content-length': size === 0 ? 0 : end - start + 1,
  });
  if (request.method === 'HEAD' || size === 0) response.end();
  else if (size < 1 << 16) response.end((await readFile(file)).subarray(start, end + 1));
  else {
    const stream = createReadStream(file, { start, end });
    stream.on('error', () => response.destroy());
    response.on('close', () => stream.destroy());
    stream.pipe(response);
  }
}
