// `LanguageModel` in Chromium, over the embedded model and one of a hub: part of `npm run browser`. It is downloaded, told of, kept and shared;
// answers as the browsers' own does, with their classes. The cases that any model can pass follow web-platform-tests' ai/language-model,
// named in brackets; all of its semantics are tried in language-model.test.ts. Skipped, and says so, where there is no Chromium.

import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { packagePath } from '../../src/io/node/paths.js';
import type * as Door from '../../src/language-model.js';
import { executablePath, launch } from './launch.js';
import { heldUp } from './main-thread.js';
import { type StaticServer, staticServer } from './static-server.js';

declare const LanguageModel: Door.LanguageModelStatic;
type Own = typeof globalThis & { door: typeof Door };

const folder = packagePath('models/tales-6m-instruct');
const hub = 'https://huggingface.co';
/** What the browser's own LanguageModel, which the example asks first, writes to the console. */
const ofTheBrowsersOwn = /Unable to create a text session|No output language was specified/;

if (executablePath === undefined) {
  console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
} else {
  const { context, wrong, close } = await launch();
  const server = await staticServer(packagePath('.'), { isolated: true });
  try {
    await installs(context, server);
    await downloads(context, server);
    await answers(context, server);
    await fetches(context, server);
    await runsExample(context);
    deepStrictEqual(
      wrong.filter((what) => !what.startsWith(`request: ${hub}/`) && !ofTheBrowsersOwn.test(what)),
      [],
    );
    console.log('ok: no errors on the console, no request to another origin but the hub, when it was asked for');
  } finally {
    await close();
    server.close();
  }
}

type Options = Pick<Door.InstallOptions, 'force' | 'context' | 'dtype'> & { readonly model?: string };

