// Downloads into a place against a server that breaks off, changes the file, refuses and lies.

import { createHash } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import type { Arriving } from '../../../src/io/browser/arriving.js';
import { filesInMemory } from '../../../src/io/browser/blob-files.js';
import { doubt, download, NoRoomError } from '../../../src/io/browser/download.js';
import type { Place } from '../../../src/io/browser/place.js';

const data = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> 3);
const sha256 = createHash('sha256').update(data).digest('hex');
const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.safetensors`;
}

/** Serves `bytes` by ranges; each answer breaks after `each` bytes. */
function ranges(bytes: Uint8Array, each = Number.POSITIVE_INFINITY, asked: string[] = []): RequestListener {
  return ({ headers }, response) => {
    asked.push(headers.range ?? '-');
    const from = Number(/bytes=([0-9]+)-/.exec(headers.range ?? '')?.[1] ?? 0);
    response.setHeader('etag', `"${bytes.length}-${bytes[0]}"`);
    if (from >= bytes.length) {
      response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
      return;
    }
    response.setHeader('content-length', bytes.length - from);
    if (headers.range) response.setHeader('content-range', `bytes ${from}-${bytes.length - 1}/${bytes.length}`);
    response.writeHead(headers.range ? 206 : 200);
    const part = bytes.subarray(from, Math.min(bytes.length, from + each));
    if (from + each >= bytes.length) response.end(part);
    else response.write(part, () => setTimeout(() => response.destroy(), 20));
  };
}

const patience = [1, 1];
const expectSame = (found: Uint8Array, bytes: Uint8Array): void => expect(Buffer.compare(found, bytes)).toBe(0);
const bytesOf = async (blob: Blob | undefined): Promise<Uint8Array> => new Uint8Array(await blob!.arrayBuffer());

describe('a file that arrives', () => {
  /** Downloads, and reads with the first word of it. */
  function reading(place: Place, file: Parameters<typeof download>[1], settings: Parameters<typeof download>[2] = {}) {
    let begun: (file: Arriving) => void;
    const arriving = new Promise<Arriving>((resolve) => {
      begun = resolve;
    });
    const whole = download(place, file, { patience, ...settings, onArriving: (it) => begun(it) });
    void arriving.then((it) => it.follow(whole));
    return { whole, arriving };
  }

  it('is read while it comes, over breaks, and after', async () => {
    const url = await serve(ranges(data, 70_000));
    const { whole, arriving } = reading(filesInMemory(), { name: 'model.safetensors', url, hash: sha256 }, { where: 'models/' });
    const file = await arriving;
    expect([file.name, file.size]).toEqual(['models/model.safetensors', data.length]);
    let ended = false;
    void whole.then(() => {
      ended = true;
    });
    expectSame(await file.read(10, 50_000), data.subarray(10, 50_010));
    expect(ended).toBe(false);
    const last = file.read(data.length - 9, 9);
    const middle = new Uint8Array(1000);
    await file.readInto(100_000, middle);
    expect(middle).toEqual(data.subarray(100_000, 101_000));
    expect(await last).toEqual(data.subarray(data.length - 9));
    await file.whole;
    expect(await file.read(20, 1000)).toEqual(data.subarray(20, 1020));
    expect(ended).toBe(false);
    await file.close();
    await whole;
    expect(await file.read(5, 100)).toEqual(data.subarray(5, 105));
    await expect(file.read(data.length, 1)).rejects.toThrow(/model.safetensors/);
  });

  it('is read on where a server begins anew with the same file', async () => {
    let tries = 0;
    const url = await serve((request, response) => {
      delete request.headers.range; // it knows none
      ranges(data, tries++ === 0 ? 70_000 : undefined)(request, response);
    });
    const { whole, arriving } = reading(filesInMemory(), { name: 'a', url });
    const file = await arriving;
    const pieces = await Promise.all([file.read(0, 1000), file.read(60_000, 100_000), file.read(data.length - 9, 9)]);
    expectSame(Buffer.concat(pieces), Buffer.concat([data.subarray(0, 1000), data.subarray(60_000, 160_000), data.slice(-9)]));
    await file.close();
    expectSame(await bytesOf(await whole), data);
  });

  it('is read on in memory where there is no more room for what came', async () => {
    const url = await serve(ranges(data));
    const full = new DOMException('no more room', 'QuotaExceededError');
    const memory = filesInMemory();
    // As a thread: bytes that are still to be written count.
    const receive: Place['receive'] = async (name, large) => {
      const { read, clear, close, write } = await memory.receive(name, large);
      const counts = { size: 0, failed: false };
      let last: Promise<unknown> = Promise.resolve();
      return Object.assign(counts, {
        ...{ clear, close },
        async read(into: Uint8Array, at: number) {
          await last.catch(() => undefined); // one after the other
          return read(into, at);
        },
        write(chunk: Uint8Array<ArrayBuffer>) {
          counts.size += chunk.length;
          const written =
            counts.size <= 100_000
              ? write(chunk)
              : source.then(async (file) => {
                  pieces.push(file.read(0, counts.size));
                  counts.failed = true;
                  throw full;
                });
          last = written;
          return written;
        },
      });
    };
    const pieces: Promise<Uint8Array>[] = [];
    let begun: (file: Arriving) => void;
    const source = new Promise<Arriving>((resolve) => {
      begun = resolve;
    });
    const file = { name: 'model.safetensors', url };
    const whole = download({ ...memory, receive }, file, { patience, onArriving: (it) => begun(it) }).catch((error) => {
      if (!(error instanceof NoRoomError)) throw error;
      return download(filesInMemory(), file);
    });
    (await source).follow(whole);
    pieces.push((await source).read(0, data.length));
    await whole;
    expect(pieces.length).toBeGreaterThan(1);
    for (const piece of pieces) {
      const bytes = await piece;
      expect(Buffer.compare(bytes, data.subarray(0, bytes.length))).toBe(0);
    }
  });

  it('fails whoever reads when it breaks off for good, and when it changed after something was read', async () => {
    let now = ranges(data, 50_000);
    const url = await serve((request, response) => now(request, response));
    const broken = reading(filesInMemory(), { name: 'a', url }, { patience: [] });
    const waits = (await broken.arriving).read(200_000, 10);
    await expect(broken.whole).rejects.toThrow(/the connection broke/);
    await expect(waits).rejects.toThrow(/the connection broke/);
    const changed = reading(filesInMemory(), { name: 'b', url });
    const file = await changed.arriving;
    await file.read(0, 10);
    now = ranges(data.map((byte) => byte ^ 1));
    await changed.whole;
    await expect(file.whole).rejects.toThrow('the file changed');
    await expect(file.read(0, 10)).rejects.toThrow('b: the file changed on the server while it was loaded; load again');
  });
});

describe('a download', () => {
  it('goes on after every break, is checked, and is not asked for again', async () => {
    const asked: string[] = [];
    const url = await serve(ranges(data, 70_000, asked));
    const place = filesInMemory();
    const file = { name: 'model.safetensors', url, hash: sha256, bytes: data.length };
    const seen: number[] = [];
    const onBytes = (received: number): void => void seen.push(received);
    expectSame(await bytesOf(await download(place, file, { patience, onBytes })), data);
    expect(asked.length).toBeGreaterThan(3);
    expect(asked[1]).toMatch(/^bytes=[1-9]/);
    expect(seen.every((received, i) => i === 0 || received > seen[i - 1])).toBe(true);
    const before = asked.length;
    await download(place, file);
    expect(asked).toHaveLength(before);
  });

  it('tells a lack of room from other faults, that of notes too', async () => {
    const url = await serve(ranges(data));
    const full = new DOMException('no more room', 'QuotaExceededError');
    const place = filesInMemory();
    const receive: Place['receive'] = async (name, large) => {
      const { size, read, clear, close } = await place.receive(name, large);
      return { size, failed: true, read, clear, close, write: () => Promise.reject(full) };
    };
    const write = (): Promise<never> => Promise.reject(full);
    const file = { name: 'model.safetensors', url };
    const said =
      /^model\.safetensors does not fit into what this browser gives this site \(no more room\): free space on the device/;
    for (const there of [
      { ...place, receive },
      { ...place, write },
    ]) {
      const failed = download(there, file, { patience });
      await expect(failed).rejects.toThrow(NoRoomError);
      await expect(failed).rejects.toThrow(said);
    }
  });

  it('takes nothing of another file for this one when a reload comes before its first byte', async () => {
    const place = filesInMemory();
    const name = 'model.safetensors';
    await download(place, { name, url: await serve(ranges(data)) });
    const other = data.map((byte) => byte ^ 1);
    const url = await serve(ranges(other));
    const receive = (): Promise<never> => Promise.reject(new Error('reloaded'));
    await expect(download({ ...place, receive }, { name, url })).rejects.toThrow('reloaded');
    expectSame(await bytesOf(await download(place, { name, url })), other);
  });

  it('goes on where an abort left it', async () => {
    const asked: string[] = [];
    const url = await serve(ranges(data, 100_000, asked));
    const place = filesInMemory();
    const file = { name: 'model.safetensors', url };
    const controller = new AbortController();
    const onBytes = (received: number): void => {
      if (received >= 100_000) controller.abort(new Error('the page was left'));
    };
    await expect(download(place, file, { signal: controller.signal, onBytes })).rejects.toThrow('the page was left');
    expectSame(await bytesOf(await download(place, file, { patience })), data);
    expect(asked[1]).toMatch(/^bytes=[1-9]/);
  });

  it('is whole where all had come and nothing more was noted', async () => {
    const asked: string[] = [];
    const url = await serve(ranges(data, undefined, asked));
    const place = filesInMemory();
    const noting = {
      ...place,
      write: (name: string, text: string) =>
        text.includes('whole') ? Promise.reject(new Error('reload')) : place.write(name, text),
    };
    await expect(download(noting, { name: 'a', url }, { patience })).rejects.toThrow('reload');
    expectSame(await bytesOf(await download(place, { name: 'a', url, hash: sha256 }, { patience })), data);
    expect(asked).toEqual(['-', `bytes=${data.length}-`]);
  });

  it('starts over when the file changed meanwhile', async () => {
    const other = data.map((byte) => byte ^ 1);
    let now = ranges(data, 50_000);
    const url = await serve((request, response) => now(request, response));
    const place = filesInMemory();
    const file = { name: 'model.safetensors', url };
    await expect(download(place, file, { patience: [] })).rejects.toThrow(/the connection broke after \d+ (of 300000 )?bytes/);
    now = ranges(other);
    expectSame(await bytesOf(await download(place, file, { patience })), other);
  });

  /** As a page of another origin gets answers: without the headers that it is not told. */
  const elsewhere: typeof fetch = async (...given) => {
    const { body, status, headers } = await fetch(...given);
    const told = [...headers].filter(([name]) => /^(content-(length|type)|last-modified)$/.test(name));
    return Object.defineProperty(new Response(body, { status, headers: told }), 'type', { value: 'cors' });
  };

  it('goes on at another origin that tells little, and takes there what is compressed', async () => {
    const asked: string[] = [];
    const url = await serve(ranges(data, 70_000, asked));
    const settings = { patience, fetch: elsewhere, onArriving: (it: Arriving) => void it.close() };
    expectSame(await bytesOf(await download(filesInMemory(), { name: 'a', url }, settings)), data);
    expect(asked.length).toBeGreaterThan(3);
    expect(asked.slice(1).every((range) => /^bytes=[1-9]/.test(range))).toBe(true);
    const packed = gzipSync(data);
    const zipped = await serve((_, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': packed.length }).end(packed);
    });
    const onArriving = (): never => expect.fail('its size is not known');
    const once = { ...settings, patience: [], onArriving };
    expectSame(await bytesOf(await download(filesInMemory(), { name: 'a', url: zipped }, once)), data);
  });

  it('ends where a server breaks off at the same byte again and again, and answers with other ranges', async () => {
    for (const answers of [200, 206]) {
      const url = await serve((request, response) => {
        const { range } = request.headers;
        const other = range && answers === 206 ? { 'content-range': `bytes 5-${data.length - 1}/${data.length}` } : {};
        response.writeHead(range ? answers : 200, { etag: '"a"', 'content-length': data.length, ...other });
        response.write(data.subarray(0, 50_000), () => setTimeout(() => response.destroy(), 5));
      });
      const broken = download(filesInMemory(), { name: 'a', url }, { patience });
      await expect(broken).rejects.toThrow(/the connection broke|other bytes than it was asked for/);
    }
  });

  it('breaks a connection off that brings nothing more, and waits as long as it is asked to', async () => {
    let tries = 0;
    const whole = ranges(data);
    const url = await serve((request, response) => {
      tries++;
      if (tries === 1) response.writeHead(200, { etag: `"${data.length}-${data[0]}"`, 'content-length': data.length }).write('');
      else if (tries === 2) response.writeHead(429, { 'retry-after': new Date(Date.now() - 1000).toUTCString() }).end();
      else whole(request, response);
    });
    const place = filesInMemory();
    expectSame(await bytesOf(await download(place, { name: 'a', url }, { patience, stall: 100 })), data);
    expect(tries).toBe(3);
    const later = await serve((_, response) => void response.writeHead(503, { 'retry-after': '3600' }).end());
    await expect(download(place, { name: 'b', url: later })).rejects.toThrow('status 503, and asks to come back in 60 minutes');
  });

  it('takes no page for a file', async () => {
    const page = await serve(
      (_, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>a'),
    );
    const place = filesInMemory();
    await expect(download(place, { name: 'a', url: page })).rejects.toThrow(
      'there is no a: the server sends a page in its place',
    );
    expect(await download(place, { name: 'b', url: page, optional: true })).toBeUndefined();
    const code = await serve((_, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end(data)); // as PHP says of all
    expectSame(await bytesOf(await download(place, { name: 'c', url: code })), data);
  });

  it('asks again for what was found faulty, once more for nothing where the server has the same, and for what was missing', async () => {
    const large = new Uint8Array(1 << 20).fill(7);
    const asked: string[] = [];
    const url = await serve(ranges(large, undefined, asked));
    const place = filesInMemory();
    const again = async (name: string, address: string, optional = false): Promise<string[]> => {
      const before = asked.length;
      await download(place, { name, url: address, optional }, { patience });
      return asked.slice(before);
    };
    await again('a', url);
    await doubt(place, 'a', true);
    expect(await again('a', url)).toEqual([]);
    await doubt(place, 'a', false);
    expect(await again('a', url)).toEqual([`bytes=${large.length}-`]);
    await doubt(place, 'a', false);
    expect(await again('a', url)).toEqual(['-']);
    let isThere = false;
    const later = await serve((request, response) => {
      if (isThere) ranges(data, undefined, asked)(request, response);
      else response.writeHead(404).end();
    });
    await again('b', later, true);
    isThere = true;
    expect(await again('b', later, true)).toEqual([]);
    await doubt(place, 'b', true);
    expect(await again('b', later, true)).toEqual(['-']);
  });

  it('refuses wrong bytes, and what a server refuses, in one sentence', async () => {
    const place = filesInMemory();
    const url = await serve(ranges(data));
    const wrong = { name: 'a', url, hash: 'f'.repeat(64) };
    await expect(download(place, wrong)).rejects.toThrow(
      /what came has the hash [0-9a-f]{64}, f{64} was expected: it was damaged/,
    );
    await expect(download(place, { name: 'b', url, bytes: 5 })).rejects.toThrow(/the server has 300000 bytes, 5 were expected/);
    const gone = await serve((_, response) => response.writeHead(404).end());
    await expect(download(place, { name: 'c', url: gone })).rejects.toThrow(/there is no c \(404\): check the address/);
    expect(await download(place, { name: 'd', url: gone, optional: true })).toBeUndefined();
    const forbidden = await serve((_, response) => response.writeHead(403).end());
    await expect(download(place, { name: 'e', url: forbidden })).rejects.toThrow(
      /refused \(403\): a gated or private model needs a token/,
    );
    const broken = await serve((_, response) => response.writeHead(503).end());
    await expect(download(place, { name: 'f', url: broken }, { patience })).rejects.toThrow(/answers with status 503/);
    const unreachable = { name: 'g', url: 'http://127.0.0.1:9/x' };
    await expect(download(place, unreachable, { patience: [] })).rejects.toThrow(/cannot be reached/);
  });
});
