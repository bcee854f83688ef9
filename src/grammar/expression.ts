// What texts may look like: expressions over characters, with names for rules that may refer to one another. Every notation
// (regular expressions, GBNF, JSON Schema) becomes these; `compile.ts` makes automata of them.

import type { Automaton } from './automaton.js';
import { type CharacterSet, characterSet } from './characters.js';

export type Expression =
  | { readonly kind: 'set'; readonly set: CharacterSet }
  | { readonly kind: 'sequence'; readonly parts: readonly Expression[] }
  | { readonly kind: 'choice'; readonly options: readonly Expression[] }
  | { readonly kind: 'repeat'; readonly of: Expression; readonly least: number; readonly most: number }
  | { readonly kind: 'rule'; readonly name: string }
  /** The texts of an automaton over characters; `json`: as they are written between the quotes of a JSON string. */
  | { readonly kind: 'automaton'; readonly automaton: Automaton; readonly as: 'utf8' | 'json' };

/** A start and rules by name. */
export interface Grammar {
  readonly root: Expression;
  readonly rules: ReadonlyMap<string, Expression>;
}

export const empty: Expression = { kind: 'sequence', parts: [] };
/** Nothing at all, not even the empty text. */
export const never: Expression = { kind: 'choice', options: [] };

export function set(...ranges: (readonly [number, number])[]): Expression {
  return { kind: 'set', set: characterSet(ranges) };
}

/** One of these characters. */
export function oneOfCharacters(characters: string): Expression {
  return set(...[...characters].map((character) => [character.codePointAt(0)!, character.codePointAt(0)!] as const));
}

export function text(literal: string): Expression {
  return sequence(...[...literal].map((character) => oneOfCharacters(character)));
}

export function sequence(...parts: readonly Expression[]): Expression {
  return parts.length === 1 ? parts[0] : { kind: 'sequence', parts };
}

export function choice(...options: readonly Expression[]): Expression {
  return options.length === 1 ? options[0] : { kind: 'choice', options };
}

export function repeat(of: Expression, least: number, most: number = Number.POSITIVE_INFINITY): Expression {
  return { kind: 'repeat', of, least, most };
}

export function optional(of: Expression): Expression {
  return repeat(of, 0, 1);
}

export function rule(name: string): Expression {
  return { kind: 'rule', name };
}
