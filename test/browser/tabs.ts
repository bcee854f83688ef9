// The page of `openelm web` tab by tab, in Chromium: part of `npm run browser`; SCREENSHOTS=DIR keeps what it looks like. Answers that go on
// from where they were stopped and are kept, what is inside of a model, its speed; nothing holds the page up, axe-core finds
// nothing, light or dark, on a phone or a wall. Skipped, and says so, where there is no Chromium.

import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { longestTask } from './launch.js';
import { onOwnPage } from './own-page.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const screens = { small: [360, 640], phone: [390, 844], desk: [1440, 900], wall: [3840, 2160] } as const;

await onOwnPage({}, async ({ context, url }) => {
  const page = await context.newPage();
  await page.addInitScript(() => {
    const shifts: number[] = [];
    Object.assign(globalThis, { shifts });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as (PerformanceEntry & { value: number; hadRecentInput: boolean })[])
        if (!entry.hadRecentInput) shifts.push(entry.value);
    }).observe({ type: 'layout-shift', buffered: true });
  });
  await page.goto(url);
  await chat(page);
  await look(page);
  await bench(page, context);
  await page.getByRole('link', { name: 'Train' }).click();
  await page.locator('#train h1').waitFor();
  await looks(page, 'train');
});

async function free(page: Page, what: string, work: () => Promise<unknown>): Promise<void> {
  const longest = await longestTask(page, work);
  ok(longest <= 50, `the page was held up for ${longest} ms while ${what}`);
  console.log(`ok: the longest task of the page took ${longest.toFixed(0)} ms while ${what}`);
}

/** What axe-core finds, in both themes, and what the tab looks like. */
async function looks(page: Page, name: string): Promise<void> {
  const shots = process.env.SCREENSHOTS;
  await page.evaluate(axe);
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    for (const [screen, [width, height]] of Object.entries(screens)) {
      await page.setViewportSize({ width, height });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      ok(wide <= width, `${name} is ${wide} wide on a ${screen}`);
      if (screen === 'phone' || screen === 'desk')
        deepStrictEqual(await violations(page), [], `${name}, ${colorScheme}, ${screen}`);
      if (!shots) continue;
      mkdirSync(shots, { recursive: true });
      await page.waitForTimeout(50); // what follows the size is drawn
      await page.screenshot({ path: join(shots, `${name}-${screen}-${colorScheme}.png`) });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.evaluate(() => document.documentElement.style.setProperty('font-size', '200%'));
  ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390, `${name} is wider than a phone with large type`);
  if (name === 'chat') {
    const { x, y, width, height } = (await page.locator('#send').boundingBox())!;
    ok(x + width <= 390 && y + height <= 844, 'Send is out of reach with large type');
  }
  if (name === 'look') {
    await page.waitForFunction(() => {
      const [texts, bars] = ['text', 'rect'].map((part) =>
        [...document.querySelectorAll(`#look .picture ${part}`)].map((found) => found.getBoundingClientRect()),
      );
      return bars.some(({ width }) => width > 100) && texts.every(({ left, right }) => left >= 0 && right <= innerWidth);
    });
  }
  await page.evaluate(() => document.documentElement.style.removeProperty('font-size'));
  await page.setViewportSize({ width: 1440, height: 900 });
  console.log(`ok: axe-core finds nothing in ${name}, light and dark`);
}

