// The chat page in Debian's Chromium, on a real model: `npx tsx test/page/check.ts [--screenshots DIR]`. Not part of `npm test`, as it
// needs a browser; says so and ends well where there is none.

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { pageAssets } from '../../src/app/serve-page.js';
import { createServer } from '../../src/server.js';
import { violations } from '../browser/axe.js';
import { listen } from '../server/port.js';

const { values } = parseArgs({ options: { screenshots: { type: 'string' } } });
const executable = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  (path) => path !== undefined && existsSync(path),
);
if (executable === undefined) {
  console.log('SKIPPED: the chat page is not checked, as there is no Chromium (apt-get install chromium, or CHROMIUM=path)');
  process.exit(0);
}

let failures = 0;
function check(what: string, holds: boolean, seen?: unknown): void {
  if (!holds) failures++;
  console.log(`${holds ? 'ok  ' : 'FAIL'} ${what}${holds || seen === undefined ? '' : `: ${JSON.stringify(seen)}`}`);
}

const handler = await createServer({ assets: await pageAssets(), timeout: 60_000 });
/** Whether answers come slowly: those of a model this small are over before they can be stopped. */
let brakes = false;
const port = await listen(Object.assign(Object.create(handler) as typeof handler, { fetch: braked }));
const browser = await chromium.launch({ executablePath: executable, args: ['--no-sandbox'] });
try {
  await desktop(browser);
  await phone(browser);
} finally {
  await browser.close();
  await port.close();
}
console.log(failures === 0 ? 'the chat page is right' : `${failures} checks failed`);
process.exitCode = failures === 0 ? 0 : 1;

async function braked(request: Request): Promise<Response> {
  const response = await handler.fetch(request);
  const pause = async (chunk: Uint8Array, controller: TransformStreamDefaultController<Uint8Array>): Promise<void> => {
    if (brakes) await new Promise((resolve) => setTimeout(resolve, 100));
    controller.enqueue(chunk);
  };
  return new Response(response.body?.pipeThrough(new TransformStream({ transform: pause })), response);
}

async function open(page: Page): Promise<{ complaints: string[]; foreign: string[] }> {
  const complaints: string[] = [];
  const foreign: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on(
    'request',
    (request) => !request.url().startsWith(port.url) && !/^(blob|data):/.test(request.url()) && foreign.push(request.url()),
  );
  page.on('dialog', (dialog) => void dialog.accept());
  await page.goto(port.url);
  await page.waitForFunction(() => document.querySelectorAll('#model option').length === 2);
  return { complaints, foreign };
}

function said(page: Page): Promise<string> {
  return page.locator('article.assistant .body').last().innerText();
}

function finished(page: Page): Promise<void> {
  return page.locator('#send').waitFor({ state: 'visible', timeout: 60_000 });
}

async function accessible(page: Page, where: string): Promise<void> {
  const found = await violations(page);
  check(`axe-core finds nothing in ${where}`, found.length === 0, found);
}

async function desktop(browser: Browser): Promise<void> {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true })).newPage();
  const { complaints, foreign } = await open(page);
  check('the question has the focus', await page.evaluate(() => document.activeElement?.id === 'question'));

  await page.keyboard.type('Write a story about a fox and a well.');
  await page.keyboard.press('Enter');
  await page.locator('#stop').waitFor({ state: 'visible' });
  await finished(page);
  const first = await said(page);
  check('a story comes', first.length > 100, first);
  const note = await page.locator('article.assistant .tools span').last().innerText();
  check('its speed is told', /^\d+ tokens · \d+(\.\d)? tokens\/s · first after \d+ ms/.test(note), note);
  await shot(page, 'chat-light');

  await page.getByRole('button', { name: 'Regenerate' }).click();
  await finished(page);
  check('it can be written again', (await page.locator('article').count()) === 2 && (await said(page)) !== first);

  await page.getByRole('button', { name: 'Edit' }).click();
  await page.getByRole('textbox', { name: 'Edit your message' }).fill('Write a long story about a red kite.');
  brakes = true;
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => (document.querySelector('article.assistant .body')?.textContent ?? '').length > 5);
  await page.locator('#stop').click();
  await finished(page);
  brakes = false;
  check(
    'a question can be changed',
    (await page.locator('article.user .body').innerText()) === 'Write a long story about a red kite.',
  );
  check('an answer can be stopped', (await page.locator('article.assistant .tools span').last().innerText()) === 'stopped');
  for (const end = Date.now() + 30_000; handler.active > 0 && Date.now() < end; ) await page.waitForTimeout(20);
  check('the server has nothing to do then', handler.active === 0, handler.active);

  await page.getByRole('button', { name: 'Regenerate' }).click();
  await finished(page);
  await tokens(page);

  await page.keyboard.press('Control+Shift+O');
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Longest answer, tokens').fill('12');
  await accessible(page, 'settings');
  await shot(page, 'settings');
  await page.getByRole('button', { name: 'Done' }).click();
  await page.locator('#question').fill('Write a story about an owl.');
  await page.keyboard.press('Enter');
  await finished(page);
  const short = await page.locator('article.assistant .tools span').last().innerText();
  check('settings count', short.startsWith('12 tokens') && short.endsWith('cut at its longest'), short);

  await page.reload();
  await page.locator('article').nth(1).waitFor();
  check('conversations are kept', (await page.locator('#conversations li').count()) === 2);
  check('and their turns', (await page.locator('article').count()) === 2);
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export' }).click()]);
  check('a conversation can be saved', file.suggestedFilename() === 'Write a story about an owl.md', file.suggestedFilename());
  await page.getByRole('button', { name: 'Delete "Write a story about an owl."' }).click();
  check('and deleted', (await page.locator('#conversations li').count()) === 1);

  const { outputFiles } = await build({
    entryPoints: ['src/page/markdown.ts'],
    bundle: true,
    globalName: 'markdown',
    write: false,
  });
  await page.evaluate(`${outputFiles[0].text}; globalThis.markdown = markdown;`);
  const shown = await page.evaluate(() => {
    const { rendered } = (globalThis as unknown as { markdown: { rendered: (text: string) => Node[] } }).markdown;
    const made = document.createElement('div');
    made.append(
      ...rendered(
        '# Head\n\n**bold** <img src=x onerror=alert(1)> <script>alert(1)</script>\n\n[a](javascript:alert(1)) [b](https://example.com) ![c](https://example.com/c.png)\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```js\nlet x = "<b>";\n```',
      ),
    );
    const links = [...made.querySelectorAll('a')].map((link) => link.getAttribute('href'));
    const good = ['h3', 'strong', 'li', 'td', 'pre code'].map((name) => made.querySelectorAll(name).length);
    return { links, bad: made.querySelectorAll('script, img, iframe').length, good, text: made.textContent };
  });
  check('Markdown is shown', JSON.stringify(shown.good) === '[1,1,2,2,1]', shown.good);
  check('HTML of a model is only text', shown.bad === 0 && shown.text!.includes('<script>alert(1)</script>'), shown);
  check(
    'links lead to the web only',
    JSON.stringify(shown.links) === '["https://example.com","https://example.com/c.png"]',
    shown.links,
  );
  await accessible(page, 'a conversation');
  check('the console is quiet', complaints.length === 0, complaints);
  check('nobody else is asked', foreign.length === 0, foreign);
  await page.context().close();
}

