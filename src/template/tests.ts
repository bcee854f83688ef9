// Jinja's tests (`x is defined`), by Jinja2's tests.py.

import { InputError } from '../errors.js';
import { bind } from '../python/arguments.js';
import { binary } from '../python/arithmetic.js';
import { isCase } from '../python/strings.js';
import {
  Callable,
  compare,
  contains,
  Dict,
  DictView,
  equals,
  isFloat,
  isInt,
  isNumber,
  isText,
  Lazy,
  Markup,
  Range,
  str,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from '../python/values.js';
import type { Test } from './host.js';

/** A test of the input alone. */
const plain =
  (name: string, test: (value: Value) => boolean): Test =>
  (_, input, args, keywords) => {
    bind(name, '', args, keywords);
    return test(input);
  };

/** A test of the input and one argument. */
const against =
  (name: string, test: (value: Value, other: Value) => boolean): Test =>
  (_, input, args, keywords) =>
    test(input, bind(name, 'other', args, keywords)[0]!);

const remainder = (value: Value, by: Value) => equals(binary('%', value, by), 0);

function isIterable(value: Value): boolean {
  if (value instanceof Undefined && value.strict) value.fail();
  return isSequence(value) || value instanceof Undefined || value instanceof DictView || value instanceof Lazy;
}

function isSequence(value: Value): boolean {
  if (value instanceof Undefined) return !value.strict;
  return isText(value) || Array.isArray(value) || value instanceof Tuple || value instanceof Dict || value instanceof Range;
}

const same = (a: Value, b: Value) =>
  a === b || (isNumber(a) && isNumber(b) && typeName(a) === typeName(b) && isInt(a) && equals(a, b));

const equal = against('eq', equals);
const unequal = against('ne', (a, b) => !equals(a, b));
const greater = against('gt', (a, b) => compare(a, b, '>') > 0);
const greaterOrEqual = against('ge', (a, b) => compare(a, b, '>=') >= 0);
const less = against('lt', (a, b) => compare(a, b, '<') < 0);
const lessOrEqual = against('le', (a, b) => compare(a, b, '<=') <= 0);

const tests: Readonly<Record<string, Test>> = {
  odd: plain('odd', (value) => equals(binary('%', value, 2), 1)),
  even: plain('even', (value) => remainder(value, 2)),
  divisibleby: (_, input, args, keywords) => remainder(input, bind('divisibleby', 'num', args, keywords)[0]!),
  defined: plain('defined', (value) => !(value instanceof Undefined)),
  undefined: plain('undefined', (value) => value instanceof Undefined),
  filter: (host, input) => isText(input) && host.hasFilter(textOf(input)),
  test: (_, input) => isText(input) && Object.hasOwn(tests, textOf(input)),
  none: plain('none', (value) => value === null),
  boolean: plain('boolean', (value) => typeof value === 'boolean'),
  false: plain('false', (value) => value === false),
  true: plain('true', (value) => value === true),
  integer: plain('integer', (value) => isInt(value) && typeof value !== 'boolean'),
  float: plain('float', isFloat),
  lower: plain('lower', (value) => isCase(str(value), false)),
  upper: plain('upper', (value) => isCase(str(value), true)),
  string: plain('string', isText),
  mapping: plain('mapping', (value) => value instanceof Dict),
  number: plain('number', isNumber),
  sequence: plain('sequence', isSequence),
  iterable: plain('iterable', isIterable),
  callable: plain('callable', (value) => value instanceof Callable || value instanceof Undefined),
  sameas: against('sameas', same),
  escaped: plain('escaped', (value) => value instanceof Markup),
  in: against('in', (value, container) => contains(container, value)),
  ...{ '==': equal, eq: equal, equalto: equal, '!=': unequal, ne: unequal },
  ...{ '>': greater, gt: greater, greaterthan: greater, '>=': greaterOrEqual, ge: greaterOrEqual },
  ...{ '<': less, lt: less, lessthan: less, '<=': lessOrEqual, le: lessOrEqual },
};

export function testNamed(name: string): Test {
  if (!Object.hasOwn(tests, name)) throw new InputError(`there is no test named '${name}'`);
  return tests[name];
}
