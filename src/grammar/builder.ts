// Automata from expressions: a nondeterministic one is put together piece by piece, then made deterministic. Over characters for what
// has no rules; `compile.ts` does the same over bytes.

import { InputError } from '../errors.js';
import { type Automaton, type Call, mostStates, type State, type Step, tooLarge, trimmed } from './automaton.js';
import type { Range } from './characters.js';
import { spend } from './effort.js';
import type { Expression } from './expression.js';

/** Steps of states in sets of several that are put together: a second or two. Repetitions in repetitions take the square of their numbers. */
const mostLooked = 1_000_000;

interface Building {
  readonly steps: { readonly low: number; readonly high: number; readonly to: number }[];
  readonly calls: Call[];
  readonly free: number[];
}

/** An automaton under construction: any number of steps from a state, and steps that cost nothing. */
export class Builder {
  private readonly states: Building[] = [];

  state(): number {
    if (this.states.length >= 4 * mostStates) tooLarge();
    spend(1);
    return this.states.push({ steps: [], calls: [], free: [] }) - 1;
  }

  step(from: number, [low, high]: Range, to: number): void {
    this.states[from].steps.push({ low, high, to });
  }

  call(from: number, rule: string, to: number): void {
    this.states[from].calls.push({ rule, to });
  }

  free(from: number, to: number): void {
    this.states[from].free.push(to);
  }

  /** A way from state to state for each text of the expression. `set` says how a set of characters becomes steps. */
  add(expression: Expression, from: number, to: number, leaf: (leaf: LeafExpression, from: number, to: number) => void): void {
    switch (expression.kind) {
      case 'sequence': {
        let at = from;
        for (const [i, part] of expression.parts.entries()) {
          const next = i === expression.parts.length - 1 ? to : this.state();
          this.add(part, at, next, leaf);
          at = next;
        }
        if (expression.parts.length === 0) this.free(from, to);
        break;
      }
      case 'choice':
        for (const option of expression.options) this.add(option, from, to, leaf);
        break;
      case 'repeat': {
        const { of, least, most } = expression;
        // A state of its own at both ends: a loop must not be entered by what else leads there.
        let at = this.state();
        this.free(from, at);
        for (let i = 0; i < least; i++) {
          const next = this.state();
          this.add(of, at, next, leaf);
          at = next;
        }
        if (most === Number.POSITIVE_INFINITY) {
          const loop = this.state();
          this.free(at, loop);
          this.add(of, loop, loop, leaf);
          at = loop;
        } else {
          for (let i = least; i < most; i++) {
            this.free(at, to);
            const next = this.state();
            this.add(of, at, next, leaf);
            at = next;
          }
        }
        this.free(at, to);
        break;
      }
      default:
        leaf(expression, from, to);
    }
  }

  /** The deterministic automaton of all ways from `start` to `end`. */
  determinize(start: number, end: number): Automaton {
    const sets: (readonly number[])[] = [];
    const ids = new Map<string, number>();
    const alone = new Int32Array(this.states.length).fill(-1); // sets of one state, which most are
    const idOf = (members: readonly number[]): number => {
      if (members.length > 1) return idOfSet(members);
      const [member] = members;
      if (alone[member] < 0) alone[member] = idOfSet(members);
      return alone[member];
    };
    const idOfSet = (members: readonly number[]): number => {
      const closed = this.closure(members, end);
      const key = closed.join(',');
      const known = ids.get(key);
      if (known !== undefined) return known;
      if (sets.length >= mostStates) tooLarge();
      spend(8);
      ids.set(key, sets.length);
      return sets.push(closed) - 1;
    };
    idOf([start]);
    let looked = 0;
    const states: State[] = [];
    for (let at = 0; at < sets.length; at++) {
      const members = sets[at];
      if (members.length > 1) looked += members.reduce((sum, member) => sum + this.states[member].steps.length, 0);
      if (looked > mostLooked)
        throw new InputError('this pattern repeats what repeats too often: use smaller numbers of repetitions');
      const calls = new Map<string, number[]>();
      for (const member of members) {
        for (const { rule, to } of this.states[member].calls) calls.set(rule, [...(calls.get(rule) ?? []), to]);
      }
      states.push({
        steps: this.joined(members, idOf),
        calls: [...calls].map(([rule, targets]) => ({ rule, to: idOf(targets) })),
        accepts: members.includes(end),
      });
    }
    return trimmed(states);
  }

