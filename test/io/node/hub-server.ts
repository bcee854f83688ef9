// A Hugging Face hub in miniature, for the tests: the API and the small files on one port, the large files on another (the
// CDN, another origin), to which the first redirects. Every request is recorded; a fault can be put in the way of any.

import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface SeenRequest {
  readonly host: 'hub' | 'cdn';
  readonly method: string;
  readonly url: string;
  readonly authorization?: string;
  readonly range?: string;
}

/** What goes wrong with one answer. */
export interface Fault {
  status?: number;
  headers?: Record<string, string>;
  /** Bytes of the body after which the connection is cut. */
  cutAfter?: number;
  /** Answers nothing more after so many bytes of the body, the connection left open. */
  stallAfter?: number;
  /** Answers 200 with everything although a range was asked for. */
  ignoreRange?: boolean;
  /** Another content than the right one. */
  body?: Buffer;
}

export const sha256 = (data: Buffer) => createHash('sha256').update(data).digest('hex');
export const gitSha1 = (data: Buffer) => createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex');

/** Stored apart, at the CDN. */
const isLarge = (name: string): boolean => /\.(safetensors|parquet)$/.test(name);

export class FakeHub {
  readonly seen: SeenRequest[] = [];
  /** Asked before each answer. */
  fault: (request: SeenRequest) => Fault | undefined = () => undefined;
  commit = 'c0ffee'.padEnd(40, '0');
  /** The only token that is let in; none: everybody is. */
  token?: string;
  /** Whether the listing tells sizes and hashes, as `blobs=true` asks for. */
  blobs = true;
  endpoint = '';
  private cdnOrigin = '';
  private readonly servers: Server[] = [];

  constructor(
    readonly repo: string,
    readonly files: Map<string, Buffer>,
    /** The word in the API's addresses; files of datasets lie under `datasets/` besides. */
    readonly kind: 'models' | 'datasets' = 'models',
  ) {}

  async start(): Promise<this> {
    this.cdnOrigin = await this.listen('cdn');
    this.endpoint = await this.listen('hub');
    return this;
  }

  async stop(): Promise<void> {
    for (const server of this.servers.splice(0)) {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    }
  }

  /** The requests of one kind since the last call, as `host METHOD path`. */
  take(): string[] {
    return this.seen.splice(0).map(({ host, method, url }) => `${host} ${method} ${url.split('?')[0]}`);
  }

  private async listen(host: 'hub' | 'cdn'): Promise<string> {
    const server = createServer((request, response) => this.answer(host, request, response));
    this.servers.push(server);
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  private answer(host: 'hub' | 'cdn', request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '', headers } = request;
    const seen: SeenRequest = { host, method, url, authorization: headers.authorization, range: headers.range };
    this.seen.push(seen);
    const fault = this.fault(seen) ?? {};
    if (fault.status) {
      response.writeHead(fault.status, fault.headers).end();
    } else if (host === 'hub' && this.token && headers.authorization !== `Bearer ${this.token}`) {
      response.writeHead(401, { 'x-error-message': 'Invalid credentials in Authorization header' }).end();
    } else if (host === 'cdn') {
      this.sendFile(decodeURIComponent(url.split('?')[0].slice(1)), seen, fault, response);
    } else {
      this.answerHub(seen, fault, response);
    }
  }

  private answerHub(seen: SeenRequest, fault: Fault, response: ServerResponse): void {
    const path = seen.url.split('?')[0];
    const api = `/api/${this.kind}/${this.repo}`;
    const revisions = ['main', 'refs%2Fpr%2F1', 'refs%2Fconvert%2Fparquet'];
    const page = `${this.kind === 'datasets' ? 'datasets/' : ''}${this.repo}`;
    const resolve = new RegExp(`^/${page}/resolve/${this.commit}/(.+)$`).exec(path);
    const cached = /^\/api\/resolve-cache\/(.+)$/.exec(path);
    if (path === api) response.end('{}');
    else if (revisions.some((revision) => path === `${api}/revision/${revision}`)) {
      const body =
        fault.body ??
        Buffer.from(
          JSON.stringify({ sha: this.commit, siblings: [...this.files].map(([name, data]) => this.sibling(name, data)) }),
        );
      response.end(body);
    } else if (resolve && this.files.has(resolve[1])) this.redirect(resolve[1], response);
    else if (cached && this.files.has(cached[1])) this.sendFile(cached[1], seen, fault, response);
    else response.writeHead(404).end('Not Found');
  }

  private sibling(name: string, data: Buffer): object {
    if (!this.blobs) return { rfilename: name };
    const lfs = isLarge(name) ? { sha256: sha256(data), size: data.length, pointerSize: 134 } : undefined;
    return { rfilename: name, size: data.length, blobId: lfs ? '0'.repeat(40) : gitSha1(data), lfs };
  }

  private redirect(name: string, response: ServerResponse): void {
    const data = this.files.get(name) as Buffer;
    const common = { 'x-repo-commit': this.commit };
    if (isLarge(name)) {
      const linked = { 'x-linked-etag': `"${sha256(data)}"`, 'x-linked-size': String(data.length) };
      response.writeHead(302, { ...common, ...linked, location: `${this.cdnOrigin}/${name}?signature=x` }).end();
    } else {
      response.writeHead(307, { ...common, location: `/api/resolve-cache/${name}` }).end();
    }
  }

  private sendFile(name: string, { method, range }: SeenRequest, fault: Fault, response: ServerResponse): void {
    const data = fault.body ?? (this.files.get(name) as Buffer);
    const start = range && !fault.ignoreRange ? Number(/^bytes=(\d+)-$/.exec(range)?.[1]) : 0;
    if (start >= data.length && start > 0) {
      response.writeHead(416, { 'content-range': `bytes */${data.length}` }).end();
      return;
    }
    const part = data.subarray(start);
    response.writeHead(start > 0 ? 206 : 200, {
      'content-length': part.length,
      etag: `W/"${gitSha1(this.files.get(name) as Buffer)}"`,
      ...(start > 0 ? { 'content-range': `bytes ${start}-${data.length - 1}/${data.length}` } : {}),
      ...fault.headers,
    });
    const sent = fault.cutAfter ?? fault.stallAfter;
    if (method === 'HEAD') response.end();
    else if (sent === undefined) response.end(part);
    else response.write(part.subarray(0, sent), () => fault.cutAfter !== undefined && setTimeout(() => response.destroy(), 20));
  }
}
