// Python's regular expressions (its re module, on texts) as JavaScript's: the same syntax with what differs written out (classes by Unicode,
// \Z, $ before a last newline, named groups). What JavaScript has not (possessive and atomic groups, conditions, comments) is refused.

import { InputError, shown } from '../errors.js';
import { SPACE } from './text.js';

const word = '\\p{L}\\p{N}_';
const boundary = `(?:(?<=[${word}])(?![${word}])|(?<![${word}])(?=[${word}]))`;
/** Of classes, what goes between brackets. */
const classes: Readonly<Record<string, string>> = { d: '\\p{Nd}', w: word, s: SPACE };
const letters: Readonly<Record<string, string>> = { n: '\\n', t: '\\t', r: '\\r', f: '\\f', v: '\\v', a: '\\x07' };
const special = /[\^$\\.*+?()[\]{}|/-]/;

/** Global. Throws `InputError` that says what of the pattern there is not, or that it is none. */
export function pythonRegex(pattern: string): RegExp {
  return new Translation(pattern).whole();
}

class Translation {
  private readonly characters: readonly string[];
  private readonly flags: string;
  private readonly multiline: boolean;
  private at = 0;

  constructor(private readonly pattern: string) {
    const [inline = '', asked = ''] = /^\(\?([a-zA-Z]+)\)/.exec(pattern) ?? [];
    for (const flag of asked) if (!'ims'.includes(flag)) this.fail(`has the flag ${flag}, which is not known here`);
    this.flags = [...new Set(`gu${asked.replaceAll('m', '')}`)].join('');
    this.multiline = asked.includes('m');
    this.characters = [...pattern.slice(inline.length)];
  }

  whole(): RegExp {
    let out = '';
    while (this.at < this.characters.length) out += this.next();
    try {
      return new RegExp(out, this.flags);
    } catch {
      return this.fail('is none');
    }
  }

  private fail(what: string): never {
    throw new InputError(`the regular expression ${shown(this.pattern)} ${what}`);
  }

  private next(): string {
    const c = this.characters[this.at];
    if (c === '\\') return this.escaped(false);
    if (c === '[') return this.characterClass();
    const rest = this.characters.slice(this.at, this.at + 40).join('');
    if (rest.startsWith('(?')) return this.group(rest);
    const repeat = /^\{(\d*)(,?)(\d*)\}/.exec(rest);
    const counted = repeat && (repeat[1] || repeat[3]) ? repeat : undefined;
    this.at += counted ? counted[0].length : 1;
    if ((/[*+?}]/.test(c) || repeat) && this.characters[this.at] === '+')
      this.fail('has a possessive quantifier, which is not known here');
    return counted ? `{${counted[1] || 0}${counted[2]}${counted[3]}}` : this.single(c);
  }

  /** A character that stands for itself, or by itself for something. */
  private single(c: string): string {
    if (c === '.' && !this.flags.includes('s')) return '[^\\n]';
    if (c === '$') return this.multiline ? '(?=\\n|(?![^]))' : '(?=\\n?(?![^]))';
    if (c === '^') return this.multiline ? '(?<![^\\n])' : '(?<![^])';
    return /[{}\]]/.test(c) ? `\\${c}` : c;
  }

  /** How a group begins that is not a plain one. */
  private group(rest: string): string {
    const [whole, named, again] =
      /^\(\?(?:P<([A-Za-z_]\w*)>|P=([A-Za-z_]\w*)\)|[:=!]|<[=!])/.exec(rest) ?? this.fail('has a group that is not known here');
    this.at += whole.length;
    return named ? `(?<${named}>` : again ? `(?:\\k<${again}>)` : whole;
  }

  private characterClass(): string {
    let inside = '[';
    this.at++;
    if (this.characters[this.at] === '^') {
      inside += '^';
      this.at++;
    }
    for (let first = true; first || this.characters[this.at] !== ']'; first = false) {
      const c = this.characters[this.at] ?? this.fail('has a class that does not end');
      if (c === '\\') inside += this.escaped(true);
      else {
        inside += c !== '-' && special.test(c) ? `\\${c}` : c;
        this.at++;
      }
    }
    this.at++;
    return `${inside}]`;
  }

  private escaped(inClass: boolean): string {
    const c = this.characters[++this.at] ?? this.fail('ends with a backslash');
    this.at++;
    if (classes[c.toLowerCase()] && /[dwsDWS]/.test(c)) {
      const inside = classes[c.toLowerCase()];
      if (c !== c.toLowerCase()) return inClass ? this.fail(`has \\${c} in a class, which is not known here`) : `[^${inside}]`;
      return inClass ? inside : `[${inside}]`;
    }
    if (letters[c]) return letters[c];
    if (c === 'x' || c === 'u') {
      const length = c === 'x' ? 2 : 4;
      const digits = this.characters.slice(this.at, this.at + length).join('');
      if (!new RegExp(`^[0-9a-fA-F]{${length}}$`).test(digits)) this.fail(`has \\${c} without ${length} digits`);
      this.at += length;
      return `\\${c}${digits}`;
    }
    if (inClass && c === 'b') return '\\x08';
    if (!inClass && /[1-9]/.test(c))
      return /[0-9]/.test(this.characters[this.at] ?? '') ? this.fail('has an octal escape') : `(?:\\${c})`;
    if (!inClass && c === 'b') return boundary;
    if (!inClass && c === 'B') return `(?!${boundary})`;
    if (!inClass && c === 'A') return '(?<![^])';
    if (!inClass && c === 'Z') return '(?![^])';
    if (/[0-9A-Za-z]/.test(c)) return this.fail(`has \\${c}, which is not known here`);
    return special.test(c) && (inClass || c !== '-') ? `\\${c}` : c;
  }
}

