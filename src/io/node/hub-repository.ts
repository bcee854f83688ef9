// What a model and a dataset of the Hugging Face hub have in common: a repository with revisions, the listing of a commit's files,
// refusals in one sentence, and the download of chosen files into the cache (https://huggingface.co/docs/hub/api). Which files
// are wanted is hub.ts's and hub-datasets.ts's.

import { statfs } from 'node:fs/promises';
import { InputError } from '../../errors.js';
import { type Listing, readListing } from '../hub-listing.js';
import { parseJson, quoted } from '../json.js';
import { fileError, makeDirectory } from './files.js';
import { type Answer, DEFAULT_PATIENCE, HttpClient, type Patience, retrying, textOf, Unreachable } from './http.js';
import { downloadBlob, type RemoteFile } from './hub-blob.js';
import { fileSize, hubSettings, RepoCache, type RepoKind } from './hub-cache.js';

/** How far a download is; sizes in bytes. The overall total grows once, when an index has told of its shards. */
export interface DownloadProgress {
  readonly file: string;
  readonly receivedBytes: number;
  readonly totalBytes: number;
  readonly overallReceivedBytes: number;
  readonly overallTotalBytes: number;
}

/** Where a repository is taken from and kept, and how its download is followed. */
export interface DownloadOptions {
  /** Branch, tag or commit; default `main`. */
  readonly revision?: string;
  /** Default $HF_HUB_CACHE, or $HF_HOME/hub, or ~/.cache/huggingface/hub. */
  readonly cacheDir?: string;
  /** Default $HF_ENDPOINT, or https://huggingface.co. */
  readonly endpoint?: string;
  /** Default $HF_TOKEN, or the token file that `hf auth login` wrote. Sent to the endpoint's origin only. */
  readonly token?: string;
  /** Use the cache alone; default $HF_HUB_OFFLINE. */
  readonly offline?: boolean;
  readonly fetch?: typeof fetch;
  /** Called for every piece that arrives, only while something is downloaded. */
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** Told in one sentence of what the user should know: the cache is used, another process is waited for. */
  readonly onNotice?: (message: string) => void;
  readonly signal?: AbortSignal;
  /** Overrides how long a bad connection is put up with. */
  readonly patience?: Partial<Patience>;
}

const MAX_ANSWER_BYTES = 64 << 20;

/** What is wanted of a repository. */
export interface Wanted {
  readonly kind: RepoKind;
  readonly repoId: string;
  readonly revision: string;
  /** The first needed file that the cached commit lacks. */
  firstMissing(cache: RepoCache, commit: string): Promise<string | undefined>;
  fetch(download: SnapshotDownload): Promise<void>;
}

/**
 * The snapshot's directory with what is wanted in it. Nothing is downloaded twice; without a network a complete cached copy is
 * used. Throws `InputError` in one sentence, or the signal's reason.
 */
export async function cachedSnapshot(wanted: Wanted, options: DownloadOptions): Promise<string> {
  const { kind, repoId, revision } = wanted;
  const { onNotice = () => {} } = options;
  const settings = await hubSettings(options);
  const cache = new RepoCache(settings.cacheDir, repoId, kind);
  const commit = await cache.commitOf(revision);
  const missing = commit === undefined ? `revision ${revision}` : await wanted.firstMissing(cache, commit);
  const inCache = commit !== undefined && missing === undefined ? cache.snapshot(commit) : undefined;
  if (settings.offline) {
    if (inCache) return inCache;
    throw new InputError(
      `${repoId} is not in the cache at ${settings.cacheDir} (${missing} is missing), and offline mode (HF_HUB_OFFLINE) forbids to download it`,
    );
  }

  const patience = { ...DEFAULT_PATIENCE, ...options.patience };
  const origin = new URL(settings.endpoint).origin;
  const client = new HttpClient({
    origin,
    token: settings.token,
    fetch: options.fetch,
    signal: options.signal,
    patience,
    onNotice,
  });
  const hub = new HubRepository(client, settings.endpoint, kind, repoId, revision);
  let listing: Listing;
  try {
    listing = await hub.list(
      inCache ? { ...patience, retries: Math.min(1, patience.retries), stallMs: Math.min(10_000, patience.stallMs) } : patience,
    );
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    if (!inCache)
      throw new InputError(`${error.message}, and ${repoId} is not in the cache (${missing} is missing): check the connection`);
    onNotice(`${error.message}: using the cached copy of ${repoId}`);
    return inCache;
  }
  await wanted.fetch(new SnapshotDownload(hub, cache, listing, settings.cacheDir, options));
  await cache.setCommit(revision, listing.commit);
  return cache.snapshot(listing.commit);
}

