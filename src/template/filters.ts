// Jinja's filters (`x | join(', ')`), by Jinja2's filters.py. What cannot be the same each time (`random`) or serves web pages only
// (`urlize`, `striptags`) is refused by name.

import { InputError, shown } from '../errors.js';
import { bind, intArgument, textArgument } from '../python/arguments.js';
import { binary, escaped, intOf } from '../python/arithmetic.js';
import { made, STEP, spend } from '../python/budget.js';
import { reversed, sorted } from '../python/containers.js';
import { fixed, htmlJson, jsonText } from '../python/format.js';
import { pretty } from '../python/pretty.js';
import { centered, replaced, sliceText, splitLines, stripped } from '../python/strings.js';
import { capitalize, SPACE } from '../python/text.js';
import {
  codePointCount,
  codePointsOf,
  compare,
  Dict,
  equals,
  hashKey,
  isFloat,
  isInt,
  isNumber,
  isText,
  iterate,
  type Keywords,
  Lazy,
  listOf,
  Markup,
  sizeOf,
  str,
  Tuple,
  textOf,
  truth,
  typeName,
  Undefined,
  type Value,
} from '../python/values.js';
import { wrapped } from '../python/wrap.js';
import { floatOf, type PythonFloat } from '../python-float.js';
import type { Filter, Host } from './host.js';

type Bound = (Value | undefined)[];

/** A filter whose arguments are bound by a signature. */
function filter(name: string, signature: string, call: (input: Value, args: Bound, host: Host) => Value): [string, Filter] {
  return [name, (host, input, args, keywords) => call(input, bind(name, signature, args, keywords), host)];
}

const flag = (value: Value | undefined) => value !== undefined && truth(value);

/** `attribute='a.b.0'`: looks into the item part by part. */
function getter(host: Host, attribute: Value | undefined, ignoreCase = false, otherwise?: Value): (item: Value) => Value {
  const wanted = attribute ?? null;
  const parts: Value[] = wanted === null ? [] : isText(wanted) ? textOf(wanted).split('.') : [wanted];
  const steps = parts.map((part) => (typeof part === 'string' && /^\d+$/.test(part) ? Number(part) : part));
  return (item) => {
    let value = item;
    for (const step of steps) {
      value = host.item(value, step);
      if (value instanceof Undefined && (otherwise ?? null) !== null) value = otherwise!;
    }
    return ignoreCase && isText(value) ? made(textOf(value).toLowerCase()) : value;
  };
}

/** As `getter`, by several attributes with commas between them. */
function sortKey(host: Host, attribute: Value | undefined, ignoreCase: boolean): (item: Value) => Value {
  const wanted = attribute ?? null;
  const getters = (wanted !== null && isText(wanted) ? textOf(wanted).split(',') : [wanted]).map((part) =>
    getter(host, part, ignoreCase),
  );
  return (item) => getters.map((get) => get(item));
}

function* items(value: Value): Generator<Value> {
  const iterator = iterate(value);
  for (let step = iterator.next(); !step.done; step = iterator.next()) {
    spend(2 * STEP);
    yield step.value;
  }
}

/** `select`, `reject` and their kin: by a test, or by truth. */
function selection(keep: boolean, byAttribute: boolean): Filter {
  return (host, input, args, keywords) => {
    function* walk(): Generator<Value> {
      if (!truth(input)) return;
      const [first, ...more] = byAttribute ? args.slice(1) : args;
      if (byAttribute && args.length === 0) throw new InputError('Missing parameter for attribute name');
      const get = byAttribute ? getter(host, args[0]) : (item: Value) => item;
      for (const item of items(input)) {
        const value = get(item);
        if ((first === undefined ? truth(value) : host.test(str(first), value, more, keywords)) === keep) yield item;
      }
    }
    return new Lazy(walk());
  };
}

