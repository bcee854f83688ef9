// Conversations in the page of `openelm web`, in Chromium, through what happens to a page that is kept open: part of `npm run browser`. A
// reload in the middle of an answer, a second tab, what is kept taken away, a worker that fails, very long conversations and questions,
// texts that run from the right, paper. Skipped, and says so, where there is no Chromium.

import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import type { BrowserContext, Page } from 'playwright-core';
import type { Conversation } from '../../src/page/store.js';
import { violations } from './axe.js';
import { onOwnPage } from './own-page.js';

declare const workers: Worker[];

const story = 'Write a short story about a dog and a ball.';

await onOwnPage({}, async ({ context, wrong, url }) => {
  context.on('page', (page) => page.on('dialog', (dialog) => void dialog.accept()));
  await context.addInitScript(() => {
    const made: Worker[] = [];
    const Original = Worker;
    Object.assign(globalThis, {
      workers: made,
      Worker: class extends Original {
        constructor(address: string | URL, options?: WorkerOptions) {
          super(address, options);
          made.push(this);
        }
      },
    });
  });
  const page = await context.newPage();
  await page.goto(url);
  await page.evaluate(() => localStorage.setItem('openelm.settings', JSON.stringify({ temperature: 0, max_tokens: 120 })));
  await page.reload();
  await goesOn(page);
  await shares(page, context);
  await losesAll(page, url);
  await worksAgain(page);
  deepStrictEqual(wrong, []);
  await longOnes(page);
  await fromTheRight(page);
  await prints(page);
});

async function ask(page: Page, question: string): Promise<void> {
  await page.fill('#question', question);
  await page.press('#question', 'Enter');
}

function finished(page: Page): Promise<void> {
  return page.locator('#send').waitFor({ state: 'visible' });
}

function lastAnswer(page: Page): Promise<string> {
  return page.locator('article.assistant .body').last().innerText();
}

/** What was there of an answer when the page went is there again, and goes on to what it would have been. */
async function goesOn(page: Page): Promise<void> {
  await ask(page, story);
  await finished(page);
  const whole = await lastAnswer(page);
  const note = page.locator('article.assistant .tools > span');
  for (;;) {
    // In the page, since an answer does not wait.
    const gone = page.waitForEvent('load');
    await page.evaluate(() => {
      const messages = document.querySelector('#messages')!;
      new MutationObserver(() => {
        if ((messages.querySelector('article.assistant .body')?.textContent ?? '').length > 20) location.reload();
      }).observe(messages, { subtree: true, childList: true });
      [...document.querySelectorAll('button')].find(({ textContent }) => textContent === 'Regenerate')!.click();
    });
    await gone;
    await note.waitFor({ state: 'attached' });
    if ((await note.innerText()) === 'broken off') break; // else it had come to its end before it was drawn
    strictEqual(await lastAnswer(page), whole);
  }
  const begun = await lastAnswer(page);
  ok(begun.length > 20 && begun.length < whole.length && whole.startsWith(begun), begun);
  await page.getByRole('button', { name: 'Continue' }).click();
  await finished(page);
  ok((await lastAnswer(page)).startsWith(whole), await lastAnswer(page));
  console.log(`ok: after a reload an answer goes on behind its ${begun.length} characters`);
}

/** A second tab shows what the first is told, and has a conversation of its own where both go on. */
async function shares(page: Page, context: BrowserContext): Promise<void> {
  const titles = (tab: Page): Promise<string[]> => tab.locator('#conversations .open').allInnerTexts();
  const other = await context.newPage();
  await other.goto(page.url());
  await other.locator('article').nth(1).waitFor();
  await ask(page, 'Another one.');
  await finished(page);
  const answer = await lastAnswer(page);
  await other.locator('article').nth(3).waitFor();
  strictEqual(await lastAnswer(other), answer);
  await other.getByRole('button', { name: 'Edit' }).last().click();
  await ask(page, 'A third one.');
  await finished(page);
  await other.getByLabel('Edit your message').fill('One of my own.');
  await other.getByLabel('Edit your message').press('Enter');
  await finished(other);
  await page.locator('#conversations li').nth(1).waitFor();
  deepStrictEqual([(await titles(page)).length, (await titles(other)).length], [2, 2]);
  strictEqual(await page.locator('article').count(), 6);
  strictEqual(await other.locator('article').count(), 4);
  await other.locator('#conversations .remove').nth(1).click();
  await page.locator('#conversations li').nth(1).waitFor({ state: 'detached' });
  await page.getByText('A small language model').waitFor();
  await other.close();
  console.log('ok: a second tab shows what the first is told, and where both go on there are two conversations');
}

/** What the site keeps is taken away while its page is open: the next question is kept again. */
async function losesAll(page: Page, url: string): Promise<void> {
  const protocol = await page.context().newCDPSession(page);
  await protocol.send('Storage.clearDataForOrigin', { origin: new URL(url).origin, storageTypes: 'indexeddb,file_systems' });
  await ask(page, story);
  await finished(page);
  const answer = await lastAnswer(page);
  strictEqual(await page.locator('.notices').textContent(), '');
  await page.reload();
  await page.locator('article').nth(1).waitFor();
  strictEqual(await lastAnswer(page), answer);
  console.log('ok: where what was kept is taken away, what is asked then is kept');
}

