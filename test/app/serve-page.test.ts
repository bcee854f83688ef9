import { posix } from 'node:path';
import { expect, it } from 'vitest';
import { pageAssets } from '../../src/app/serve-page.js';

it('serves all that its page asks for when it is opened', async () => {
  const assets = await pageAssets();
  const named = Object.entries(assets).flatMap(([path, { type, body }]) => {
    const links = type.startsWith('text/html') ? /(?:src|href)="([^"#:]+)"/g : /\b(?:from|import)\s*['"](\.[^'"]+)['"]/g;
    return type.startsWith('text/css')
      ? []
      : [...String(body).matchAll(links)].map(([, to]) => posix.resolve(posix.dirname(path), to));
  });
  expect(named.length).toBeGreaterThan(3);
  expect(named.filter((path) => assets[path] === undefined)).toEqual([]);
});