async function open(context: BrowserContext, server: StaticServer, options?: Options): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${server.url}/page`);
  await page.evaluate(async (given) => {
    const door = (await import('/dist/bundle/language-model.js' as string)) as typeof Door;
    (globalThis as Own).door = door;
    if (given) door.installLanguageModel(given);
  }, options);
  return page;
}

async function installs(context: BrowserContext, server: StaticServer): Promise<void> {
  const page = await open(context, server);
  const found = await page.evaluate(() => {
    const { installLanguageModel } = (globalThis as Own).door;
    const place = globalThis as { LanguageModel?: unknown };
    const before = place.LanguageModel;
    const first = installLanguageModel();
    const kept = before === undefined ? place.LanguageModel === first : first === before;
    const forced = installLanguageModel({ force: true });
    return {
      kept,
      taken: forced !== before && place.LanguageModel === forced,
      enumerable: Object.keys(place).includes('LanguageModel'),
    };
  });
  deepStrictEqual(found, { kept: true, taken: true, enumerable: false });
  console.log("ok: LanguageModel is installed where there is none, and in the place of the browser's own when asked to");
  await page.close();
}

/** Created while it is downloaded, aborted on the way, and had without a download later. */
async function downloads(context: BrowserContext, server: StaticServer): Promise<void> {
  const page = await open(context, server, { force: true });
  server.brake = 12e6;
  const found = await page.evaluate(async () => {
    const availability = [await LanguageModel.availability()];
    const reason = new Error('enough');
    const controller = new AbortController();
    let began = (_event: unknown): void => undefined;
    const beginning = new Promise((resolve) => {
      began = resolve;
    });
    const aborted = LanguageModel.create({
      signal: controller.signal,
      monitor(m) {
        m.addEventListener('downloadprogress', began);
        m.addEventListener('downloadprogress', ({ loaded }) => loaded > 0.2 && controller.abort(reason));
      },
    }).catch((error: unknown) => error === reason);
    await beginning;
    availability.push(await LanguageModel.availability());
    const rejected = await aborted;
    const events: number[] = [];
    const session = await LanguageModel.create({
      monitor(m) {
        m.addEventListener('downloadprogress', (e) => {
          if (e instanceof ProgressEvent && e.total === 1 && e.lengthComputable && e.loaded % (1 / 0x10000) === 0)
            events.push(e.loaded);
        });
      },
    });
    availability.push(await LanguageModel.availability());
    session.destroy();
    return { availability, rejected, events };
  });
  server.brake = undefined;
  deepStrictEqual(found.availability, ['downloadable', 'downloading', 'available']);
  strictEqual(found.rejected, true);
  const { events } = found;
  deepStrictEqual([events[0], events.at(-1)], [0, 1]);
  ok(events.length > 5 && events[1] > 0.15, `went on from where it was aborted: ${events}`);
  ok(
    events.every((loaded, i) => i === 0 || loaded > events[i - 1]),
    `${events}`,
  );
  await page.close();
  const later = await open(context, server, { force: true });
  const before = server.asked.length;
  const again = await later.evaluate(async () => {
    const events: number[] = [];
    const availability = await LanguageModel.availability();
    const monitor = (m: Door.CreateMonitor): void => {
      m.ondownloadprogress = ({ loaded }) => events.push(loaded);
    };
    (await LanguageModel.create({ monitor })).destroy();
    return { availability, events };
  });
  deepStrictEqual(again, { availability: 'available', events: [0, 1] });
  deepStrictEqual(
    server.asked.slice(before).filter(({ path }) => path.startsWith('/models/')),
    [],
  );
  console.log(
    `ok: created while it was downloaded (${events.length} events), aborted on the way, gone on from there, and had without a download later`,
  );
  await later.close();
}

async function answers(context: BrowserContext, server: StaticServer): Promise<void> {
  const page = await open(context, server, { force: true, context: 256 });
  const work = () =>
    page.evaluate(async () => {
      const kTestPrompt = 'Please write a sentence in English.';
      const failing = async (promise: Promise<unknown>): Promise<DOMException & { requested?: number; quota?: number }> => {
        try {
          await promise;
        } catch (error) {
          return error as DOMException;
        }
        throw new Error('it did not fail');
      };
      const wrong: string[] = [];
      const check = (what: string, holds: boolean): void => void (holds || wrong.push(what));

      const options = { initialPrompts: [{ role: 'system', content: 'You tell stories.' }] } as const;
      const session = await LanguageModel.create({ ...options, samplingMode: 'most-predictable' });
      check('[create]', session instanceof LanguageModel && String(session) === '[object LanguageModel]');
      check(
        '[usage-initial-prompt]',
        session.contextUsage > 0 && session.contextUsage === (await session.measureContextUsage([...options.initialPrompts])),
      );

      const before = session.contextUsage;
      const prompt = 'Write a short story about a fox.';
      let streamed = '';
      for await (const chunk of session.promptStreaming(prompt)) streamed += chunk;
      const counted = before + (await session.measureContextUsage(prompt)) + (await session.measureContextUsage(streamed));
      check(
        `[usage] ${session.contextUsage} ${counted}`,
        Math.abs(session.contextUsage - counted) <= 5 || session.contextUsage === session.contextWindow,
      );

      const clone = await session.clone();
      check('[clone]', clone.contextUsage === session.contextUsage && clone.inputQuota === session.inputQuota);
      const [one, other] = await Promise.all([
        clone.prompt('Is a fox red?', { responseConstraint: /yes|no/ }),
        session.prompt('Rate it.', {
          responseConstraint: {
            type: 'object',
            required: ['rating'],
            additionalProperties: false,
            properties: { rating: { type: 'integer', minimum: 0, maximum: 5 } },
          },
        }),
      ]);
      check(`[response-regex] ${one}`, /^(yes|no)$/.test(one));
      check(`[response-json-schema] ${other}`, JSON.parse(other).rating >= 0);

      const overflow = new Promise((resolve) => session.addEventListener('contextoverflow', resolve));
      const long = kTestPrompt.repeat(14);
      await Promise.all([overflow, session.append(long), session.append(long), session.append(long)]);
      check('[overflow]', session.contextUsage <= session.contextWindow);
      const huge = kTestPrompt.repeat(session.contextWindow);
      const empty = await LanguageModel.create();
      const exceeded = await failing(empty.prompt(huge));
      const { QuotaExceededError: Native = DOMException } = globalThis as unknown as { QuotaExceededError?: typeof DOMException };
      check(
        `[usage-prompt-quota-exceeded] ${exceeded}`,
        exceeded.constructor === Native && exceeded.name === 'QuotaExceededError',
      );
      check(
        '[usage-prompt-quota-exceeded] numbers',
        exceeded.requested === (await empty.measureContextUsage(huge)) && exceeded.quota === empty.contextWindow,
      );

      const controller = new AbortController();
      const stream = empty.promptStreaming(kTestPrompt, { signal: controller.signal }).getReader();
      await stream.read();
      controller.abort();
      check('[abort]', (await failing(stream.closed)).name === 'AbortError');
      check(
        '[abort] forgotten',
        empty.contextUsage === 0 && (await empty.prompt('hello', { responseConstraint: /ok/ })) === 'ok',
      );
      const running = empty.prompt(kTestPrompt);
      empty.destroy();
      check(
        '[destroy]',
        (await failing(running)).name === 'InvalidStateError' && (await failing(empty.prompt('a'))).name === 'InvalidStateError',
      );
      const words = streamed.split(' ').length;
      for (const own of [session, clone]) own.destroy();
      return { wrong, words };
    });
  const [longest, found] = await heldUp(page, work);
  deepStrictEqual(found.wrong, []);
  ok(longest <= 50, `the page was held up for ${longest} ms`);
  console.log(`ok: streams (${found.words} words), counts, clones, constrains, forgets, aborts and refuses as the browsers' own`);
  await page.close();
}

