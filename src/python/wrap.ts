// `textwrap.wrap` as Jinja's `wordwrap` calls it: blanks and tabs stay as they are, long words and words with hyphens may be cut.

import { InputError } from '../errors.js';
import { STEP, spend } from './budget.js';
import { stripped } from './strings.js';
import { codePointCount, codePointsOf } from './values.js';

export interface WrapOptions {
  readonly width: number;
  readonly breakLongWords: boolean;
  readonly breakOnHyphens: boolean;
}

const blank = '[\\t\\n\\v\\f\\r ]';
const solid = '[^\\t\\n\\v\\f\\r ]';
const [word, letter, wordPunctuation] = ['[\\p{L}\\p{N}_]', '[\\p{L}\\p{Nl}\\p{No}_]', `[\\p{L}\\p{N}_!"'&.,?]`];
const chunk = new RegExp(
  `(${blank}+|(?<=${wordPunctuation})-{2,}(?=${word})|${solid}+?(?:-(?:(?<=${letter}{2}-)|(?<=${letter}-${letter}-))(?=${letter}-?${letter})|(?=${blank}|$)|(?<=${wordPunctuation})(?=-{2,}${word})))`,
  'u',
);
const blanks = new RegExp(`(${blank}+)`);

/** The lines of a text that has no line breaks of its own, or is taken so. */
export function wrapped(text: string, { width, breakLongWords, breakOnHyphens }: WrapOptions): string[] {
  if (width <= 0) throw new InputError(`invalid width ${width} (must be > 0)`);
  spend(64 * text.length);
  const rest = text
    .split(breakOnHyphens ? chunk : blanks)
    .filter((part) => part !== '')
    .reverse();
  const lines: string[] = [];
  while (rest.length > 0) {
    spend(STEP);
    const line: string[] = [];
    let length = 0;
    if (lines.length > 0 && isBlank(rest.at(-1)!)) rest.pop();
    while (rest.length > 0 && length + codePointCount(rest.at(-1)!) <= width) {
      length += codePointCount(rest.at(-1)!);
      line.push(rest.pop()!);
    }
    if (rest.length > 0 && codePointCount(rest.at(-1)!) > width) {
      if (breakLongWords) {
        const points = [...codePointsOf(rest.pop()!)];
        spend(points.length);
        const end = cutAt(points, width - length, breakOnHyphens);
        line.push(points.slice(0, end).join(''));
        rest.push(points.slice(end).join(''));
      } else if (line.length === 0) line.push(rest.pop()!);
    }
    if (line.length > 0 && isBlank(line.at(-1)!)) line.pop();
    if (line.length > 0) lines.push(line.join(''));
  }
  return lines;
}

function isBlank(text: string): boolean {
  return stripped(text, undefined, true, true) === '';
}

/** Behind the last hyphen that fits, if there is more than hyphens before it. */
function cutAt(points: readonly string[], room: number, onHyphens: boolean): number {
  const hyphen = onHyphens ? points.slice(0, room).lastIndexOf('-') : -1;
  return hyphen > 0 && points.slice(0, hyphen).some((point) => point !== '-') ? hyphen + 1 : room;
}
