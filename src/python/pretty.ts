// `pprint.pformat(value)` with Python's defaults: 80 columns, keys in order, long texts in pieces between blanks.

import { STEP, spend } from './budget.js';
import { splitLines } from './strings.js';
import { SPACE } from './text.js';
import { codePointCount, compare, Dict, isText, Markup, repr, Tuple, textOf, typeName, type Value } from './values.js';

const WIDTH = 80;
const parts = new RegExp(`[^${SPACE}]*[${SPACE}]*`, 'g');

/** The value over as many lines as it needs. */
export function pretty(value: Value): string {
  return format(sortedKeys(value, 0), 0, 0, 0);
}

/** With the keys of its dicts in order, inside of lists too. */
function sortedKeys(value: Value, depth: number): Value {
  spend(2 * STEP);
  if (depth > 100) return value; // `repr` says so
  if (value instanceof Dict) {
    const pairs = [...value].map(([key, item]) => [key, sortedKeys(item, depth + 1)] as const);
    return new Dict(pairs.sort(([a], [b]) => inOrder(a, b)));
  }
  if (Array.isArray(value)) return value.map((item) => sortedKeys(item, depth + 1));
  return value instanceof Tuple ? new Tuple(value.items.map((item) => sortedKeys(item, depth + 1))) : value;
}

/** Keys that cannot be compared go by the names of their types. */
function inOrder(a: Value, b: Value): number {
  try {
    return compare(a, b);
  } catch {
    return typeName(a) < typeName(b) ? -1 : 1;
  }
}

/** The value as it begins in column `indent`, with `allowance` characters behind its end. */
function format(value: Value, indent: number, allowance: number, level: number): string {
  const whole = repr(value, level);
  if (codePointCount(whole) <= WIDTH - indent - allowance) return whole;
  if (Array.isArray(value)) return value.length === 0 ? whole : `[${rows(value, indent + 1, allowance + 1, level + 1)}]`;
  if (value instanceof Tuple) {
    const end = value.items.length === 1 ? ',)' : ')';
    return value.items.length === 0 ? whole : `(${rows(value.items, indent + 1, allowance + end.length, level + 1)}${end}`;
  }
  if (value instanceof Dict) {
    const entries = [...value].map(([key, item], i) => {
      const name = repr(key, level);
      const last = i === value.size - 1;
      return `${name}: ${format(item, indent + 1 + codePointCount(name) + 2, last ? allowance + 1 : 1, level + 1)}`;
    });
    return value.size === 0 ? whole : `{${lines(entries, indent + 1, ',')}}`;
  }
  return isText(value) && !(value instanceof Markup) ? textRows(textOf(value), whole, indent, allowance, level + 1) : whole;
}

function rows(items: readonly Value[], indent: number, allowance: number, level: number): string {
  const made = items.map((item, i) => format(item, indent, i === items.length - 1 ? allowance : 1, level));
  return lines(made, indent, ',');
}

function lines(items: readonly string[], indent: number, end: string): string {
  spend(items.length * indent);
  return items.join(`${end}\n${' '.repeat(indent)}`);
}

/** A text as literals below each other, in parentheses where nothing else is around it. */
function textRows(text: string, whole: string, column: number, behind: number, level: number): string {
  if (text === '') return whole;
  const [indent, allowance] = level === 1 ? [column + 1, behind + 1] : [column, behind];
  const width = WIDTH - indent;
  const chunks: string[] = [];
  const all = splitLines(text, true);
  for (const [i, line] of all.entries()) {
    const last = i === all.length - 1;
    const literal = repr(line);
    if (codePointCount(literal) <= width - (last ? allowance : 0)) {
      chunks.push(literal);
      continue;
    }
    const words = (line.match(parts) ?? []).slice(0, -1);
    let current = '';
    for (const [j, word] of words.entries()) {
      const most = width - (last && j === words.length - 1 ? allowance : 0);
      const longer = repr(current + word);
      if (codePointCount(longer) > most && current !== '') chunks.push(repr(current));
      current = codePointCount(longer) > most ? word : current + word;
    }
    if (current !== '') chunks.push(repr(current));
  }
  if (chunks.length === 1) return whole;
  const joined = lines(chunks, indent, '');
  return level === 1 ? `(${joined})` : joined;
}
