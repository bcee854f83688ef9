// `openelm/browser` in a real browser: `npm run browser`, after `npm run compile`. The embedded model writes the golden story with
// threads and without, stops, is not downloaded again, goes on after a reload, is shared by tabs; a model is trained as Node's
// native backend does it. Skipped, and says so, where there is no Chromium. Prints what it measured on the way.

import { ok, strictEqual } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { serveWeb } from '../../src/app/web-server.js';
import { nativeBackend } from '../../src/backends/native.js';
import { nodeWasmBackend } from '../../src/backends/wasm-node.js';
import { trainOn } from '../../src/browser/train.js';
import type * as Door from '../../src/browser.js';
import { packagePath } from '../../src/io/node/paths.js';
import { computesOnGpu } from './gpu.js';
import { bytesOfScript, keepsTraining } from './keeps-training.js';
import { executablePath, launch } from './launch.js';
import { heldUp } from './main-thread.js';
import { type StaticServer, staticServer } from './static-server.js';

declare const openelm: typeof Door;

const names = ['config.json', 'model.safetensors', 'tokenizer.model'];
const model = '/models/tales-6m/';
const weights = `${model}model.safetensors`;
const [golden] = JSON.parse(readFileSync(packagePath('test/golden/tales-6m/golden_greedy.json'), 'utf8'));

if (executablePath === undefined) {
  console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
} else {
  const { context, wrong, close } = await launch();
  await context.addInitScript(bytesOfScript);
  const isolated = await staticServer(packagePath('.'), { isolated: true });
  const plain = await staticServer(packagePath('.'), { isolated: false });
  try {
    await reloads(context, isolated);
    await writes(context, isolated, true);
    await writes(context, plain, false);
    await stops(context, isolated);
    await shares(context, isolated);
    await chooses(context, isolated);
    await trains(context, isolated);
    await keepsTraining(context, isolated, open);
    await computesOnGpu(isolated, model, names, golden);
    await chats(context);
    strictEqual(wrong.join('\n'), '');
    console.log('ok: no errors on the console, no request to another origin');
  } finally {
    await close();
    isolated.close();
    plain.close();
  }
}

