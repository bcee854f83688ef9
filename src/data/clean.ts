// The rule by which short texts are told: the length of a text in lower case, without ASCII punctuation, its white space
// collapsed (SlimPajama's rule, as in CoreNet's base_lm.py). Only for counting; what is tokenized is the text as it was.

const PUNCTUATION = /[!-/:-@[-`{-~]/g;
/** What Python's str.isspace() says, as the inside of a class: no zero-width characters, but the four separators U+001C to U+001F and U+0085. */
export const SPACES = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const SPACE_RUN = new RegExp(`[${SPACES}]+`, 'g');

/** The text as the length filter sees it. */
export function cleanText(text: string): string {
  return text.toLowerCase().replace(PUNCTUATION, '').replace(SPACE_RUN, ' ').replace(/^ | $/g, '');
}

// By UTF-16 unit: 0 for what counts.
const DROP = 1;
const SPACE = 2;
const kinds = new Uint8Array(0x10000);
for (let unit = 0x21; unit < 0x7f; unit++) if (/[^0-9A-Za-z]/.test(String.fromCharCode(unit))) kinds[unit] = DROP;
for (const match of Array.from(kinds.keys(), (unit) => String.fromCharCode(unit))
  .join('')
  .matchAll(SPACE_RUN)) {
  for (let i = 0; i < match[0].length; i++) kinds[match[0].charCodeAt(i)] = SPACE;
}

/** Whether `cleanText(text)` has at least `length` code points; it reads no further than needed to know. */
export function hasCleanLength(text: string, length: number): boolean {
  let count = 0;
  let space = 0; // 1: white space went by since the last character that counts
  for (let i = 0; i < text.length && count < length; i++) {
    const unit = text.charCodeAt(i);
    const kind = kinds[unit];
    if (kind === DROP) continue;
    if (kind === SPACE) {
      space = 1;
      continue;
    }
    if (unit >= 0xdc00 && unit <= 0xdfff && isHighSurrogate(text.charCodeAt(i - 1))) continue;
    // U+0130 is the one character whose lower case is two.
    count += (unit === 0x130 ? 2 : 1) + (count > 0 ? space : 0);
    space = 0;
  }
  return count >= length;
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}
