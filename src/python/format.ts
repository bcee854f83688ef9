// Texts made of values as Python makes them: `'%d' % x`, `'{:>8.2f}'.format(x)`, and the exact rounding beneath. No locales.

import { InputError } from '../errors.js';
import { made, STEP, spend } from './budget.js';
import { pythonRepr } from './text.js';
import {
  codePointCount,
  codePointsOf,
  Dict,
  isFloat,
  isInt,
  isNumber,
  isText,
  type Keywords,
  Markup,
  PythonObject,
  Range,
  repr,
  sequenceItems,
  slicePoints,
  str,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from './values.js';

const MAX_DIGITS = 1000;

/** |x| times 10^digits to the nearest whole number, ties to even, from the exact value of the double. */
function scaled(x: number, digits: number): bigint {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, Math.abs(x));
  const high = bits.getUint32(0);
  const exponent = Math.max(high >>> 20, 1) - 1075;
  const mantissa = (BigInt((high & 0xfffff) | (high >>> 20 ? 0x100000 : 0)) << 32n) | BigInt(bits.getUint32(4));
  let numerator = mantissa << BigInt(Math.max(exponent, 0));
  let denominator = 1n << BigInt(Math.max(-exponent, 0));
  if (digits >= 0) numerator *= 10n ** BigInt(digits);
  else denominator *= 10n ** BigInt(-digits);
  const [quotient, rest] = [numerator / denominator, 2n * (numerator % denominator)];
  return quotient + (rest > denominator || (rest === denominator && quotient % 2n === 1n) ? 1n : 0n);
}

function signOf(x: number): string {
  return x < 0 || Object.is(x, -0) ? '-' : '';
}

function special(x: number): string | undefined {
  return Number.isFinite(x) ? undefined : Number.isNaN(x) ? 'nan' : x < 0 ? '-inf' : 'inf';
}

/** `'%.{digits}f' % x`. */
export function fixed(x: number, digits: number): string {
  const odd = special(x);
  if (odd) return odd;
  if (digits > MAX_DIGITS) throw new InputError('precision too big');
  const text = scaled(x, digits)
    .toString()
    .padStart(digits + 1, '0');
  const point = text.length - digits;
  return signOf(x) + text.slice(0, point) + (digits > 0 ? `.${text.slice(point)}` : '');
}

/** The digits and the exponent of `x` rounded to `digits` behind the first. */
function rounded(x: number, digits: number): [string, number] {
  if (digits > MAX_DIGITS) throw new InputError('precision too big');
  if (x === 0) return ['0'.repeat(digits + 1), 0];
  let exponent = Math.floor(Math.log10(Math.abs(x)));
  let text = scaled(x, digits - exponent).toString();
  // The logarithm may be one off, and rounding may carry.
  if (text.length !== digits + 1) {
    exponent += text.length > digits + 1 ? 1 : -1;
    text = scaled(x, digits - exponent).toString();
  }
  return [text, exponent];
}

function exponential(x: number, digits: number): string {
  const odd = special(x);
  if (odd) return odd;
  const [text, exponent] = rounded(x, digits);
  return `${signOf(x)}${text[0]}${digits > 0 ? `.${text.slice(1)}` : ''}${exponentText(exponent)}`;
}

