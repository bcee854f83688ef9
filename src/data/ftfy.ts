// Repairs text as Python's ftfy.fix_text(text, normalization='NFC') does in ordinary cases, which is what CoreNet's
// `enable_nfc_normalization` calls: UTF-8 read as Windows-1252 or Latin-1, HTML entities, terminal colours, ligatures, full-width
// letters, curly quotes, line ends, control characters, then form C. Written from ftfy's documentation; its statistics of what
// looks wrong are replaced by a stricter test, so that correct text is never touched, but rarer mojibake stays as it is.

import { HTML_ENTITIES } from './entities.js';

// No character below U+0300 changes in form C.
const MAY_CHANGE_IN_NFC = /[^\0-\u02ff]/;

/** The text in Unicode normalization form C. */
export function toNfc(text: string): string {
  return MAY_CHANGE_IN_NFC.test(text) ? text.normalize('NFC') : text;
}

const TERMINAL = new RegExp(`${String.fromCharCode(0x1b)}\\[[\\d;]*[A-Za-z]`, 'g');
// Tab, line feed, form feed and what is above U+007F stay.
const CONTROL = /(?![\t\n\f\r\x80-\x9f])\p{Cc}|[\u206a-\u206f\ufeff\ufff9-\ufffb]/gu;
const NOTHING_TO_FIX = /^[\t\n\f\x20-\x25\x27-\x7e]*$/;

/** The text with what is broken in it repaired, in form C. */
export function fixText(text: string): string {
  if (NOTHING_TO_FIX.test(text)) return text;
  let fixed = text;
  // Text with a tag in it is taken for HTML source, whose entities are meant.
  if (!fixed.includes('<')) {
    for (let before = ''; before !== fixed && fixed.includes('&'); ) {
      before = fixed;
      fixed = unescapeHtml(fixed);
    }
  }
  fixed = fixed.replace(TERMINAL, '');
  fixed = fixed
    .split('\n')
    .map((line) => fixMojibake(line))
    .join('\n');
  fixed = fixed.replace(/[\x80-\x9f]/g, (c) => windows1252[c.charCodeAt(0)]);
  fixed = fixed.replace(LIGATURES, (c) => ligatures[c]);
  fixed = fixed.replace(/\u3000/g, ' ').replace(/[\uff01-\uffee]/g, (c) => c.normalize('NFKC'));
  fixed = fixed.replace(/[\u02bc\u2018-\u201b]/g, "'").replace(/[\u201c-\u201f]/g, '"');
  fixed = fixed.replace(/\r\n?|[\u2028\u2029\x85]/g, '\n');
  fixed = fixed.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd');
  fixed = fixed.replace(CONTROL, '');
  return toNfc(fixed);
}

function unescapeHtml(text: string): string {
  return text.replace(/&(?:#(\d{1,8})|#[xX]([0-9A-Fa-f]{1,8})|([A-Za-z][A-Za-z0-9]{1,31}));/g, (whole, decimal, hex, name) => {
    if (name !== undefined) return HTML_ENTITIES.get(name) ?? whole;
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    if (code >= 0x80 && code < 0xa0) return windows1252[code];
    return code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? '\ufffd' : String.fromCodePoint(code);
  });
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

// What each byte is in Windows-1252; the five bytes without a character stay control characters.
const windows1252 = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
for (const [i, c] of [...'€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ'].entries()) windows1252[0x80 + i] = c;
const byteOf = new Map(windows1252.map((c, byte) => [c, byte]));
for (let byte = 0x80; byte < 0xa0; byte++) byteOf.set(String.fromCharCode(byte), byte); // Latin-1

const set = (from: number, to: number): string =>
  [...byteOf]
    .filter(([, byte]) => byte >= from && byte <= to)
    .map(([c]) => c)
    .join('');
const CONTINUATION = `[${set(0x80, 0xbf)}]`;
// A character of two bytes that is a Latin letter or sign (lead C2 or C3), and those of three and four: correct text hardly ever
// has such a run. Other two-byte characters (Greek, Cyrillic, ...) count only when a line is full of them.
const LATIN = `[${set(0xc2, 0xc3)}]${CONTINUATION}`;
const LONGER = `[${set(0xe0, 0xef)}]${CONTINUATION}{2}|[${set(0xf0, 0xf4)}]${CONTINUATION}{3}`;
const SURE = new RegExp(`(?:${LATIN}|${LONGER})+`, 'g');
const OTHER = new RegExp(`[${set(0xc4, 0xdf)}]${CONTINUATION}`, 'g');
const SUSPECT = new RegExp(`[${set(0xc2, 0xf4)}]${CONTINUATION}`);
const MAX_ROUNDS = 4; // text may have been misread several times over

function fixMojibake(line: string): string {
  let text = line;
  for (let round = 0; round < MAX_ROUNDS && SUSPECT.test(text); round++) {
    const others = text.match(OTHER)?.length ?? 0;
    const sure = text.search(SURE) >= 0;
    const whole = sure || others > 1 ? redecode(text) : undefined;
    const next = whole ?? (sure ? text.replace(SURE, (run) => redecode(run) ?? run) : text);
    if (next === text) break;
    text = next;
  }
  return text;
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// The text's characters as the bytes they were, read as UTF-8; undefined when a character is no byte or the bytes are not UTF-8.
function redecode(text: string): string | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = byteOf.get(text[i]);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}
