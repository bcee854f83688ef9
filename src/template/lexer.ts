// Jinja source to tokens, by the rules of Jinja2's lexer.py: white space control (`-`, `+`, trim_blocks, lstrip_blocks), raw blocks,
// comments, newlines of any kind, names in any script. Meaning is the parser's.

import { InputError, shown } from '../errors.js';
import { intOf } from '../python/arithmetic.js';
import { SPACE, stringEscapes } from '../python/text.js';
import type { Value } from '../python/values.js';
import { floatOf } from '../python-float.js';

export interface LexerOptions {
  /** The newline after a block goes; white space before one at the start of its line goes; the last newline of the source stays. */
  readonly trimBlocks?: boolean;
  readonly lstripBlocks?: boolean;
  readonly keepTrailingNewline?: boolean;
}

type TokenType =
  | 'data'
  | 'variable_begin'
  | 'variable_end'
  | 'block_begin'
  | 'block_end'
  | 'name'
  | 'string'
  | 'number'
  | 'operator'
  | 'end';

export interface Token {
  readonly type: TokenType;
  /** The text of data, names and operators. */
  readonly text: string;
  /** What a string or number stands for. */
  readonly value: Value;
  readonly line: number;
}

const blanks = new RegExp(`[${SPACE}]+`, 'y');
const onlyBlanks = new RegExp(`^[${SPACE}]+$`);
const trailingBlanks = new RegExp(`[${SPACE}]$`);
const rawBegin = new RegExp(`\\{%[-+]?[${SPACE}]*raw[${SPACE}]*(?:-%\\}[${SPACE}]*|%\\})`, 'y');
const rawEnd = new RegExp(`\\{%([-+]?)[${SPACE}]*endraw[${SPACE}]*([-+]?)%\\}`, 'g');
const float = /(?<!\.)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const integer = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const name = /[\p{XIDC}\u2118\u212e\u309b\u309c]+/uy;
const identifier = /^[\p{XIDS}_]\p{XIDC}*$/u;
const string = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/suy;
const operator = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;
const closing: Readonly<Record<string, string>> = { '{': '}', '(': ')', '[': ']' };

const MAX_TOKENS = 200_000;

/** Throws `InputError` with the line where the source stops being Jinja. */
export function tokenize(source: string, options: LexerOptions = {}): Token[] {
  return new Lexer(source, options).run();
}

class Lexer {
  private readonly source: string;
  private readonly tokens: Token[] = [];
  private at = 0;
  private line = 1;
  private lineStarting = true;

  constructor(
    source: string,
    private readonly options: LexerOptions,
  ) {
    const text = source.replace(/\r\n?/g, '\n');
    this.source = !options.keepTrailingNewline && text.endsWith('\n') ? text.slice(0, -1) : text;
  }

