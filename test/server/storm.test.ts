// A little of storm.ts: broken requests, what is hardly HTTP, and clients that vanish.

import { expect, it } from 'vitest';
import { load } from '../../src/index.js';
import { createServer } from '../../src/server.js';
import { listen } from './port.js';
import { broken, hardlyHttp, overload, vanish } from './storm.js';

it('stands broken requests, vanishing clients and too many of them', async () => {
  const model = await load('tales-6m', { slots: 4, context: 128 });
  const handler = await createServer({ models: [model], queue: 8, maxTokens: 100 });
  const port = await listen(handler);
  const { statuses, slowestMs } = await broken(handler, 250, 7);
  expect(statuses[400]).toBeGreaterThan(50);
  expect(slowestMs).toBeLessThan(30_000);
  for (const answer of await hardlyHttp(port.url)) expect(answer).toMatch(/^closed$| (200|204|4\d\d) /);
  expect(await vanish(port.url, 24, 6)).toBeGreaterThan(0);
  const { answered, refused, lost } = await overload(port.url, 40, 400);
  expect([answered > 0, refused > 0, lost]).toEqual([true, true, 0]);
  await expect.poll(() => handler.active, { timeout: 30_000 }).toBe(0);
  expect((await fetch(`${port.url}/health`)).status).toBe(200);
  await port.close();
  await model.dispose();
});
