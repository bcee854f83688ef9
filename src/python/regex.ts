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
  const fail = (what: string): never => {
    throw new InputError(`the regular expression ${shown(pattern)} ${what}`);
  };
  let flags = 'gu';
  let source = pattern;
  const inline = /^\(\?([a-zA-Z]+)\)/.exec(source);
  if (inline) {
    for (const flag of inline[1]) {
      if (!'ims'.includes(flag)) fail(`has the flag ${flag}, which is not known here`);
      if (!flags.includes(flag)) flags += flag;
    }
    source = source.slice(inline[0].length);
  }
  const multiline = flags.includes('m');
  flags = flags.replace('m', '');
  const characters = [...source];
  let out = '';
  let at = 0;
  const escaped = (inClass: boolean): string => {
    const c = characters[++at] ?? fail('ends with a backslash');
    at++;
    if (classes[c.toLowerCase()] && /[dwsDWS]/.test(c)) {
      const inside = classes[c.toLowerCase()];
      if (c !== c.toLowerCase()) return inClass ? fail(`has \\${c} in a class, which is not known here`) : `[^${inside}]`;
      return inClass ? inside : `[${inside}]`;
    }
    if (letters[c]) return letters[c];
    if (c === 'x' || c === 'u') {
      const length = c === 'x' ? 2 : 4;
      const digits = characters.slice(at, at + length).join('');
      if (!new RegExp(`^[0-9a-fA-F]{${length}}$`).test(digits)) fail(`has \\${c} without ${length} digits`);
      at += length;
      return `\\${c}${digits}`;
    }
    if (inClass && c === 'b') return '\\x08';
    if (!inClass && /[1-9]/.test(c)) return /[0-9]/.test(characters[at] ?? '') ? fail('has an octal escape') : `(?:\\${c})`;
    if (!inClass && c === 'b') return boundary;
    if (!inClass && c === 'B') return `(?!${boundary})`;
    if (!inClass && c === 'A') return '(?<![^])';
    if (!inClass && c === 'Z') return '(?![^])';
    if (/[0-9A-Za-z]/.test(c)) return fail(`has \\${c}, which is not known here`);
    return special.test(c) && (inClass || c !== '-') ? `\\${c}` : c;
  };
  const characterClass = (): string => {
    let inside = '[';
    at++;
    if (characters[at] === '^') {
      inside += '^';
      at++;
    }
    for (let first = true; first || characters[at] !== ']'; first = false) {
      const c = characters[at] ?? fail('has a class that does not end');
      if (c === '\\') inside += escaped(true);
      else {
        inside += c !== '-' && special.test(c) ? `\\${c}` : c;
        at++;
      }
    }
    at++;
    return `${inside}]`;
  };
  while (at < characters.length) {
    const c = characters[at];
    const rest = characters.slice(at, at + 40).join('');
    if (c === '\\') out += escaped(false);
    else if (c === '[') out += characterClass();
    else if (rest.startsWith('(?')) {
      const group =
        /^\(\?(?:P<([A-Za-z_]\w*)>|P=([A-Za-z_]\w*)\)|[:=!]|<[=!])/.exec(rest) ?? fail('has a group that is not known here');
      out += group[1] ? `(?<${group[1]}>` : group[2] ? `(?:\\k<${group[2]}>)` : group[0];
      at += group[0].length;
    } else {
      const repeat = /^\{(\d*)(,?)(\d*)\}/.exec(rest);
      if (repeat && (repeat[1] || repeat[3])) {
        out += `{${repeat[1] || 0}${repeat[2]}${repeat[3]}}`;
        at += repeat[0].length;
      } else {
        if (c === '.' && !flags.includes('s')) out += '[^\\n]';
        else if (c === '$') out += multiline ? '(?=\\n|(?![^]))' : '(?=\\n?(?![^]))';
        else if (c === '^') out += multiline ? '(?<![^\\n])' : '(?<![^])';
        else out += /[{}\]]/.test(c) ? `\\${c}` : c;
        at++;
      }
      if (/[*+?}]/.test(c) || repeat) {
        if (characters[at] === '+') fail('has a possessive quantifier, which is not known here');
      }
    }
  }
  try {
    return new RegExp(out, flags);
  } catch {
    return fail('is none');
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
