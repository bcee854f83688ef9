// A server without a socket: `Request -> Response`, for Node, a test, a worker, or another server's route. It guards, finds the
// model, lets an endpoint answer, and writes the answer whole or as a stream that ends when its reader has gone. Which models there
// are and how they are loaded is passed in.

import { type Context, Hono, type Handler as HonoHandler } from 'hono';
import { type Call, type Reply, type Streamed, Tally } from './call.js';
import { ApiError, apiErrorOf } from './errors.js';
import { type Body, parseBody, readFields, text } from './fields.js';
import { checkKey, checkSource, corsHeaders, type GuardOptions, readBytes } from './guard.js';
import { Metrics } from './metrics.js';
import { busy, type Lease, type ModelSource, Models } from './models.js';
import { ollamaChat, ollamaEmbed, ollamaError, ollamaGenerate, ollamaShow, ollamaTag } from './ollama.js';
import { chatCompletion } from './openai/chat.js';
import { completion } from './openai/completions.js';
import { embeddings } from './openai/embeddings.js';
import { responses } from './openai/responses.js';

/** A file of the page. */
export interface Asset {
  readonly type: string;
  readonly body: string | Uint8Array<ArrayBuffer>;
}

/** One request, for the log: no text of prompt or answer. */
export interface RequestLog {
  readonly time: string;
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly milliseconds: number;
  readonly model?: string;
  readonly prompt_tokens?: number;
  readonly cached_tokens?: number;
  readonly generated_tokens?: number;
  readonly first_token_ms?: number;
  readonly error?: string;
  /** Only where it was asked for. */
  readonly body?: Body;
}

/** What is served, and to whom. */
export interface HandlerOptions extends GuardOptions {
  /** The first one answers where none is named. */
  readonly models: readonly ModelSource[];
  /** Bytes that loaded models may take together. */
  readonly memory?: number;
  /** Answers that may wait for a model beyond those that run; default 64. */
  readonly queue?: number;
  /** Milliseconds that an answer may take; default 600,000. */
  readonly timeout?: number;
  /** Bytes of a body; default 8 MiB. */
  readonly maxBody?: number;
  /** Tokens of an answer, whatever the request says. */
  readonly maxTokens?: number;
  /** The page's files by their path; `/` is the page itself. */
  readonly assets?: Readonly<Record<string, Asset>>;
  /** Told of each request when it has ended. */
  readonly onRequest?: (entry: RequestLog) => void;
  /** Put the bodies of requests into the log. */
  readonly logBodies?: boolean;
  /** Told of what is no fault of a request. */
  readonly onDefect?: (error: unknown) => void;
  /** Resident bytes of this process, for the metrics. */
  readonly residentMemory?: () => number;
  /** This program's, for `/api/version`. */
  readonly version?: string;
}

/** A server without a socket. */
export interface Handler {
  /** Answers a request. Never rejects: what is wrong is an answer with its status. */
  fetch(request: Request): Promise<Response>;
  /** Answers under way. */
  readonly active: number;
  /** Takes no more requests, waits for those under way until `deadline` (milliseconds), ends the rest, and frees the models. */
  stop(deadline?: number): Promise<void>;
}

/** What an endpoint does with the body of a request. */
type Endpoint = (call: Call, body: Body) => Promise<Reply>;

const defaults = { queue: 64, timeout: 600_000, maxBody: 8 << 20 };

/** A server of models that are found already. */
export function createHandler(options: HandlerOptions): Handler {
  return new Server(options);
}

/** What is noted of a request while it is answered. */
interface Notes {
  model?: string;
  tally?: Tally;
  body?: Body;
  error?: string;
  /** A stream goes on after the response was made: the log waits for its end. */
  streaming?: Promise<void>;
}

interface Env {
  Variables: { notes: Notes };
}

class Server implements Handler {
  private readonly app = new Hono<Env>();
  private readonly models: Models;
  private readonly metrics: Metrics;
  private readonly running = new Set<{ readonly done: Promise<void>; readonly abort: (reason: ApiError) => void }>();
  /** Paths that are counted by name: a stranger cannot make new ones. */
  private readonly paths = new Set(['/', '/health', '/ready']);
  private stopping = false;
  private counter = 0;

  constructor(private readonly options: HandlerOptions) {
    this.models = new Models(options.models, { memory: options.memory, queue: options.queue ?? defaults.queue });
    this.metrics = new Metrics(this.models, options.residentMemory);
    this.route();
  }

  get active(): number {
    return this.running.size;
  }

