// The Train tab in Chromium: part of `npm run browser`. A text is pasted, trained, paused, gone on with after a reload, and learned as
// Node's native backend learns it; the download runs on the command line, the model goes on with a text in the chat. Screenshots into
// the folder that SCREENSHOTS names. Skipped, and says so, where there is no Chromium.

import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Page } from 'playwright-core';
import { nativeBackend } from '../../src/backends/native.js';
import { nodeWasmBackend } from '../../src/backends/wasm-node.js';
import { trainOn } from '../../src/browser/train.js';
import type * as Door from '../../src/browser.js';
import { folderOf } from '../../src/io/browser/kept-places.js';
import { openFile } from '../../src/io/node/files.js';
import { packagePath } from '../../src/io/node/paths.js';
import { readZip } from '../../src/io/zip.js';
import { violations } from './axe.js';
import { heldUp } from './main-thread.js';
import { onOwnPage } from './own-page.js';

const text = readFileSync(packagePath('recipes/data/tales.txt'), 'utf8').slice(0, 60_000);
const steps = 100;
const temporary = mkdtempSync(join(tmpdir(), 'openelm-train-tab-'));

await onOwnPage({ acceptDownloads: true }, async ({ context, url }) => {
  context.on('page', (page) => page.on('dialog', (dialog) => void dialog.accept()));
  const page = await context.newPage();
  await page.goto(`${url}#train`);
  await begins(page);
  await pauses(page);
  await refusesTwice(page);
  await continues(page);
  await learns(page);
  await downloads(page);
  await chats(page);
  await refuses(page);
  await listsForeign(page);
}).finally(() => rmSync(temporary, { recursive: true }));

async function looksGood(page: Page, name: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    deepStrictEqual(await violations(page), [], `${name}, ${colorScheme}`);
    for (const [width, height] of [
      [390, 844],
      [1440, 900],
    ] as const) {
      await page.setViewportSize({ width, height });
      ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `${name} is wider than ${width}`);
      const shots = process.env.SCREENSHOTS;
      if (shots) await page.screenshot({ path: join(shots, `train-${name}-${width}-${colorScheme}.png`) });
    }
  }
}

function state(page: Page, wanted: string): Promise<unknown> {
  return page.waitForFunction((name) => document.querySelector<HTMLElement>('.run')?.dataset.state === name, wanted, {
    timeout: 120_000,
  });
}

/** In the page, since training does not wait: clicks on Pause after so many steps. */
async function pauseAfter(step: number): Promise<void> {
  while (!(document.querySelector('progress')!.value >= step)) await new Promise((resolve) => setTimeout(resolve, 5));
  [...document.querySelectorAll('button')].find(({ textContent }) => textContent === 'Pause')!.click();
}

async function begins(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Take the sample' }).waitFor();
  await looksGood(page, 'setup');
  const start = page.getByRole('button', { name: 'Start training' });
  strictEqual(await start.isDisabled(), true);
  await page.getByRole('button', { name: 'Take the sample' }).click();
  while (await start.isDisabled()) await page.waitForTimeout(20);
  await page.getByRole('button', { name: 'Another text' }).click();
  await page.getByLabel('The text to learn from').fill(text);
  await page.getByLabel('Size', { exact: true }).fill('0');
  await page.getByLabel('Steps', { exact: true }).fill('1');
  const [longest] = await heldUp(page, async () => {
    await page.getByRole('button', { name: 'Start training' }).click();
    await page.evaluate(pauseAfter, 12);
    await state(page, 'paused');
  });
  ok(longest <= 50, `the page was held up for ${longest} ms`);
  console.log(`ok: the tab trains on a pasted text, and holds the page up for ${longest.toFixed(0)} ms at most`);
}

async function pauses(page: Page): Promise<void> {
  await looksGood(page, 'paused');
  await page.reload();
}

/** Another tab has what a tab has that trains. */
async function refusesTwice(page: Page): Promise<void> {
  const other = await page.context().newPage();
  await other.goto(page.url());
  await other.evaluate(
    () =>
      new Promise<void>((resolve) => {
        void navigator.locks.request('openelm training My text', () => new Promise(() => resolve()));
      }),
  );
  await page.getByRole('button', { name: 'Continue My text' }).click();
  const alert = page.locator('#train [role=alert]:visible');
  await alert.waitFor();
  match(await alert.innerText(), /^My text is being trained in another tab/);
  const running = await page.evaluate(async () => {
    const bundle = new URL('openelm/bundle/browser.js', document.baseURI).href;
    return ((await import(bundle)) as typeof Door).runningTrainings();
  });
  deepStrictEqual(running, ['My text']);
  await other.close();
  console.log('ok: what another tab trains is not trained here');
}

