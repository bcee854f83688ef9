// The chat page's files, read once: the server has these and no others.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { packagePath } from '../io/node/paths.js';
import type { Asset } from '../server.js';

/** Takes the place of the worker that keeps `openelm web`'s page, where both were opened at this address, and leaves. */
const leaving = `
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', async () => {
  await self.registration.unregister();
  for (const page of await self.clients.matchAll({ type: 'window' })) await page.navigate(page.url);
});
`;

/** What the page consists of; scripts are compiled with the package. */
const files: Readonly<Record<string, readonly [file: () => string, type: string]>> = {
  '/': [own('index.html'), 'text/html'],
  '/page/page.css': [own('page.css'), 'text/css'],
  '/page/tokens.css': [own('tokens.css'), 'text/css'],
  '/page/icon.svg': [own('icon.svg'), 'image/svg+xml'],
  '/page/marked.js': [() => createRequire(import.meta.url).resolve('marked'), 'text/javascript'],
  ...Object.fromEntries(
    ['main', 'client', 'elements', 'fetched', 'format', 'markdown', 'notices', 'store', 'tokens', 'words'].map(
      (name) => [`/page/${name}.js`, [own(`${name}.js`), 'text/javascript']] as const,
    ),
  ),
};

function own(name: string): () => string {
  return () => packagePath(`dist/page/${name}`);
}

/** The files by their path. */
export async function pageAssets(): Promise<Record<string, Asset>> {
  const read = Object.entries(files).map(
    async ([path, [file, type]]) => [path, { type: `${type}; charset=utf-8`, body: await readFile(file(), 'utf8') }] as const,
  );
  const worker: Asset = { type: 'text/javascript; charset=utf-8', body: leaving };
  return { ...Object.fromEntries(await Promise.all(read)), '/service-worker.js': worker };
}
