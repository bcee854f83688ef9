// Holds a generation to a grammar: of each place in a text which tokens may come next, and whether it may end there. Made of a grammar
// and a vocabulary, kept for those that ask again; a place never changes, so many generations use one constraint at once.
//
// What is held is the text of the new ids by themselves: where a vocabulary drops the space of a text's first piece, that space is
// no part of it.

import { InputError, shown } from '../errors.js';
import { type ConstraintOptions, compileAsked, type GrammarRequest, grammarOf, onlyAsked } from '../grammar/asked.js';
import { type CharacterSet, characterSet } from '../grammar/characters.js';
import { type CompiledGrammar, compile } from '../grammar/compile.js';
import { TooMuchAtOnce, within } from '../grammar/effort.js';
import type { Grammar } from '../grammar/expression.js';
import { Masks, type TokenMask } from '../grammar/masks.js';
import { Matcher, type Position } from '../grammar/matcher.js';
import { childOf, type TokenTree, tokenTree } from '../grammar/tokens.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { Turns } from './turn.js';

export type { ConstraintOptions } from '../grammar/asked.js';
export type { TokenMask } from '../grammar/masks.js';

/** A place in a text under way. */
export interface Place {
  readonly position: Position;
  /** No token has come. */
  readonly first: boolean;
}

/** What the engine asks of it. */
export class Constraint {
  readonly start: Place;
  private readonly matcher: Matcher;
  private readonly masks: Masks;
  /** Tokens that lose a space at the beginning, and their node in the tree: that of the space. */
  private readonly spaced: TokenMask;
  private readonly space: number;

  /** Throws `InputError` when no text of the vocabulary satisfies the grammar. */
  constructor(
    grammar: Grammar | CompiledGrammar,
    private readonly vocabulary: ConstraintVocabulary,
  ) {
    this.matcher = new Matcher('next' in grammar ? grammar : compile(grammar, vocabulary.alphabet));
    this.masks = new Masks(this.matcher, vocabulary.tree);
    this.spaced = vocabulary.spaced;
    this.space = childOf(vocabulary.tree, 0, 0x20);
    this.start = { position: this.matcher.start, first: true };
  }

  /** The same for what is left of a text that begins so. Throws `InputError` when no text of the grammar does. */
  from(begun: string): Constraint {
    const position = this.matcher.run(this.start.position, new TextEncoder().encode(begun));
    if (!position) throw new InputError(`no text that the grammar allows begins with ${shown(begun)}`);
    return Object.create(this, { start: { value: { position, first: false } satisfies Place } });
  }

  /** The tokens that may come next, `eosIds` among them where the text may end. Throws `InputError` when there is none. */
  allowed(place: Place, eosIds: readonly number[]): TokenMask {
    const tokens = this.tokensAt(place);
    if (!this.isComplete(place)) {
      if (tokens.some((word) => word !== 0)) return tokens;
      throw new InputError('no token of this vocabulary can go on with a text that the grammar allows');
    }
    const mask = tokens.slice();
    for (const id of eosIds) mask[id >>> 5] |= 1 << (id & 31);
    return mask;
  }

  /** The place after one of the tokens that may come. */
  after({ position, first }: Place, id: number): Place {
    let bytes = this.vocabulary.bytesOf(id)!;
    if (first && has(this.spaced, id)) bytes = bytes.subarray(1);
    const next = this.matcher.run(position, bytes);
    if (!next) throw new Error(`token ${id} cannot come here`);
    return { position: next, first: false };
  }

  /** States of its automata. */
  get size(): number {
    return this.matcher.grammar.accepts.length;
  }

  /** Whether the text may end here. */
  isComplete({ position }: Place): boolean {
    return this.matcher.isComplete(position);
  }

  /** Whether it must. */
  isOver(place: Place): boolean {
    return this.isComplete(place) && this.tokensAt(place).every((word) => word === 0);
  }

  private tokensAt({ position, first }: Place): TokenMask {
    const tokens = this.masks.after(position);
    if (!first) return tokens;
    const behind = this.space < 0 ? undefined : this.masks.after(position, this.space);
    return tokens.map((word, i) => (word & ~this.spaced[i]) | ((behind?.[i] ?? 0) & this.spaced[i]));
  }
}

function has(mask: TokenMask, id: number): boolean {
  return ((mask[id >>> 5] >>> (id & 31)) & 1) === 1;
}

/** A tokenizer's vocabulary as constraints need it; made once. */
export class ConstraintVocabulary {
  readonly tree: TokenTree;
  readonly spaced: TokenMask;
  /** What can be written at all; null: everything. */
  readonly alphabet: CharacterSet | null;

