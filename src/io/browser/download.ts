// One file from a server into a place: by ranges, going on where a break or a reload left it, its size and hash checked, and not
// again once it is whole. Which files, and how many tabs want them, is the caller's.

import { counted, InputError, messageOf } from '../../errors.js';
import { pause } from '../pause.js';
import { type Coming, comingOf, isPage, retryAfter, versionOf, Watch } from './answer.js';
import { Arriving } from './arriving.js';
import { bytesOf } from './blob-source.js';
import { Checksum } from './checksum.js';
import { isOpenElsewhere, type Place, type Receiver, readJson, stateName } from './place.js';

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
  /** Told once of the file that is coming, where its size is known: it can be read meanwhile, and is to be closed then. */
  readonly onArriving?: (file: Arriving) => void;
  /** Put before its name in messages. */
  readonly where?: string;
  /** Milliseconds before another try after a break; as many tries. Any progress starts over. */
  readonly patience?: readonly number[];
  /** Milliseconds without a byte after which a connection counts as broken; default a minute. */
  readonly stall?: number;
}

/** Who asks to come back later than so many milliseconds from now refuses. */
const longestWait = 120_000;
export const usualStall = 60_000;

/** What is known of a file that was begun, beside it in the place. */
interface State {
  readonly url: string;
  readonly etag?: string; // or, where there is none, when it was modified last
  readonly bytes?: number;
  readonly hash?: string;
  readonly whole?: boolean;
  /** The server has no such file. */
  readonly missing?: boolean;
  /** It was found faulty once. */
  readonly doubted?: boolean;
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
  const begun: Attended['begun'] = (bytes) => {
    if (!arriving && settings.onArriving) {
      arriving = new Arriving((settings.where ?? '') + file.name, bytes);
      settings.onArriving(arriving);
    }
    return arriving;
  };
  return allOf(place, file, settings, { begun, checksum: await Checksum.of(file.hash) });
}

/** What is beside a download over all its tries. */
interface Attended {
  /** Hears of the size when an answer has come; gives the file that is read meanwhile, if one is. */
  begun(bytes: number): Arriving | undefined;
  readonly checksum?: Checksum;
}

async function allOf(place: Place, file: WantedFile, settings: DownloadSettings, attended: Attended): Promise<Blob | undefined> {
  const { signal, patience = usualPatience } = settings;
  let furthest = (await place.read(file.name))?.size ?? 0;
  for (let tries = 0; ; tries++) {
    signal?.throwIfAborted();
    const outcome = await attempt(place, file, settings, attended).catch((error: unknown) => {
      if (isOpenElsewhere(error))
        throw new InputError(`${file.name} is open in another tab: load again when it is done, or close it`);
      throw isQuota(error) ? new NoRoomError(noRoom(file, messageOf(error)), file.bytes) : error;
    });
    if (outcome === 'missing') return undefined;
    if (outcome === 'whole') return place.read(file.name);
    const after = (await place.read(file.name))?.size ?? 0;
    if (after > furthest) tries = 0;
    furthest = Math.max(furthest, after);
    const { wait = 0 } = outcome;
    if (tries >= patience.length || wait > longestWait) {
      const kept = place.kept && after > 0 ? `; the ${counted(after, 'byte')} that came are kept: load again to go on` : '';
      const when = wait > longestWait ? `, and asks to come back in ${counted(Math.ceil(wait / 60_000), 'minute')}` : '';
      throw new InputError(`${file.url}: ${outcome.broken}${when}${kept}`);
    }
    await pause(Math.max(patience[tries], wait), signal);
  }
}

/** `wait`: milliseconds that the server asks for. */
type Outcome = 'whole' | 'missing' | { readonly broken: string; readonly wait?: number };

async function attempt(place: Place, file: WantedFile, settings: DownloadSettings, attended: Attended): Promise<Outcome> {
  const outcome = await transfer(place, file, settings, attended);
  if (outcome !== 'came') return outcome;
  const blob = (await place.read(file.name))!;
  if (file.hash !== undefined) {
    const found = attended.checksum?.after(blob.size) ?? (await hashOf(file, file.hash.length, blob, settings.signal));
    if (found !== file.hash) {
      await empty(place, file);
      throw new InputError(
        `${file.url}: what came has the hash ${found}, ${file.hash} was expected: it was damaged or changed; load again`,
      );
    }
  }
  const { etag, doubted } = (await readState(place, file)) ?? {};
  const state: State = { url: file.url, etag, bytes: blob.size, hash: file.hash, whole: true, doubted };
  await place.write(stateName(file.name), JSON.stringify(state));
  return 'whole';
}

/** `came`: all bytes are there, and nothing is said of them yet. */
type Transfer = 'came' | Exclude<Outcome, 'whole'>;

