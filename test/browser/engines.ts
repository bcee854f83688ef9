// `openelm/browser` and the page of `openelm web` in other engines than Chromium's: `.ci/engines.sh`, after `npm run compile`. What npm run
// browser tries in Chromium in depth, in short: Node's own ids in every precision, with threads and without, what is kept, stops,
// trainings, the Prompt API, the page offline; and what falls back to what where an engine or a private window lacks something.
// An engine that is not here, or cannot run here, is said and passed over. `npm run engines -- firefox` tries one of them.

import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportWeb } from '../../src/app/web-files.js';
import { nativeBackend } from '../../src/backends/native.js';
import { nodeWasmBackend } from '../../src/backends/wasm-node.js';
import { trainOn } from '../../src/browser/train.js';
import type * as Door from '../../src/browser.js';
import { load } from '../../src/index.js';
import { packagePath } from '../../src/io/node/paths.js';
import type * as Prompts from '../../src/language-model.js';
import { type Engine, engines, type Started, startEngine } from './engine-programs.js';
import { type RemotePage, remotePage } from './remote-page.js';
import { type StaticServer, staticServer } from './static-server.js';

declare const openelm: typeof Door;
declare const wrong: string[];

const names = ['config.json', 'model.safetensors', 'tokenizer.model'];
const model = '/models/tales-6m/';
/** Milliseconds for one thing that is done: on a machine that is busy with others it takes many times as long. */
const patience = 240_000;
const prompt = 'Once upon a time';
/** What JavaScript and the web got later than the oldest browsers that are named in docs/browser.md. */
const younger = `
  for (const [of, names] of [
    [Array, 'fromAsync'], [Array.prototype, 'toSorted toReversed toSpliced with'], [Promise, 'withResolvers try'], [Object, 'groupBy'],
    [Map, 'groupBy'], [Map.prototype, 'getOrInsert getOrInsertComputed'], [Uint8Array.prototype, 'toSorted toReversed with toHex toBase64'],
    [Uint8Array, 'fromHex fromBase64'], [Set.prototype, 'union intersection difference symmetricDifference isSubsetOf isSupersetOf isDisjointFrom'],
    [ArrayBuffer.prototype, 'transfer transferToFixedLength resize'], [AbortSignal, 'any'], [URL, 'canParse parse'], [RegExp, 'escape'],
    [globalThis, 'Iterator ReadableStreamBYOBReader Float16Array QuotaExceededError DisposableStack'],
    [Object.getPrototypeOf(Object.getPrototypeOf([].values())), 'map filter take drop flatMap reduce toArray forEach some every find'],
    [ReadableStream, 'from'], [ReadableStream.prototype, 'values'], [Blob.prototype, 'bytes'], [Response.prototype, 'bytes'],
    [String.prototype, 'isWellFormed toWellFormed'], [Atomics, 'waitAsync pause'], [Error, 'isError'], [Math, 'sumPrecise f16round'],
  ]) for (const name of names.split(' ')) Reflect.deleteProperty(of, name);
  delete ReadableStream.prototype[Symbol.asyncIterator];
  const { getReader } = ReadableStream.prototype;
  ReadableStream.prototype.getReader = function (options) {
    if (options?.mode) throw new TypeError('there are no such readers');
    return getReader.call(this);
  };`;

const dtypes = ['f32', 'f16', 'q8', 'q4'] as const;

