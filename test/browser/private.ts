// The page of `openelm web` where a browser keeps little or nothing, in Chromium: part of `npm run browser`. A private window, one without
// private files and databases (other browsers' private windows), one with too little room: the page answers in each, and says what is
// not kept. Skipped, and says so, where there is no Chromium.

import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { serveWeb } from '../../src/app/web-server.js';
import { packagePath } from '../../src/io/node/paths.js';
import { executablePath, listen } from './launch.js';

if (executablePath === undefined) {
  console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
} else {
  const models = [{ id: 'tales-6m-instruct', directory: packagePath('models/tales-6m-instruct') }];
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
    await privately(['--disable-blink-features=FileSystemAccessOriginPrivate'], async (context) => {
      await context.addInitScript(
        'indexedDB.open = () => { throw new DOMException("not in a private window", "SecurityError"); }',
      );
      const page = await context.newPage();
      await answers(page, server.url);
      const said = await notices(page);
      match(said, /this browser keeps nothing here: conversations are gone when the page is closed/);
      match(said, /this browser keeps no files here \(.*\): the model is downloaded anew each time/);
      console.log('ok: without private files and databases the page answers, and says what is not kept');
    });
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
    deepStrictEqual(wrong, []);
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
