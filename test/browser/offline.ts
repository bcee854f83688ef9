// The exported page as an app, in Chromium: part of `npm run browser`. A plain static host, below a path, without a header: the page
// isolates itself with one reload; it opens and answers when the host is gone; a new version takes its place whole, a half
// uploaded one does not. Skipped, and says so, where there is no Chromium.

import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { pageAssets } from '../../src/app/serve-page.js';
import { exportWeb } from '../../src/app/web-files.js';
import { serveWeb } from '../../src/app/web-server.js';
import { packagePath } from '../../src/io/node/paths.js';
import { createServer } from '../../src/server.js';
import { listen } from '../server/port.js';
import { executablePath, launch } from './launch.js';
import { type StaticServer, staticServer } from './static-server.js';

if (executablePath === undefined) {
  console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
} else {
  const folder = mkdtempSync(join(tmpdir(), 'openelm-export-'));
  const site = join(folder, 'some', 'site');
  await exportWeb([{ id: 'org/tales', directory: packagePath('models/tales-6m-instruct') }], site);
  const host = await staticServer(folder, { isolated: false });
  const { context, wrong, close } = await launch();
  try {
    const page = await isolates(context, host);
    await offline(page, host);
    await updates(page, host, site);
    deepStrictEqual(wrong, []);
    console.log('ok: no errors on the console, no request to another origin');
    await leaves(context); // the page of before asks the server of now
  } finally {
    await close();
    host.close();
    rmSync(folder, { recursive: true });
  }
}

/** The page of `openelm serve` where that of `openelm web` was before: the worker does not stand in its way. */
async function leaves(context: BrowserContext): Promise<void> {
  const before = await serveWeb([], '127.0.0.1', 0);
  const page = await context.newPage();
  await page.goto(before.url);
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  await before.close();
  const handler = await createServer({ assets: await pageAssets() });
  const after = await listen(handler, Number(new URL(before.url).port));
  await page.goto(before.url);
  await page.waitForFunction(() => !document.body.classList.contains('tabbed'));
  strictEqual(await page.evaluate(async () => (await navigator.serviceWorker.getRegistrations()).length), 0);
  await page.close();
  await after.close();
  console.log("ok: the page of openelm serve comes where openelm web's was kept");
}

/** Of the page's own code: what a reload of the page would not reach without its worker. */
function versionOf(page: Page): Promise<string | undefined> {
  return page.evaluate(() => document.body.dataset.version);
}

function digestOf(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function isolates(context: BrowserContext, host: StaticServer): Promise<Page> {
  const page = await context.newPage();
  let opened = 0;
  page.on('framenavigated', () => opened++);
  await page.goto(`${host.url}/some/site/`);
  // What is evaluated in a page counts as its user's doing, and a page that is used is not loaded anew.
  if (opened < 2) await page.waitForEvent('framenavigated');
  await page.waitForFunction(() => crossOriginIsolated && document.querySelector('.computes')?.textContent?.includes('threads'));
  strictEqual(opened, 2);
  await page.reload();
  await page.waitForFunction(() => document.querySelector('.computes')?.textContent?.includes('threads'));
  strictEqual(opened, 3);
  const weights = host.asked.filter(({ path }) => path.endsWith('.safetensors'));
  const cached = await page.evaluate(async () => {
    const names = await caches.keys();
    const paths = await Promise.all(names.map(async (name) => (await (await caches.open(name)).keys()).map(({ url }) => url)));
    return { names, models: paths.flat().filter((url) => url.includes('/models/')).length };
  });
  const session = await context.newCDPSession(page);
  const { installabilityErrors } = await session.send('Page.getInstallabilityErrors');
  deepStrictEqual(installabilityErrors, []);
  strictEqual(cached.names.length, 1);
  strictEqual(cached.models, 0);
  ok(weights.length <= 2, `the weights were asked for ${weights.length} times`);
  console.log('ok: without headers, below a path, the page isolates itself with one reload and keeps no model twice');
  return page;
}

async function offline(page: Page, host: StaticServer): Promise<void> {
  host.down = true;
  await page.reload();
  await page.fill('#question', 'Write a short story about a dog and a ball.');
  await page.press('#question', 'Enter');
  await page.waitForFunction(() => (document.querySelector('article.assistant .body')?.textContent ?? '').length > 20);
  await page.waitForFunction(() => !document.querySelector('#stop')!.checkVisibility(), undefined, { timeout: 60_000 });
  ok((await page.textContent('.computes'))?.includes('threads'));
  host.down = false;
  console.log('ok: with its host gone the page opens, isolated, and answers');
}

async function updates(page: Page, host: StaticServer, site: string): Promise<void> {
  /** Of the newest worker, if it has not taken over. */
  const state = () =>
    page.evaluate(async () => {
      const { installing, waiting } = (await navigator.serviceWorker.getRegistration())!;
      return (installing ?? waiting)?.state;
    });
  const becomes = async (wanted: ServiceWorkerState | undefined): Promise<void> => {
    const end = Date.now() + 120_000;
    while ((await state()) !== wanted) ok(Date.now() < end, `the new worker is ${await state()}`);
  };
  const look = () => page.evaluate(async () => (await navigator.serviceWorker.getRegistration())!.update());
  const change = (name: string, from: string | RegExp, to: string): void => {
    const path = join(site, name);
    writeFileSync(path, readFileSync(path, 'utf8').replace(from, to));
  };
  // Half of an upload: a file that is not what the worker says.
  change('service-worker.js', 'const version = "', 'const version = "0');
  change('service-worker.js', /(?<="index.html":")\w+/, digestOf('<body data-version="half"></body>'));
  await look();
  await becomes(undefined);
  await page.reload();
  strictEqual(await versionOf(page), undefined);
  const asked = host.asked.length;
  await exportWeb([{ id: 'org/tales', directory: packagePath('models/tales-6m-instruct') }], site);
  change('index.html', '<body', '<body data-version="new"');
  change('service-worker.js', 'const version = "', 'const version = "1');
  change('service-worker.js', /(?<="index.html":")\w+/, digestOf(readFileSync(join(site, 'index.html'))));
  await look();
  await becomes('installed');
  const second = await page.context().newPage();
  await second.goto(page.url());
  strictEqual(await versionOf(second), undefined); // two tabs have the old one
  await second.close();
  strictEqual(await state(), 'installed');
  // A tab that was closed may count for a moment longer.
  const isNew = (timeout: number) =>
    page
      .waitForFunction(() => document.body.dataset.version === 'new', undefined, { timeout })
      .then(
        () => true,
        () => false,
      );
  let came = false;
  for (const end = Date.now() + 60_000; !came && Date.now() < end; ) {
    await page.reload().catch(() => {}); // the page may be about it itself
    came = await isNew(3000);
  }
  ok(came, 'the new version does not come');
  await page.waitForFunction(() => document.querySelector('.computes')?.textContent?.includes('threads'));
  strictEqual((await page.evaluate(() => caches.keys())).length, 1);
  const fetched = new Set(host.asked.slice(asked).map(({ path }) => path));
  ok(fetched.size < 10, `an update of one file asked for ${[...fetched].join(' ')}`);
  console.log(
    'ok: a new version takes over whole once one tab is left, half of one does not, and unchanged files are not fetched again',
  );
}
