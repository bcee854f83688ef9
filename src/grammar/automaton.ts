// Deterministic automata over whole numbers (characters or bytes), with an extra kind of step: a call of a rule. Those without calls
// can be cut with one another and turned around. How they are made is `builder.ts`.

import { InputError } from '../errors.js';
import { anyCharacter, characterSet, without } from './characters.js';
import { spend } from './effort.js';

export interface Step {
  readonly low: number;
  readonly high: number;
  readonly to: number;
}

export interface Call {
  readonly rule: string;
  readonly to: number;
}

export interface State {
  /** In ascending order, without overlaps. */
  readonly steps: readonly Step[];
  readonly calls: readonly Call[];
  readonly accepts: boolean;
}

/** Deterministic but for calls. State 0 is the start; from every state the end can be reached, if calls can return. */
export interface Automaton {
  readonly states: readonly State[];
}

export const mostStates = 50_000;

export function tooLarge(): never {
  throw new InputError(`this pattern needs more than ${mostStates} states: use smaller numbers of repetitions`);
}

/** Without the states from which the end cannot be reached: only the start stays in any case. */
export function trimmed(states: readonly State[]): Automaton {
  const useful = endingStates(states);
  return keepOnly(states, (state) => useful.has(state));
}

/** The states from which the end can be reached, with calls of those rules only that return. */
export function endingStates(states: readonly State[], returns: (rule: string) => boolean = () => true): Set<number> {
  spend(2 * states.length);
  const backwards: number[][] = states.map(() => []);
  for (const [from, { steps, calls }] of states.entries()) {
    for (const { to } of steps) backwards[to].push(from);
    for (const { rule, to } of calls) if (returns(rule)) backwards[to].push(from);
  }
  const ending = new Set(states.flatMap(({ accepts }, i) => (accepts ? [i] : [])));
  for (const state of ending) for (const before of backwards[state]) ending.add(before);
  return ending;
}

/** The states that are kept, numbered anew, and those of their steps and calls that lead to kept ones. The start stays. */
export function keepOnly(
  states: readonly State[],
  keeps: (state: number) => boolean,
  keepsCall: (rule: string) => boolean = () => true,
): Automaton {
  const names = new Map<number, number>();
  for (const [i] of states.entries()) if (i === 0 || keeps(i)) names.set(i, names.size);
  const left = <Way extends { to: number }>(ways: readonly Way[]): Way[] =>
    ways.filter(({ to }) => keeps(to)).map((way) => ({ ...way, to: names.get(way.to)! }));
  return {
    states: [...names.keys()].map((i) => {
      const { steps, calls, accepts } = states[i];
      return { steps: left(steps), calls: left(calls).filter(({ rule }) => keepsCall(rule)), accepts };
    }),
  };
}

/** The texts of both. Neither has calls. */
export function intersection(a: Automaton, b: Automaton): Automaton {
  const pairs: [number, number][] = [[0, 0]];
  const ids = new Map([['0,0', 0]]);
  const idOf = (x: number, y: number): number => {
    const key = `${x},${y}`;
    const known = ids.get(key);
    if (known !== undefined) return known;
    if (pairs.length >= mostStates) tooLarge();
    ids.set(key, pairs.length);
    return pairs.push([x, y]) - 1;
  };
  const states: State[] = [];
  for (let at = 0; at < pairs.length; at++) {
    const [x, y] = pairs[at].map((state, side) => (side === 0 ? a : b).states[state]);
    const steps: Step[] = [];
    spend(2 + x.steps.length + y.steps.length);
    for (let i = 0, j = 0; i < x.steps.length && j < y.steps.length; ) {
      const [left, right] = [x.steps[i], y.steps[j]];
      const [low, high] = [Math.max(left.low, right.low), Math.min(left.high, right.high)];
      if (low <= high) steps.push({ low, high, to: idOf(left.to, right.to) });
      if (left.high <= right.high) i++;
      else j++;
    }
    states.push({ steps, calls: [], accepts: x.accepts && y.accepts });
  }
  return trimmed(states);
}

/** All other texts of characters. */
export function complementOf({ states }: Automaton): Automaton {
  const rest = states.length; // where texts are that the automaton gave up
  const all = states.map(({ steps, accepts }): State => {
    const others = without(anyCharacter, characterSet(steps.map(({ low, high }) => [low, high])));
    const missing = others.map(([low, high]) => ({ low, high, to: rest }));
    return { steps: [...steps, ...missing].sort((a, b) => a.low - b.low), calls: [], accepts: !accepts };
  });
  const free = anyCharacter.map(([low, high]) => ({ low, high, to: rest }));
  return trimmed([...all, { steps: free, calls: [], accepts: true }]);
}

/** Whether it has no text at all. */
export function isEmpty({ states }: Automaton): boolean {
  return !states[0].accepts && states[0].steps.length === 0 && states[0].calls.length === 0;
}

/** Whether a text is one of the automaton's. */
export function accepts({ states }: Automaton, text: string): boolean {
  let at = 0;
  for (const character of text) {
    const code = character.codePointAt(0)!;
    const step = states[at].steps.find(({ low, high }) => low <= code && code <= high);
    if (!step) return false;
    at = step.to;
  }
  return states[at].accepts;
}
