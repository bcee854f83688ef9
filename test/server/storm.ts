// What a server must stand: requests that are broken in every way, more of them than it has room for, and clients that vanish. `npx tsx
// test/server/storm.ts [--requests 5000] [--clients 1000] [--seconds 60] [--seed 1]` is the whole of it; the tests take a little.

import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { load } from '../../src/index.js';
import { createServer, type Handler } from '../../src/server.js';
import { seededRandom } from '../io/build.js';
import { listen } from './port.js';

/** Sound requests, to be broken. */
const bodies: readonly (readonly [path: string, body: Record<string, unknown>])[] = [
  [
    '/v1/completions',
    {
      model: 'tales-6m',
      prompt: 'Once upon a time',
      max_tokens: 2,
      temperature: 0.5,
      top_p: 0.9,
      stop: ['x'],
      logit_bias: { 5: 1 },
    },
  ],
  ['/v1/completions', { prompt: [[1, 5, 9], 'text'], max_tokens: 1, echo: true, logprobs: 2, n: 2, best_of: 2, seed: 3 }],
  [
    '/v1/chat/completions',
    {
      messages: [
        { role: 'system', content: 'a' },
        { role: 'user', content: [{ type: 'text', text: 'b' }] },
      ],
      max_tokens: 2,
    },
  ],
  [
    '/v1/chat/completions',
    { messages: [{ role: 'user', content: 'b' }], stream: true, stream_options: { include_usage: true }, max_tokens: 2 },
  ],
  [
    '/v1/chat/completions',
    {
      ...{ messages: [{ role: 'user', content: 'b' }], max_tokens: 3 },
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'x', schema: { type: 'object', properties: { a: { enum: [1, 'b'] } } } },
      },
    },
  ],
  [
    '/v1/responses',
    { input: [{ role: 'user', content: [{ type: 'input_text', text: 'x' }] }], instructions: 'y', max_output_tokens: 2 },
  ],
  ['/v1/embeddings', { input: ['a b c', 'd'], encoding_format: 'base64' }],
  [
    '/api/chat',
    { model: 'tales-6m', messages: [{ role: 'user', content: 'x' }], options: { num_predict: 2, seed: 1 }, stream: false },
  ],
  ['/api/generate', { model: 'tales-6m', prompt: 'x', system: 'y', raw: true, format: 'json', options: { num_predict: 2 } }],
  ['/api/show', { model: 'tales-6m' }],
];

const nasty: readonly unknown[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    1e308,
    -0.5,
    2 ** 53,
    '',
    'x',
    '\u0000',
    '\ud800',
    '__proto__',
    [],
    [[]],
    {},
    { __proto__: 1 },
    [null],
  ],
  ...[{ constructor: 1 }, [1e9], ['a', 1], { role: 'user' }, 'x'.repeat(5000), Array.from({ length: 300 }, (_, i) => i)],
];

export interface Outcome {
  readonly statuses: Readonly<Record<number, number>>;
  readonly slowestMs: number;
}

/** Sends `count` broken requests to the handler. Throws on a status that is neither 200 nor 4xx, and on an answer that shows the inside. */
export async function broken(handler: Handler, count: number, seed: number): Promise<Outcome> {
  const random = seededRandom(seed);
  const pick = <Item>(list: readonly Item[]): Item => list[Math.floor(random() * list.length)];
  const statuses: Record<number, number> = {};
  let slowestMs = 0;
  for (let i = 0; i < count; i++) {
    const [path, body] = pick(bodies);
    const sent = random() < 0.6 ? JSON.stringify(changed(body, random, pick)) : damaged(JSON.stringify(body), random);
    const headers: Record<string, string> = random() < 0.1 ? { 'content-length': pick(['-1', 'x', '999999999999', '0']) } : {};
    const url = `http://localhost${random() < 0.05 ? `${path}${pick(['/', '?x', '%00', '/../..', '%ff'])}` : path}`;
    const began = performance.now();
    const response = await handler.fetch(
      new Request(url, { method: random() < 0.05 ? 'PUT' : 'POST', headers, body: sent as BodyInit }),
    );
    const text = await response.text();
    slowestMs = Math.max(slowestMs, performance.now() - began);
    statuses[response.status] = (statuses[response.status] ?? 0) + 1;
    const inside = /\n {4}at |\.ts:\d|node_modules|internal error/.test(text);
    if (response.status !== 200 && (response.status < 400 || response.status > 499))
      throw new Error(`${response.status} for ${path} ${sent}: ${text}`);
    if (inside) throw new Error(`the inside is shown for ${path} ${sent}: ${text}`);
  }
  return { statuses, slowestMs };
}

