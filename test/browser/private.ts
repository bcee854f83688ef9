// The page of `openelm web` where a browser keeps little or nothing, in Chromium: part of `npm run browser`. A private window, one without
// private files and databases (other browsers' private windows), one with too little room, a page that is not https: the page answers in
// each, and says what is not kept. Without private files models are kept in Cache storage. Skipped, and says so, where there is no Chromium.

import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { serveWeb } from '../../src/app/web-server.js';
import type * as Door from '../../src/browser.js';
import { packagePath } from '../../src/io/node/paths.js';
import { executablePath, listen } from './launch.js';
import { staticServer } from './static-server.js';

declare const openelm: typeof Door;

const noPrivateFiles = '--disable-blink-features=FileSystemAccessOriginPrivate';
const models = [{ id: 'tales-6m-instruct', directory: packagePath('models/tales-6m-instruct') }];

if (executablePath === undefined) {
  console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
} else {
  const server = await serveWeb(models, '127.0.0.1', 0);
  try {
    await privately([], async (context) => {
      const page = await context.newPage();
      await answers(page, server.url);
      strictEqual(await notices(page), '');
      await page.reload();
      await page.waitForFunction(() => (document.querySelector('article.assistant .body')?.textContent ?? '').length > 20);
      console.log('ok: a private window answers, and keeps a conversation as long as it is open');
    });
    await privately([noPrivateFiles], async (context) => {
      await context.addInitScript(
        'indexedDB.open = () => { throw new DOMException("not in a private window", "SecurityError"); }',
      );
      const page = await context.newPage();
      const asked: string[] = [];
      context.on('request', (request) => request.url().endsWith('model.safetensors') && asked.push(request.url()));
      await answers(page, server.url);
      strictEqual(await notices(page), 'this browser keeps nothing here: conversations are gone when the page is closed');
      strictEqual(asked.length, 1);
      await page.reload();
      await answers(page, server.url);
      strictEqual(asked.length, 1);
      console.log('ok: without private files and databases the page answers, says what is not kept, and keeps the model');
    });
    await privately([noPrivateFiles], goesOnInCache);
    const [outside] = Object.values(networkInterfaces()).flatMap((all = []) =>
      all.flatMap(({ family, internal, address }) => (family === 'IPv4' && !internal ? [address] : [])),
    );
    if (outside === undefined) console.log('SKIPPED: this machine has no address that a browser takes for another machine');
    else await privately([], (context) => insecurely(context, outside));
    await privately([], async (context) => {
      const page = await context.newPage();
      const protocol = await context.newCDPSession(page);
      await protocol.send('Storage.overrideQuotaForOrigin', { origin: server.url.replace(/\/$/, ''), quotaSize: 6_000_000 });
      await answers(page, server.url);
      match(
        await notices(page),
        /model\.safetensors (does not fit into what this browser gives this site \(.*\)|takes 12 MB, .*): it is not kept, and downloaded anew each time$/,
      );
      console.log('ok: without room for the model the page answers, and says that it is not kept');
    });
  } finally {
    await server.close();
  }
}

/** A reload in the middle of a download that is kept in Cache storage: what had come by then is not asked for again. */
async function goesOnInCache(context: BrowserContext): Promise<void> {
  const site = await staticServer(packagePath('.'), { isolated: true });
  try {
    const page = await context.newPage();
    const opened = async (): Promise<void> => {
      await page.goto(`${site.url}/page`);
      await page.waitForFunction(() => 'openelm' in globalThis);
    };
    site.stall = 9 << 20;
    await opened();
    await page.evaluate(() => {
      void openelm.load('/models/tales-6m/', { files: ['config.json', 'model.safetensors', 'tokenizer.model'] });
    });
    const least = 6 << 20;
    await page.evaluate(async (bytes) => {
      const kept = async (): Promise<number> => {
        let sum = 0;
        for (const name of await caches.keys()) {
          const cache = await caches.open(name);
          for (const request of await cache.keys())
            if (request.url.includes('safetensors?')) sum += (await (await cache.match(request))!.blob()).size;
        }
        return sum;
      };
      for (const end = Date.now() + 60_000; Date.now() < end && (await kept()) < bytes; )
        await new Promise((resolve) => setTimeout(resolve, 50));
    }, least);
    site.stall = undefined;
    await opened();
    await page.evaluate(async () => {
      const model = await openelm.load('/models/tales-6m/', { files: ['config.json', 'model.safetensors', 'tokenizer.model'] });
      await model.complete('Once', { maxTokens: 2 });
      await model.dispose();
      await openelm.removeKept();
      if ((await caches.keys()).length > 0) throw new Error('something is kept still');
    });
    const ranges = site.asked.filter(({ path }) => path.endsWith('.safetensors')).map(({ range }) => range);
    strictEqual(ranges.length, 2, ranges.join(' '));
    ok(Number(/^bytes=([0-9]+)-$/.exec(ranges[1] ?? '')?.[1]) >= least, ranges[1]);
    console.log(`ok: a download that is kept in Cache storage goes on after a reload at ${ranges[1]}`);
  } finally {
    site.close();
  }
}

/** From another machine without https: there are no private files, caches, locks, threads, not even a clipboard. */
async function insecurely(context: BrowserContext, host: string): Promise<void> {
  const server = await serveWeb(models, host, 0);
  try {
    const page = await context.newPage();
    await answers(page, server.url);
    match(await notices(page), /^this browser keeps no files here \(.*https:\): the model is downloaded anew each time$/);
    await page.getByRole('button', { name: 'Copy' }).last().click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    await page.fill('#question', '');
    await page.focus('#question');
    await page.keyboard.press('Control+V');
    ok((await page.inputValue('#question')).length > 20);
    console.log('ok: from another machine without https the page answers, copies, and says what is not kept');
  } finally {
    await server.close();
  }
}

/** In a window that leaves nothing behind. */
async function privately(flags: readonly string[], work: (context: BrowserContext) => Promise<void>): Promise<void> {
  const browser = await chromium.launch({
    executablePath,
    headless: true,
    args: ['--no-sandbox', '--disable-dev-shm-usage', ...flags],
  });
  try {
    const context = await browser.newContext();
    const wrong = await listen(context);
    await work(context);
    // Where a page is not https: a browser says on the console what it leaves out, and its host is not this machine's loopback.
    deepStrictEqual(
      wrong.filter((what) => !/untrustworthy|^request: http:/.test(what)),
      [],
    );
  } finally {
    await browser.close();
  }
}

async function answers(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await page.fill('#question', 'Write a short story about a dog and a ball.');
  await page.press('#question', 'Enter');
  await page.waitForFunction(() => (document.querySelector('article.assistant .body')?.textContent ?? '').length > 20);
  const why = page.locator('.computes .why');
  ok(((await why.textContent()) ?? '').length > 10, 'it does not say why this backend computes');
  await page.press('#question', 'Escape');
  await page.waitForFunction(() => !document.querySelector('#stop')!.checkVisibility()); // it is saved then
}

function notices(page: Page): Promise<string> {
  return page.evaluate(() => document.querySelector('.notices')!.textContent!);
}
