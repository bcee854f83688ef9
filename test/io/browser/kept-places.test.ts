// Kept files where other tabs are about the same ones, over a stand-in for the private file system that refuses as Chromium's does.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { keptPlaces, removePlaces } from '../../../src/io/browser/kept-places.js';
import { openPlace } from '../../../src/io/browser/open-place.js';
import { readJson } from '../../../src/io/browser/place.js';

const refused = (): DOMException => new DOMException('it is open', 'NoModificationAllowedError');
const missing = (): DOMException => new DOMException('it is not there', 'NotFoundError');

class StandInFile {
  readonly kind = 'file';
  bytes = new Uint8Array();
  isOpen = false;
  /** What others could have read, change by change. */
  readonly seen: string[] = [];
  constructor(readonly name: string) {}

  async getFile(): Promise<Blob> {
    return new Blob([this.bytes]);
  }

  async createSyncAccessHandle() {
    if (this.isOpen) throw refused();
    this.isOpen = true;
    const set = (bytes: Uint8Array<ArrayBuffer>): void => {
      this.bytes = bytes;
      this.seen.push(new TextDecoder().decode(bytes));
    };
    return {
      getSize: () => this.bytes.length,
      write: (data: Uint8Array, { at }: { at: number }) => {
        const bytes = new Uint8Array(Math.max(this.bytes.length, at + data.length));
        bytes.set(this.bytes);
        bytes.set(data, at);
        set(bytes);
        return data.length;
      },
      truncate: (size: number) => size !== this.bytes.length && set(this.bytes.slice(0, size)),
      flush: () => {},
      close: () => {
        this.isOpen = false;
      },
    };
  }
}

class StandInFolder {
  readonly kind = 'directory';
  readonly entries = new Map<string, StandInFolder | StandInFile>();
  gone = false;
  constructor(readonly name: string) {}

  private get<T>(name: string, make: (() => T & (StandInFile | StandInFolder)) | undefined): T {
    const found = this.entries.get(name);
    if (this.gone || (!found && !make)) throw missing();
    if (!found) this.entries.set(name, make!());
    return this.entries.get(name) as T;
  }
  async getDirectoryHandle(name: string, { create = false } = {}): Promise<StandInFolder> {
    return this.get(name, create ? () => new StandInFolder(name) : undefined);
  }
  async getFileHandle(name: string, { create = false } = {}): Promise<StandInFile> {
    return this.get(name, create ? () => new StandInFile(name) : undefined);
  }
  isOpen(): boolean {
    return [...this.entries.values()].some((entry) => (entry instanceof StandInFile ? entry.isOpen : entry.isOpen()));
  }
  private leave(): void {
    this.gone = true;
    for (const entry of this.entries.values()) if (entry instanceof StandInFolder) entry.leave();
  }
  async removeEntry(name: string): Promise<void> {
    const entry = this.get<StandInFolder>(name, undefined);
    if (entry.isOpen()) throw refused();
    entry.leave();
    this.entries.delete(name);
  }
}

