// Downloads into a place against a server that breaks off, changes the file, refuses and lies.

import { createHash } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { download, NoRoomError } from '../../../src/io/browser/download.js';
import { type Appender, filesInMemory } from '../../../src/io/browser/place.js';

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
    response.setHeader('content-length', bytes.length - from);
    if (headers.range) response.setHeader('content-range', `bytes ${from}-${bytes.length - 1}/${bytes.length}`);
    response.writeHead(headers.range ? 206 : 200);
    const part = bytes.subarray(from, Math.min(bytes.length, from + each));
    if (from + each >= bytes.length) response.end(part);
    else response.write(part, () => setTimeout(() => response.destroy(), 20));
  };
}

const patience = [1, 1];
const bytesOf = async (blob: Blob | undefined): Promise<Uint8Array> => new Uint8Array(await blob!.arrayBuffer());

describe('a download', () => {
  it('goes on after every break, is checked, and is not asked for again', async () => {
    const asked: string[] = [];
    const url = await serve(ranges(data, 70_000, asked));
    const place = filesInMemory();
    const file = { name: 'model.safetensors', url, hash: sha256, bytes: data.length };
    const seen: number[] = [];
    const onBytes = (received: number): void => void seen.push(received);
    expect(Buffer.compare(await bytesOf(await download(place, file, { patience, onBytes })), data)).toBe(0);
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
    const append = async (name: string): Promise<Appender> => {
      const appender = await place.append(name);
      return Object.assign(appender, { write: fail });
    };
    const fail = (): never => {
      throw full;
    };
    const file = { name: 'model.safetensors', url };
    const said =
      /^model\.safetensors does not fit into what this browser gives this site \(no more room\): free space on the device/;
    for (const there of [
      { ...place, append },
      { ...place, write: async () => fail() },
    ]) {
      const failed = download(there, file, { patience });
      await expect(failed).rejects.toThrow(NoRoomError);
      await expect(failed).rejects.toThrow(said);
    }
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
    expect(Buffer.compare(await bytesOf(await download(place, file, { patience })), data)).toBe(0);
    expect(asked[1]).toMatch(/^bytes=[1-9]/);
  });

  it('starts over when the file changed meanwhile', async () => {
    const other = data.map((byte) => byte ^ 1);
    let now = ranges(data, 50_000);
    const url = await serve((request, response) => now(request, response));
    const place = filesInMemory();
    const file = { name: 'model.safetensors', url };
    await expect(download(place, file, { patience: [] })).rejects.toThrow(/the connection broke after \d+ (of 300000 )?bytes/);
    now = ranges(other);
    expect(Buffer.compare(await bytesOf(await download(place, file, { patience })), other)).toBe(0);
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
