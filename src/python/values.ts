// Python's values as a template meets them: what they are called, whether they are true, equal or smaller, how they print and how they
// are walked. None is null, an int a whole number or a bigint, a float a broken number or a PythonFloat, a list an array; all
// else is a class below. Arithmetic is arithmetic.ts's, methods are strings.ts's and containers.ts's.

import { InputError } from '../errors.js';
import { PythonFloat } from '../python-float.js';
import { made, STEP, spend } from './budget.js';
import { codePoints, pythonFloat, pythonRepr } from './text.js';

export type Value = null | boolean | number | bigint | string | Value[] | PythonFloat | PythonObject;

/** Values of classes that JavaScript lacks. */
export abstract class PythonObject {
  abstract readonly typeName: string;

  /** `repr(value)`; `depth` is how deep inside others it is printed. */
  repr(_depth: number): string {
    return `<${this.typeName} object>`;
  }

  /** `value.name`, if there is such a thing. */
  attribute(_name: string): Value | undefined {
    return undefined;
  }
}

export class Tuple extends PythonObject {
  readonly typeName = 'tuple';

  constructor(readonly items: readonly Value[]) {
    super();
  }

  override repr(depth: number): string {
    const [first, ...more] = this.items.map((item) => repr(item, depth + 1));
    return more.length === 0 && first !== undefined ? `(${first},)` : `(${[first, ...more].join(', ')})`;
  }
}

export class Dict extends PythonObject {
  readonly typeName = 'dict';
  private readonly entries = new Map<unknown, [Value, Value]>();

  constructor(entries: Iterable<readonly [Value, Value]> = []) {
    super();
    for (const [key, value] of entries) this.set(key, value);
  }

  get(key: Value): Value | undefined {
    return this.entries.get(hashKey(key))?.[1];
  }

  has(key: Value): boolean {
    return this.entries.has(hashKey(key));
  }

  set(key: Value, value: Value): void {
    const hash = hashKey(key);
    const entry = this.entries.get(hash);
    if (entry) entry[1] = value;
    else this.entries.set(hash, [key, value]);
  }

  delete(key: Value): void {
    this.entries.delete(hashKey(key));
  }

  clear(): void {
    this.entries.clear();
  }

  get size(): number {
    return this.entries.size;
  }

  *[Symbol.iterator](): IterableIterator<[Value, Value]> {
    for (const [key, value] of this.entries.values()) yield [key, value];
  }

  keys(): Value[] {
    return [...this.entries.values()].map(([key]) => key);
  }

  values(): Value[] {
    return [...this.entries.values()].map(([, value]) => value);
  }

  override repr(depth: number): string {
    return `{${[...this].map(([key, value]) => `${repr(key, depth + 1)}: ${repr(value, depth + 1)}`).join(', ')}}`;
  }
}

/** `dict.keys()`, `.values()` and `.items()`: live, and no lists. */
export class DictView extends PythonObject {
  constructor(
    readonly typeName: 'dict_keys' | 'dict_values' | 'dict_items',
    readonly dict: Dict,
  ) {
    super();
  }

  items(): Value[] {
    if (this.typeName === 'dict_items') return [...this.dict].map((pair) => new Tuple(pair));
    return this.typeName === 'dict_keys' ? this.dict.keys() : this.dict.values();
  }

  override repr(depth: number): string {
    return `${this.typeName}([${this.items()
      .map((item) => repr(item, depth + 1))
      .join(', ')}])`;
  }
}

export class Range extends PythonObject {
  readonly typeName = 'range';
  readonly length: number;

  constructor(
    readonly start: number,
    readonly stop: number,
    readonly step: number,
  ) {
    super();
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }

  at(index: number): number {
    return this.start + index * this.step;
  }

  override repr(): string {
    return `range(${this.start}, ${this.stop}${this.step === 1 ? '' : `, ${this.step}`})`;
  }
}

/** What generators, `reversed` and the like give: walked once. */
export class Lazy extends PythonObject {
  constructor(
    readonly iterator: Iterator<Value>,
    readonly typeName = 'generator',
  ) {
    super();
  }
}