let root: StandInFolder;
beforeEach(() => {
  root = new StandInFolder('');
  vi.stubGlobal('navigator', { storage: { getDirectory: async () => root } });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const open = () => openPlace('openelm-models', 'a', (reason) => expect.fail(reason));
async function fileOf(name: string): Promise<StandInFile> {
  const [folder] = [...(await root.getDirectoryHandle('openelm-models')).entries.values()];
  return (folder as StandInFolder).getFileHandle(name, { create: true });
}

describe('a kept place', () => {
  it.each([
    [{ a: 'long'.repeat(9) }, { b: 1 }],
    [{ b: 1 }, { a: 'long'.repeat(9) }],
  ])('replaces a note without a moment in which it is half of one', async (before, after) => {
    const place = await open();
    await place.write('note', JSON.stringify(before));
    await place.write('note', JSON.stringify(after));
    const file = await fileOf('note');
    for (const text of file.seen) expect([before, after]).toContainEqual(JSON.parse(text));
    expect(await readJson(place, 'note')).toEqual(after);
    await place.write('note', '');
    expect(await readJson(place, 'note')).toBeUndefined();
  });

  it('is kept where another tab tries at the same moment whether it can be', async () => {
    await open();
    await (await fileOf('.probe')).createSyncAccessHandle();
    expect((await open()).kept).toBe(true);
  });

  it('waits while another tab has a file open', async () => {
    const place = await open();
    const handle = await (await fileOf('note')).createSyncAccessHandle();
    setTimeout(() => handle.close(), 50);
    await place.write('note', '1');
    expect(await readJson(place, 'note')).toBe(1);
  });

  it('is made again where another tab removed it', async () => {
    const place = await open();
    await place.write('note', '1');
    await removePlaces('openelm-models');
    expect(await place.read('note')).toBeUndefined();
    await place.write('note', '2');
    expect(await readJson(place, 'note')).toBe(2);
    expect(await readJson(await open(), 'note')).toBe(2);
  });

  it('is not removed under another tab, and says so', async () => {
    const place = await open();
    const appender = await place.append('weights');
    vi.useFakeTimers();
    const removed = expect(removePlaces('openelm-models')).rejects.toThrow(/^what is kept is open in another tab/);
    await vi.advanceTimersByTimeAsync(60_000);
    await removed;
    await appender.close();
    await removePlaces('openelm-models');
    await removePlaces('openelm-models'); // nothing is there
    expect(root.entries.size).toBe(0);
  });
});

/** Cache storage, as far as it is needed; `room`: bytes that fit. */
class StandInCaches {
  readonly all = new Map<string, Map<string, Blob>>();
  room = Number.POSITIVE_INFINITY;

  async open(name: string) {
    if (!this.all.has(name)) this.all.set(name, new Map());
    const files = this.all.get(name)!;
    return {
      match: async (address: string) => files.get(address) && new Response(files.get(address)),
      put: async (address: string, response: Response) => {
        const blob = await response.blob();
        const used = [...this.all.values()].flatMap((one) => [...one.values()]).reduce((sum, { size }) => sum + size, 0);
        if (used + blob.size > this.room) throw new DOMException('no more room', 'QuotaExceededError');
        files.set(address, blob);
      },
      delete: async (address: string) => files.delete(address),
    };
  }
  async keys() {
    return [...this.all.keys()];
  }
  async delete(name: string) {
    return this.all.delete(name);
  }
}

describe('a place in the caches, where there are no private files', () => {
  const piece = 8 << 20;
  let stored: StandInCaches;
  beforeEach(() => {
    stored = new StandInCaches();
    vi.stubGlobal('navigator', { storage: {} });
    vi.stubGlobal('caches', stored);
  });
  const chunks = (count: number): Uint8Array[] => Array.from({ length: count }, (_, i) => new Uint8Array(3 << 20).fill(i + 1));
  const there = async (name: string): Promise<number[]> => {
    const bytes = new Uint8Array(await (await (await open()).read(name))!.arrayBuffer());
    return [bytes.length, bytes[0], bytes.at(-1)!];
  };

  it('appends to what was there, and reads what is not yet in a piece', async () => {
    const first = await (await open()).append('weights');
    for (const chunk of chunks(4)) await first.write(chunk);
    const into = new Uint8Array(2);
    expect([await first.read(into, (9 << 20) - 1), ...into]).toEqual([2, 3, 4]);
    await first.close();
    const second = await (await open()).append('weights');
    expect(second.size).toBe(12 << 20);
    await second.write(Uint8Array.of(9));
    await second.close();
    expect(await there('weights')).toEqual([(12 << 20) + 1, 1, 9]);
  });

  it('has the beginning of what was being written when its writer went, and goes on behind it', async () => {
    const left = await (await open()).append('weights');
    for (const chunk of chunks(4)) await left.write(chunk); // and never closes it
    expect(await there('weights')).toEqual([9 << 20, 1, 3]);
  });

  it('writes no hole where there is no more room, and is empty again where it is cleared', async () => {
    stored.room = piece + (2 << 20);
    const appender = await (await open()).append('weights');
    const [a, b, c, ...rest] = chunks(9);
    for (const chunk of [a, b, c]) await appender.write(chunk);
    const failing = [...rest.map((chunk) => appender.write(chunk)), appender.close()];
    expect((await Promise.allSettled(failing)).at(-1)).toMatchObject({ reason: { name: 'QuotaExceededError' } });
    expect(await there('weights')).toEqual([9 << 20, 1, 3]);
    await appender.clear();
    await appender.write(Uint8Array.of(7));
    await appender.close();
    expect(await there('weights')).toEqual([1, 7, 7]);
  });

  it('replaces notes, is found by its key, and is removed', async () => {
    const place = await open();
    await place.write('note', '1');
    await place.write('note', '2');
    expect(await readJson(place, 'note')).toBe(2);
    const found = async (key?: string): Promise<unknown[]> => {
      const all: unknown[] = [];
      for await (const kept of keptPlaces('openelm-models', key)) all.push(await readJson(kept, 'note'));
      return all;
    };
    expect([await found(), await found('a'), await found('b')]).toEqual([[2], [2], []]);
    await removePlaces('openelm-trainings');
    expect(await found()).toEqual([2]);
    await removePlaces('openelm-models', 'a');
    expect(await found()).toEqual([]);
    expect(await place.read('note')).toBeUndefined();
  });

  it('is memory where the caches take nothing', async () => {
    const told: string[] = [];
    const open = () => openPlace('openelm-models', 'a', (reason) => told.push(reason));
    stored.room = -1;
    expect((await open()).kept).toBe(false);
    vi.stubGlobal('caches', undefined);
    expect((await open()).kept).toBe(false);
    expect(told).toEqual(Array(2).fill('it has no private files, or none for a page that is not https:'));
    await removePlaces('openelm-models');
  });
});

describe('a note', () => {
  const failing = { text: () => Promise.reject(new DOMException('it changed', 'NotReadableError')) } as unknown as Blob;

  it('is read again where it was written meanwhile', async () => {
    const readings = [failing, new Blob(['{"a":']), new Blob(['{"a":1}'])];
    expect(await readJson({ read: async () => readings.shift() }, 'note')).toEqual({ a: 1 });
  });

  it.each([failing, new Blob(['{"a":'])])('that stays damaged is told from one that is not there', async (blob) => {
    await expect(readJson({ read: async () => blob }, 'note')).rejects.toThrow(/^note cannot be read \(.*\): it is damaged$/);
    expect(await readJson({ read: async () => undefined }, 'note')).toBeUndefined();
  });
});