/** Another version's training is named, and can be deleted. */
async function listsForeign(page: Page): Promise<void> {
  await page.evaluate(async (folder) => {
    const all = await (await navigator.storage.getDirectory()).getDirectoryHandle('openelm-trainings', { create: true });
    const place = await all.getDirectoryHandle(folder, { create: true });
    const writable = await (await place.getFileHandle('job.json', { create: true })).createWritable();
    await writable.write(JSON.stringify({ format: 'openelm-browser-training-9', name: 'From tomorrow', plan: {} }));
    await writable.close();
  }, folderOf('From tomorrow'));
  await page.reload();
  const item = page.locator('.kept li', { hasText: 'From tomorrow' });
  match(await item.innerText(), /Begun by another version of this page/);
  await item.getByRole('button').click(); // the only one: Delete
  await item.waitFor({ state: 'detached' });
  console.log("ok: another version's training is named, and can be deleted");
}

async function continues(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Continue', exact: true }).click();
  await state(page, 'finished');
  await looksGood(page, 'finished');
}

async function learns(page: Page): Promise<void> {
  const kept = await page.evaluate(async () => {
    const bundle = new URL('openelm/bundle/browser.js', document.baseURI).href;
    const { keptTrainings } = (await import(bundle)) as typeof Door;
    return (await keptTrainings())[0];
  });
  const { losses, validations, samples } = kept.history;
  strictEqual(losses.length, steps);
  ok(losses[steps - 1] < losses[0] - 0.5, `${losses[0]} to ${losses[steps - 1]}`);
  ok(validations.length > 1 && samples.length > 1);
  const native = nativeBackend({ threads: 2 });
  const backend = 'backend' in native ? native.backend : nodeWasmBackend({ threads: 2 });
  const expected: number[] = [];
  await trainOn(backend, { ...kept.options, text }, { onStep: ({ means }) => void expected.push(means.loss) });
  await backend.dispose();
  const furthest = Math.max(...expected.map((loss, i) => Math.abs(loss - losses[i])));
  ok(furthest < 1e-4, `a loss differs by ${furthest}`);
  console.log(
    `ok: paused, gone on with after a reload: loss ${losses[0].toFixed(3)} to ${losses[steps - 1].toFixed(3)}, at most ${furthest.toExponential(1)} from ${backend.description}`,
  );
}

async function downloads(page: Page): Promise<void> {
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download' }).click()]);
  strictEqual(download.suggestedFilename(), 'my-text.zip');
  const path = join(temporary, 'my-text.zip');
  await download.saveAs(path);
  const source = await openFile(path);
  for (const [name, { offset, bytes }] of await readZip(source)) {
    mkdirSync(dirname(join(temporary, name)), { recursive: true });
    writeFileSync(join(temporary, name), await source.read(offset, bytes));
  }
  await source.close();
  const said = execFileSync(
    process.execPath,
    [packagePath('dist/app/cli.js'), 'run', '-m', join(temporary, 'my-text'), '-n', '8', 'There was'],
    {
      encoding: 'utf8',
    },
  );
  ok(said.trim().length > 8, said);
  console.log(`ok: what is downloaded runs with openelm run: ${JSON.stringify(said.trim())}`);
}

async function chats(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Chat with it' }).click();
  await page.waitForFunction(() => document.querySelector<HTMLSelectElement>('#model')!.value === 'My text');
  await page.locator('#question').fill('There was once');
  await page.locator('#question').press('Enter');
  await page.waitForFunction(() => (document.querySelector('article.assistant .body')?.textContent ?? '').length > 20);
  await page.locator('#send').waitFor({ state: 'visible', timeout: 60_000 });
  console.log('ok: the chat goes on with a text by the model that was trained');
}

async function refuses(page: Page): Promise<void> {
  await page.goto(`${page.url().split('#')[0]}#train`);
  await page.reload();
  await page.getByRole('button', { name: 'Delete My text' }).click();
  await page.getByRole('button', { name: 'Delete My text' }).waitFor({ state: 'detached' });
  const files = page.locator('#train input[type=file]');
  const alert = page.locator('#train .setup [role=alert]:visible');
  await files.setInputFiles({ name: 'picture.txt', mimeType: 'text/plain', buffer: Buffer.from([0xff, 0xd8, 0, 1]) });
  await alert.waitFor();
  strictEqual(await alert.innerText(), 'picture is no text in UTF-8: choose a plain text file');
  await page.getByLabel('The text to learn from').fill('Too little.');
  await page.getByRole('button', { name: 'Start training' }).click();
  const short = page.locator('#train > .column > [role=alert]:visible');
  await short.waitFor();
  match(await short.innerText(), /give a longer|too small/);
  console.log('ok: what is no text, and what is too short, is said in a sentence');
}
