// Whether a grammar has a text: through the tables that generations run on.

import { compile } from '../../src/grammar/compile.js';
import type { Expression, Grammar } from '../../src/grammar/expression.js';
import { Matcher } from '../../src/grammar/matcher.js';

/** A function that says whether a text is whole by the grammar. */
export function acceptor(grammar: Grammar | Expression): (text: string) => boolean {
  const matcher = new Matcher(compile('root' in grammar ? grammar : { root: grammar, rules: new Map() }));
  return (text) => {
    const end = matcher.run(matcher.start, new TextEncoder().encode(text));
    return end !== undefined && matcher.isComplete(end);
  };
}