type Pick = <Item>(list: readonly Item[]) => Item;

/** A body with one of its values, however deep, replaced, taken away or renamed. */
function changed(body: Record<string, unknown>, random: () => number, pick: Pick): unknown {
  const copy = structuredClone(body);
  const places: [Record<string, unknown>, string][] = [];
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const key of Object.keys(value)) {
      places.push([value as Record<string, unknown>, key]);
      visit((value as Record<string, unknown>)[key]);
    }
  };
  visit(copy);
  const [parent, key] = pick(places);
  const kind = random();
  if (kind < 0.1 && !Array.isArray(parent)) delete parent[key];
  else if (kind < 0.2 && !Array.isArray(parent)) parent[`${key}x`] = parent[key];
  else parent[key] = pick(nasty);
  return copy;
}

/** A text's bytes with some flipped, cut, doubled or put in. */
function damaged(text: string, random: () => number): Uint8Array {
  let bytes: Uint8Array = new TextEncoder().encode(text);
  for (let times = 1 + Math.floor(random() * 3); times > 0; times--) {
    const at = Math.floor(random() * bytes.length);
    const kind = random();
    if (kind < 0.5) bytes[at] = Math.floor(random() * 256);
    else if (kind < 0.7) bytes = bytes.slice(0, at);
    else if (kind < 0.9) bytes = Uint8Array.from([...bytes.slice(0, at), ...bytes.slice(Math.max(0, at - 5))]);
    else bytes = Uint8Array.from([...bytes.slice(0, at), 0xff, 0x22, 0x7b, ...bytes.slice(at)]);
  }
  return bytes;
}

/** Writes what is hardly HTTP to a port; each must be answered with 4xx, or its connection ended, in time. */
export async function hardlyHttp(url: string): Promise<string[]> {
  const { hostname, port } = new URL(url);
  const post = (body: string, headers = `content-length: ${body.length}`): string =>
    `POST /v1/completions HTTP/1.1\r\nhost: ${hostname}:${port}\r\n${headers}\r\n\r\n${body}`;
  const texts = [
    'nonsense\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    'GET /\u0000 HTTP/1.1\r\nhost: localhost\r\n\r\n',
    `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`,
    'GET / HTTP/1.1\r\nhost: evil.example\r\nhost: localhost\r\n\r\n',
    post('{}', 'content-length: 10\r\ncontent-length: 2'),
    post('zz\r\n{}\r\n0\r\n\r\n', 'transfer-encoding: chunked'),
    post('{}', 'content-length: 2\r\ntransfer-encoding: chunked'),
    post('{"prompt": 1}').repeat(20),
    'OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n',
    'CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n',
  ];
  return Promise.all(
    texts.map(
      (text) =>
        new Promise<string>((resolve) => {
          let got = '';
          const socket = connect(Number(port), hostname, () => socket.end(text));
          socket.setTimeout(10_000, () => socket.destroy(new Error('no answer in time')));
          socket.on('data', (data) => {
            got += data.toString('latin1');
          });
          socket.on('error', (error) => {
            got += error.message.includes('in time') ? 'HANGS' : '';
          });
          socket.on('close', () => resolve(got.split('\r\n')[0] || 'closed'));
        }),
    ),
  );
}

