// A grammar as tables that run over bytes: each rule an automaton whose steps are bytes of UTF-8 and calls of other rules. What
// can never be completed is taken out, so that every way that is begun can be ended. Rules that call themselves before they
// have read anything are refused, as llama.cpp does: a stack would grow without end.

import { InputError, locating } from '../errors.js';
import { type Automaton, endingStates, keepOnly, type State } from './automaton.js';
import { Builder, checkSize, embed, type LeafExpression } from './builder.js';
import { type CharacterSet, characterSet, type Range, utf8Sequences, without } from './characters.js';
import { spend } from './effort.js';
import type { Expression, Grammar } from './expression.js';

/** States of all rules, numbered through: in flat arrays, which one thread can give to another. */
export interface CompiledGrammar {
  readonly start: number;
  /** [states, 256]: the next state by byte; -1: none. */
  readonly next: Int16Array | Int32Array;
  /** The calls of state i are firstCall[i] to firstCall[i + 1]. */
  readonly firstCall: Int32Array;
  /** [calls, 2]: the first state of a called rule, and where it returns to. */
  readonly calls: Int32Array;
  /** By state, 1 or 0. */
  readonly accepts: Uint8Array;
  /** By state: nothing comes after it but the return, so whoever is called here may return further up at once. */
  readonly last: Uint8Array;
}

/** Which characters can be written at all: null for all of them. */
export type Alphabet = CharacterSet | null;

type StepOfCharacters = (from: number, range: Range, to: number) => void;

const rootName = '';
const mostRules = 5000;
/** Of all rules together: what is compiled while others wait. */
const mostStatesInAll = 100_000;

