// Reading JSON from untrusted files: a strict cursor that walks the text and hands over only what the caller asks for, so
// that duplicate keys are refused, nesting cannot exhaust the stack, and an error says where. Formats with a fixed shape
// (a safetensors header, a shard index) use the cursor; ordinary files use parseJson, which only falls back to it for the place.

import { InputError } from '../errors.js';
import { floatOf } from '../python-float.js';

/** What makes a text of a value, compares or walks it goes as deep as it does, and has a stack for some thousands. */
const mostNested = 500;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const words: readonly (readonly [string, unknown])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
];
const BLANK = /[ \t\r\n]*/y;

/** A cursor over JSON text. Every method reads one value and throws `InputError` (with the name and the place) if it is another. */
export class JsonReader {
  private position = 0;
  private depth = 0;

  constructor(
    private readonly text: string,
    private readonly name: string,
  ) {}

  /** Reads an object; `visit` must read the value of each key. A key that comes twice is refused. */
  object(what: string, visit: (key: string) => void): void {
    const seen = new Set<string>();
    this.members(what, (key, at) => {
      if (seen.has(key)) this.fail(`the key ${quoted(key)} comes twice in ${what}`, at);
      seen.add(key);
      visit(key);
    });
  }

  /** Reads an array; `visit` must read each item. */
  array(what: string, visit: () => void): void {
    this.open('[', what);
    if (!this.accept(']')) {
      do visit();
      while (this.accept(','));
      this.expect(']', `"," or "]"`);
    }
    this.depth--;
  }

  string(what: string): string {
    const at = this.skipBlanks();
    if (this.text[at] !== '"') this.unexpected(what);
    let end = at + 1;
    let plain = true;
    for (; ; end++) {
      const code = this.text.charCodeAt(end);
      if (code === 0x22) break;
      if (code === 0x5c) {
        plain = false;
        end++;
      } else if (Number.isNaN(code) || code < 0x20) {
        this.fail(
          Number.isNaN(code) ? 'the text ends inside a string' : 'a control character lies inside a string',
          Math.min(end, this.text.length),
        );
      }
    }
    this.position = end + 1;
    if (plain) return this.text.slice(at + 1, end);
    try {
      return JSON.parse(this.text.slice(at, end + 1)) as string;
    } catch {
      return this.fail('a string holds an invalid escape', at);
    }
  }

  /** Reads an integer from 0 to 2^53 - 1, written in digits alone. */
  unsigned(what: string): number {
    const at = this.skipBlanks();
    const text = this.match(NUMBER);
    const value = Number(text);
    if (text === undefined || !/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
      this.position = at;
      this.unexpected(what);
    }
    return value;
  }

  /**
   * Reads any value as Python's json does: NaN and Infinity are numbers, 2.0 is a float (`PythonFloat`), whole numbers have any size,
   * the last of duplicate keys wins.
   */
  value(): unknown {
    const at = this.skipBlanks();
    const first = this.text[at];
    if (first === '"') return this.string('a string');
    if (first === '[') {
      const items: unknown[] = [];
      this.array('an array', () => items.push(this.value()));
      return items;
    }
    if (first === '{') return this.entries();
    for (const [word, value] of words) if (this.accept(word)) return value;
    const text = this.match(NUMBER);
    if (text === undefined) return this.unexpected('a value');
    if (/[.eE]/.test(text)) return floatOf(Number(text));
    const whole = Number(text);
    return Number.isSafeInteger(whole) ? whole : BigInt(text);
  }

