// Repairs text as Python's ftfy.fix_text(text, normalization='NFC') does, which is what CoreNet's `enable_nfc_normalization`
// calls: UTF-8 read in another encoding, HTML entities, terminal colours, ligatures, full-width letters, curly quotes, line ends,
// control characters, then form C. The rules are ftfy 6.3.1's (Robyn Speer, Apache-2.0), step by step; the characters that they
// speak of are ftfy-tables.ts. Without its options and explanations.

import { SPACES } from './clean.js';
import { HTML_ENTITIES } from './entities.js';
import { CLUES, ENCODINGS, KINDS } from './ftfy-tables.js';

// No character below U+0300 changes in form C.
const MAY_CHANGE_IN_NFC = /[^\0-\u02ff]/;

/** The text in Unicode normalization form C. */
export function toNfc(text: string): string {
  return MAY_CHANGE_IN_NFC.test(text) ? text.normalize('NFC') : text;
}

/** What is done to a text first: nothing, Unicode form C, or what ftfy's fix_text does (form C at the end). */
export const normalizations = ['none', 'nfc', 'ftfy'] as const;
export type Normalization = (typeof normalizations)[number];

/** The text as it is tokenized. */
export function normalized(text: string, normalization: Normalization): string {
  if (normalization === 'ftfy') return fixText(text);
  return normalization === 'nfc' ? toNfc(text) : text;
}

const NOTHING_TO_FIX = /^[\t\n\f\x20-\x25\x27-\x7e]*$/;
const MAX_SEGMENT = 1_000_000; // characters that are looked at together

/** The text with what is broken in it repaired, in form C. */
export function fixText(text: string): string {
  if (NOTHING_TO_FIX.test(text)) return text;
  let fixed = '';
  let isHtml = false;
  for (let start = 0; start < text.length; ) {
    const end = segmentEnd(text, start);
    const segment = text.slice(start, end);
    // From a line with a tag in it on, text is taken for HTML source, whose entities are meant.
    isHtml ||= segment.includes('<');
    fixed += fixSegment(segment, isHtml);
    start = end;
  }
  return fixed;
}

// A line with its end, or as much of it as is looked at together.
function segmentEnd(text: string, start: number): number {
  const end = text.indexOf('\n', start) + 1 || text.length;
  if (end - start <= MAX_SEGMENT) return end;
  let at = start;
  for (let count = 0; count < MAX_SEGMENT && at < end; count++) at += text.codePointAt(at)! > 0xffff ? 2 : 1;
  return at;
}

function fixSegment(segment: string, isHtml: boolean): string {
  let text = segment;
  for (let before: string | undefined; text !== before && !NOTHING_TO_FIX.test(text); ) {
    before = text;
    if (!isHtml) text = unescapeHtml(text);
    text = fixCharacters(fixEncoding(text));
  }
  return text;
}

const TERMINAL = new RegExp(`${String.fromCharCode(0x1b)}\\[[\\p{Nd};]*[A-Za-z]`, 'gu');
// Tab, line feed, form feed, carriage return and what is above U+007F stay.
const CONTROL = /(?![\t\n\f\r\x80-\x9f])\p{Cc}|[\u206a-\u206f\ufeff\ufff9-\ufffc]/gu;
const C1 = /[\x80-\x9f]/g;

function fixCharacters(text: string): string {
  const fixed = text
    .replace(C1, windows1252)
    .replace(LIGATURES, (c) => ligatures[c])
    .replace(/\u3000/g, ' ')
    .replace(/[\uff01-\uffef]/g, (c) => c.normalize('NFKC'))
    .replace(/[\u201c-\u201f]/g, '"')
    .replace(/[\u02bc\u2018-\u201b]/g, "'")
    .replace(/\r\n?|[\u2028\u2029\x85]/g, '\n')
    .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd')
    .replace(TERMINAL, '')
    .replace(CONTROL, '');
  return toNfc(fixed);
}

function unescapeHtml(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&(#?)([0-9A-Za-z]{1,24});/g, (whole, number, name) =>
    number === '' ? (HTML_ENTITIES.get(name) ?? whole) : (characterOf(name) ?? whole),
  );
}

