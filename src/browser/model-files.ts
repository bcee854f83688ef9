// The files of a model in a browser, whatever they come from: an address, a hub id, files that were dropped or chosen, a folder that
// was opened. Brings what must be brought; reading what is in them is open.ts's.

import { counted, InputError } from '../errors.js';
import { isCoreNetFile, isGgufFile } from '../formats/model-file.js';
import { isPage, Watch } from '../io/browser/answer.js';
import { filesInMemory } from '../io/browser/blob-files.js';
import { blobSource, bytesOf } from '../io/browser/blob-source.js';
import {
  type DownloadSettings,
  doubt as doubtKept,
  download,
  NoRoomError,
  usualStall,
  type WantedFile,
} from '../io/browser/download.js';
import { keptSource } from '../io/browser/kept-source.js';
import { locked } from '../io/browser/locks.js';
import { openPlace } from '../io/browser/open-place.js';
import { type Place, readJson } from '../io/browser/place.js';
import { rangeSource } from '../io/browser/range-source.js';
import type { ByteSource } from '../io/bytes.js';
import { filesOfModel, hasLayout, isRepoId, readListing, repoFile, TEXT_FILES, wholeModels } from '../io/hub-listing.js';
import { parseJson, quoted } from '../io/json.js';
import { INDEX_FILE, isShardName, WEIGHTS_FILE } from '../io/safetensors-index.js';
import { addressOf, type FileOptions, hubKey, isAddress, usualEndpoint } from './model-source.js';

/** A file by its name; threads of Node's clone a File without it. */
export interface NamedBlob {
  readonly name: string;
  readonly blob: Blob;
}

/** A model by its address (a folder's, ending in `/`, or a file's), its hub id, its files or its folder. */
export type ModelSource = string | readonly NamedBlob[] | FileSystemDirectoryHandle;

/** Hears of downloads: bytes so far and, as far as it is known, in all. */
export interface FileEvents {
  readonly signal?: AbortSignal;
  onProgress(received: number, total: number): void;
  onNotice(message: string): void;
}

export interface ModelFiles {
  /** Put before names in messages. */
  readonly where: string;
  /** Whether opening a file may mean to download it. */
  readonly remote: boolean;
  /** The one file that the model is (GGUF, PyTorch), where it is one; else they are laid out as Hugging Face's are. */
  readonly single?: string;
  /** Undefined when there is none of that name. */
  open(name: string): Promise<Blob | undefined>;
  /** The same as bytes by position, to be closed. */
  source(name: string): Promise<ByteSource | undefined>;
  /** And that can be read while it comes; `whole` settles when all of it is here. */
  stream?(name: string): Promise<{ readonly source: ByteSource; readonly whole: Promise<unknown> } | undefined>;
  /** What was opened makes no model: what is kept of it is asked for again next time. */
  doubt?(): Promise<void>;
  /** Settles when all that came is kept, or is not. */
  settled?(): Promise<unknown>;
  /** A file to look into before it is downloaded; undefined where it is here already, or its server knows no ranges. */
  peek?(name: string): Promise<ByteSource | undefined>;
}

/** Throws `InputError` where there is nothing of the kind, and as `download` does. */
export async function modelFiles(source: ModelSource, options: FileOptions, events: FileEvents): Promise<ModelFiles> {
  if (typeof source !== 'string')
    return Array.isArray(source) ? chosenFiles(source) : folderFiles(source as FileSystemDirectoryHandle);
  if (isAddress(source)) return addressFiles(source, options, events);
  const { repoId, file } = repoFile(source) ?? { repoId: source };
  if (isRepoId(repoId) && repoId.includes('/')) return hubFiles(repoId, file, options, events);
  throw new InputError(
    `${quoted(source)} is no address of a model (https://… or ./folder/) and no hub id (like apple/OpenELM-270M)`,
  );
}