/** The example, with the package's files at another origin, as a CDN has them. */
async function runsExample(context: BrowserContext): Promise<void> {
  const cdn = await staticServer(packagePath('.'), { isolated: false, shared: true });
  const site = mkdtempSync(join(tmpdir(), 'openelm-prompt-'));
  const server = await staticServer(site, { isolated: true });
  const page = await context.newPage();
  try {
    const text = readFileSync(packagePath('examples/browser/prompt-api.html'), 'utf8');
    ok(text.includes('https://cdn.jsdelivr.net/npm/openelm/dist/'));
    writeFileSync(join(site, 'index.html'), text.replace('https://cdn.jsdelivr.net/npm/openelm', cdn.url));
    await page.goto(`${server.url}/`);
    await page.waitForFunction(() => /tokens$|Error/.test(document.querySelector('#status')!.textContent!));
    match((await page.textContent('#status'))!, /^[0-9]+ of 1024 tokens$/);
    ok((await page.textContent('#story'))!.length > 100);
  } finally {
    await page.close();
    for (const one of [server, cdn]) one.close();
    rmSync(site, { recursive: true });
  }
  console.log('ok: the example writes a story, from files of another origin');
}

/** A model of the hub by its id, from a stand-in for it. */
async function fetches(context: BrowserContext, server: StaticServer): Promise<void> {
  const names = ['config.json', 'model.safetensors', 'tokenizer.model', 'chat_template.jinja'];
  await context.route(`${hub}/**`, (route) => {
    const { pathname } = new URL(route.request().url());
    const headers = { 'access-control-allow-origin': '*' };
    const name = pathname.split('/').at(-1)!;
    if (pathname === '/api/models/org/tales/revision/main') {
      const siblings = names.map((rfilename) => ({ rfilename, size: statSync(join(folder, rfilename)).size }));
      return route.fulfill({ body: JSON.stringify({ sha: '0'.repeat(40), siblings }), headers });
    }
    if (pathname.startsWith('/org/tales/resolve/')) return route.fulfill({ body: readFileSync(join(folder, name)), headers });
    return route.fulfill({ status: 404, headers });
  });
  const page = await open(context, server, { force: true, model: 'org/tales', dtype: 'q8' });
  const found = await page.evaluate(async () => {
    const before = await LanguageModel.availability();
    const session = await LanguageModel.create();
    const text = await session.prompt('Tell me a story.', { responseConstraint: /[A-Z][a-z ]{10,20}/ });
    session.destroy();
    const { languageModel } = (globalThis as Own).door;
    const again = await languageModel({ model: 'org/tales' }).availability();
    const none = await languageModel({ model: 'org/none' })
      .create()
      .catch((error: DOMException) => `${error.name}: ${error.message}`);
    return { before, again, text, none };
  });
  deepStrictEqual([found.before, found.again], ['downloadable', 'available']);
  match(found.text, /^[A-Z][a-z ]{10,20}$/);
  match(String(found.none), /^NetworkError: org\/none cannot be had from huggingface.co \(404\): there is no such model/);
  console.log('ok: a model of the hub answers by its id; one that is not there is a NetworkError in a sentence');
  await page.close();
}