class HubRepository {
  constructor(
    readonly client: HttpClient,
    readonly endpoint: string,
    readonly kind: RepoKind,
    readonly repoId: string,
    readonly revision: string,
  ) {}

  /** Where a person would look at it. */
  private get page(): string {
    return `${this.endpoint}/${this.kind === 'datasets' ? 'datasets/' : ''}${this.repoId}`;
  }

  private get api(): string {
    return `${this.endpoint}/api/${this.kind}/${this.repoId}`;
  }

  /** The commit that the revision stands for now, and its files. */
  async list(patience: Patience): Promise<Listing> {
    const { signal, onNotice } = this.client.options;
    const url = `${this.api}/revision/${encodeURIComponent(this.revision)}?blobs=true`;
    const client = new HttpClient({ ...this.client.options, patience });
    const text = await retrying({ patience, signal, onNotice }, async () => {
      const answer = await client.send(url);
      try {
        if (answer.status !== 200) throw await this.refusal(answer);
        return await textOf(answer, MAX_ANSWER_BYTES, `the answer of ${url}`);
      } finally {
        await answer.close();
      }
    });
    return readListing(parseJson(text, url), url);
  }

  /** A file with its address, size and hash; asks for what the listing did not tell (mirrors leave out blobs). */
  async describe(listing: Listing, name: string): Promise<RemoteFile> {
    const path = name.split('/').map(encodeURIComponent).join('/');
    const url = `${this.page}/resolve/${listing.commit}/${path}`;
    let { bytes, etag } = listing.files.get(name) ?? {};
    if (bytes === undefined || etag === undefined) {
      const { patience, signal, onNotice } = this.client.options;
      const answer = await retrying({ patience, signal, onNotice }, () =>
        this.client.send(url, { method: 'HEAD', sameOrigin: true }),
      );
      await answer.close();
      if (answer.status >= 400) throw await this.refusal(answer, name);
      etag = (answer.headers.get('x-linked-etag') ?? answer.headers.get('etag') ?? '').replace(/^W\//, '').replaceAll('"', '');
      bytes = Number(answer.headers.get('x-linked-size') ?? answer.headers.get('content-length') ?? Number.NaN);
    }
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new InputError(`${url}: the server does not tell the size of the file`);
    if (!/^[\w-][\w.-]{0,127}$/.test(etag))
      throw new InputError(`${url}: the server gives no usable etag for the file, found ${quoted(etag)}`);
    return { name, url, bytes, etag };
  }

  /** What an answer that is no content means, in one sentence with what to do. */
  readonly refusal = async (answer: Answer, file?: string): Promise<InputError> => {
    const { repoId, revision, endpoint, page } = this;
    const noun = this.kind === 'datasets' ? 'dataset' : 'model';
    const { status, headers } = answer;
    const code = headers.get('x-error-code') ?? '';
    const account = this.client.options.token
      ? 'the account of your token'
      : 'your account, and set HF_TOKEN to one of its tokens';
    if (code === 'GatedRepo' || status === 403) {
      return new InputError(`${repoId} is gated (${status}): accept its licence at ${page} with ${account}`);
    }
    if (status === 401 && this.client.options.token && code !== 'RepoNotFound') {
      return new InputError(
        `${endpoint} refuses the token for ${repoId} (401): check HF_TOKEN, and that its account has access to the ${noun}`,
      );
    }
    if (status === 401) {
      return new InputError(
        `${repoId} does not exist at ${endpoint}, or is private or gated (401): check the name, or accept its licence at ${page} with ${account}`,
      );
    }
    if (status === 404 && file !== undefined && code !== 'RepoNotFound')
      return new InputError(`${repoId} has no file ${file} at ${endpoint} (404)`);
    if (status === 404 && (code === 'RevisionNotFound' || (code !== 'RepoNotFound' && (await this.exists())))) {
      return new InputError(`${repoId} has no revision ${quoted(revision)} at ${endpoint} (404)`);
    }
    if (status === 404)
      return new InputError(`there is no ${noun} ${repoId} at ${endpoint} (404): check the name; a private one needs HF_TOKEN`);
    const message = headers.get('x-error-message');
    return new InputError(
      `${endpoint} answered ${repoId}${file ? `, ${file},` : ''} with status ${status}${message ? ` (${quoted(message)})` : ''}`,
    );
  };

  /** Tells a missing revision from a missing repository where the answer has no error code. */
  private async exists(): Promise<boolean> {
    try {
      const answer = await this.client.send(this.api);
      await answer.close();
      return answer.status === 200;
    } catch {
      this.client.options.signal?.throwIfAborted();
      return false;
    }
  }
}

/** Brings files of one commit into the cache, one after another. */
export class SnapshotDownload {
  /** Bytes received so far and in all, of each file that is not in the cache yet. */
  private readonly sizes = new Map<string, { received: number; total: number }>();

