// The HTTP scorer against a server on this machine that answers as OpenAI's completions do, with the golden model behind it: the
// numbers must be the local scorer's. Then servers that are busy, slow, broken or refuse.

import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import { InputError } from '../../src/errors.js';
import { type HttpScorerOptions, httpScorer } from '../../src/eval/http.js';
import { type LocalScorer, localScorer } from '../../src/eval/local.js';
import type { LoglikelihoodRequest, Scorer } from '../../src/eval/scorer.js';
import { Engine } from '../../src/infer/engine.js';
import { openWeights } from '../../src/io/node/weights.js';
import { configFromHuggingFace } from '../../src/model/config.js';
import { type LoadedModel, loadModel } from '../../src/model/load.js';
import { checkWeights } from '../../src/model/parameters.js';
import type { Backend } from '../../src/tensor/backend.js';
import { byteTokenizer } from '../judge/eval-model.js';

interface Body {
  readonly model: string;
  readonly prompt: string | number[];
  readonly max_tokens: number;
  readonly echo?: boolean;
  readonly stop?: string[];
}

type Answer = (body: Body, request: IncomingMessage, response: ServerResponse) => unknown;

const directory = fileURLToPath(new URL('../golden/eval/model', import.meta.url));
let backend: Backend;
let loaded: LoadedModel;
let engine: Engine;
let local: LocalScorer;
const servers: Server[] = [];

beforeAll(async () => {
  const native = nativeBackend({ threads: 2 });
  backend = 'backend' in native ? native.backend : referenceBackend();
  const file = join(directory, 'config.json');
  const weights = await openWeights(directory);
  const config = configFromHuggingFace(JSON.parse(readFileSync(file, 'utf8')), file);
  loaded = await loadModel(backend, config, checkWeights(config, weights.tensors, file));
  await weights.close();
  engine = new Engine(backend, loaded.model, { cacheType: 'f32' });
  local = localScorer({ name: 'alice', backend, model: loaded.model, tokenizer: byteTokenizer });
});

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

afterAll(async () => {
  await local.dispose();
  await engine.dispose();
  loaded.free();
  await backend.dispose();
});

/** Serves `answer`'s JSON (or what it sends itself) and gives the address and what was asked. */
async function serve(answer: Answer): Promise<{ url: string; bodies: Body[] }> {
  const bodies: Body[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', async () => {
      const body = JSON.parse(text) as Body;
      bodies.push(body);
      if (request.url !== '/v1/completions') response.writeHead(404).end();
      const json = await answer(body, request, response);
      if (json !== undefined) response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies };
}

/** As vLLM: text gets a BOS whose name counts in the offsets; ids are taken as they are; one more token is generated. */
const completions: Answer = async ({ prompt, max_tokens, echo }) => {
  const given = typeof prompt === 'string' ? [1, ...byteTokenizer.encodeTemplate(prompt)] : prompt;
  const generated: number[] = [];
  for await (const id of engine.generate(given, { temperature: 0, maxTokens: max_tokens })) generated.push(id);
  const text = byteTokenizer.decode(generated);
  if (!echo) return { choices: [{ text }] };
  const ids = [...given, ...generated];
  const { logprobs, greedy } = await engine.score(ids);
  const tokens = ids.map((id) => (id === 1 ? '<s>' : byteTokenizer.decode([id])));
  // Where the character of each token begins: a character may have several tokens.
  const begins = (id: number): boolean => id >= 3 && (id - 3) >> 6 !== 2;
  const shift = given[0] === 1 ? '<s>'.length : 0;
  const offsets = ids.map((_, i) => (i === 0 ? 0 : shift - 1 + ids.slice(0, i + 1).filter(begins).length));
  // What another token would have had: more than one that is not the most probable.
  const top = logprobs.map((value, i) => (value === null ? null : { other: value + (greedy[i] ? -1 : 1), [tokens[i]]: value }));
  return { choices: [{ text, logprobs: { tokens, token_logprobs: logprobs, top_logprobs: top, text_offset: offsets } }] };
};

const requests: LoglikelihoodRequest[] = [
  { context: 'Alice said', continuation: ' nothing' },
  { context: 'The Queen ', continuation: 'she was' },
  { context: 'The Queen', continuation: ' ' },
  { context: 'café \n', continuation: 'was “there”' },
  { context: '"What is', continuation: ' should b' },
];

const open = (url: string, options: Partial<HttpScorerOptions> = {}): Scorer =>
  httpScorer({ baseUrl: url, model: 'alice', retryDelay: 1, ...options });
const one = (scorer: Scorer) => scorer.loglikelihood(requests.slice(0, 1));

async function expectLikeLocal(scorer: Scorer): Promise<void> {
  const expected = await local.loglikelihood(requests);
  const found = await scorer.loglikelihood(requests);
  for (const [i, { logprob, greedy }] of found.entries()) {
    expect(logprob).toBeCloseTo(expected[i].logprob, 3);
    expect(greedy).toBe(expected[i].greedy);
  }
  expect(new Set(found.map(({ greedy }) => greedy)).size).toBe(2);
}