function map(host: Host, input: Value, args: readonly Value[], keywords: Keywords): Value {
  function* walk(): Generator<Value> {
    if (!truth(input)) return;
    if (args.length === 0 && keywords.has('attribute')) {
      const [attribute, otherwise] = bind('map', 'attribute, default?', args, keywords);
      const get = getter(host, attribute, false, otherwise);
      for (const item of items(input)) yield get(item);
    } else {
      const [name, ...more] = args;
      if (name === undefined) throw new InputError('map requires a filter argument');
      for (const item of items(input)) yield host.filter(str(name), item, more, keywords);
    }
  }
  return new Lazy(walk());
}

function extreme(input: Value, [caseSensitive, attribute]: Bound, host: Host, sign: number): Value {
  const key = getter(host, attribute, !flag(caseSensitive));
  let best: { item: Value; key: Value } | undefined;
  for (const item of items(input)) {
    const candidate = { item, key: key(item) };
    if (!best || sign * compare(candidate.key, best.key, sign > 0 ? '>' : '<') > 0) best = candidate;
  }
  return best ? best.item : host.undefined('No aggregated item, sequence was empty.');
}

class Group extends Tuple {
  override attribute(name: string): Value | undefined {
    return name === 'grouper' ? this.items[0] : name === 'list' ? this.items[1] : undefined;
  }
}

function groupBy(input: Value, [attribute, otherwise, caseSensitive]: Bound, host: Host): Value {
  const key = getter(host, attribute, !flag(caseSensitive), otherwise);
  const real = getter(host, attribute, false, otherwise);
  const groups: { key: Value; list: Value[] }[] = [];
  for (const item of sorted(listOf(input), key, false)) {
    const last = groups.at(-1);
    if (last && equals(last.key, key(item))) last.list.push(item);
    else groups.push({ key: key(item), list: [item] });
  }
  return groups.map(({ list }) => new Group([real(list[0]), list]));
}

/** `int(text, base)`; undefined when it is none. */
function parseInteger(text: string, base: number): Value | undefined {
  spend(4 * text.length);
  const bare = stripped(text, undefined, true, true).toLowerCase();
  const [, sign, prefix, digits] = /^([+-]?)(0[xob])?_?([0-9a-z]+(?:_[0-9a-z]+)*)$/.exec(bare) ?? [];
  if (digits === undefined || digits.length > 4300) return undefined;
  const meant = { '0x': 16, '0o': 8, '0b': 2 }[prefix ?? ''];
  let body = digits.replaceAll('_', '');
  let radix = base;
  if (meant !== undefined && (base === 0 || base === meant)) radix = meant;
  else if (prefix !== undefined) body = prefix + body;
  if (radix === 0) radix = 10;
  spend(body.length ** 2 / 8);
  let value = 0n;
  for (const digit of body) {
    const place = Number.parseInt(digit, 36);
    if (Number.isNaN(place) || place >= radix) return undefined;
    value = value * BigInt(radix) + BigInt(place);
  }
  return intOf(sign === '-' ? -value : value);
}