/** Text that counts as escaped HTML (`|safe`, `|escape`, `|tojson`): a str to all but `+`. */
export class Markup extends PythonObject {
  readonly typeName = 'Markup';

  constructor(readonly text: string) {
    super();
  }

  override repr(): string {
    return `Markup(${pythonRepr(this.text)})`;
  }
}

/** Something that is not there was used. */
export class UndefinedError extends InputError {}

/** A name, field or item that is not there. `strict` ones complain at any use, others print nothing and complain when looked into. */
export class Undefined extends PythonObject {
  readonly typeName = 'Undefined';

  constructor(
    readonly message: string,
    readonly strict: boolean,
  ) {
    super();
  }

  fail(): never {
    throw new UndefinedError(this.message);
  }

  override repr(): string {
    return 'Undefined'; // a strict one too, inside of a list
  }
}

export type Keywords = ReadonlyMap<string, Value>;

export class Callable extends PythonObject {
  constructor(
    readonly name: string,
    readonly call: (args: readonly Value[], keywords: Keywords) => Value,
    readonly typeName = 'builtin_function_or_method',
  ) {
    super();
  }
}

export function isText(value: Value): value is string | Markup {
  return typeof value === 'string' || value instanceof Markup;
}

export function isFloat(value: Value): value is number | PythonFloat {
  return value instanceof PythonFloat || (typeof value === 'number' && !Number.isInteger(value));
}

/** An int, True and False among them. */
export function isInt(value: Value): value is number | bigint | boolean {
  return typeof value === 'bigint' || typeof value === 'boolean' || (typeof value === 'number' && Number.isInteger(value));
}

export function isNumber(value: Value): value is number | bigint | boolean | PythonFloat {
  return isInt(value) || isFloat(value);
}

export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (Array.isArray(value)) return 'list';
  if (typeof value === 'string') return 'str';
  if (typeof value === 'boolean') return 'bool';
  if (isFloat(value)) return 'float';
  return value instanceof PythonObject ? value.typeName : 'int';
}

export function truth(value: Value): boolean {
  if (value instanceof Undefined) return value.strict ? value.fail() : false;
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof PythonFloat) return value.value !== 0;
  if (value instanceof PythonObject) return sizeOf(value) !== 0;
  if (typeof value === 'number') return value !== 0; // NaN is true
  return Boolean(value);
}

/** `len(value)`, undefined where there is none. A text's length is in code points. */
export function sizeOf(value: Value): number | undefined {
  if (isText(value)) return codePointCount(textOf(value));
  if (Array.isArray(value)) return value.length;
  if (value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof DictView) return value.dict.size;
  if (value instanceof Range) return value.length;
  if (value instanceof Undefined) return value.strict ? value.fail() : 0;
  return undefined;
}

const surrogate = /[\ud800-\udfff]/;

export function codePointCount(text: string): number {
  spend(text.length / 2);
  if (!surrogate.test(text)) return text.length;
  spend(4 * text.length);
  return codePoints(text);
}

/** The characters of a text as Python counts them: itself where UTF-16 says the same. */
export function codePointsOf(text: string): string | readonly string[] {
  spend(text.length / 2);
  if (!surrogate.test(text)) return text;
  spend(8 * text.length);
  return [...text];
}

/** Of such characters, those from `start` up to `end`. */
export function slicePoints(points: string | readonly string[], start: number, end: number): string {
  return typeof points === 'string' ? points.slice(start, end) : points.slice(start, end).join('');
}

/** The plain text of a str. */
export function textOf(value: string | Markup): string {
  return typeof value === 'string' ? value : value.text;
}

