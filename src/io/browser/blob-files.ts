// Files in pieces that are Blobs, which a browser holds outside the heap: in memory, or in Cache storage where there are no private files. A
// piece is there whole or not at all, so what a break or a reload leaves of a file is its beginning.

import { type Place, received } from './place.js';

/** Where pieces are, by their file's name and their place in it. */
interface Pieces {
  /** Those of a file, in order; none where there is no such file. */
  of(name: string): Promise<Blob[]>;
  /** In the place of what was there; gives it as it is there. */
  put(name: string, index: number, piece: Blob): Promise<Blob>;
  /** Removes all from `first` on, the last first. */
  cut(name: string, first: number): Promise<void>;
}

/** Gone with the worker. */
export function filesInMemory(): Place {
  const files = new Map<string, Blob[]>();
  const pieces: Pieces = {
    of: async (name) => [...(files.get(name) ?? [])],
    async put(name, index, piece) {
      files.set(name, [...(files.get(name) ?? []).slice(0, index), piece]);
      return piece;
    },
    cut: async (name, first) => void files.set(name, (files.get(name) ?? []).slice(0, first)),
  };
  return filesOf(pieces, false, 16 << 20);
}

/** Kept in the cache of this name. It is opened each time, since it may have been removed meanwhile. */
export function filesInCache(cacheName: string): Place {
  // No page is there: a service worker that looks for one of its pages in all caches finds none of these.
  const address = (name: string, index: number): string => `https://kept.invalid/${encodeURIComponent(name)}?${index}`;
  const found = async (cache: Cache, name: string, index: number): Promise<Blob | undefined> =>
    (await cache.match(address(name, index)))?.blob();
  const pieces: Pieces = {
    async of(name) {
      const cache = await caches.open(cacheName);
      const all: Blob[] = [];
      for (;;) {
        const piece = await found(cache, name, all.length);
        if (!piece) return all;
        all.push(piece);
      }
    },
    async put(name, index, piece) {
      const cache = await caches.open(cacheName);
      await cache.put(address(name, index), new Response(piece));
      return (await found(cache, name, index)) ?? piece; // as it lies there it takes no memory
    },
    async cut(name, first) {
      const cache = await caches.open(cacheName);
      let end = first;
      while (await cache.match(address(name, end))) end++;
      while (end > first) await cache.delete(address(name, --end));
    },
  };
  return filesOf(pieces, true, 8 << 20);
}

/** `most`: bytes of a piece, and so what is lost of a file when whoever writes it is gone all at once. */
function filesOf(pieces: Pieces, kept: boolean, most: number): Place {
  const place: Place = {
    kept,
    async read(name) {
      const all = await pieces.of(name);
      return all.length === 0 ? undefined : new Blob(all);
    },
    open: async () => undefined,
    async append(name) {
      let all = await pieces.of(name);
      let size = bytesIn(all);
      let loose: BlobPart[] = [];
      let gathered = size;
      /** Done one after the other; after one that failed, none. */
      let last: Promise<unknown> = Promise.resolve();
      const gather = (): Promise<unknown> => {
        if (loose.length === 0 && all.length > 0) return last;
        const [into, index, piece] = [all, all.length, new Blob(loose)];
        into.push(piece);
        loose = [];
        gathered = size;
        last = last.then(async () => {
          into[index] = await pieces.put(name, index, piece);
        });
        return last;
      };
      return {
        get size() {
          return size;
        },
        async write(chunk) {
          loose.push(chunk.slice());
          size += chunk.byteLength;
          if (size - gathered >= most) await gather();
        },
        async read(into, at) {
          if (at + into.length > gathered) gather().catch(() => undefined); // who writes hears of it
          const bytes = new Uint8Array(await new Blob(all).slice(at, at + into.length).arrayBuffer());
          into.set(bytes);
          return bytes.length;
        },
        async clear() {
          all = [];
          loose = [];
          size = 0;
          gathered = 0;
          last = last.catch(() => undefined).then(() => pieces.cut(name, 0));
          await last;
        },
        close: async () => void (await gather()),
      };
    },
    receive: async (name) => received(await place.append(name)),
    async write(name, text) {
      await pieces.put(name, 0, new Blob([text]));
      await pieces.cut(name, 1);
    },
  };
  return place;
}

function bytesIn(pieces: readonly Blob[]): number {
  return pieces.reduce((sum, { size }) => sum + size, 0);
}
