// The methods of Python's str, on code points and with Python's idea of white space, lines, digits and letter case.

import { InputError } from '../errors.js';
import { builtin, intArgument, textArgument } from './arguments.js';
import { made, STEP, spend } from './budget.js';
import { formatFields } from './format.js';
import { capitalize, SPACE, titleCase } from './text.js';
import {
  Callable,
  codePointCount,
  codePointsOf,
  isText,
  iterate,
  type Markup,
  slicePoints,
  Tuple,
  textOf,
  truth,
  typeName,
  type Value,
} from './values.js';

type Look = (object: Value, name: string, item: boolean) => Value;
type Method = (text: string, ...args: (Value | undefined)[]) => Value;

const space = new RegExp(`[${SPACE}]`);
const wordBreak = new RegExp(`[${SPACE}]+`);

/** `strip`, of white space or of a set of characters. */
export function stripped(text: string, characters: Value | undefined, left: boolean, right: boolean): string {
  spend(text.length / 4);
  let [start, end] = [0, text.length];
  if (characters === undefined || characters === null) {
    while (left && start < end && space.test(text[start])) start++;
    while (right && end > start && space.test(text[end - 1])) end--;
    spend(8 * (text.length - end + start));
    return text.slice(start, end);
  }
  const set = new Set(codePointsOf(textArgument(characters, 'strip arg')));
  const points = codePointsOf(text);
  end = points.length;
  while (left && start < end && set.has(points[start])) start++;
  while (right && end > start && set.has(points[end - 1])) end--;
  spend(8 * (points.length - end + start));
  return slicePoints(points, start, end);
}

/** `text[start:stop:step]` over code points. */
export function sliceText(text: string, indices: readonly number[] | { start: number; end: number }): string {
  const points = codePointsOf(text);
  if (!Array.isArray(indices)) {
    const { start, end } = indices as { start: number; end: number };
    return made(slicePoints(points, start, Math.max(start, end)));
  }
  return made(indices.map((i) => points[i]).join(''));
}

function split(text: string, separator: Value | undefined, limit: Value | undefined, fromRight: boolean): Value[] {
  const most = intArgument(limit, -1);
  const count = most < 0 ? Number.POSITIVE_INFINITY : most;
  spend(2 * text.length);
  const parts = separator === undefined || separator === null ? splitBlanks(text, count, fromRight) : undefined;
  if (parts) return parts;
  const by = textArgument(separator, 'must be str or None');
  if (by === '') throw new InputError('empty separator');
  const all = text.split(by);
  spend(8 * all.length);
  if (all.length - 1 <= count) return all;
  if (fromRight) return [all.slice(0, all.length - count).join(by), ...all.slice(all.length - count)];
  return [...all.slice(0, count), all.slice(count).join(by)];
}

