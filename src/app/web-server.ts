// The server of `openelm web`: the chat page whose models run in the page itself, the code and the modules that they run with, and the
// models' files. Static files alone, with the headers that isolate the page, so that memory can be shared and there are threads.

import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { InputError } from '../errors.js';
import { packagePath } from '../io/node/paths.js';

export interface WebModel {
  readonly id: string;
  readonly directory: string;
}

const own = (name: string) => (): string => packagePath(name);
/** Beside the files of dist/page. */
const page: Readonly<Record<string, () => string>> = {
  '/': own('dist/page/index.html'),
  '/page/marked.js': () => createRequire(import.meta.url).resolve('marked'),
  // The page's own functions for what a server does elsewhere.
  '/page/client.js': own('dist/page/local-client.js'),
};

const types: Readonly<Record<string, string>> = {
  ...{ html: 'text/html; charset=utf-8', css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8' },
  ...{ svg: 'image/svg+xml', json: 'application/json', wasm: 'application/wasm' },
};

/** Nothing comes from elsewhere, nobody frames the page, and it may share memory with its workers. */
const headers = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'content-security-policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
};

const modelFile =
  /^(config|generation_config|tokenizer|tokenizer_config|added_tokens|special_tokens_map)\.json$|^tokenizer\.model$|\.jinja$|\.safetensors(\.index\.json)?$/;

/** Listens; `port` 0 takes a free one. Throws `InputError` where that cannot be, or a model has no files that a page could load. */
export async function serveWeb(
  models: readonly WebModel[],
  host: string,
  port: number,
): Promise<{ url: string; close(): Promise<void> }> {
  const files = new Map<string, () => string>();
  for (const name of await readdir(packagePath('dist/page'), { recursive: true }).catch(() => [])) {
    if (/\.(js|css|svg)$/.test(name)) files.set(`/page/${name.replaceAll('\\', '/')}`, own(`dist/page/${name}`));
  }
  for (const [path, file] of Object.entries(page)) files.set(path, file);
  for (const folder of ['dist/bundle', 'native/wasm']) {
    for (const name of await readdir(packagePath(folder)).catch(() => [])) {
      if (/\.(js|wasm)$/.test(name)) files.set(`/openelm/${basename(folder)}/${name}`, own(`${folder}/${name}`));
    }
  }
  if (!files.has('/openelm/bundle/browser.js')) throw new InputError('dist/bundle is missing: npm run compile makes it');
  const offered = await Promise.all(
    models.map(async ({ id, directory }) => {
      const names = (await readdir(directory)).filter((name) => modelFile.test(name));
      if (!names.includes('config.json') || !names.some((name) => name.endsWith('.safetensors')))
        throw new InputError(`${directory} has no config.json with safetensors weights beside it: a page loads no others`);
      const address = `/models/${encodeURIComponent(id)}/`;
      for (const name of names) files.set(address + name, () => join(directory, name));
      return { id, address, files: names };
    }),
  );
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0];
    if (path === '/models.json') response.writeHead(200, { ...headers, 'content-type': types.json }).end(JSON.stringify(offered));
    else void send(files.get(path), request, response);
  });
  await listen(server, host, port);
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}/`,
    async close() {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function send(file: (() => string) | undefined, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const found = file && (await stat(file()).catch(() => undefined));
  if (!file || !found || (request.method !== 'GET' && request.method !== 'HEAD')) {
    response.writeHead(file && found ? 405 : 404, headers).end();
    return;
  }
  const { size, mtimeMs } = found;
  const etag = `"${size.toString(16)}-${Math.floor(mtimeMs).toString(16)}"`;
  const type = types[/\.(\w+)$/.exec(file())?.[1] ?? ''] ?? 'application/octet-stream';
  const shared = { ...headers, 'content-type': type, etag, 'accept-ranges': 'bytes' };
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
  else if (size < 1 << 16) response.end((await readFile(file())).subarray(start, end + 1));
  else {
    const stream = createReadStream(file(), { start, end });
    stream.on('error', () => response.destroy());
    response.on('close', () => stream.destroy());
    stream.pipe(response);
  }
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((listening, failed) => {
    server.once('error', ({ code, message }: NodeJS.ErrnoException) => {
      const why = code === 'EADDRINUSE' ? 'it is in use' : message;
      failed(new InputError(`port ${port} of ${host} cannot be listened on (${why}): choose another with --port or --host`));
    });
    server.listen(port, host, listening);
  });
}