  async fetch(request: Request): Promise<Response> {
    const began = performance.now();
    const time = new Date().toISOString();
    const notes: Notes = {};
    const { pathname } = new URL(request.url);
    let response: Response;
    try {
      checkSource(request, this.options);
      response = request.method === 'OPTIONS' ? new Response(null, { status: 204 }) : await this.answer(request, notes);
    } catch (error) {
      response = this.refusal(error, notes, pathname);
    }
    for (const [name, value] of Object.entries(corsHeaders(request, this.options))) response.headers.set(name, value);
    const known = this.paths.has(pathname) ? pathname : 'other';
    const log = (): void => {
      const milliseconds = performance.now() - began;
      this.metrics.add(known, response.status, milliseconds, notes.model, notes.tally);
      this.options.onRequest?.(this.entry(request, pathname, { time, status: response.status, milliseconds }, notes));
    };
    if (notes.streaming) void notes.streaming.then(log);
    else log();
    return response;
  }

  async stop(deadline = 0): Promise<void> {
    this.stopping = true;
    const all = Promise.all([...this.running].map(({ done }) => done));
    let timer: ReturnType<typeof setTimeout> | undefined;
    await Promise.race([all, new Promise<void>((late) => (timer = setTimeout(late, deadline)))]);
    clearTimeout(timer);
    for (const { abort } of this.running) abort(new ApiError(503, 'the server is stopping'));
    await Promise.all([...this.running].map(({ done }) => done));
    await this.models.close();
  }

  private async answer(request: Request, notes: Notes): Promise<Response> {
    const { pathname } = new URL(request.url);
    const assets = this.options.assets ?? {};
    if (['GET', 'HEAD'].includes(request.method) && Object.hasOwn(assets, pathname)) {
      const { type, body } = assets[pathname];
      return new Response(request.method === 'HEAD' ? null : body, {
        headers: { 'content-type': type, 'cache-control': 'no-cache', ...pageHeaders },
      });
    }
    if (pathname === '/health') return Response.json({ status: 'ok' });
    if (pathname === '/ready') {
      if (this.stopping) throw new ApiError(503, 'the server is stopping');
      return Response.json({ status: 'ready' });
    }
    await checkKey(request, this.options);
    return this.app.fetch(request, { notes });
  }

  private route(): void {
    const { app, models } = this;
    app.use(async (c, next) => {
      c.set('notes', (c.env as { notes: Notes }).notes);
      await next();
    });
    app.onError((error, c) => this.refusal(error, c.get('notes'), c.req.path));
    app.notFound((c) =>
      this.refusal(new ApiError(404, `there is no ${c.req.method} ${c.req.path} here`), c.get('notes'), c.req.path),
    );
    this.on(
      'GET',
      '/metrics',
      async () => new Response(await this.metrics.text(), { headers: { 'content-type': this.metrics.contentType } }),
    );
    const shape = ({ id, source }: ReturnType<Models['list']>[number]) => ({
      ...{ id, object: 'model', created: source.created ?? 0, owned_by: 'openelm' },
    });
    this.on('GET', '/v1/models', (c) => c.json({ object: 'list', data: models.list().map(shape) }));
    app.get('/v1/models/:id{.+}', (c) => c.json(shape(models.get(c.req.param('id')))));
    this.post('/v1/chat/completions', chatCompletion);
    this.post('/v1/completions', completion);
    this.post('/v1/embeddings', embeddings);
    this.post('/v1/responses', responses);
    this.on('GET', '/api/version', (c) => c.json({ version: this.options.version ?? '0.0.0' }));
    this.on('GET', '/api/tags', (c) => c.json({ models: models.list().map(({ id, source }) => ollamaTag(id, source)) }));
    this.on('GET', '/api/ps', (c) => {
      const running = models.list().filter(({ loaded }) => loaded);
      return c.json({ models: running.map(({ id, source }) => ({ ...ollamaTag(id, source), size_vram: 0 })) });
    });
    this.on('POST', '/api/show', async (c) => {
      const body = parseBody(await readBytes(c.req.raw, this.options.maxBody ?? defaults.maxBody));
      const { model, name = model } = readFields(body, { model: text, name: text });
      return c.json(ollamaShow(models.get(name ?? '').source));
    });
    this.post('/api/chat', ollamaChat);
    this.post('/api/generate', ollamaGenerate);
    this.post('/api/embed', ollamaEmbed);
  }

  private post(path: string, endpoint: Endpoint): void {
    this.on('POST', path, (c) => this.run(c, endpoint));
  }

  /** A path that takes one method, and is counted by name. */
  private on(method: 'GET' | 'POST', path: string, answer: HonoHandler<Env>): void {
    this.paths.add(path);
    this.app.on(method, path, answer);
    this.app.all(path, (c) => {
      throw new ApiError(405, `${path} takes ${method}, not ${c.req.method}`);
    });
  }