async function transfer(place: Place, file: WantedFile, settings: DownloadSettings, attended: Attended): Promise<Transfer> {
  const watch = new Watch(settings.stall ?? usualStall, settings.signal);
  try {
    const state = await readState(place, file);
    const goesOnFrom = !state || state.whole || state.missing ? undefined : await place.read(file.name);
    const from = goesOnFrom?.size ?? 0;
    const headers = { ...settings.headers, ...(from > 0 ? { Range: `bytes=${from}-` } : {}) };
    const { fetch = globalThis.fetch, signal } = settings;
    let response: Response;
    try {
      response = await watch.over(fetch(file.url, { headers, signal: watch.signal, cache: 'no-store' })); // it is kept once, in the place
    } catch (error) {
      signal?.throwIfAborted();
      return { broken: `the server cannot be reached (${messageOf(error)})` };
    }
    const { status } = response;
    if (status === 200 || status === 206) return await take(place, file, settings, attended, { response, watch, state, from });
    await response.body?.cancel().catch(() => undefined);
    if (status === 404 && file.optional) return await missing(place, file);
    if (status >= 500 || status === 429 || status === 408)
      return { broken: `the server answers with status ${status}`, wait: retryAfter(response.headers) };
    if (status !== 416) throw refusal(file, status);
    // All of it had come when a reload ended it, or the file has changed.
    const range = response.headers.get('content-range') ?? (response.type === 'cors' ? `bytes */${from}` : '');
    const all = from > 0 && from === state?.bytes && range === `bytes */${from}`;
    if (all && (versionOf(response.headers) ?? state.etag) === state.etag) return 'came';
    await empty(place, file);
    return { broken: 'the server has no such range' };
  } finally {
    watch.end();
  }
}

/** An answer with bytes, and what was known before. */
interface Answer {
  readonly response: Response;
  readonly watch: Watch;
  readonly state: State | undefined;
  /** What was asked for begins here. */
  readonly from: number;
}

async function take(
  place: Place,
  file: WantedFile,
  { signal, onBytes }: DownloadSettings,
  { begun, checksum }: Attended,
  { response, watch, state, from }: Answer,
): Promise<Transfer> {
  const coming = comingOf(response, from);
  const { total, likely, version } = coming;
  const isSame = isSameFile(state, coming);
  const goesOn = from > 0 && coming.from === from && isSame;
  if (!goesOn && coming.from !== 0) {
    await empty(place, file);
    await response.body?.cancel();
    return { broken: isSame ? 'the server sends other bytes than it was asked for' : 'the file changed on the server' };
  }
  if (file.bytes !== undefined && total !== undefined && total !== file.bytes) {
    throw new InputError(
      `${file.url}: the server has ${counted(total, 'byte')}, ${file.bytes} were expected: it is another file`,
    );
  }
  const bytes = total ?? file.bytes;
  const kept = goesOn ? from : 0;
  if (kept === 0) await empty(place, file); // before the note says that what is there is of this file
  await checkRoom(place, file, bytes === undefined ? 0 : bytes - kept);
  const note: State = { url: file.url, etag: version, bytes: bytes ?? likely, doubted: state?.doubted };
  await place.write(stateName(file.name), JSON.stringify(note));
  const arriving = bytes === undefined || coming.mayBePage ? undefined : begun(bytes);
  const receiver = await place.receive(file.name, (bytes ?? 0) - kept >= largeBytes);
  let page = false;
  try {
    if (kept === 0 && !(isSame && version !== undefined)) arriving?.restarts();
    arriving?.writes(receiver);
    const broken = await receive(receiver, response, file, { signal, watch }, (chunk) => {
      if (receiver.size === 0) page = isPage(chunk);
      checksum?.update(receiver.size, chunk);
      arriving?.came(receiver.size, chunk);
      const received = receiver.size + chunk.length;
      onBytes?.(received, bytes ?? (likely !== undefined && likely >= received ? likely : undefined));
    });
    if (broken !== undefined) return { broken };
    const came = receiver.size;
    if (page) await receiver.clear();
    else {
      const expected = bytes ?? Math.max(came, likely ?? 0);
      // What is compressed, which other origins are not told, is longer than was said.
      const mayBeLonger = response.status === 200 && response.type === 'cors' && file.bytes === undefined;
      if (came < expected || (came > expected && !mayBeLonger)) {
        if (came > expected) await receiver.clear();
        return { broken: `the connection broke after ${came} of ${counted(expected, 'byte')}` };
      }
    }
    if (arriving && (file.hash === undefined || checksum?.after(receiver.size) === file.hash)) {
      arriving.complete();
      await arriving.released;
    }
  } finally {
    arriving?.writes(undefined);
    await receiver.close();
  }
  if (!page) return 'came';
  if (file.optional) return missing(place, file);
  throw new InputError(`${file.url}: there is no ${file.name}: the server sends a page in its place; check the address`);
}

