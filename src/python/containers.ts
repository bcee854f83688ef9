// Methods of Python's list, tuple, dict and numbers, and what `value[index]` gives. Methods that change a value are there only where
// the template's sandbox allows it.

import { InputError } from '../errors.js';
import { builtin, intArgument } from './arguments.js';
import { STEP, spend } from './budget.js';
import { sliceText } from './strings.js';
import {
  type Callable,
  codePointsOf,
  compare,
  Dict,
  DictView,
  equals,
  isFloat,
  isInt,
  isText,
  iterate,
  listOf,
  Markup,
  Range,
  repr,
  Tuple,
  textOf,
  truth,
  typeName,
  type Value,
} from './values.js';

type Method = readonly [string, (...args: (Value | undefined)[]) => Value];

/** A bound method of a list, tuple, dict or number; undefined when there is none of the name. */
export function containerMethod(value: Value, name: string): Callable | undefined {
  const methods = methodsOf(value);
  spend(4 * STEP);
  if (!methods || !Object.hasOwn(methods, name)) return undefined;
  return builtin(name, ...methods[name]);
}

function methodsOf(value: Value): Readonly<Record<string, Method>> | undefined {
  if (Array.isArray(value)) return { ...sequenceMethods(value, 'list'), ...listMethods(value) };
  if (value instanceof Tuple) return sequenceMethods(value.items, 'tuple');
  if (value instanceof Dict) return dictMethods(value);
  if (isFloat(value)) return { is_integer: ['', () => Number.isInteger(Number(value))] };
  if (isInt(value))
    return {
      bit_length: [
        '',
        () =>
          BigInt(value)
            .toString(2)
            .replace(/^-|^0$/, '').length,
      ],
    };
  return undefined;
}

function sequenceMethods(items: readonly Value[], kind: string): Record<string, Method> {
  return {
    count: ['value', (item) => items.filter((other) => equals(other, item!)).length],
    index: [
      'value, start?, stop?',
      (item, start, stop) => indexOf(items, item!, intArgument(start, 0), intArgument(stop, items.length), kind),
    ],
  };
}

function indexOf(items: readonly Value[], item: Value, start: number, stop: number, kind: string): number {
  const from = start < 0 ? Math.max(0, start + items.length) : start;
  const to = stop < 0 ? stop + items.length : Math.min(stop, items.length);
  for (let i = from; i < to; i++) if (equals(items[i], item)) return i;
  throw new InputError(kind === 'list' ? `${repr(item)} is not in list` : 'tuple.index(x): x not in tuple');
}

/** What methods that change something give. */
function nothing(change: () => unknown): null {
  spend(STEP);
  change();
  return null;
}

function listMethods(list: Value[]): Record<string, Method> {
  return {
    copy: ['', () => [...list]],
    append: ['object', (item) => nothing(() => list.push(item!))],
    extend: ['iterable', (items) => nothing(() => append(list, listOf(items!)))],
    insert: ['index, object', (at, item) => nothing(() => list.splice(intArgument(at, 0), 0, item!))],
    clear: ['', () => nothing(() => list.splice(0))],
    reverse: ['', () => nothing(() => list.reverse())],
    sort: [
      'reverse?',
      (reverse) =>
        nothing(() => list.splice(0, list.length, ...sorted(list, (item) => item, reverse !== undefined && truth(reverse)))),
    ],
    pop: ['index?', (at) => takeAt(list, intArgument(at, -1))],
    remove: ['value', (item) => nothing(() => takeAt(list, indexOf(list, item!, 0, list.length, 'list')))],
  };
}

function append(list: Value[], items: readonly Value[]): void {
  for (const item of items) list.push(item);
}

function takeAt(list: Value[], index: number): Value {
  spend(list.length / 4);
  if (list.length === 0) throw new InputError('pop from empty list');
  const at = index < 0 ? index + list.length : index;
  if (at < 0 || at >= list.length) throw new InputError('pop index out of range');
  return list.splice(at, 1)[0];
}

function dictMethods(dict: Dict): Record<string, Method> {
  const absent = (key: Value): never => {
    throw new InputError(`there is no key ${repr(key)}`);
  };
  return {
    keys: ['', () => new DictView('dict_keys', dict)],
    values: ['', () => new DictView('dict_values', dict)],
    items: ['', () => new DictView('dict_items', dict)],
    get: ['key, default?', (key, otherwise = null) => (dict.has(key!) ? dict.get(key!)! : otherwise)],
    copy: ['', () => new Dict(dict)],
    clear: ['', () => nothing(() => dict.clear())],
    setdefault: [
      'key, default?',
      (key, value) => {
        if (!dict.has(key!)) dict.set(key!, value ?? null);
        return dict.get(key!)!;
      },
    ],
    update: ['other', (other) => nothing(() => updateDict(dict, other!))],
    pop: [
      'key, default?',
      (key, otherwise) => {
        const value = dict.has(key!) ? dict.get(key!)! : otherwise === undefined ? absent(key!) : otherwise;
        dict.delete(key!);
        return value;
      },
    ],
    popitem: [
      '',
      () => {
        const last = dict.keys().at(-1);
        if (last === undefined) throw new InputError('popitem(): dictionary is empty');
        const pair = new Tuple([last, dict.get(last)!]);
        dict.delete(last);
        return pair;
      },
    ],
  };
}