/** Clients over a real port that leave in the middle of their streams. Returns how many had begun. */
export async function vanish(url: string, clients: number, atOnce: number): Promise<number> {
  let begun = 0;
  let next = 0;
  const body = JSON.stringify({ prompt: 'Once upon a time', max_tokens: 200, stream: true, ignore_eos: true });
  const client = async (): Promise<void> => {
    while (next++ < clients) {
      const controller = new AbortController();
      try {
        const response = await fetch(`${url}/v1/completions`, { method: 'POST', body, signal: controller.signal });
        if (!response.ok) continue;
        begun++;
        await response.body!.getReader().read();
      } finally {
        controller.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, client));
  return begun;
}

export interface Load {
  readonly answered: number;
  readonly refused: number;
  readonly lost: number;
  readonly slowestMs: number;
  /** Resident bytes by second. */
  readonly memory: readonly number[];
}

/** Keeps `atOnce` requests under way for some time, and until one is refused, from a process of their own, so that they do not take the server's turns. */
export async function overload(url: string, atOnce: number, milliseconds: number): Promise<Load> {
  const memory: number[] = [];
  const watch = setInterval(() => memory.push(process.memoryUsage.rss()), 1000);
  const args = ['--input-type=module', '-e', clients, url, String(atOnce), String(milliseconds)];
  const { stdout } = await promisify(execFile)(process.execPath, args).finally(() => clearInterval(watch));
  return { ...(JSON.parse(stdout) as Omit<Load, 'memory'>), memory };
}

const clients = `
const [url, atOnce, milliseconds] = process.argv.slice(1);
const until = performance.now() + Number(milliseconds);
let [answered, refused, lost, slowestMs] = [0, 0, 0, 0];
async function client(k) {
  for (let i = 0; performance.now() < (refused > 0 ? until : until + 60_000); i++) {
    const began = performance.now();
    try {
      const body = JSON.stringify({ prompt: 'Once ' + k + ' upon ' + i, max_tokens: 8, seed: i });
      const response = await fetch(url + '/v1/completions', { method: 'POST', body });
      const answer = await response.json();
      if (response.status === 429) {
        refused++;
        await new Promise((resolve) => setTimeout(resolve, 50));
      } else if (response.ok && answer.choices?.length === 1) {
        answered++;
        slowestMs = Math.max(slowestMs, performance.now() - began);
      } else lost++;
    } catch {
      lost++;
    }
  }
}
await Promise.all(Array.from({ length: Number(atOnce) }, (_, k) => client(k)));
console.log(JSON.stringify({ answered, refused, lost, slowestMs }));
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      ...{ requests: { type: 'string', default: '5000' }, clients: { type: 'string', default: '1000' } },
      ...{ seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: '1' } },
    },
  });
  const model = await load('tales-6m', { slots: 4, context: 256 });
  const handler = await createServer({ models: [model], queue: 8, maxTokens: 200 });
  const port = await listen(handler);
  const fails: string[] = [];
  const check = (holds: boolean, what: string): void => {
    console.log(`${holds ? 'ok  ' : 'FAIL'} ${what}`);
    if (!holds) fails.push(what);
  };
  const outcome = await broken(handler, Number(values.requests), Number(values.seed));
  check(true, `${values.requests} broken requests: ${JSON.stringify(outcome)}`);
  const answers = await hardlyHttp(port.url);
  check(
    answers.every((answer) => answer === 'closed' || / (200|204|4\d\d) /.test(answer)),
    `what is hardly HTTP: ${answers.join(' | ')}`,
  );
  const begun = await vanish(port.url, Number(values.clients), 12);
  await new Promise((resolve) => setTimeout(resolve, 500));
  check(
    handler.active === 0,
    `${values.clients} clients vanished, ${begun} in the middle of a stream; ${handler.active} are still answered`,
  );
  const load10 = await overload(port.url, 120, Number(values.seconds) * 1000);
  // Between two collections garbage comes and goes by a tenth, so ten seconds' medians are compared: the first after ten of warming up, the last.
  const tenth = (from: number): number =>
    load10.memory
      .slice(from)
      .slice(0, 10)
      .sort((a, b) => a - b)[5] ?? Number.NaN;
  const growth = tenth(-10) / tenth(10) - 1;
  check(
    load10.lost === 0,
    `120 at once for ${values.seconds} s: ${load10.answered} answered, ${load10.refused} refused, ${load10.lost} lost`,
  );
  check(
    growth < 0.05,
    `memory ${(100 * growth).toFixed(1)}% larger at the end, slowest answer ${load10.slowestMs.toFixed(0)} ms`,
  );
  await port.close();
  await model.dispose();
  process.exitCode = fails.length > 0 ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
