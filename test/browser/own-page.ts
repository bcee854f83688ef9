// The page of `openelm web` with the embedded chat model, in Chromium, for checks that drive it: without errors on its console or a request to
// another origin at the end. What is done with it is the check's.

import { deepStrictEqual } from 'node:assert/strict';
import type { BrowserContextOptions } from 'playwright-core';
import { serveWeb } from '../../src/app/web-server.js';
import { packagePath } from '../../src/io/node/paths.js';
import { executablePath, type Launched, launch } from './launch.js';

export interface OwnPage extends Pick<Launched, 'context' | 'wrong'> {
  /** The page's address. */
  readonly url: string;
}

/** Says that it is skipped where there is no Chromium. */
export async function onOwnPage(options: BrowserContextOptions, check: (own: OwnPage) => Promise<void>): Promise<void> {
  if (executablePath === undefined) {
    console.log('SKIPPED: no Chromium here (Debian: apt-get install chromium; elsewhere CHROMIUM=PATH)');
    return;
  }
  const directory = packagePath('models/tales-6m-instruct');
  const server = await serveWeb([{ id: 'tales-6m-instruct', directory }], '127.0.0.1', 0);
  const { context, wrong, close } = await launch({ viewport: { width: 1440, height: 900 }, ...options });
  try {
    await check({ context, wrong, url: server.url });
    deepStrictEqual(wrong, []);
    console.log('ok: no errors on the console, no request to another origin');
  } finally {
    await close();
    await server.close();
  }
}
