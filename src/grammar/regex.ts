// Regular expressions as JavaScript's with the flag u writes them (ECMA-262), less what is not regular or depends on what stands
// around: lookaround, back references, word boundaries and anchors inside of a pattern are refused by name. Groups do not
// capture, lazy quantifiers match what others do. `.` is any character but line ends.

import { InputError } from '../errors.js';
import { anyCharacter, type CharacterSet, characterSet, complement, lastCharacter, type Range, without } from './characters.js';
import { choice, type Expression, empty, repeat, sequence } from './expression.js';
import { Scanner } from './scanner.js';

type Anchor = { readonly kind: 'anchor'; readonly at: 'start' | 'end' };
/** An expression whose sequences and choices may hold anchors. */
type Pattern =
  | Exclude<Expression, { kind: 'sequence' | 'choice' | 'repeat' }>
  | Anchor
  | { readonly kind: 'sequence'; readonly parts: readonly Pattern[] }
  | { readonly kind: 'choice'; readonly options: readonly Pattern[] }
  | { readonly kind: 'repeat'; readonly of: Pattern; readonly least: number; readonly most: number };

/**
 * What a regular expression matches: as a whole, or (`search`) texts that have a match somewhere, as JSON Schema's `pattern` asks.
 * Throws `InputError` with the place of what is wrong or not supported; `what` names the pattern.
 */
export function regexExpression(source: string, mode: 'whole' | 'search' = 'whole', what = 'the regular expression'): Expression {
  const pattern = new Parser(source, what).parse();
  const around = mode === 'search' ? repeat({ kind: 'set', set: anyCharacter }, 0) : empty;
  const misplaced = (): never => {
    throw new InputError(`${what} ${shown(source)}: ^ and $ are supported at the beginning and the end of alternatives only`);
  };
  const branches = alternatives(pattern).map((parts) => {
    let from = 0;
    let to = parts.length;
    while (from < to && isAnchor(parts[from], 'start')) from++;
    while (to > from && isAnchor(parts[to - 1], 'end')) to--;
    const inner = parts.slice(from, to).map((part) => plain(part, misplaced));
    return sequence(from > 0 ? empty : around, ...inner, to < parts.length ? empty : around);
  });
  return choice(...branches);
}

function isAnchor(pattern: Pattern, at: Anchor['at']): boolean {
  return pattern.kind === 'anchor' && pattern.at === at;
}

function shown(source: string): string {
  return JSON.stringify(source.length > 60 ? `${source.slice(0, 57)}...` : source);
}

/** The ways through a pattern as sequences, choices at both ends multiplied out as far as anchors are inside of them. */
function alternatives(pattern: Pattern): (readonly Pattern[])[] {
  if (pattern.kind === 'choice') return pattern.options.flatMap(alternatives);
  if (pattern.kind !== 'sequence') return [[pattern]];
  const { parts } = pattern;
  const last = parts.length - 1;
  const open = parts.map((part, i): (readonly Pattern[])[] =>
    (i === 0 || i === last) && part.kind !== 'repeat' && hasAnchor(part) ? alternatives(part) : [[part]],
  );
  return open.reduce<Pattern[][]>((ways, next) => ways.flatMap((way) => next.map((own) => [...way, ...own])), [[]]);
}

function hasAnchor(pattern: Pattern): boolean {
  switch (pattern.kind) {
    case 'anchor':
      return true;
    case 'sequence':
      return pattern.parts.some(hasAnchor);
    case 'choice':
      return pattern.options.some(hasAnchor);
    case 'repeat':
      return hasAnchor(pattern.of);
    default:
      return false;
  }
}

function plain(pattern: Pattern, misplaced: () => never): Expression {
  switch (pattern.kind) {
    case 'anchor':
      return misplaced();
    case 'sequence':
      return { kind: 'sequence', parts: pattern.parts.map((part) => plain(part, misplaced)) };
    case 'choice':
      return { kind: 'choice', options: pattern.options.map((option) => plain(option, misplaced)) };
    case 'repeat':
      return { ...pattern, of: plain(pattern.of, misplaced) };
    default:
      return pattern;
  }
}

const digits: CharacterSet = [[0x30, 0x39]];
const words = characterSet([...digits, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]]);
const spaces = characterSet(
  [0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff]
    .map((code): Range => [code, code])
    .concat([[0x2000, 0x200a]]),
);
const lineEnds = characterSet([0x0a, 0x0d, 0x2028, 0x2029].map((code): Range => [code, code]));
const classes: Record<string, CharacterSet> = {
  d: digits,
  D: complement(digits),
  w: words,
  W: complement(words),
  s: spaces,
  S: complement(spaces),
};
const controls: Record<string, number> = { t: 0x09, n: 0x0a, v: 0x0b, f: 0x0c, r: 0x0d };

