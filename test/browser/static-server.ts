// A static server for pages under test: the package's files, with or without the headers that isolate a page, ranges, and a brake.

import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';

const types: Record<string, string> = {
  '.html': 'text/html',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.webmanifest': 'application/manifest+json',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

export interface StaticServer {
  readonly url: string;
  /** Paths that were asked for, with their range. */
  readonly asked: { path: string; range?: string }[];
  /** Bytes a second of .safetensors files; undefined: as fast as it goes. */
  brake: number | undefined;
  /** Bytes of a .safetensors file after which no more come, and the answer does not end. */
  stall: number | undefined;
  /** Answers nothing any more, or nothing of these paths. */
  down: boolean | RegExp | undefined;
  close(): void;
}

export interface ServerOptions {
  /** With the headers that isolate a page. */
  readonly isolated: boolean;
  /** For pages of other origins too, as a CDN is. */
  readonly shared?: boolean;
  /** One more of /page. */
  readonly script?: string;
  /** More of every answer. */
  readonly headers?: Readonly<Record<string, string>>;
}

export async function staticServer(
  root: string,
  { isolated, shared = false, script, headers }: ServerOptions,
): Promise<StaticServer> {
  const asked: StaticServer['asked'] = [];
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url!, 'http://x').pathname);
    const { range } = request.headers;
    if (typeof result.down === 'object' ? result.down.test(path) : result.down) {
      request.socket.destroy();
      return;
    }
    asked.push({ path, range });
    if (isolated) {
      response.setHeader('cross-origin-opener-policy', 'same-origin');
      response.setHeader('cross-origin-embedder-policy', 'require-corp');
    }
    for (const [name, value] of Object.entries(headers ?? {})) response.setHeader(name, value);
    if (shared) response.setHeader('access-control-allow-origin', '*');
    if (path === '/page') {
      response.setHeader('content-type', 'text/html');
      response.end(
        `<!doctype html><title>page</title><link rel="icon" href="data:,"><input type="file" multiple>
         <script type="module" src="/page.js"></script>
         ${script ? `<script type="module" src="${script}"></script>` : ''}`,
      );
      return;
    }
    if (path === '/page.js') {
      response.setHeader('content-type', 'text/javascript');
      response.end("import * as openelm from '/dist/bundle/browser.js'; globalThis.openelm = openelm;");
      return;
    }
    const file = join(root, path.endsWith('/') ? `${path}index.html` : path);
    if (!existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404).end();
      return;
    }
    const { size } = statSync(file);
    const [, first = '0', last = ''] = /^bytes=([0-9]+)-([0-9]*)$/.exec(range ?? '') ?? [];
    const [from, to] = [Number(first), Math.min(size - 1, last === '' ? size : Number(last))];
    response.setHeader('content-type', types[extname(file)] ?? 'application/octet-stream');
    response.setHeader('etag', `"${size}"`);
    if (from >= size && range) {
      response.writeHead(416, { 'content-range': `bytes */${size}` }).end();
      return;
    }
    response.setHeader('content-length', to + 1 - from);
    if (range) response.setHeader('content-range', `bytes ${from}-${to}/${size}`);
    response.writeHead(range ? 206 : 200);
    const { brake, stall } = file.endsWith('.safetensors') ? result : ({} as Partial<StaticServer>);
    void send(file, [from, to], response, brake, stall);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const result: StaticServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    brake: undefined,
    stall: undefined,
    down: false,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return result;
}

async function send(
  file: string,
  [start, end]: readonly [number, number],
  response: ServerResponse,
  brake: number | undefined,
  stall: number | undefined,
): Promise<void> {
  let sent = 0;
  for await (const chunk of createReadStream(file, { start, end, highWaterMark: 1 << 20 })) {
    if (response.destroyed) return;
    sent += (chunk as Buffer).length;
    if (!response.write(chunk)) await drained(response);
    if (brake) await new Promise((resolve) => setTimeout(resolve, ((chunk as Buffer).length / brake) * 1000));
    if (stall && sent >= stall) return;
  }
  response.end();
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}
