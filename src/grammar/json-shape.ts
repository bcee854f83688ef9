// What a JSON Schema asks of a value, as shapes: each a set of types with what is asked of each type, or a list of values. Two
// shapes at once are a shape again. Where shapes come from is `json-reader.ts`.

import { InputError } from '../errors.js';
import { spend } from './effort.js';
import type { NumberRange } from './json-number.js';

/** A schema and where it stands in its document, as a JSON pointer; the same place is the same path. */
export interface SchemaAt {
  readonly schema: unknown;
  readonly path: string;
}

export type JsonType = 'null' | 'boolean' | 'number' | 'string' | 'array' | 'object';
export const jsonTypes: readonly JsonType[] = ['null', 'boolean', 'number', 'string', 'array', 'object'];

export interface StringShape {
  readonly least: number;
  readonly most: number;
  /** Expressions that it must match: whole (formats) or somewhere (patterns). */
  readonly patterns: readonly { readonly source: string; readonly mode: 'whole' | 'search'; readonly path: string }[];
}

export interface ArrayShape {
  readonly least: number;
  readonly most: number;
  /** One for each schema that speaks of items: those of the first ones, and of the rest. */
  readonly layers: readonly { readonly first: readonly SchemaAt[]; readonly rest?: SchemaAt }[];
}

interface ObjectLayer {
  readonly properties: ReadonlyMap<string, SchemaAt>;
  readonly patterns: readonly { readonly source: string; readonly schema: SchemaAt }[];
  readonly others?: SchemaAt;
}

export interface ObjectShape {
  readonly least: number;
  readonly most: number;
  readonly required: readonly string[];
  readonly layers: readonly ObjectLayer[];
  readonly names: readonly SchemaAt[];
  /** Where a least number of properties was asked for. */
  readonly leastPath: string;
}

export interface Shape {
  readonly types: readonly JsonType[];
  readonly values?: readonly unknown[];
  readonly number: NumberRange;
  readonly string: StringShape;
  readonly array: ArrayShape;
  readonly object: ObjectShape;
}

/** What asks nothing. */
export const anything: Shape = {
  types: jsonTypes,
  number: { integer: false, multiples: [] },
  string: { least: 0, most: Number.POSITIVE_INFINITY, patterns: [] },
  array: { least: 0, most: Number.POSITIVE_INFINITY, layers: [] },
  object: { least: 0, most: Number.POSITIVE_INFINITY, required: [], layers: [], names: [], leastPath: '' },
};

/** Throws `InputError`: the schema at this place is malformed, or asks for something that is not supported. */
export function refuse(path: string, why: string): never {
  throw new InputError(`the JSON schema at ${path}: ${why}`);
}

/** What is both. */
export function meet(a: Shape, b: Shape): Shape {
  spend(4 + (a.values && b.values ? a.values.length * b.values.length : 0) + a.object.layers.length + b.object.layers.length);
  const values =
    a.values && b.values ? a.values.filter((value) => b.values!.some((other) => equal(other, value))) : (a.values ?? b.values);
  const bigger = <T extends { value: number; exclusive: boolean } | undefined>(x: T, y: T, sign: 1 | -1): T => {
    if (!x || !y) return x ?? y;
    const difference = sign * (x.value - y.value);
    return difference > 0 || (difference === 0 && x.exclusive) ? x : y;
  };
  const range = <T extends { least: number; most: number }>(x: T, y: T) => ({
    least: Math.max(x.least, y.least),
    most: Math.min(x.most, y.most),
  });
  return {
    types: a.types.filter((type) => b.types.includes(type)),
    values,
    number: {
      integer: a.number.integer || b.number.integer,
      least: bigger(a.number.least, b.number.least, 1),
      most: bigger(a.number.most, b.number.most, -1),
      multiples: [...new Set([...a.number.multiples, ...b.number.multiples])],
    },
    string: { ...range(a.string, b.string), patterns: [...a.string.patterns, ...b.string.patterns] },
    array: { ...range(a.array, b.array), layers: [...a.array.layers, ...b.array.layers] },
    object: {
      ...range(a.object, b.object),
      required: [...new Set([...a.object.required, ...b.object.required])],
      layers: [...a.object.layers, ...b.object.layers],
      names: [...a.object.names, ...b.object.names],
      leastPath: a.object.least >= b.object.least ? a.object.leastPath : b.object.leastPath,
    },
  };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function typeOf(value: unknown): JsonType {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : (typeof value as JsonType);
}

/** JSON values are equal by content. */
export function equal(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => equal(item, b[i]));
  if (!isRecord(a) || !isRecord(b)) return a === b;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]));
}
