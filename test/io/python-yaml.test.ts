// YAML for Python: python-yaml.json has documents and what PyYAML 6's safe loader makes of them (`float`: one that JSON cannot write).

import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.js';
import { parsePythonYaml, plainNumbers } from '../../src/io/python-yaml.js';
import { PythonFloat } from '../../src/python-float.js';
import cases from './python-yaml.json' with { type: 'json' };

const floats: Record<string, number> = { nan: Number.NaN, inf: Number.POSITIVE_INFINITY, '-inf': Number.NEGATIVE_INFINITY };

function expected(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value), (_, item) => (typeof item?.float === 'string' ? floats[item.float] : item));
}

describe('YAML as PyYAML reads it', () => {
  it.each(cases as { text: string; value?: unknown; error?: boolean }[])('$text', ({ text, value, error }) => {
    if (error) expect(() => parsePythonYaml(text, 'x.yaml')).toThrow(InputError);
    else expect(plainNumbers(parsePythonYaml(text, 'x.yaml'))).toEqual(expected(value));
  });

  it('keeps floats and large integers apart', () => {
    expect(parsePythonYaml('[1.0, 1, 0.5, 12345678901234567891]', 'x.yaml')).toEqual([
      new PythonFloat(1),
      1,
      0.5,
      12345678901234567891n,
    ]);
  });

  it('keeps a date as its text, and refuses what Python would print otherwise', () => {
    expect(parsePythonYaml('a: 2024-01-02', 'x.yaml')).toEqual({ a: '2024-01-02' });
    expect(() => parsePythonYaml('a: 1\nb: 2024-1-2', 'x.yaml')).toThrow('x.yaml: the time 2024-1-2 is taken only as a text');
    expect(() => parsePythonYaml('a: 1\nb: !foo 2', 'x.yaml')).toThrow(/x\.yaml: .*!foo.*line 2/);
  });
});