async function open(context: BrowserContext, server: StaticServer): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${server.url}/page`);
  await page.waitForFunction(() => 'openelm' in globalThis);
  return page;
}

/** Ranges of the weights that were asked for. */
function weightsAsked(server: StaticServer): (string | undefined)[] {
  return server.asked.filter(({ path }) => path === weights).map(({ range }) => range);
}

/** A reload in the middle of the download: the rest alone comes then, and nothing of the model later. */
async function reloads(context: BrowserContext, server: StaticServer): Promise<void> {
  server.brake = 8e6;
  const page = await open(context, server);
  const begun = page.evaluate(
    ([address, files]) =>
      new Promise<number>((resolve) => {
        const onProgress = ({ phase, bytes }: Door.LoadProgress): void => {
          if (phase === 'download' && bytes > 3e6) resolve(bytes);
        };
        void openelm.load(address as string, { files: files as string[], onProgress });
      }),
    [model, names] as const,
  );
  const bytes = await begun;
  await page.evaluate(kept, 2e6); // what has come may still have to be written
  await page.reload();
  await page.waitForFunction(() => 'openelm' in globalThis);
  server.brake = undefined;
  await loadOnce(page);
  const asked = weightsAsked(server);
  strictEqual(asked.length, 2, asked.join(' '));
  const from = Number(/^bytes=([0-9]+)-$/.exec(asked[1] ?? '')?.[1]);
  ok(from >= 2e6, `the second request began at ${asked[1]}`);
  const before = server.asked.length;
  await loadOnce(page);
  const later = server.asked.slice(before).map(({ path }) => path);
  strictEqual(later.filter((path) => path.startsWith(model)).length, 0);
  console.log(`ok: reloaded after ${bytes} bytes, went on at ${from}, and asked for nothing later`);
  await page.close();
}

/** In the page: waits until so many bytes of the weights are kept. */
async function kept(least: number): Promise<void> {
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('openelm-models');
  for (let size = 0; size < least; ) {
    for await (const folder of root.values()) {
      const file = await (folder as FileSystemDirectoryHandle).getFileHandle('model.safetensors');
      size = (await file.getFile()).size;
    }
  }
}

function loadOnce(page: Page): Promise<void> {
  return page.evaluate(
    async ([address, files]) => (await openelm.load(address as string, { files: files as string[] })).dispose(),
    [model, names] as const,
  );
}

async function writes(context: BrowserContext, server: StaticServer, isolated: boolean): Promise<void> {
  const page = await open(context, server);
  const work = () =>
    page.evaluate(
      async ([address, files, prompt, count]) => {
        const began = performance.now();
        const loaded = await openelm.load(address as string, { files: files as string[], threads: 2 });
        const ready = performance.now();
        const result = await loaded.complete(prompt as string, { temperature: 0, maxTokens: count as number });
        const { backend } = loaded;
        await loaded.dispose();
        return { isolated: crossOriginIsolated, ids: result.ids, timings: result.timings, backend, load: ready - began };
      },
      [model, names, golden.prompt, golden.ids.length] as const,
    );
  const [longest, found] = await heldUp(page, work);
  strictEqual(found.isolated, isolated);
  strictEqual(JSON.stringify(found.ids), JSON.stringify(golden.ids));
  ok(found.backend.description.includes(isolated ? '2 threads' : '1 thread, no shared memory'), found.backend.description);
  ok(longest <= 50, `the page was held up for ${longest} ms`);
  const { generatedTokens, generateMs, promptMs } = found.timings;
  const speed = ((generatedTokens - 1) / generateMs) * 1000;
  console.log(
    `ok: Node's greedy ids on ${found.backend.description}; loaded in ${found.load.toFixed(0)} ms, first token after ${promptMs.toFixed(0)} ms, ${speed.toFixed(0)} tokens/s`,
  );
  await page.close();
}

async function stops(context: BrowserContext, server: StaticServer): Promise<void> {
  const page = await open(context, server);
  const found = await page.evaluate(
    async ([address, files]) => {
      const loaded = await openelm.load(address as string, { files: files as string[] });
      const controller = new AbortController();
      let pieces = 0;
      const answer = loaded.generate('Once upon a time', { ignoreEos: true, overflow: 'slide', signal: controller.signal });
      for (;;) {
        const next = await answer.next();
        if (next.done) return { reason: next.value.finishReason, pieces };
        pieces++;
        if (pieces === 20) controller.abort();
      }
    },
    [model, names] as const,
  );
  strictEqual(found.reason, 'abort');
  ok(found.pieces < 60, `${found.pieces} tokens`); // the worker may be some ahead of the page
  console.log(`ok: stopped ${found.pieces - 20} tokens after it was asked to`);
  await page.close();
}

/** Four tabs want the same model: one downloads, all get it. */
async function shares(context: BrowserContext, server: StaticServer): Promise<void> {
  const pages = await Promise.all([1, 2, 3, 4].map(() => open(context, server)));
  await pages[0].evaluate(() => openelm.removeKept());
  const before = weightsAsked(server).length;
  server.brake = 8e6;
  await Promise.all(pages.map(loadOnce));
  server.brake = undefined;
  strictEqual(weightsAsked(server).length, before + 1);
  console.log('ok: four tabs share one download');
  for (const page of pages) await page.close();
}

async function chooses(context: BrowserContext, server: StaticServer): Promise<void> {
  const page = await open(context, server);
  await page.setInputFiles(
    'input',
    names.map((name) => packagePath(`models/tales-6m/${name}`)),
  );
  const text = await page.evaluate(async () => {
    const { files } = document.querySelector('input')!;
    const loaded = await openelm.load([...files!], { dtype: 'q8' });
    const { text: written } = await loaded.complete('Once upon a time', { maxTokens: 8 });
    await loaded.dispose();
    return written;
  });
  ok(text.length > 8, text);
  console.log('ok: files that were chosen run, in q8');
  await page.close();
}