/** `float(value)`; undefined when it is none. */
function parseFloatValue(value: Value): number | undefined {
  if (isNumber(value)) return Number(value);
  if (value instanceof Undefined) value.fail();
  if (!isText(value)) return undefined;
  spend(16 * textOf(value).length);
  const bare = stripped(textOf(value), undefined, true, true).toLowerCase();
  if (/^[+-]?(?:inf(?:inity)?|nan)$/.test(bare)) {
    return bare.endsWith('nan') ? Number.NaN : bare.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  const plain = /^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?$/;
  return plain.test(bare) ? Number(bare.replaceAll('_', '')) : undefined;
}

function toInteger(input: Value, [otherwise, base]: Bound): Value {
  if (isText(input)) {
    const whole = parseInteger(textOf(input), intArgument(base, 10));
    if (whole !== undefined) return whole;
  }
  const value = parseFloatValue(input);
  if (value === undefined || !Number.isFinite(value)) return otherwise === undefined ? 0 : otherwise;
  return isInt(input) ? intOf(BigInt(input)) : intOf(BigInt(Math.trunc(value)));
}

function round(input: Value, [places, method]: Bound): Value {
  const kind = method === undefined ? 'common' : str(method);
  if (!['common', 'ceil', 'floor'].includes(kind)) throw new InputError('method must be common, ceil or floor');
  const precision = intArgument(places, 0);
  if (input instanceof Undefined) input.fail();
  if (!isNumber(input)) throw new InputError(`type ${typeName(input)} doesn't define __round__ method`);
  if (kind === 'common') {
    if (isInt(input)) return precision >= 0 ? intOf(BigInt(input)) : roundWhole(BigInt(input), -precision);
    if (!Number.isFinite(Number(input))) return input;
    if (precision < 0) return floatOf(Number(roundFloat(Number(input), precision)));
    return floatOf(Number(fixed(Number(input), Math.min(precision, 400))));
  }
  const scale = binary('**', 10, precision);
  const by = binary('*', input, scale) as number | bigint | PythonFloat;
  if (!Number.isFinite(Number(by))) throw new InputError('cannot convert float infinity to integer');
  const whole = isInt(by) ? by : intOf(BigInt((kind === 'ceil' ? Math.ceil : Math.floor)(Number(by))));
  return binary('/', whole, scale);
}

function roundWhole(value: bigint, zeros: number): Value {
  const unit = 10n ** BigInt(Math.min(zeros, 400));
  const rest = ((value % unit) + unit) % unit;
  const down = value - rest;
  const up = 2n * rest > unit || (2n * rest === unit && (down / unit) % 2n !== 0n);
  return intOf(up ? down + unit : down);
}

function roundFloat(value: number, precision: number): number {
  const unit = 10 ** -precision;
  const quotient = value / unit;
  const floor = Math.floor(quotient);
  const half = quotient - floor;
  return (half > 0.5 || (half === 0.5 && floor % 2 !== 0) ? floor + 1 : floor) * unit;
}

function indent(input: Value, [width, first, blank]: Bound): Value {
  if (input instanceof Undefined) input.fail();
  const text = textArgument(input, 'the text to indent');
  const by = width !== undefined && isText(width) ? textOf(width) : ' '.repeat(Math.min(1e6, Math.max(0, intArgument(width, 4))));
  const lines = splitLines(`${text}\n`);
  spend(text.length + lines.length * by.length);
  const body = flag(blank)
    ? lines.join(`\n${by}`)
    : [lines[0], ...lines.slice(1).map((line) => (line === '' ? line : by + line))].join('\n');
  return flag(first) ? by + body : body;
}

function truncate(input: Value, [length, killWords, end, leeway]: Bound): Value {
  const [most, tail, slack] = [intArgument(length, 255), end === undefined ? '...' : str(end), intArgument(leeway, 5)];
  const kept = most - codePointCount(tail);
  if (kept < 0) throw new InputError(`expected length >= ${codePointCount(tail)}, got ${most}`);
  if (slack < 0) throw new InputError(`expected leeway >= 0, got ${slack}`);
  if (!isText(input) && (sizeOf(input) ?? Infinity) <= most + slack) return input;
  const text = textArgument(input, 'the text to truncate');
  if (codePointCount(text) <= most + slack) return text;
  const cut = sliceText(text, { start: 0, end: kept });
  if (flag(killWords)) return cut + tail;
  const space = cut.lastIndexOf(' ');
  return (space < 0 ? cut : cut.slice(0, space)) + tail;
}

function titled(text: string): string {
  spend(16 * text.length);
  return made(
    text
      .split(new RegExp(`([-${SPACE}({[<]+)`))
      .map((word) => {
        const [first = '', ...rest] = word;
        return first.toUpperCase() + rest.join('').toLowerCase();
      })
      .join(''),
  );
}

function quote(value: Value, forQuery: boolean): string {
  spend(32 * str(value).length);
  const bytes = new TextEncoder().encode(str(value));
  const kept = forQuery ? /[\w.~-]/ : /[\w.~/-]/;
  const parts = Array.from(bytes, (byte) => {
    const character = String.fromCharCode(byte);
    if (byte < 128 && kept.test(character)) return character;
    return forQuery && byte === 32 ? '+' : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  });
  return made(parts.join(''));
}

function urlEncode(input: Value): Value {
  if (isText(input) || isNumber(input) || input === null || input instanceof Undefined) return quote(input, false);
  const pairs = input instanceof Dict ? [...input] : listOf(input).map(keyAndValue);
  return pairs.map(([key, value]) => `${quote(key, true)}=${quote(value, true)}`).join('&');
}

function keyAndValue(pair: Value): readonly Value[] {
  const parts = listOf(pair);
  if (parts.length !== 2)
    throw new InputError(`a pair of a key and a value is expected to be encoded, not ${parts.length} values`);
  return parts;
}

/** `input % args`, which escapes what it puts into markup. */
function format(_: Host, input: Value, args: readonly Value[], keywords: Keywords): Value {
  if (args.length > 0 && keywords.size > 0)
    throw new InputError("can't handle positional and keyword arguments at the same time");
  const text = input instanceof Markup ? input : str(input);
  return binary('%', text, keywords.size > 0 ? new Dict(keywords) : new Tuple(args));
}

function wordWrap(input: Value, [width, long, by, hyphens]: Bound): Value {
  const separator = (by ?? null) === null ? '\n' : textArgument(by, 'wrapstring');
  const options = {
    width: intArgument(width, 79),
    breakLongWords: long === undefined || truth(long),
    breakOnHyphens: hyphens === undefined || truth(hyphens),
  };
  const paragraphs = splitLines(textArgument(input, 'the text to wrap'));
  return made(paragraphs.map((line) => wrapped(line, options).join(separator)).join(separator));
}

function xmlAttributes(input: Value, [space]: Bound): Value {
  if (!(input instanceof Dict)) throw new InputError(`'${typeName(input)}' object has no attribute 'items'`);
  const attributes: string[] = [];
  for (const [key, value] of input) {
    if (value === null || value instanceof Undefined) continue;
    const name = textArgument(key, 'the name of an attribute');
    if (invalidName.test(name)) throw new InputError(`Invalid character in attribute name: ${shown(name)}`);
    attributes.push(`${escaped(name)}="${escaped(value)}"`);
  }
  const text = attributes.join(' ');
  return text !== '' && (space === undefined || truth(space)) ? ` ${text}` : text;
}

const invalidName = new RegExp(`[${SPACE}/>=]`);

function fileSize(input: Value, [binaryUnits]: Bound): Value {
  const size = parseFloatValue(input);
  if (size === undefined) throw new InputError(`could not convert ${typeName(input)} to float`);
  const base = flag(binaryUnits) ? 1024 : 1000;
  const units = [...'kMGTPEZY'].map((letter) => (base === 1024 ? `${letter === 'k' ? 'K' : letter}iB` : `${letter}B`));
  if (size === 1) return '1 Byte';
  if (size < base) return `${Math.trunc(size)} Bytes`;
  let [i, unit] = [0, base * base];
  while (size >= unit && i < units.length - 1) [i, unit] = [i + 1, unit * base];
  return `${fixed((base * size) / unit, 1)} ${units[i]}`;
}

function* batch(input: Value, [count, fill]: Bound): Generator<Value> {
  let row: Value[] = [];
  const size = intArgument(count, 0);
  for (const item of items(input)) {
    if (row.length === size) {
      yield row;
      row = [];
    }
    row.push(item);
  }
  if (row.length === 0) return;
  spend(4 * size);
  if ((fill ?? null) !== null) while (row.length < size) row.push(fill!);
  yield row;
}

function* slices(input: Value, [count, fill]: Bound): Generator<Value> {
  const list = listOf(input);
  const parts = intArgument(count, 1);
  if (parts === 0) throw new InputError('integer division or modulo by zero');
  const [each, larger] = [Math.floor(list.length / parts), list.length % parts];
  let from = 0;
  for (let i = 0; i < parts; i++) {
    spend(4 * STEP);
    const to = from + each + (i < larger ? 1 : 0);
    const part = list.slice(from, to);
    if ((fill ?? null) !== null && i >= larger) part.push(fill!);
    from = to;
    yield part;
  }
}

function* unique(input: Value, [caseSensitive, attribute]: Bound, host: Host): Generator<Value> {
  const key = getter(host, attribute, !flag(caseSensitive));
  const seen = new Set<unknown>();
  for (const item of items(input)) {
    const hash = hashKey(key(item));
    if (seen.has(hash)) continue;
    seen.add(hash);
    yield item;
  }
}

function* pairsOf(input: Value): Generator<Value> {
  if (input instanceof Undefined) return;
  if (!(input instanceof Dict)) throw new InputError('Can only get item pairs from a mapping.');
  for (const pair of input) yield new Tuple(pair);
}

function dictSort(input: Value, [caseSensitive, by, reverse]: Bound): Value {
  const kind = by === undefined ? 'key' : str(by);
  if (kind !== 'key' && kind !== 'value') throw new InputError('You can only sort by either "key" or "value"');
  if (!(input instanceof Dict)) throw new InputError(`'${typeName(input)}' object has no attribute 'items'`);
  const pairs = [...input].map((pair) => new Tuple(pair));
  const key = (pair: Value) => {
    const value = (pair as Tuple).items[kind === 'key' ? 0 : 1];
    return !flag(caseSensitive) && isText(value) ? textOf(value).toLowerCase() : value;
  };
  return sorted(pairs, key, flag(reverse));
}

function joined(input: Value, [separator, attribute]: Bound, host: Host): Value {
  const by = separator === undefined ? '' : str(separator);
  const get = getter(host, attribute);
  const parts: string[] = [];
  for (const item of items(input)) {
    parts.push(str(get(item)));
    spend(parts.at(-1)!.length + by.length + 1);
  }
  return parts.join(by);
}

function json(host: Host, input: Value, args: readonly Value[], keywords: Keywords): Value {
  const indentOf = (value: Value | undefined) => {
    if (value === undefined || value === null) return undefined;
    return isText(value) ? textOf(value) : ' '.repeat(Math.min(1000, Math.max(0, intArgument(value, 0))));
  };
  if (!host.sandboxed) return htmlJson(input, indentOf(bind('tojson', 'indent?', args, keywords)[0]));
  const [ascii, width, separators, sortKeys] = bind('tojson', 'ensure_ascii?, indent?, separators?, sort_keys?', args, keywords);
  const pair = separators === undefined || separators === null ? undefined : (listOf(separators).map(str) as [string, string]);
  return jsonText(input, { ascii: flag(ascii), indent: indentOf(width), separators: pair, sortKeys: flag(sortKeys) });
}

function total(input: Value, [attribute, start]: Bound, host: Host): Value {
  const get = getter(host, attribute);
  let sum: Value = start === undefined ? 0 : start;
  if (isText(sum)) throw new InputError("sum() can't sum strings [use ''.join(seq) instead]");
  for (const item of items(input)) sum = binary('+', sum, get(item));
  return sum;
}

function reverse(input: Value): Value {
  if (isText(input)) spend(8 * textOf(input).length);
  if (isText(input)) return made([...codePointsOf(textOf(input))].reverse().join(''));
  if (input instanceof Lazy || input instanceof Undefined) return listOf(input).reverse();
  return new Lazy(reversed(input)[Symbol.iterator](), 'list_reverseiterator');
}

function length(input: Value): Value {
  const size = sizeOf(input);
  if (size === undefined) throw new InputError(`object of type '${typeName(input)}' has no len()`);
  return size;
}

const otherwise = (input: Value, [fallback, forFalse]: Bound): Value =>
  input instanceof Undefined || (flag(forFalse) && !truth(input)) ? (fallback === undefined ? '' : fallback) : input;

const filters: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  filter('abs', '', (input) => {
    if (!isNumber(input)) throw new InputError(`bad operand type for abs(): '${typeName(input)}'`);
    if (isFloat(input)) return floatOf(Math.abs(Number(input)));
    return intOf(BigInt(input) < 0n ? -BigInt(input) : BigInt(input));
  }),
  filter('attr', 'name', (input, [name], host) => {
    const value = host.own(input, str(name!));
    return value === undefined ? host.undefined(`'${typeName(input)} object' has no attribute '${str(name!)}'`) : value;
  }),
  filter('batch', 'linecount, fill_with?', (input, args) => new Lazy(batch(input, args))),
  filter('capitalize', '', (input) => made(capitalize(str(input)))),
  filter('center', 'width?', (input, [width]) => centered(str(input), width === undefined ? 80 : width)),
  filter('count', '', length),
  filter('length', '', length),
  filter('default', 'default_value?, boolean?', otherwise),
  filter('d', 'default_value?, boolean?', otherwise),
  filter('dictsort', 'case_sensitive?, by?, reverse?', dictSort),
  ...['e', 'escape', 'forceescape'].map((name) =>
    filter(name, '', (input) => new Markup(escaped(name === 'forceescape' ? str(input) : input))),
  ),
  filter('filesizeformat', 'binary?', fileSize),
  filter('first', '', (input, _, host) => {
    const step = iterate(input).next();
    return step.done ? host.undefined('No first item, sequence was empty.') : step.value;
  }),
  filter('last', '', (input, _, host) => {
    const [last] = reversed(input);
    return last === undefined ? host.undefined('No last item, sequence was empty.') : last;
  }),
  filter('float', 'default?', (input, [fallback]) => {
    const value = parseFloatValue(input);
    if (value !== undefined) return floatOf(value);
    return fallback === undefined ? floatOf(0) : fallback;
  }),
  filter('int', 'default?, base?', toInteger),
  ['format', format],
  filter('groupby', 'attribute, default?, case_sensitive?', groupBy),
  filter('indent', 'width?, first?, blank?', indent),
  filter('items', '', (input) => new Lazy(pairsOf(input))),
  filter('join', 'd?, attribute?', joined),
  filter('list', '', (input) => listOf(input)),
  filter('lower', '', (input) => made(str(input).toLowerCase())),
  filter('upper', '', (input) => made(str(input).toUpperCase())),
  ['map', map],
  filter('min', 'case_sensitive?, attribute?', (input, args, host) => extreme(input, args, host, -1)),
  filter('max', 'case_sensitive?, attribute?', (input, args, host) => extreme(input, args, host, 1)),
  ['reject', selection(false, false)],
  ['rejectattr', selection(false, true)],
  ['select', selection(true, false)],
  ['selectattr', selection(true, true)],
  filter('pprint', '', (input) => made(pretty(input))),
  filter('replace', 'old, new, count?', (input, [old, by, count]) =>
    replaced(str(input), str(old!), str(by!), (count ?? null) === null ? -1 : intArgument(count, -1)),
  ),
  filter('reverse', '', reverse),
  filter('round', 'precision?, method?', round),
  filter('safe', '', (input) => new Markup(str(input))),
  filter('slice', 'slices, fill_with?', (input, args) => new Lazy(slices(input, args))),
  filter('sort', 'reverse?, case_sensitive?, attribute?', (input, [backwards, caseSensitive, attribute], host) =>
    sorted(listOf(input), sortKey(host, attribute, !flag(caseSensitive)), flag(backwards)),
  ),
  filter('string', '', (input) => (isText(input) ? input : str(input))),
  filter('sum', 'attribute?, start?', total),
  filter('title', '', (input) => titled(str(input))),
  ['tojson', json],
  filter('trim', 'chars?', (input, [chars]) => stripped(str(input), chars, true, true)),
  filter('truncate', 'length?, killwords?, end?, leeway?', truncate),
  filter('unique', 'case_sensitive?, attribute?', (input, args, host) => new Lazy(unique(input, args, host))),
  filter('urlencode', '', urlEncode),
  filter('wordcount', '', (input) => made(str(input)).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0),
  filter('wordwrap', 'width?, break_long_words?, wrapstring?, break_on_hyphens?', wordWrap),
  filter('xmlattr', 'autospace?', xmlAttributes),
]);

const refused = ['random', 'striptags', 'urlize'];

export function filterNamed(name: string): Filter {
  const found = filters.get(name);
  if (found) return found;
  throw new InputError(refused.includes(name) ? `the filter '${name}' is not supported` : `there is no filter named '${name}'`);
}

export function hasFilter(name: string): boolean {
  return filters.has(name) || refused.includes(name);
}