function isSameFile(state: State | undefined, { total, version }: Coming): boolean {
  return (state?.bytes === undefined || total === undefined || state.bytes === total) && state?.etag === version;
}

async function missing(place: Place, file: WantedFile): Promise<'missing'> {
  await place.write(stateName(file.name), JSON.stringify({ url: file.url, missing: true } satisfies State));
  return 'missing';
}

/** What broke, if anything did. `onChunk` hears of each before it is written: its memory is the receiver's then. */
async function receive(
  receiver: Receiver,
  response: Response,
  file: WantedFile,
  { signal, watch }: { readonly signal?: AbortSignal; readonly watch: Watch },
  onChunk: (chunk: Uint8Array) => void,
): Promise<string | undefined> {
  if (!response.body) return undefined;
  const read = readerOf(response.body as ReadableStream<Uint8Array<ArrayBuffer>>);
  /** Memory that is written, the first to be free first. */
  const writing: Promise<ArrayBuffer>[] = [];
  const written = async (): Promise<ArrayBuffer> => {
    try {
      return await writing.shift()!;
    } catch (error) {
      await read.cancel().catch(() => undefined);
      throw new NoRoomError(noRoom(file, messageOf(error)), file.bytes);
    }
  };
  const all = async (): Promise<void> => {
    while (writing.length > 0) await written();
  };
  for (;;) {
    const memory = writing.length < chunksAtOnce ? new ArrayBuffer(pieceBytes / 4) : await written();
    let next: ReadableStreamReadResult<Uint8Array<ArrayBuffer>>;
    try {
      next = await watch.over(read(memory));
    } catch (error) {
      await all();
      signal?.throwIfAborted();
      return `the connection broke after ${counted(receiver.size, 'byte')} (${messageOf(error)})`;
    }
    if (next.done || next.value === undefined) {
      await all();
      return undefined;
    }
    onChunk(next.value);
    const write = receiver.write(next.value);
    write.catch(() => undefined); // it is waited for above
    writing.push(write);
  }
}

/** Reads into the memory that it is given where streams can, else into what each chunk comes in. */
function readerOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): {
  (memory: ArrayBuffer): Promise<ReadableStreamReadResult<Uint8Array<ArrayBuffer>>>;
  cancel(): Promise<void>;
} {
  let into: ReadableStreamBYOBReader;
  try {
    into = body.getReader({ mode: 'byob' });
  } catch {
    const reader = body.getReader();
    return Object.assign(() => reader.read(), { cancel: () => reader.cancel() });
  }
  return Object.assign((memory: ArrayBuffer) => into.read(new Uint8Array(memory)), { cancel: () => into.cancel() });
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
/** From here on a thread of its own is worth starting. */
const largeBytes = 8 << 20;
/** Received and not yet written. */
const chunksAtOnce = 4;

/** SHA-256 of 64 digits, or git's SHA-1 of a blob of 40. */
async function hashOf(file: WantedFile, digits: number, blob: Blob, signal: AbortSignal | undefined): Promise<string> {
  const { createSHA1, createSHA256 } = await import('./hashes.js');
  const hash = await (digits === 64 ? createSHA256() : createSHA1());
  hash.init();
  if (digits === 40) hash.update(`blob ${blob.size}\0`);
  for (let at = 0; at < blob.size; at += pieceBytes) {
    signal?.throwIfAborted();
    hash.update(await bytesOf(file.name, blob.slice(at, at + pieceBytes)));
  }
  return hash.digest('hex');
}

async function empty(place: Place, { name }: WantedFile): Promise<void> {
  const appender = await place.append(name);
  await appender.clear();
  await appender.close();
}

/** A larger one that is found faulty is only fetched again where the server has another one, or when it is found so again. */
const fetchedAgain = 1 << 20;

/**
 * Of a kept file that was found faulty, or that is missed: it is asked for again next time. `onlyMissing`: if it was not there; what is
 * kept may be right.
 */
export async function doubt(place: Place, name: string, onlyMissing: boolean): Promise<void> {
  const state = (await readJson(place, stateName(name)).catch(() => ({}))) as State | undefined;
  if (!state || (onlyMissing && !state.missing)) return;
  const { url, etag, bytes = 0, hash } = state;
  const forgets = state.missing || state.doubted || bytes < fetchedAgain;
  await place.write(stateName(name), forgets ? '' : JSON.stringify({ url, etag, bytes, hash, doubted: true } satisfies State));
}

/** What is known of a file from the same address; damaged notes count as none. */
async function readState(place: Place, file: WantedFile): Promise<State | undefined> {
  const state = (await readJson(place, stateName(file.name)).catch(() => undefined)) as State | undefined;
  return state?.url === file.url ? state : undefined;
}
