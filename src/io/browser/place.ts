// Files of a model or of a training by name, wherever they are: kept-places.ts says where that is, and what is in them is download.ts's,
// and browser/training-store.ts's. Names are plain.

import { InputError, messageOf } from '../../errors.js';
import { within } from '../pause.js';
import { patience } from './locks.js';

/** Files by name. */
export interface Place {
  /** Whether they are still there after a reload. */
  readonly kept: boolean;
  /** What is there of a file, whole or not. */
  read(name: string): Promise<Blob | undefined>;
  /**
   * The same opened to be read; undefined where it cannot be: it is written to, or this is no worker, or another tab has it open and the
   * browser knows no two readers at once.
   */
  open(name: string): Promise<Reader | undefined>;
  /** Opens a file, made if it is missing, to write behind its end. One at a time for a file. */
  append(name: string): Promise<Appender>;
  /** The same for what is downloaded; `large`: by a thread of its own, where there can be one. */
  receive(name: string, large: boolean): Promise<Receiver>;
  /** A small file of JSON, or of nothing, replaced: whoever goes away on the way leaves what was there or what is there now. */
  write(name: string, text: string): Promise<void>;
}

export interface Reader {
  /** What is there from `at` on; how many bytes. */
  read(into: Uint8Array, at: number): number;
  close(): void;
}

export interface Appender {
  /** Bytes so far. */
  readonly size: number;
  /** Takes a copy, or is done with it. */
  write(chunk: Uint8Array): void | Promise<void>;
  /** What is there from `at` on; how many bytes. */
  read(into: Uint8Array, at: number): number | Promise<number>;
  /** Forgets what is there. */
  clear(): void | Promise<void>;
  close(): void | Promise<void>;
}

/** What a download is written to: done one after the other, in the order in which it was asked for. */
export interface Receiver {
  /** Bytes that it was given so far, and those that were there. */
  readonly size: number;
  /** Whether some could not be written: not all of `size` is there. */
  readonly failed: boolean;
  /** Takes the chunk's memory, and gives it back when it is written. */
  write(chunk: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer>;
  /** What is there from `at` on; how many bytes. */
  read(into: Uint8Array, at: number): Promise<number>;
  clear(): Promise<void>;
  close(): Promise<void>;
}

/** The file beside a downloaded one that says how far it is. */
export function stateName(name: string): string {
  return `${name}.state`;
}

function isNamed(error: unknown, name: string): boolean {
  return error instanceof DOMException && error.name === name;
}
/** What browsers say of a file that another tab has open, or of a folder with such a file. */
export const isOpenElsewhere = (error: unknown): boolean => isNamed(error, 'NoModificationAllowedError');
export const isMissing = (error: unknown): boolean => isNamed(error, 'NotFoundError');

/** Chromium leaves some files without an answer where there is no more room: that is what it is taken for. */
export function inTime<T>(asked: Promise<T>): Promise<T> {
  return within(2 * patience, asked, new DOMException('it does not answer', 'QuotaExceededError'));
}

/** How often what another tab was writing meanwhile is read again. */
const readings = 5;

/** What a file of JSON says; undefined where there is none, or nothing in it. @throws InputError where it is damaged. */
export async function readJson(place: Pick<Place, 'read'>, name: string): Promise<unknown> {
  for (let reading = 1; ; reading++) {
    try {
      const text = await (await place.read(name))?.text();
      return text ? JSON.parse(text) : undefined;
    } catch (error) {
      // A Blob is of a file as it was: written meanwhile, it cannot be read any more, or is half of what was and half of what is.
      if (!(error instanceof SyntaxError || isNamed(error, 'NotReadableError'))) throw error;
      if (reading === readings) throw new InputError(`${name} cannot be read (${messageOf(error)}): it is damaged`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** What is written by this thread. */
export function received(appender: Appender): Receiver {
  return {
    get size() {
      return appender.size; // what could not be written is not counted
    },
    failed: false,
    async write(chunk) {
      await appender.write(chunk);
      return chunk.buffer;
    },
    read: async (into, at) => appender.read(into, at),
    clear: async () => appender.clear(),
    close: async () => appender.close(),
  };
}
