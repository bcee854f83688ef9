// Part of chromium.ts: a training that is kept goes on after a reload to the bit as if there had been none; two tabs do not train into
// one place; where the browser has no room, training goes on and nothing is lost.

import { match, ok, strictEqual } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { BrowserContext, Page } from 'playwright-core';
import type * as Door from '../../src/browser.js';
import { packagePath } from '../../src/io/node/paths.js';
import type { StaticServer } from './static-server.js';

declare const openelm: typeof Door;

const shape = { num_transformer_layers: 2, model_dim: 64, head_dim: 16, num_query_heads: 4, num_kv_heads: 2, ffn_multipliers: 2 };
const text = readFileSync(packagePath('recipes/data/tales.txt'), 'utf8').slice(0, 40_000);
const options = { text, shape, vocabSize: 400, steps: 16, batch: 4, length: 32 };

type Open = (context: BrowserContext, server: StaticServer) => Promise<Page>;

export async function keepsTraining(context: BrowserContext, server: StaticServer, open: Open): Promise<void> {
  const page = await open(context, server);
  const whole = await page.evaluate(async (given) => {
    const { files } = await openelm.train(given);
    return bytesOf(files);
  }, options);
  await page.evaluate((given) => {
    let trains: Worker;
    const worker = (): Worker => {
      trains = new Worker('/dist/bundle/worker.js', { type: 'module' });
      return trains;
    };
    return new Promise<void>((resolve) => {
      // At once: until the page is loaded anew it may be done.
      const onKept = (step: number): void => {
        if (step < 4) return;
        trains.terminate();
        resolve();
      };
      void openelm.train({ ...given, worker, keep: 'my tales', saveEvery: 0, onKept });
    });
  }, options);
  await page.reload();
  await page.waitForFunction(() => 'openelm' in globalThis);
  const other = await open(context, server);
  const continued = await page.evaluate(async () => {
    const [kept] = await openelm.keptTrainings();
    let first = 0;
    const { files, interrupted } = await openelm.continueTraining('my tales', {
      onStep: ({ step }) => {
        first ||= step;
      },
    });
    return { kept: [kept.name, kept.step, kept.history.losses.length], first, interrupted, bytes: await bytesOf(files) };
  });
  const [name, step, losses] = continued.kept;
  strictEqual(name, 'my tales');
  ok((step as number) >= 4 && (step as number) < 16, `kept at step ${step}`);
  strictEqual(losses, step);
  strictEqual(continued.first, (step as number) + 1);
  strictEqual(continued.interrupted, false);
  strictEqual(continued.bytes, whole);
  console.log(`ok: a training went on after a reload at step ${step}, to the bit`);

  const refused = await page.evaluate(async (given) => {
    const again = await openelm.train({ ...given, keep: 'my tales' }).catch((error: Error) => error.message);
    await openelm.removeTraining('my tales');
    return [again, (await openelm.keptTrainings()).length];
  }, options);
  strictEqual(
    refused.join('|'),
    'a training called my tales is kept here already: continue it, remove it, or take another name|0',
  );

  const training = page.evaluate(async (given) => {
    const controller = new AbortController();
    Object.assign(globalThis, { stop: () => controller.abort() });
    const { interrupted } = await openelm.train({
      ...given,
      steps: 100_000,
      keep: 'shared',
      saveEvery: 0,
      signal: controller.signal,
      onKept: () => Object.assign(globalThis, { begun: true }),
    });
    return interrupted;
  }, options);
  await page.waitForFunction(() => 'begun' in globalThis);
  const sentences = await other.evaluate(async () => {
    const said = (error: Error): string => error.message;
    return [
      await openelm.continueTraining('shared').then(String, said),
      await openelm.removeTraining('shared').then(String, said),
    ];
  });
  match(sentences[0], /^shared is being trained in another tab/);
  match(sentences[1], /^shared is being trained: stop it first/);
  await page.evaluate(() => (globalThis as unknown as { stop(): void }).stop());
  strictEqual(await training, true);
  await other.evaluate(() => openelm.removeTraining('shared'));
  console.log('ok: two tabs do not train into one place');
  await other.close();

  const protocol = await context.newCDPSession(page);
  const { usage } = await page.evaluate(() => navigator.storage.estimate());
  await protocol.send('Storage.overrideQuotaForOrigin', { origin: server.url, quotaSize: usage! + 200_000 });
  const full = await page.evaluate(async (given) => {
    const notices: string[] = [];
    const controller = new AbortController();
    const first = await openelm.train({
      ...{ ...given, keep: 'large', saveEvery: 0, signal: controller.signal },
      onStep: ({ step }) => step === 4 && controller.abort(),
      onNotice: (message) => notices.push(message),
    });
    const second = await openelm.continueTraining(first.checkpoint!);
    return { notices, step: first.steps, bytes: await bytesOf(second.files) };
  }, options);
  strictEqual(full.notices.length, 1);
  match(full.notices[0], /^this browser gives this site no more room to keep the training .*: it goes on/);
  strictEqual(full.bytes, whole);
  await protocol.send('Storage.overrideQuotaForOrigin', { origin: server.url });
  await page.evaluate(() => openelm.removeTraining('large'));
  console.log(`ok: without room training goes on, and what was kept in memory at step ${full.step} goes on to the bit`);
  await page.close();
}

/** In the page: a hash of files with their names. */
declare function bytesOf(files: readonly File[]): Promise<string>;
export const bytesOfScript = `globalThis.bytesOf = async (files) => {
  const digest = await crypto.subtle.digest('SHA-256', await new Blob(files.flatMap((file) => [file.name, file])).arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}`;
