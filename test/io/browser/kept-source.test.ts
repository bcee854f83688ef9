// A kept file by position: through whoever opens it, or through its Blob.

import { expect, it } from 'vitest';
import { keptSource } from '../../../src/io/browser/kept-source.js';
import type { Reader } from '../../../src/io/browser/place.js';

const data = Uint8Array.from({ length: 1000 }, (_, i) => i * 31);

function reads(from: Uint8Array, log: string[]): Reader {
  return {
    read(into, at) {
      const bytes = from.subarray(at, at + into.length);
      into.set(bytes);
      return bytes.length;
    },
    close: () => void log.push('close'),
  };
}

it('is opened once, closed, and opened again', async () => {
  const log: string[] = [];
  const open = async (): Promise<Reader> => {
    log.push('open');
    return reads(data, log);
  };
  const source = keptSource('model', new Blob([data]), open);
  const pieces = await Promise.all([source.read(5, 10), source.read(900, 100)]);
  expect(pieces).toEqual([data.subarray(5, 15), data.subarray(900)]);
  await source.close();
  const again = new Uint8Array(20);
  await source.readInto!(100, again);
  expect(again).toEqual(data.subarray(100, 120));
  await source.close();
  await source.close();
  expect(log).toEqual(['open', 'close', 'open', 'close']);
  await expect(source.read(990, 11)).rejects.toThrow('model: bytes 990 to 1001 lie outside its 1000 bytes');
});

it('is read as a Blob where it cannot be opened', async () => {
  const source = keptSource('model', new Blob([data]), async () => undefined);
  expect(await source.read(5, 10)).toEqual(data.subarray(5, 15));
  const bytes = new Uint8Array(20);
  await source.readInto!(100, bytes);
  expect(bytes).toEqual(data.subarray(100, 120));
  await source.close();
});

it('says that it was changed where there is less than there was, or that it cannot be read', async () => {
  const cut = keptSource('model', new Blob([data]), async () => reads(data.subarray(0, 50), []));
  await expect(cut.read(40, 20)).rejects.toThrow('model: the file was changed while it was read: load again');
  const fails = (): number => {
    throw new Error('no such thing');
  };
  const failing = keptSource('model', new Blob([data]), async () => ({ read: fails, close() {} }));
  await expect(failing.read(40, 20)).rejects.toThrow('model cannot be read: no such thing');
});
