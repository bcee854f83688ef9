// Python's literals as `ast.literal_eval` reads them, from texts that are data: columns of datasets, answers of models. No expressions.

import { InputError } from '../errors.js';
import { floatOf } from '../python-float.js';
import { stringEscapes } from './text.js';

const deepest = 50;

/**
 * `ast.literal_eval` of strings, numbers, True, False, None, lists, tuples and dicts; tuples become arrays, dicts objects.
 * Throws `InputError` with the place where the text stops being such a literal.
 */
export function literalEval(source: string): unknown {
  return new LiteralReader(source).whole();
}

class LiteralReader {
  private at = 0;

  constructor(private readonly source: string) {}

  whole(): unknown {
    const value = this.value(0);
    this.skip();
    if (this.at < this.source.length) this.fail('something follows the literal');
    return value;
  }

  private fail(what: string): never {
    const shown = JSON.stringify(this.source.slice(0, 60));
    throw new InputError(`not a Python literal at character ${this.at} of ${shown}: ${what}`);
  }

  private skip(): void {
    while (this.at < this.source.length && /\s/.test(this.source[this.at])) this.at++;
  }

  private value(depth: number): unknown {
    if (depth > deepest) this.fail('nested too deeply');
    this.skip();
    const character = this.source[this.at];
    if (character === '"' || character === "'") return this.strings();
    if (character === '[' || character === '(') {
      const list: unknown[] = [];
      this.items(character === '[' ? ']' : ')', () => list.push(this.value(depth + 1)));
      return list;
    }
    if (character === '{') {
      const object: Record<string, unknown> = {};
      this.items('}', () => {
        const key = this.value(depth + 1);
        this.skip();
        if (this.source[this.at++] !== ':') this.fail('expected ":"');
        Object.defineProperty(object, String(key), { value: this.value(depth + 1), enumerable: true });
      });
      return object;
    }
    return this.word();
  }

  /** What stands between brackets, the opening one being next, with commas in between. */
  private items(close: string, read: () => void): void {
    this.at++;
    for (this.skip(); this.source[this.at] !== close; this.skip()) {
      read();
      this.skip();
      if (this.source[this.at] === ',') this.at++;
      else if (this.source[this.at] !== close) this.fail(`expected "," or "${close}"`);
    }
    this.at++;
  }

  /** Strings that follow each other are one. */
  private strings(): string {
    let text = this.string();
    for (this.skip(); this.source[this.at] === '"' || this.source[this.at] === "'"; this.skip()) text += this.string();
    return text;
  }

  private string(): string {
    const { source } = this;
    const quote = source[this.at++];
    let text = '';
    while (source[this.at] !== quote) {
      if (this.at >= source.length || source[this.at] === '\n') this.fail('a string without its closing quote');
      text += source[this.at] === '\\' ? this.escaped() : source[this.at++];
    }
    this.at++;
    return text;
  }

  private escaped(): string {
    const kind = this.source[++this.at];
    const digits = { x: 2, u: 4, U: 8 }[kind];
    const octal = /^[0-7]{1,3}/.exec(this.source.slice(this.at, this.at + 3))?.[0];
    this.at++;
    if (digits !== undefined) {
      const code = this.source.slice(this.at, this.at + digits);
      const value = Number.parseInt(code, 16);
      if (!/^[0-9a-fA-F]+$/.test(code) || code.length < digits || value > 0x10ffff) this.fail('a bad escape');
      this.at += digits;
      return String.fromCodePoint(value);
    }
    if (octal !== undefined) {
      this.at += octal.length - 1;
      return String.fromCharCode(Number.parseInt(octal, 8));
    }
    return stringEscapes[kind] ?? `\\${kind}`;
  }

  private word(): unknown {
    const word = /^(?:True|False|None)\b|^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/.exec(this.source.slice(this.at))?.[0];
    if (word === undefined) return this.fail('expected a string, number, list or dict');
    this.at += word.length;
    if (word === 'None') return null;
    if (word === 'True' || word === 'False') return word === 'True';
    return /[.eE]/.test(word) ? floatOf(Number(word)) : Number(word);
  }
}
