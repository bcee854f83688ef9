// `openelm/browser` on pages that forbid much, in Chromium: part of `npm run browser`. Content-Security-Policies with and without workers of
// texts and WebAssembly, Trusted Types, a sandboxed frame; and what a page may get wrong or break off. Each computes, or fails in a sentence
// at once. Skipped, and says so, where there is no Chromium.

import { deepStrictEqual, match, strictEqual } from 'node:assert/strict';
import type { BrowserContext, Frame, Page } from 'playwright-core';
import type * as Door from '../../src/browser.js';
import { packagePath } from '../../src/io/node/paths.js';
import { executablePath, launch } from './launch.js';
import { staticServer } from './static-server.js';

declare const openelm: typeof Door;

const files = ['config.json', 'model.safetensors', 'tokenizer.model'];
const model = '/models/tales-6m/';

if (executablePath === undefined) {
  console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
} else {
  const { context, close } = await launch();
  try {
    await policies(context);
    await sandboxed(context);
    await refusals(context);
  } finally {
    await close();
  }
}

/** What computes, or the sentence. */
async function computes(page: Page | Frame): Promise<string> {
  await page.waitForFunction(() => 'openelm' in globalThis);
  return page.evaluate(
    async ([address, names]) => {
      try {
        const loaded = await openelm.load(address as string, { files: names as string[], threads: 2 });
        const { ids } = await loaded.complete('Once', { maxTokens: 3 });
        await loaded.dispose();
        return `${ids.length} tokens on ${loaded.backend.description}`;
      } catch (error) {
        return String(error);
      }
    },
    [model, files] as const,
  );
}

async function policies(context: BrowserContext): Promise<void> {
  const under = async (policy: string): Promise<string> => {
    const server = await staticServer(packagePath('.'), { isolated: true, headers: { 'content-security-policy': policy } });
    const page = await context.newPage();
    await page.goto(`${server.url}/page`);
    const found = await computes(page);
    await page.close();
    server.close();
    return found;
  };
  const own = "default-src 'self'; img-src data:";
  const wasm = `${own}; script-src 'self' 'wasm-unsafe-eval'`;
  match(await under(own), /^InputError: the page's Content-Security-Policy forbids WebAssembly: allow 'wasm-unsafe-eval' in the/);
  match(await under(wasm), /^3 tokens on wasm, .*, 1 thread, the page forbids blob: workers$/);
  match(await under(`${wasm}; worker-src 'self' blob:`), /^3 tokens on wasm, .*, 2 threads$/);
  match(await under("require-trusted-types-for 'script'; trusted-types openelm"), /^3 tokens on wasm, .*, 2 threads$/);
  match(
    await under("require-trusted-types-for 'script'; trusted-types 'none'"),
    /^InputError: .* allow the Trusted Types policy/,
  );
  console.log('ok: computes under strict policies, on one thread without blob: workers, or says what to allow');
}

/** A frame of an origin of its own: no storage, and no module workers in Chromium. */
async function sandboxed(context: BrowserContext): Promise<void> {
  const server = await staticServer(packagePath('.'), { isolated: false, shared: true });
  const page = await context.newPage();
  await page.goto(`${server.url}/page`);
  await page.setContent(`<iframe sandbox="allow-scripts" src="${server.url}/page"></iframe>`);
  const frame = page.frames()[1] ?? (await page.waitForEvent('frameattached'));
  match(await computes(frame), /^3 tokens on wasm/);
  strictEqual(await frame.evaluate(() => globalThis.origin), 'null');
  await page.close();
  server.close();
  console.log('ok: computes in a sandboxed frame');
}

async function refusals(context: BrowserContext): Promise<void> {
  const server = await staticServer(packagePath('.'), { isolated: true });
  const page = await context.newPage();
  await page.goto(`${server.url}/page`);
  await computes(page); // it is kept now
  const found = await page.evaluate(
    async ([address, names]) => {
      const failing = (promise: Promise<unknown>): Promise<unknown> => promise.then(String, (error: unknown) => `${error}`);
      const controller = new AbortController();
      let later = 0;
      const onProgress = ({ phase }: Door.LoadProgress): void => {
        if (controller.signal.aborted) later++;
        else if (phase === 'load') controller.abort('enough');
      };
      const options = { files: names as string[], signal: controller.signal, onProgress };
      const aborted = await failing(openelm.load(address as string, options));
      const url = new URL(address as string, location.href);
      const loaded = await openelm.load(url, { files: names as string[] });
      const again = (await loaded.complete('Once', { maxTokens: 2 })).ids.length;
      await loaded.dispose();
      return {
        aborted: [aborted, later],
        again,
        none: await failing(openelm.load(5 as never)),
        chosen: await failing(openelm.load(document.querySelector('input')!.files!)),
        callback: await failing(openelm.load('./', { onNotice: 'console.log' as never })),
      };
    },
    [model, files] as const,
  );
  deepStrictEqual(found.aborted, ['enough', 0]);
  strictEqual(found.again, 2);
  match(found.none as string, /^InputError: the model is none of: an address, a hub id, files, a folder$/);
  match(found.chosen as string, /^InputError: no files were given: choose config.json/);
  match(found.callback as string, /^InputError: onNotice is no function$/);
  await page.close();
  server.close();
  console.log('ok: an aborted loading ends at once and tells no more; what is no model, no option, no callback is said');
}