function exponentText(exponent: number): string {
  return `e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
}

/** `'%g'`: as many digits as asked for, none of them a trailing zero unless `keep`; `pointed` as an empty format type has it. */
function general(x: number, precision: number, keep: boolean, pointed = false): string {
  const odd = special(x);
  if (odd) return odd;
  const digits = Math.max(precision, 1);
  const [text, exponent] = rounded(x, digits - 1);
  const trim = (part: string) => (keep || !part.includes('.') ? part : part.replace(/\.?0+$/, ''));
  if (exponent < -4 || exponent >= digits - (pointed ? 1 : 0)) {
    return signOf(x) + trim(`${text[0]}.${text.slice(1)}`).replace(/\.$/, '') + exponentText(exponent);
  }
  const plain = trim(fixed(x, Math.max(0, digits - 1 - exponent)));
  return pointed && !plain.includes('.') ? `${plain}.0` : plain;
}

interface Spec {
  fill: string;
  align: string;
  sign: string;
  alternate: boolean;
  zero: boolean;
  width: number;
  grouping: string;
  precision: number | undefined;
  type: string;
}

const specPattern = /^(?:(.)?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([a-zA-Z%])?$/su;

function parseSpec(text: string): Spec {
  const found = specPattern.exec(text);
  if (!found) throw new InputError(`Invalid format specifier '${text}'`);
  const [, fill, align, sign, , alternate, zero, width, grouping, precision, type] = found;
  const [digits, places] = [Number(width ?? 0), precision === undefined ? undefined : Number(precision)];
  return {
    fill: fill ?? (zero ? '0' : ' '),
    align: align ?? '',
    sign: sign ?? '-',
    alternate: alternate !== undefined,
    zero: zero !== undefined,
    width: digits,
    grouping: grouping ?? '',
    precision: places,
    type: type ?? '',
  };
}

function pad(text: string, width: number, fill: string, align: string): string {
  const missing = width - codePointCount(text);
  if (missing <= 0) return text;
  spend(missing);
  const left = align === '<' ? 0 : align === '^' ? Math.floor(missing / 2) : missing;
  return fill.repeat(left) + text + fill.repeat(missing - left);
}

/** A number's text with its sign in front, filled after the sign where zeros do that. */
function padNumber(text: string, spec: Spec): string {
  const negative = text.startsWith('-');
  const sign = negative ? '-' : spec.sign === '-' ? '' : spec.sign;
  const body = negative ? text.slice(1) : text;
  const align = spec.align || (spec.zero ? '=' : '>');
  if (align !== '=') return pad(sign + body, spec.width, spec.fill, align);
  return sign + pad(body, spec.width - sign.length, spec.fill, '>');
}

function group(text: string, separator: string, size = 3): string {
  if (separator === '') return text;
  const [, sign, whole, rest] = /^(-?)(\w*)(.*)$/s.exec(text)!;
  return sign + whole.replace(new RegExp(`\\B(?=(?:\\w{${size}})+$)`, 'g'), separator) + rest;
}

/** `format(value, spec)`. */
function formatValue(value: Value, text: string): string {
  if (text === '') return str(value);
  const spec = parseSpec(text);
  if (value instanceof Undefined) value.fail();
  if (isText(value) || (typeof value === 'boolean' && (spec.type === '' || spec.type === 's'))) {
    if (spec.type !== '' && spec.type !== 's') unknownCode(spec.type, value);
    if (typeof value === 'boolean' && spec.type === '') return padNumber(String(Number(value)), spec);
    if (spec.grouping !== '') throw new InputError(`Cannot specify '${spec.grouping}' with 's'.`);
    if (spec.align === '=') throw new InputError("'=' alignment not allowed in string format specifier");
    const shown = str(value);
    return pad(cut(shown, spec), spec.width, spec.fill, spec.align || '<');
  }
  if (!isNumber(value)) throw new InputError(`unsupported format string passed to ${typeName(value)}.__format__`);
  if (isInt(value) && 'bcdoxXn'.includes(spec.type || 'd')) {
    if (spec.precision !== undefined) throw new InputError('Precision not allowed in integer format specifier');
    return padNumber(formatInt(BigInt(value), spec), spec);
  }
  return padNumber(formatFloat(Number(value), spec, value), spec);
}

function unknownCode(code: string, value: Value): never {
  throw new InputError(`Unknown format code '${code}' for object of type '${typeName(value)}'`);
}

/** As much of a text as the precision says. */
function cut(text: string, { precision }: Spec): string {
  return precision === undefined ? text : slicePoints(codePointsOf(text), 0, precision);
}

function formatInt(value: bigint, spec: Spec): string {
  if (spec.type === 'c') return character(value);
  const radix = { b: 2, o: 8, x: 16, X: 16 }[spec.type] ?? 10;
  const negative = value < 0n;
  const digits = (negative ? -value : value).toString(radix);
  spend(digits.length);
  const prefix = spec.alternate && radix !== 10 ? `0${spec.type}` : '';
  const body = prefix + group(digits, spec.grouping, radix === 10 ? 3 : 4);
  return (negative ? '-' : '') + (spec.type === 'X' ? body.toUpperCase() : body);
}

function formatFloat(value: number, spec: Spec, original: Value): string {
  const places = spec.precision ?? 6;
  const shown = ((): string => {
    switch (spec.type.toLowerCase()) {
      case 'f':
        return fixed(value, places);
      case 'e':
        return exponential(value, places);
      case 'g':
      case 'n':
        return general(value, places, spec.alternate);
      case '%':
        return `${fixed(value * 100, places)}%`;
      case '':
        if (spec.precision !== undefined) return general(value, spec.precision, spec.alternate, true);
        return isFloat(original) ? repr(original) : `${value}`;
      default:
        return unknownCode(spec.type, original);
    }
  })();
  const grouped = group(shown, spec.grouping);
  return spec.type !== '' && 'EFG'.includes(spec.type) ? grouped.toUpperCase() : grouped;
}

const percentPattern = /%(?:\(([^()]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d*))?[hlL]?(.)?/gsu;

/** `text % value`. */
export function formatPercent(text: string, value: Value): string {
  const args = value instanceof Tuple ? value.items : [value];
  let used = 0;
  const next = (): Value => {
    spend(8 * STEP);
    if (used >= args.length) throw new InputError('not enough arguments for format string');
    return args[used++];
  };
  let named = false;
  spend(16 * text.length);
  const result = text.replace(percentPattern, (_, key, flags: string, width, precision, code) => {
    if (code === '%') return '%';
    if (code === undefined) throw new InputError('incomplete format');
    const wide = width === '*' ? Number(next()) : Number(width ?? 0);
    const places = precision === '*' ? Number(next()) : precision === undefined ? undefined : Number(precision);
    let item: Value;
    if (key === undefined) item = next();
    else {
      if (!(value instanceof Dict)) throw new InputError('format requires a mapping');
      named = true;
      const found = value.get(key);
      if (found === undefined) throw new InputError(`there is no key ${pythonRepr(key)}`);
      item = found;
    }
    const left = flags.includes('-') || wide < 0;
    const sign = flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '-';
    const number = 'diufFeEgGxXo'.includes(code);
    const spec: Spec = {
      fill: number && flags.includes('0') && !left ? '0' : ' ',
      align: left ? '<' : number && flags.includes('0') ? '=' : '>',
      ...{ sign, alternate: flags.includes('#'), zero: false, width: Math.abs(wide), grouping: '', precision: places },
      type: 'iu'.includes(code) ? 'd' : code,
    };
    return percentItem(item, code, spec);
  });
  if (used < args.length && !named && !(value instanceof Dict || value instanceof Range || Array.isArray(value)))
    throw new InputError('not all arguments converted during string formatting');
  return made(result);
}

/** `ascii(value)`. */
function ascii(value: Value): string {
  const hex = (code: number) => code.toString(16);
  return repr(value).replace(/[^\0-\x7f]/gu, (character) => {
    const code = character.codePointAt(0)!;
    if (code < 0x100) return `\\x${hex(code)}`;
    return code < 0x10000 ? `\\u${hex(code).padStart(4, '0')}` : `\\U${hex(code).padStart(8, '0')}`;
  });
}

function percentCharacter(item: Value): string {
  if (isText(item) ? codePointCount(textOf(item)) !== 1 : !isInt(item)) throw new InputError('%c requires int or char');
  return isText(item) ? textOf(item) : character(item);
}

/** `chr(value)`. */
function character(value: Value): string {
  const code = Number(value);
  if (!(code >= 0 && code < 0x110000)) throw new InputError('%c arg not in range(0x110000)');
  return String.fromCodePoint(code);
}

function percentItem(item: Value, code: string, spec: Spec): string {
  if (code === 's' || code === 'r' || code === 'a') {
    const shown = code === 's' ? str(item) : code === 'a' ? ascii(item) : repr(item);
    return pad(cut(shown, spec), spec.width, ' ', spec.align);
  }
  if (item instanceof Undefined) item.fail();
  if (code === 'c') return pad(percentCharacter(item), spec.width, ' ', spec.align);
  if (!isNumber(item)) {
    const kind = 'eEfFgG'.includes(code) ? 'must be real number, not' : `%${code} format: a real number is required, not`;
    throw new InputError(`${kind} ${typeName(item)}`);
  }
  if ('diuxXo'.includes(code)) {
    if (isFloat(item) && 'xXo'.includes(code)) throw new InputError(`%${code} format: an integer is required, not float`);
    const whole = isFloat(item) ? BigInt(Math.trunc(Number(item))) : BigInt(item as number | bigint | boolean);
    const digits = formatInt(whole, spec)
      .replace(/^-/, '')
      .padStart(spec.precision ?? 0, '0');
    return padNumber((whole < 0n ? '-' : '') + digits, spec);
  }
  if (!'fFeEgG'.includes(code)) throw new InputError(`unsupported format character '${code}'`);
  return padNumber(formatFloat(Number(item), spec, item), spec);
}

const fieldPattern =
  /\{\{|\}\}|\{([^{}[\].!:]*)((?:\.[^{}[\].!:]+|\[[^{}[\]]*\])*)(?:!([rsa]))?(?::((?:[^{}]|\{[^{}]*\})*))?\}|[{}]/gs;

/** `text.format(*args, **keywords)`; `look` reads an attribute or an item. */
export function formatFields(
  text: string,
  args: readonly Value[],
  keywords: Keywords,
  look: (object: Value, name: string, item: boolean) => Value,
): string {
  let automatic = 0;
  let manual = false;
  const field = (first: string, rest: string): Value => {
    spend(16 * STEP);
    if (/^\d+$/.test(first)) manual = true;
    if (manual && (first === '' || automatic > 0) && /^\d*$/.test(first)) {
      throw new InputError('cannot switch between automatic field numbering and manual field specification');
    }
    let value = /^\d*$/.test(first) ? args[first === '' ? automatic++ : Number(first)] : keywords.get(first);
    if (value === undefined) {
      const index = /^\d*$/.test(first);
      throw new InputError(
        index ? 'Replacement index out of range for positional args tuple' : `there is no key ${pythonRepr(first)}`,
      );
    }
    for (const [, attribute, item] of rest.matchAll(/\.([^.[\]]+)|\[([^\]]*)\]/gs)) {
      value = attribute === undefined ? look(value, item, true) : look(value, attribute, false);
    }
    return value;
  };
  const substitute = (source: string, depth: number): string =>
    source.replace(fieldPattern, (whole, first, rest, conversion, spec) => {
      if (whole === '{{' || whole === '}}') return whole[0];
      if (whole === '{' || whole === '}') throw new InputError(`Single '${whole}' encountered in format string`);
      if (depth > 1) throw new InputError('Max string recursion exceeded');
      const value = field(first, rest);
      const shown =
        conversion === undefined ? value : conversion === 's' ? str(value) : conversion === 'a' ? ascii(value) : repr(value);
      return formatValue(shown, spec === undefined ? '' : substitute(spec, depth + 1));
    });
  spend(16 * text.length);
  return made(substitute(text, 0));
}

/** `json.dumps(value, ensure_ascii=, indent=, separators=, sort_keys=)`. */
interface JsonStyle {
  readonly ascii?: boolean;
  readonly indent?: string;
  readonly separators?: readonly [string, string];
  readonly sortKeys?: boolean;
}

export function jsonText(value: Value, style: JsonStyle, level = 0): string {
  spend(8 * STEP);
  const { indent, sortKeys, ascii = false } = style;
  const [comma, colon] = style.separators ?? [indent === undefined ? ', ' : ',', ': '];
  if (level > 100) throw new InputError('a value is nested too deeply for JSON');
  const wrap = (open: string, parts: string[], close: string): string => {
    if (parts.length === 0) return open + close;
    const line = (depth: number) => (indent === undefined ? '' : `\n${indent.repeat(depth)}`);
    return made(open + line(level + 1) + parts.join(comma + line(level + 1)) + line(level) + close);
  };
  if (value === null) return 'null';
  if (typeof value === 'boolean') return String(value);
  if (isText(value)) return jsonString(textOf(value), ascii);
  if (isFloat(value)) return { nan: 'NaN', inf: 'Infinity', '-inf': '-Infinity' }[repr(value)] ?? repr(value);
  if (isInt(value)) return repr(value);
  const items = sequenceItems(value)?.map((item) => jsonText(item, style, level + 1));
  if (items) return wrap('[', items, ']');
  if (value instanceof Dict) {
    const entries = [...value].map(([key, item]) => [jsonKey(key), item] as const);
    if (sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return wrap(
      '{',
      entries.map(([key, item]) => jsonString(key, ascii) + colon + jsonText(item, style, level + 1)),
      '}',
    );
  }
  throw new InputError(
    `Object of type ${value instanceof PythonObject ? value.typeName : typeName(value)} is not JSON serializable`,
  );
}

function jsonKey(key: Value): string {
  if (isText(key)) return textOf(key);
  if (key === null || isNumber(key)) return jsonText(key, {});
  throw new InputError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

const jsonNames: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\f': '\\f',
  '\b': '\\b',
};

function jsonString(text: string, ascii: boolean): string {
  spend(text.length);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON escapes them
  const pattern = ascii ? /["\\]|[^ -~]/g : /["\\\x00-\x1f]/g;
  const unit = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return `"${text.replace(pattern, (character) => jsonNames[character] ?? unit(character))}"`;
}

/** As the filter `tojson` has it where it is made for HTML. */
export function htmlJson(value: Value, indent?: string): Markup {
  const text = jsonText(value, { ascii: true, sortKeys: true, indent });
  return new Markup(text.replace(/[<>&']/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`));
}
