// Opening other models in the page of `openelm web`, in Chromium: part of `npm run browser`. A folder is chosen and dropped, files are
// chosen, a model of the hub is fetched from a stand-in for it; what cannot be opened is said in a sentence. Skipped, and says so, where
// there is no Chromium.

import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { serveWeb } from '../../src/app/web-server.js';
import { openCheckpoint } from '../../src/checkpoint.js';
import { convertModel } from '../../src/convert.js';
import { packagePath } from '../../src/io/node/paths.js';
import { configFromName, toHuggingFaceConfig } from '../../src/model/config.js';
import { violations } from './axe.js';
import { executablePath, launch } from './launch.js';

const model = packagePath('models/tales-6m');
const names = ['config.json', 'model.safetensors', 'tokenizer.model'];
const hub = 'https://huggingface.co';

if (executablePath === undefined) {
  console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
} else {
  const temporary = mkdtempSync(join(tmpdir(), 'openelm-open-'));
  const whole = join(temporary, 'my-tales');
  const half = join(temporary, 'half');
  for (const [folder, list] of [
    [whole, names],
    [half, ['config.json', 'tokenizer.model']],
  ] as const) {
    mkdirSync(folder);
    for (const name of list) copyFileSync(join(model, name), join(folder, name));
  }
  const packed = join(temporary, 'tales.tar.gz');
  writeFileSync(packed, 'an archive');
  const gguf = join(temporary, 'tales-q4.gguf');
  await convertModel(await openCheckpoint(model), gguf, { dtype: 'q4' });
  const server = await serveWeb(
    [{ id: 'tales-6m-instruct', directory: packagePath('models/tales-6m-instruct') }],
    '127.0.0.1',
    0,
  );
  const { context, wrong, close } = await launch();
  try {
    const asked = await standIn(context, gguf);
    const page = await context.newPage();
    await page.goto(server.url);
    await loaded(page, 'tales-6m-instruct');
    await opens(page, half, whole);
    await drops(page, half, whole, packed, gguf);
    await fetches(page, asked);
    deepStrictEqual(
      wrong.filter((what) => !what.startsWith(`request: ${hub}/`) && !what.includes('404')),
      [],
    );
    console.log('ok: no errors on the console, no request to another origin but the hub, when it was asked for');
  } finally {
    await close();
    await server.close();
    rmSync(temporary, { recursive: true });
  }
}

/** Of the hub: a small model, and one that is too large. */
async function standIn(context: BrowserContext, gguf: string): Promise<string[]> {
  const asked: string[] = [];
  const listing = (files: readonly (readonly [string, number])[]): string =>
    JSON.stringify({ sha: '0'.repeat(40), siblings: files.map(([rfilename, size]) => ({ rfilename, size })) });
  const large = JSON.stringify(toHuggingFaceConfig(configFromName('OpenELM-3B'), 'float32'));
  await context.route(`${hub}/**`, async (route) => {
    const { pathname } = new URL(route.request().url());
    asked.push(pathname);
    const send = (body: string | Buffer): Promise<void> =>
      route.fulfill({ body, headers: { 'access-control-allow-origin': '*' } });
    const name = pathname.split('/').at(-1)!;
    if (pathname === '/api/models/org/slow/revision/main') return; // it never answers
    if (pathname === '/api/models/org/tales/revision/main')
      return send(listing(names.map((file) => [file, statSync(join(model, file)).size])));
    if (pathname === '/api/models/org/large/revision/main')
      return send(
        listing([
          ['config.json', large.length],
          ['model.safetensors', 12e9],
        ]),
      );
    if (pathname === '/api/models/org/gguf/revision/main') return send(listing([['tales.gguf', statSync(gguf).size]]));
    if (pathname.startsWith('/org/gguf/resolve/') && name === 'tales.gguf') return send(readFileSync(gguf));
    if (pathname.startsWith('/org/tales/resolve/') && names.includes(name)) return send(readFileSync(join(model, name)));
    if (pathname.startsWith('/org/large/resolve/') && name === 'config.json') return send(large);
    return route.fulfill({ status: 404, headers: { 'access-control-allow-origin': '*' } });
  });
  return asked;
}

/** In the page: what computes, without why. */
function computing(): string {
  return document.querySelector('.computes')!.firstChild!.textContent!;
}

