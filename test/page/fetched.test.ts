// What the page says where its own server is away or sends something else.

import { afterEach, expect, it, vi } from 'vitest';
import { models } from '../../src/page/client.js';
import { fetchedFile, imported, jsonOf } from '../../src/page/fetched.js';

afterEach(() => {
  vi.unstubAllGlobals();
});
const answering = (answer: () => Response): void => {
  vi.stubGlobal('fetch', async () => answer());
};
const page = () => new Response('<!doctype html>', { headers: { 'content-type': 'text/html; charset=utf-8' } });

it('says what came in place of a file, and what to do', async () => {
  answering(page);
  await expect(fetchedFile('http://x/page/tales.txt')).rejects.toThrow(
    /^the server sends a page in place of tales\.txt .*: load the page again$/,
  );
  answering(() => new Response('', { status: 404 }));
  await expect(fetchedFile('models.json')).rejects.toThrow(/^models\.json of this page cannot be had \(404\): load/);
  await expect(jsonOf(new Response('[{'))).rejects.toThrow(/^what the server sent was broken off, or is no JSON: try again/);
});

it('says that the server is away', async () => {
  answering(() => {
    throw new TypeError('Failed to fetch');
  });
  await expect(fetchedFile('models.json')).rejects.toThrow(/^the network, or the server of this page, is away: try again/);
  await expect(models('', '')).rejects.toThrow(/is away/);
  const lost = () => Promise.reject(new TypeError('Failed to fetch dynamically imported module: x'));
  await expect(imported(lost)).rejects.toThrow(/^its code cannot be fetched, .*: load the page again/);
  await expect(imported(() => Promise.reject(new Error('a defect')))).rejects.toThrow('a defect');
});
