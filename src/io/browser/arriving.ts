// A file that is still being downloaded as bytes by position: reads wait until what they ask for has come, so that weights are put onto a
// backend meanwhile. The download tells it what comes; how that is kept and tried again is download.ts's.

import { InputError } from '../../errors.js';
import { type ByteSource, checkRange } from '../bytes.js';
import { blobSource } from './blob-source.js';
import { readWhole } from './kept-source.js';
import type { Appender, Reader } from './place.js';

interface Waiting {
  readonly end: number;
  resolve(): void;
  reject(reason: unknown): void;
}

export class Arriving implements ByteSource {
  private appender: Appender | undefined;
  private kept: ByteSource | undefined;
  private failure: { readonly reason: unknown } | undefined;
  private furthest = 0;
  private waiting: Waiting[] = [];

  constructor(
    readonly name: string,
    readonly size: number,
  ) {}

  /** The file that what comes is written to; undefined while it is closed. */
  writes(appender: Appender | undefined): void {
    this.appender = appender;
    this.came();
  }

  /** There is more of it. */
  came(): void {
    const size = this.kept ? this.size : (this.appender?.size ?? 0);
    const [ready, waiting] = [[] as Waiting[], [] as Waiting[]];
    for (const one of this.waiting) (one.end <= size ? ready : waiting).push(one);
    this.waiting = waiting;
    for (const { resolve } of ready) resolve();
  }

  /** What came is of no use: the file is another one now. */
  restarts(): void {
    if (this.furthest > 0)
      this.fail(new InputError(`${this.name}: the file changed on the server while it was loaded; load again`));
  }

  /** All of it will be here, or will not. */
  follow(whole: Promise<Blob | undefined>): void {
    const ends = (blob: Blob | undefined): void => {
      if (blob?.size !== this.size) {
        this.fail(new InputError(`${this.name}: what came has another size than was told; load again`));
        return;
      }
      this.kept = blobSource(this.name, blob);
      this.came();
    };
    whole.then(ends, (reason: unknown) => this.fail(reason));
  }

  private fail(reason: unknown): void {
    this.failure ??= { reason };
    for (const { reject } of this.waiting) reject(this.failure.reason);
    this.waiting = [];
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    await this.readInto(offset, bytes);
    return bytes;
  }

  async readInto(offset: number, bytes: Uint8Array): Promise<void> {
    checkRange(this, offset, bytes.length);
    const end = offset + bytes.length;
    for (;;) {
      if (this.failure) throw this.failure.reason;
      if (this.kept) {
        bytes.set(await this.kept.read(offset, bytes.length));
        return;
      }
      if (this.appender && this.appender.size >= end) break;
      await new Promise<void>((resolve, reject) => this.waiting.push({ end, resolve, reject }));
    }
    this.furthest = Math.max(this.furthest, end);
    readWhole(this.name, this.appender as Reader, offset, bytes);
  }

  async close(): Promise<void> {}
}