/** `dict.update(other)`: a dict or pairs. */
export function updateDict(dict: Dict, other: Value): void {
  if (other instanceof Dict) for (const [key, value] of other) dict.set(key, value);
  else {
    for (const pair of listOf(other)) {
      const items = listOf(pair);
      if (items.length !== 2) throw new InputError(`a pair of key and value has length ${items.length}; 2 is required`);
      dict.set(items[0], items[1]);
    }
  }
}

/** What an immutable sandbox keeps from templates: `list.append` and the like. */
export function changes(value: Value, name: string): boolean {
  const names = Array.isArray(value)
    ? ['append', 'clear', 'pop', 'reverse', 'insert', 'sort', 'extend', 'remove']
    : value instanceof Dict
      ? ['clear', 'pop', 'popitem', 'setdefault', 'update']
      : [];
  return names.includes(name);
}

/** `sorted(items, key=, reverse=)`: stable. */
export function sorted(items: readonly Value[], key: (item: Value) => Value, reverse: boolean): Value[] {
  spend(2 * STEP * items.length);
  const keyed = items.map((item) => ({ item, key: key(item) }));
  if (reverse) keyed.reverse();
  keyed.sort((a, b) => compare(a.key, b.key));
  if (reverse) keyed.reverse();
  return keyed.map(({ item }) => item);
}

export class Slice {
  constructor(
    readonly start: Value,
    readonly stop: Value,
    readonly step: Value,
  ) {}

  /** `slice.indices(length)`, listed. */
  indices(length: number): number[] {
    const whole = (value: Value): number => {
      if (!isInt(value)) throw new InputError('slice indices must be integers or None or have an __index__ method');
      return Number(value);
    };
    const step = this.step === null ? 1 : whole(this.step);
    if (step === 0) throw new InputError('slice step cannot be zero');
    const [lowest, highest] = step < 0 ? [-1, length - 1] : [0, length];
    const place = (value: Value, fallback: number): number => {
      if (value === null) return fallback;
      const index = whole(value);
      return Math.min(Math.max(index < 0 ? index + length : index, lowest), highest);
    };
    const start = place(this.start, step < 0 ? highest : lowest);
    const stop = place(this.stop, step < 0 ? lowest : highest);
    const count = Math.max(0, Math.ceil((stop - start) / step));
    spend((STEP / 2) * count);
    return Array.from({ length: count }, (_, i) => start + i * step);
  }
}

/** `value[index]`; undefined where Python raises IndexError, KeyError or TypeError. */
export function itemAt(value: Value, index: Value | Slice): Value | undefined {
  if (index instanceof Slice) return slice(value, index);
  if (value instanceof Dict) {
    if (Array.isArray(index) || index instanceof Dict) return undefined;
    return value.get(index);
  }
  if (!isInt(index)) return undefined;
  const at = (length: number): number => (Number(index) < 0 ? Number(index) + length : Number(index));
  if (isText(value)) {
    const points = codePointsOf(textOf(value));
    return points[at(points.length)];
  }
  if (Array.isArray(value)) return value[at(value.length)];
  if (value instanceof Tuple) return value.items[at(value.items.length)];
  if (value instanceof Range) {
    const place = at(value.length);
    return place >= 0 && place < value.length ? value.at(place) : undefined;
  }
  return undefined;
}

function slice(value: Value, { start, stop, step }: Slice): Value | undefined {
  const of = (length: number) => new Slice(start, stop, step).indices(length);
  if (isText(value)) {
    const text = textOf(value);
    const indices = of(codePointsOf(text).length);
    const whole = step === null || step === 1;
    const cut = whole
      ? sliceText(text, { start: indices[0] ?? 0, end: (indices[0] ?? 0) + indices.length })
      : sliceText(text, indices);
    return value instanceof Markup ? new Markup(cut) : cut;
  }
  if (Array.isArray(value)) return of(value.length).map((i) => value[i]);
  if (value instanceof Tuple) return new Tuple(of(value.items.length).map((i) => value.items[i]));
  if (value instanceof Range) {
    const indices = of(value.length);
    const by = value.step * (step === null ? 1 : Number(step));
    const from = value.at(indices[0] ?? 0);
    return new Range(from, from + by * indices.length, by);
  }
  return undefined;
}

/** `reversed(value)`. */
export function reversed(value: Value): Value[] {
  if (
    value instanceof Tuple ||
    Array.isArray(value) ||
    value instanceof Range ||
    value instanceof Dict ||
    value instanceof DictView ||
    isText(value)
  ) {
    return listOf(value).reverse();
  }
  throw new InputError(`'${typeName(value)}' object is not reversible`);
}

/** `a, b = value`. */
export function unpack(value: Value, count: number): Value[] {
  const iterator = iterate(value);
  const items: Value[] = [];
  for (let step = iterator.next(); !step.done; step = iterator.next()) {
    items.push(step.value);
    if (items.length > count) throw new InputError(`too many values to unpack (expected ${count})`);
  }
  if (items.length < count) throw new InputError(`not enough values to unpack (expected ${count}, got ${items.length})`);
  return items;
}