/** Bytes of a small file. */
export async function readSmall(files: ModelFiles, name: string): Promise<Uint8Array | undefined> {
  const blob = await files.open(name);
  return blob && bytesOf(files.where + name, blob);
}

function blobs(where: string, open: ModelFiles['open']): Pick<ModelFiles, 'where' | 'open' | 'source'> {
  const source: ModelFiles['source'] = async (name) => {
    const blob = await open(name);
    return blob && blobSource(where + name, blob);
  };
  return { where, open, source };
}

function isList(files: readonly string[] | Readonly<Record<string, string>>): files is readonly string[] {
  return Array.isArray(files);
}

function chosenFiles(list: readonly NamedBlob[]): ModelFiles {
  if (list.length === 0)
    throw new InputError('no files were given: choose config.json, the tokenizer and the .safetensors file, or a .gguf file');
  const files = new Map(list.map(({ name, blob }) => [name, blob]));
  const weights = [...files.keys()].filter((name) => name.endsWith('.safetensors'));
  // One weights file may have any name.
  const named = (name: string): string => (name === WEIGHTS_FILE && !files.has(name) && weights.length === 1 ? weights[0] : name);
  return { ...blobs('', async (name) => files.get(named(name))), remote: false, single: singleAmong([...files.keys()]) };
}

/** The one file among these that is the model. Throws `InputError` where there are several. */
function singleAmong(names: readonly string[]): string | undefined {
  if (hasLayout(new Set(names))) return undefined;
  const whole = wholeModels(names);
  if (whole.length > 1)
    throw new InputError(`there are ${counted(whole.length, 'model')} (${whole.slice(0, 4).join(', ')}): choose one of them`);
  // A part of several is no model either; its reader says so.
  return whole[0] ?? names.find((name) => isGgufFile(name) || isCoreNetFile(name));
}

async function folderFiles(folder: FileSystemDirectoryHandle): Promise<ModelFiles> {
  const open = async (name: string): Promise<Blob | undefined> => {
    if (name.includes('/')) return undefined;
    try {
      return await (await folder.getFileHandle(name)).getFile();
    } catch (error) {
      if (error instanceof DOMException && ['NotFoundError', 'TypeMismatchError'].includes(error.name)) return undefined;
      throw new InputError(`${folder.name}/${name} cannot be read: open the folder again`);
    }
  };
  const names: string[] = [];
  for await (const { kind, name } of folder.values()) if (kind === 'file') names.push(name);
  return { ...blobs(`${folder.name}/`, open), remote: false, single: singleAmong(names) };
}

async function addressFiles(source: string, options: FileOptions, events: FileEvents): Promise<ModelFiles> {
  const { base, weights, isFile, single: named } = addressOf(source);
  const may = options.files && (isList(options.files) ? options.files : Object.keys(options.files));
  const single = named ?? (may && singleAmong(may));
  const isOptional = (name: string): boolean =>
    TEXT_FILES.includes(name) || (name === WEIGHTS_FILE && !isFile) || (name === 'config.json' && single !== undefined);
  const wanted = (name: string): WantedFile | undefined => {
    if (may && name !== single && !may.includes(name)) return undefined;
    const real = name === WEIGHTS_FILE ? weights : name;
    const place = options.files && !isList(options.files) ? (options.files[name] ?? real) : real;
    return {
      name,
      url: new URL(place, base).href,
      hash: options.sha256?.[real],
      optional: may === undefined && isOptional(name),
    };
  };
  const place = await placeOf(base, options, events);
  return { ...downloaded({ where: base, key: base, place, wanted, progress: new Progress(events.onProgress) }, events), single };
}

