// JSON as it is written: strings, numbers, whitespace, values whatever they are, and given values. Whitespace is little (a blank,
// or one line end and its indentation), so that a model cannot go on with it for ever; numbers have at most 15 digits on each side of the point, so that
// whoever reads them gets what is written. What a schema asks of them is `json-schema.ts`.

import { anyCharacter, without } from './characters.js';
import { choice, type Expression, empty, oneOfCharacters, optional, repeat, rule, sequence, set, text } from './expression.js';

export const digit = set([0x30, 0x39]);
export const nonZero = set([0x31, 0x39]);

/** Digits before the point, and behind it. */
export const mostDigits = 15;

const hex = set([0x30, 0x39], [0x41, 0x46], [0x61, 0x66]);

const ascii = set([0x20, 0x21], [0x23, 0x5b], [0x5d, 0x7f]);
const beyondAscii: Expression = { kind: 'set', set: without(anyCharacter, [[0, 0x7f]]) };
/** A character of a string, in one state: what takes several bytes is a rule. */
export const character = choice(ascii, rule('rare'));

/** \u and four digits of a character that is no surrogate. */
const unicodeEscape = sequence(
  text('\\u'),
  choice(
    sequence(set([0x30, 0x39], [0x41, 0x43], [0x45, 0x46], [0x61, 0x63], [0x65, 0x66]), hex, hex, hex),
    sequence(oneOfCharacters('dD'), set([0x30, 0x37]), hex, hex),
  ),
);

const fraction = sequence(text('.'), repeat(digit, 1, mostDigits));
const wholePart = choice(text('0'), sequence(nonZero, repeat(digit, 0, mostDigits - 1)));
const exponent = sequence(oneOfCharacters('eE'), optional(oneOfCharacters('+-')), repeat(digit, 1, 2));

export const space = rule('space');
export const comma = sequence(text(','), space);
export const colon = sequence(text(':'), space);

/** The rules that JSON is written with; a schema adds its own. */
export function jsonRules(): Map<string, Expression> {
  const value = rule('value');
  const member = sequence(rule('string'), colon, value);
  const rare = choice(beyondAscii, sequence(text('\\'), oneOfCharacters('"\\/bfnrt')), unicodeEscape);
  return new Map([
    ['space', choice(empty, text(' '), sequence(text('\n'), repeat(oneOfCharacters(' \t'), 0, 20)))],
    ['string', quoted(repeat(choice(ascii, rare), 0))],
    ['rare', rare],
    ['integer', choice(text('0'), sequence(optional(text('-')), nonZero, repeat(digit, 0, mostDigits - 1)))],
    ['number', sequence(optional(text('-')), wholePart, optional(fraction), optional(exponent))],
    ['value', choice(rule('object'), rule('array'), rule('string'), rule('number'), ...['true', 'false', 'null'].map(text))],
    ['array', bracketed('[', optional(sequence(value, repeat(sequence(comma, value), 0))), ']')],
    ['object', bracketed('{', optional(sequence(member, repeat(sequence(comma, member), 0))), '}')],
  ]);
}

export function quoted(inside: Expression): Expression {
  return sequence(text('"'), inside, text('"'));
}

export function bracketed(open: string, inside: Expression, close: string): Expression {
  return sequence(text(open), space, inside, space, text(close));
}

/** A given value, its keys in their order. */
export function literal(value: unknown): Expression {
  if (Array.isArray(value)) return bracketed('[', separated(value.map(literal)), ']');
  if (typeof value !== 'object' || value === null) return text(JSON.stringify(value));
  const members = Object.entries(value).map(([key, own]) => sequence(text(JSON.stringify(key)), colon, literal(own)));
  return bracketed('{', separated(members), '}');
}

function separated(parts: readonly Expression[]): Expression {
  return sequence(...parts.map((part, i) => (i === 0 ? part : sequence(comma, part))));
}

const label = '[A-Za-z0-9]{1,15}(?:-[A-Za-z0-9]{1,15}){0,2}';
const host = `${label}(?:\\.${label}){0,3}`;
const date =
  '[1-9]\\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))';
const time = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)';
const clock = '(?:\\d{1,4}H(?:\\d{1,4}M(?:\\d{1,4}S)?)?|\\d{1,4}M(?:\\d{1,4}S)?|\\d{1,4}S)';
const days = '(?:\\d{1,4}D|\\d{1,4}M(?:\\d{1,4}D)?|\\d{1,4}Y(?:\\d{1,4}M(?:\\d{1,4}D)?)?)';
const byte = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';

/** Regular expressions whose texts all have the format: their common forms, not every one that a standard allows. */
export const formats: Readonly<Record<string, string>> = {
  date,
  time,
  'date-time': `${date}[Tt]${time}`,
  duration: `P(?:\\d{1,4}W|${days}(?:T${clock})?|T${clock})`,
  email: `[A-Za-z0-9_+-]{1,30}(?:\\.[A-Za-z0-9_+-]{1,30})?@(?:${label}\\.){1,3}[A-Za-z]{2,12}`,
  hostname: host,
  ipv4: `${byte}(?:\\.${byte}){3}`,
  ipv6: '(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}',
  uuid: '[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}',
  uri: `[Hh][Tt][Tt][Pp][Ss]?://${host}(?::[1-9]\\d{1,3})?(?:/[A-Za-z0-9._~-]*)*(?:\\?[A-Za-z0-9._~=&-]*)?(?:#[A-Za-z0-9._~-]*)?`,
};
