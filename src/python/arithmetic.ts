// Python's operators on numbers, texts and lists: whole numbers of any size, `/` that gives floats, `//` and `%` that round down,
// `%` on texts. Comparisons are values.ts's.

import { InputError } from '../errors.js';
import { floatOf, type PythonFloat } from '../python-float.js';
import { spend } from './budget.js';
import { formatPercent } from './format.js';
import {
  Dict,
  isFloat,
  isInt,
  isNumber,
  isText,
  Markup,
  repr,
  sequenceItems,
  str,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from './values.js';

/** Whole numbers beyond this are more than any template needs. */
const MAX_BITS = 1 << 16;

/** A whole number in its smallest form. */
export function intOf(value: bigint | number): Value {
  if (typeof value === 'number') return value;
  if (value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER) return Number(value);
  if (value.toString(16).length * 4 > MAX_BITS) throw new InputError('a whole number grows too large');
  spend(1000);
  return value;
}

type Number_ = number | bigint | boolean | PythonFloat;

function arithmetic(
  a: Number_,
  b: Number_,
  onInts: (a: bigint, b: bigint) => bigint,
  onFloats: (a: number, b: number) => number,
) {
  if (isFloat(a) || isFloat(b)) return floatOf(onFloats(Number(a), Number(b)));
  const quick = onFloats(Number(a), Number(b));
  return Number.isSafeInteger(quick) && typeof a !== 'bigint' && typeof b !== 'bigint'
    ? quick
    : intOf(onInts(BigInt(a), BigInt(b)));
}

/** Of whole numbers, and of floats. */
const sum = [(x: bigint, y: bigint) => x + y, (x: number, y: number) => x + y] as const;
const difference = [(x: bigint, y: bigint) => x - y, (x: number, y: number) => x - y] as const;
const product = [(x: bigint, y: bigint) => x * y, (x: number, y: number) => x * y] as const;

function unsupported(operator: string, a: Value, b: Value): never {
  for (const side of [a, b]) if (side instanceof Undefined) side.fail();
  throw new InputError(`unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);
}

export function binary(operator: string, a: Value, b: Value): Value {
  switch (operator) {
    case '+':
      return add(a, b);
    case '-':
      return isNumber(a) && isNumber(b) ? arithmetic(a, b, ...difference) : unsupported('-', a, b);
    case '*':
      return multiply(a, b);
    case '/':
      if (!isNumber(a) || !isNumber(b)) return unsupported('/', a, b);
      if (Number(b) === 0) throw new InputError(isFloat(a) || isFloat(b) ? 'float division by zero' : 'division by zero');
      return floatOf(Number(a) / Number(b));
    case '//':
      if (!isNumber(a) || !isNumber(b)) return unsupported('//', a, b);
      if (Number(b) === 0)
        throw new InputError(isFloat(a) || isFloat(b) ? 'float floor division by zero' : 'integer division or modulo by zero');
      return arithmetic(a, b, floorDivide, floorDivideFloats);
    case '%':
      if (a instanceof Markup) return new Markup(formatPercent(a.text, safe(b)));
      if (isText(a)) return formatPercent(textOf(a), b);
      if (!isNumber(a) || !isNumber(b)) return unsupported('%', a, b);
      if (Number(b) === 0) throw new InputError(isFloat(a) || isFloat(b) ? 'float modulo' : 'integer division or modulo by zero');
      return arithmetic(a, b, (x, y) => x - floorDivide(x, y) * y, modulo);
    default:
      return isNumber(a) && isNumber(b) ? power(a, b) : unsupported('** or pow()', a, b);
  }
}

function add(a: Value, b: Value): Value {
  if (isNumber(a) && isNumber(b)) return arithmetic(a, b, ...sum);
  if (isText(a) && isText(b)) {
    spend(textOf(a).length + textOf(b).length);
    if (typeof a === 'string' && typeof b === 'string') return a + b;
    return new Markup(escaped(a) + escaped(b));
  }
  if (Array.isArray(a) && Array.isArray(b)) {
    spend(4 * (a.length + b.length));
    return [...a, ...b];
  }
  if (a instanceof Tuple && b instanceof Tuple) {
    spend(4 * (a.items.length + b.items.length));
    return new Tuple([...a.items, ...b.items]);
  }
  for (const side of [a, b]) if (side instanceof Undefined) side.fail();
  if (isText(a)) throw new InputError(`can only concatenate str (not "${typeName(b)}") to str`);
  return unsupported('+', a, b);
}

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', "'": '&#39;', '"': '&#34;' };

/** markupsafe's `escape`. */
export function escaped(value: Value): string {
  if (value instanceof Markup) return value.text;
  const text = str(value).replace(/[&<>'"]/g, (character) => escapes[character]);
  spend(text.length);
  return text;
}

/** A value that markup takes up. */
class Escaped extends Markup {
  constructor(private readonly value: Value) {
    super(escaped(value));
  }

  override repr(): string {
    return escaped(repr(this.value));
  }
}

/** What is put into markup, escaped. */
function safe(value: Value): Value {
  if (isNumber(value)) return value;
  if (value instanceof Tuple) return new Tuple(value.items.map(safe));
  if (value instanceof Dict) return new Dict([...value].map(([key, item]) => [key, safe(item)] as const));
  return new Escaped(value);
}

function multiply(a: Value, b: Value): Value {
  if (isNumber(a) && isNumber(b)) return arithmetic(a, b, ...product);
  const [sequence, count] = isInt(a) ? [b, a] : [a, b];
  if (isInt(count)) {
    const times = Math.max(0, Number(count));
    if (isText(sequence)) {
      spend(textOf(sequence).length * times);
      const text = textOf(sequence).repeat(textOf(sequence) === '' ? 0 : times);
      return sequence instanceof Markup ? new Markup(text) : text;
    }
    const items = sequenceItems(sequence);
    if (items) {
      spend(8 * items.length * times);
      const list: Value[] = [];
      if (items.length > 0) for (let round = 0; round < times; round++) for (const item of items) list.push(item);
      return Array.isArray(sequence) ? list : new Tuple(list);
    }
  }
  return unsupported('*', a, b);
}

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b !== 0n && a < 0n !== b < 0n ? quotient - 1n : quotient;
}

/** As CPython does it: from the remainder, which is exact. */
function floorDivideFloats(a: number, b: number): number {
  const quotient = (a - modulo(a, b)) / b;
  if (quotient === 0) return a < 0 !== b < 0 ? -0 : 0;
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

/** With the divisor's sign. */
function modulo(a: number, b: number): number {
  const rest = a % b;
  if (rest === 0) return Object.is(b, -0) || b < 0 ? -0 : 0;
  return rest < 0 !== b < 0 ? rest + b : rest;
}

function power(a: Number_, b: Number_): Value {
  if (isFloat(a) || isFloat(b) || Number(b) < 0) {
    const [base, exponent] = [Number(a), Number(b)];
    if (base === 0 && exponent < 0) throw new InputError('0.0 cannot be raised to a negative power');
    if (base < 0 && !Number.isInteger(exponent))
      throw new InputError('a root of a negative number is no number that a template can print');
    const result = base ** exponent;
    if (!Number.isFinite(result) && Number.isFinite(base) && Number.isFinite(exponent)) throw new InputError('Result too large');
    return floatOf(result);
  }
  const bits = Math.log2(Math.abs(Number(a)) + 1) * Number(b);
  if (bits > MAX_BITS && Math.abs(Number(a)) > 1) throw new InputError('a whole number grows too large');
  return intOf(BigInt(a) ** (Math.abs(Number(a)) > 1 ? BigInt(b) : BigInt(b) % 2n === 0n && Number(b) > 0 ? 2n : BigInt(b)));
}

export function unary(operator: string, value: Value): Value {
  if (value instanceof Undefined) value.fail();
  if (!isNumber(value)) throw new InputError(`bad operand type for unary ${operator}: '${typeName(value)}'`);
  if (isFloat(value)) return floatOf(operator === '-' ? -Number(value) : Number(value));
  const whole = BigInt(value);
  return intOf(operator === '-' ? -whole : whole);
}