/** Repetitions beyond this are no pattern but a mistake; states would be too many. */
const mostRepetitions = 65_535;

class Parser extends Scanner {
  constructor(
    private readonly source: string,
    private readonly what: string,
  ) {
    super(source);
  }

  parse(): Pattern {
    const pattern = this.alternatives();
    if (this.at < this.characters.length) this.fail('there is a ) without its (');
    return pattern;
  }

  private fail(why: string): never {
    throw new InputError(`${this.what} ${shown(this.source)}: at character ${this.at + 1}, ${why}`);
  }

  private alternatives(): Pattern {
    if (++this.depth > 200) this.fail('groups are nested deeper than 200');
    const options = [this.sequence()];
    while (this.take('|')) options.push(this.sequence());
    this.depth--;
    return options.length === 1 ? options[0] : { kind: 'choice', options };
  }

  private sequence(): Pattern {
    const parts: Pattern[] = [];
    while (this.at < this.characters.length && !this.peek('|') && !this.peek(')')) parts.push(this.quantified());
    return parts.length === 1 ? parts[0] : { kind: 'sequence', parts };
  }

  private quantified(): Pattern {
    const atom = this.atom();
    const range = this.quantifier();
    if (!range) return atom;
    if (atom.kind === 'anchor') this.fail('an anchor cannot be repeated');
    this.take('?'); // lazy: the same texts
    if (['*', '+', '?', '{'].some((sign) => this.peek(sign))) this.fail('a quantifier follows a quantifier');
    return { kind: 'repeat', of: atom, least: range[0], most: range[1] };
  }

  private quantifier(): [number, number] | undefined {
    if (this.take('*')) return [0, Number.POSITIVE_INFINITY];
    if (this.take('+')) return [1, Number.POSITIVE_INFINITY];
    if (this.take('?')) return [0, 1];
    if (!this.peek('{')) return undefined;
    const found = /^\{(\d+)(,(\d*))?\}/.exec(this.ahead);
    if (!found) this.fail('expected a quantifier like {2}, {2,} or {2,5}; a brace itself is \\{');
    const least = Number(found[1]);
    const most = found[2] === undefined ? least : found[3] === '' ? Number.POSITIVE_INFINITY : Number(found[3]);
    if (least > most) this.fail(`the range ${found[0]} is empty`);
    if (Math.max(least, most === Number.POSITIVE_INFINITY ? 0 : most) > mostRepetitions)
      this.fail(`more than ${mostRepetitions} repetitions are not supported`);
    this.at += found[0].length;
    return [least, most];
  }

  private atom(): Pattern {
    const character = this.characters[this.at];
    if (this.take('^')) return { kind: 'anchor', at: 'start' };
    if (this.take('$')) return { kind: 'anchor', at: 'end' };
    if (this.take('.')) return { kind: 'set', set: without(anyCharacter, lineEnds) };
    if (this.take('[')) return { kind: 'set', set: this.characterClass() };
    if (this.take('(')) return this.group();
    if (character === '\\') return { kind: 'set', set: this.escape(false) };
    if ('*+?{'.includes(character)) this.fail(`nothing stands before the quantifier ${character}`);
    if (character === ']' || character === '}') this.fail(`${character} stands alone; as a character it is \\${character}`);
    this.at++;
    const code = character.codePointAt(0)!;
    return { kind: 'set', set: [[code, code]] };
  }

  private group(): Pattern {
    for (const [sign, name] of [
      ['?=', 'lookahead'],
      ['?!', 'negative lookahead'],
      ['?<=', 'lookbehind'],
      ['?<!', 'negative lookbehind'],
    ]) {
      if (this.peek(sign)) this.fail(`${name} (${sign} is not supported`);
    }
    if (!this.take('?:') && this.take('?')) {
      const name = /^<[\p{ID_Start}$_][\p{ID_Continue}$]*>/u.exec(this.characters.slice(this.at).join(''));
      if (!name) this.fail('this kind of group (flags, conditions) is not supported');
      this.at += [...name[0]].length;
    }
    const inner = this.alternatives();
    if (!this.take(')')) this.fail('a ) is missing');
    return inner;
  }