/** The model that is chosen, and that it computes. */
async function loaded(page: Page, id: string): Promise<void> {
  await page.waitForFunction((wanted) => document.querySelector<HTMLSelectElement>('#model')!.value === wanted, id);
  await page.waitForFunction(() => /threads?, /.test(document.querySelector('.computes')?.textContent ?? ''));
}

async function refused(page: Page): Promise<string> {
  const alert = page.locator('dialog.opening [role=alert]:visible');
  await alert.waitFor();
  return alert.innerText();
}

async function opens(page: Page, half: string, whole: string): Promise<void> {
  await page.getByRole('button', { name: 'Open another model' }).click();
  deepStrictEqual(await violations(page), []);
  const shots = process.env.SCREENSHOTS;
  if (shots) await page.screenshot({ path: join(shots, 'open-model.png') });
  const folder = page.locator('dialog.opening input[webkitdirectory]');
  await folder.setInputFiles(half);
  match(await refused(page), /there are no weights, neither model.safetensors nor/);
  await folder.setInputFiles(whole);
  await loaded(page, 'my-tales');
  await page.locator('#question').fill('Once upon a time');
  await page.locator('#question').press('Enter');
  await page.waitForFunction(() => (document.querySelector('article.assistant .body')?.textContent ?? '').length > 20);
  await page.locator('#question').press('Escape');
  await page.getByRole('button', { name: 'Open another model' }).click();
  await page
    .locator('dialog.opening input:not([webkitdirectory])[type=file]')
    .setInputFiles(names.map((name) => join(whole, name)));
  await loaded(page, 'model');
  console.log('ok: a folder and files that are chosen open as models; a folder without weights is refused in a sentence');
}

async function drops(page: Page, half: string, whole: string, packed: string, gguf: string): Promise<void> {
  const protocol = await page.context().newCDPSession(page);
  const drop = async (path: string): Promise<void> => {
    const data = { items: [], files: [path], dragOperationsMask: 1 };
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
      await protocol.send('Input.dispatchDragEvent', { type, x: 600, y: 300, data });
  };
  await drop(half);
  match(await refused(page), /there are no weights/);
  await page.getByRole('button', { name: 'Close' }).click();
  await drop(packed);
  match(await refused(page), /^tales\.tar\.gz is an archive: unpack it, and choose the folder$/);
  await page.getByRole('button', { name: 'Close' }).click();
  await drop(whole);
  await loaded(page, 'my-tales');
  await page.getByRole('button', { name: 'Open another model' }).click();
  await page.getByLabel('Precision').selectOption('');
  await page.getByRole('button', { name: 'Close' }).click();
  await drop(gguf);
  await loaded(page, 'tales-q4');
  match(await page.evaluate(computing), /q4$/);
  console.log('ok: a folder that is dropped opens as a model, and a GGUF file');
}

async function fetches(page: Page, asked: readonly string[]): Promise<void> {
  strictEqual(asked.length, 0);
  const ask = async (id: string, precision: string): Promise<void> => {
    await page.getByLabel('A model of huggingface.co').fill(id);
    await page.getByLabel('Precision').selectOption(precision);
    await page.getByRole('button', { name: 'Load', exact: true }).click();
  };
  await page.getByRole('button', { name: 'Open another model' }).click();
  await ask('org/none', 'q8');
  match(await refused(page), /org\/none cannot be had from huggingface.co \(404\): there is no such model/);
  await ask('org/large', '');
  await page.waitForFunction(() => document.querySelector('dialog.opening [role=alert]')?.textContent?.includes('too large'));
  match(await refused(page), /the model is too large here: 12\.\d+ GB of f32 weights .* take “8 bits” or “4 bits”, which fit/);
  ok(!asked.some((path) => path.endsWith('large/resolve/0000000000000000000000000000000000000000/model.safetensors')));
  await ask('org/slow', 'q8');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByText('Cancelled; what was downloaded is kept').waitFor();
  strictEqual(await page.locator('#model').inputValue(), 'tales-q4');
  await ask('org/tales', 'q8');
  await loaded(page, 'org/tales');
  match(await page.evaluate(computing), /q8$/);
  await page.getByRole('button', { name: 'Open another model' }).click();
  await ask('org/gguf', '');
  await loaded(page, 'org/gguf');
  match(await page.evaluate(computing), /q4$/);
  console.log('ok: a model of the hub opens by its id; one that is not there, or too large, is refused in a sentence');
}
