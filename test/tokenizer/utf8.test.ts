// The rules of UTF-8 against TextDecoder, which knows them all: every first and second byte, and every character.

import { expect, it } from 'vitest';
import { isUtf8, utf8Bytes, utf8CodePoint, utf8Length } from '../../src/tokenizer/utf8.js';

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const isValid = (bytes: Uint8Array): boolean => {
  try {
    strict.decode(bytes);
    return true;
  } catch {
    return false;
  }
};

it('knows which bytes begin a character and which may follow', () => {
  for (let lead = 0; lead < 256; lead++)
    for (let second = 0; second < 256; second++) {
      const bytes = Uint8Array.of(lead, second, 0xbf, 0x80).subarray(0, Math.max(2, utf8Length(lead)));
      if (isUtf8(bytes, 0, bytes.length) !== isValid(bytes)) expect.unreachable(`${bytes}`);
    }
  const euro = Uint8Array.of(0xe2, 0x82, 0xac);
  expect([2, 3].map((end) => isUtf8(euro, 0, end))).toEqual([false, true]);
  expect(isUtf8(Uint8Array.of(0xe2, 0x82, 0x2c), 0, 3)).toBe(false);
});

it('writes and reads every character', () => {
  for (let codePoint = 0; codePoint <= 0x10ffff; codePoint += codePoint < 0x11000 ? 1 : 997) {
    const bytes: number[] = [];
    utf8Bytes(codePoint, (byte) => bytes.push(byte));
    const isSurrogate = codePoint >= 0xd800 && codePoint <= 0xdfff;
    const expected = isSurrogate ? 0xfffd : codePoint;
    const found = strict.decode(Uint8Array.from(bytes)).codePointAt(0);
    if (found !== expected || utf8CodePoint(Uint8Array.from(bytes), 0) !== expected) expect.unreachable(`${codePoint}`);
  }
});
