// A grammar of JSON texts that a schema allows. Properties come in the order in which the schema names them, then others; what the
// grammar allows is always valid, though not every way to write what is valid is allowed. What a schema means is
// `json-shape.ts`, how JSON is written `json-text.ts`.

import { locating } from '../errors.js';
import { type Automaton, complementOf, intersection, isEmpty } from './automaton.js';
import { automatonOf } from './builder.js';
import { choice, type Expression, empty, type Grammar, never, optional, repeat, rule, sequence, text } from './expression.js';
import { keywords } from './json-keywords.js';
import { numberAutomaton } from './json-number.js';
import { SchemaReader } from './json-reader.js';
import {
  type ArrayShape,
  type JsonType,
  type ObjectShape,
  refuse,
  type SchemaAt,
  type Shape,
  type StringShape,
} from './json-shape.js';
import { bracketed, character, colon, comma, jsonRules, literal, quoted } from './json-text.js';

/** Throws `InputError` naming keyword and place of what is malformed or not supported, and the file if it is given. */
export function parseJsonSchema(schema: unknown, file?: string): Grammar {
  if (file !== undefined) return locating(file, () => parseJsonSchema(schema));
  checkDepth(schema);
  const writer = new SchemaWriter(schema);
  const root = writer.ruleOf([{ schema, path: '#' }]);
  return { root, rules: writer.rules };
}

/** More sets of patterns that a name may match than these would be too many. */
const mostPatterns = 4;

/** Strings of so many characters, counted, take a state for each; shorter ones, which are walked faster, one for each byte. */
const manyCharacters = 500;

const mostDepth = 200;

/** Everything that walks a schema goes as deep as it does. */
function checkDepth(schema: unknown): void {
  let level: unknown[] = [schema];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > 2 * mostDepth) refuse('#', `it is nested deeper than ${2 * mostDepth}`);
    level = level.flatMap((value) => (typeof value === 'object' && value !== null ? Object.values(value) : []));
  }
}

interface Member {
  readonly key: Expression;
  readonly schemas: readonly SchemaAt[];
}

class SchemaWriter {
  readonly rules = jsonRules();
  private depth = 0;
  private readonly reader: SchemaReader;

  constructor(root: unknown) {
    this.reader = new SchemaReader(root, keywords);
  }

  /** The rule of values that satisfy all of some schemas. */
  ruleOf(schemas: readonly SchemaAt[]): Expression {
    const telling = schemas.filter(({ schema }) => schema !== true);
    if (telling.length === 0) return rule('value');
    const name = JSON.stringify([...new Set(telling.map(({ schema, path }) => (schema === false ? 'false' : path)))].sort());
    if (!this.rules.has(name)) {
      if (++this.depth > mostDepth) refuse(telling[0].path, `schemas are nested deeper than ${mostDepth}`);
      this.rules.set(name, never); // known before it is written: a schema may come back to itself
      this.rules.set(
        name,
        choice(...this.reader.shapesOf(telling).map((shape, i) => this.valueOf(shape, `${i + 1} of ${name}`))),
      );
      this.depth--;
    }
    return rule(name);
  }

  private valueOf(shape: Shape, name: string): Expression {
    const { values, types } = shape;
    if (values) {
      const fitting = values.filter((value) => this.reader.fits(value, [{ ...shape, values: undefined }]));
      return choice(...fitting.map(literal));
    }
    return choice(...types.map((type) => this.typeOf(type, shape, name)));
  }

  private typeOf(type: JsonType, shape: Shape, name: string): Expression {
    switch (type) {
      case 'null':
        return text('null');
      case 'boolean':
        return choice(text('true'), text('false'));
      case 'number': {
        const { integer, least, most, multiples } = shape.number;
        if (!least && !most && multiples.length === 0) return rule(integer ? 'integer' : 'number');
        return { kind: 'automaton', automaton: numberAutomaton(shape.number), as: 'utf8' };
      }
      case 'string':
        return this.stringOf(shape.string);
      case 'array':
        return this.arrayOf(shape.array);
      case 'object':
        return this.objectOf(shape.object, name);
    }
  }

  private stringOf(shape: StringShape): Expression {
    const { least, most, patterns } = shape;
    // Only counted: a state a character instead of one for each byte of it.
    if (patterns.length === 0 && most >= manyCharacters && most < Number.POSITIVE_INFINITY)
      return quoted(repeat(character, least, most));
    const automaton = this.reader.automatonOf(shape);
    return automaton ? quoted({ kind: 'automaton', automaton, as: 'json' }) : rule('string');
  }

  private arrayOf(shape: ArrayShape): Expression {
    const { least, most, layers } = shape;
    if (layers.length === 0 && least === 0 && most === Number.POSITIVE_INFINITY) return rule('array');
    const listed = Math.max(0, ...layers.map(({ first }) => first.length));
    const item = (position: number): Expression => this.ruleOf(this.reader.itemOf(shape, position));
    const rest = (position: number): Expression =>
      position >= most ? empty : repeat(sequence(comma, item(listed)), Math.max(0, least - position), most - position);
    let items = rest(Math.max(listed, 1));
    for (let position = Math.max(listed, 1) - 1; position >= 0; position--) {
      const from = sequence(position > 0 ? comma : empty, item(position), items);
      items = position >= most ? empty : position >= least ? optional(from) : from;
    }
    return bracketed('[', items, ']');
  }

