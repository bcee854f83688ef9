// A file that is still being downloaded as bytes by position: what is asked for before it has come is filled in as it comes, so that
// weights are put onto a backend meanwhile. The download tells it what comes; how that is kept and tried again is download.ts's.

import { InputError } from '../../errors.js';
import { type ByteSource, checkRange } from '../bytes.js';
import { blobSource } from './blob-source.js';
import { readWhole } from './kept-source.js';
import type { Receiver } from './place.js';

interface Waiting {
  resolve(): void;
  reject(reason: unknown): void;
}
/** Bytes that are still to come: `rest` of them, from `next` on. */
interface Filling extends Waiting {
  next: number;
  rest: Uint8Array;
}

export class Arriving implements ByteSource {
  private receiver: Receiver | undefined;
  private kept: ByteSource | undefined;
  private failure: { readonly reason: unknown } | undefined;
  private isRead = false;
  private filling: Filling[] = [];
  /** For somewhere to read from. */
  private waiting: Waiting[] = [];
  private completed!: Waiting;
  /** Settles when all of it is here, and is what was wanted. */
  readonly whole = new Promise<void>((resolve, reject) => {
    this.completed = { resolve, reject };
  });

  private release!: () => void;
  /** Settles when nobody reads it any more: until then what it is written to stays open, which is read faster than what is kept. */
  readonly released = new Promise<void>((resolve) => {
    this.release = resolve;
  });

  constructor(
    readonly name: string,
    readonly size: number,
  ) {
    this.whole.catch(() => undefined); // whoever reads hears of it too
  }

  /** What it is written to; undefined while that is closed. */
  writes(receiver: Receiver | undefined): void {
    this.receiver = receiver;
    if (receiver) this.goOn();
  }

  /** This comes next, and is then written. */
  came(at: number, chunk: Uint8Array): void {
    this.filling = this.filling.filter((one) => {
      if (one.next < at) return true; // from the end, then
      const part = chunk.subarray(one.next - at, one.next - at + one.rest.length);
      one.rest.set(part);
      one.rest = one.rest.subarray(part.length);
      one.next += part.length;
      if (one.rest.length > 0) return true;
      one.resolve();
      return false;
    });
  }

  /** It begins anew: what came is of no use, as the file is another one now. */
  restarts(): void {
    if (this.isRead) this.fail(new InputError(`${this.name}: the file changed on the server while it was loaded; load again`));
  }

  /** All of it has come, and is what was wanted. */
  complete(): void {
    this.completed.resolve();
  }

  /** Where it will be in the end, unless that fails. */
  follow(blob: Promise<Blob | undefined>): void {
    const ends = (kept: Blob | undefined): void => {
      if (kept?.size !== this.size) {
        this.fail(new InputError(`${this.name}: what came has another size than was told; load again`));
        return;
      }
      const source = blobSource(this.name, kept);
      this.kept = source;
      this.goOn();
      for (const { next, rest, resolve, reject } of this.filling.splice(0)) source.readInto!(next, rest).then(resolve, reject);
      this.complete();
    };
    blob.then(ends, (reason: unknown) => this.fail(reason));
  }

  private goOn(): void {
    for (const { resolve } of this.waiting.splice(0)) resolve();
  }

  private fail(reason: unknown): void {
    this.failure ??= { reason };
    this.release();
    for (const { reject } of [...this.waiting.splice(0), ...this.filling.splice(0), this.completed]) reject(this.failure.reason);
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    await this.readInto(offset, bytes);
    return bytes;
  }

  async readInto(offset: number, bytes: Uint8Array): Promise<void> {
    checkRange(this, offset, bytes.length);
    while (!this.receiver || this.failure || this.kept) {
      if (this.failure) throw this.failure.reason;
      if (this.kept) return this.kept.readInto!(offset, bytes);
      await new Promise<void>((resolve, reject) => this.waiting.push({ resolve, reject }));
    }
    this.isRead = true;
    const { receiver } = this;
    const here = Math.min(bytes.length, Math.max(0, receiver.size - offset));
    const [written, rest] = [bytes.subarray(0, here), bytes.subarray(here)];
    const next = offset + here;
    const filled =
      rest.length === 0 ? undefined : new Promise<void>((resolve, reject) => this.filling.push({ next, rest, resolve, reject }));
    filled?.catch(() => undefined); // it is awaited below
    if (here > 0)
      await readWhole(this.name, receiver, offset, written).catch((error: unknown) => {
        if (!receiver.failed) throw error;
        return this.readElsewhere(receiver, offset, written);
      });
    await filled;
  }

  /** There was no more room: what was already there comes again, to another place, or the download fails. */
  private async readElsewhere(failed: Receiver, offset: number, bytes: Uint8Array): Promise<void> {
    while (this.receiver === failed && !this.kept && !this.failure)
      await new Promise<void>((resolve, reject) => this.waiting.push({ resolve, reject }));
    return this.readInto(offset, bytes);
  }

  async close(): Promise<void> {
    this.release();
  }
}