/** Equal keys of a dict have equal hash keys (1, 1.0 and True are one key). Throws for lists and dicts. */
export function hashKey(value: Value): unknown {
  if (typeof value === 'boolean') return Number(value);
  if (value instanceof PythonFloat) return value.value;
  if (isText(value)) return textOf(value).startsWith('\0') ? `\0${textOf(value)}` : textOf(value);
  if (value instanceof Tuple) {
    spend(STEP);
    const parts = value.items.map((item) => {
      const key = hashKey(item);
      return `${typeof key} ${String(key).length} ${String(key)}`;
    });
    return made(`\0tuple ${parts.join(' ')}`);
  }
  if (Array.isArray(value) || value instanceof Dict) throw new InputError(`unhashable type: '${typeName(value)}'`);
  if (value instanceof Undefined && value.strict) value.fail();
  return value;
}

const plainNumber = (value: number | bigint | boolean | PythonFloat): number | bigint =>
  typeof value === 'bigint' ? value : Number(value);

export function equals(a: Value, b: Value): boolean {
  spend(STEP);
  for (const side of [a, b]) if (side instanceof Undefined && side.strict) side.fail();
  // biome-ignore lint/suspicious/noDoubleEquals: bigints and numbers compare by value
  if (isNumber(a) && isNumber(b)) return plainNumber(a) == plainNumber(b);
  if (isText(a) && isText(b)) {
    if (textOf(a).length === textOf(b).length) spend(textOf(a).length / 4);
    return textOf(a) === textOf(b);
  }
  if (Array.isArray(a) && Array.isArray(b)) return sameItems(a, b);
  if (a instanceof Tuple && b instanceof Tuple) return sameItems(a.items, b.items);
  if (a instanceof Dict && b instanceof Dict) {
    return a.size === b.size && [...a].every(([key, value]) => b.has(key) && equals(value, b.get(key)!));
  }
  if (a instanceof DictView && b instanceof DictView && a.typeName === b.typeName && a.typeName !== 'dict_values') {
    const [some, others] = [a.items(), b.items()];
    spend(STEP * some.length * (a.typeName === 'dict_items' ? others.length : 1));
    return some.length === others.length && some.every((item) => contains(b, item));
  }
  if (a instanceof Range && b instanceof Range) return a.length === b.length && a.at(0) === b.at(0) && a.step === b.step;
  return a === b || (a instanceof Undefined && b instanceof Undefined);
}

function sameItems(a: readonly Value[], b: readonly Value[]): boolean {
  spend(2 * STEP * a.length);
  return a.length === b.length && a.every((item, i) => item === b[i] || equals(item, b[i]));
}