/** `re.findall`: whole matches, the one group, or all groups (texts; empty where a group took no part). */
export function findAll(expression: RegExp, text: string): (string | string[])[] {
  return Array.from(text.matchAll(expression), ([whole, ...groups]) => {
    const texts = groups.map((group) => group ?? '');
    return texts.length === 0 ? whole : texts.length === 1 ? texts[0] : texts;
  });
}

/** `re.sub(expression, by, text, count)`: `by` with its \\1, \\g<name> and escapes. Throws `InputError` where Python does. */
export function substitute(expression: RegExp, by: string, text: string, count: number): string {
  const { groups = {}, length } = new RegExp(`${expression.source}|`, expression.flags).exec('')!;
  const parts = replacement(by);
  for (const { group } of parts) {
    if (group !== undefined && !(typeof group === 'number' ? group < length : Object.hasOwn(groups, group)))
      throw new InputError(`the replacement ${shown(by)} names the group ${group}, which is not there`);
  }
  let done = 0;
  return text.replace(expression, (...match) => {
    if (count > 0 && done++ >= count) return match[0];
    const named = match.at(-1) as Readonly<Record<string, string | undefined>>;
    return parts.map(({ text, group }) => text ?? (typeof group === 'number' ? match[group] : named[group!]) ?? '').join('');
  });
}

interface Part {
  readonly text?: string;
  readonly group?: number | string;
}

/** A replacement's pieces (_parser.py `parse_template`). */
function replacement(by: string): Part[] {
  const simple: Readonly<Record<string, string>> = {
    n: '\n',
    t: '\t',
    r: '\r',
    f: '\f',
    v: '\v',
    a: '\x07',
    b: '\b',
    '\\': '\\',
  };
  const fail = (): never => {
    throw new InputError(`the replacement ${shown(by)} has an escape that is none`);
  };
  const pattern = /\\(?:g<(\w+)>|(0[0-7]{0,2}|[1-3][0-7]{2})|([1-9]\d?)|(.?))|[^\\]+/gsu;
  return Array.from(by.matchAll(pattern), ([whole, name, octal, index, escaped]): Part => {
    if (name !== undefined) return { group: /^\d+$/.test(name) ? Number(name) : name };
    if (octal !== undefined) return { text: String.fromCharCode(Number.parseInt(octal, 8)) };
    if (index !== undefined) return { group: Number(index) };
    if (escaped === undefined) return { text: whole };
    return { text: simple[escaped] ?? (escaped === '' || /[A-Za-z]/.test(escaped) ? fail() : whole) };
  });
}
