// What the page of `openelm web` does where something goes away in the middle, in Chromium: part of `npm run browser`. Its server, while it
// opens and while a model comes; the model, while it writes; the room for conversations, to a newer page. Each time it says so in a sentence,
// and goes on when it is asked to. Skipped, and says so, where there is no Chromium.

import { deepStrictEqual, match, strictEqual } from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { exportWeb } from '../../src/app/web-files.js';
import { packagePath } from '../../src/io/node/paths.js';
import { executablePath, launch } from './launch.js';
import { type StaticServer, staticServer } from './static-server.js';

if (executablePath === undefined) {
  console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
} else {
  const site = mkdtempSync(join(tmpdir(), 'openelm-away-'));
  await exportWeb([{ id: 'tales', directory: packagePath('models/tales-6m-instruct') }], site);
  const host = await staticServer(site, { isolated: true });
  const { context, wrong, close } = await launch();
  try {
    await opensLater(context, host);
    await loadsLater(context, host);
    await changesModels(context, host);
    await makesWay(context, host);
    deepStrictEqual(
      wrong.filter((line) => !/ERR_EMPTY_RESPONSE|ERR_CONNECTION|favicon/.test(line)),
      [],
    );
  } finally {
    await close();
    host.close();
    rmSync(site, { recursive: true });
  }
}

async function loads(page: Page): Promise<void> {
  await page.waitForFunction(() => document.querySelector('.computes')?.textContent?.includes('thread'));
}

/** What is said below the last answer. */
function lastNote(page: Page): Promise<string> {
  return page.locator('article.assistant .tools').last().innerText();
}

async function ask(page: Page, text: string): Promise<void> {
  await page.fill('#question', text);
  await page.press('#question', 'Enter');
  await page.locator('#send').waitFor();
}

/** Its list of models, or its code, is away at first. */
async function opensLater(context: BrowserContext, host: StaticServer): Promise<void> {
  for (const away of [/models\.json/, /bundle\/worker\.js/, /bundle\/chunk/, /bundle\/(file-thread|chat-template)/, /\.wasm/]) {
    const page = await context.newPage();
    host.down = away;
    await page.goto(`${host.url}/`);
    await ask(page, 'Write a story.');
    match(await lastNote(page), /away/);
    host.down = undefined;
    await ask(page, 'Write a story.');
    match(await lastNote(page), /tokens\/s/);
    await page.evaluate(() => indexedDB.deleteDatabase('openelm'));
    await page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.unregister());
    await page.close();
  }
  console.log('ok: what is away while the page opens is named, and asked for again with the next question');
}

/** The server goes while a model comes. */
async function loadsLater(context: BrowserContext, host: StaticServer): Promise<void> {
  const page = await context.newPage();
  await page.goto(`${host.url}/page/icon.svg`);
  await page.evaluate(async () => (await navigator.storage.getDirectory()).removeEntry('openelm-models', { recursive: true }));
  host.down = /tokenizer\.model/;
  await page.goto(`${host.url}/`);
  const again = page.getByRole('button', { name: 'Try again' });
  await again.waitFor();
  match(await page.innerText('.computes'), /tokenizer\.model: the server cannot be reached/);
  host.down = undefined;
  await again.click();
  await loads(page);
  await page.close();
  console.log('ok: a model whose download broke off is loaded when it is tried again');
}

/** Another model is opened while this one writes. */
async function changesModels(context: BrowserContext, host: StaticServer): Promise<void> {
  const page = await context.newPage();
  await page.goto(`${host.url}/`);
  await loads(page);
  const files = ['config.json', 'model.safetensors', 'tokenizer.model'].map((name) => packagePath(`models/tales-6m/${name}`));
  await page.fill('#question', 'Write a story about a dog, a cat, a bird and a fish.');
  await page.press('#question', 'Enter');
  await page.setInputFiles('.opening input[type=file] >> nth=0', files);
  await page.locator('#send').waitFor();
  match(await lastNote(page), /another model took its place in the middle of this answer: ask again/);
  await ask(page, 'Once upon a time');
  match(await lastNote(page), /tokens\/s/);
  await page.close();
  console.log('ok: an answer whose model is put away for another says so');
}

/** A newer page wants the database in another form. */
async function makesWay(context: BrowserContext, host: StaticServer): Promise<void> {
  const page = await context.newPage();
  await page.goto(`${host.url}/`);
  await loads(page);
  const newer = await context.newPage();
  await newer.goto(`${host.url}/page/icon.svg`);
  const came = await newer.evaluate(
    () =>
      new Promise<string>((resolve) => {
        const request = indexedDB.open('openelm', 1000);
        request.onblocked = () => resolve('blocked');
        request.onsuccess = () => resolve('opened');
      }),
  );
  strictEqual(came, 'opened');
  await ask(page, 'Once upon a time');
  match(await page.innerText('.notices'), /another tab has a newer version of this page: load this one again/);
  await page.close();
  await newer.close();
  console.log('ok: a newer page has the conversations, and the older one says what to do');
}