/** What an engine may lack: it falls back, writes the same, and says so. */
const lacking = [
  {
    what: 'files that are written at once',
    ofFiles: true,
    without: 'delete FileSystemFileHandle.prototype.createSyncAccessHandle;',
  },
  { what: 'private files', ofFiles: true, without: 'delete StorageManager.prototype.getDirectory;' },
  {
    what: 'private files and caches',
    ofFiles: true,
    without: 'delete StorageManager.prototype.getDirectory; delete globalThis.caches; delete WorkerGlobalScope.prototype.caches;',
    notices: /keeps no files here \(it has no private files/,
  },
  {
    what: 'locks and shared memory',
    without: 'delete WorkerNavigator.prototype.locks; delete globalThis.SharedArrayBuffer;',
    backend: /1 thread, no shared memory/,
  },
  { what: 'what came after Firefox 114 and Safari 16.4', without: younger },
];

/** A browser that runs, and the servers that it asks. */
interface Tried {
  readonly engine: Engine;
  readonly page: RemotePage;
  readonly isolated: StaticServer;
  readonly plain: StaticServer;
}

const site = mkdtempSync(join(tmpdir(), 'openelm-engines-'));
for (const folder of ['dist', 'native', 'models']) symlinkSync(packagePath(folder), join(site, folder));
await exportWeb([{ id: 'tales-6m-instruct', directory: packagePath('models/tales-6m-instruct') }], join(site, 'web'));
try {
  const expected = await expectations();
  const [, , only] = process.argv;
  for (const engine of engines.filter(({ name }) => only === undefined || name.toLowerCase().startsWith(only))) {
    if (engine.path === undefined) {
      console.log(`SKIPPED: no ${engine.name} here (Debian: apt-get install ${engine.packages})`);
      continue;
    }
    const began = performance.now();
    await inEngine(engine, false, async (tried) => {
      await writes(tried, expected);
      await stops(tried);
      await trains(tried, expected);
      if (engine.half) return;
      if (engine.keeps) await reloads(tried);
      if (engine.keeps) await keepsTraining(tried, expected);
      await lacks(tried, expected);
      await prompts(tried);
      await chats(tried, false);
    });
    if (!engine.half) await inEngine(engine, true, (tried) => chats(tried, true));
    console.log(`${engine.name}: ${((performance.now() - began) / 1000).toFixed(0)} s`);
  }
} finally {
  rmSync(site, { recursive: true });
}

/** Runs it in a window that keeps, or a private one; what went wrong beside is wrong. */
async function inEngine(engine: Engine, isPrivate: boolean, work: (tried: Tried) => Promise<void>): Promise<void> {
  const page = await remotePage(patience);
  const [isolated, plain] = await Promise.all(
    [true, false].map((alone) => staticServer(site, { isolated: alone, script: page.script })),
  );
  let started: Started | undefined;
  try {
    let agent: string;
    try {
      started = await startEngine(engine, `${isolated.url}/page`, isPrivate, (error) => page.lose(error));
      agent = await page.evaluate(() => navigator.userAgent);
    } catch (error) {
      console.log(`SKIPPED: ${engine.name} opens no page here: ${(error as Error).message}`);
      return;
    }
    console.log(`${started.version}, ${engine.name}${isPrivate ? ', a private window' : ''}: ${agent}`);
    await work({ engine, page, isolated, plain });
    deepStrictEqual(await page.evaluate(() => wrong), []);
    console.log('ok: no errors on the console');
  } catch (error) {
    console.log(`${engine.name} said last: ${started?.said().slice(-3000)}`);
    throw error;
  } finally {
    await started?.close();
    for (const one of [isolated, plain, page]) one.close();
  }
}

type Expected = Awaited<ReturnType<typeof expectations>>;

/** What Node says: its ids in each precision, its losses. */
async function expectations() {
  const ids: Record<string, readonly number[]> = {};
  for (const dtype of dtypes) {
    const loaded = await load(packagePath('models/tales-6m'), { dtype, backend: 'wasm', threads: 1 });
    ids[dtype] = (await loaded.complete(prompt, { temperature: 0, maxTokens: 32 })).ids;
    await loaded.dispose();
  }
  const [golden] = JSON.parse(readFileSync(packagePath('test/golden/tales-6m/golden_greedy.json'), 'utf8'));
  const text = readFileSync(packagePath('recipes/data/tales.txt'), 'utf8').slice(0, 30_000);
  const training = { text, vocabSize: 400, steps: 16, batch: 4, length: 32 };
  const native = nativeBackend({ threads: 2 });
  const backend = 'backend' in native ? native.backend : nodeWasmBackend({ threads: 2 });
  const losses: number[] = [];
  await trainOn(backend, training, { onStep: ({ means }) => void losses.push(means.loss) });
  await backend.dispose();
  return { ids, golden: golden as { prompt: string; ids: number[] }, training, losses };
}

interface Asked {
  readonly dtype?: (typeof dtypes)[number];
  readonly prompt?: string;
  readonly maxTokens?: number;
  /** What the worker's scope is made to lack. */
  readonly without?: string;
}

/** Loads the model in the page and writes greedily. */
function write(page: RemotePage, asked: Asked) {
  return page.evaluate(
    async ({ files, address, dtype, prompt: text, maxTokens, without }) => {
      const notices: string[] = [];
      const began = performance.now();
      const worker = () => {
        const code = `${without}; await import(${JSON.stringify(`${location.origin}/dist/bundle/worker.js`)});`;
        // What was said to it before it listened.
        const queue = 'const early = []; const hold = (event) => early.push(event.data); addEventListener("message", hold);';
        const told =
          'removeEventListener("message", hold); for (const data of early) dispatchEvent(new MessageEvent("message", { data }));';
        return new Worker(URL.createObjectURL(new Blob([`${queue}${code}${told}`], { type: 'text/javascript' })), {
          type: 'module',
        });
      };
      const loaded = await openelm.load(address, {
        ...{ files, dtype, threads: 2, onNotice: (message) => void notices.push(message) },
        ...(without && { worker }),
      });
      const ready = performance.now() - began;
      const { ids, timings } = await loaded.complete(text, { temperature: 0, maxTokens });
      const { backend } = loaded;
      await loaded.dispose();
      return { ids, notices, backend, ready, speed: ((timings.generatedTokens - 1) / timings.generateMs) * 1000 };
    },
    {
      files: names,
      address: model,
      dtype: asked.dtype,
      prompt: asked.prompt ?? prompt,
      maxTokens: asked.maxTokens ?? 32,
      without: asked.without ?? '',
    },
  );
}

async function writes({ page, isolated, plain }: Tried, { ids, golden }: Expected): Promise<void> {
  const whole = await write(page, { prompt: golden.prompt, maxTokens: golden.ids.length });
  deepStrictEqual(whole.ids, golden.ids);
  console.log(
    `ok: the golden story on ${whole.backend.description}, loaded in ${whole.ready.toFixed(0)} ms, ${whole.speed.toFixed(0)} tokens/s`,
  );
  for (const dtype of dtypes) deepStrictEqual((await write(page, { dtype })).ids, ids[dtype], dtype);
  console.log(`ok: Node's greedy ids in ${dtypes.join(', ')}`);
  await page.open(`${plain.url}/page`);
  const alone = await write(page, { prompt: golden.prompt, maxTokens: golden.ids.length });
  deepStrictEqual(alone.ids, golden.ids);
  match(alone.backend.description, /1 thread, no shared memory/);
  console.log(`ok: and on ${alone.backend.description}, where the page is not isolated, ${alone.speed.toFixed(0)} tokens/s`);
  await page.open(`${isolated.url}/page`);
}

/** A reload in the middle of a download goes on from there; later nothing is asked for, and tabs of one origin share. */
async function reloads({ page, isolated }: Tried): Promise<void> {
  const weights = (): string[] =>
    isolated.asked.filter(({ path }) => path === `${model}model.safetensors`).map(({ range = 'all' }) => range);
  await page.evaluate(() => openelm.removeKept());
  const before = weights().length;
  isolated.brake = 4e6;
  const files = { files: names, address: model };
  await page.evaluate(
    ({ address, files: list }) =>
      new Promise<void>((resolve, reject) => {
        const onProgress = ({ phase, bytes }: Door.LoadProgress): void => {
          if (phase === 'download' && bytes > 4e6) resolve();
        };
        openelm.load(address, { files: list, onProgress }).catch(reject);
      }),
    files,
  );
  await page.open(`${isolated.url}/page`);
  isolated.brake = 8e6;
  const three = await page.evaluate(async ({ address, files: list }) => {
    const loads = [1, 2, 3].map(async () => (await openelm.load(address, { files: list })).dispose());
    return (await Promise.all(loads)).length;
  }, files);
  isolated.brake = undefined;
  strictEqual(three, 3);
  const asked = weights().slice(before);
  strictEqual(asked.length, 2, asked.join(' '));
  match(asked[1], /^bytes=[1-9][0-9]*-$/);
  await page.open(`${isolated.url}/page`);
  const all = isolated.asked.length;
  await write(page, { dtype: 'q4' });
  deepStrictEqual(
    isolated.asked.slice(all).filter(({ path }) => path.startsWith(model)),
    [],
  );
  console.log(`ok: left in the middle of a download, gone on with at ${asked[1]} by three at once, and nothing asked for later`);
}

async function lacks({ page, engine }: Tried, { ids }: Expected): Promise<void> {
  for (const { what, without, ofFiles, notices, backend } of lacking) {
    if (ofFiles && !engine.keeps) continue; // as it is
    const found = await write(page, { without, dtype: 'q8' });
    deepStrictEqual(found.ids, ids.q8, what);
    if (engine.keeps) match(found.notices.join(), notices ?? /^$/, what);
    match(found.backend.description, backend ?? /./, what);
    console.log(`ok: the same without ${what}`);
  }
}

async function stops({ page }: Tried): Promise<void> {
  const found = await page.evaluate(
    async ({ address, files }) => {
      const loaded = await openelm.load(address, { files });
      const controller = new AbortController();
      let pieces = 0;
      const answer = loaded.generate('Once upon a time', { ignoreEos: true, overflow: 'slide', signal: controller.signal });
      for (;;) {
        const next = await answer.next();
        if (next.done) {
          await loaded.dispose();
          return { reason: next.value.finishReason, pieces };
        }
        if (++pieces === 20) controller.abort();
      }
    },
    { address: model, files: names },
  );
  strictEqual(found.reason, 'abort');
  console.log(`ok: stopped after ${found.pieces} pieces, asked to at 20`);
}

async function trains({ page }: Tried, { training, losses }: Expected): Promise<void> {
  const found = await page.evaluate(async (given) => {
    const told: number[] = [];
    const { files } = await openelm.train({ ...given, threads: 2, onStep: ({ means }) => void told.push(means.loss) });
    const loaded = await openelm.load(files);
    const { ids } = await loaded.complete('Once', { maxTokens: 5, ignoreEos: true });
    await loaded.dispose();
    return { told, ids: ids.length };
  }, training);
  const furthest = Math.max(...losses.map((loss, i) => Math.abs(loss - found.told[i])));
  strictEqual(found.told.length, losses.length);
  ok(furthest < 1e-4, `a loss differs by ${furthest}`);
  strictEqual(found.ids, 5);
  console.log(`ok: a training whose losses are at most ${furthest.toExponential(1)} from native's, and whose model writes`);
}

/** Left in the middle, it goes on to what it would have been. */
async function keepsTraining({ page, isolated }: Tried, { training, losses }: Expected): Promise<void> {
  await page.evaluate(
    (given) =>
      new Promise<void>((resolve, reject) => {
        openelm.train({ ...given, keep: 'my tales', saveEvery: 0, onKept: (step) => step >= 4 && resolve() }).catch(reject);
      }),
    training,
  );
  await page.open(`${isolated.url}/page`);
  const found = await page.evaluate(async () => {
    const [kept] = await openelm.keptTrainings();
    const told = [...kept.history.losses];
    await openelm.continueTraining('my tales', { onStep: ({ means }) => void told.push(means.loss) });
    await openelm.removeTraining('my tales');
    return { step: kept.step, told, left: (await openelm.keptTrainings()).length };
  });
  ok(found.step >= 4 && found.step < losses.length, `kept at step ${found.step}`);
  strictEqual(found.left, 0);
  const furthest = Math.max(...losses.map((loss, i) => Math.abs(loss - found.told[i])));
  ok(found.told.length === losses.length && furthest < 1e-4, `${found.told}`);
  console.log(`ok: a training that was left at step ${found.step} went on after a reload`);
}

async function prompts({ page }: Tried): Promise<void> {
  const found = await page.evaluate(async () => {
    const door = (await import(new URL('/dist/bundle/language-model.js', location.href).href)) as typeof Prompts;
    const LanguageModel = door.installLanguageModel({ force: true, context: 256 });
    const session = await LanguageModel.create({ initialPrompts: [{ role: 'system', content: 'You tell stories.' }] });
    let streamed = '';
    for await (const chunk of session.promptStreaming('Write a short story about a fox.')) streamed += chunk;
    const answer = await session.prompt('Is a fox red?', { responseConstraint: /yes|no/ });
    const usage = session.contextUsage;
    session.destroy();
    return { streamed, answer, usage };
  });
  ok(found.streamed.length > 40 && found.usage > 10, JSON.stringify(found));
  match(found.answer, /^(yes|no)$/);
  console.log('ok: LanguageModel streams, and answers as it is constrained to');
}

/** The page in a frame: at three widths, an answer and, where it is kept, another after a reload without its server. */
async function chats({ page, isolated, engine }: Tried, isPrivate: boolean): Promise<void> {
  const frame = async (): Promise<void> =>
    page.evaluate(async (address) => {
      document.body.style.margin = '0';
      document.querySelector('iframe')?.remove();
      const made = document.createElement('iframe');
      Object.assign(made.style, { width: '1200px', height: '800px', border: '0', background: 'Canvas' });
      made.src = address;
      document.body.append(made);
      await new Promise((resolve) => made.addEventListener('load', resolve));
      const scope = made.contentWindow as Window & typeof globalThis;
      (globalThis as unknown as { listen(scope: unknown, name: string): void }).listen(scope, 'in the page of openelm web: ');
      Object.assign(globalThis, {
        site: scope.document,
        until: async (holds: () => unknown) => {
          for (;;) {
            const held = await holds();
            if (held) return held;
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
        },
      });
    }, `${isolated.url}/web/`);
  const answers = (): Promise<{ text: string; computes: string; notices: string; wide: number[]; grew: number }> =>
    page.evaluate(async () => {
      const { site, until } = globalThis as unknown as { site: Document; until(holds: () => unknown): Promise<unknown> };
      const text = (selector: string): string => site.querySelector(selector)?.textContent ?? '';
      const question = site.querySelector<HTMLTextAreaElement>('#question')!;
      await until(() => site.querySelectorAll('#model option').length > 0);
      const before = site.querySelectorAll('article.assistant').length;
      const low = question.offsetHeight;
      question.value = 'A line\nand another\nand a third\nand a fourth';
      question.dispatchEvent(new InputEvent('input', { bubbles: true }));
      const high = question.offsetHeight;
      question.value = 'Write a short story about a dog and a ball.';
      question.dispatchEvent(new InputEvent('input', { bubbles: true }));
      question.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }));
      const said = (): string =>
        [...site.querySelectorAll('article.assistant .body')]
          .slice(before)
          .map((one) => one.textContent)
          .join('');
      await until(() => said().length > 20);
      question.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true, cancelable: true }));
      await until(() => !site.querySelector<HTMLElement>('#stop')!.offsetParent);
      const frame = document.querySelector('iframe')!;
      const wide: number[] = [];
      for (const width of [360, 768, 1200]) {
        frame.style.width = `${width}px`;
        await new Promise((resolve) => setTimeout(resolve, 50));
        wide.push(site.documentElement.scrollWidth - width);
      }
      return { text: said(), computes: text('.computes'), notices: text('.notices'), wide, grew: high / low };
    });
  await frame();
  const first = await answers();
  deepStrictEqual(
    first.wide.filter((more) => more > 0),
    [],
    'the page is wider than its window',
  );
  ok(first.grew > 2, `the question's box grows ${first.grew} times for four lines`);
  const keeps = engine.keeps && !isPrivate;
  // Some have Cache storage where they have no private files.
  match(first.notices, keeps ? /^$/ : /^$|this browser keeps no files here \(.*\): the model is downloaded anew each time/);
  console.log(
    `ok: the page of openelm web answers (${first.computes}): ${JSON.stringify(first.text.slice(0, 60))}${first.notices && `; it says: ${first.notices}`}`,
  );
  if (!keeps) return;
  await page.evaluate(async () => {
    const { site } = globalThis as unknown as { site: Document };
    await site.defaultView!.navigator.serviceWorker.ready;
  });
  await page.open(`${isolated.url}/page`);
  isolated.down = /^\/(web|models)\//;
  await frame();
  const second = await answers();
  ok(second.text.length > 20);
  isolated.down = undefined;
  console.log('ok: and without its server, after a reload');
}
