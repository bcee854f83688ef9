// Arguments of Python functions that are built in: positions and keywords to one list by a signature such as 'old, new, count?'.

import { InputError } from '../errors.js';
import { Callable, isFloat, isInt, isText, type Keywords, textOf, typeName, Undefined, type Value } from './values.js';

/** The arguments in the signature's order; undefined where one with `?` is not given. */
export function bind(name: string, signature: string, args: readonly Value[], keywords: Keywords): (Value | undefined)[] {
  const parameters = signature === '' ? [] : signature.split(', ');
  if (args.length > parameters.length) {
    throw new InputError(`${name}() takes at most ${parameters.length} arguments (${args.length} given)`);
  }
  const bound: (Value | undefined)[] = [...args];
  const rest = new Map(keywords);
  for (const [i, parameter] of parameters.entries()) {
    const optional = parameter.endsWith('?');
    const key = optional ? parameter.slice(0, -1) : parameter;
    if (rest.has(key)) {
      if (i < args.length) throw new InputError(`${name}() got multiple values for argument '${key}'`);
      bound[i] = rest.get(key);
      rest.delete(key);
    } else if (i >= args.length && !optional) throw new InputError(`${name}() is missing its argument '${key}'`);
  }
  const [unknown] = rest.keys();
  if (unknown !== undefined) throw new InputError(`${name}() got an unexpected keyword argument '${unknown}'`);
  return bound;
}

/** A function of the given signature. */
export function builtin(name: string, signature: string, call: (...args: (Value | undefined)[]) => Value): Callable {
  return new Callable(name, (args, keywords) => call(...bind(name, signature, args, keywords)));
}

/** An argument that must be a text. */
export function textArgument(value: Value | undefined, name: string): string {
  if (value instanceof Undefined) value.fail();
  if (value === undefined || !isText(value)) throw new InputError(`${name} must be str, not ${typeName(value ?? null)}`);
  return textOf(value);
}

/** An argument that must be a whole number; the fallback when it is not given. */
export function intArgument(value: Value | undefined, fallback: number): number {
  if (value === undefined) return fallback;
  if (value instanceof Undefined) value.fail();
  if (!isInt(value))
    throw new InputError(`'${isFloat(value) ? 'float' : typeName(value)}' object cannot be interpreted as an integer`);
  return Number(value);
}