  /** `size`: ids of the model, those without a piece too. */
  constructor(
    tokenizer: Tokenizer,
    size: number,
    private readonly bytes = Array.from({ length: size }, (_, id) => tokenizer.bytesOf(id)),
  ) {
    this.tree = tokenTree({ size, bytesOf: (id) => this.bytes[id] });
    this.spaced = new Uint32Array(Math.ceil(size / 32));
    for (let id = 0; id < size; id++) if (tokenizer.losesSpace(id)) this.spaced[id >>> 5] |= 1 << (id & 31);
    this.alphabet = tokenizer.hasBytes ? null : alphabetOf(this.bytes);
  }

  /** The same, with pauses for others. */
  static async inTurns(tokenizer: Tokenizer, size: number): Promise<ConstraintVocabulary> {
    const turns = new Turns();
    const bytes: (Uint8Array | undefined)[] = [];
    for (let id = 0; id < size; id++) {
      bytes.push(tokenizer.bytesOf(id));
      if (id % 512 === 0) await turns.rest();
    }
    return new ConstraintVocabulary(tokenizer, size, bytes);
  }

  bytesOf(id: number): Uint8Array | undefined {
    return this.bytes[id];
  }
}

/** The characters that are tokens of their own: a text that can be gone on with character by character never gets stuck. */
function alphabetOf(bytes: readonly (Uint8Array | undefined)[]): CharacterSet {
  const characters = bytes.flatMap((own) => {
    if (!own || own.length > 4 || (own.length === 1 && own[0] > 0x7f)) return [];
    const [code, ...others] = [...new TextDecoder().decode(own)].map((character) => character.codePointAt(0)!);
    return others.length > 0 ? [] : [[code, code] as const];
  });
  return characterSet(characters);
}

/** Compiles a grammar that is much work where nobody waits for this thread. */
export type CompileElsewhere = (request: GrammarRequest) => Promise<CompiledGrammar>;

/** Units (`effort.ts`) that are done at once where there is an elsewhere: 10 to 20 ms. Usual schemas are done by then. */
const mostAtOnce = 20_000;

/** Constraints by what was asked for, the last ones kept with all that they have found out. */
export class Constraints {
  private readonly made = new Map<string, Constraint>();
  private readonly underWay = new Map<string, Promise<Constraint>>();
  private vocabulary?: Promise<ConstraintVocabulary>;

  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly vocabSize: number,
    private readonly elsewhere?: CompileElsewhere,
  ) {}

  /** Undefined when nothing is asked. Throws `InputError` on more than one, and on what is malformed or not supported. */
  async of(asked: ConstraintOptions): Promise<Constraint | undefined> {
    const only = onlyAsked(asked);
    if (!only) return undefined;
    const key = JSON.stringify(only);
    const made = this.made.get(key) ?? (await (this.underWay.get(key) ?? this.make(key)));
    this.made.delete(key);
    this.made.set(key, made);
    let states = 0;
    for (const [name, { size }] of [...this.made].reverse()) {
      states += size;
      if (states > mostStates && name !== key) this.made.delete(name);
    }
    return made;
  }

  private make(key: string): Promise<Constraint> {
    const [name, value] = JSON.parse(key) as [string, unknown]; // what another thread can be given
    this.vocabulary ??= ConstraintVocabulary.inTurns(this.tokenizer, this.vocabSize);
    const making = this.vocabulary.then(async (vocabulary) => {
      const grammar = await this.compiled({ asked: { [name]: value }, alphabet: vocabulary.alphabet });
      return new Constraint(grammar, vocabulary);
    });
    this.underWay.set(key, making);
    const over = (): void => void this.underWay.delete(key);
    making.then(over, over);
    return making;
  }

  private async compiled(request: GrammarRequest): Promise<CompiledGrammar> {
    if (!this.elsewhere) return compileAsked(request);
    try {
      return within(mostAtOnce, () => compileAsked(request));
    } catch (error) {
      if (!(error instanceof TooMuchAtOnce)) throw error;
    }
    return this.elsewhere(request).catch((error: unknown) => {
      if (error instanceof InputError) throw error;
      return compileAsked(request); // no thread is to be had
    });
  }
}

/** States of all constraints that are kept: a kilobyte each, or half of one. */
const mostStates = 100_000;

/** Reads a schema or a grammar as what makes it into a constraint later does, which no longer knows the file. Throws `InputError` that names it. */
export function checkConstraint(options: ConstraintOptions, file: string): void {
  grammarOf(options, file);
}
