// Stop strings in streamed text. A stop string may lie across any number of pieces, so text that may yet turn out to be the
// beginning of one is held back until it is decided. Aho-Corasick (Aho and Corasick 1975): time linear in the text, whatever
// the stop strings are. Sees text only; token ids that end an answer are the engine's matter.

import { InputError, shown } from '../errors.js';

/** A prefix of some stop string; the root is the empty one. */
class Node {
  readonly next = new Map<number, Node>();
  /** The longest proper suffix of this prefix that is itself a prefix of a stop string. */
  fallback: Node;
  /** The longest stop string that ends here: the prefix itself or a suffix of it. */
  match: string | undefined;

  /** `depth`: length of the prefix, in UTF-16 units. */
  constructor(
    readonly depth: number,
    root?: Node,
  ) {
    this.fallback = root ?? this;
  }
}

/** What one piece of text settled. */
interface StopStep {
  /** Text that may be shown now: it begins no stop string. */
  text: string;
  /** The stop string that was found, if one was; nothing comes after its `text`. */
  stop?: string;
}

/**
 * Watches a stream of text for the first of several stop strings: the one that ends first and, among those that end at the
 * same place, the longest. How the text is cut into pieces makes no difference to the text in all.
 */
export class StopMatcher {
  private readonly root: Node;
  private node: Node;
  private held = '';
  private found: string | undefined;

  /** No stop strings at all is fine: then text passes through. Throws `InputError` when one is empty. */
  constructor(stops: readonly string[]) {
    this.root = build(stops);
    this.node = this.root;
  }

  /** The stop string that was found, if any. */
  get stop(): string | undefined {
    return this.found;
  }

  /** Takes the next piece. After a stop string was found every further piece is dropped. */
  push(piece: string): StopStep {
    if (this.found !== undefined) return { text: '', stop: this.found };
    const text = this.held + piece;
    for (let i = this.held.length; i < text.length; i++) {
      this.node = step(this.root, this.node, text.charCodeAt(i));
      if (this.node.match !== undefined) {
        this.found = this.node.match;
        this.held = '';
        return { text: text.slice(0, i + 1 - this.found.length), stop: this.found };
      }
    }
    const shown = text.length - this.node.depth;
    this.held = text.slice(shown);
    return { text: text.slice(0, shown) };
  }

  /** At the end of the stream: the text still held back, which began no stop string after all. */
  flush(): string {
    const rest = this.held;
    this.held = '';
    this.node = this.root;
    return rest;
  }
}

function step(root: Node, node: Node, unit: number): Node {
  for (let at = node; ; at = at.fallback) {
    const next = at.next.get(unit);
    if (next !== undefined) return next;
    if (at === root) return root;
  }
}

function build(stops: readonly string[]): Node {
  const root = new Node(0);
  for (const stop of stops) {
    if (typeof stop !== 'string' || stop === '') {
      throw new InputError(`a stop string must be text of at least one character, but ${shown(stop)} was given`);
    }
    let node = root;
    for (let i = 0; i < stop.length; i++) {
      let next = node.next.get(stop.charCodeAt(i));
      if (next === undefined) {
        next = new Node(i + 1, root);
        node.next.set(stop.charCodeAt(i), next);
      }
      node = next;
    }
    node.match = stop;
  }
  // By depth, so that a node's fallback is final before its children ask for it.
  const queue = [...root.next.values()];
  for (const node of queue) {
    for (const [unit, child] of node.next) {
      child.fallback = step(root, node.fallback, unit);
      child.match ??= child.fallback.match;
      queue.push(child);
    }
  }
  return root;
}