  /** Where one may be; of the states those that say something of how a text goes on, so that they are the set's key. */
  private closure(members: readonly number[], end: number): number[] {
    const seen = new Set(members);
    for (const member of seen) for (const next of this.states[member].free) seen.add(next);
    spend(seen.size);
    return [...seen]
      .filter((member) => member === end || this.states[member].steps.length > 0 || this.states[member].calls.length > 0)
      .sort((a, b) => a - b);
  }

  private joined(members: readonly number[], idOf: (members: readonly number[]) => number): Step[] {
    const steps = members.flatMap((member) => this.states[member].steps);
    spend(steps.length);
    const sorted = steps.sort((a, b) => a.low - b.low);
    if (sorted.every(({ low }, i) => i === 0 || low > sorted[i - 1].high))
      return sorted.map(({ low, high, to }) => ({ low, high, to: idOf([to]) }));
    const cuts = [...new Set(steps.flatMap(({ low, high }) => [low, high + 1]))].sort((a, b) => a - b);
    const result: { low: number; high: number; to: number }[] = [];
    let next = 0;
    let open: typeof sorted = [];
    for (let i = 0; i + 1 < cuts.length; i++) {
      const [low, high] = [cuts[i], cuts[i + 1] - 1];
      while (next < sorted.length && sorted[next].low <= low) open.push(sorted[next++]);
      open = open.filter((step) => step.high >= low);
      if (open.length === 0) continue;
      const to = idOf([...new Set(open.map((step) => step.to))]);
      const last = result.at(-1);
      if (last && last.to === to && last.high + 1 === low) last.high = high;
      else result.push({ low, high, to });
    }
    return result;
  }
}

/** What an expression is made of in the end. */
export type LeafExpression = Extract<Expression, { kind: 'set' | 'rule' | 'automaton' }>;

/** Throws `InputError` when an expression written out would be too large to be looked at. */
export function checkSize(expression: Expression): void {
  if (sizeOf(expression) > 4 * mostStates) tooLarge();
}

function sizeOf(expression: Expression): number {
  const sum = (parts: readonly Expression[]): number => parts.reduce((total, part) => total + sizeOf(part), 1);
  switch (expression.kind) {
    case 'sequence':
      return sum(expression.parts);
    case 'choice':
      return sum(expression.options);
    case 'repeat':
      return sizeOf(expression.of) * (expression.most === Number.POSITIVE_INFINITY ? expression.least + 1 : expression.most);
    case 'automaton':
      return expression.automaton.states.length;
    default:
      return 1;
  }
}

/** The automaton over characters of an expression without rules. */
export function automatonOf(expression: Expression): Automaton {
  checkSize(expression);
  const builder = new Builder();
  const [start, end] = [builder.state(), builder.state()];
  builder.add(expression, start, end, (leaf, from, to) => {
    if (leaf.kind === 'set') for (const range of leaf.set) builder.step(from, range, to);
    else if (leaf.kind === 'automaton') embed(builder, leaf.automaton, from, to, (a, range, b) => builder.step(a, range, b));
    else throw new Error(`${leaf.name}: rules have no finite automaton`);
  });
  return builder.determinize(start, end);
}

/** Puts an automaton between two states, `step` saying what becomes of its steps. */
export function embed(
  builder: Builder,
  { states }: Automaton,
  from: number,
  to: number,
  step: (from: number, range: Range, to: number) => void,
): void {
  const own = states.map(() => builder.state());
  builder.free(from, own[0]);
  for (const [i, { steps, accepts }] of states.entries()) {
    for (const { low, high, to: target } of steps) step(own[i], [low, high], own[target]);
    if (accepts) builder.free(own[i], to);
  }
}