async function hubFiles(repoId: string, file: string | undefined, options: FileOptions, events: FileEvents): Promise<ModelFiles> {
  const { revision = 'main', endpoint = usualEndpoint, token } = options.hub ?? {};
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const key = hubKey(repoId, options.hub);
  const listUrl = `${endpoint}/api/models/${repoId}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const place = await placeOf(key, options, events);
  const listing = readListing(await listingOf(place, listUrl, headers, repoId, events), listUrl);
  const { first, weights, single } = filesOfModel(listing, repoId, TEXT_FILES, file);
  const names = new Set([...first, weights]);
  const wanted = (name: string): WantedFile | undefined => {
    if (!names.has(name) && !(weights === INDEX_FILE && isShardName(name))) return undefined;
    const { bytes, etag } = listing.files.get(name) ?? {};
    const path = name.split('/').map(encodeURIComponent).join('/');
    const hash = etag && /^([0-9a-f]{64}|[0-9a-f]{40})$/.test(etag) ? etag : undefined;
    return { name, url: `${endpoint}/${repoId}/resolve/${listing.commit}/${path}`, bytes, hash };
  };
  const progress = new Progress(events.onProgress);
  for (const [name, { bytes }] of listing.files) if (bytes && wanted(name)) progress.set(name, 0, bytes);
  return { ...downloaded({ where: `${repoId}/`, key, place, headers, wanted, progress }, events), single };
}

/** What the hub says now or, without a network, what it said last. */
async function listingOf(
  place: Place,
  url: string,
  headers: Record<string, string>,
  repoId: string,
  { signal, onNotice }: FileEvents,
): Promise<unknown> {
  const name = 'listing.json';
  let response: Response | undefined;
  let text = '';
  const watch = new Watch(usualStall, signal);
  try {
    const answer = await watch.over(fetch(url, { headers, signal: watch.signal }));
    text = await watch.over(answer.text());
    response = answer;
  } catch {
    signal?.throwIfAborted();
  }
  watch.end();
  if (response?.ok) {
    if (isPage(new TextEncoder().encode(text.slice(0, 200))))
      throw new InputError(
        `${url}: the server sends a page in place of the list of files: check the hub's address, or whether this network wants a login first`,
      );
    const listing = parseJson(text, url);
    await place.write(name, JSON.stringify(listing)).catch(() => undefined); // for a visit without a network, if there is room
    return listing;
  }
  const kept = await readJson(place, name).catch(() => undefined);
  if (kept !== undefined && (!response || response.status >= 500)) {
    onNotice(`${new URL(url).host} cannot be reached: what is kept of ${repoId} is taken`);
    return kept;
  }
  if (!response) throw new InputError(`${new URL(url).host} cannot be reached: is there a network?`);
  const { status } = response;
  throw new InputError((option) => {
    const why: Record<number, string> = {
      401: `it does not exist, or is private or gated: check the name, or give a token (${option('hub.token')})`,
      403: `it is gated: accept its licence and give a token (${option('hub.token')})`,
      404: 'there is no such model or revision: check the name',
    };
    return `${repoId} cannot be had from ${new URL(url).host} (${status})${why[status] ? `: ${why[status]}` : ''}`;
  });
}

async function placeOf(key: string, { keep }: FileOptions, { onNotice }: FileEvents): Promise<Place> {
  if (keep === false) return filesInMemory();
  return openPlace('openelm-models', key, (reason) =>
    onNotice(`this browser keeps no files here (${reason}): the model is downloaded anew each time`),
  );
}

/** Of a file that there is no room to keep: held in memory it takes room twice. */
const mostInMemory = 1 << 30;

/** Bytes of all files together, as they come. */
class Progress {
  private readonly sizes = new Map<string, readonly [received: number, total: number]>();
  private told = 0;

  constructor(private readonly tell: FileEvents['onProgress']) {}

  /** As far as it is known. */
  totalOf(name: string): number {
    return this.sizes.get(name)?.[1] ?? 0;
  }

  set(name: string, received: number, total: number): void {
    this.sizes.set(name, [received, total]);
  }