  /** Reads the body, takes the model, and answers; all is given back when the answer has ended or its reader has gone. */
  private async run(c: Context<Env>, endpoint: Endpoint): Promise<Response> {
    const { timeout = defaults.timeout, maxBody = defaults.maxBody, maxTokens, logBodies } = this.options;
    const request = c.req.raw;
    const notes = c.get('notes');
    if (this.stopping) throw new ApiError(503, 'the server is stopping', { retryAfter: 5 });
    // Before the body is read: a flood of requests must not take the turns of those that are answered.
    if (this.running.size >= this.models.room) throw busy(this.running.size, 0, 1);
    const controller = new AbortController();
    const { signal } = controller;
    const abort = (reason: ApiError): void => controller.abort(reason);
    const gone = (): void => abort(new ApiError(499, 'the client has gone'));
    const timer = setTimeout(() => abort(new ApiError(504, `the answer took longer than ${timeout / 1000} s`)), timeout);
    request.signal.addEventListener('abort', gone, { once: true });
    let finish = (): void => {};
    const job = { abort, done: new Promise<void>((resolve) => (finish = resolve)) };
    this.running.add(job);
    let lease: Lease | undefined;
    let leave: (() => void) | undefined;
    const done = (): void => {
      clearTimeout(timer);
      request.signal.removeEventListener('abort', gone);
      leave?.();
      lease?.release();
      this.running.delete(job);
      finish();
    };
    try {
      const body = parseBody(await readBytes(request, maxBody));
      if (logBodies) notes.body = body;
      lease = await this.models.lease(readFields(body, { model: text }).model);
      notes.model = lease.id;
      notes.tally = new Tally();
      const { model, id: name, adapter, gate } = lease;
      const admit = (count: number): void => {
        leave = gate.enter(count);
      };
      signal.throwIfAborted();
      const reply = await endpoint({ model, name, adapter, signal, maxTokens, tally: notes.tally, admit }, body);
      if ('whole' in reply) {
        done();
        return Response.json(reply.whole);
      }
      return await this.stream(reply, { signal, gone, done, notes });
    } catch (error) {
      done();
      throw error;
    }
  }

  /** The first event is waited for, so that what is wrong with a request still has its status. */
  private async stream(reply: Streamed, { signal, gone, done, notes }: StreamContext): Promise<Response> {
    const { events, encode, end, failed, type } = reply;
    const encoder = new TextEncoder();
    let next: IteratorResult<object, void> | undefined = await events.next();
    let ended = (): void => {};
    notes.streaming = new Promise<void>((resolve) => (ended = resolve));
    const close = (): void => {
      done();
      ended();
    };
    const body = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            const event = next ?? (await events.next());
            next = undefined;
            controller.enqueue(encoder.encode(event.done ? end : encode(event.value)));
            if (!event.done) return;
          } catch (error) {
            const refusal = this.note(signal.aborted ? signal.reason : error, notes);
            controller.enqueue(encoder.encode(failed(refusal) + end));
          }
          controller.close();
          close();
        },
        cancel: async () => {
          gone();
          notes.error ??= 'the client has gone';
          await events.return().catch(() => {});
          close();
        },
      },
      { highWaterMark: 1 },
    );
    return new Response(body, { headers: { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-cache' } });
  }

  /** In the shape that the path's clients know. */
  private refusal(error: unknown, notes: Notes, path: string): Response {
    const refusal = this.note(error, notes);
    const { status, headers } = refusal;
    return Response.json(path.startsWith('/api/') ? ollamaError(refusal) : refusal.body, { status, headers });
  }

  /** What of an error is told; the rest goes to who runs the server. */
  private note(error: unknown, notes: Notes): ApiError {
    const refusal = apiErrorOf(error);
    notes.error ??= refusal.message;
    if (refusal.status === 500) this.options.onDefect?.(error);
    return refusal;
  }

  private entry(
    { method }: Request,
    path: string,
    { time, status, milliseconds }: { time: string; status: number; milliseconds: number },
    { model, tally, body, error }: Notes,
  ): RequestLog {
    const round = (value: number): number => Math.round(value * 10) / 10;
    return {
      ...{ time, id: `r${++this.counter}`, method, path, status, milliseconds: round(milliseconds), model },
      ...(tally && {
        prompt_tokens: tally.promptTokens,
        cached_tokens: tally.reusedTokens,
        generated_tokens: tally.generatedTokens,
        ...(tally.firstTokenMs === undefined ? {} : { first_token_ms: round(tally.firstTokenMs) }),
      }),
      ...(error === undefined ? {} : { error }),
      ...(body && { body }),
    };
  }
}

interface StreamContext {
  readonly signal: AbortSignal;
  readonly gone: () => void;
  readonly done: () => void;
  readonly notes: Notes;
}

/** The page asks nobody but its own server, and nobody frames it. */
const pageHeaders = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};