  private entries(): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    this.members('an object', (key) => {
      const options = { value: this.value(), enumerable: true, configurable: true, writable: true };
      Object.defineProperty(object, key, options);
    });
    return object;
  }

  /** `at`: where the key stands. */
  private members(what: string, visit: (key: string, at: number) => void): void {
    this.open('{', what);
    if (!this.accept('}')) {
      do {
        const at = this.skipBlanks();
        const key = this.string('a key in quotes');
        this.expect(':');
        visit(key, at);
      } while (this.accept(','));
      this.expect('}', `"," or "}"`);
    }
    this.depth--;
  }

  /** Reads any value and throws it away. */
  skip(): void {
    const at = this.skipBlanks();
    const first = this.text[at];
    if (first === '{') this.object('an object', () => this.skip());
    else if (first === '[') this.array('an array', () => this.skip());
    else if (first === '"') this.string('a string');
    else if (this.match(NUMBER) === undefined && !['true', 'false', 'null'].some((word) => this.accept(word)))
      this.unexpected('a value');
  }

  /** Nothing but blanks may be left. */
  end(): void {
    if (this.skipBlanks() < this.text.length) this.unexpected('the end');
  }

  /** Throws an `InputError` that names the place (the cursor's, or the position given). */
  fail(message: string, at = this.position): never {
    const before = this.text.slice(0, at);
    const line = before.split('\n').length;
    const column = at - before.lastIndexOf('\n');
    throw new InputError(`${this.name}: ${message} (line ${line}, column ${column})`);
  }

  private open(bracket: string, what: string): void {
    const at = this.skipBlanks();
    if (this.text[at] !== bracket) this.unexpected(what);
    if (++this.depth > mostNested) this.fail(`brackets are nested more than ${mostNested} deep`);
    this.position++;
  }

  private expect(word: string, what = `"${word}"`): void {
    if (!this.accept(word)) this.unexpected(what);
  }

  private accept(word: string): boolean {
    const at = this.skipBlanks();
    if (!this.text.startsWith(word, at)) return false;
    this.position = at + word.length;
    return true;
  }

  private unexpected(what: string): never {
    const at = this.skipBlanks();
    const found = at < this.text.length ? quoted(this.text.slice(at, at + 20)) : 'the end of the text';
    return this.fail(`expected ${what}, found ${found}`, at);
  }

  private skipBlanks(): number {
    this.match(BLANK);
    return this.position;
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.position;
    const found = pattern.exec(this.text);
    if (!found) return undefined;
    this.position = pattern.lastIndex;
    return found[0];
  }
}

/** Any JSON text as a value; `InputError` with the name, line and column when it is not JSON. The last of duplicate keys wins, as in Python. */
export function parseJson(text: string, name: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const reader = new JsonReader(text, name);
    reader.skip();
    reader.end();
    throw error; // the cursor and JSON.parse agree on what is JSON
  }
  checkNesting(value, text, name);
  return value;
}

function checkNesting(value: unknown, text: string, name: string): void {
  let brackets = 0; // so many there must be, and in most texts there are not
  for (const bracket of '[{') {
    for (let at = text.indexOf(bracket); at >= 0 && brackets <= mostNested; at = text.indexOf(bracket, at + 1)) brackets++;
  }
  if (brackets > mostNested && isNestedBeyond(value, mostNested))
    throw new InputError(`${name}: brackets are nested more than ${mostNested} deep`);
}

/** Whether objects and lists lie in one another more than `most` deep. */
function isNestedBeyond(value: unknown, most: number): boolean {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > most) return true;
    const inside: unknown[] = [];
    for (const outer of level)
      if (typeof outer === 'object' && outer !== null)
        for (const inner of Object.values(outer)) if (typeof inner === 'object' && inner !== null) inside.push(inner);
    level = inside;
  }
  return false;
}

/**
 * JSON as Python reads it (see `JsonReader.value`). Throws `InputError` with the place when it is not JSON.
 */
export function parsePythonJson(text: string, name: string): unknown {
  // JSON.parse knows the difference only where a number may be whole and a float, or no number.
  if (!/\.0|\d[eE]|\d{16}|NaN|Infinity/.test(text)) return parseJson(text, name);
  const reader = new JsonReader(text, name);
  const value = reader.value();
  reader.end();
  return value;
}

/** JSON, with the NaN and Infinity that Python writes. Throws `InputError` with the place when it is neither. */
export function parseData(text: string, name: string): unknown {
  try {
    return parseJson(text, name);
  } catch (error) {
    if (/NaN|Infinity/.test(text)) return parsePythonJson(text, name);
    throw error;
  }
}

/**
 * Whether a file of rows that begins so is one JSON value: a list, or an object that goes on in the next line. False: an object a line;
 * undefined: more of it must be seen.
 */
export function isOneValue(beginning: string): boolean | undefined {
  const [, first, next] = /^[\s\ufeff]*([^\s\ufeff])[ \t\r]*([^ \t\r])?/.exec(beginning) ?? [];
  if (first !== '{') return first === undefined ? undefined : first === '[';
  return next === undefined ? undefined : next === '\n';
}

/** JSON of data that `parsePythonJson` may have read: whole numbers beyond a double's are written as the nearest double. */
export function stringifyData(data: unknown, indent?: number): string {
  return JSON.stringify(data, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value), indent);
}

/** UTF-8 bytes as text; `InputError` when they are not UTF-8. A byte order mark is kept (and then is no JSON). */
export function decodeUtf8(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new InputError(`${name}: not valid UTF-8 text`);
  }
}

/** A name from a file, fit for a message: in quotes, control characters escaped, cut when long. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 117)}...` : text);
}

/** A value as a JSON file's bytes, indented. */
export function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}

/** Whether a value is what JSON calls an object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
