// One file from the hub into the cache's blobs: resumed where an earlier try stopped, checked for size and hash as it
// arrives, renamed into place only when both are right. What an interruption leaves is an `.incomplete` file, nothing else.

import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { InputError } from '../../errors.js';
import { fileError, makeDirectory } from './files.js';
import { type Answer, type HttpClient, PassingFailure, retrying } from './http.js';
import { fileSize, type RepoCache } from './hub-cache.js';
import { withLock } from './lock.js';

/** A file of a repository: what the hub says of it, and where it is. */
export interface RemoteFile {
  readonly name: string;
  readonly url: string;
  readonly bytes: number;
  /** sha256 of the content (large files) or git's sha1 of it (the others); a mirror may have etags of its own, which check nothing. */
  readonly etag: string;
}

export interface BlobOptions {
  readonly client: HttpClient;
  readonly cache: RepoCache;
  /** The error for an answer that is neither content nor worth another try. */
  readonly refusal: (answer: Answer, file: string) => Promise<InputError>;
  readonly onBytes: (received: number) => void;
  readonly onNotice: (message: string) => void;
}

/** Makes sure that the blob is in the cache. One process at a time downloads it. Throws `InputError` in one sentence. */
export async function downloadBlob(file: RemoteFile, options: BlobOptions): Promise<void> {
  const { cache, client, onNotice, onBytes } = options;
  const onWait = () => onNotice(`another process is downloading ${file.name}: waiting for it`);
  await withLock(cache.lock(file.etag), { signal: client.options.signal, onWait }, async () => {
    if ((await fileSize(cache.blob(file.etag))) === file.bytes) return;
    const incomplete = cache.incompleteBlob(file.etag);
    try {
      await makeDirectory(dirname(incomplete));
      let wrong = await fetchInto(incomplete, file, options);
      if (wrong !== undefined) {
        onNotice(`${file.name} arrived wrong (${wrong}): downloading it again`);
        wrong = await fetchInto(incomplete, file, options);
      }
      if (wrong !== undefined)
        throw new InputError(`${file.url}: arrived wrong twice (${wrong}); it was deleted: try again later`);
      await rename(incomplete, cache.blob(file.etag));
    } catch (error) {
      throw fileError(error, incomplete, 'write');
    }
  });
  onBytes(file.bytes);
}

/** Completes the incomplete file. Returns what is wrong with its content, after deleting it, or undefined when it is right. */
async function fetchInto(incomplete: string, file: RemoteFile, options: BlobOptions): Promise<string | undefined> {
  // Never through a link that somebody put there.
  const handle = await open(incomplete, constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0)).catch((error) => {
    if ((error as NodeJS.ErrnoException).code !== 'ELOOP') throw error;
    throw new InputError(`${incomplete}: a symbolic link, where a partial download should be; remove it and try again`);
  });
  let wrong: string | undefined;
  try {
    wrong = await new Transfer(handle, file, options).run();
    if (wrong === undefined) await handle.sync();
  } finally {
    await handle.close();
  }
  if (wrong !== undefined) await unlink(incomplete);
  return wrong;
}

class Transfer {
  private received = 0;
  private digest: Hash | undefined;

  constructor(
    private readonly handle: FileHandle,
    private readonly file: RemoteFile,
    private readonly options: BlobOptions,
  ) {
    this.digest = contentHash(file);
  }

  async run(): Promise<string | undefined> {
    const { file, options } = this;
    const { patience, signal } = options.client.options;
    await this.takeUp();
    if (this.received < file.bytes) {
      const { onNotice } = options;
      const overlong = await retrying({ patience, signal, reached: () => this.received, onNotice }, () => this.attempt());
      if (overlong) return `more than its ${file.bytes} bytes`;
    }
    const found = this.digest?.digest('hex');
    return found === undefined || found === file.etag ? undefined : `its hash is ${found}, expected ${file.etag}`;
  }

  /** Counts and hashes what an earlier try left. */
  private async takeUp(): Promise<void> {
    const { size } = await this.handle.stat();
    if (size > this.file.bytes) return this.restart();
    const buffer = Buffer.allocUnsafeSlow(Math.min(size, 1 << 22));
    while (this.received < size) {
      this.options.client.options.signal?.throwIfAborted();
      const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, this.received);
      if (bytesRead === 0) break;
      this.digest?.update(buffer.subarray(0, bytesRead));
      this.received += bytesRead;
    }
    this.options.onBytes(this.received);
  }

  private async restart(): Promise<void> {
    await this.handle.truncate(0);
    this.received = 0;
    this.digest = contentHash(this.file);
  }

  /** One request for what is missing. True when more came than should. */
  private async attempt(): Promise<boolean> {
    const { client, refusal } = this.options;
    const answer = await client.send(this.file.url, { headers: this.received > 0 ? { range: `bytes=${this.received}-` } : {} });
    try {
      if (answer.status === 200) {
        if (this.received > 0) await this.restart(); // the server knows no ranges
      } else if (answer.status === 416 || (answer.status === 206 && !this.isContinuation(answer))) {
        await this.restart();
        throw new PassingFailure(`the server of ${this.file.name} answered with another range than was asked for`);
      } else if (answer.status !== 206) {
        throw await refusal(answer, this.file.name);
      }
      return await this.receive(answer);
    } finally {
      await answer.close();
    }
  }

  private isContinuation(answer: Answer): boolean {
    const [, start, end, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(answer.headers.get('content-range') ?? '') ?? [];
    return (
      Number(start) === this.received && Number(end) < this.file.bytes && (total === '*' || Number(total) === this.file.bytes)
    );
  }

  private async receive(answer: Answer): Promise<boolean> {
    const { file, options } = this;
    for await (const chunk of answer.body()) {
      if (this.received + chunk.byteLength > file.bytes) return true;
      for (let done = 0; done < chunk.byteLength; ) {
        done += (await this.handle.write(chunk, done, chunk.byteLength - done, this.received + done)).bytesWritten;
      }
      this.digest?.update(chunk);
      this.received += chunk.byteLength;
      options.onBytes(this.received);
    }
    if (this.received < file.bytes) throw new PassingFailure(`${file.name} broke off at byte ${this.received} of ${file.bytes}`);
    return false;
  }
}

/** The running hash whose result the etag should be; git hashes a small prefix before the content. */
function contentHash({ etag, bytes }: RemoteFile): Hash | undefined {
  if (/^[0-9a-f]{64}$/.test(etag)) return createHash('sha256');
  return /^[0-9a-f]{40}$/.test(etag) ? createHash('sha1').update(`blob ${bytes}\0`) : undefined;
}
