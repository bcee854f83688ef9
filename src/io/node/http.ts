// HTTP as a download needs it, over fetch: redirects followed by hand so that the token never leaves its origin, silence
// noticed, failures told apart into those that pass (the network, 429, 5xx: tried again) and those that do not.
// Knows nothing of the Hugging Face hub beyond "a bearer token belongs to one origin".

import { setTimeout as delay } from 'node:timers/promises';
import { InputError, messageOf } from '../../errors.js';
import { shownAddress, withShownAddresses } from '../address.js';
import { REASONS } from './files.js';

/** How long to put up with a bad connection. Tests make it short. */
export interface Patience {
  /** Failures in a row, without a byte of progress between them, after which it gives up. */
  readonly retries: number;
  /** The wait before the first retry; it doubles each time, up to sixteen times as much. */
  readonly delayMs: number;
  /** Silence after which a connection counts as dead. */
  readonly stallMs: number;
  /** The longest wait that is agreed to when the other side asks for one. */
  readonly longestWaitMs: number;
}

/** The hub counts requests in windows of five minutes. */
export const DEFAULT_PATIENCE: Patience = { retries: 5, delayMs: 1000, stallMs: 60_000, longestWaitMs: 310_000 };

/** The other side could not be reached, or stayed busy, after every retry. */
export class Unreachable extends InputError {}

/** A failure that may pass: thrown inside `retrying`. */
export class PassingFailure extends Error {
  constructor(
    message: string,
    readonly waitMs = 0,
  ) {
    super(message);
  }
}

/** There is no network, or no such host, or nobody listens there: what has not begun is not waited for. */
class NobodyThere extends PassingFailure {}

/** Runs `attempt` until it succeeds; each `PassingFailure` costs a retry and a wait. When `reached()` has grown since the best so far, the count starts anew. */
export async function retrying<T>(
  options: { patience: Patience; signal?: AbortSignal; reached?: () => number; onNotice?: (message: string) => void },
  attempt: () => Promise<T>,
): Promise<T> {
  const { patience, signal, reached = () => 0, onNotice } = options;
  let failures = 0;
  let best = reached();
  const start = best;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof PassingFailure)) throw error;
      const now = reached();
      if (now > best) {
        best = now;
        failures = 0;
      }
      const isHopeless = error instanceof NobodyThere && best === start;
      if (isHopeless || failures >= patience.retries) throw new Unreachable(error.message);
      if (error.waitMs > patience.longestWaitMs) {
        throw new Unreachable(`${error.message} and asks to wait ${Math.ceil(error.waitMs / 1000)} s: try again later`);
      }
      const backoff = patience.delayMs * 2 ** Math.min(failures, 4) * (0.75 + Math.random() / 2);
      failures++;
      if (error.waitMs > 5000) onNotice?.(`${error.message}: going on in ${Math.ceil(error.waitMs / 1000)} s`);
      await delay(Math.max(error.waitMs, backoff), undefined, { signal }).catch((aborted) => {
        signal?.throwIfAborted();
        throw aborted;
      });
    }
  }
}

/** One answer. The body is read once, or the answer closed. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The body piece by piece; throws `PassingFailure` when the connection breaks or falls silent. */
  body(): AsyncGenerator<Uint8Array, void, undefined>;
  /** Lets go of the connection. */
  close(): Promise<void>;
}

export interface ClientOptions {
  /** The only origin that is sent the token. */
  readonly origin: string;
  readonly token?: string;
  readonly fetch?: typeof fetch;
  readonly signal?: AbortSignal;
  readonly patience: Patience;
  /** Told of long waits. */
  readonly onNotice?: (message: string) => void;
}

const MAX_REDIRECTS = 10;

/** Sends requests for one user to one service and wherever that redirects. */
export class HttpClient {
  constructor(readonly options: ClientOptions) {}