/** A worker that fails is replaced by the next question. */
async function worksAgain(page: Page): Promise<void> {
  const answer = await lastAnswer(page);
  await page.waitForFunction(() => /threads?, /.test(document.querySelector('.computes')?.textContent ?? ''));
  await page.evaluate(() => {
    const worker = workers.at(-1)!;
    worker.terminate();
    worker.dispatchEvent(new ErrorEvent('error', { message: 'out of memory' }));
  });
  await page.getByRole('button', { name: 'Regenerate' }).click();
  await finished(page);
  strictEqual(await lastAnswer(page), answer);
  console.log('ok: a worker that failed is replaced when something is asked');
}

/** Puts a conversation into what is kept, and opens it. */
async function open(page: Page, conversation: Conversation): Promise<void> {
  await page.evaluate(async (kept) => {
    const request = indexedDB.open('openelm', 1);
    await new Promise((resolve) => {
      request.onsuccess = resolve;
    });
    const transaction = request.result.transaction('conversations', 'readwrite');
    transaction.objectStore('conversations').put(kept);
    await new Promise((resolve) => {
      transaction.oncomplete = resolve;
    });
    request.result.close();
  }, conversation);
  await page.reload();
  await page.locator('#conversations .open').first().waitFor();
}

async function longOnes(page: Page): Promise<void> {
  const text = `Once upon a time there was a **little** bear. ${'He had a `ball`. '.repeat(40)}\n\n- one\n- two`;
  const turns = Array.from({ length: 300 }, (_, i) =>
    i % 2 === 0 ? ({ role: 'user', content: `Question ${i}` } as const) : ({ role: 'assistant', content: text } as const),
  );
  await open(page, { id: 'long', title: 'Long', changed: Date.now() + 1e6, turns });
  await page.locator('article').nth(299).locator('.body').waitFor();
  await page.getByRole('button', { name: 'New', exact: true }).click();
  const atOnce = await page.evaluate(() => {
    [...document.querySelectorAll<HTMLElement>('#conversations .open')]
      .find(({ textContent }) => textContent === 'Long')!
      .click();
    return document.querySelectorAll('article .body').length;
  });
  ok(atOnce > 0 && atOnce < 300, `${atOnce} of 300 turns were drawn in one task`);
  await page.locator('article').first().locator('.body').waitFor({ state: 'attached' });
  strictEqual(await page.locator('article .body').count(), 300);
  const below = await page.evaluate(() => {
    const { scrollHeight, scrollTop, clientHeight } = document.querySelector('#messages')!;
    return scrollHeight - scrollTop - clientHeight;
  });
  ok(below < 2, `the newest is ${below} pixels below`);

  const long = 'word and more '.repeat(3000).trim();
  await page.getByRole('button', { name: 'New', exact: true }).click();
  await ask(page, long);
  await finished(page);
  const body = page.locator('article.user .body');
  ok((await body.innerText()).length < 10_000);
  await body.getByRole('button', { name: 'Show all 41,999 characters' }).click();
  strictEqual(await body.innerText(), long);
  match(await page.locator('article.assistant .tools [role=alert]').innerText(), /the prompt has \d+ tokens/);
  await ask(page, 'Write a story about a fox.'); // what had no answer is not asked along
  await finished(page);
  match(await page.locator('article.assistant .body').last().innerText(), /\w/);
  console.log(`ok: of 300 turns the last ${atOnce} are drawn first; of a very long question its beginning`);
}

async function fromTheRight(page: Page): Promise<void> {
  const content = `كان يا ما كان.\n\n- واحد\n- اثنان\n\n> قال الكلب\n\n\`\`\`\n${'x'.repeat(300)}\n\`\`\`\n\nIn English again.`;
  const turns = [{ role: 'user', content: 'اكتب قصة' } as const, { role: 'assistant', content } as const];
  await open(page, { id: 'right', title: 'اكتب قصة', changed: Date.now() + 2e6, turns });
  const directions = await page
    .locator('article.assistant .body > *')
    .evaluateAll((all) => all.map((made) => `${made.localName} ${getComputedStyle(made).direction}`));
  deepStrictEqual(directions, ['p rtl', 'ul rtl', 'blockquote rtl', 'pre ltr', 'p ltr']);
  deepStrictEqual(await violations(page), []);
  await page.fill('#question', 'قصة أخرى');
  strictEqual(await page.locator('#question').evaluate((made) => getComputedStyle(made).direction), 'rtl');
  await page.fill('#question', '');
  console.log('ok: texts run from the right where their letters do, code does not');
}

/** On paper there is all of a conversation, and nothing that is pressed. */
async function prints(page: Page): Promise<void> {
  await page.locator('#conversations .open', { hasText: 'Long' }).click();
  await page.locator('article').first().locator('.body').waitFor({ state: 'attached' });
  await page.emulateMedia({ media: 'print' });
  const [messages, scrolled] = await page.evaluate(() => [
    document.querySelector('#messages')!.getBoundingClientRect().height,
    document.querySelector('#messages')!.scrollHeight,
  ]);
  ok(messages > 20_000 && Math.abs(messages - scrolled) < 2, `${messages} of ${scrolled} pixels are printed`);
  for (const what of ['#top', '#drawer', '#composer', '.tools button'])
    strictEqual(await page.locator(what).first().isVisible(), false, what);
  await page.emulateMedia({ media: null });
  console.log('ok: all of a conversation is printed, and nothing that is pressed');
}
