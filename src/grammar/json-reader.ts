// Reads JSON schemas (2020-12, and what earlier drafts have in common with it) as shapes, keyword by keyword: all of a schema's keywords
// hold at once, references are followed. Also asks shapes whether a value has them and whether they exclude one another. The
// keywords are `json-keywords.ts`; unknown ones are refused, as they may be misspelt.

import { nearest, shown } from '../errors.js';
import { type Automaton, accepts, intersection, isEmpty } from './automaton.js';
import { automatonOf } from './builder.js';
import { anyCharacter } from './characters.js';
import { spend } from './effort.js';
import { repeat } from './expression.js';
import type { NumberRange } from './json-number.js';
import {
  type ArrayShape,
  anything,
  equal,
  isRecord,
  meet,
  type ObjectShape,
  refuse,
  type SchemaAt,
  type Shape,
  type StringShape,
  typeOf,
} from './json-shape.js';
import { regexExpression } from './regex.js';

/** What says nothing of values. */
export const annotations = new Set(
  [
    '$schema $anchor $defs definitions $comment $vocabulary title description default examples example deprecated readOnly writeOnly',
    'contentMediaType contentEncoding contentSchema',
  ].flatMap((words) => words.split(' ')),
);

/** Keywords that are looked at beside the one they belong to. */
const companions = new Set(['additionalItems', 'then', 'else', 'minContains', 'maxContains']);

const mostShapes = 512;

/** What a keyword leaves of shapes. */
export type Keyword = (
  shapes: readonly Shape[],
  value: unknown,
  at: SchemaAt,
  schema: Record<string, unknown>,
  reader: SchemaReader,
) => readonly Shape[];

/** Reads the schemas of one document. */
export class SchemaReader {
  private readonly known = new Map<string, readonly Shape[]>();
  private readonly underWay = new Set<string>();
  private readonly automata = new Map<string, Automaton>();
  private anchors?: Map<string, SchemaAt>;

  constructor(
    readonly root: unknown,
    private readonly keywords: Readonly<Record<string, Keyword>>,
  ) {}

  /** What all of some schemas allow together. Throws `InputError` on what is malformed or not supported. */
  shapesOf(schemas: readonly SchemaAt[]): readonly Shape[] {
    return schemas.reduce<readonly Shape[]>(
      (shapes, schema) => this.both(shapes, this.shapesOfOne(schema), schema.path),
      [anything],
    );
  }

  private shapesOfOne(at: SchemaAt): readonly Shape[] {
    const { schema, path } = at;
    if (schema === true) return [anything];
    if (schema === false) return [];
    if (!isRecord(schema)) refuse(path, `${shown(schema)} is no schema; expected an object, true or false`);
    const known = this.known.get(path);
    if (known) return known;
    if (this.underWay.has(path)) refuse(path, 'it refers to itself without a value in between');
    this.underWay.add(path);
    let shapes: readonly Shape[] = [anything];
    const late = (name: string): number => ['multipleOf', 'uniqueItems', 'oneOf'].indexOf(name);
    for (const [name, value] of Object.entries(schema).sort(([a], [b]) => late(a) - late(b))) {
      if (value === undefined || annotations.has(name) || companions.has(name) || name.startsWith('x-')) continue;
      const keyword = Object.hasOwn(this.keywords, name) ? this.keywords[name] : undefined;
      if (!keyword) refuse(path, refusalOf(name, Object.keys(this.keywords)));
      shapes = keyword(shapes, value, at, schema, this);
    }
    this.underWay.delete(path);
    this.known.set(path, shapes);
    return shapes;
  }

  /** The shapes of both lists at once. */
  both(some: readonly Shape[], others: readonly Shape[], path: string): readonly Shape[] {
    if (some.length * others.length > mostShapes) refuse(path, `more than ${mostShapes} combinations of alternatives`);
    return some
      .flatMap((a) => others.map((b) => meet(a, b)))
      .filter(({ types, values }) => types.length > 0 && values?.length !== 0);
  }

