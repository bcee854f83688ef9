// Which tokens may come next. A token that stays inside the rule that is being read may come whatever called that rule, so the walk
// over the vocabulary is kept by state: its tokens, and the nodes of the tree where the rule is left. Only from those nodes on the
// walk depends on who called, and they are few. In a JSON string, say, all tokens without a quote are found once and for all.

import type { CompiledGrammar } from './compile.js';
import type { Matcher, Position, Stack } from './matcher.js';
import type { TokenTree } from './tokens.js';

/** A set of token ids, a bit each. */
export type TokenMask = Uint32Array;

/** What can be said of a state and a node of the tree without knowing who called the state's rule. */
interface Local {
  /** A list, or bits where they take less room. */
  readonly tokens: Int32Array | TokenMask;
  /** Where the rule may be left. */
  readonly exits: Int32Array;
}

/** Numbers in the walks that are kept. */
const mostKept = 1 << 22;
const mostMasks = 256;

export class Masks {
  private readonly walks = new Map<number, Local>();
  private kept = 0;
  private readonly masks = new Map<string, TokenMask>();
  private readonly grammar: CompiledGrammar;
  private readonly marks: Uint8Array;

  constructor(
    matcher: Matcher,
    readonly tree: TokenTree,
  ) {
    this.grammar = matcher.grammar;
    this.marks = new Uint8Array(tree.vocabSize);
  }

  /** The tokens that may follow, walking from a node of the tree (0: from the beginning of tokens); not to be changed. */
  after({ stacks, key }: Position, node = 0): TokenMask {
    const name = `${node} ${key}`;
    const known = this.masks.get(name);
    if (known) {
      this.masks.delete(name);
      this.masks.set(name, known);
      return known;
    }
    const mask = new Uint32Array(Math.ceil(this.tree.vocabSize / 32));
    const done = new Set<string>();
    for (const stack of stacks) this.resolve(stack, node, mask, done);
    if (this.masks.size >= mostMasks) this.masks.delete(this.masks.keys().next().value!); // the one not used for longest
    this.masks.set(name, mask);
    return mask;
  }

  private resolve({ id, state, below }: Stack, node: number, mask: TokenMask, done: Set<string>): void {
    const name = `${id} ${node}`;
    if (done.has(name)) return;
    done.add(name);
    const { tokens, exits } = this.local(state, node);
    if (tokens instanceof Uint32Array) for (let i = 0; i < mask.length; i++) mask[i] |= tokens[i];
    else for (const token of tokens) mask[token >>> 5] |= 1 << (token & 31);
    if (below) for (const exit of exits) this.resolve(below, exit, mask, done);
  }

  private local(state: number, node: number): Local {
    const name = state * this.tree.bytes.length + node;
    const known = this.walks.get(name);
    if (known) return known;
    const walk = this.walk(state, node);
    this.kept += walk.tokens.length + walk.exits.length + 16;
    if (this.kept > mostKept) {
      this.walks.clear();
      this.kept = 0;
    }
    this.walks.set(name, walk);
    return walk;
  }

  /** All tokens below the node that the state's rule, and those it calls, can read; one that ends with a call's return too. */
  private walk(start: number, node: number): Local {
    const { next: table, firstCall, calls, accepts } = this.grammar;
    const { bytes, ends, depths, first, tokens } = this.tree;
    const found: number[] = [];
    const exits: number[] = [];
    const seen = new Set<number>(); // (state, node) pairs where the walk begins anew after a call
    const begin: [state: number, node: number][] = [[start, node]];
    /** Calls and returns at a node, before its children are looked at. */
    const around = (state: number, at: number): void => {
      if (accepts[state]) exits.push(at);
      for (let i = firstCall[state]; i < firstCall[state + 1]; i++) {
        const inner = this.local(calls[2 * i], at);
        const returnsTo = calls[2 * i + 1];
        for (const token of listed(inner.tokens)) found.push(token);
        for (const exit of inner.exits) {
          const name = returnsTo * bytes.length + exit;
          if (seen.has(name)) continue;
          seen.add(name);
          begin.push([returnsTo, exit]);
        }
      }
    };
    const stateAt = new Int32Array(1 << 8);
    for (let next = begin.pop(); next; next = begin.pop()) {
      const [state, from] = next;
      const base = depths[from];
      around(state, from);
      let path = stateAt;
      path[0] = state;
      for (let at = from + 1; at < ends[from]; ) {
        const depth = depths[at] - base;
        const to = table[256 * path[depth - 1] + bytes[at]];
        if (to < 0) {
          at = ends[at];
          continue;
        }
        if (depth === path.length) {
          const longer = new Int32Array(2 * depth);
          longer.set(path);
          path = longer;
        }
        path[depth] = to;
        for (let i = first[at]; i < first[at + 1]; i++) found.push(tokens[i]);
        if (accepts[to] || firstCall[to] < firstCall[to + 1]) around(to, at);
        at++;
      }
    }
    return { tokens: this.distinct(found), exits: Int32Array.from(new Set(exits)) };
  }

  /** Each once, as what takes less room. */
  private distinct(found: number[]): Int32Array | TokenMask {
    const { marks } = this;
    let count = 0;
    for (const token of found) {
      if (marks[token]) continue;
      marks[token] = 1;
      found[count++] = token;
    }
    found.length = count;
    for (const token of found) marks[token] = 0;
    const words = Math.ceil(this.tree.vocabSize / 32);
    return count > words ? maskOf(found, words) : Int32Array.from(found);
  }
}

function maskOf(tokens: readonly number[], words: number): TokenMask {
  const mask = new Uint32Array(words);
  for (const token of tokens) mask[token >>> 5] |= 1 << (token & 31);
  return mask;
}

function listed(tokens: Int32Array | TokenMask): ArrayLike<number> & Iterable<number> {
  if (tokens instanceof Int32Array) return tokens;
  const ids: number[] = [];
  for (let word = 0; word < tokens.length; word++) {
    for (let bits = tokens[word]; bits !== 0; bits &= bits - 1) ids.push(32 * word + 31 - Math.clz32(bits & -bits));
  }
  return ids;
}