/** Throws `InputError` when a rule is missing or calls itself first, or when nothing at all satisfies the grammar. */
export function compile({ root, rules }: Grammar, alphabet: Alphabet = null): CompiledGrammar {
  const automata = new Map<string, Automaton>();
  const expressionOf = (name: string): Expression => {
    const expression = name === rootName ? root : rules.get(name);
    if (!expression) throw new InputError(`the grammar uses the rule ${name}, which it does not define`);
    return expression;
  };
  const names = new Set([rootName]);
  let count = 0;
  for (const name of names) {
    if (names.size > mostRules) throw new InputError(`the grammar has more than ${mostRules} rules`);
    const made = (): Automaton => bytesOf(expressionOf(name), alphabet);
    // A schema's rules are named after their places.
    const automaton = name === rootName ? made() : locating(name.replace(/[[\]"]/g, ''), made);
    count += automaton.states.length;
    if (count > mostStatesInAll)
      throw new InputError(
        `the grammar needs more than ${mostStatesInAll} states: use smaller numbers of repetitions, or fewer rules`,
      );
    automata.set(name, automaton);
    for (const { calls } of automaton.states) for (const { rule } of calls) names.add(rule);
  }
  const kept = withoutDeadEnds(automata, alphabet);
  checkLeftRecursion(kept);
  return numbered(kept);
}

function bytesOf(expression: Expression, alphabet: Alphabet): Automaton {
  checkSize(expression);
  const builder = new Builder();
  const [start, end] = [builder.state(), builder.state()];
  const bytes: StepOfCharacters = (from, range, to) => {
    const written = alphabet === null ? [range] : without([range], without([range], alphabet));
    for (const sequence of written.flatMap(utf8Sequences)) {
      let at = from;
      for (const [i, byte] of sequence.entries()) {
        const next = i === sequence.length - 1 ? to : builder.state();
        builder.step(at, byte, next);
        at = next;
      }
    }
  };
  const characters = (from: number, ranges: CharacterSet, to: number): void => {
    for (const range of ranges) bytes(from, range, to);
  };
  builder.add(expression, start, end, (leaf: LeafExpression, from, to) => {
    if (leaf.kind === 'rule') builder.call(from, leaf.name, to);
    else if (leaf.kind === 'set') characters(from, leaf.set, to);
    else if (leaf.as === 'utf8') embed(builder, leaf.automaton, from, to, bytes);
    else embed(builder, leaf.automaton, from, to, (a, range, b) => asJson(builder, a, range, b, bytes));
  });
  return builder.determinize(start, end);
}

const escaped = characterSet([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]);
const escapedCodes = escaped.flatMap(([low, high]) => Array.from({ length: high - low + 1 }, (_, i) => low + i));
const shortEscapes = new Map([
  [0x22, '"'],
  [0x5c, '\\'],
  [0x08, 'b'],
  [0x09, 't'],
  [0x0a, 'n'],
  [0x0c, 'f'],
  [0x0d, 'r'],
]);

/** Characters as they are written in a JSON string: themselves where they may be, else their escapes. */
function asJson(builder: Builder, from: number, [low, high]: Range, to: number, bytes: StepOfCharacters): void {
  for (const range of without([[low, high]], escaped)) bytes(from, range, to);
  const codes = escapedCodes.filter((code) => code >= low && code <= high);
  if (codes.length === 0) return;
  const single = (at: number, letter: string, next: number): void => {
    const code = letter.charCodeAt(0);
    bytes(at, [code, code], next);
  };
  const inside = builder.state();
  single(from, '\\', inside);
  for (const code of codes) if (shortEscapes.has(code)) single(inside, shortEscapes.get(code)!, to);
  const long = codes.filter((code) => !shortEscapes.has(code));
  if (long.length === 0) return;
  let at = inside;
  for (const letter of 'u00') {
    const next = builder.state();
    single(at, letter, next);
    at = next;
  }
  for (const half of [0, 1]) {
    const digits = long.filter((code) => code >> 4 === half);
    if (digits.length === 0) continue;
    const next = builder.state();
    single(at, String(half), next);
    for (const code of digits) single(next, (code & 15).toString(16), to);
  }
}

/** Takes out rules that never end, calls of them, and the states that lead nowhere else. */
function withoutDeadEnds(automata: ReadonlyMap<string, Automaton>, alphabet: Alphabet): Map<string, Automaton> {
  const productive = new Set<string>();
  const endsIn = (states: readonly State[]): Set<number> => endingStates(states, (rule) => productive.has(rule));
  const callers = new Map<string, string[]>();
  for (const [name, { states }] of automata) {
    for (const { calls } of states) for (const { rule } of calls) callers.set(rule, [...(callers.get(rule) ?? []), name]);
  }
  const queue = new Set(automata.keys());
  for (const name of queue) {
    queue.delete(name);
    if (productive.has(name) || !endsIn(automata.get(name)!.states).has(0)) continue;
    productive.add(name);
    for (const caller of callers.get(name) ?? []) queue.add(caller);
  }
  if (!productive.has(rootName))
    throw new InputError(`no text satisfies the grammar${alphabet ? ' that this vocabulary can write' : ''}`);
  const kept = new Map<string, Automaton>();
  for (const [name, { states }] of automata) {
    if (!productive.has(name)) continue;
    const ending = endsIn(states);
    kept.set(
      name,
      keepOnly(
        states,
        (state) => ending.has(state),
        (called) => productive.has(called),
      ),
    );
  }
  return kept;
}

function checkLeftRecursion(automata: ReadonlyMap<string, Automaton>): void {
  const nullable = new Set<string>();
  /** The states that are reached before a byte is read. */
  const freely = ({ states }: Automaton): Set<number> => {
    const reached = new Set([0]);
    for (const state of reached) for (const { rule, to } of states[state].calls) if (nullable.has(rule)) reached.add(to);
    return reached;
  };
  for (let grew = true; grew; ) {
    grew = false;
    for (const [name, automaton] of automata) {
      if (nullable.has(name) || ![...freely(automaton)].some((state) => automaton.states[state].accepts)) continue;
      nullable.add(name);
      grew = true;
    }
  }
  const done = new Set<string>();
  const visit = (name: string, way: readonly string[]): void => {
    if (way.includes(name)) {
      const cycle = [...way.slice(way.indexOf(name)), name].map((step) => step || 'root').join(' -> ');
      throw new InputError(`the grammar's rule ${name || 'root'} begins with itself (${cycle}): write it as a repetition`);
    }
    if (done.has(name)) return;
    const automaton = automata.get(name)!;
    for (const state of freely(automaton)) for (const { rule } of automaton.states[state].calls) visit(rule, [...way, name]);
    done.add(name);
  };
  for (const name of automata.keys()) visit(name, []);
}

function numbered(automata: ReadonlyMap<string, Automaton>): CompiledGrammar {
  const first = new Map<string, number>();
  let count = 0;
  for (const [name, { states }] of automata) {
    first.set(name, count);
    count += states.length;
  }
  spend(16 * count);
  const next = new (count < 0x8000 ? Int16Array : Int32Array)(256 * count).fill(-1);
  const firstCall = new Int32Array(count + 1);
  const called: number[] = [];
  const ends = new Uint8Array(count);
  const last = new Uint8Array(count);
  let state = 0;
  for (const { states } of automata.values()) {
    const base = state;
    for (const { steps, calls, accepts } of states) {
      for (const { low, high, to } of steps) next.fill(base + to, 256 * state + low, 256 * state + high + 1);
      for (const { rule, to } of calls) called.push(first.get(rule)!, base + to);
      ends[state] = accepts ? 1 : 0;
      last[state] = accepts && steps.length === 0 && calls.length === 0 ? 1 : 0;
      firstCall[++state] = called.length / 2;
    }
  }
  return { start: first.get(rootName)!, next, firstCall, calls: Int32Array.from(called), accepts: ends, last };
}