  /**
   * One request, redirects followed (`sameOrigin`: only within the first origin, else the redirect itself is the answer).
   * Throws `PassingFailure` when the network fails or the answer is 408, 429 or 5xx; any other status is the caller's to judge.
   */
  async send(
    url: string,
    request: { method?: 'GET' | 'HEAD'; headers?: Record<string, string>; sameOrigin?: boolean } = {},
  ): Promise<Answer> {
    const { origin, token } = this.options;
    let target = new URL(url);
    let trusted = true;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      trusted &&= target.origin === origin; // once away, the token stays away
      // identity: sizes and ranges then mean the file's own bytes
      const headers: Record<string, string> = { 'accept-encoding': 'identity', 'user-agent': 'openelm', ...request.headers };
      if (token && trusted) headers.authorization = `Bearer ${token}`;
      const answer = await this.exchange(target, request.method ?? 'GET', headers);
      const next = [301, 302, 303, 307, 308].includes(answer.status) ? redirectTarget(answer, target) : undefined;
      if (!next || (request.sameOrigin && next.origin !== target.origin)) return passed(answer, target);
      await answer.close();
      target = next;
    }
    throw new InputError(`${new URL(url).origin} redirects more than ${MAX_REDIRECTS} times for ${new URL(url).pathname}`);
  }

  private async exchange(url: URL, method: string, headers: Record<string, string>): Promise<Answer> {
    const { signal, patience, fetch: send = fetch } = this.options;
    signal?.throwIfAborted();
    const controller = new AbortController();
    const abort = () => controller.abort(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    const silence = new PassingFailure(`${url.host} was silent for ${patience.stallMs / 1000} s`);
    const timer = setTimeout(() => controller.abort(silence), patience.stallMs);
    const release = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
    const failure = (error: unknown): unknown => {
      if (signal?.aborted) return signal.reason;
      if (controller.signal.aborted) return silence;
      const reason = networkReason(error);
      if (reason === 'EMFILE' || reason === 'ENFILE') return new InputError(`${url.host} cannot be reached: ${REASONS[reason]}`);
      const Failure = absent.has(reason) ? NobodyThere : PassingFailure;
      return new Failure(`${url.host} cannot be reached (${reason})`);
    };
    let response: Response;
    try {
      response = await send(url, { method, headers, redirect: 'manual', signal: controller.signal });
    } catch (error) {
      release();
      throw failure(error);
    }
    return {
      status: response.status,
      headers: response.headers,
      async *body() {
        try {
          // The DOM's types do not know yet that a stream can be iterated.
          for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
            timer.refresh();
            yield chunk;
            timer.refresh();
          }
        } catch (error) {
          throw failure(error);
        } finally {
          release();
        }
      },
      async close() {
        release();
        await response.body?.cancel().catch(() => {});
      },
    };
  }
}

function redirectTarget(answer: Answer, from: URL): URL {
  const location = answer.headers.get('location');
  const next = location !== null && URL.canParse(location, from.href) ? new URL(location, from.href) : undefined;
  const safe = next && (next.protocol === 'https:' || (next.protocol === 'http:' && from.protocol === 'http:'));
  if (!safe || next.username || next.password) {
    const shown = location === null ? 'none' : JSON.stringify(shownAddress(location));
    throw new InputError(`${from.host} redirects to an address that cannot be followed: ${shown}`);
  }
  return next;
}

/** The answer, unless its status says to come back later. */
async function passed(answer: Answer, url: URL): Promise<Answer> {
  const { status, headers } = answer;
  if (status !== 408 && status !== 429 && status < 500) return answer;
  await answer.close();
  const reason = status === 429 ? 'has had too many requests (429)' : `has trouble (status ${status})`;
  throw new PassingFailure(`${url.host} ${reason}`, retryAfterMs(headers.get('retry-after')) ?? resetMs(headers) ?? 0);
}

/** Retry-After is a number of seconds or a date. */
function retryAfterMs(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/**
 * When a used up quota is there again, as RateLimit says it: `"api";r=0;t=55` in draft-ietf-httpapi-ratelimit-headers, as the hub has
 * it, `limit=100, remaining=0, reset=55` or RateLimit-Reset in earlier ones. Of several quotas the longest wait counts.
 */
function resetMs(headers: Headers): number | undefined {
  const text = headers.get('ratelimit') ?? '';
  const quotas = text.split(',').filter((quota) => !/;\s*r=[1-9]/.test(quota));
  const seconds = quotas.flatMap((quota) => /(?:;\s*t|\breset)\s*=\s*(\d+)/.exec(quota)?.[1] ?? []);
  const earlier = headers.get('ratelimit-reset') ?? headers.get('x-ratelimit-reset');
  if (seconds.length === 0 && earlier !== null && /^\d+$/.test(earlier.trim())) seconds.push(earlier);
  // A second more, so that the quota is there; what cannot be a number of seconds is a date.
  const waits = seconds.map(Number).map((wait) => (wait < 1e9 ? wait + 1 : wait + 1 - Date.now() / 1000) * 1000);
  return waits.length === 0 ? undefined : Math.max(0, ...waits);
}

/** What a system says when there is nobody to talk to. */
const absent = new Set(['ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH', 'EHOSTUNREACH', 'ENETDOWN', 'ECONNREFUSED', 'EADDRNOTAVAIL']);

/** The cause that fetch hides under "fetch failed". */
function networkReason(error: unknown): string {
  const cause = error instanceof Error ? (error.cause as { code?: string; message?: string } | undefined) : undefined;
  return cause?.code ?? withShownAddresses(cause?.message ?? messageOf(error));
}

/** A whole body as text, of at most `maxBytes`. */
export async function textOf(answer: Answer, maxBytes: number, what: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of answer.body()) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw new InputError(`${what} is longer than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
