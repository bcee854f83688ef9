// Texts in UTF-16 as UTF-8: Windows writes such files, and Python's json reads them. A byte order mark of UTF-8 stays, to be dropped
// where bytes become text. No other encodings: nothing in a file says which it would be.

import { InputError } from '../errors.js';

export type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be';

/**
 * The encoding of a text that begins with these bytes, four at least unless it is shorter: by its byte order mark, or by where the
 * zeros of its first character are. Throws `InputError` when it is UTF-32.
 */
export function encodingOf([a, b, c, d]: Uint8Array, name: string): Encoding {
  if (d !== undefined && ((a === 0 && b === 0) || (c === 0 && d === 0 && (b === 0 || (a === 0xff && b === 0xfe))))) {
    throw new InputError(`${name}: text in UTF-32; write it as UTF-8`);
  }
  if ((a === 0xff && b === 0xfe) || b === 0) return 'utf-16le';
  if ((a === 0xfe && b === 0xff) || (a === 0 && b !== undefined)) return 'utf-16be';
  return 'utf-8';
}

/** The chunks of a text as UTF-8. Throws `InputError` where UTF-16 is damaged. */
export async function* toUtf8(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  let head: Uint8Array | undefined = new Uint8Array(0);
  let decoder: TextDecoder | undefined;
  const encoder = new TextEncoder();
  const converted = (bytes: Uint8Array, isLast: boolean): Uint8Array => {
    if (!decoder) return bytes;
    try {
      return encoder.encode(decoder.decode(bytes, { stream: !isLast }));
    } catch {
      throw new InputError(`${name}: not valid UTF-16 text`);
    }
  };
  const begin = (bytes: Uint8Array): void => {
    const encoding = encodingOf(bytes, name);
    if (encoding !== 'utf-8') decoder = new TextDecoder(encoding, { fatal: true });
    head = undefined;
  };
  for await (const chunk of chunks) {
    if (!head) {
      yield converted(chunk, false);
      continue;
    }
    const joined: Uint8Array = new Uint8Array(head.length + chunk.length);
    joined.set(head);
    joined.set(chunk, head.length);
    head = joined;
    if (joined.length < 4) continue;
    begin(joined);
    yield converted(joined, false);
  }
  const rest = head ?? new Uint8Array(0);
  if (head) begin(rest);
  if (decoder || rest.length > 0) yield converted(rest, true);
}
