// The server without a socket: who may ask, what is too much, which models stay loaded, how it stops.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load, type Model } from '../../src/index.js';
import {
  createHandler,
  createServer,
  type Handler,
  type HandlerOptions,
  loopbackHosts,
  type ModelSource,
  type RequestLog,
} from '../../src/server.js';

const golden = fileURLToPath(new URL('../golden', import.meta.url));
let model: Model;
beforeAll(async () => {
  model = await load('tales-6m', { slots: 2, context: 128 });
});
afterAll(() => model.dispose());

/** A source of the one model, which tells when it is opened and closed. */
function source(id = 'tales', bytes = 1, told: string[] = []): ModelSource {
  return {
    ...{ id, bytes, slots: 2, created: 1 },
    open: async () => {
      told.push(`open ${id}`);
      return {
        ...{ model, slots: 2 },
        close: async () => {
          told.push(`close ${id}`);
        },
      };
    },
  };
}

function create(options: Partial<HandlerOptions> = {}): Handler {
  return createHandler({ models: [source()], ...options });
}

function ask(handler: Handler, path: string, init: RequestInit & { json?: unknown } = {}): Promise<Response> {
  const { json, ...rest } = init;
  const body = json === undefined ? rest.body : JSON.stringify(json);
  return handler.fetch(new Request(`http://localhost:8383${path}`, { method: body ? 'POST' : 'GET', ...rest, body }));
}

const story = { prompt: 'Once upon a time', max_tokens: 2, temperature: 0 };
const error = async (response: Response): Promise<string> => (await response.json()).error.message;