  private objectOf(shape: ObjectShape, name: string): Expression {
    const { least, most, required, layers, names } = shape;
    const unbounded = least === 0 && most === Number.POSITIVE_INFINITY;
    if (layers.length === 0 && names.length === 0 && required.length === 0 && unbounded) return rule('object');
    const named = [...new Set([...layers.flatMap(({ properties }) => [...properties.keys()]), ...required])];
    const nameShapes = this.reader.shapesOf(names);
    const members = named.map((key): Member & { required: boolean } => ({
      key: this.reader.fits(key, nameShapes) ? text(JSON.stringify(key)) : never,
      schemas: this.reader.propertyOf(shape, key),
      required: required.includes(key),
    }));
    const others = this.othersOf(shape, named);
    if (others.length > 0 && least > required.length)
      refuse(shape.leastPath, 'minProperties is not supported with properties that the schema does not name');
    const memberOf = ({ key, schemas }: Member): Expression => sequence(key, colon, this.ruleOf(schemas));
    const other = choice(...others.map(memberOf));
    const counts = most !== Number.POSITIVE_INFINITY || least > required.length;
    /** What may come after members before the `from`-th, of which there were `count`. A rule of its own: many ways lead there. */
    const after = (from: number, count: number): Expression => {
      const tail = `after ${from}${counts ? ` (${count})` : count === 0 ? ' (none)' : ''} of ${name}`;
      if (!this.rules.has(tail)) {
        this.rules.set(tail, never);
        this.rules.set(tail, tailOf(from, count));
      }
      return rule(tail);
    };
    /** Behind all members that are named. */
    const rest = (count: number): Expression => {
      const shortOf = Math.max(0, least - count);
      if (others.length === 0 || count >= most) return shortOf > 0 ? never : empty;
      if (count > 0) return repeat(sequence(comma, other), counts ? shortOf : 0, counts ? most - count : undefined);
      const some = sequence(other, repeat(sequence(comma, other), Math.max(0, shortOf - 1), most - 1));
      return shortOf > 0 ? some : optional(some);
    };
    const tailOf = (from: number, count: number): Expression => {
      const separator = count === 0 ? empty : comma;
      const next = counts ? count + 1 : 1;
      const options: Expression[] = [];
      const full = count >= most;
      let passed = from;
      while (passed < members.length) {
        if (!full) options.push(sequence(separator, memberOf(members[passed]), after(passed + 1, next)));
        if (members[passed].required) return choice(...options);
        passed++;
      }
      return choice(...options, rest(count));
    };
    return bracketed('{', after(0, 0), '}');
  }

  /** Properties that no schema names, by what patterns their names match. */
  private othersOf(shape: ObjectShape, named: readonly string[]): Member[] {
    const { layers, names } = shape;
    const patterns = [...new Map(layers.flatMap((layer) => layer.patterns.map((own) => [own.source, own] as const))).values()];
    if (patterns.length > mostPatterns)
      refuse(patterns[mostPatterns].schema.path, `more than ${mostPatterns} patternProperties at once are not supported`);
    const automata = patterns.map(({ source, schema }) => this.reader.pattern(source, 'search', schema.path));
    const nameShapes = this.reader.shapesOf(names).filter(({ types }) => types.includes('string'));
    if (nameShapes.length === 0) return [];
    if (nameShapes.length > 1) refuse(names[0].path, 'propertyNames with alternatives is not supported');
    const limits = this.namesOf(nameShapes[0]);
    if (named.length > 0) limits.push(complementOf(automatonOf(choice(...named.map(text)))));
    return Array.from({ length: 2 ** patterns.length }, (_, subset) => subset).flatMap((subset): Member[] => {
      const matches = (source: string): boolean => patterns.some((own, i) => own.source === source && (subset >> i) % 2 === 1);
      const schemas = layers.flatMap((layer): SchemaAt[] => {
        const matching = layer.patterns.filter(({ source }) => matches(source)).map(({ schema }) => schema);
        return matching.length > 0 ? matching : layer.others ? [layer.others] : [];
      });
      if (schemas.some(({ schema }) => schema === false)) return [];
      const parts = [...limits, ...automata.map((own, i) => ((subset >> i) % 2 === 1 ? own : complementOf(own)))];
      if (parts.length === 0) return [{ key: rule('string'), schemas }];
      const automaton = parts.reduce(intersection);
      return isEmpty(automaton) ? [] : [{ key: quoted({ kind: 'automaton', automaton, as: 'json' }), schemas }];
    });
  }

  private namesOf({ values, string }: Shape): Automaton[] {
    const own = this.reader.automatonOf(string);
    const listed = values?.filter((value) => typeof value === 'string').map(text);
    return [...(own ? [own] : []), ...(listed ? [automatonOf(choice(...listed))] : [])];
  }
}
