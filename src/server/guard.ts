// Who may ask: keys are compared in constant time; on this machine only its own names are answered to (a page that rebinds its
// name to 127.0.0.1 sends its own), and pages of other origins only when they are listed.

import { counted, shown } from '../errors.js';
import { ApiError } from './errors.js';

export interface GuardOptions {
  /** Any of these is a key; none: everybody may ask. */
  readonly apiKeys?: readonly string[];
  /** Origins of pages that may ask from a browser; `*`: all. */
  readonly origins?: readonly string[];
  /** Names that the Host header may have, without a port; undefined: any. */
  readonly hosts?: readonly string[];
}

/** Names of this machine itself. */
export const loopbackHosts: readonly string[] = ['localhost', '127.0.0.1', '[::1]'];

/** Throws `ApiError` 403 on a foreign name or a foreign page. */
export function checkSource(request: Request, { origins = [], hosts }: GuardOptions): void {
  const { host, protocol } = new URL(request.url);
  const given = (request.headers.get('host') ?? host).toLowerCase();
  const name = given.replace(/:\d*$/, '');
  if (hosts && !hosts.includes(name))
    throw new ApiError(
      403,
      `this server does not answer to the name ${shown(name)}: it must be told of it when it starts (hosts, --allow-host)`,
    );
  const origin = request.headers.get('origin');
  if (origin === null || isAllowed(origin, origins)) return;
  if (origin === `${protocol}//${given}` || origin === `http://${given}` || origin === `https://${given}`) return;
  throw new ApiError(
    403,
    'pages of other origins may not ask this server: it must be told of them when it starts (origins, --cors)',
  );
}

function isAllowed(origin: string, origins: readonly string[]): boolean {
  return origins.includes('*') || origins.includes(origin);
}

/** Headers that let a listed page read the answer. */
export function corsHeaders(request: Request, { origins = [] }: GuardOptions): Record<string, string> {
  const origin = request.headers.get('origin');
  if (origin === null || !isAllowed(origin, origins)) return {};
  return {
    'access-control-allow-origin': origin,
    vary: 'origin',
    'access-control-allow-methods': 'GET, POST, OPTIONS',
    'access-control-allow-headers': request.headers.get('access-control-request-headers') ?? 'authorization, content-type',
    'access-control-max-age': '600',
  };
}

/** Throws `ApiError` 401 when a key is needed and the bearer has none of them. Takes the same time whatever was sent. */
export async function checkKey(request: Request, { apiKeys = [] }: GuardOptions): Promise<void> {
  if (apiKeys.length === 0) return;
  const given = /^Bearer +(.+)$/i.exec(request.headers.get('authorization') ?? '')?.[1] ?? request.headers.get('x-api-key') ?? '';
  const digest = async (text: string): Promise<Uint8Array> =>
    new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
  const sent = await digest(given);
  let known = 0;
  for (const key of apiKeys) {
    const right = await digest(key);
    let difference = 0;
    for (let i = 0; i < right.length; i++) difference |= right[i] ^ sent[i];
    known |= difference === 0 ? 1 : 0;
  }
  if (known) return;
  throw new ApiError(401, given === '' ? 'this server needs a key: Authorization: Bearer KEY' : 'this key is not known here', {
    code: 'invalid_api_key',
  });
}

/** The body, read to its end. Throws `ApiError` 413 past `most` bytes, before more is read, 499 where the client goes before, and 415 where it is packed. */
export async function readBytes(request: Request, most: number): Promise<Uint8Array> {
  const tooLarge = (): ApiError =>
    new ApiError(413, `the body is larger than the ${counted(most, 'byte')} that this server takes`);
  const encoding = request.headers.get('content-encoding')?.trim().toLowerCase() || 'identity';
  if (encoding !== 'identity')
    throw new ApiError(415, `bodies in ${shown(encoding)} are not read: send it without Content-Encoding`);
  if (Number(request.headers.get('content-length') ?? 0) > most) throw tooLarge();
  const reader = request.body?.getReader();
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const read = await reader?.read().catch(() => {
      throw new ApiError(499, 'the client has gone');
    });
    if (!read || read.done) break;
    length += read.value.length;
    if (length > most) {
      await reader?.cancel().catch(() => {});
      throw tooLarge();
    }
    parts.push(read.value);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
