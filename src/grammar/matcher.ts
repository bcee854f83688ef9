// Runs a compiled grammar over bytes. Where a text stands is a set of stacks (several, where it may be read in several ways), which
// never change: a text can be tried, kept and gone back to. Which tokens may follow is `masks.ts`.

import type { CompiledGrammar } from './compile.js';

/** States to return to, the innermost first. The same stack is the same object. */
export interface Stack {
  readonly id: number;
  readonly state: number;
  readonly below: Stack | null;
}

/** Where a text stands in a grammar: at least one stack. */
export interface Position {
  readonly stacks: readonly Stack[];
  /** Names the set of stacks. */
  readonly key: string;
}

/** Stacks that are kept to be found again. */
const mostStacks = 1 << 17;

export class Matcher {
  readonly start: Position;
  private readonly known = new Map<string, Stack>();
  private count = 0;

  constructor(readonly grammar: CompiledGrammar) {
    this.start = positionOf([this.stack(grammar.start, null)])!;
  }

  /** Where the text stands after one more byte; undefined when no text goes on like this. */
  step({ stacks }: Position, byte: number): Position | undefined {
    const { next } = this.grammar;
    const reached = new Set<Stack>();
    for (const stack of this.closure(stacks)) {
      const to = next[256 * stack.state + byte];
      if (to >= 0) reached.add(this.stack(to, stack.below));
    }
    return positionOf([...reached]);
  }

  /** After several. */
  run(position: Position, bytes: Iterable<number>): Position | undefined {
    let at: Position | undefined = position;
    for (const byte of bytes) {
      at = this.step(at, byte);
      if (!at) return undefined;
    }
    return at;
  }

  /** Whether the text may end here. */
  isComplete({ stacks }: Position): boolean {
    for (const { state, below } of this.closure(stacks)) if (below === null && this.grammar.accepts[state] === 1) return true;
    return false;
  }

  /** The stacks with those that calls and returns lead to before the next byte. */
  private closure(stacks: readonly Stack[]): Set<Stack> {
    const { firstCall, calls, accepts } = this.grammar;
    const seen = new Set(stacks);
    for (const { state, below } of seen) {
      for (let i = firstCall[state]; i < firstCall[state + 1]; i++) seen.add(this.called(calls[2 * i], calls[2 * i + 1], below));
      if (accepts[state] && below) seen.add(below);
    }
    return seen;
  }

  /** The stack inside of a call. What has nothing to do after it is not returned to, so that lists by recursion stay flat. */
  private called(start: number, to: number, below: Stack | null): Stack {
    const returns = !(this.grammar.last[to] && below !== null);
    return this.stack(start, returns ? this.stack(to, below) : below);
  }

  private stack(state: number, below: Stack | null): Stack {
    const key = `${state} ${below ? below.id : ''}`;
    const known = this.known.get(key);
    if (known) return known;
    if (this.known.size >= mostStacks) this.known.clear(); // those in use live on, and are only no longer found
    const stack = { id: this.count++, state, below };
    this.known.set(key, stack);
    return stack;
  }
}

function positionOf(stacks: readonly Stack[]): Position | undefined {
  if (stacks.length === 0) return undefined;
  const sorted = [...stacks].sort((a, b) => a.id - b.id);
  return { stacks: sorted, key: sorted.map(({ id }) => id).join(' ') };
}
