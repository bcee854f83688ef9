import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { checkConfig, parseYaml } from '../../src/io/config.js';

describe('parseYaml', () => {
  it('reads YAML and JSON', () => {
    expect(parseYaml('a: [1, x] # comment\nb: {c: 2.e-3}\n', 'f')).toEqual({ a: [1, 'x'], b: { c: 0.002 } });
    expect(parseYaml('{"a": null}', 'f')).toEqual({ a: null });
  });

  it('refuses nesting without end, and says in one line what the text is', () => {
    for (const deep of [
      '['.repeat(3000),
      `${'{a: '.repeat(300)}${'}'.repeat(300)}`,
      `${'- '.repeat(300)}a`,
      `a: |\n${' '.repeat(500)}b`,
    ])
      expect(() => parseYaml(deep, 'f')).toThrow('f: nested more than 200 deep');
    expect(parseYaml(`${'['.repeat(150)}${']'.repeat(150)}`, 'f')).toHaveLength(1);
    expect(parseYaml(`a: ${'x[y] '.repeat(500)}`, 'f')).toHaveProperty('a');
    expect(() => parseYaml('a: "\\u\n 0"', 'f')).toThrow(/^f: [^\n]*\(line 1, column \d+\)$/);
  });

  it('says where the text is wrong', () => {
    expect(() => parseYaml('a: 1\nb: [1, 2\n', 'f.yaml')).toThrow(/^f\.yaml: .*\(line 3, column 1\)$/);
    expect(() => parseYaml('a: 1\na: 2\n', 'f.yaml')).toThrow(/^f\.yaml: Map keys must be unique.*line 2, column 1\)$/);
  });

  it('refuses references that multiply without end', () => {
    const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
    for (let i = 1; i < 9; i++) lines.push(`a${i}: &a${i} [${new Array(10).fill(`*a${i - 1}`).join(', ')}]`);
    expect(() => parseYaml(lines.join('\n'), 'f.yaml')).toThrow(/^f\.yaml: Excessive alias count/);
  });
});

describe('checkConfig', () => {
  const schema = z.strictObject({
    steps: z.number().int().default(5),
    optimizer: z
      .strictObject({ learning_rate: z.number(), betas: z.tuple([z.number(), z.number()]).optional() })
      .prefault({ learning_rate: 1 }),
    parts: z.array(z.strictObject({ name: z.string(), weight: z.number().optional() })).default([]),
    adapter: z.union([z.enum(['none', 'lora']), z.strictObject({ r: z.number().optional() })]).optional(),
  });

  it('fills in defaults', () => {
    expect(checkConfig(schema, {}, 'f')).toEqual({ steps: 5, optimizer: { learning_rate: 1 }, parts: [] });
  });

  it.each([
    [{ stesp: 1 }, 'f: unknown key stesp; did you mean steps?'],
    [{ zzzzzz: 1 }, 'f: unknown key zzzzzz; known are steps, optimizer, parts, adapter'],
    [{ adapter: 'lara' }, 'f: adapter: expected none or lora or keys and values, found "lara"'],
    [{ adapter: { r: 'x' } }, 'f: adapter.r: expected number, found "x"'],
    [{ adapter: { x: 1 } }, 'f: unknown key adapter.x; known are r'],
    [{ foo: 1 }, 'f: unknown key foo; known are'],
    [{ optimizer: { learning_rate: 1, beta: 1 } }, 'f: unknown key optimizer.beta; did you mean optimizer.betas?'],
    [{ parts: [{ name: 'a' }, { name: 'a', wieght: 1 }] }, 'f: unknown key parts[1].wieght; did you mean parts[1].weight?'],
    [{ optimizer: { learning_rate: 'x' } }, 'f: optimizer.learning_rate: expected number, found "x"'],
    [{ parts: [{}] }, 'f: parts[0].name is missing'],
    [{ optimizer: 3 }, 'f: optimizer: expected keys and values (learning_rate'],
    [7, 'f: expected keys and values (steps, optimizer, parts, adapter), found 7'],
  ])('names what is wrong in %j', (value, message) => {
    expect(() => checkConfig(schema, value, 'f')).toThrow(message);
  });
});
