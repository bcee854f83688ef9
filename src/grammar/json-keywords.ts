// The keywords of JSON Schema: what each leaves of shapes. What cannot be held while a text is written token by token is refused by
// name and place, never passed over.

import { shown } from '../errors.js';
import { annotations, type Keyword, refusalOf, type SchemaReader } from './json-reader.js';
import { anything, isRecord, type JsonType, jsonTypes, refuse, type SchemaAt, type Shape } from './json-shape.js';
import { formats } from './json-text.js';

/** A keyword that asks something of every shape. */
function asks(part: (value: unknown, at: SchemaAt) => Partial<Shape>): Keyword {
  return (shapes, value, at, _schema, reader) => reader.both(shapes, [{ ...anything, ...part(value, at) }], at.path);
}

function count(name: string, value: unknown, { path }: SchemaAt): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value;
  return refuse(path, `${name} is ${shown(value)}; expected a whole number`);
}

function bound(name: string, exclusive: boolean, side: 'least' | 'most'): Keyword {
  return asks((value, { path }) => {
    if (typeof value !== 'number') refuse(path, `${name} is ${shown(value)}; expected a number`);
    return { number: { ...anything.number, [side]: { value, exclusive } } };
  });
}

function sized(name: string, part: 'string' | 'array' | 'object', side: 'least' | 'most'): Keyword {
  return asks((value, at) => ({
    [part]: { ...anything[part], [side]: count(name, value, at), ...(part === 'object' ? { leastPath: at.path } : {}) },
  }));
}

function listOf(name: string, value: unknown, { path }: SchemaAt): SchemaAt[] {
  if (!Array.isArray(value) || value.length === 0) refuse(path, `${name} must be a list of schemas`);
  return value.map((schema: unknown, i) => ({ schema, path: `${path}/${name}/${i}` }));
}

function entriesOf(name: string, value: unknown, { path }: SchemaAt): [string, SchemaAt][] {
  if (!isRecord(value)) refuse(path, `${name} must be an object`);
  return Object.entries(value).map(([key, schema]) => [
    key,
    { schema, path: `${path}/${name}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}` },
  ]);
}

function namesOf(name: string, value: unknown, path: string): string[] {
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) refuse(path, `${name} must be a list of names`);
  return value as string[];
}

/** Either the property is not there, or what depends on it holds. */
function dependent(
  reader: SchemaReader,
  shapes: readonly Shape[],
  name: string,
  holds: Shape | SchemaAt,
  path: string,
): readonly Shape[] {
  const layer = { properties: new Map([[name, { schema: false, path: `${path}/-${name}` }]]), patterns: [] };
  const absent: Shape = { ...anything, object: { ...anything.object, layers: [layer] } };
  const present: Shape = { ...anything, types: ['object'], object: { ...anything.object, required: [name] } };
  const then = 'types' in holds ? [holds] : reader.shapesOf([holds]);
  return reader.both(shapes, [absent, ...reader.both([present], then, path)], path);
}

/** One layer for the keywords that speak of properties together, made where the first of them is met. */
const objectLayer: Keyword = (shapes, _value, at, schema, reader) => {
  const present = ['properties', 'patternProperties', 'additionalProperties'].filter((name) => schema[name] !== undefined);
  const first = Object.keys(schema).find((name) => present.includes(name));
  if (first !== undefined && schema[first] !== _value) return shapes;
  const properties = new Map(schema.properties === undefined ? [] : entriesOf('properties', schema.properties, at));
  const patterns = (
    schema.patternProperties === undefined ? [] : entriesOf('patternProperties', schema.patternProperties, at)
  ).map(([source, own]) => ({ source, schema: own }));
  const others =
    schema.additionalProperties === undefined
      ? undefined
      : { schema: schema.additionalProperties, path: `${at.path}/additionalProperties` };
  return reader.both(
    shapes,
    [{ ...anything, object: { ...anything.object, layers: [{ properties, patterns, others }] } }],
    at.path,
  );
};

