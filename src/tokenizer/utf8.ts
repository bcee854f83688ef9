// The rules of UTF-8 that reading vocabularies and streaming decode share: how long a character is by its first byte and which
// second bytes may follow (no overlong forms, no surrogates, nothing past U+10FFFF). Not a decoder of whole texts:
// TextDecoder is one, but it gives one U+FFFD per broken run where SentencePiece gives one per byte.

/** Bytes of the character that starts with `lead` (1 to 4), or 0 when no character starts so. */
export function utf8Length(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

/** Whether `byte` may stand at `index` (1 to 3) of a character that starts with `lead`. */
export function utf8Continues(lead: number, index: number, byte: number): boolean {
  if (index === 1) {
    if (lead === 0xe0) return byte >= 0xa0 && byte <= 0xbf;
    if (lead === 0xed) return byte >= 0x80 && byte <= 0x9f;
    if (lead === 0xf0) return byte >= 0x90 && byte <= 0xbf;
    if (lead === 0xf4) return byte >= 0x80 && byte <= 0x8f;
  }
  return (byte & 0xc0) === 0x80;
}

/** The code point of the whole, valid character at `at`. */
export function utf8CodePoint(bytes: Uint8Array, at: number): number {
  const lead = bytes[at];
  if (lead < 0x80) return lead;
  if (lead < 0xe0) return ((lead & 0x1f) << 6) | (bytes[at + 1] & 0x3f);
  if (lead < 0xf0) return ((lead & 0x0f) << 12) | ((bytes[at + 1] & 0x3f) << 6) | (bytes[at + 2] & 0x3f);
  return ((lead & 0x07) << 18) | ((bytes[at + 1] & 0x3f) << 12) | ((bytes[at + 2] & 0x3f) << 6) | (bytes[at + 3] & 0x3f);
}

/** Whether bytes [start, end) are valid UTF-8. */
export function isUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; ) {
    const lead = bytes[at];
    const length = utf8Length(lead);
    if (length === 0 || at + length > end) return false;
    for (let index = 1; index < length; index++) if (!utf8Continues(lead, index, bytes[at + index])) return false;
    at += length;
  }
  return true;
}

/** The UTF-8 bytes of a code point (a lone surrogate becomes U+FFFD), handed one by one to `emit`. */
export function utf8Bytes(codePoint: number, emit: (byte: number) => void): void {
  const c = codePoint >= 0xd800 && codePoint <= 0xdfff ? 0xfffd : codePoint;
  if (c < 0x80) {
    emit(c);
  } else if (c < 0x800) {
    emit(0xc0 | (c >> 6));
    emit(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    emit(0xe0 | (c >> 12));
    emit(0x80 | ((c >> 6) & 0x3f));
    emit(0x80 | (c & 0x3f));
  } else {
    emit(0xf0 | (c >> 18));
    emit(0x80 | ((c >> 12) & 0x3f));
    emit(0x80 | ((c >> 6) & 0x3f));
    emit(0x80 | (c & 0x3f));
  }
}