function splitBlanks(text: string, count: number, fromRight: boolean): string[] {
  const parts: string[] = [];
  let rest = stripped(text, undefined, true, true);
  if (count === Number.POSITIVE_INFINITY) return rest === '' ? [] : rest.split(wordBreak);
  // A limited split keeps the blanks at the far end of the unsplit rest.
  rest = stripped(text, undefined, !fromRight, fromRight);
  while (rest !== '' && parts.length < count) {
    spend(rest.length / 4 + STEP);
    if (fromRight) {
      let at = rest.length;
      while (at > 0 && !space.test(rest[at - 1])) at--;
      parts.unshift(rest.slice(at));
      rest = stripped(rest.slice(0, at), undefined, false, true);
    } else {
      const at = rest.search(space);
      parts.push(at < 0 ? rest : rest.slice(0, at));
      rest = at < 0 ? '' : stripped(rest.slice(at), undefined, true, false);
    }
  }
  if (rest === '') return parts;
  return fromRight ? [rest, ...parts] : [...parts, rest];
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: Python breaks lines at them
const lineBreak = /\r\n|[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]/g;

export function splitLines(text: string, keepEnds = false): string[] {
  const lines: string[] = [];
  let from = 0;
  spend(text.length);
  for (const { 0: end, index } of text.matchAll(lineBreak)) {
    lines.push(text.slice(from, keepEnds ? index + end.length : index));
    from = index + end.length;
  }
  if (from < text.length) lines.push(text.slice(from));
  return lines;
}

/** `replace`, which between the characters of a text finds the empty one. */
export function replaced(text: string, old: string, replacement: string, limit: number): string {
  const most = limit < 0 ? Number.POSITIVE_INFINITY : limit;
  spend(text.length);
  const parts = old === '' ? ['', ...codePointsOf(text), ''] : text.split(old);
  const count = Math.min(parts.length - 1, most);
  spend(text.length + count * Math.max(0, replacement.length - old.length));
  if (count === parts.length - 1) return parts.join(replacement);
  return [...parts.slice(0, count), parts.slice(count).join(old)].join(replacement);
}

/** The part of a text that `start` and `end` of find, count and the like mean, and where it begins. */
function part(text: string, start: Value | undefined, end: Value | undefined): [string, number] | undefined {
  if ((start ?? null) === null && (end ?? null) === null) return [text, 0];
  const points = codePointsOf(text);
  const place = (value: Value | undefined, fallback: number) => {
    const index = value === null ? fallback : intArgument(value, fallback);
    return index < 0 ? Math.max(0, index + points.length) : index;
  };
  const [from, to] = [place(start, 0), Math.min(place(end, points.length), points.length)];
  return from > to ? undefined : [slicePoints(points, from, to), from];
}

function find(text: string, wanted: Value | undefined, start: Value | undefined, end: Value | undefined, last: boolean): number {
  const piece = textArgument(wanted, 'argument');
  const found = part(text, start, end);
  if (!found) return -1;
  spend(2 * text.length);
  const at = last ? found[0].lastIndexOf(piece) : found[0].indexOf(piece);
  return at < 0 ? -1 : found[1] + codePointCount(found[0].slice(0, at));
}

function index(text: string, wanted: Value | undefined, start: Value | undefined, end: Value | undefined, last: boolean): number {
  const at = find(text, wanted, start, end, last);
  if (at < 0) throw new InputError('substring not found');
  return at;
}

function count(text: string, wanted: Value | undefined, start: Value | undefined, end: Value | undefined): number {
  const piece = textArgument(wanted, 'argument');
  const found = part(text, start, end);
  spend(text.length);
  if (!found) return 0;
  return piece === '' ? codePointCount(found[0]) + 1 : found[0].split(piece).length - 1;
}

function affixed(
  text: string,
  affix: Value | undefined,
  start: Value | undefined,
  end: Value | undefined,
  atEnd: boolean,
): boolean {
  const found = part(text, start, end);
  const affixes = affix instanceof Tuple ? affix.items : [affix];
  const name = `${atEnd ? 'endswith' : 'startswith'} first arg`;
  return affixes
    .map((item) => textArgument(item, name))
    .some((item) => found && (atEnd ? found[0].endsWith(item) : found[0].startsWith(item)));
}

function padded(
  text: string,
  width: Value | undefined,
  fill: Value | undefined,
  leftShare: (missing: number, width: number) => number,
): string {
  const wide = intArgument(width, 0);
  const missing = wide - codePointCount(text);
  const character = fill === undefined ? ' ' : textArgument(fill, 'The fill character');
  if (codePointCount(character) !== 1) throw new InputError('The fill character must be exactly one character long');
  if (missing <= 0) return text;
  spend(missing * character.length + text.length);
  const left = leftShare(missing, wide);
  return character.repeat(left) + text + character.repeat(missing - left);
}

/** As CPython centers: the odd blank goes left when the width is odd. */
export function centered(text: string, width: Value | undefined, fill?: Value): string {
  return padded(text, width, fill, (missing, wide) => Math.floor(missing / 2) + (missing & wide & 1));
}

function partition(text: string, separator: Value | undefined, last: boolean): Tuple {
  const by = textArgument(separator, 'separator');
  if (by === '') throw new InputError('empty separator');
  spend(text.length);
  const at = last ? text.lastIndexOf(by) : text.indexOf(by);
  if (at < 0) return new Tuple(last ? ['', '', text] : [text, '', '']);
  return new Tuple([text.slice(0, at), by, text.slice(at + by.length)]);
}

/** `separator.join(items)`: all must be texts. */
function joined(separator: string, items: Value | undefined): string {
  const parts: string[] = [];
  const iterator = iterate(items as Value);
  for (let step = iterator.next(); !step.done; step = iterator.next()) {
    if (!isText(step.value)) {
      throw new InputError(`sequence item ${parts.length}: expected str instance, ${typeName(step.value)} found`);
    }
    spend(textOf(step.value).length + separator.length + 1);
    parts.push(textOf(step.value));
  }
  return parts.join(separator);
}

const all = (text: string, pattern: RegExp) => {
  spend(2 * text.length);
  return text !== '' && pattern.test(text);
};

const cased = /\p{Lowercase}|\p{Uppercase}|\p{Lt}/u;
const upperOrTitle = /\p{Uppercase}|\p{Lt}/u;

/** Whether there is a cased letter, and none of them is of the other case. */
export function isCase(text: string, upper: boolean): boolean {
  spend(text.length);
  return upper
    ? /\p{Uppercase}/u.test(text) && !/\p{Lowercase}|\p{Lt}/u.test(text)
    : /\p{Lowercase}/u.test(text) && !upperOrTitle.test(text);
}

/** By character, `at` being where it stands; JavaScript knows the sigma that ends a word by what is around it only. */
function lower(character: string, text: string, at: number): string {
  if (character !== 'Σ') return character.toLowerCase();
  spend(text.length);
  const ends =
    /\p{Cased}\p{Case_Ignorable}*$/u.test(text.slice(0, at)) && !/^\p{Case_Ignorable}*\p{Cased}/u.test(text.slice(at + 1));
  return ends ? 'ς' : 'σ';
}

function byCharacter(text: string, change: (character: string, at: number) => string): string {
  spend(16 * text.length);
  let [result, at] = ['', 0];
  for (const character of text) {
    result += change(character, at);
    at += character.length;
  }
  return made(result);
}

function title(text: string): string {
  let after = false;
  return byCharacter(text, (character, at) => {
    const changed = after ? lower(character, text, at) : titleCase(character);
    after = cased.test(character);
    return changed;
  });
}

/** Cherokee's small letters are the younger ones, and fold to the capitals; the dotless i stays. */
const foldsOtherwise = /[\u0131\u13a0-\u13fd\uab70-\uabbf]/;

function caseFold(text: string): string {
  return byCharacter(text, (character) => {
    if (character === '\u0131') return character;
    if (foldsOtherwise.test(character)) return character.toUpperCase();
    return character.toLowerCase().toUpperCase().toLowerCase();
  });
}

function isTitle(text: string): boolean {
  let [after, any] = [false, false];
  spend(8 * text.length);
  for (const character of text) {
    if (upperOrTitle.test(character)) {
      if (after) return false;
      [after, any] = [true, true];
    } else if (/\p{Lowercase}/u.test(character)) {
      if (!after) return false;
      any = true;
    } else after = false;
  }
  return any;
}

function swapCase(text: string): string {
  return byCharacter(text, (character, at) => {
    if (/\p{Uppercase}/u.test(character)) return lower(character, text, at);
    return /\p{Lowercase}/u.test(character) ? character.toUpperCase() : character;
  });
}

function expandTabs(text: string, size: number): string {
  let column = 0;
  let result = '';
  for (const character of text) {
    const blanks = size > 0 ? size - (column % size) : 0;
    spend(character === '\t' ? blanks + 8 : 8);
    result += character === '\t' ? ' '.repeat(blanks) : character;
    column = /[\n\r]/.test(character) ? 0 : column + (character === '\t' ? blanks : 1);
  }
  return result;
}

function zeroFill(text: string, width: Value | undefined): string {
  const sign = /^[+-]/.exec(text)?.[0] ?? '';
  return sign + padded(text.slice(sign.length), intArgument(width, 0) - sign.length, '0', (missing) => missing);
}

/** By name: the signature and what it does. */
const methods: Readonly<Record<string, readonly [string, Method]>> = {
  capitalize: ['', (text) => made(capitalize(text))],
  casefold: ['', caseFold],
  center: ['width, fillchar?', centered],
  count: ['sub, start?, end?', count],
  endswith: ['suffix, start?, end?', (text, ...args) => affixed(text, args[0], args[1], args[2], true)],
  expandtabs: ['tabsize?', (text, size) => expandTabs(text, intArgument(size, 8))],
  find: ['sub, start?, end?', (text, ...args) => find(text, args[0], args[1], args[2], false)],
  index: ['sub, start?, end?', (text, ...args) => index(text, args[0], args[1], args[2], false)],
  isalnum: ['', (text) => all(text, /^[\p{L}\p{N}]+$/u)],
  isalpha: ['', (text) => all(text, /^\p{L}+$/u)],
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant
  isascii: ['', (text) => /^[\x00-\x7f]*$/.test(text)],
  isdecimal: ['', (text) => all(text, /^\p{Nd}+$/u)],
  isdigit: ['', (text) => isDigit(text)],
  isidentifier: ['', (text) => all(text, /^[\p{XIDS}_]\p{XIDC}*$/u)],
  islower: ['', (text) => isCase(text, false)],
  isnumeric: ['', (text) => all(text, numeric)],
  isprintable: ['', (text) => text === '' || all(text, /^(?: |[^\p{C}\p{Z}])+$/u)],
  isspace: ['', (text) => all(text, new RegExp(`^[${SPACE}]+$`))],
  istitle: ['', isTitle],
  isupper: ['', (text) => isCase(text, true)],
  join: ['iterable', joined],
  ljust: ['width, fillchar?', (text, width, fill) => padded(text, width, fill, () => 0)],
  lower: ['', (text) => made(text.toLowerCase())],
  lstrip: ['chars?', (text, chars) => stripped(text, chars, true, false)],
  partition: ['sep', (text, by) => partition(text, by, false)],
  removeprefix: [
    'prefix',
    (text, prefix) => (affixed(text, prefix, undefined, undefined, false) ? text.slice(textOf(prefix as string).length) : text),
  ],
  removesuffix: ['suffix', (text, suffix) => removeSuffix(text, textArgument(suffix, 'removesuffix() argument'))],
  replace: [
    'old, new, count?',
    (text, old, by, limit) =>
      replaced(text, textArgument(old, 'replace() argument 1'), textArgument(by, 'replace() argument 2'), intArgument(limit, -1)),
  ],
  rfind: ['sub, start?, end?', (text, ...args) => find(text, args[0], args[1], args[2], true)],
  rindex: ['sub, start?, end?', (text, ...args) => index(text, args[0], args[1], args[2], true)],
  rjust: ['width, fillchar?', (text, width, fill) => padded(text, width, fill, (missing) => missing)],
  rpartition: ['sep', (text, by) => partition(text, by, true)],
  rsplit: ['sep?, maxsplit?', (text, by, limit) => split(text, by, limit, true)],
  rstrip: ['chars?', (text, chars) => stripped(text, chars, false, true)],
  split: ['sep?, maxsplit?', (text, by, limit) => split(text, by, limit, false)],
  splitlines: ['keepends?', (text, keep) => splitLines(text, keep !== undefined && truth(keep))],
  startswith: ['prefix, start?, end?', (text, ...args) => affixed(text, args[0], args[1], args[2], false)],
  strip: ['chars?', (text, chars) => stripped(text, chars, true, true)],
  swapcase: ['', swapCase],
  title: ['', title],
  upper: ['', (text) => made(text.toUpperCase())],
  zfill: ['width', zeroFill],
};

/** Chinese writes numbers by words, which count as numbers too. */
const numeric =
  /^[\p{N}㐅㒃㠪㭍一七万三九二五亖亿什仟仨伍佰億兆兩八六十千卄卅卌叁参參叄四壱壹幺廾廿弌弍弎弐拾捌柒漆玖百肆萬貮貳贰阡陆陌陸零\uf96b\uf973\uf978\uf9b2\uf9d1\uf9d3\uf9fd𠀁𠁤𠃢𠄡𠤪𠦃𠦌𠦜𠫪𠫽𠬙𢎐𢦘𣬛𦉭\u{2f890}]+$/u;

/** Digits that have a value, superscripts and circled ones among them, but no fractions. */
function isDigit(text: string): boolean {
  return all(
    text,
    /^[\p{Nd}\u00b2\u00b3\u00b9\u1369-\u1371\u19da\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792\u{10a40}-\u{10a43}\u{10e60}-\u{10e68}\u{11052}-\u{1105a}\u{1f100}-\u{1f10a}]+$/u,
  );
}

function removeSuffix(text: string, suffix: string): string {
  return suffix !== '' && text.endsWith(suffix) ? text.slice(0, -suffix.length) : text;
}

/** Methods of str that need types which templates lack. */
const unsupported = ['encode', 'format_map', 'maketrans', 'translate'];

/** A bound method of a str; undefined when there is none of the name. `look` serves the fields of `format`. */
export function stringMethod(value: string | Markup, name: string, look: Look): Callable | undefined {
  const text = textOf(value);
  if (name === 'format') return new Callable(name, (args, keywords) => formatFields(text, args, keywords, look));
  if (unsupported.includes(name)) {
    return new Callable(name, () => {
      throw new InputError(`the method '${name}' of a str is not supported`);
    });
  }
  if (!Object.hasOwn(methods, name)) return undefined;
  const [signature, method] = methods[name];
  return builtin(name, signature, (...args) => method(text, ...args));
}
