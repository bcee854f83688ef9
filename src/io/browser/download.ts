// One file from a server into a place: by ranges, going on where a break or a reload left it, its size and hash checked, and not
// again once it is whole. Which files, and how many tabs want them, is the caller's.

import { InputError, messageOf } from '../../errors.js';
import { Arriving } from './arriving.js';
import { bytesOf } from './blob-source.js';
import { type Appender, type Place, stateName } from './place.js';

export interface WantedFile {
  /** Its name in the place. */
  readonly name: string;
  readonly url: string;
  readonly bytes?: number;
  /** In hexadecimal: SHA-256, or git's SHA-1 of a blob. */
  readonly hash?: string;
  /** It may be missing: 404 is no error then. */
  readonly optional?: boolean;
}

export interface DownloadSettings {
  readonly fetch?: typeof globalThis.fetch;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Bytes of this file so far, and in all where that is known. */
  readonly onBytes?: (received: number, total: number | undefined) => void;
  /** Told once of the file that is coming, where its size is known and it is kept: it can be read meanwhile. */
  readonly onArriving?: (file: Arriving) => void;
  /** Put before its name in messages. */
  readonly where?: string;
  /** Milliseconds before another try after a break; as many tries. Any progress starts over. */
  readonly patience?: readonly number[];
}

/** What is known of a file that was begun, beside it in the place. */
interface State {
  readonly url: string;
  readonly etag?: string;
  readonly bytes?: number;
  readonly hash?: string;
  readonly whole?: boolean;
  /** The server has no such file. */
  readonly missing?: boolean;
}

/** The place has no room. `why` says so, without what to do. */
export class NoRoomError extends InputError {
  constructor(
    readonly why: string,
    /** Of the whole file, where that is known. */
    readonly bytes: number | undefined,
  ) {
    super(`${why}: free space on the device, remove a kept model, or take a smaller one`);
  }
}

const usualPatience = [500, 1000, 2000, 4000, 8000];

/**
 * The file, whole; undefined if it is optional and the server has none.
 * @throws InputError in one sentence: refused, broken off, changed, wrong hash, no room. The signal's reason when it aborts: what
 * came by then is kept.
 */
export async function download(place: Place, file: WantedFile, settings: DownloadSettings = {}): Promise<Blob | undefined> {
  const { onBytes } = settings;
  const known = await readState(place, file);
  if (known?.missing && file.optional) return undefined;
  if (known?.whole) {
    const blob = await place.read(file.name);
    if (blob && blob.size === known.bytes && (file.hash === undefined || known.hash === file.hash)) {
      onBytes?.(blob.size, blob.size);
      return blob;
    }
  }
  let arriving: Arriving | undefined;
  return allOf(place, file, settings, (bytes, appender) => {
    if (!arriving && settings.onArriving && appender.read) {
      arriving = new Arriving((settings.where ?? '') + file.name, bytes);
      settings.onArriving(arriving);
    }
    return arriving;
  });
}

/** Hears of the size when an answer has come; gives the file that is read meanwhile, if one is. */
type Begun = (bytes: number, appender: Appender) => Arriving | undefined;

async function allOf(place: Place, file: WantedFile, settings: DownloadSettings, begun: Begun): Promise<Blob | undefined> {
  const { signal, patience = usualPatience } = settings;
  for (let tries = 0; ; tries++) {
    signal?.throwIfAborted();
    const before = (await place.read(file.name))?.size ?? 0;
    const outcome = await attempt(place, file, settings, begun).catch((error: unknown) => {
      throw isQuota(error) ? new NoRoomError(noRoom(file, messageOf(error)), file.bytes) : error;
    });
    if (outcome === 'missing') return undefined;
    if (outcome === 'whole') return place.read(file.name);
    const after = (await place.read(file.name))?.size ?? 0;
    if (after > before) tries = 0;
    if (tries >= patience.length) {
      const kept = place.kept && after > 0 ? `; the ${after} bytes that came are kept: load again to go on` : '';
      throw new InputError(`${file.url}: ${outcome.broken}${kept}`);
    }
    await pause(patience[tries], signal);
  }
}

type Outcome = 'whole' | 'missing' | { readonly broken: string };

