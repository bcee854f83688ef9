// Chromium for the checks of the browser: where it is, and a profile of its own whose console and requests are listened to.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const places = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
export const executablePath = places.find((path): path is string => path !== undefined && existsSync(path));

export interface Launched {
  readonly context: BrowserContext;
  /** Errors and warnings of the console, and requests to other origins than this machine's. */
  readonly wrong: string[];
  close(): Promise<void>;
}

/** `flags`: more of Chromium's. */
export async function launch(options: BrowserContextOptions = {}, flags: readonly string[] = []): Promise<Launched> {
  const profile = mkdtempSync(join(tmpdir(), 'openelm-chromium-'));
  const args = ['--no-sandbox', '--disable-dev-shm-usage', ...flags];
  const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args, ...options });
  const wrong = await listen(context);
  const close = async (): Promise<void> => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { context, wrong, close };
}

/** What goes wrong in a context: errors and warnings of the console, and requests to other origins than this machine's. */
export async function listen(context: BrowserContext): Promise<string[]> {
  await context.addInitScript('globalThis.__name = (f) => f'); // what tsx makes of functions that are sent there
  context.setDefaultTimeout(120_000); // whatever else the machine does
  const wrong: string[] = [];
  context.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning')
      wrong.push(`console: ${message.text()} ${message.location().url}`);
  });
  context.on('weberror', (error) => void wrong.push(`error: ${error.error().message}`));
  context.on('request', (request) => {
    if (!request.url().startsWith('http://127.0.0.1:') && !/^(data|blob):/.test(request.url()))
      wrong.push(`request: ${request.url()}`);
  });
  return wrong;
}

/**
 * Milliseconds that the longest task of the page's own thread took while `work` was done: of processor time, since on a machine that
 * is busy with others a task also waits.
 */
export async function longestTask(page: Page, work: () => Promise<unknown>): Promise<number> {
  const browser = page.context().browser()!;
  await browser.startTracing(page, { categories: ['toplevel', '__metadata'] });
  await work();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
  const threads = traceEvents.filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain');
  const mains = new Set(threads.map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = traceEvents.filter(({ name, pid, tid }) => name.endsWith('RunTask') && mains.has(`${pid} ${tid}`));
  if (tasks.length < 10) throw new Error(`only ${tasks.length} tasks of the page were traced`);
  return tasks.reduce((most, { tdur = 0 }) => Math.max(most, tdur), 0) / 1000;
}

interface TraceEvent {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly tdur?: number;
  readonly args: { readonly name?: string };
}
