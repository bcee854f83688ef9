// One request to a server that other programs run: JSON there and back, tried again while the network or the server is not ready, and
// one sentence when it stays so. What is asked is the caller's.

import { InputError, messageOf, shown } from '../errors.js';
import { shownAddress, withShownAddresses } from './address.js';
import { pause } from './pause.js';

export interface PostOptions {
  /** Sent as a bearer token. */
  readonly apiKey?: string;
  /** Milliseconds until a request counts as failed. Default 300,000. */
  readonly timeout?: number;
  /** How often a request that failed by the network or the server is sent again. Default 4. */
  readonly retries?: number;
  /** Milliseconds before the first retry; doubles with each. Default 1000. */
  readonly retryDelay?: number;
}

/** Where requests go, and what of the address messages and files may show. */
export interface Target {
  readonly address: string;
  readonly shown: string;
  /** Of a user and a password in the address. */
  readonly authorization?: string;
}

/** A % that begins no escape stays. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Where an address leads, with `path` behind its own. Throws `InputError` when it is none of a server. */
export function targetOf(base: string, path = ''): Target {
  const parsed = URL.canParse(base) ? new URL(base) : undefined;
  if (parsed?.protocol !== 'http:' && parsed?.protocol !== 'https:') {
    throw new InputError(`${shown(shownAddress(base))} is no address of a server: expected one like http://localhost:8000`);
  }
  const { username, password, search } = parsed;
  const trimmed = shownAddress(base).replace(/\/+$/, '');
  const user = [username, password].map(decoded).join(':');
  const bytes = Array.from(new TextEncoder().encode(user), (byte) => String.fromCharCode(byte)).join('');
  return {
    address: trimmed + path + search,
    shown: trimmed + path,
    ...(user === ':' ? {} : { authorization: `Basic ${btoa(bytes)}` }),
  };
}

/** Worth another try: busy, overloaded or restarting. */
const passing = new Set([408, 409, 425, 429, 500, 502, 503, 504]);

/**
 * What a server answers to a JSON body. A request that fails by the network or a busy server is sent again. Throws `InputError` when it
 * stays so, refuses, or answers no JSON object or list; the signal's reason when that is aborted.
 */
export async function postJson(
  { address, shown: url, authorization }: Target,
  body: unknown,
  { apiKey, timeout = 300_000, retries = 4, retryDelay = 1000 }: PostOptions,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  const bearer = apiKey ? `Bearer ${apiKey}` : authorization;
  const headers = { 'content-type': 'application/json', ...(bearer ? { authorization: bearer } : {}) };
  for (let attempt = 0; ; attempt++) {
    const last = attempt >= retries;
    let delay = retryDelay * 2 ** attempt;
    try {
      const within = AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
      const response = await fetch(address, { method: 'POST', headers, body: JSON.stringify(body), signal: within });
      const text = await textOf(response, url);
      if (response.ok) return parseAnswer(text, url);
      if (last || !passing.has(response.status)) {
        throw new InputError(`${url}: the server answers ${response.status}: ${reasonOf(text) || response.statusText}`);
      }
      delay = Math.max(delay, Math.min(60, Number(response.headers.get('retry-after')) || 0) * 1000);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof InputError) throw error;
      if (last || isLasting(error)) throw new InputError(`${url}: ${whyUnreachable(error, timeout)}`);
    }
    await pause(delay, signal);
  }
}

/** What is read of an answer at most: logprobs of the longest contexts take some megabytes. */
const maxAnswerBytes = 64 << 20;

async function textOf({ body }: Response, url: string): Promise<string> {
  const reader = body?.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (let bytes = 0; ; ) {
    const { value, done } = (await reader?.read()) ?? { value: undefined, done: true };
    if (done) return text + decoder.decode();
    bytes += value.length;
    if (bytes > maxAnswerBytes) {
      await reader?.cancel().catch(() => {});
      throw new InputError(`${url}: the answer is longer than ${maxAnswerBytes} bytes`);
    }
    text += decoder.decode(value, { stream: true });
  }
}

/** Whether trying again can change nothing: no such host, a port that no HTTP client asks, a certificate or protocol that is not right. */
function isLasting(error: unknown): boolean {
  const { code = '', message = '' } = (error instanceof Error ? (error.cause ?? error) : {}) as {
    code?: string;
    message?: string;
  };
  return code === 'ENOTFOUND' || message === 'bad port' || /CERT|SSL|EPROTO/.test(code);
}

function whyUnreachable(error: unknown, timeout: number): string {
  if (error instanceof DOMException && error.name === 'TimeoutError') return `no answer within ${timeout / 1000} s`;
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = (cause as { code?: string }).code;
  return `cannot be reached (${withShownAddresses(messageOf(cause)) || code}): is the server running there?`;
}

function parseAnswer(text: string, url: string): Record<string, unknown> {
  try {
    const answer: unknown = JSON.parse(text);
    if (answer !== null && typeof answer === 'object') return answer as Record<string, unknown>;
  } catch {
    // said below
  }
  throw new InputError(`${url}: the answer is not JSON: ${shown(text)}`);
}

/** What the server says went wrong: OpenAI's and FastAPI's forms, else the beginning of the text. */
function reasonOf(text: string): string {
  try {
    const { error, message, detail } = JSON.parse(text) as Record<string, unknown>;
    const said = (error as { message?: unknown } | undefined)?.message ?? error ?? message ?? detail;
    if (said !== undefined) return typeof said === 'string' ? said : JSON.stringify(said).slice(0, 200);
  } catch {
    // no JSON
  }
  return text.slice(0, 200).trim();
}