  constructor(
    readonly hub: HubRepository,
    readonly cache: RepoCache,
    readonly listing: Listing,
    private readonly cacheDir: string,
    private readonly options: DownloadOptions,
  ) {}

  /** Fetches what of these files is not in the cache yet. */
  async fetchAll(names: readonly string[]): Promise<void> {
    const files: RemoteFile[] = [];
    for (const name of names) {
      if (!this.listing.files.has(name))
        throw new InputError(`${this.hub.repoId}: its index names ${name}, but it has no such file`);
      const file = await this.hub.describe(this.listing, name);
      if ((await fileSize(this.cache.snapshot(this.listing.commit, name))) !== file.bytes) files.push(file);
    }
    await this.checkSpace(files);
    for (const file of files) this.sizes.set(file.name, { received: 0, total: file.bytes });
    for (const file of files) await this.fetchOne(file);
  }

  private async fetchOne(file: RemoteFile): Promise<void> {
    const { cache, listing, options } = this;
    if ((await fileSize(cache.blob(file.etag))) !== file.bytes) {
      const { client, refusal } = this.hub;
      await downloadBlob(file, {
        client,
        cache,
        refusal,
        onBytes: (received) => this.report(file, received),
        onNotice: options.onNotice ?? (() => {}),
      });
    }
    await cache.link(listing.commit, file.name, file.etag);
  }

  private report(file: RemoteFile, received: number): void {
    this.sizes.set(file.name, { received, total: file.bytes });
    let overallReceivedBytes = 0;
    let overallTotalBytes = 0;
    for (const size of this.sizes.values()) {
      overallReceivedBytes += size.received;
      overallTotalBytes += size.total;
    }
    this.options.onProgress?.({
      file: file.name,
      receivedBytes: received,
      totalBytes: file.bytes,
      overallReceivedBytes,
      overallTotalBytes,
    });
  }

  /** Says at once that the disk is too small, rather than after an hour. */
  private async checkSpace(files: readonly RemoteFile[]): Promise<void> {
    let needed = 0;
    for (const { etag, bytes } of files)
      needed += bytes - ((await fileSize(this.cache.blob(etag))) ?? (await fileSize(this.cache.incompleteBlob(etag))) ?? 0);
    if (needed <= 0) return;
    try {
      await makeDirectory(this.cacheDir);
      const { bavail, bsize } = await statfs(this.cacheDir);
      const free = bavail * bsize;
      if (needed > free) {
        throw new InputError(
          `${this.hub.repoId} needs ${needed} more bytes in ${this.cacheDir}, but only ${free} are free: free some space or set HF_HOME`,
        );
      }
    } catch (error) {
      throw fileError(error, this.cacheDir, 'write');
    }
  }
}