async function trains(context: BrowserContext, server: StaticServer): Promise<void> {
  const text = readFileSync(packagePath('recipes/data/tales.txt'), 'utf8').slice(0, 60_000);
  const options = { text, vocabSize: 512, steps: 30, batch: 4, length: 64 };
  const page = await open(context, server);
  const found = await page.evaluate(async (given) => {
    const losses: number[] = [];
    let speed = 0;
    const onStep = (report: Door.StepReport): void => {
      losses.push(report.means.loss);
      speed = report.tokensPerSecond;
    };
    const { files } = await openelm.train({ ...given, threads: 2, onStep });
    const loaded = await openelm.load(files);
    const { ids } = await loaded.complete('Once', { maxTokens: 5 });
    await loaded.dispose();
    return { losses, speed, ids: ids.length };
  }, options);
  const native = nativeBackend({ threads: 2 });
  const backend = 'backend' in native ? native.backend : nodeWasmBackend({ threads: 2 });
  const expected: number[] = [];
  let speed = 0;
  await trainOn(backend, options, {
    onStep: (report) => {
      expected.push(report.means.loss);
      speed = report.tokensPerSecond;
    },
  });
  await backend.dispose();
  const furthest = Math.max(...expected.map((loss, i) => Math.abs(loss - found.losses[i])));
  strictEqual(found.losses.length, 30);
  strictEqual(found.ids, 5);
  ok(furthest < 1e-4, `a loss differs by ${furthest}`);
  ok(found.losses[29] < found.losses[0] - 0.5);
  console.log(
    `ok: 30 steps of training, loss ${found.losses[0].toFixed(3)} to ${found.losses[29].toFixed(3)}, at most ${furthest.toExponential(1)} from ` +
      `${backend.description}; ${found.speed.toFixed(0)} tokens/s there, ${speed.toFixed(0)} in Node`,
  );
  await page.close();
}

/** The page of `openelm web`: its first word, an answer that is stopped, at the sizes of a desk and a phone. */
async function chats(context: BrowserContext): Promise<void> {
  const server = await serveWeb(
    [{ id: 'tales-6m-instruct', directory: packagePath('models/tales-6m-instruct') }],
    '127.0.0.1',
    0,
  );
  const page = await context.newPage();
  const began = performance.now();
  await page.goto(server.url);
  await page.fill('#question', 'Write a short story about a dog and a ball.');
  await page.press('#question', 'Enter');
  await page.waitForFunction(() => (document.querySelector('article.assistant')?.textContent ?? '').length > 20);
  const firstWord = performance.now() - began;
  await page.waitForFunction(() => !document.querySelector('#stop')!.checkVisibility(), undefined, { timeout: 60_000 });
  const computes = await page.textContent('.computes');
  ok(computes?.includes('threads'), computes ?? 'nothing computes');
  const shots = process.env.SCREENSHOTS;
  if (shots) await page.screenshot({ path: join(shots, 'desk.png') });
  await page.setViewportSize({ width: 390, height: 844 });
  if (shots) await page.screenshot({ path: join(shots, 'phone.png') });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  ok(width <= 390, `the page is ${width} wide on a phone`);
  await page.fill('#question', 'Another one, and a long one.');
  await page.press('#question', 'Enter');
  await page.waitForFunction(() => document.querySelectorAll('article.assistant').length === 2);
  await page.press('#question', 'Escape');
  await page.waitForFunction(() => !document.querySelector('#stop')!.checkVisibility());
  console.log(`ok: openelm web on ${computes}; its first words ${firstWord.toFixed(0)} ms after it was opened`);
  await page.close();
  await server.close();
}
