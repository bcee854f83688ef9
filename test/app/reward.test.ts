// The three places where rewards of answers come from, and what each says when it gives none.

import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openReward } from '../../src/app/reward.js';
import type { FileRow } from '../../src/data/readers.js';
import { load } from '../../src/index.js';
import { temporaryFolder } from '../temporary.js';

const messages = [{ role: 'user', content: 'Once upon a time' }] as const;
const answers = [
  { text: ', there was a little girl.', ended: true },
  { text: ' zebra zebra qu', ended: false },
];
const row = { file: 'prompts.jsonl', row: 3, value: { prompt: 'Once upon a time' } } as unknown as FileRow;

const directory = temporaryFolder();
let server: Server;
let address: string;
let reply: (asked: { answers: { text: string }[]; row: unknown }) => [status: number, body: string];
beforeAll(async () => {
  server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    const [status, text] = reply(JSON.parse(body));
    response.writeHead(status).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/reward`;
});
afterAll(async () => {
  server.close();
});

it('a module is given the answer, the conversation and the row', async () => {
  const file = join(directory, 'reward.mjs');
  await writeFile(
    file,
    'export const reward = ({ text, ended, messages, row }) => text.length + 100 * ended + messages.length + row.prompt.length;',
  );
  expect(await (await openReward({ module: file })).of(messages, answers, row)).toEqual([26 + 100 + 1 + 16, 15 + 1 + 16]);
  await writeFile(join(directory, 'none.mjs'), 'export const score = 1;');
  await expect(openReward({ module: join(directory, 'none.mjs') })).rejects.toThrow(/exports no function "reward"/);
  await writeFile(join(directory, 'nan.mjs'), 'export const reward = () => Number.NaN;');
  const nan = await openReward({ module: join(directory, 'nan.mjs') });
  await expect(nan.of(messages, answers, row)).rejects.toThrow(/the reward of an answer to prompts\.jsonl, row 3, is NaN/);
});

it('a module that never answers is not waited for', async () => {
  const file = join(directory, 'never.mjs');
  await writeFile(file, 'export const reward = () => new Promise(() => {});');
  const reward = await openReward({ module: file }, { timeout: 5 });
  await expect(reward.of(messages, answers, row)).rejects.toThrow(
    /reward fails on prompts\.jsonl, row 3: no reward within 0\.005 s/,
  );
  const stop = new AbortController();
  const asked = (await openReward({ module: file })).of(messages, answers, row, stop.signal);
  stop.abort();
  await expect(asked).rejects.toBe(stop.signal.reason);
});

it('a module that keeps its thread busy, or ends it, stops nothing else', async () => {
  const file = join(directory, 'busy.mjs');
  await writeFile(file, 'export const reward = ({ ended }) => { for (;;) if (!ended) process.exit(3); };');
  const busy = await openReward({ module: file }, { timeout: 5 });
  await expect(busy.of(messages, answers.slice(0, 1), row)).rejects.toThrow(/row 3: no reward within 0\.005 s/);
  await busy.close();
  const gone = await openReward({ module: file });
  await expect(gone.of(messages, answers.slice(1), row)).rejects.toThrow(/row 3: the module ended its thread \(code 3\)/);
  await expect(gone.of(messages, answers, row)).rejects.toThrow(/ended its thread/);
  await writeFile(file, 'throw new Error("no key");');
  await expect(openReward({ module: file })).rejects.toThrow(/busy\.mjs: cannot be loaded as a module: no key/);
  await writeFile(join(directory, 'odd.mjs'), 'export const reward = async () => () => 1;');
  const odd = await openReward({ module: join(directory, 'odd.mjs') });
  await expect(odd.of(messages, answers, row)).rejects.toThrow(/row 3, is "\(\) => 1", expected a finite number/);
});

it('an endpoint is asked once for all answers to a prompt', async () => {
  const reward = await openReward({ url: address }, { retries: 1, retryDelay: 1 });
  reply = ({ answers: given, row: asked }) => [
    200,
    JSON.stringify({ rewards: given.map(({ text }) => text.length + Object.keys(asked as object).length) }),
  ];
  expect(await reward.of(messages, answers, row)).toEqual([27, 16]);
  reply = () => [200, '{"rewards": [1]}'];
  await expect(reward.of(messages, answers, row)).rejects.toThrow(/expected \{"rewards": \[\.\.\.\]\} with 2 numbers/);
  reply = () => [500, 'no'];
  await expect(reward.of(messages, answers, row)).rejects.toThrow(
    /no rewards for prompts\.jsonl, row 3: .*: the server answers 500/,
  );
  reply = () => [200, '{"rewards": ["1", "2"]}'];
  await expect(reward.of(messages, answers, row)).rejects.toThrow(/row 3, is "1", expected a finite number/);
  const replies: [number, string][] = [
    [503, 'busy'],
    [200, '{"rewards": [1, 2]}'],
  ];
  reply = () => replies.shift()!;
  expect(await reward.of(messages, answers, row)).toEqual([1, 2]);
  const secret = await openReward({ url: `${address}?token=hidden` }, { retries: 0 });
  reply = () => [500, 'no'];
  await expect(secret.of(messages, answers, row)).rejects.toThrow(/^(?!.*hidden)/);
});

it('a model finds a likely answer better than an unlikely one', async () => {
  const writer = await load();
  const { text } = await writer.complete(messages, { maxTokens: 12, temperature: 0 });
  await writer.dispose();
  const reward = await openReward({ model: 'tales-6m' });
  const [likely, unlikely] = await reward.of(messages, [{ text, ended: false }, answers[1]], row);
  await reward.close();
  expect(likely).toBeLessThan(0);
  expect(unlikely).toBeLessThan(likely - 2);
});
