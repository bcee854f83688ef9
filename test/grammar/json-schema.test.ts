// JSON schemas: against the official test suite (json-schema-org/JSON-Schema-Test-Suite, draft 2020-12, commit 44401e0, MIT; the groups of
// the keywords that speak of values, a line each), number ranges against arithmetic, and what is refused by name.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.js';
import { parseJsonSchema } from '../../src/grammar/json-schema.js';
import { acceptor } from './accepts.js';

interface Group {
  keyword: string;
  name: string;
  schema: unknown;
  tests: [valid: 0 | 1, data: unknown][];
}

const groups = readFileSync(new URL('json-schema-suite.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Group);

/** A value with its keys in the order in which the schema names them, as texts that a grammar allows have them. */
function ordered(schema: unknown): (value: unknown) => unknown {
  const names: string[] = [];
  const collect = (part: unknown): void => {
    if (typeof part !== 'object' || part === null) return;
    if ('properties' in part) names.push(...Object.keys(part.properties as object));
    if ('required' in part && Array.isArray(part.required)) names.push(...part.required);
    for (const inner of Object.values(part)) collect(inner);
  };
  collect(schema);
  const rank = (name: string): number => (names.includes(name) ? names.indexOf(name) : names.length);
  const order = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(order);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .sort(([a], [b]) => rank(a) - rank(b))
        .map(([key, own]) => [key, order(own)]),
    );
  };
  return order;
}

describe('the test suite of JSON Schema', () => {
  it('holds: nothing invalid is allowed, what is not supported is refused by name', () => {
    const refused: Record<string, number> = {};
    const missed: string[] = [];
    let [checked, valid] = [0, 0];
    for (const { keyword, name, schema, tests } of groups) {
      let accepts = (_text: string): boolean => false;
      try {
        accepts = acceptor(parseJsonSchema(schema));
      } catch (error) {
        const { message } = error as Error;
        if (message !== 'no text satisfies the grammar') {
          expect(message, name).toMatch(/^the JSON schema at #.*: .*(not supported|there is no such anchor)/);
          refused[keyword] = (refused[keyword] ?? 0) + 1;
          continue;
        }
      }
      const order = ordered(schema);
      for (const [isValid, data] of tests) {
        checked++;
        const allowed = accepts(JSON.stringify(order(data)));
        if (!isValid) expect(allowed, `${keyword}: ${name}: ${JSON.stringify(data)}`).toBe(false);
        if (!isValid) continue;
        valid++;
        if (!allowed) missed.push(`${keyword}: ${JSON.stringify(data)}`);
      }
    }
    // What is valid and cannot be written has keys in another order than the schema implies.
    expect(missed).toEqual(expectedMissed);
    expect(refused).toEqual(expectedRefused);
    expect(checked).toBeGreaterThan(500);
    expect(valid).toBeGreaterThan(300);
  });
});

const expectedMissed = [
  'const: {"baz":"bax","foo":"bar"}',
  'dependentRequired: {"foo":1,"bar":2}',
  'dependentRequired: {"foo":1,"bar":2,"quux":3}',
  'dependentRequired: {"foo\'bar":1,"foo\\"bar":2}',
];
const expectedRefused = {
  anchor: 3,
  contains: 7,
  dependentSchemas: 1,
  'if-then-else': 8,
  minProperties: 2,
  multipleOf: 4,
  not: 5,
  oneOf: 8,
  uniqueItems: 3,
};

describe('numbers', () => {
  const bound = fc.oneof(
    fc.integer({ min: -1200, max: 1200 }),
    fc.integer({ min: -99_999, max: 99_999 }).map((value) => value / 1000),
    fc.constantFrom(1e-7, -1e-7, 0, 1e6, -12.5, 1e21),
  );
  it('keep to their bounds and multiples', () => {
    const numbers = fc.array(fc.oneof(bound, fc.double({ min: -1300, max: 1300, noNaN: true })), {
      minLength: 25,
      maxLength: 25,
    });
    fc.assert(
      fc.property(bound, bound, fc.boolean(), fc.boolean(), fc.boolean(), numbers, (a, b, left, right, integer, tried) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        const schema = {
          type: integer ? 'integer' : 'number',
          [left ? 'exclusiveMinimum' : 'minimum']: low,
          [right ? 'exclusiveMaximum' : 'maximum']: high,
        };
        const holds = (value: number): boolean =>
          (left ? value > low : value >= low) && (right ? value < high : value <= high) && (!integer || Number.isInteger(value));
        let accepts = (_text: string): boolean => false;
        try {
          accepts = acceptor(parseJsonSchema(schema));
        } catch (error) {
          expect((error as Error).message).toBe('no text satisfies the grammar');
        }
        for (const value of [...tried, low, high, Math.round(low), Math.round(high)].map((number) => Number(number.toFixed(9)))) {
          const text = plain(value);
          if (text !== undefined) expect([schema, text, accepts(text)]).toEqual([schema, text, holds(Number(text))]);
        }
      }),
      { numRuns: 40 },
    );
    const sevens = acceptor(parseJsonSchema({ multipleOf: 7, minimum: -20 }));
    const written = [-28, -21, -14, -7, 0, 7, 13, 14, 700, 701].map(String);
    expect(written.filter(sevens)).toEqual(['-14', '-7', '0', '7', '14', '700']);
    expect(['1.0', '-0', '01', '+1', '.5', '1.', '1e3'].filter(acceptor(parseJsonSchema({ type: 'integer' })))).toEqual([]);
  });
});

