// Loading a model in a page of Chromium from a server on this machine: how long it takes with an empty cache and again, and how much
// memory the tab has at most meanwhile; and how long the page is held up at most while a model is loaded, writes and is trained. How
// fast the model is then is `run --against wasm`'s and tab.bench.ts's.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type * as Door from '../src/browser.js';
import { InputError } from '../src/errors.js';
import { packagePath } from '../src/io/node/paths.js';
import { executablePath, launch } from '../test/browser/launch.js';
import { heldUp } from '../test/browser/main-thread.js';
import { staticServer } from '../test/browser/static-server.js';
import { randomCheckpoint } from './own.js';
import { type Row, report } from './report.js';

const usage = `npm run bench -- tab-load [options], after npm run compile
  --model DIR      a folder with config.json and model.safetensors (default: OpenELM-270M with random weights in f16)
  --dtype LIST     of the loaded weights (default: f16,q8)
  --threads N      of the page (default: 2)
  --rounds N       each in a new profile, the best counts (default: 2)
It needs Chromium (CHROMIUM=PATH).`;

declare const openelm: typeof Door;
declare const loaded: Door.BrowserModel;

interface Measured {
  readonly seconds: number;
  /** Until the last byte had come. */
  readonly download: number;
  readonly peak: number;
}

export async function run(args: string[]): Promise<void> {
  const text = { type: 'string' } as const;
  const options = { model: text, dtype: text, threads: text, rounds: text, help: { type: 'boolean' } } as const;
  const { values } = parseArgs({ args, options });
  if (values.help) {
    console.log(usage);
    return;
  }
  if (executablePath === undefined) throw new InputError('there is no Chromium here: install it, or set CHROMIUM to its path');
  const folder = values.model ?? (await randomCheckpoint('OpenELM-270M'));
  const { size } = statSync(join(folder, 'model.safetensors'));
  const rows: Row[] = [];
  for (const dtype of (values.dtype ?? 'f16,q8').split(',')) {
    const best: Record<string, Measured> = {};
    for (let round = 0; round < Number(values.rounds ?? 2); round++) {
      for (const [when, measured] of Object.entries(await loadTwice(folder, dtype, Number(values.threads ?? 2))))
        if (!best[when] || measured.seconds < best[when].seconds) best[when] = measured;
    }
    for (const [when, { seconds, download, peak }] of Object.entries(best)) {
      const times = { 'download, s': download, 'all, s': seconds };
      rows.push({ dtype, when, ...times, 'peak, MB': Math.round(peak / 1e6), 'of the file': peak / size });
    }
  }
  report('tab-load', rows);
  report('tab-tasks', await longestTasks(folder, Number(values.threads ?? 2)));
}

/** Of the page's own thread, by its processor time. */
async function longestTasks(folder: string, threads: number): Promise<Row[]> {
  const page = await staticServer(packagePath('.'), { isolated: true });
  const models = await staticServer(folder, { isolated: true, shared: true });
  const { context, close } = await launch();
  try {
    const tab = await context.newPage();
    await tab.goto(`${page.url}/page`);
    await tab.waitForFunction(() => 'openelm' in globalThis);
    const works: Readonly<Record<string, () => Promise<unknown>>> = {
      load: () =>
        tab.evaluate(
          async ([url, count]) => {
            const files = ['config.json', 'model.safetensors'];
            const model = await openelm.load(url, { threads: count, backend: 'wasm', context: 512, files, onProgress() {} });
            Object.assign(globalThis, { loaded: model });
          },
          [`${models.url}/`, threads] as const,
        ),
      generate: () =>
        tab.evaluate(async () => {
          for await (const _ of loaded.generate(
            Array.from({ length: 64 }, (_, i) => i + 3),
            { maxTokens: 32, ignoreEos: true },
          ));
          await loaded.dispose();
        }),
      train: () =>
        tab.evaluate(
          async ([text, count]) => {
            await openelm.train({ text, steps: 4, batch: 4, length: 128, threads: count, onStep() {} });
          },
          [readFileSync(packagePath('recipes/data/tales.txt'), 'utf8').slice(0, 200_000), threads] as const,
        ),
    };
    const rows: Row[] = [];
    for (const [what, work] of Object.entries(works)) {
      const [longest] = await heldUp(tab, work);
      rows.push({ 'while the tab does': what, 'longest task of the page, ms': longest });
    }
    return rows;
  } finally {
    await close();
    page.close();
    models.close();
  }
}

/** In a new profile, and again in another tab. */
async function loadTwice(folder: string, dtype: string, threads: number): Promise<Record<'empty cache' | 'again', Measured>> {
  const page = await staticServer(packagePath('.'), { isolated: true });
  const models = await staticServer(folder, { isolated: true, shared: true });
  const { context, close } = await launch();
  try {
    const once = async (): Promise<Measured> => {
      const tab = await context.newPage();
      await tab.goto(`${page.url}/page`);
      await tab.waitForFunction(() => 'openelm' in globalThis);
      const memory = watchMemory();
      try {
        const times = await tab.evaluate(
          async ([url, type, count]) => {
            const began = performance.now();
            let download = 0;
            const files = ['config.json', 'model.safetensors'];
            const onProgress = ({ phase }: Door.LoadProgress): void => {
              if (phase === 'download') download = performance.now() - began;
            };
            const model = await openelm.load(url, {
              dtype: type,
              threads: count,
              backend: 'wasm',
              context: 512,
              files,
              onProgress,
            });
            const seconds = (performance.now() - began) / 1000;
            await model.dispose();
            return { seconds, download: download / 1000 };
          },
          [`${models.url}/`, dtype as 'f16', threads] as const,
        );
        return { ...times, peak: memory.peak() };
      } finally {
        memory.stop();
        await tab.close();
      }
    };
    return { 'empty cache': await once(), again: await once() };
  } finally {
    await close();
    page.close();
    models.close();
  }
}

/** The most that a renderer on this machine has in memory of its own, looked at every 20 ms: those that there are when it begins. */
function watchMemory(): { peak(): number; stop(): void } {
  let peak = 0;
  const renderers = readdirSync('/proc').filter((pid) => {
    try {
      return /^[0-9]+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--type=renderer');
    } catch {
      return false; // it has ended
    }
  });
  const timer = setInterval(() => {
    for (const pid of renderers) {
      try {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        const kilobytes = (name: string): number => Number(new RegExp(`^${name}:\\s+([0-9]+)`, 'm').exec(status)?.[1] ?? 0);
        peak = Math.max(peak, 1024 * (kilobytes('RssAnon') + kilobytes('RssShmem')));
      } catch {} // it has ended
    }
  }, 20);
  return { peak: () => peak, stop: () => clearInterval(timer) };
}
