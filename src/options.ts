// Options of the library, checked as strictly as the command line's: an unknown key and a value out of its range are one sentence
// that names them. What each option may be is said where the option is; a leaf: every room may import it.

import { InputError, nearest, shown } from './errors.js';

/** What an option may be, in words and as a test. */
export interface Rule {
  readonly says: string;
  readonly holds: (value: unknown) => boolean;
}

/** A rule for every key of some options. */
export type Rules<Options> = { readonly [Key in keyof Required<Options>]: Rule };

/** One of a few words. */
export function oneOf(...words: readonly string[]): Rule {
  const says = words
    .map((word) => `'${word}'`)
    .join(', ')
    .replace(/, ([^,]*)$/, ' or $1');
  return { says, holds: (value) => typeof value === 'string' && words.includes(value) };
}

export function wholeFrom(least: number, most: number = Number.MAX_SAFE_INTEGER): Rule {
  const says =
    most === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${least}` : `a whole number from ${least} to ${most}`;
  return { says, holds: (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most };
}

export const rules = {
  boolean: { says: 'true or false', holds: (value) => typeof value === 'boolean' },
  text: { says: 'a text', holds: (value) => typeof value === 'string' },
  function: { says: 'a function', holds: (value) => typeof value === 'function' },
  object: { says: 'an object', holds: (value) => typeof value === 'object' && value !== null },
  signal: { says: 'an AbortSignal', holds: (value) => value instanceof AbortSignal },
  /** Checked elsewhere. */
  anything: { says: 'anything', holds: () => true },
} as const satisfies Record<string, Rule>;

/**
 * Throws `InputError` naming the first key that is unknown (and the one that was probably meant) or whose value breaks its rule;
 * `what` says whose options they are. Undefined is as if left out.
 */
export function checkOptions<Options extends object>(what: string, options: Options, allowed: Rules<Options>): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new InputError(`${what} are ${shown(options)}; expected an object`);
  }
  for (const [key, value] of Object.entries(options)) {
    const rule = Object.hasOwn(allowed, key) ? allowed[key as keyof Options] : undefined;
    if (!rule) {
      const guess = nearest(key, Object.keys(allowed));
      throw new InputError(
        `${what}: there is no ${key}; ${guess ? `did you mean ${guess}?` : `known are ${Object.keys(allowed).join(', ')}`}`,
      );
    }
    if (value !== undefined && !rule.holds(value))
      throw new InputError((option) => `${what}: ${option(key)} is ${shown(value)}; expected ${rule.says}`);
  }
}