  /** Thousands of chunks come in a second: not each is told. */
  came(name: string, received: number, total: number | undefined): void {
    this.set(name, received, total ?? received);
    if (received !== total && performance.now() - this.told < 30) return;
    this.told = performance.now();
    const sum = (index: 0 | 1): number => [...this.sizes.values()].reduce((all, size) => all + size[index], 0);
    this.tell(sum(0), sum(1));
  }
}

/** A model that files are downloaded of. */
interface Remote {
  readonly where: string;
  /** What locks are named by: others that download it have the same. */
  readonly key: string;
  readonly place: Place;
  readonly headers?: Readonly<Record<string, string>>;
  /** Undefined where it has no such file. */
  wanted(name: string): WantedFile | undefined;
  /** With the sizes that are known before. */
  readonly progress: Progress;
}

function downloaded({ where, key, place, headers, wanted, progress }: Remote, events: FileEvents): ModelFiles {
  const memory = filesInMemory();
  const unkept = new Set<string>();
  /** Of the largest file that is said not to be kept: a small one may be in its way alone. */
  let unkeptBytes = -1;
  const opened = new Set<string>();
  /** Then what is kept may be right. */
  let didFail = false;
  const open = async (name: string, onArriving?: DownloadSettings['onArriving']): Promise<Blob | undefined> => {
    const file = wanted(name);
    if (!file) return undefined;
    opened.add(name);
    const onBytes: DownloadSettings['onBytes'] = (received, total) => progress.came(name, received, total);
    const settings: DownloadSettings = { headers, signal: events.signal, onBytes, onArriving, where };
    if (unkept.has(name)) return download(memory, file, settings);
    const keeping = async (): Promise<Blob | undefined> => {
      try {
        return await download(place, file, settings);
      } catch (error) {
        if (!(error instanceof NoRoomError && (error.bytes ?? 0) <= mostInMemory)) throw error;
        const bytes = Math.max(error.bytes ?? 0, progress.totalOf(name));
        if (bytes > unkeptBytes) events.onNotice(`${error.why}: it is not kept, and downloaded anew each time`);
        unkeptBytes = Math.max(unkeptBytes, bytes);
        unkept.add(name);
        try {
          const part = await place.append(name);
          await part.clear(); // others may fit
          await part.close();
        } catch {
          // there is not even room for its name
        }
        return undefined;
      }
    };
    // Another tab that wants the same file waits for this one, and then finds it.
    const blob = await locked(`openelm ${key} ${name}`, place.kept, events.signal, keeping).catch((error: unknown) => {
      didFail = true;
      throw error;
    });
    // Who reads it meanwhile goes on with the first.
    return unkept.has(name) ? download(memory, file, { ...settings, onArriving: undefined }) : blob;
  };
  const sourceOf = (name: string, blob: Blob): ByteSource =>
    keptSource(where + name, blob, () => (unkept.has(name) ? memory : place).open(name));
  const source: ModelFiles['source'] = async (name) => {
    const blob = await open(name);
    return blob && sourceOf(name, blob);
  };
  const settling: Promise<unknown>[] = [];
  const stream: ModelFiles['stream'] = async (name) => {
    let whole: Promise<unknown> = Promise.resolve();
    const coming = await new Promise<ByteSource | Blob | undefined>((begun, failed) => {
      const blob = open(name, (file) => {
        file.follow(blob); // in memory, where there is no more room to keep it
        begun(file);
        whole = file.whole;
      });
      blob.then(begun, failed);
      settling.push(blob);
    });
    return coming && { source: coming instanceof Blob ? sourceOf(name, coming) : coming, whole };
  };
  const peek = async (name: string): Promise<ByteSource | undefined> => {
    const file = wanted(name);
    if (!file || (await place.read(name))) return undefined;
    return rangeSource(where + name, file.url, { headers, signal: events.signal });
  };
  const doubt = async (): Promise<void> => {
    for (const name of opened) await doubtKept(place, name, didFail).catch(() => undefined); // no room for a note, say
  };
  return { where, remote: true, open, source, stream, settled: () => Promise.allSettled(settling), doubt, peek };
}