function violations(page: Page): Promise<string[]> {
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
    };
    const found = (await axe.run()).violations;
    return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 100)).join(' ')}`);
  });
}

function finished(page: Page): Promise<void> {
  return page.locator('#send').waitFor({ state: 'visible', timeout: 60_000 });
}

/** An answer is cut, goes on to what it would have been, and is there after a reload with its tokens. */
async function chat(page: Page): Promise<void> {
  const settings = async (longest: string): Promise<void> => {
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByLabel('Temperature').fill('0');
    await page.getByLabel('Longest answer, tokens').fill(longest);
    await page.getByRole('button', { name: 'Done' }).click();
  };
  const body = page.locator('article.assistant .body').last();
  await settings('40');
  await page.fill('#question', 'Write a short story about a dog and a ball.');
  await page.press('#question', 'Enter');
  await finished(page);
  const whole = await body.innerText();
  await settings('15');
  await page.getByRole('button', { name: 'Regenerate' }).click();
  await finished(page);
  await settings('25');
  const cut = await body.innerText();
  ok(whole.startsWith(cut) && cut.length < whole.length, cut);
  await page.getByRole('button', { name: 'Continue' }).click();
  await finished(page);
  strictEqual(await body.innerText(), whole);
  await page.reload();
  await body.waitFor();
  await page.waitForFunction(() => document.querySelector('.computes')?.textContent?.includes('threads'));
  const shifts = await page.evaluate(() => (globalThis as unknown as { shifts: number[] }).shifts);
  ok(shifts.reduce((sum, shift) => sum + shift, 0) < 0.002, `things move about while the page opens: ${shifts.join(', ')}`);
  strictEqual(await body.innerText(), whole);
  await free(page, 'a model is loaded and answers', async () => {
    await page.reload();
    await page.getByRole('button', { name: 'Regenerate' }).click();
    await finished(page);
  });
  await page.getByRole('button', { name: 'Tokens' }).click();
  strictEqual(await page.locator('article.assistant [role=option]').count(), 25);
  console.log('ok: an answer that was cut goes on to what it would have been, and is kept with its tokens');
  await looks(page, 'chat');
}

async function look(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'Look inside' }).click();
  await page.getByRole('radio', { name: '3B' }).check();
  strictEqual(await page.locator('.facts dd').first().innerText(), '3.04B');
  strictEqual(await page.locator('.shape tbody tr').count(), 36);
  await page.getByRole('radio', { name: '270M' }).check();
  strictEqual((await page.locator('.shape tbody tr').last().locator('td').allTextContents()).slice(0, 3).join(' '), '20 5 5,120');
  await page.getByRole('radio', { name: 'tales-6m-instruct' }).check();
  await page.getByRole('radio', { name: '270M' }).check();

  await page.getByLabel('Text', { exact: true }).fill('Once upon a time there was a little bear. The bear had a ball.');
  await page.getByRole('button', { name: 'Look', exact: true }).click();
  await page.locator('.result').waitFor({ state: 'visible' });
  const tokens = await page.locator('.looked [role=option]').allInnerTexts();
  ok(tokens.join('').includes('a little bear. The bear'), tokens.join('|'));
  const heads = await page.locator('.heads label').count();
  await page.getByRole('slider', { name: 'Layer' }).fill('3');
  await page.locator('.matrix[aria-label*="layer 3"]').waitFor();
  await page.getByRole('radio', { name: '0', exact: true }).check();
  await page.locator('.looked [role=option]').last().focus();
  await page.keyboard.press('ArrowLeft');
  const said = await page.locator('.two .readout').innerText();
  ok(/^“.+” looks at (“.+” [\d.]+%(, )?)+$/.test(said), said);
  ok(heads > 2, `${heads} heads`);
  await free(page, 'a model is looked into', async () => {
    await page.getByRole('button', { name: 'Look', exact: true }).click();
    await page.getByText(/^\d+ tokens\.$/).waitFor();
  });
  console.log(`ok: inside of a text, ${said}`);
  await page.locator('#look').evaluate((tab) => tab.scrollTo(0, 0));
  await looks(page, 'look');
  await page.locator('.result').scrollIntoViewIfNeeded();
  await page.locator('.norms').scrollIntoViewIfNeeded();
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, 'look-inside.png') });
}

async function bench(page: Page, context: BrowserContext): Promise<void> {
  await page.getByRole('link', { name: 'Bench' }).click();
  await page.getByLabel('Rounds').selectOption('5');
  await page.getByRole('button', { name: 'Measure' }).click();
  await page.getByText(/^Measuring /).waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByText('Cancelled.').waitFor();
  await page.getByLabel('Rounds').selectOption('1');
  await page.getByRole('button', { name: 'Measure' }).click();
  await page.getByText(/^Measured\./).waitFor({ timeout: 120_000 });
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByRole('button', { name: 'Copy as Markdown' }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  const [where, , names, , row, ...rest] = (await page.evaluate(() => navigator.clipboard.readText())).split('\n');
  ok(/^openelm in Chrome \d+ on Linux, \d+ cores; /.test(where), where);
  const cells = (line: string): string[] => line.slice(2, -2).split(' | ');
  strictEqual(cells(names).length, cells(row).length);
  const speeds = cells(row).slice(2, 8).map(Number.parseFloat); // tales-6m has room for all of them
  ok(
    speeds.every((speed) => speed > 0),
    row,
  );
  deepStrictEqual(rest, ['']);
  console.log(`ok: measured and copied: ${row}`);
  await looks(page, 'bench');
}