const typesOf = (names: readonly unknown[]): Partial<Shape> | undefined => {
  const known = names.every((name) => name === 'integer' || jsonTypes.includes(name as JsonType));
  if (!known || names.length === 0) return undefined;
  const types = jsonTypes.filter((type) => names.includes(type) || (type === 'number' && names.includes('integer')));
  const integer = names.includes('integer') && !names.includes('number');
  return { types, number: { ...anything.number, integer } };
};

export const keywords: Readonly<Record<string, Keyword>> = {
  type: asks((value, { path }) => {
    const found = typesOf([value].flat());
    return found ?? refuse(path, `there is no type ${shown(value)}`);
  }),
  enum: asks((value, { path }) => {
    if (!Array.isArray(value)) refuse(path, 'enum must be a list of values');
    return { values: value as unknown[] };
  }),
  const: asks((value) => ({ values: [value] })),
  minimum: bound('minimum', false, 'least'),
  maximum: bound('maximum', false, 'most'),
  exclusiveMinimum: bound('exclusiveMinimum', true, 'least'),
  exclusiveMaximum: bound('exclusiveMaximum', true, 'most'),
  multipleOf: (shapes, value, { path }, _schema, reader) => {
    if (typeof value !== 'number' || !(value > 0)) refuse(path, `multipleOf is ${shown(value)}; expected a number above 0`);
    const numbers = shapes.some(({ types }) => types.includes('number'));
    if (numbers && !(Number.isInteger(value) && value <= 10_000))
      refuse(path, `multipleOf ${value} is not supported, only whole numbers up to 10000 are`);
    return reader.both(shapes, [{ ...anything, number: { integer: true, multiples: [value] } }], path);
  },
  minLength: sized('minLength', 'string', 'least'),
  maxLength: sized('maxLength', 'string', 'most'),
  pattern: asks((value, { path }) => {
    if (typeof value !== 'string') refuse(path, 'pattern must be a text');
    return { string: { ...anything.string, patterns: [{ source: value, mode: 'search', path }] } };
  }),
  format: asks((value, { path }) => {
    const source = typeof value === 'string' && Object.hasOwn(formats, value) ? formats[value] : undefined;
    if (source === undefined)
      refuse(path, `the format ${shown(value)} is not supported; supported are ${Object.keys(formats).join(', ')}`);
    return { string: { ...anything.string, patterns: [{ source, mode: 'whole', path }] } };
  }),
  minItems: sized('minItems', 'array', 'least'),
  maxItems: sized('maxItems', 'array', 'most'),
  prefixItems: (shapes, value, at, schema, reader) => {
    const first = listOf('prefixItems', value, at);
    const rest = schema.items === undefined ? undefined : { schema: schema.items, path: `${at.path}/items` };
    return reader.both(shapes, [{ ...anything, array: { ...anything.array, layers: [{ first, rest }] } }], at.path);
  },
  items: (shapes, value, at, schema, reader) => {
    if (schema.prefixItems !== undefined) return shapes; // it has taken them
    const tuple = Array.isArray(value); // up to 2019-09
    const first = tuple && value.length > 0 ? listOf('items', value, at) : [];
    const others = tuple ? schema.additionalItems : value;
    const rest = others === undefined ? undefined : { schema: others, path: `${at.path}/${tuple ? 'additionalItems' : 'items'}` };
    return reader.both(shapes, [{ ...anything, array: { ...anything.array, layers: [{ first, rest }] } }], at.path);
  },
  uniqueItems: (shapes, value, { path }) => {
    if (value === true && shapes.some(({ types, array }) => types.includes('array') && array.most > 1))
      refuse(path, 'uniqueItems is not supported for lists of more than one item');
    return shapes;
  },
  properties: objectLayer,
  patternProperties: objectLayer,
  additionalProperties: objectLayer,
  required: asks((value, { path }) => ({
    object: { ...anything.object, required: namesOf('required', value, path) },
  })),
  propertyNames: asks((value, { path }) => ({
    object: { ...anything.object, names: [{ schema: value, path: `${path}/propertyNames` }] },
  })),
  minProperties: sized('minProperties', 'object', 'least'),
  maxProperties: sized('maxProperties', 'object', 'most'),
  dependentRequired: (shapes, value, at, _schema, reader) =>
    entriesOf('dependentRequired', value, at).reduce((left, [name, { schema, path }]) => {
      const required = namesOf(`dependentRequired of ${name}`, schema, path);
      return dependent(reader, left, name, { ...anything, object: { ...anything.object, required } }, path);
    }, shapes),
  dependentSchemas: (shapes, value, at, _schema, reader) =>
    entriesOf('dependentSchemas', value, at).reduce(
      (left, [name, schema]) => dependent(reader, left, name, schema, schema.path),
      shapes,
    ),
  dependencies: (shapes, value, at, schema, reader) =>
    Object.entries(isRecord(value) ? value : refuse(at.path, 'dependencies must be an object')).reduce(
      (left, [name, own]) =>
        keywords[Array.isArray(own) ? 'dependentRequired' : 'dependentSchemas'](left, { [name]: own }, at, schema, reader),
      shapes,
    ),
  $ref: (shapes, value, { path }, _schema, reader) => {
    if (typeof value !== 'string') refuse(path, '$ref must be a text');
    return reader.both(shapes, reader.shapesOf([reader.resolve(value, path)]), path);
  },
  $id: (shapes, _value, { path }) => (path === '#' ? shapes : refuse(path, '$id inside of a document is not supported')),
  id: (shapes, _value, { path }) => (path === '#' ? shapes : refuse(path, refusalOf('id'))),
  allOf: (shapes, value, at, _schema, reader) => reader.both(shapes, reader.shapesOf(listOf('allOf', value, at)), at.path),
  anyOf: (shapes, value, at, _schema, reader) =>
    reader.both(
      shapes,
      listOf('anyOf', value, at).flatMap((schema) => reader.shapesOf([schema])),
      at.path,
    ),
  oneOf: (shapes, value, at, _schema, reader) => {
    const branches = listOf('oneOf', value, at).map((schema) => reader.both(shapes, reader.shapesOf([schema]), schema.path));
    for (const [i, branch] of branches.entries()) {
      for (const [j, other] of branches.slice(0, i).entries()) {
        if (!reader.disjoint(branch, other))
          refuse(
            at.path,
            `oneOf is not supported where two alternatives may hold at once, as ${j + 1} and ${i + 1} here; try anyOf`,
          );
      }
    }
    return branches.flat();
  },
  not: (shapes, value, { path }, _schema, reader) => {
    if (value === false) return shapes;
    if (value === true || (isRecord(value) && Object.keys(value).length === 0)) return [];
    const types =
      isRecord(value) && Object.keys(value).every((name) => name === 'type' || annotations.has(name)) ? [value.type].flat() : [];
    const excluded = types.includes('integer') && !types.includes('number') ? undefined : typesOf(types)?.types;
    if (!excluded) refuse(path, 'not with anything but {"type": ...} is not supported (and not with integer alone)');
    return reader.both(shapes, [{ ...anything, types: jsonTypes.filter((type) => !excluded.includes(type)) }], path);
  },
  if: (shapes, _value, { path }, schema) =>
    schema.then === undefined && schema.else === undefined ? shapes : refuse(path, 'if with then or else is not supported'),
  contains: (shapes, _value, { path }, schema) =>
    schema.minContains === 0 && schema.maxContains === undefined ? shapes : refuse(path, 'contains is not supported'),
  unevaluatedProperties: (shapes, value, { path }) =>
    value === true ? shapes : refuse(path, 'unevaluatedProperties is not supported; additionalProperties is'),
  unevaluatedItems: (shapes, value, { path }) =>
    value === true ? shapes : refuse(path, 'unevaluatedItems is not supported; items is'),
};
