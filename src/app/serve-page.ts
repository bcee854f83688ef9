// The chat page's files, read once: the server has these and no others.

import { readFile } from 'node:fs/promises';
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

/** What the page consists of; its script is bundled with the package. */
const files: Readonly<Record<string, readonly [file: string, type: string]>> = {
  '/': ['index.html', 'text/html'],
  '/page/page.css': ['page.css', 'text/css'],
  '/page/tokens.css': ['tokens.css', 'text/css'],
  '/page/icon.svg': ['icon.svg', 'image/svg+xml'],
  '/page/main.js': ['serve.js', 'text/javascript'],
};

/** The files by their path. */
export async function pageAssets(): Promise<Record<string, Asset>> {
  const read = Object.entries(files).map(async ([path, [file, type]]) => {
    const body = await readFile(packagePath(`dist/page/${file}`), 'utf8');
    return [path, { type: `${type}; charset=utf-8`, body }] as const;
  });
  const worker: Asset = { type: 'text/javascript; charset=utf-8', body: leaving };
  return { ...Object.fromEntries(await Promise.all(read)), '/service-worker.js': worker };
}
