// Keeps the page of `openelm web` and of its export: code, modules and pictures in a cache of their version, so that it opens without a
// network and never mixes two versions; and isolates it where the host sends no headers. Models are not its business: they are kept
// by openelm/browser. A classic script; app/web-files.ts puts in front what it keeps.

declare const version: string;
/** SHA-256 by path. */
declare const files: Readonly<Record<string, string>>;
/** What everything is answered with: isolation, and what the page may do. */
declare const headers: Readonly<Record<string, string>>;

interface Lasting extends Event {
  waitUntil(work: Promise<unknown>): void;
}
interface Fetching extends Event {
  readonly request: globalThis.Request;
  respondWith(response: Promise<globalThis.Response>): void;
}
interface Scope {
  readonly registration: ServiceWorkerRegistration;
  readonly clients: { matchAll(options: { type: 'window' }): Promise<readonly unknown[]>; claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: 'install' | 'activate', listener: (event: Lasting) => void): void;
  addEventListener(type: 'fetch', listener: (event: Fetching) => void): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
}

{
  const worker = globalThis as unknown as Scope;
  const root = new URL('./', worker.registration.scope);
  // Other folders of this origin have caches of their own.
  const mine = `openelm page ${root.pathname} `;
  const name = mine + version;

  const addressOf = (path: string): string => new URL(path, root).href;

  const digestOf = async (bytes: ArrayBuffer): Promise<string> =>
    Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)), (byte) => byte.toString(16).padStart(2, '0')).join(
      '',
    );

  /** Puts the file into the cache as this version has it: what an older one has of the same, or from the host. */
  const keep = async (cache: Cache, path: string): Promise<void> => {
    const address = addressOf(path);
    const older = async () => (await caches.match(address)) ?? fresh();
    const fresh = () => fetch(address, { cache: 'no-cache' });
    for (const source of [older, fresh]) {
      const response = await source();
      if (!response.ok) continue;
      const bytes = await response.arrayBuffer();
      if ((await digestOf(bytes)) !== files[path]) continue;
      const type = response.headers.get('content-type') ?? '';
      await cache.put(address, new Response(bytes, { headers: { ...headers, 'content-type': type } }));
      return;
    }
    throw new Error(`${address} is not what version ${version} has`); // of another one: this one is not installed
  };

  /** From this version's cache; what the browser threw away comes from the host. */
  const kept = async (path: string): Promise<globalThis.Response> => {
    const cache = await caches.open(name);
    const found = await cache.match(addressOf(path));
    if (found) return found;
    await keep(cache, path);
    return (await cache.match(addressOf(path)))!;
  };

  /** A new version takes over when no tab has the old one, as ever, or the only one that has it is loaded anew. */
  const opened = async (isReload: boolean): Promise<globalThis.Response> => {
    const { waiting } = worker.registration;
    const alone = isReload && (await worker.clients.matchAll({ type: 'window' })).length < 2;
    if (!waiting || !alone) return kept('index.html');
    waiting.postMessage('take over');
    return new Response('<!doctype html><title>openelm</title><link rel="icon" href="data:,">', {
      headers: { refresh: '0', 'content-type': 'text/html' },
    });
  };

  /** What the host says now or, where it does not soon, what it said last. */
  const newest = async (address: string): Promise<globalThis.Response> => {
    const cache = await caches.open(name);
    const found = await cache.match(address);
    try {
      const response = await fetch(address, { cache: 'no-cache', signal: found && AbortSignal.timeout(3000) });
      if (response.ok) await cache.put(address, response.clone());
      return response;
    } catch (error) {
      if (!found) throw error;
      return found;
    }
  };

  worker.addEventListener('install', (event) => {
    const all = async (): Promise<void> => {
      const cache = await caches.open(name);
      await Promise.all(Object.keys(files).map((path) => keep(cache, path)));
      await newest(addressOf('models.json')).catch(() => undefined);
    };
    event.waitUntil(all());
  });

  worker.addEventListener('activate', (event) => {
    const all = async (): Promise<void> => {
      for (const other of await caches.keys()) if (other.startsWith(mine) && other !== name) await caches.delete(other);
      await worker.clients.claim();
    };
    event.waitUntil(all());
  });

  worker.addEventListener('message', ({ data }) => {
    if (data === 'take over') void worker.skipWaiting();
  });

  worker.addEventListener('fetch', (event) => {
    const { method, url, mode, cache } = event.request;
    const { origin, pathname } = new URL(url);
    if (method !== 'GET' || origin !== root.origin || !pathname.startsWith(root.pathname)) return;
    const path = pathname.slice(root.pathname.length);
    if (mode === 'navigate' && (path === '' || path === 'index.html')) event.respondWith(opened(cache === 'no-cache'));
    else if (Object.hasOwn(files, path)) event.respondWith(kept(path));
    else if (path === 'models.json') event.respondWith(newest(url));
  });
}
