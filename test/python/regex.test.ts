// Python's regular expressions, against what lm-evaluation-harness 0.4.13's RegexFilter gave in Python for its task files' own patterns and
// for others (regex.json: pattern, group_select, answers by text; a text without a match is "[invalid]").

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { filtered } from '../../src/eval/filters.js';
import { pythonRegex } from '../../src/python/regex.js';

type Row = readonly [pattern: string, select: number, answers: Readonly<Record<string, string>>];
const rows = JSON.parse(readFileSync(new URL('regex.json', import.meta.url), 'utf8')) as Row[];

it('finds what Python finds', () => {
  for (const [pattern, select, answers] of rows) {
    const filter = [{ function: 'regex', regex_pattern: pattern, group_select: select }, { function: 'take_first' }];
    const found = Object.keys(answers).map((text) => [text, filtered({ name: 'x', filter }, [text], {})]);
    expect([pattern, select, Object.fromEntries(found)]).toEqual([pattern, select, answers]);
  }
});

it.each([
  ['a++', 'possessive'],
  ['(?>a)', 'a group that is not known here'],
  ['(a)?(?(1)b|c)', 'a group that is not known here'],
  ['(?x) a', 'the flag x'],
  ['a\\', 'ends with a backslash'],
  ['[a', 'a class that does not end'],
  ['\\q', 'has \\q'],
  ['[\\W]', 'has \\W in a class'],
  ['(', 'is none'],
  ['a**', 'is none'],
])('refuses %s', (pattern, message) => {
  expect(() => pythonRegex(pattern)).toThrow(message);
});