async function attempt(place: Place, file: WantedFile, settings: DownloadSettings, begun: Begun): Promise<Outcome> {
  const outcome = await transfer(place, file, settings, begun);
  if (outcome !== 'came') return outcome;
  const blob = (await place.read(file.name))!;
  if (file.hash !== undefined) await checkHash(place, file, file.hash, blob, settings.signal);
  const state: State = { url: file.url, bytes: blob.size, hash: file.hash, whole: true };
  await place.write(stateName(file.name), JSON.stringify(state));
  return 'whole';
}

/** `came`: all bytes are there, and nothing is said of them yet. */
type Transfer = 'came' | Exclude<Outcome, 'whole'>;

async function transfer(place: Place, file: WantedFile, settings: DownloadSettings, begun: Begun): Promise<Transfer> {
  const { fetch = globalThis.fetch, signal, onBytes } = settings;
  const appender = await place.append(file.name);
  let arriving: Arriving | undefined;
  try {
    const state = await readState(place, file);
    if (!state || state.whole || state.missing) appender.clear();
    const from = appender.size;
    const headers = { ...settings.headers, ...(from > 0 ? { Range: `bytes=${from}-` } : {}) };
    let response: Response;
    try {
      response = await fetch(file.url, { headers, signal, cache: 'no-store' }); // it is kept once, in the place
    } catch (error) {
      signal?.throwIfAborted();
      return { broken: `the server cannot be reached (${messageOf(error)})` };
    }
    if (response.status === 404 && file.optional) {
      await place.write(stateName(file.name), JSON.stringify({ url: file.url, missing: true } satisfies State));
      return 'missing';
    }
    if (response.status >= 500 || response.status === 429) return { broken: `the server answers with status ${response.status}` };
    if (response.status === 416) {
      // All of it had come when a reload ended it, or the file has changed.
      const all = from > 0 && from === state?.bytes && response.headers.get('content-range') === `bytes */${from}`;
      if (all && (response.headers.get('etag') ?? state.etag) === state.etag) return 'came';
      appender.clear();
      return { broken: 'the server has no such range' };
    }
    if (response.status !== 200 && response.status !== 206) throw refusal(file, response.status);
    const total = totalOf(response);
    const etag = response.headers.get('etag') ?? undefined;
    const goesOn = response.status === 206 && response.headers.get('content-range')?.startsWith(`bytes ${from}-`);
    const isSame = (state?.bytes === undefined || total === undefined || state.bytes === total) && state?.etag === etag;
    if (from > 0 && !(goesOn && isSame)) {
      appender.clear();
      if (response.status === 206) {
        await response.body?.cancel();
        return { broken: 'the file changed on the server' };
      }
    }
    if (file.bytes !== undefined && total !== undefined && total !== file.bytes) {
      throw new InputError(`${file.url}: the server has ${total} bytes, ${file.bytes} were expected: it is another file`);
    }
    const bytes = total ?? file.bytes;
    await checkRoom(place, file, bytes === undefined ? 0 : bytes - appender.size);
    await place.write(stateName(file.name), JSON.stringify({ url: file.url, etag, bytes } satisfies State));
    arriving = bytes === undefined ? undefined : begun(bytes, appender);
    if (appender.size === 0) arriving?.restarts();
    arriving?.writes(appender);
    const broken = await receive(appender, response, file, signal, (received) => {
      arriving?.came();
      onBytes?.(received, bytes);
    });
    if (broken !== undefined) return { broken };
    if (bytes !== undefined && appender.size !== bytes) {
      if (appender.size > bytes) appender.clear();
      return { broken: `the connection broke after ${appender.size} of ${bytes} bytes` };
    }
  } finally {
    arriving?.writes(undefined);
    appender.close();
  }
  return 'came';
}

/** What broke, if anything did. */
async function receive(
  appender: Appender,
  response: Response,
  file: WantedFile,
  signal: AbortSignal | undefined,
  onBytes: (received: number) => void,
): Promise<string | undefined> {
  if (!response.body) return undefined;
  const read = readerOf(response.body);
  for (;;) {
    let next: ReadableStreamReadResult<Uint8Array>;
    try {
      next = await read();
    } catch (error) {
      signal?.throwIfAborted();
      return `the connection broke after ${appender.size} bytes (${messageOf(error)})`;
    }
    if (next.done || next.value === undefined) return undefined;
    try {
      appender.write(next.value);
    } catch (error) {
      await read.cancel().catch(() => undefined);
      throw new NoRoomError(noRoom(file, messageOf(error)), file.bytes);
    }
    onBytes(appender.size);
  }
}

