// The handful of Python's text rules that lm-evaluation-harness's prompts and hashes depend on and JavaScript does not share:
// white space, capitalize, str() and repr(). No formatting beyond that, no regular expressions; literals are literal.ts's.

import { PythonFloat } from '../python-float.js';

/** The inside of a character class for what `str.isspace` and `\s` call white space: has U+001C-001F and U+0085, lacks U+FEFF. */
export const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

const leading = new RegExp(`^[${SPACE}]+`);
const runs = new RegExp(`[${SPACE}]+`);
const space = new RegExp(`[${SPACE}]`);

export function lstrip(text: string): string {
  return text.replace(leading, '');
}

/** By index, since a pattern tied to the end would try every start. */
export function rstrip(text: string): string {
  let end = text.length;
  while (end > 0 && space.test(text[end - 1])) end--;
  return text.slice(0, end);
}

export function strip(text: string): string {
  return lstrip(rstrip(text));
}

/** How many pieces `re.split(r"\s+", text)` gives: empty ones at the edges count. */
export function countWords(text: string): number {
  return text.split(runs).length;
}

/** `text.split()`: the words between white space. */
export function splitWords(text: string): string[] {
  return text.split(runs).filter((word) => word !== '');
}

/** `len(text)`: code points. */
export function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** Letters whose title case is neither their upper case nor its first letter with the rest small. */
const titles: Readonly<Record<string, string>> = {
  ...{ ŉ: 'ʼN', Ǆ: 'ǅ', ǅ: 'ǅ', ǆ: 'ǅ', Ǉ: 'ǈ', ǈ: 'ǈ', ǉ: 'ǈ' },
  ...{ Ǌ: 'ǋ', ǋ: 'ǋ', ǌ: 'ǋ', Ǳ: 'ǲ', ǲ: 'ǲ', ǳ: 'ǲ' },
};

/** A character in title case. */
export function titleCase(character: string): string {
  const [first, ...more] = character.toUpperCase();
  if (/^[\u10d0-\u10ff]$/.test(character)) return character; // Georgian has capitals for whole words only
  if (/^[\u1f80-\u1fff]$/.test(character) && more.at(-1) === 'Ι') {
    const below = `${[first, ...more.slice(0, -1)].join('')}\u0345`; // a Greek iota below stays there
    return more.length === 1 ? below.normalize() : below;
  }
  return titles[character] ?? first + more.join('').toLowerCase();
}

/** `str.capitalize`: the first character in title case, all others in lower case. */
export function capitalize(text: string): string {
  const first = text.match(/^./su)?.[0];
  if (first === undefined) return text;
  return titleCase(first) + text.toLowerCase().slice(first.toLowerCase().length);
}

/** `str(value)` of data: what JSON can hold, and `PythonFloat`s. */
export function pythonString(value: unknown): string {
  return typeof value === 'string' ? value : pythonRepr(value);
}

/** `repr(value)` of data; `undefined` is None too. */
export function pythonRepr(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (typeof value === 'number') return Number.isSafeInteger(value) ? `${value}` : pythonFloat(value);
  if (value instanceof PythonFloat) return pythonFloat(value.value);
  if (typeof value === 'bigint') return `${value}`;
  if (typeof value === 'string') return reprString(value);
  if (Array.isArray(value)) return `[${value.map(pythonRepr).join(', ')}]`;
  const entries = Object.entries(value as object).map(([key, item]) => `${reprString(key)}: ${pythonRepr(item)}`);
  return `{${entries.join(', ')}}`;
}

/** `str(float)`: always a point or an exponent, two exponent digits at least. */
export function pythonFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  const magnitude = Math.abs(value);
  if (magnitude !== 0 && (magnitude < 1e-4 || magnitude >= 1e16)) {
    return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
  }
  return Number.isInteger(value) ? `${Object.is(value, -0) ? '-0' : value}.0` : `${value}`;
}

const named: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };

function reprString(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  // Not printable to Python: controls, formats, private use, unassigned, surrogates, and all separators except the blank.
  const escaped = text.replace(/[\\\p{C}\p{Zl}\p{Zp}\p{Zs}]/gu, (character) => {
    if (character === ' ') return character;
    const code = character.codePointAt(0)!;
    if (named[character]) return named[character];
    if (code <= 0xff) return `\\x${code.toString(16).padStart(2, '0')}`;
    return code <= 0xffff ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`;
  });
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

/** What stands behind a backslash in a str literal, and what it means. */
export const stringEscapes: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  '\\': '\\',
  "'": "'",
  '"': '"',
  '\n': '',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
};