/** The answer token by token: what it is made of, by mouse and by keyboard. */
async function tokens(page: Page): Promise<void> {
  const text = await said(page);
  const toggle = page.getByRole('button', { name: 'Tokens' });
  await toggle.focus();
  await page.keyboard.press('Enter');
  const spans = page.locator('article.assistant [role=option]');
  const joined = (await spans.allInnerTexts()).join('').replaceAll('⏎', '');
  const plain = (of: string): string => of.replace(/\s+/g, ' ').trim();
  check('tokens are the answer', plain(joined) === plain(text), [joined, text]);
  await spans.nth(3).hover();
  const card = page.locator('.token-card');
  check('what might have come is beside a token', (await card.locator('div').count()) >= 5);
  const label = (await spans.nth(3).getAttribute('aria-label')) ?? '';
  check('and in its label', /^.+, [\d.]+%; instead of (.+ (under )?[\d.]+%(, )?){4,5}$/.test(label), label);
  const shares = await card.locator('div > span:last-child').allInnerTexts();
  const sum = shares.reduce((all, share) => all + Number.parseFloat(share.replace('under ', '')), 0);
  check('probabilities fall, and are at most 1 together', sum > 5 && sum < 101, shares);
  await spans.nth(0).focus();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  const walked = await page.evaluate(() => (document.activeElement as HTMLElement).dataset.at);
  check('arrow keys walk through them', walked === '2' && (await card.isVisible()), walked);
  await accessible(page, 'tokens');
  await shot(page, 'tokens');
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible(page, 'tokens in the dark');
  await shot(page, 'tokens-dark');
  await page.emulateMedia({ colorScheme: 'light' });
  await toggle.click();
  check('the text comes back', (await said(page)) === text);
}

async function phone(browser: Browser): Promise<void> {
  const context = await browser.newContext({
    viewport: { width: 360, height: 720 },
    colorScheme: 'dark',
    hasTouch: true,
    isMobile: true,
  });
  const page = await context.newPage();
  const { complaints } = await open(page);
  await page.locator('#question').fill('Write a story about a little bear who lost a shoe.');
  await page.locator('#send').tap();
  await finished(page);
  check('a phone gets a story', (await said(page)).length > 50);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  check('nothing is wider than the phone', !wide);
  await shot(page, 'chat-phone');
  await page.locator('#menu').tap();
  await accessible(page, 'the dark');
  check('the conversations slide in', await page.getByRole('button', { name: 'New', exact: true }).isVisible());
  await page.waitForTimeout(300);
  await shot(page, 'drawer-phone');
  await page.mouse.click(350, 300);
  check('and out again', (await page.locator('#menu').getAttribute('aria-expanded')) === 'false');
  check('the console is quiet', complaints.length === 0, complaints);
  await context.close();
}

async function shot(page: Page, name: string): Promise<void> {
  if (values.screenshots === undefined) return;
  mkdirSync(values.screenshots, { recursive: true });
  await page.screenshot({ path: join(values.screenshots, `${name}.png`) });
}
