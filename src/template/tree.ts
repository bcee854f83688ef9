// What a template is made of, as the parser gives it and the interpreter runs it. Types only.

import type { Value } from '../python/values.js';

export type Expression =
  | { kind: 'constant'; value: Value }
  | { kind: 'name'; name: string }
  | { kind: 'list' | 'tuple'; items: Expression[] }
  | { kind: 'dict'; entries: [Expression, Expression][] }
  | { kind: 'attribute'; object: Expression; name: string }
  | { kind: 'item'; object: Expression; index: Expression }
  | { kind: 'slice'; start?: Expression; stop?: Expression; step?: Expression }
  | { kind: 'call'; callee: Expression; args: Arguments }
  | { kind: 'filter'; input?: Expression; name: string; args: Arguments }
  | { kind: 'test'; input: Expression; name: string; args: Arguments }
  | { kind: 'unary'; operator: string; operand: Expression }
  | { kind: 'binary'; operator: string; left: Expression; right: Expression }
  | { kind: 'and' | 'or'; left: Expression; right: Expression }
  | { kind: 'concat'; items: Expression[] }
  | { kind: 'compare'; left: Expression; operands: { operator: string; value: Expression }[] }
  | { kind: 'conditional'; test: Expression; value: Expression; otherwise?: Expression };

export interface Arguments {
  readonly positional: readonly Expression[];
  readonly keywords: readonly (readonly [string, Expression])[];
  readonly rest?: Expression;
  readonly keywordRest?: Expression;
}

export type Target =
  | { kind: 'name'; name: string }
  | { kind: 'field'; namespace: string; name: string }
  | { kind: 'targets'; items: Target[] };

export interface Signature {
  readonly names: readonly string[];
  /** Of the last names. */
  readonly defaults: readonly Expression[];
}

export type Statement =
  | { kind: 'text'; text: string }
  | { kind: 'output'; value: Expression }
  | { kind: 'if'; test: Expression; body: Statement[]; otherwise: Statement[] }
  | {
      kind: 'for';
      target: Target;
      items: Expression;
      test?: Expression;
      recursive: boolean;
      body: Statement[];
      otherwise: Statement[];
    }
  | { kind: 'set'; target: Target; value: Expression }
  | { kind: 'setBlock'; target: Target; filter?: Expression; body: Statement[] }
  | { kind: 'with'; bindings: [Target, Expression][]; body: Statement[] }
  | { kind: 'macro'; name: string; signature: Signature; body: Statement[]; free: ReadonlySet<string> }
  | { kind: 'callBlock'; call: Expression; signature: Signature; body: Statement[]; free: ReadonlySet<string> }
  | { kind: 'filterBlock'; filter: Expression; body: Statement[] }
  | { kind: 'scope'; body: Statement[] }
  | { kind: 'break' | 'continue' };
