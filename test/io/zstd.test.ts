// Zstandard data, sound and damaged: what is read is right, whatever byte is wrong, and no more is held than a block.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { unzstd } from '../../src/io/zstd.js';
import { blockDecoder } from '../../src/io/zstd-wasm.js';

const checked = new Uint8Array(readFileSync(fileURLToPath(new URL('zstd/checked.jsonl.zst', import.meta.url))));
const text = Array.from(
  { length: 40 },
  (_, i) => `${JSON.stringify({ text: `document ${i} ${'w'.repeat(i)}${(i * 7919) % 1000}` })}\n`,
);

async function* chunksOf(data: Uint8Array, size = data.length): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += size) yield data.slice(at, at + size);
}

async function read(data: Uint8Array, size?: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of unzstd(chunksOf(data, size), 'a.zst')) pieces.push(piece);
  return Buffer.concat(pieces).toString('utf8');
}

const skippable = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
/** A frame with a window of 128 KiB, no size and no checksum, of blocks that are one byte repeated. */
const repeated = (blocks: number): Uint8Array => {
  const block = [0x02, 0x00, 0x10, 0x77]; // 128 KiB of w
  const data = [0x28, 0xb5, 0x2f, 0xfd, 0, 0x38, ...Array.from({ length: blocks }, () => block).flat(), 1, 0, 0];
  return Uint8Array.from(data);
};

describe('zstd data', () => {
  it('of several frames are read, however they are cut into chunks', async () => {
    const whole = Buffer.concat([skippable, checked, checked, skippable, repeated(1)]);
    const expected = text.join('').repeat(2) + 'w'.repeat(1 << 17);
    for (const size of [1, 7, 1000, undefined]) expect(await read(whole, size)).toBe(expected);
    expect(await read(new Uint8Array(0))).toBe('');
  });

  it('come in pieces of at most 128 KiB, and let others have their turn', async () => {
    let bytes = 0;
    let turns = 0;
    const timer = setInterval(() => turns++);
    for await (const piece of unzstd(chunksOf(repeated(800)), 'a.zst')) {
      expect(piece.length).toBeLessThanOrEqual(1 << 17);
      bytes += piece.length;
    }
    clearInterval(timer);
    expect(bytes).toBe(800 << 17);
    expect(turns).toBeGreaterThan(5);
  });

  it('with any byte wrong are refused, or read as they were', async () => {
    let same = 0;
    for (let at = 0; at < checked.length; at++) {
      for (const flip of [1 << (at & 7), 0xff]) {
        const wrong = checked.slice();
        wrong[at] ^= flip;
        const found = await read(wrong).catch((error: Error) => error);
        if (typeof found !== 'string') expect(`${found.name} ${found.message}`).toMatch(/^InputError a\.zst: [^\n]+$/);
        else {
          expect(found).toBe(text.join(''));
          same++;
        }
      }
    }
    expect(same).toBeLessThan(20); // bits of no meaning
  });

  it('that break off, go on with something else or ask too much are refused', async () => {
    for (let end = 1; end < checked.length; end++)
      await expect(read(checked.slice(0, end))).rejects.toThrow(/^a\.zst: the zstd data/);
    await expect(read(Buffer.concat([checked, Buffer.from('more')]))).rejects.toThrow('what comes next is no zstd frame');
    const wrongSum = checked.slice();
    wrongSum[wrongSum.length - 1] ^= 1;
    await expect(read(wrongSum)).rejects.toThrow('does not match its checksum');
    await expect(read(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8))).rejects.toThrow(/window of 2199023255552 bytes/);
    await expect(read(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 1, 0x38, 7, 1, 0, 0))).rejects.toThrow('with a dictionary');
    await expect(read(repeated(2).slice(0, -3))).rejects.toThrow('end in the middle of a frame');
  });

  it('in memory are decoded to a length that is known', async () => {
    const decode = await blockDecoder();
    const expected = text.join('');
    expect(Buffer.from(decode(checked, expected.length)).toString('utf8')).toBe(expected);
    expect(() => decode(checked, expected.length + 1)).toThrow(`it holds ${expected.length} bytes`);
    expect(() => decode(checked, 10)).toThrow('zstd error 70');
    expect(() => decode(checked.slice(0, -1), expected.length)).toThrow('checksum');
  });
});
