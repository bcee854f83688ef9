// GBNF as llama.cpp reads it: its own example grammars in small, and what is refused with its line.

import { describe, expect, it } from 'vitest';
import { parseGbnf } from '../../src/grammar/gbnf.js';
import { acceptor } from './accepts.js';

const json = `
# llama.cpp's json.gbnf
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\\"" (
    [^"\\\\\\x7F\\x00-\\x1F] |
    "\\\\" (["\\\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\\n" [ \\t]{0,20}`;

describe('GBNF', () => {
  it("reads llama.cpp's grammar of JSON", () => {
    const accepts = acceptor(parseGbnf(json));
    const good = ['{}', '{"a": [1, -2.5e3, "é\\u00e9\\n"], "b": {"c": null}}', '{\n  "x": true}\n'];
    const bad = ['[]', '{"a": 01}', '{"a" 1}', '{"a": 1,}', '{"a": "\n"}', '{"a": [1}', '{'];
    expect(good.map(accepts)).toEqual(good.map(() => true));
    expect(bad.map(accepts)).toEqual(bad.map(() => false));
  });

  it('nests without end and repeats as it is told', () => {
    const expression = acceptor(parseGbnf('root ::= term ([-+*/] term)*\nterm ::= "(" root ")" | [0-9]+\n'));
    const deep = `${'('.repeat(3000)}7${')'.repeat(3000)}`;
    expect([expression('1+(2*3)-4'), expression('1+(2*3'), expression(deep), expression(`${deep})`)]).toEqual([
      true,
      false,
      true,
      false,
    ]);
    const list = acceptor(parseGbnf('root ::= "x" | "x" root')); // recursion at the end is a loop
    expect([list('x'.repeat(5000)), list('')]).toEqual([true, false]);
    const counted = acceptor(parseGbnf('root ::= ("ab" | .){2,3} "!"?'));
    expect(['ab', 'abab', '🦊🦊🦊!', 'xxxx', 'x'].map(counted)).toEqual([true, true, true, false, false]);
    const odd = acceptor(parseGbnf('root ::= a-1\n  | "b" # on the next line\na-1 ::= "\\x41\\u00e9\\U0001F98A\\[" [\\]a-]'));
    expect(['Aé🦊[]', 'Aé🦊[-', 'b', 'Aé🦊[b'].map(odd)).toEqual([true, true, true, false]);
  });

  it.each([
    ['x ::= "a"', /^the grammar: there is no rule root/],
    ['root ::= y', /^the grammar, line 1: the rule y is used but not defined$/],
    ['root ::= "a"\nroot ::= "b"', /^the grammar, line 2: the rule root is defined twice$/],
    ['root ::= "a', /^the grammar, line 1: a text in quotes does not end$/],
    ['root ::= ("a"', /line 1: a \) is missing$/],
    ['root ::= [b-a]', /a range in brackets runs backwards$/],
    ['root ::= "\\q"', /there is no escape \\q$/],
    ['root = "a"', /expected ::= after root$/],
    ['root ::= * "a"', /nothing stands before \*$/],
    ['root ::= "a"{3,1}', /the repetition \{3,1\} is empty$/],
    ['root ::= <[5]>', /tokens as steps of a grammar \(<...>\) are not supported$/],
    ['root ::= root "a" | "a"', /the grammar's rule root begins with itself \(root -> root\): write it as a repetition$/],
    ['root ::= a\na ::= "x"? b\nb ::= a "y" | "z"', /the grammar's rule a begins with itself \(a -> b -> a\)/],
    ['root ::= "a" root', /no text satisfies the grammar$/],
  ])('refuses %j', (source, said) => {
    expect(() => acceptor(parseGbnf(source))).toThrow(said);
  });
});