// What a numeric reference stands for, as Python's html.unescape has it; undefined when it is none, or for a semicolon.
function characterOf(number: string): string | undefined {
  const [, hex, decimal] = /^(?:[xX]([0-9A-Fa-f]+)|(\d+))$/.exec(number) ?? [];
  if (hex === undefined && decimal === undefined) return undefined;
  const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
  if (code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return '\ufffd';
  if (code >= 0x80 && code < 0xa0) return windows1252(String.fromCharCode(code));
  const character = String.fromCodePoint(code);
  if (character === ';') return undefined;
  const isNone = (code & 0xfffe) === 0xfffe || (code >= 0xfdd0 && code <= 0xfdef);
  return isNone || /[^\t\n\f\r\P{Cc}]/u.test(character) ? '' : character;
}

const ligatures: Readonly<Record<string, string>> = {
  Ĳ: 'IJ',
  ĳ: 'ij',
  ŉ: 'ʼn',
  Ǳ: 'DZ',
  ǲ: 'Dz',
  ǳ: 'dz',
  Ǆ: 'DŽ',
  ǅ: 'Dž',
  ǆ: 'dž',
  Ǉ: 'LJ',
  ǈ: 'Lj',
  ǉ: 'lj',
  Ǌ: 'NJ',
  ǋ: 'Nj',
  ǌ: 'nj',
  ﬀ: 'ff',
  ﬁ: 'fi',
  ﬂ: 'fl',
  ﬃ: 'ffi',
  ﬄ: 'ffl',
  ﬅ: 'ſt',
  ﬆ: 'st',
};
const LIGATURES = new RegExp(`[${Object.keys(ligatures).join('')}]`, 'g');

// Characters that hardly ever stand beside each other in text that was read rightly.
const BAD = badPattern(KINDS);

function badPattern(kinds: typeof KINDS): RegExp {
  const { common, c1, bad, law, currency, startPunctuation: start, endPunctuation: end, numeric, kaomoji, box } = kinds;
  const { upperAccented: upper, lowerAccented: lower, upperCommon, lowerCommon } = kinds;
  const arabic = `[ØÙ][${common}${currency}${bad}${numeric}${start}ŸŠ®°µ»]`;
  const alternatives = [
    `[${c1}]`,
    `[${bad}${lower}${upper}${box}${start}${end}${currency}${numeric}${law}][${bad}]`,
    `[a-zA-Z][${lowerCommon}${upperCommon}][${bad}]`,
    `[${bad}][${lower}${upper}${box}${start}${end}${currency}${numeric}${law}]`,
    `[${lower}${lowerCommon}${box}${end}${currency}${numeric}][${upper}]`,
    `[${box}${end}${currency}${numeric}][${lower}]`,
    `[${lower}${box}${end}][${currency}]`,
    `[${SPACES}][${upper}][${currency}]`,
    `[${upper}${box}][${numeric}${law}]`,
    `[${lower}${upper}${box}${currency}${end}][${start}][${numeric}]`,
    `[${lower}${upper}${currency}${numeric}${box}${law}][${end}][${start}]`,
    `[${currency}${numeric}${box}][${start}]`,
    `[a-z][${upper}][${start}${currency}]`,
    `[${box}][${kaomoji}]`,
    `[${lower}${upper}${currency}${numeric}${start}${end}${law}][${box}]`,
    `[${box}][${end}]`,
    `[${lower}${upper}][${start}${end}][\\p{L}\\p{N}_]`,
    '[Œœ][^A-Za-z]',
    `[${upper}]°`,
    // Windows-1252's pairs, Arabic, and what begins threes of South Asian alphabets.
    `[ÂÃÎÐ][€œŠš¢£Ÿž\xa0\xad®©°·»${start}${end}–—´]`,
    '×[²³]',
    arabic + arabic,
    'à[²µ¹¼½¾]',
    // MacRoman.
    '√[±∂†≠®™´≤≥¥µø]',
    '≈[°¢]',
    '‚Ä[ìîïòôúùû†°¢π]',
    '‚[âó][àä°ê]',
    // Windows-1251: of U+2000 and on, of Latin-1 and Cyrillic, and upon Windows-1252.
    'вЂ',
    `[ВГРС][${c1}${bad}${start}${end}${currency}°µ][ВГРС]`,
    'ГўВЂВ[^\\n][A-Za-z ]',
    // Windows-1252's à, á, and the space that does not break.
    'Ã[\xa0¡]',
    `[a-z][${SPACES}]?[ÃÂ] `,
    '^[ÃÂ] ',
    `[a-z.,?!${end}]Â[ ${start}${end}]`,
    // Windows-1253: of U+2000 and on, of Latin-1 and Greek; Windows-1257.
    'β€[™\xa0Ά\xad®°]',
    `[ΒΓΞΟ][${c1}${bad}${start}${end}${currency}°][ΒΓΞΟ]`,
    'ā€',
  ];
  return new RegExp(alternatives.join('|'), 'u');
}

// Stretches that look like UTF-8 in an encoding of single bytes, with nothing of the kind before them.
const { firstOfTwo, firstOfThree, firstOfFour, continuation, strictContinuation } = CLUES;
const UTF8 = new RegExp(
  `(?<![${strictContinuation}])(?:[${firstOfTwo}][${continuation}]|[${firstOfThree}][${continuation}]{2}|[${firstOfFour}][${continuation}]{3})+`,
  'gu',
);

function fixEncoding(text: string): string {
  let fixed = text;
  for (let before: string | undefined; fixed !== before; ) {
    before = fixed;
    fixed = fixEncodingOnce(fixed);
  }
  return fixed;
}

const NOT_ASCII = /[^\0-\x7f]/;

function fixEncodingOnce(text: string): string {
  if (!NOT_ASCII.test(text) || !BAD.test(text)) return text;
  for (const codec of codecs) {
    const bytes = codec.encode(text);
    const fixed = bytes === undefined ? undefined : decodeUtf8(codec.mend(bytes));
    if (fixed !== undefined) return fixed;
  }
  // Text of another encoding is embedded in this one's; a match is shorter each time.
  const fixed = text.replace(UTF8, (part) => (part.length < text.length && BAD.test(part) ? fixEncoding(part) : part));
  return fixed === text ? text.replace(C1, windows1252) : fixed;
}

// Bytes here are strings whose characters have the bytes' numbers, for regular expressions.

/** An encoding of single bytes, by which a text goes back to the bytes that it was. */
interface Codec {
  /** Undefined when a character is not in the encoding. */
  encode(text: string): string | undefined;
  /** What else may have happened to bytes of UTF-8. */
  mend(bytes: string): string;
}

const codecs = ENCODINGS.map(({ name, upper }): Codec => {
  // The Windows encodings have byte 0x1a for a character that somebody could not read.
  const isLossy = name.startsWith('windows');
  const byteOf = new Map(Array.from({ length: 256 }, (_, byte) => [upperOf(upper, byte), String.fromCharCode(byte)]));
  if (isLossy) {
    byteOf.delete('\x1a');
    byteOf.set('\ufffd', '\x1a');
  }
  return {
    encode(text) {
      let bytes = '';
      for (let i = 0; i < text.length; i++) {
        const byte = byteOf.get(text[i]);
        if (byte === undefined) return undefined;
        bytes += byte;
      }
      return bytes;
    },
    mend(bytes) {
      const spaced = name !== 'macroman' && ALTERED.test(bytes) ? restoreSpaces(bytes) : bytes;
      return isLossy ? spaced.replace(LOSSY, '\xef\xbf\xbd') : spaced;
    },
  };
});

function upperOf(upper: string, byte: number): string {
  const c = byte < 0x80 ? ' ' : (upper[byte - 0x80] ?? ' ');
  return c === ' ' ? String.fromCharCode(byte) : c;
}

const windows1252Upper = ENCODINGS.find(({ name }) => name === 'windows-1252')!.upper;

function windows1252(c: string): string {
  return upperOf(windows1252Upper, c.charCodeAt(0));
}

// Byte 0xa0 became a plain space.
const ALTERED =
  /[\xc2\xc3\xc5\xce\xd0\xd9] |[\xe2\xe3] [\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf] |\xf0 [\x80-\xbf]{2}|\xf0[\x80-\xbf] [\x80-\xbf]|\xf0[\x80-\xbf]{2} /;
const ALL_ALTERED = new RegExp(ALTERED, 'g');
// The word `à`, whose second byte and the space behind it became one; but not the beginning of Portuguese `àquela`.
const A_GRAVE = /\xc3 (?! |quele|quela|quilo|s )/g;

function restoreSpaces(bytes: string): string {
  return bytes.replace(A_GRAVE, '\xc3\xa0 ').replace(ALL_ALTERED, (part) => part.replaceAll(' ', '\xa0'));
}

// Bytes were lost: what is left of a character is one that nobody can read.
const LOSSY = new RegExp(
  [
    '[\xc2-\xdf]\x1a',
    '[\xc2-\xc3]\\?',
    '\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]',
    '\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]',
    '[\xe0-\xef][\x1a?][\x1a\x80-\xbf]',
    '[\xe0-\xef][\x1a\x80-\xbf][\x1a?]',
    '[\xf0-\xf4][\x1a?][\x1a\x80-\xbf]{2}',
    '[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]',
    '[\xf0-\xf4][\x1a\x80-\xbf]{2}[\x1a?]',
    '\x1a',
  ].join('|'),
  'g',
);

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
// Characters above U+FFFF as two of three bytes (CESU-8), and Java's U+0000.
const CESU8 = /\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]/g;

function decodeUtf8(bytes: string): string | undefined {
  const plain = bytes.replaceAll('\xc0\x80', '\0').replace(CESU8, (pair) => {
    const [, a, b, , c, d] = Array.from(pair, (byte) => byte.charCodeAt(0));
    const code = (((a & 0x0f) << 16) | ((b & 0x3f) << 10) | ((c & 0x0f) << 6) | (d & 0x3f)) + 0x10000;
    return String.fromCharCode(
      0xf0 | (code >> 18),
      0x80 | ((code >> 12) & 0x3f),
      0x80 | ((code >> 6) & 0x3f),
      0x80 | (code & 0x3f),
    );
  });
  const raw = new Uint8Array(plain.length);
  for (let i = 0; i < plain.length; i++) raw[i] = plain.charCodeAt(i);
  try {
    return strict.decode(raw);
  } catch {
    return undefined;
  }
}
