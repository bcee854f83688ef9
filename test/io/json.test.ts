import { expect, test } from 'vitest';
import { decodeUtf8, isOneValue, JsonReader, parseData, parseJson, quoted } from '../../src/io/json.js';

test('a syntax error is told with the name, the line and the column', () => {
  expect(() => parseJson('{\n  "a": 1,\n  "b": }', 'config.json')).toThrow(
    'config.json: expected a value, found "}" (line 3, column 8)',
  );
  expect(() => parseJson('{"a": 1,}', 'c')).toThrow('expected a key in quotes, found "}" (line 1, column 9)');
  expect(() => parseJson('', 'c')).toThrow('expected a value, found the end of the text (line 1, column 1)');
  expect(() => parseJson('["a\nb"]', 'c')).toThrow('a control character lies inside a string (line 1, column 4)');
  expect(() => parseJson('["a', 'c')).toThrow('the text ends inside a string (line 1, column 4)');
  expect(() => parseJson('["a\\', 'c')).toThrow('the text ends inside a string');
  expect(() => parseJson('["\\x"]', 'c')).toThrow('a string holds an invalid escape (line 1, column 2)');
  expect(() => parseJson('[01]', 'c')).toThrow('expected "," or "]", found "1]" (line 1, column 3)');
  expect(parseJson(' {"a": [1, "\\u00e9\\n"]} ', 'c')).toEqual({ a: [1, 'é\n'] });
});

test('nesting without end is refused', () => {
  const nested = (depth: number): string => `${'[{"a":'.repeat(depth / 2)}1${'}]'.repeat(depth / 2)}`;
  expect(() => parseJson(nested(600), 'c')).toThrow('c: brackets are nested more than 500 deep');
  expect(() => parseJson(nested(200_000), 'c')).toThrow('nested more than 500 deep');
  expect(parseJson(`[${new Array(300).fill(nested(4)).join()}]`, 'c')).toHaveLength(300);
  expect(parseJson(nested(400), 'c')).toHaveLength(1);
  expect(parseData(nested(400).replace('1', 'NaN'), 'c')).toHaveLength(1);
  expect(() => parseData(nested(600).replace('1', 'NaN'), 'c')).toThrow('nested more than 500 deep');
});

test.each([
  ['[', true],
  [' \r\n\ufeff[{', true],
  ['{ \t\r\n"a": 1}', true],
  ['{"a": 1}\n', false],
  ['{}\n', false],
  ['1', false],
  ['\n ', undefined],
  ['{ ', undefined],
])('what begins %j is one value of a file: %s', (text, expected) => {
  expect(isOneValue(text)).toBe(expected);
});

// The cursor must accept exactly what JSON.parse accepts, or parseJson could not find the place.
test.each([
  [
    '1',
    '-1.5e+3',
    '0',
    '-0',
    '1E5',
    'true',
    'null',
    '"\\"\\\\\\/\\b"',
    ' [ ] ',
    '{ }',
    '[1 , 2]',
    '{"a":{"b":[]},"c":null}',
    '"\u2028\ud800"',
  ],
  [
    '-',
    '1.',
    '.5',
    '+1',
    '1e',
    'tru',
    'nul',
    'NaN',
    '[1 2]',
    '[,]',
    '{"a"}',
    '{a:1}',
    '"\\u12"',
    "'a'",
    '\u00a0[]',
    '[1]]',
    '{"a":1,,}',
  ],
])('the cursor agrees with JSON.parse: %#', (...texts) => {
  for (const text of texts) {
    const parses = (parse: () => unknown) => {
      try {
        parse();
        return true;
      } catch {
        return false;
      }
    };
    const walk = () => {
      const reader = new JsonReader(text, 't');
      reader.skip();
      reader.end();
    };
    expect([text, parses(walk)]).toEqual([text, parses(() => JSON.parse(text))]);
  }
});

test('bytes that are not UTF-8 are refused; names are quoted and cut', () => {
  expect(() => decodeUtf8(Uint8Array.of(0xff), 'x.json')).toThrow('x.json: not valid UTF-8 text');
  expect(quoted('a\u001b"')).toBe('"a\\u001b\\""');
  expect(quoted('x'.repeat(500)).length).toBeLessThan(130);
});
