// A page of whichever browser, driven without a driver: it asks this server what to do, and tells what came of it. For engines that
// Playwright cannot start as they are: Debian's Firefox and WebKitGTK, or a phone that is given the address. What is done in pages
// is in functions that are sent there, as with Playwright.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Milliseconds after which the page is answered that there is nothing to do yet: browsers end requests that take minutes. */
const turn = 15_000;

interface Job {
  readonly id: number;
  readonly source: string;
  readonly argument?: unknown;
  /** Leaves the page: nothing more is for it, and no answer comes. */
  readonly leaves?: boolean;
}
interface Told {
  readonly id: number;
  readonly value?: unknown;
  readonly failure?: string;
}

/** In the page: does one thing after the other. What goes wrong beside is told with the next answer. */
const script = (url: string): string => `
globalThis.__name = (f) => f; // what tsx makes of functions that are sent here
const wrong = (globalThis.wrong = []);
const listen = (scope, name) => {
  scope.addEventListener('error', (event) => event.message && wrong.push(name + 'error: ' + event.message));
  scope.addEventListener('unhandledrejection', ({ reason }) => wrong.push(name + 'rejection: ' + reason));
  scope.document.addEventListener('securitypolicyviolation', (event) => wrong.push(name + 'policy: ' + event.violatedDirective + ' ' + event.blockedURI));
  for (const kind of ['error', 'warn']) {
    const before = scope.console[kind];
    scope.console[kind] = (...said) => { wrong.push(name + kind + ': ' + said.join(' ')); before.apply(scope.console, said); };
  }
};
globalThis.listen = listen;
listen(globalThis, '');
const me = crypto.randomUUID();
for (let done = ''; ; ) {
  const response = await fetch('${url}/next?' + me, { method: 'POST', body: done }).catch(() => undefined);
  done = '';
  if (!response) await new Promise((resolve) => setTimeout(resolve, 200));
  if (response?.status !== 200) continue;
  const { id, source, argument } = await response.json();
  try {
    const value = await (0, eval)('(' + source + ')')(argument);
    done = JSON.stringify({ id, value });
  } catch (error) {
    done = JSON.stringify({ id, failure: String(error?.message ?? error) + '\\n' + (error?.stack ?? '') });
  }
}`;

export interface RemotePage {
  /** Of the script that pages under test load. */
  readonly script: string;
  /** Does it in the page, which may be still to come. Rejects with what it threw. */
  evaluate<A, T>(work: (argument: A) => T | Promise<T>, argument?: A): Promise<T>;
  /** Loads another address, or the same anew, without waiting for what it is in the middle of. */
  open(url: string): Promise<void>;
  /** Nothing comes any more, and why. */
  lose(error: Error): void;
  close(): void;
}

/** `patience`: milliseconds for one thing that is done. */
export async function remotePage(patience: number): Promise<RemotePage> {
  let waiting: ServerResponse | undefined;
  let here = '';
  /** Pages that were left. */
  const left = new Set<string>();
  let lost: Error | undefined;
  let ids = 0;
  const jobs: Job[] = [];
  const answers = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();

  const give = (): void => {
    if (!waiting || jobs.length === 0) return;
    const job = jobs.shift()!;
    if (job.leaves) left.add(here);
    waiting.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(job));
    waiting = undefined;
  };
  const settle = ({ id, value, failure }: Told): void => {
    const answer = answers.get(id);
    answers.delete(id);
    if (failure === undefined) answer?.resolve(value);
    else answer?.reject(new Error(`in the page: ${failure}`));
  };
  const next = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    if (parts.length > 0) settle(JSON.parse(Buffer.concat(parts).toString()) as Told);
    const end = setTimeout(() => response.writeHead(204).end(), turn);
    response.on('close', () => {
      clearTimeout(end);
      if (waiting === response) waiting = undefined;
    });
    if (left.has(request.url!) || response.destroyed) return;
    here = request.url!;
    waiting = response;
    give();
  };
  const server = createServer((request, response) => {
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('cache-control', 'no-store');
    if (request.url!.startsWith('/next?')) void next(request, response).catch(() => response.destroy());
    else if (request.url === '/page.js') response.setHeader('content-type', 'text/javascript').end(script(url));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const run = <T>(source: string, argument: unknown): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      if (lost) throw lost;
      const id = ids++;
      const failed = (error: Error): void => {
        clearTimeout(end);
        answers.delete(id);
        reject(error);
      };
      const end = setTimeout(() => failed(new Error(`no answer after ${patience / 1000} s to ${source}`)), patience);
      const resolved = (value: unknown): void => {
        clearTimeout(end);
        resolve(value as T);
      };
      answers.set(id, { resolve: resolved, reject: failed });
      jobs.push({ id, source, argument });
      give();
    });
  return {
    script: `${url}/page.js`,
    evaluate: (work, argument) => run(String(work), argument),
    async open(address) {
      const goes = '(url) => void (location.href === url ? location.reload() : location.assign(url))';
      jobs.push({ id: ids++, source: goes, argument: address, leaves: true });
      give();
      await run('() => undefined', undefined);
    },
    lose(error) {
      lost = error;
      for (const { reject } of answers.values()) reject(error);
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