describe('HTTP scorer', () => {
  it('gives the local numbers when it sends ids', async () => {
    const { url, bodies } = await serve(completions);
    const scorer = open(url, { tokenizer: byteTokenizer, addBos: true, context: 96 });
    await expectLikeLocal(scorer);
    expect(bodies[0]).toMatchObject({ model: 'alice', echo: true, logprobs: 1, max_tokens: 1, temperature: 0 });
    expect(bodies.every(({ prompt }) => Array.isArray(prompt))).toBe(true);
    const empty = [{ context: '', continuation: 'Alice' }];
    expect((await scorer.loglikelihood(empty))[0].logprob).toBeCloseTo((await local.loglikelihood(empty))[0].logprob, 3);
    const long = [{ context: 'Alice was beginning to get very tired of sitting by her sister'.repeat(2), continuation: ' on' }];
    expect((await scorer.loglikelihood(long))[0].truncated).toBe(1 + 124 + 3 - 95);
    await expect(scorer.loglikelihood([...requests, { context: 'a', continuation: '' }])).rejects.toThrow(
      'request 5: the continuation',
    );
    const text = 'Alice was beginning to get very tired of sitting by her sister on the bank';
    expect((await scorer.loglikelihoodRolling([text]))[0]).toBeCloseTo((await local.loglikelihoodRolling([text]))[0], 3);
  });

  it('gives the local numbers when it sends text, by the offsets', async () => {
    const { url, bodies } = await serve(completions);
    const scorer = open(`${url}/v1/`);
    await expectLikeLocal(scorer);
    expect(bodies.map(({ prompt }) => prompt)).toContain('The Queen she was');
    await expect(scorer.loglikelihood([{ context: ' ', continuation: 'a' }])).rejects.toThrow('needs the prefix token');
    await expect(scorer.loglikelihoodRolling(['a'])).rejects.toThrow('give the tokenizer');
  });

  it('takes echoes without a generated token', async () => {
    const { url, bodies } = await serve(completions);
    await expectLikeLocal(open(url, { tokenizer: byteTokenizer, addBos: true, context: 96, echoTokens: 0 }));
    expect(bodies.every(({ max_tokens }) => max_tokens === 0)).toBe(true);
  });

  it('generates', async () => {
    const { url, bodies } = await serve(completions);
    const generate = [{ context: 'The Queen', until: ['.', ' of'], maxTokens: 30 }];
    const scorer = open(url, { tokenizer: byteTokenizer, addBos: true, context: 96 });
    expect(await scorer.generateUntil(generate)).toEqual(await local.generateUntil(generate));
    expect(bodies[0]).toMatchObject({ stop: ['.', ' of'], max_tokens: 30 });
    expect(await open(url).generateUntil(generate)).toEqual(await local.generateUntil(generate));
  });

  it('keeps the order and no more than its share under way', async () => {
    let now = 0;
    let most = 0;
    const { url } = await serve(async (body, request, response) => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 20 * Math.random()));
      now--;
      return completions(body, request, response);
    });
    const progress: number[] = [];
    const many = Array.from({ length: 20 }, (_, i) => ({ context: 'Alice', continuation: 'x'.repeat(i + 1) }));
    const found = await open(url, { concurrency: 3 }).loglikelihood(many, { onProgress: (done) => progress.push(done) });
    expect(most).toBe(3);
    expect(progress).toEqual(many.map((_, i) => i + 1));
    const logprobs = found.map(({ logprob }) => logprob);
    expect(logprobs).toEqual([...logprobs].sort((a, b) => b - a)); // each is longer, so less probable
  });

  it('tries again when the server is busy, drops the connection or is slow', async () => {
    let attempt = 0;
    const { url, bodies } = await serve((body, request, response) => {
      attempt++;
      if (attempt === 1) return void response.writeHead(429, { 'retry-after': '0' }).end();
      if (attempt === 2) return void request.socket.destroy();
      if (attempt === 3) return void response.writeHead(503).end('loading');
      if (attempt === 4) return undefined; // never answers
      return completions(body, request, response);
    });
    expect((await one(open(url, { timeout: 2000 }))).length).toBe(1);
    expect(bodies.length).toBe(5);
  });

  it('gives up with a sentence', async () => {
    const saying = async (answer: Answer, options: Partial<HttpScorerOptions> = {}) => {
      const { url, bodies } = await serve(answer);
      const error: unknown = await one(open(url, { retries: 2, ...options })).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(InputError);
      return `${bodies.length}: ${(error as InputError).message.replace(url, 'URL')}`;
    };
    const refusing = (status: number, text: string): Answer => {
      return (_body, _request, response) => void response.writeHead(status).end(text);
    };
    const at = 'URL/v1/completions';
    expect(await saying(refusing(404, '{"error":{"message":"model alice does not exist"}}'))).toBe(
      `1: ${at}: the server answers 404: model alice does not exist`,
    );
    expect(await saying(refusing(422, '{"detail":"no echo here"}'))).toBe(`1: ${at}: the server answers 422: no echo here`);
    expect(await saying(refusing(401, ''))).toBe(`1: ${at}: the server answers 401: Unauthorized`);
    const unreachable = open('http://127.0.0.1:1', { retryDelay: 60_000 });
    await expect(one(unreachable)).rejects.toThrow('/v1/completions: cannot be reached (bad port): is the server running there?');
    expect(await saying(refusing(500, 'oh'))).toBe(`3: ${at}: the server answers 500: oh`);
    expect(await saying(() => undefined, { timeout: 100, retries: 0 })).toBe(`1: ${at}: no answer within 0.1 s`);
    expect(await saying(refusing(200, '<html>'))).toBe(`1: ${at}: the answer is not JSON: "<html>"`);
    expect(await saying(() => ({ choices: [] }))).toMatch(/the answer has no choices$/);
    expect(await saying(() => ({ choices: [{ text: 'x' }] }))).toMatch(
      /no token_logprobs: the server must support `logprobs` with `echo`$/,
    );
    expect(await saying(() => ({ choices: [{ logprobs: { token_logprobs: [-1] } }] }))).toMatch(
      /no top_logprobs for its 1 token;/,
    );
    const bare = { token_logprobs: [-1], top_logprobs: [{ a: -1 }] };
    expect(await saying(() => ({ choices: [{ logprobs: bare }] }))).toMatch(/no text_offset: give the tokenizer/);
    // Only the generated token came back: the prompt was not echoed.
    const generated = { ...bare, tokens: ['a'], text_offset: [0] };
    expect(await saying(() => ({ choices: [{ logprobs: generated }] }))).toMatch(/does it echo the prompt\?$/);
    expect(await saying(() => ({ choices: [{ logprobs: generated }] }), { tokenizer: byteTokenizer })).toMatch(
      /18 tokens sent, 1 came back: does it echo/,
    );
    await expect(one(open('http://127.0.0.1:9', { retries: 1 }))).rejects.toThrow(
      /cannot be reached .*is the server running there\?/,
    );
    expect(() => open('localhost:8000')).toThrow('is no address of a server');
    expect(() => open('nonsense')).toThrow('is no address of a server');
  });

  it('takes any number of top_logprobs', async () => {
    const many = Object.fromEntries(Array.from({ length: 200_000 }, (_, i) => [`t${i}`, -2 - i]));
    const { url } = await serve(() => ({
      choices: [
        { logprobs: { tokens: ['a', 'b'], token_logprobs: [null, -1], top_logprobs: [null, many], text_offset: [0, 1] } },
      ],
    }));
    expect(await open(url).loglikelihood([{ context: 'a', continuation: 'b' }])).toEqual([{ logprob: -1, greedy: true }]);
  });

  it('stops when it is told to', async () => {
    const controller = new AbortController();
    const { url, bodies } = await serve(() => void controller.abort(new Error('enough')));
    await expect(open(url).loglikelihood(requests, { signal: controller.signal })).rejects.toThrow('enough');
    expect(bodies.length).toBeLessThanOrEqual(requests.length);
    const busy = await serve((_body, _request, response) => void response.writeHead(503).end());
    const soon = AbortSignal.timeout(50);
    await expect(open(busy.url, { retryDelay: 60_000 }).loglikelihood(requests, { signal: soon })).rejects.toThrow('timeout');
  });

  it('shows nothing secret of an address, and reads no answer without end', async () => {
    let seen: IncomingMessage | undefined;
    const { url } = await serve((_, request) => {
      seen = request; // with a query: answered 404
    });
    const scorer = httpScorer({ baseUrl: `${url.replace('//', '//me:s%C3%A9cret@')}/v1?key=secret`, model: 'm', retries: 0 });
    expect(scorer.name).toBe(`m at ${url}/v1/completions, text`);
    const asking = scorer.loglikelihood([{ context: 'a', continuation: ' b' }]);
    await expect(asking).rejects.toThrow(`${url}/v1/completions: the server answers 404: Not Found`);
    expect(seen!.url).toBe('/v1/completions?key=secret');
    expect(seen!.headers.authorization).toBe(`Basic ${Buffer.from('me:sécret').toString('base64')}`);
    const { url: endless } = await serve((_body, _request, response) => {
      const more = (): void => {
        while (response.write('x'.repeat(1 << 20)) && !response.destroyed);
      };
      response.on('drain', more);
      more();
    });
    await expect(
      httpScorer({ baseUrl: endless, model: 'm', retries: 0 }).loglikelihood([{ context: 'a', continuation: ' b' }]),
    ).rejects.toThrow('the answer is longer than 67108864 bytes');
  });

  it('sends the key', async () => {
    const { url } = await serve((body, request, response) => {
      if (request.headers.authorization !== 'Bearer secret') return void response.writeHead(401).end();
      return completions(body, request, response);
    });
    expect((await one(open(url, { apiKey: 'secret' }))).length).toBe(1);
    await expect(one(open(url))).rejects.toThrow('401');
  });
});
