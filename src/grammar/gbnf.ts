// Grammars in llama.cpp's GBNF (grammars/README.md there): rules `name ::= ...` of texts in quotes, classes in brackets, dots, names,
// groups, alternatives and repetitions; a rule ends with its line unless a group is open or `|` comes next. Not the steps by
// token id (`<[5]>`), which no text has: they are refused by name.

import { InputError, shown, visible } from '../errors.js';
import { anyCharacter, characterSet, complement, lastCharacter, type Range, without } from './characters.js';
import { choice, type Expression, type Grammar, repeat, rule, sequence } from './expression.js';
import { Scanner } from './scanner.js';

/** Throws `InputError` with the line of what is wrong; `name` is the file's. */
export function parseGbnf(source: string, name = 'the grammar'): Grammar {
  const rules = new Parser(source, name).parse();
  if (!rules.has('root')) throw new InputError(`${name}: there is no rule root, with which every text begins`);
  return { root: rule('root'), rules };
}

/** As llama.cpp's limit, beyond which a mistake is more likely than a wish. */
const mostRepetitions = 2000;

class Parser extends Scanner {
  private readonly rules = new Map<string, Expression>();
  /** The first use of each name. */
  private readonly used = new Map<string, number>();

  constructor(
    source: string,
    private readonly name: string,
  ) {
    super(source);
  }

  parse(): Map<string, Expression> {
    this.space(true);
    while (this.at < this.characters.length) {
      const place = this.at;
      const name = this.word();
      if (name === undefined) this.fail('expected the name of a rule');
      this.space(false);
      if (!this.take('::=')) this.fail(`expected ::= after ${name}`);
      if (this.rules.has(name)) this.fail(`the rule ${name} is defined twice`, place);
      this.space(true);
      this.rules.set(name, this.alternatives(false));
      if (this.at < this.characters.length && !this.peek('\n') && !this.peek('\r'))
        this.fail(`${shown(this.characters[this.at])} is not expected here`);
      this.space(true);
    }
    for (const [name, place] of this.used)
      if (!this.rules.has(name)) this.fail(`the rule ${name} is used but not defined`, place);
    return this.rules;
  }

  private fail(why: string, at = this.at): never {
    const line = this.characters.slice(0, at).filter((character) => character === '\n').length + 1;
    throw new InputError(`${this.name}, line ${line}: ${why}`);
  }

  /** Passes over blanks and comments, and over line ends if they mean nothing here. */
  private space(lines: boolean): void {
    for (;;) {
      const character = this.characters[this.at];
      if (character === ' ' || character === '\t' || (lines && (character === '\n' || character === '\r'))) this.at++;
      else if (character === '#') while (this.at < this.characters.length && !this.peek('\n') && !this.peek('\r')) this.at++;
      else return;
    }
  }

  private word(): string | undefined {
    const start = this.at;
    while (/^[\w-]$/.test(this.characters[this.at] ?? '')) this.at++;
    return this.at === start ? undefined : this.characters.slice(start, this.at).join('');
  }

  private alternatives(nested: boolean): Expression {
    if (++this.depth > 200) this.fail('groups are nested deeper than 200');
    const options = [this.sequence(nested)];
    for (;;) {
      // An alternative may stand on the next line.
      const before = this.at;
      this.space(true);
      if (!this.take('|')) {
        if (!nested) this.at = before;
        break;
      }
      this.space(true);
      options.push(this.sequence(nested));
    }
    this.depth--;
    return choice(...options);
  }

  private sequence(nested: boolean): Expression {
    const parts: Expression[] = [];
    for (this.space(nested); this.at < this.characters.length; this.space(nested)) {
      const character = this.characters[this.at];
      let part: Expression;
      if (this.take('"')) part = this.literal();
      else if (this.take('[')) part = this.characterClass();
      else if (this.take('.')) part = { kind: 'set', set: anyCharacter };
      else if (this.take('(')) {
        part = this.alternatives(true);
        this.space(true);
        if (!this.take(')')) this.fail('a ) is missing');
      } else if (character === '<' || this.peek('!<')) this.fail('tokens as steps of a grammar (<...>) are not supported');
      else if ('*+?{'.includes(character)) this.fail(`nothing stands before ${character}`);
      else {
        const place = this.at;
        const name = this.word();
        if (name === undefined) break;
        if (!this.used.has(name)) this.used.set(name, place);
        part = rule(name);
      }
      parts.push(this.repeated(part));
    }
    return sequence(...parts);
  }

  private repeated(part: Expression): Expression {
    let repeated = part;
    for (;;) {
      if (this.take('*')) repeated = repeat(repeated, 0);
      else if (this.take('+')) repeated = repeat(repeated, 1);
      else if (this.take('?')) repeated = repeat(repeated, 0, 1);
      else if (this.peek('{')) {
        const found = /^\{\s*(\d+)\s*(,\s*(\d*)\s*)?\}/.exec(this.ahead);
        if (!found) this.fail('expected a repetition like {2}, {2,} or {2,5}');
        const least = Number(found[1]);
        const most = found[2] === undefined ? least : found[3] === '' ? Number.POSITIVE_INFINITY : Number(found[3]);
        if (least > most) this.fail(`the repetition ${found[0]} is empty`);
        if (least > mostRepetitions || (most > mostRepetitions && most !== Number.POSITIVE_INFINITY))
          this.fail(`more than ${mostRepetitions} repetitions are not supported`);
        this.at += [...found[0]].length;
        repeated = repeat(repeated, least, most);
      } else return repeated;
    }
  }

  private literal(): Expression {
    const parts: Expression[] = [];
    while (!this.take('"')) {
      const code = this.character('a text in quotes');
      parts.push({ kind: 'set', set: [[code, code]] });
    }
    return sequence(...parts);
  }

  private characterClass(): Expression {
    const negated = this.take('^');
    const ranges: Range[] = [];
    while (!this.take(']')) {
      const low = this.character('a class in brackets');
      let high = low;
      if (this.peek('-') && this.characters[this.at + 1] !== ']') {
        this.at++;
        high = this.character('a class in brackets');
        if (low > high) this.fail('a range in brackets runs backwards');
      }
      ranges.push([low, high]);
    }
    const set = characterSet(ranges);
    return { kind: 'set', set: negated ? complement(set) : without(set, [[0xd800, 0xdfff]]) };
  }

  private character(where: string): number {
    const character = this.characters[this.at];
    if (character === undefined || character === '\n') this.fail(`${where} does not end`);
    this.at++;
    if (character !== '\\') return character.codePointAt(0)!;
    const letter = this.characters[this.at++];
    const simple: Record<string, string> = { n: '\n', t: '\t', r: '\r', '"': '"', '\\': '\\', '[': '[', ']': ']' };
    if (letter !== undefined && letter in simple) return simple[letter].charCodeAt(0);
    const count = { x: 2, u: 4, U: 8 }[letter ?? ''];
    if (count === undefined) this.fail(`there is no escape \\${visible(letter ?? '')}`);
    const digits = this.characters.slice(this.at, this.at + count).join('');
    const code = /^[\da-f]+$/i.test(digits) && digits.length === count ? Number.parseInt(digits, 16) : Number.NaN;
    if (!(code <= lastCharacter)) this.fail(`\\${letter} needs ${count} hexadecimal digits of a character`);
    this.at += count;
    return code;
  }
}