describe('guards', () => {
  it('ask for a key, but not for health', async () => {
    const handler = create({ apiKeys: ['right', 'second'] });
    expect((await ask(handler, '/v1/models')).status).toBe(401);
    const asked = (key: string) => ask(handler, '/v1/models', { headers: { authorization: `Bearer ${key}` } });
    expect((await asked('wrong')).status).toBe(401);
    expect((await asked('rightx')).status).toBe(401);
    expect((await asked('second')).status).toBe(200);
    expect((await ask(handler, '/metrics')).status).toBe(401);
    expect((await ask(handler, '/health')).status).toBe(200);
    expect((await ask(handler, '/ready')).status).toBe(200);
  });

  it('take a client that goes in the middle of its body for no defect', async () => {
    const defects: unknown[] = [];
    const handler = create({ onDefect: (defect) => defects.push(defect) });
    const body = new ReadableStream({
      pull(controller) {
        controller.error(new Error('aborted'));
      },
    });
    const response = await ask(handler, '/v1/completions', { body, duplex: 'half' } as RequestInit);
    expect([response.status, await error(response), defects]).toEqual([499, 'the client has gone', []]);
  });

  it('answer to names of this machine only', async () => {
    const handler = create({ hosts: loopbackHosts });
    const named = (host: string) => ask(handler, '/v1/models', { headers: { host } });
    expect((await named('localhost:8383')).status).toBe(200);
    expect((await named('[::1]:8383')).status).toBe(200);
    expect((await named('127.0.0.1')).status).toBe(200);
    expect((await named('evil.example:8383')).status).toBe(403);
    expect((await named('localhost.evil.example')).status).toBe(403);
  });

  it('let pages of listed origins ask, and their own', async () => {
    const from = (handler: Handler, origin: string, method = 'GET') =>
      ask(handler, '/v1/models', { method, headers: { origin } });
    const closed = create();
    expect((await from(closed, 'https://evil.example')).status).toBe(403);
    expect((await from(closed, 'http://localhost:8383')).status).toBe(200);
    const open = create({ origins: ['https://app.example'] });
    const preflight = await from(open, 'https://app.example', 'OPTIONS');
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-origin')).toBe('https://app.example');
    expect((await from(open, 'https://evil.example')).status).toBe(403);
    expect((await from(create({ origins: ['*'] }), 'https://any.example')).headers.get('access-control-allow-origin')).toBe(
      'https://any.example',
    );
  });

  it.each([
    ['not JSON', '{', 400],
    ['no object', '[1]', 400],
    ['null', 'null', 400],
    ['no UTF-8', new Uint8Array([0x7b, 0xff, 0x7d]), 400],
    ['too deep', `{"a":${'['.repeat(200)}${']'.repeat(200)}}`, 400],
    ['far too deep', `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 400],
    ['too large', JSON.stringify({ ...story, prompt: 'x'.repeat(300_000) }), 413],
  ])('refuse a body that is %s', async (_, body, status) => {
    const response = await ask(create({ maxBody: 250_000 }), '/v1/completions', { body });
    expect(response.status).toBe(status);
    expect(await error(response)).toMatch(/^the body is/);
  });

  it('serve only the files they were given', async () => {
    const handler = create({ assets: { '/': { type: 'text/html', body: 'page' } } });
    const page = await ask(handler, '/');
    expect(await page.text()).toBe('page');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    const head = await ask(handler, '/', { method: 'HEAD' });
    expect([head.status, head.headers.get('content-type'), await head.text()]).toEqual([200, 'text/html', '']);
    for (const path of ['/package.json', '/../package.json', '/%2e%2e/package.json', '/constructor', '/__proto__'])
      expect((await ask(handler, path)).status).toBe(404);
  });
});

describe('requests that are put wrongly', () => {
  it('are told of a path by its method, of packed bodies, and of numbers that JSON has no word for', async () => {
    const handler = create({});
    const wrong = await ask(handler, '/v1/completions');
    expect([wrong.status, await error(wrong)]).toEqual([405, '/v1/completions takes POST, not GET']);
    for (const path of ['/api/tags', '/api/ps', '/api/version', '/metrics', '/v1/models'])
      expect((await ask(handler, path, { method: 'DELETE' })).status).toBe(405);
    expect((await ask(handler, '/v1/models', { method: 'HEAD' })).status).toBe(200);
    const packed = await ask(handler, '/v1/completions', { json: story, headers: { 'content-encoding': 'gzip' } });
    expect([packed.status, await error(packed)]).toEqual([
      415,
      'bodies in "gzip" are not read: send it without Content-Encoding',
    ]);
    const same = await ask(handler, '/v1/completions', { json: story, headers: { 'content-encoding': 'identity' } });
    expect(same.status).toBe(200);
    const endless = await ask(handler, '/v1/completions', { method: 'POST', body: '{"prompt": "a", "temperature": 1e999}' });
    expect(await error(endless)).toMatch(/^temperature is Infinity; expected/);
    for (const [path, field] of Object.entries({
      '/v1/chat/completions': 'messages',
      '/v1/embeddings': 'input',
      '/v1/responses': 'input',
    }))
      expect(await error(await ask(handler, path, { json: {} }))).toMatch(new RegExp(`^${field} is missing; expected`));
  });
});

describe('limits', () => {
  it('refuse with 429 what has no room, and lose nothing else', async () => {
    const handler = create({ queue: 2 });
    const asked = await Promise.all(
      Array.from({ length: 40 }, () => ask(handler, '/v1/completions', { json: { ...story, max_tokens: 20 } })),
    );
    const refused = asked.filter(({ status }) => status === 429);
    expect(asked.filter(({ status }) => status === 200)).toHaveLength(4);
    expect(refused).toHaveLength(36);
    expect(Number(refused[0].headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(handler.active).toBe(0);
    expect((await ask(handler, '/v1/completions', { json: story })).status).toBe(200);
  });

  it('end an answer that takes too long, with a status or in its stream', async () => {
    const handler = create({ timeout: 100 });
    const long = { ...story, max_tokens: 5000, ignore_eos: true, temperature: 1, best_of: 2 };
    const whole = await Promise.all(Array.from({ length: 8 }, () => ask(handler, '/v1/completions', { json: long })));
    expect(new Set(whole.map(({ status }) => status))).toContain(504);
    const late = await ask(create({ timeout: 30 }), '/v1/completions', { json: { ...long, best_of: 1, stream: true } });
    const text = await late.text();
    if (late.status === 200 && !text.includes('"length"')) expect(text).toContain('longer than 0.03 s');
    expect(handler.active).toBe(0);
  });

  it('cap the tokens of an answer', async () => {
    const response = await ask(create({ maxTokens: 3 }), '/v1/completions', { json: { ...story, max_tokens: 50 } });
    expect((await response.json()).usage.completion_tokens).toBe(3);
  });
});

describe('models', () => {
  it('are put away, the longest unused first, when the next has no room', async () => {
    const told: string[] = [];
    const models = ['a', 'b', 'c'].map((id) => source(id, 10, told));
    const handler = create({ models, memory: 25 });
    for (const name of ['a', 'b', 'a', 'c', 'b']) await ask(handler, '/v1/completions', { json: { ...story, model: name } });
    expect(told).toEqual(['open a', 'open b', 'close b', 'open c', 'close a', 'open b']);
    await handler.stop();
    expect(told.slice(6).sort()).toEqual(['close b', 'close c']);
  });

  it('that are in use stay, and the others are asked to come back', async () => {
    const handler = create({ models: [source('a', 10), source('b', 10)], memory: 15 });
    const stream = await ask(handler, '/v1/completions', { json: { ...story, model: 'a', stream: true, max_tokens: 100 } });
    const other = await ask(handler, '/v1/completions', { json: { ...story, model: 'b' } });
    expect([other.status, other.headers.get('retry-after')]).toEqual([503, '5']);
    await stream.text();
    expect((await ask(handler, '/v1/completions', { json: { ...story, model: 'b' } })).status).toBe(200);
  });

  it('answer with the adapter that is named after the colon', async () => {
    const [base, dora, lora] = ['models/tiny-train', 'peft/dora_hf', 'peft/lora_hf'].map((name) => join(golden, name));
    const served = { model: base, name: 'tiny', adapters: { dora, lora }, slots: 2 };
    const handler = await createServer({ models: [served] });
    const own = await load(base, { adapters: { dora, lora } });
    const ids = [5, 9, 2, 7, 11, 3];
    const { data } = await (await ask(handler, '/v1/models')).json();
    expect(data.map(({ id }: { id: string }) => id)).toEqual(['tiny', 'tiny:dora', 'tiny:lora']);
    const seen = new Set<string>();
    for (const [name, adapter] of [
      ['tiny', null],
      ['tiny:dora', 'dora'],
      ['tiny:lora', 'lora'],
    ] as const) {
      const json = { model: name, prompt: ids, echo: true, logprobs: 1, max_tokens: 0 };
      const { choices } = await (await ask(handler, '/v1/completions', { json })).json();
      expect(choices[0].logprobs.token_logprobs).toEqual((await own.score(ids, undefined, adapter)).logprobs);
      seen.add(JSON.stringify(choices[0].logprobs.token_logprobs));
    }
    expect(seen.size).toBe(3);
    await handler.stop();
    await own.dispose();
  });

  it('that cannot be loaded are tried again', async () => {
    let tries = 0;
    const open = (): ReturnType<ModelSource['open']> => {
      if (tries++ === 0) throw new Error('secret of the disk');
      return source().open();
    };
    const defects: unknown[] = [];
    const handler = create({ models: [{ ...source(), open }], onDefect: (defect) => defects.push(defect) });
    const first = await ask(handler, '/v1/completions', { json: story });
    expect([first.status, await error(first)]).toEqual([500, 'internal error: the log of the server says more']);
    expect(defects).toHaveLength(1);
    expect((await ask(handler, '/v1/completions', { json: story })).status).toBe(200);
  });
});

describe('what is told', () => {
  it('has no text of the request unless it is asked for', async () => {
    const log: RequestLog[] = [];
    const onRequest = (entry: RequestLog): void => void log.push(entry);
    await ask(create({ onRequest }), '/v1/completions', { json: story });
    await ask(create({ onRequest, logBodies: true }), '/v1/completions', { json: story });
    expect(log[0]).toMatchObject({ method: 'POST', path: '/v1/completions', status: 200, model: 'tales', generated_tokens: 2 });
    expect(JSON.stringify(log[0])).not.toContain('upon');
    expect(log[1].body).toEqual(story);
  });

  it('counts for Prometheus', async () => {
    const handler = create({ residentMemory: () => 42 });
    await ask(handler, '/v1/completions', { json: story });
    await ask(handler, '/api/tags');
    await ask(handler, `/${'x'.repeat(10)}`);
    const text = await (await ask(handler, '/metrics')).text();
    expect(text).toContain('openelm_requests_total{path="/v1/completions",status="200"} 1');
    expect(text).toContain('openelm_requests_total{path="/api/tags",status="200"} 1');
    expect(text).toContain('openelm_requests_total{path="other",status="404"} 1');
    expect(text).toContain('openelm_generated_tokens_total{model="tales"} 2');
    expect(text).toContain('openelm_requests_running{model="tales"} 0');
    expect(text).toContain('process_resident_memory_bytes 42');
  });
});

describe('stopping', () => {
  it('finishes what is under way, refuses what comes, and ends what takes too long', async () => {
    const handler = create();
    const short = ask(handler, '/v1/completions', { json: { ...story, max_tokens: 20 } });
    while (handler.active === 0) await new Promise(setImmediate);
    const stopped = handler.stop(60_000);
    expect((await ask(handler, '/ready')).status).toBe(503);
    expect((await ask(handler, '/v1/completions', { json: story })).status).toBe(503);
    expect((await short).status).toBe(200);
    await stopped;
    const other = create();
    const long = ask(other, '/v1/completions', { json: { ...story, max_tokens: 5000, ignore_eos: true, best_of: 2 } });
    await new Promise((resolve) => setTimeout(resolve, 5));
    await other.stop(0);
    expect([200, 503]).toContain((await long).status);
  });
});