/** A number as it may be written where bounds are: without an exponent, and not -0. */
function plain(value: number): string | undefined {
  const text = String(value === 0 ? 0 : value);
  return text.includes('e') || text.replace(/^-?\d+\.?/, '').length > 15 ? undefined : text;
}

describe('schemas', () => {
  it('order properties as they name them, and leave others to the end', () => {
    const schema = {
      type: 'object',
      properties: { a: { type: 'integer' }, b: {}, c: { const: [1, { x: null }] } },
      required: ['b'],
    };
    const open = acceptor(parseJsonSchema(schema));
    const good = ['{"b":0}', '{"a":1,"b":"x","c":[1,{"x":null}]}', '{"b":{}, "z":[],"y":1}', '{\n  "b": 1\n}'];
    const bad = [
      '{}',
      '{"a":1}',
      '{"b":1,"a":1}',
      '{"a":"1","b":1}',
      '{"b":1,"c":[1]}',
      '{"z":1,"b":1}',
      '{"b":1,"a":"x"}',
      '{"b":1,}',
    ];
    expect(good.map(open)).toEqual(good.map(() => true));
    expect(bad.map(open)).toEqual(bad.map(() => false));
    const closed = acceptor(parseJsonSchema({ ...schema, additionalProperties: false, maxProperties: 2 }));
    expect(['{"b":1}', '{"a":1,"b":1}', '{"a":1,"b":1,"c":[1,{"x":null}]}', '{"b":1,"z":1}'].map(closed)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  it('count properties, named and others', () => {
    const few = acceptor(
      parseJsonSchema({ type: 'object', properties: { a: {}, b: {} }, minProperties: 1, maxProperties: 3, required: ['a'] }),
    );
    expect(['{"a":1}', '{"a":1,"b":1,"c":1}', '{"a":1,"c":1,"d":1}', '{}', '{"a":1,"b":1,"c":1,"d":1}'].map(few)).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
    const most = acceptor(parseJsonSchema({ type: 'object', maxProperties: 1 }));
    expect(['{}', '{"x":1}', '{"x":1,"y":1}'].map(most)).toEqual([true, true, false]);
    const named = acceptor(
      parseJsonSchema({ type: 'object', properties: { a: {}, b: {}, c: {} }, minProperties: 2, additionalProperties: false }),
    );
    expect(['{"a":1}', '{"a":1,"c":1}', '{"b":1,"c":1}'].map(named)).toEqual([false, true, true]);
  });

  it('come back to themselves', () => {
    const tree = {
      $defs: {
        node: {
          type: 'object',
          properties: { v: { type: 'integer' }, next: { anyOf: [{ type: 'null' }, { $ref: '#/$defs/node' }] } },
          required: ['v', 'next'],
          additionalProperties: false,
        },
      },
      $ref: '#/$defs/node',
    };
    const accepts = acceptor(parseJsonSchema(tree));
    const nested = (depth: number): string => (depth === 0 ? 'null' : `{"v":1,"next":${nested(depth - 1)}}`);
    expect([accepts(nested(1)), accepts(nested(400)), accepts(nested(0)), accepts('{"v":1,"next":{}}')]).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  it('hold texts to formats, lengths and patterns, escaped as JSON has them', () => {
    const accepts = acceptor(parseJsonSchema({ type: 'string', pattern: '["\\n]é', maxLength: 3 }));
    expect(['"\\"é"', '"\\né"', '"x\\"é"', '"xy\\né"', '"\\u0022é"', '"\né"'].map(accepts)).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
    const date = acceptor(parseJsonSchema({ type: 'string', format: 'date-time' }));
    expect(['"2026-11-26T05:50:00Z"', '"2026-02-30T05:50:00Z"', '"2026-11-26"'].map(date)).toEqual([true, false, false]);
  });

  it('are one sentence when they are malformed, and never take the program down', () => {
    const words = [
      'type',
      'enum',
      'const',
      'minimum',
      'multipleOf',
      'maxLength',
      'pattern',
      'items',
      'prefixItems',
      'minItems',
      'uniqueItems',
      'properties',
      'required',
    ];
    const more = [
      'additionalProperties',
      'patternProperties',
      'propertyNames',
      'maxProperties',
      'dependentRequired',
      '$ref',
      'allOf',
      'oneOf',
      'not',
      '$defs',
      'a',
    ];
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'medium' },
        fc.constantFrom<unknown>(null, true, 0, -1, 2.5, 1e9, 'string', 'integer', 'a', '#', '#/$defs/a', '^a'),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom(...words, ...more), tie('value'), { maxKeys: 4 }),
      ),
    }));
    const refusals = (schema: unknown): void => {
      try {
        acceptor(parseJsonSchema(schema));
      } catch (error) {
        expect(error).toBeInstanceOf(InputError);
      }
    };
    fc.assert(fc.property(fc.dictionary(fc.constantFrom(...words, ...more), value, { maxKeys: 4 }), refusals), { numRuns: 200 });
    let [deep, wide]: unknown[] = [1, 1];
    for (let i = 0; i < 5000; i++) [deep, wide] = [{ items: deep }, [wide]];
    for (const schema of [deep, { const: wide }, { maxProperties: 1e9 }, { minItems: 1e9 }]) refusals(schema);
    expect(() => parseJsonSchema(deep)).toThrow('the JSON schema at #: it is nested deeper than 400');
  });

  it.each([
    [{ minLenght: 3 }, /^the JSON schema at #: the keyword "minLenght" is not supported; did you mean minLength\?$/],
    [{ properties: { a: { uniqueItems: true } } }, /^the JSON schema at #\/properties\/a: uniqueItems is not supported/],
    [
      { oneOf: [{ type: 'integer' }, { minimum: 2 }] },
      /at #: oneOf is not supported where two alternatives may hold at once, as 1 and 2 here/,
    ],
    [{ $ref: 'other.json' }, /at #: \$ref to other.json: references to other documents are not supported$/],
    [{ $ref: '#/$defs/a' }, /\$ref to #\/\$defs\/a: there is nothing there$/],
    [{ $ref: '#' }, /at #: it refers to itself without a value in between$/],
    [{ multipleOf: 0.1 }, /multipleOf 0.1 is not supported, only whole numbers up to 10000 are$/],
    [{ items: { type: 'strin' } }, /at #\/items: there is no type "strin"$/],
    [{ format: 'color' }, /the format "color" is not supported; supported are date, time/],
    [{ pattern: '(?=a)' }, /at #: the pattern "\(\?=a\)": at character 2, lookahead/],
    [{ if: {}, else: {} }, /if with then or else is not supported$/],
    [7, /at #: 7 is no schema; expected an object, true or false$/],
    [false, /^no text satisfies the grammar$/],
    [{ type: 'object', required: ['a'], properties: { a: { $ref: '#' } } }, /^no text satisfies the grammar$/],
  ])('refuse %j', (schema, said) => {
    expect(() => acceptor(parseJsonSchema(schema))).toThrow(said);
  });
});

describe('what would be large', () => {
  it('counts the characters of long strings, however they are written', () => {
    const accepts = acceptor(parseJsonSchema({ type: 'string', minLength: 3, maxLength: 600 }));
    const written = (count: number, character: string): boolean => accepts(`"${character.repeat(count)}"`);
    for (const character of ['a', 'é', '😀', '\\n', '\\"', '\\u00e9']) {
      expect([2, 3, 600, 601].map((count) => written(count, character))).toEqual([false, true, true, false]);
    }
    expect(accepts('"a\n b"')).toBe(false);
    expect(acceptor(parseJsonSchema({ type: 'string', maxLength: 10_000 }))(JSON.stringify('x'.repeat(10_000)))).toBe(true);
  });

  it('is refused by its place', () => {
    const schema = { type: 'object', properties: { a: { type: 'string', pattern: '^[^z]{3000}$' } } };
    expect(() => acceptor(parseJsonSchema(schema))).toThrow(/^#\/properties\/a: this pattern needs more than 50000 states/);
  });
});
