// A token by itself as it is shown to people: a piece with its space, a byte where it is a part of a character. Texts are decoded
// elsewhere (stream.ts): what is shown of tokens one by one need not add up to them.

import type { Tokenizer } from './tokenizer.js';

export interface ShownToken {
  readonly token: string;
  readonly bytes: readonly number[];
}

/** `first`: it begins a text, where a space in front is dropped. */
export function shownToken(tokenizer: Tokenizer | undefined, id: number, first = false): ShownToken {
  const piece = tokenizer?.piece(id);
  if (piece === undefined) return { token: `<${id}>`, bytes: [] };
  const byte = /^<0x([\da-f]{2})>$/i.exec(piece);
  if (byte) {
    const code = Number.parseInt(byte[1], 16);
    const ascii = code < 0x80 ? String.fromCharCode(code) : `bytes:\\x${byte[1].toLowerCase()}`;
    return { token: ascii, bytes: [code] };
  }
  const text = tokenizer!.specialTokens.has(piece) ? piece : piece.replaceAll('\u2581', ' ');
  const token = first ? text.replace(/^ /, '') : text;
  return { token, bytes: [...new TextEncoder().encode(token)] };
}
