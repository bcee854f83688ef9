// YAML as PyYAML's safe loader reads it, for files that are written for Python (lm-evaluation-harness's tasks): YAML 1.1 with PyYAML's
// own words for booleans and numbers, quoted texts that go on at any indentation, the last of two equal keys. Not for our own
// settings, where a doubled key is a slip (config.ts).

import { Composer, LineCounter, Parser, type ScalarTag, type Tags } from 'yaml';
import { InputError } from '../errors.js';
import { floatOf, PythonFloat } from '../python-float.js';
import { checkYamlNesting, documentValue } from './config.js';

// resolver.py and constructor.py of PyYAML 6: y and n are texts, as are 1e-5 (no point), 08 and 06:00.
const sixty = (text: string): number => {
  const sign = text.startsWith('-') ? -1 : 1;
  return (
    sign *
    text
      .replace(/^[-+]/, '')
      .split(':')
      .map(Number)
      .reduce((sum, part) => 60 * sum + part, 0)
  );
};
const int = (test: RegExp, read: (digits: string) => number): ScalarTag => scalar('int', test, (digits) => read(digits) + 0); // an int has no -0
const float = (test: RegExp, read: (digits: string) => number): ScalarTag =>
  scalar('float', test, (digits) => floatOf(read(digits)));
const radix = (base: number, prefix: RegExp) => (text: string) =>
  (text.startsWith('-') ? -1 : 1) * Number.parseInt(text.replace(/^[-+]/, '').replace(prefix, ''), base);

function exact(digits: string): number | bigint {
  return Number.isSafeInteger(Number(digits)) ? Number(digits) + 0 : BigInt(digits);
}

function scalar(name: string, test: RegExp, read: (text: string) => unknown): ScalarTag {
  return { tag: `tag:yaml.org,2002:${name}`, default: true, test, resolve: (text) => read(text.replace(/_/g, '')) };
}

const scalars: readonly ScalarTag[] = [
  scalar('bool', /^(?:yes|Yes|YES|true|True|TRUE|on|On|ON)$/, () => true),
  scalar('bool', /^(?:no|No|NO|false|False|FALSE|off|Off|OFF)$/, () => false),
  int(/^[-+]?0b[01_]+$/, radix(2, /^0b/)),
  int(/^[-+]?0[0-7_]+$/, radix(8, /^0/)),
  scalar('int', /^[-+]?(?:0|[1-9][0-9_]*)$/, (digits) => exact(digits.replace(/^\+/, ''))),
  int(/^[-+]?0x[0-9a-fA-F_]+$/, radix(16, /^0x/)),
  int(/^[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+$/, sixty),
  float(/^[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?$|^\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?$/, Number),
  float(/^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*$/, sixty),
  float(/^[-+]?\.(?:inf|Inf|INF)$/, (text) => (text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY)),
  float(/^\.(?:nan|NaN|NAN)$/, () => Number.NaN),
  {
    tag: 'tag:yaml.org,2002:timestamp',
    default: true,
    test: /^\d{4}-\d\d?-\d\d?(?:(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::\d\d)?))?)?$/,
    resolve: (text, onError) => {
      if (!/^\d{4}-\d\d-\d\d$/.test(text)) onError(`the time ${text} is taken only as a text: put it in quotes`);
      return text; // what Python prints of the date
    },
  },
];
const replaced = ['bool', 'int', 'float', 'timestamp'].map((name) => `tag:yaml.org,2002:${name}`);

/** The value with JavaScript's numbers: for settings, which are not printed. */
export function plainNumbers(value: unknown): unknown {
  if (value instanceof PythonFloat || typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(plainNumbers);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainNumbers(item)]));
}

/** The value of a file, its numbers as `parsePythonJson` has them; `tags` are its own. Throws `InputError` with the line and column where it is not YAML, and for unknown tags. */
export function parsePythonYaml(text: string, name: string, tags: Tags = []): unknown {
  checkYamlNesting(text, name);
  const lines = new LineCounter();
  const parser = new Parser(lines.addNewLine);
  takeAnyIndentation(parser);
  const composer = new Composer({
    version: '1.1',
    uniqueKeys: false,
    customTags: (standard) => [
      ...standard.filter((tag) => typeof tag === 'string' || !replaced.includes(tag.tag)),
      ...scalars,
      ...tags,
    ],
  });
  const [document, more] = composer.compose(parser.parse(text), true, text.length);
  if (more) throw new InputError(`${name}: it holds several documents (---); one is expected`);
  return documentValue(document, lines, name);
}

// The lexer ends a quoted text at a line that is indented less than its parent, as YAML demands; PyYAML looks for the quote only.
function takeAnyIndentation(parser: Parser): void {
  const lexer = (parser as unknown as { lexer: { indentNext: number; parseQuotedScalar(): Generator<string, unknown> } }).lexer;
  const inner = lexer.parseQuotedScalar;
  lexer.parseQuotedScalar = function* (this: typeof lexer) {
    const { indentNext } = this;
    this.indentNext = 0;
    const state = yield* inner.call(this);
    this.indentNext = indentNext;
    return state;
  };
}