/** Reads into the same memory again and again where streams can, else into what each chunk comes in. */
function readerOf(body: ReadableStream<Uint8Array>): {
  (): Promise<ReadableStreamReadResult<Uint8Array>>;
  cancel(): Promise<void>;
} {
  let again: ReadableStreamBYOBReader;
  try {
    again = body.getReader({ mode: 'byob' });
  } catch {
    const reader = body.getReader();
    return Object.assign(() => reader.read(), { cancel: () => reader.cancel() });
  }
  let memory = new ArrayBuffer(pieceBytes / 4);
  const read = async (): Promise<ReadableStreamReadResult<Uint8Array>> => {
    const next = await again.read(new Uint8Array(memory));
    if (next.value) memory = next.value.buffer as ArrayBuffer;
    return next as ReadableStreamReadResult<Uint8Array>;
  };
  return Object.assign(read, { cancel: () => again.cancel() });
}

function totalOf({ status, headers }: Response): number | undefined {
  const text = status === 206 ? /\/([0-9]+)$/.exec(headers.get('content-range') ?? '')?.[1] : headers.get('content-length');
  // A compressed answer's length is not the file's.
  return text && (status === 206 || !headers.get('content-encoding')) ? Number(text) : undefined;
}

function refusal({ url, name }: WantedFile, status: number): InputError {
  if (status === 401 || status === 403)
    return new InputError(`${url} is refused (${status}): a gated or private model needs a token, and its licence accepted`);
  if (status === 404) return new InputError(`${url}: there is no ${name} (404): check the address`);
  return new InputError(`${url}: the server answers with status ${status}`);
}

const isQuota = (error: unknown): boolean => error instanceof DOMException && error.name === 'QuotaExceededError';
const noRoom = ({ name }: WantedFile, why: string): string =>
  `${name} does not fit into what this browser gives this site (${why})`;

async function checkRoom(place: Place, { name }: WantedFile, bytes: number): Promise<void> {
  if (!place.kept || bytes <= 0 || typeof navigator !== 'object' || !navigator.storage?.estimate) return;
  const { quota, usage } = await navigator.storage.estimate();
  if (quota === undefined || usage === undefined || bytes <= quota - usage) return;
  const megabytes = (size: number): string => `${Math.ceil(Math.max(0, size) / 1e6)} MB`;
  throw new NoRoomError(
    `${name} takes ${megabytes(bytes)}, and this browser gives this site ${megabytes(quota - usage)} more`,
    bytes,
  );
}

const pieceBytes = 4 << 20;

async function checkHash(
  place: Place,
  file: WantedFile,
  wanted: string,
  blob: Blob,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { createSHA1, createSHA256 } = await import('./hashes.js');
  const hash = await (wanted.length === 64 ? createSHA256() : createSHA1());
  hash.init();
  if (wanted.length === 40) hash.update(`blob ${blob.size}\0`);
  for (let at = 0; at < blob.size; at += pieceBytes) {
    signal?.throwIfAborted();
    hash.update(await bytesOf(file.name, blob.slice(at, at + pieceBytes)));
  }
  const found = hash.digest('hex');
  if (found === wanted) return;
  const appender = await place.append(file.name);
  appender.clear();
  appender.close();
  throw new InputError(
    `${file.url}: what came has the hash ${found}, ${wanted} was expected: it was damaged or changed; load again`,
  );
}

/** What is known of a file from the same address; damaged notes count as none. */
async function readState(place: Place, file: WantedFile): Promise<State | undefined> {
  const blob = await place.read(stateName(file.name));
  if (!blob) return undefined;
  try {
    const state = JSON.parse(await blob.text()) as State;
    return state.url === file.url ? state : undefined;
  } catch {
    return undefined;
  }
}

function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, milliseconds);
    function done(): void {
      signal?.removeEventListener('abort', stop);
      resolve();
    }
    function stop(): void {
      clearTimeout(timer);
      reject(signal?.reason);
    }
    signal?.addEventListener('abort', stop, { once: true });
  });
}