/** Below 0, 0 or above 0 as `a < b`, `a == b`, `a > b`; NaN where none holds. Throws for what cannot be ordered. */
export function compare(a: Value, b: Value, operator = '<'): number {
  spend(STEP);
  for (const side of [a, b]) if (side instanceof Undefined) side.fail();
  if (isNumber(a) && isNumber(b)) {
    const [x, y] = [plainNumber(a), plainNumber(b)];
    // biome-ignore lint/suspicious/noDoubleEquals: bigints and numbers compare by value
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : Number.NaN;
  }
  if (isText(a) && isText(b)) return compareTexts(textOf(a), textOf(b));
  const [x, y] = [sequenceItems(a), sequenceItems(b)];
  if (x && y && Array.isArray(a) === Array.isArray(b)) {
    for (let i = 0; i < Math.min(x.length, y.length); i++) if (!equals(x[i], y[i])) return compare(x[i], y[i], operator);
    return x.length - y.length;
  }
  throw new InputError(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

/** By code points: UTF-16 would put U+10000 before U+E000. */
function compareTexts(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  spend(length);
  let i = 0;
  while (i < length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  if (i === length) return a.length - b.length;
  const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
  const high = (unit: number) => unit >= 0xd800 && unit < 0xe000;
  return high(x) === high(y) ? x - y : high(x) ? 1 : -1;
}

/** The items of a list or a tuple; undefined of anything else. */
export function sequenceItems(value: Value): readonly Value[] | undefined {
  return Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined;
}

/** `iter(value)`. Throws for what cannot be walked. */
export function iterate(value: Value): Iterator<Value> {
  if (Array.isArray(value)) return value[Symbol.iterator](); // sees what is appended meanwhile, as Python's does
  if (value instanceof Lazy) return value.iterator;
  if (value instanceof Range) return walkRange(value);
  if (value instanceof Undefined && value.strict) value.fail();
  const items = itemsOf(value);
  if (items === undefined) throw new InputError(`'${typeName(value)}' object is not iterable`);
  return items[Symbol.iterator]();
}

function* walkRange(range: Range): Iterator<Value> {
  for (let i = 0; i < range.length; i++) yield range.at(i);
}

function itemsOf(value: Value): Iterable<Value> | undefined {
  if (isText(value)) return codePointsOf(textOf(value));
  if (value instanceof Tuple) return value.items;
  if (value instanceof Dict) return value.keys();
  if (value instanceof DictView) return value.items();
  return value instanceof Undefined ? [] : undefined;
}

/** `list(value)`. */
export function listOf(value: Value): Value[] {
  if (value instanceof Range) spend(STEP * value.length);
  const iterator = iterate(value);
  const list: Value[] = [];
  for (let step = iterator.next(); !step.done; step = iterator.next()) {
    spend(STEP / 2);
    list.push(step.value);
  }
  return list;
}

/** `item in value`. */
export function contains(value: Value, item: Value): boolean {
  if (isText(value)) {
    if (item instanceof Undefined && item.strict) item.fail();
    if (!isText(item)) throw new InputError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    spend(2 * textOf(value).length);
    return textOf(value).includes(textOf(item));
  }
  if (value instanceof Dict) return value.has(item);
  if (value instanceof DictView && value.typeName === 'dict_keys') return value.dict.has(item);
  if (!Array.isArray(value) && !(value instanceof Lazy || value instanceof Range) && !itemsOf(value)) {
    throw new InputError(`argument of type '${typeName(value)}' is not iterable`);
  }
  const iterator = iterate(value);
  for (let step = iterator.next(); !step.done; step = iterator.next()) if (equals(step.value, item)) return true;
  return false;
}

/** `str(value)`. */
export function str(value: Value): string {
  if (isText(value)) return textOf(value);
  if (value instanceof Undefined) return value.strict ? value.fail() : '';
  return repr(value, 0);
}

/** `repr(value)`. */
export function repr(value: Value, depth = 0): string {
  if (depth > 100) throw new InputError('a value is nested too deeply to be printed');
  spend(STEP);
  if (value instanceof PythonFloat) return pythonFloat(value.value);
  if (value instanceof PythonObject) return value.repr(depth);
  if (Array.isArray(value)) return made(`[${value.map((item) => repr(item, depth + 1)).join(', ')}]`);
  if (typeof value === 'bigint') return made(value.toString());
  return made(pythonRepr(value));
}

/** A value from data: JSON's values, dates, `PythonFloat`s. Objects become dicts with their keys in order. */
export function fromData(data: unknown): Value {
  if (data === null || data === undefined) return null;
  if (typeof data === 'bigint') return Number.isSafeInteger(Number(data)) ? Number(data) : data;
  if (typeof data === 'number') return Number.isSafeInteger(data) || !Number.isInteger(data) ? data : new PythonFloat(data);
  if (typeof data === 'string' || typeof data === 'boolean' || data instanceof PythonFloat) return data;
  if (Array.isArray(data)) return data.map(fromData);
  if (data instanceof Date) return dateText(data);
  return new Dict(Object.entries(data).map(([key, value]) => [key, fromData(value)] as const));
}

/** As Python prints a datetime without a zone. */
function dateText(date: Date): string {
  return date
    .toISOString()
    .replace('T', ' ')
    .replace(/(?:\.000)?Z$/, '')
    .replace(/(\.\d{3})Z?$/, '$1000');
}

/** Characters that `data` holds: what a render may cost depends on it. */
export function charactersIn(data: unknown): number {
  if (typeof data === 'string') return data.length;
  if (typeof data !== 'object' || data === null) return 0;
  return Object.values(data).reduce((sum: number, item) => sum + charactersIn(item) + 8, 0);
}