  private characterClass(): CharacterSet {
    const negated = this.take('^');
    const ranges: Range[] = [];
    while (!this.take(']')) {
      if (this.at >= this.characters.length) this.fail('a ] is missing');
      const low = this.classAtom();
      if (this.peek('-') && this.characters[this.at + 1] !== ']' && this.at + 1 < this.characters.length) {
        this.at++;
        const high = this.classAtom();
        const [from, to] = [single(low), single(high)];
        if (from === undefined || to === undefined) this.fail('a class like \\w cannot be the end of a range');
        if (from > to) this.fail('a range in brackets runs backwards');
        ranges.push([from, to]);
      } else ranges.push(...low);
    }
    const set = without(characterSet(ranges), [[0xd800, 0xdfff]]);
    return negated ? complement(set) : set;
  }

  private classAtom(): CharacterSet {
    if (this.peek('\\')) return this.escape(true);
    const code = this.characters[this.at++].codePointAt(0)!;
    return [[code, code]];
  }

  private escape(inClass: boolean): CharacterSet {
    this.at++;
    const letter = this.characters[this.at++];
    if (letter === undefined) this.fail('a backslash stands at the end');
    if (letter in classes) return classes[letter];
    if (letter in controls) return one(controls[letter]);
    if (letter === 'b' && inClass) return one(0x08);
    if (letter === 'b' || letter === 'B') this.fail(`the word boundary \\${letter} is not supported`);
    if (letter === 'k' || /[1-9]/.test(letter)) this.fail(`the back reference \\${letter} is not supported`);
    if (letter === '0' && !/\d/.test(this.characters[this.at] ?? '')) return one(0);
    if (letter === 'p' || letter === 'P') return this.property(letter === 'P');
    if (letter === 'c') {
      const control = this.characters[this.at++] ?? '';
      if (/^[a-z]$/i.test(control)) return one(control.charCodeAt(0) % 32);
      this.fail('\\c is followed by no letter');
    }
    if (letter === 'x') return one(this.hexadecimal(2));
    if (letter === 'u') return one(this.unicode());
    if (/[\^$\\.*+?()[\]{}|/]/.test(letter) || (inClass && letter === '-') || !/[\p{L}\p{N}]/u.test(letter))
      return one(letter.codePointAt(0)!);
    this.fail(`there is no escape \\${letter}`);
  }

  private unicode(): number {
    if (this.take('{')) {
      const end = this.characters.indexOf('}', this.at);
      const text = end < 0 ? '' : this.characters.slice(this.at, end).join('');
      const code = /^[\da-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : Number.NaN;
      if (!(code <= lastCharacter)) this.fail('\\u{ is followed by no character in hexadecimal and }');
      this.at = end + 1;
      return code;
    }
    const high = this.hexadecimal(4);
    if (high < 0xd800 || high > 0xdbff || !this.peek('\\u')) return high;
    const before = this.at;
    this.at += 2;
    const low = this.hexadecimal(4);
    if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + (high - 0xd800) * 0x400 + (low - 0xdc00);
    this.at = before;
    return high;
  }

  private hexadecimal(count: number): number {
    const text = this.characters.slice(this.at, this.at + count).join('');
    if (!new RegExp(`^[\\da-f]{${count}}$`, 'i').test(text)) this.fail(`expected ${count} hexadecimal digits`);
    this.at += count;
    return Number.parseInt(text, 16);
  }

  private property(negated: boolean): CharacterSet {
    const end = this.characters.indexOf('}', this.at);
    const name = this.characters[this.at] === '{' && end > 0 ? this.characters.slice(this.at + 1, end).join('') : '';
    if (!/^[\w=]+$/.test(name)) this.fail('expected a property of characters, like \\p{Letter}');
    const set = charactersWith(name) ?? this.fail(`there is no property of characters \\p{${name.slice(0, 60)}}`);
    this.at = end + 1;
    return negated ? complement(set) : set;
  }
}

function one(code: number): CharacterSet {
  return [[code, code]];
}

function single(set: CharacterSet): number | undefined {
  return set.length === 1 && set[0][0] === set[0][1] ? set[0][0] : undefined;
}

const known = new Map<string, CharacterSet>();

/** All characters with a Unicode property, as this platform's own regular expressions have it; looked up once. */
function charactersWith(name: string): CharacterSet | undefined {
  const found = known.get(name);
  if (found) return found;
  let pattern: RegExp;
  try {
    pattern = new RegExp(`^\\p{${name}}$`, 'u');
  } catch {
    return undefined;
  }
  const ranges: [number, number][] = [];
  for (const [low, high] of anyCharacter) {
    for (let code = low; code <= high; code++) {
      if (!pattern.test(String.fromCodePoint(code))) continue;
      const last = ranges.at(-1);
      if (last && last[1] === code - 1) last[1] = code;
      else ranges.push([code, code]);
    }
  }
  known.set(name, ranges);
  return ranges;
}
