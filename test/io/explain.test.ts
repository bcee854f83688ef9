// Settings told from their schema: every key with its type, default and purpose, and what is missing with its parts.

import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { checkConfig } from '../../src/io/config.js';
import { explainSettings, partsOf, settingsOf } from '../../src/io/explain.js';

const schema = z.strictObject({
  name: z.string().min(1).describe('What it is called.'),
  rate: z.strictObject({ max: z.number().positive(), kind: z.enum(['slow', 'fast']).default('slow') }),
  parts: z.array(z.strictObject({ file: z.string(), share: z.number().min(0).max(1).optional() })).min(1),
  range: z.tuple([z.number().int().min(0), z.number().int()]).optional(),
  loud: z.boolean().default(false),
});

describe('settingsOf', () => {
  it('tells keys, types and defaults in order', () => {
    expect(settingsOf(schema).map(({ key, type, required, default: value }) => [key, type, required, value])).toEqual([
      ['name', 'text', true, undefined],
      ['rate', 'group', true, undefined],
      ['rate.max', 'number above 0', true, undefined],
      ['rate.kind', 'slow or fast', false, 'slow'],
      ['parts[]', 'list of groups', true, undefined],
      ['parts[].file', 'text', true, undefined],
      ['parts[].share', 'number from 0 to 1', false, undefined],
      ['range', expect.stringMatching(/^list of 2: whole number from 0, whole number/), false, undefined],
      ['loud', 'true or false', false, false],
    ]);
  });

  it('tells what is in a group that is one of several things', () => {
    const group = z.strictObject({ max: z.number(), kind: z.string().optional() });
    const either = z.strictObject({
      rate: z.union([z.number(), group]),
      from: z.union([z.strictObject({ file: z.string() }), z.strictObject({ url: z.string() })]),
    });
    expect(settingsOf(either).map(({ key, type, required }) => [key, type, required])).toEqual([
      ['rate', 'number or keys and values', true],
      ['rate.max', 'number', true],
      ['rate.kind', 'text', false],
      ['from', 'keys and values', true],
      ['from.file', 'text', false],
      ['from.url', 'text', false],
    ]);
    expect(() => checkConfig(either, {}, 'f')).toThrow('f: rate is missing; expected number or keys and values');
  });

  it('is written a line a key, with what it is for below', () => {
    const text = explainSettings(schema);
    expect(text).toContain('name  (text, required)\n    What it is called.\n');
    expect(text).toContain('rate.kind  (slow or fast, default "slow")\n');
    expect(partsOf(schema)).toBe('name (required), rate (required), parts (required), range, loud');
  });
});

it.each([
  [{}, 'f: name is missing: What it is called.'],
  [{ name: 'a' }, 'f: rate is missing; its keys are max (required), kind'],
  [{ name: 'a', rate: { max: 1 } }, 'f: parts is missing; it is a list, each with the keys file (required), share'],
  [{ name: 'a', rate: { max: null }, parts: [{ file: 'x' }] }, 'f: rate.max: expected number above 0, found null'],
])('what is missing in %j has its parts named', (value, message) => {
  expect(() => checkConfig(schema, value, 'f')).toThrow(message);
});