  /** The schema that a reference names. */
  resolve(reference: string, path: string): SchemaAt {
    const id = isRecord(this.root) && typeof this.root.$id === 'string' ? this.root.$id.replace(/#$/, '') : '';
    const local = id !== '' && reference.startsWith(id) ? reference.slice(id.length) || '#' : reference;
    if (!local.startsWith('#')) refuse(path, `$ref to ${reference}: references to other documents are not supported`);
    let fragment: string;
    try {
      fragment = decodeURIComponent(local.slice(1));
    } catch {
      return refuse(path, `$ref to ${shown(reference)}: a % in it must be followed by two hexadecimal digits of UTF-8`);
    }
    if (fragment !== '' && !fragment.startsWith('/')) {
      this.anchors ??= anchorsOf(this.root);
      return this.anchors.get(fragment) ?? refuse(path, `$ref to ${reference}: there is no such anchor`);
    }
    let schema: unknown = this.root;
    for (const token of fragment.split('/').slice(1)) {
      const key = token.replaceAll('~1', '/').replaceAll('~0', '~');
      const container: unknown = schema;
      schema = Array.isArray(container)
        ? container[Number(key)]
        : isRecord(container) && Object.hasOwn(container, key)
          ? container[key]
          : undefined;
      if (schema === undefined) refuse(path, `$ref to ${reference}: there is nothing there`);
    }
    return { schema, path: fragment === '' ? '#' : `#${fragment}` };
  }

  /** The texts of a string shape; undefined for all texts. */
  automatonOf({ least, most, patterns }: StringShape): Automaton | undefined {
    const parts = patterns.map(({ source, mode, path }) => this.pattern(source, mode, path));
    if (least > 0 || most !== Number.POSITIVE_INFINITY)
      parts.push(automatonOf(repeat({ kind: 'set', set: anyCharacter }, least, most)));
    return parts.length === 0 ? undefined : parts.reduce(intersection);
  }

  pattern(source: string, mode: 'whole' | 'search', path: string): Automaton {
    const key = `${mode} ${source}`;
    const known = this.automata.get(key) ?? automatonOf(regexExpression(source, mode, `the JSON schema at ${path}: the pattern`));
    this.automata.set(key, known);
    return known;
  }

  /** What an object's shape asks of a property: the schemas that speak of it. */
  propertyOf({ layers }: ObjectShape, name: string): SchemaAt[] {
    return layers.flatMap(({ properties, patterns, others }) => {
      const own = properties.get(name);
      const matching = patterns.filter(({ source, schema }) => accepts(this.pattern(source, 'search', schema.path), name));
      const all = [...(own ? [own] : []), ...matching.map(({ schema }) => schema)];
      return all.length > 0 ? all : others ? [others] : [];
    });
  }

  itemOf({ layers }: ArrayShape, position: number): SchemaAt[] {
    return layers.flatMap(({ first, rest }) => first[position] ?? rest ?? []);
  }

  /** Whether a value is as some of the shapes ask. */
  fits(value: unknown, shapes: readonly Shape[]): boolean {
    spend(2 + (typeof value === 'string' ? value.length : 0));
    return shapes.some((shape) => {
      const { types, values, number, string, array, object } = shape;
      if (!types.includes(typeOf(value)) || values?.some((other) => equal(other, value)) === false) return false;
      if (typeof value === 'number') {
        const { integer, least, most, multiples } = number;
        if (integer && !Number.isInteger(value)) return false;
        if (least && (least.exclusive ? value <= least.value : value < least.value)) return false;
        if (most && (most.exclusive ? value >= most.value : value > most.value)) return false;
        return multiples.every((multiple) => value % multiple === 0);
      }
      if (typeof value === 'string') {
        const automaton = this.automatonOf(string);
        return !automaton || accepts(automaton, value);
      }
      if (Array.isArray(value)) {
        if (value.length < array.least || value.length > array.most) return false;
        return value.every((item, i) => this.fits(item, this.shapesOf(this.itemOf(array, i))));
      }
      if (isRecord(value)) {
        const keys = Object.keys(value);
        if (keys.length < object.least || keys.length > object.most) return false;
        if (!object.required.every((name) => Object.hasOwn(value, name))) return false;
        const names = this.shapesOf(object.names);
        return keys.every((key) => this.fits(key, names) && this.fits(value[key], this.shapesOf(this.propertyOf(object, key))));
      }
      return true;
    });
  }

  /** Whether no value has a shape of both lists. False where that cannot be told. */
  disjoint(some: readonly Shape[], others: readonly Shape[], depth = 0): boolean {
    return depth < 6 && some.every((a) => others.every((b) => this.apart(a, b, depth)));
  }

  private apart(a: Shape, b: Shape, depth: number): boolean {
    if (a.values) return !a.values.some((value) => this.fits(value, [a]) && this.fits(value, [b]));
    if (b.values) return this.apart(b, a, depth);
    const common = a.types.filter((type) => b.types.includes(type));
    return common.every((type) => {
      switch (type) {
        case 'number':
          return outside(a.number, b.number) || outside(b.number, a.number);
        case 'string': {
          const [left, right] = [this.automatonOf(a.string), this.automatonOf(b.string)];
          return left !== undefined && right !== undefined && isEmpty(intersection(left, right));
        }
        case 'array': {
          if (a.array.most < b.array.least || b.array.most < a.array.least) return true;
          const shared = Math.min(a.array.least, b.array.least, 64);
          return Array.from({ length: shared }, (_, i) => i).some((i) =>
            this.disjoint(this.shapesOf(this.itemOf(a.array, i)), this.shapesOf(this.itemOf(b.array, i)), depth + 1),
          );
        }
        case 'object':
          return [...new Set([...a.object.required, ...b.object.required])].some((name) => {
            const [left, right] = [a, b].map(({ object }) => this.shapesOf(this.propertyOf(object, name)));
            const [inA, inB] = [a, b].map(({ object }) => object.required.includes(name));
            return inA && inB ? this.disjoint(left, right, depth + 1) : (inA ? right : left).length === 0;
          });
        default:
          return false;
      }
    });
  }
}

function outside(a: NumberRange, b: NumberRange): boolean {
  if (!a.most || !b.least) return false;
  return a.most.value < b.least.value || (a.most.value === b.least.value && (a.most.exclusive || b.least.exclusive));
}

function anchorsOf(root: unknown): Map<string, SchemaAt> {
  const anchors = new Map<string, SchemaAt>();
  const visit = (schema: unknown, path: string): void => {
    if (typeof schema !== 'object' || schema === null) return;
    if (isRecord(schema) && typeof schema.$anchor === 'string') anchors.set(schema.$anchor, { schema, path });
    for (const [key, inner] of Object.entries(schema)) {
      if (key !== 'enum' && key !== 'const') visit(inner, `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`);
    }
  };
  visit(root, '#');
  return anchors;
}

export function refusalOf(name: string, known: readonly string[] = []): string {
  const guess = nearest(name, known);
  return `the keyword ${shown(name)} is not supported${guess ? `; did you mean ${guess}?` : ''}`;
}
