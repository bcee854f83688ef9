// What a text may be asked to be, and its grammar: the three languages that are read, side by side.

import { InputError } from '../errors.js';
import { type Alphabet, type CompiledGrammar, compile } from './compile.js';
import type { Grammar } from './expression.js';
import { parseGbnf } from './gbnf.js';
import { parseJsonSchema } from './json-schema.js';
import { regexExpression } from './regex.js';

/** What a text must be; at most one of them. */
export interface ConstraintOptions {
  /** A JSON text that this schema allows. */
  readonly jsonSchema?: unknown;
  /** What the regular expression matches, from beginning to end. */
  readonly regex?: string;
  /** A text of this grammar in llama.cpp's GBNF. */
  readonly grammar?: string;
}

/** What is asked for, and which characters there are to write it with. */
export interface GrammarRequest {
  readonly asked: ConstraintOptions;
  readonly alphabet: Alphabet;
}

/** The grammar of what is asked for. Throws `InputError` naming the file, if it is given. */
export function grammarOf({ jsonSchema, regex, grammar }: ConstraintOptions, file?: string): Grammar {
  if (regex !== undefined) return { root: regexExpression(regex), rules: new Map() };
  return grammar !== undefined ? parseGbnf(grammar, file) : parseJsonSchema(jsonSchema, file);
}

/** Read and compiled. Throws `InputError` as both do. */
export function compileAsked({ asked, alphabet }: GrammarRequest): CompiledGrammar {
  return compile(grammarOf(asked), alphabet);
}

/** The one thing that is asked for; undefined when nothing is. Throws `InputError` on more than one. */
export function onlyAsked({ jsonSchema, regex, grammar }: ConstraintOptions): [name: string, value: unknown] | undefined {
  const asked = Object.entries({ jsonSchema, regex, grammar }).filter(([, value]) => value !== undefined);
  if (asked.length > 1)
    throw new InputError(`${asked.map(([name]) => name).join(' and ')} were given; a text is held to one of them`);
  return asked[0];
}