  run(): Token[] {
    const begin = /\{[%{#]/g;
    while (this.at < this.source.length) {
      begin.lastIndex = this.at;
      const found = begin.exec(this.source);
      if (!found) {
        this.push('data', this.source.slice(this.at));
        break;
      }
      this.tag(found.index, found[0]);
    }
    this.push('end', '');
    return this.tokens;
  }

  private push(type: TokenType, text: string, value: Value = text): void {
    if (type !== 'data' || text !== '') this.tokens.push({ type, text, value, line: this.line });
    if (this.tokens.length > MAX_TOKENS) this.fail('there is more than any template needs');
    this.line += text.split('\n').length - 1;
  }

  private fail(what: string): never {
    throw new InputError(`line ${this.line}: ${what}`);
  }

  /** The text before a tag, without the white space that the tag takes away. */
  private before(text: string, sign: string, variable: boolean): string {
    if (sign === '-') {
      let end = text.length;
      while (end > 0 && trailingBlanks.test(text[end - 1])) end--;
      return text.slice(0, end);
    }
    if (sign === '+' || !this.options.lstripBlocks || variable) return text;
    const start = text.lastIndexOf('\n') + 1;
    return (start > 0 || this.lineStarting) && onlyBlanks.test(text.slice(start)) ? text.slice(0, start) : text;
  }

  private tag(index: number, begin: string): void {
    const text = this.source.slice(this.at, index);
    const sign = /[-+]/.exec(this.source[index + 2] ?? '')?.[0] ?? '';
    const kept = this.before(text, sign, begin === '{{');
    this.push('data', kept);
    this.line += text.split('\n').length - kept.split('\n').length;
    this.at = index + 2 + sign.length;
    if (begin === '{%' && this.raw(index)) return;
    if (begin === '{#') this.comment();
    else this.inside(begin === '{{' ? 'variable' : 'block');
  }

  private raw(index: number): boolean {
    rawBegin.lastIndex = index;
    const found = rawBegin.exec(this.source);
    if (!found) return false;
    this.move(index + found[0].length, index);
    rawEnd.lastIndex = this.at;
    const end = rawEnd.exec(this.source);
    if (!end) this.fail('Missing end of raw directive');
    this.push('data', this.before(this.source.slice(this.at, end.index), end[1], false));
    this.close(end.index + end[0].length, end[2], this.options.trimBlocks ?? false);
    return true;
  }

  private comment(): void {
    const end = this.source.indexOf('#}', this.at);
    if (end < 0) this.fail('Missing end of comment tag');
    this.line += this.source.slice(this.at, end).split('\n').length - 1;
    const sign = end > this.at ? (/[-+]/.exec(this.source[end - 1])?.[0] ?? '') : '';
    this.close(end + 2, sign, this.options.trimBlocks ?? false);
  }

  /** Goes on behind a tag that ends at `at`, and behind the white space that it takes away. */
  private close(at: number, sign: string, trim: boolean): void {
    this.at = at;
    if (sign === '-') this.skipBlanks();
    else if (sign === '' && trim && this.source[at] === '\n') this.move(at + 1, at);
    this.lineStarting = this.source[this.at - 1] === '\n';
  }

  private skipBlanks(): void {
    const text = this.take(blanks);
    if (text !== undefined) this.line += text.split('\n').length - 1;
  }

  private move(to: number, from = this.at): void {
    this.line += this.source.slice(from, to).split('\n').length - 1;
    this.at = to;
    this.lineStarting = this.source[to - 1] === '\n';
  }

  private take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.source)?.[0];
    if (found !== undefined) this.at += found.length;
    return found;
  }

  private inside(kind: 'variable' | 'block'): void {
    const end = kind === 'variable' ? '}}' : '%}';
    const open: string[] = [];
    this.push(`${kind}_begin`, '');
    for (;;) {
      if (open.length === 0) {
        const sign = (kind === 'block' ? /[-+]/ : /-/).exec(this.source[this.at] ?? '')?.[0] ?? '';
        if (this.source.startsWith(end, this.at + sign.length)) {
          this.push(`${kind}_end`, '');
          this.close(this.at + sign.length + 2, sign, kind === 'block' && (this.options.trimBlocks ?? false));
          return;
        }
      }
      if (this.at >= this.source.length) this.fail('the template ends inside a tag');
      this.word(open);
    }
  }

  private word(open: string[]): void {
    const space = this.take(blanks);
    if (space !== undefined) this.line += space.split('\n').length - 1;
    else if (!this.number() && !this.name() && !this.string()) this.operator(open);
  }

  private number(): boolean {
    const broken = this.take(float);
    const whole = broken ?? this.take(integer);
    if (whole === undefined) return false;
    const digits = whole.replaceAll('_', '');
    this.push('number', whole, broken === undefined ? intOf(BigInt(digits)) : floatOf(Number(digits)));
    return true;
  }

  private name(): boolean {
    const word = this.take(name);
    if (word === undefined) return false;
    if (!identifier.test(word)) this.fail(`invalid character in the name ${shown(word)}`);
    this.push('name', word);
    return true;
  }

  private string(): boolean {
    const text = this.take(string);
    if (text === undefined) return false;
    this.push('string', text, this.unescaped(text.slice(1, -1)));
    return true;
  }

  private operator(open: string[]): void {
    const sign = this.take(operator);
    if (sign === undefined) {
      this.fail(`unexpected character ${JSON.stringify(String.fromCodePoint(this.source.codePointAt(this.at)!))}`);
    }
    if (closing[sign]) open.push(closing[sign]);
    else if (sign === '}' || sign === ')' || sign === ']') {
      const expected = open.pop();
      if (expected !== sign) this.fail(`unexpected '${sign}'${expected ? `, expected '${expected}'` : ''}`);
    }
    this.push('operator', sign);
  }

  /** Python's escapes of a str literal; unknown ones stay as they are. */
  private unescaped(text: string): string {
    return text.replace(
      /\\(?:([0-7]{1,3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|(.))/gsu,
      (whole, octal, hex, short, long, character) => {
        if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
        const code = hex ?? short ?? long;
        if (code !== undefined) {
          const point = Number.parseInt(code, 16);
          return point > 0x10ffff ? this.fail('illegal Unicode character') : String.fromCodePoint(point);
        }
        if ('xuU'.includes(character)) this.fail(`truncated \\${character} escape`);
        if (character === 'N') this.fail('escapes by the name of a character are not supported');
        return stringEscapes[character] ?? whole;
      },
    );
  }
}
