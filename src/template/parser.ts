// Tokens to a tree, by the grammar of Jinja2's parser.py: its precedences (`~` binds tighter than `+`, `not` looser than `in`,
// comparisons chain), its blocks. Templates that load other templates are refused by name. Nothing is evaluated here.

import { InputError } from '../errors.js';
import { type LexerOptions, type Token, tokenize } from './lexer.js';
import type { Arguments, Expression, Signature, Statement, Target } from './tree.js';

export interface ParserOptions extends LexerOptions {
  /** `break`, `continue`, and the block `generation` of transformers. */
  readonly chatTags?: boolean;
}

const MAX_DEPTH = 200;

/** Throws `InputError` with the line where the source stops being a template. */
export function parse(source: string, options: ParserOptions = {}): Statement[] {
  const parser = new Parser(tokenize(source, options), options);
  return parser.template();
}

const comparisons = ['==', '!=', '<', '<=', '>', '>='];

class Parser {
  private at = 0;
  private depth = 0;
  private loops = 0;
  /** Names that the macros being read mention. */
  private mentions: Set<string>[] = [];

  constructor(
    private readonly tokens: readonly Token[],
    private readonly options: ParserOptions,
  ) {}

  template(): Statement[] {
    return this.statements([]);
  }

  private get token(): Token {
    return this.tokens[this.at];
  }

  private fail(what: string, line = this.token.line): never {
    throw new InputError(`line ${line}: ${what}`);
  }

  private shown(token = this.token): string {
    if (token.type === 'end') return 'the end of the template';
    return token.text === ''
      ? ({ variable_end: '"}}"', block_end: '"%}"' }[token.type as string] ?? token.type)
      : JSON.stringify(token.text);
  }

  private isName(...names: string[]): boolean {
    return this.token.type === 'name' && names.includes(this.token.text);
  }

  private isOperator(...texts: string[]): boolean {
    return this.token.type === 'operator' && texts.includes(this.token.text);
  }

  private skipName(name: string): boolean {
    if (!this.isName(name)) return false;
    this.at++;
    return true;
  }

  private skipOperator(text: string): boolean {
    if (!this.isOperator(text)) return false;
    this.at++;
    return true;
  }

  private expectOperator(text: string): void {
    if (!this.skipOperator(text)) this.fail(`expected "${text}", found ${this.shown()}`);
  }

  private expectName(name?: string): string {
    const { type, text } = this.token;
    if (type !== 'name' || (name !== undefined && text !== name))
      this.fail(`expected ${name ? `"${name}"` : 'a name'}, found ${this.shown()}`);
    this.at++;
    return text;
  }

  private expect(type: 'block_end' | 'variable_end'): void {
    if (this.token.type !== type) this.fail(`expected ${type === 'block_end' ? '"%}"' : '"}}"'}, found ${this.shown()}`);
    this.at++;
  }

  private nested<T>(work: () => T): T {
    if (++this.depth > MAX_DEPTH) this.fail(`nested more than ${MAX_DEPTH} deep`);
    const result = work();
    this.depth--;
    return result;
  }

  /** Statements up to a tag of one of the names, which is left as the current token; to the end of the template without names. */
  private statements(ends: readonly string[]): Statement[] {
    return this.nested(() => {
      const body: Statement[] = [];
      for (;;) {
        const { type, text, line } = this.token;
        if (type === 'end') {
          if (ends.length > 0) this.fail(`the template ends where ${ends.map((end) => `{% ${end} %}`).join(' or ')} is expected`);
          return body;
        }
        this.at++;
        if (type === 'data') body.push({ kind: 'text', text });
        else if (type === 'variable_begin') {
          body.push({ kind: 'output', value: this.tuple() });
          this.expect('variable_end');
        } else {
          if (this.isName(...ends)) return body;
          const tag = this.expectName();
          const statement = this.statement(tag, line);
          body.push(...statement);
          this.expect('block_end');
        }
      }
    });
  }

  /** A block's body; the end tag's name is taken. */
  private body(...ends: string[]): [Statement[], string] {
    this.skipOperator(':');
    this.expect('block_end');
    const body = this.statements(ends);
    return [body, this.expectName()];
  }

  private statement(tag: string, line: number): Statement[] {
    switch (tag) {
      case 'if':
        return [this.if()];
      case 'for':
        return [this.for()];
      case 'set':
        return [this.set()];
      case 'macro':
        return [this.macro()];
      case 'call':
        return [this.callBlock(line)];
      case 'with':
        return [this.with()];
      case 'filter': {
        const filter = this.filter(undefined, true);
        return [{ kind: 'filterBlock', filter: filter!, body: this.body('endfilter')[0] }];
      }
      case 'print': {
        const outputs: Statement[] = [];
        while (this.token.type !== 'block_end') {
          if (outputs.length > 0) this.expectOperator(',');
          outputs.push({ kind: 'output', value: this.expression() });
        }
        return outputs;
      }
      case 'block': {
        const name = this.expectName();
        while (this.skipName('scoped') || this.skipName('required'));
        const [body] = this.body('endblock');
        this.skipName(name);
        return [{ kind: 'scope', body }];
      }
      case 'autoescape':
        if (this.truthyConstant()) this.fail('autoescape is not supported', line);
        return [{ kind: 'scope', body: this.body('endautoescape')[0] }];
      case 'break':
      case 'continue':
        if (!this.options.chatTags) break;
        if (this.loops === 0) this.fail(`"${tag}" outside of a loop`, line);
        return [{ kind: tag }];
      case 'generation':
        if (this.options.chatTags) return [{ kind: 'scope', body: this.function('endgeneration').body }];
        break;
      case 'include':
      case 'import':
      case 'from':
      case 'extends':
        return this.fail(`"${tag}" loads another template, which is not supported`, line);
    }
    return this.fail(`there is no tag "${tag}" here`, line);
  }

  private truthyConstant(): boolean {
    const value = this.expression();
    return value.kind !== 'constant' || Boolean(value.value);
  }

  private if(): Statement {
    const test = this.tuple({ conditional: false });
    const [body, end] = this.body('elif', 'else', 'endif');
    if (end === 'elif') return { kind: 'if', test, body, otherwise: [this.nested(() => this.if())] };
    return { kind: 'if', test, body, otherwise: end === 'else' ? this.body('endif')[0] : [] };
  }

  private for(): Statement {
    const target = this.target({ ends: ['in'] });
    this.expectName('in');
    const items = this.tuple({ conditional: false, ends: ['recursive'] });
    const test = this.skipName('if') ? this.expression() : undefined;
    const recursive = this.skipName('recursive');
    this.loops++;
    const [body, end] = this.body('endfor', 'else');
    this.loops--;
    return { kind: 'for', target, items, test, recursive, body, otherwise: end === 'else' ? this.body('endfor')[0] : [] };
  }

  private set(): Statement {
    const target = this.target({ fields: true });
    if (this.skipOperator('=')) return { kind: 'set', target, value: this.tuple() };
    const filter = this.filter(undefined);
    return { kind: 'setBlock', target, filter, body: this.body('endset')[0] };
  }

  private with(): Statement {
    const bindings: [Target, Expression][] = [];
    while (this.token.type !== 'block_end') {
      if (bindings.length > 0) this.expectOperator(',');
      const target = this.target({});
      this.expectOperator('=');
      bindings.push([target, this.expression()]);
    }
    return { kind: 'with', bindings, body: this.body('endwith')[0] };
  }

  private signature(): Signature {
    const [names, defaults]: [string[], Expression[]] = [[], []];
    this.expectOperator('(');
    while (!this.isOperator(')')) {
      if (names.length > 0) this.expectOperator(',');
      names.push(this.expectName());
      if (this.skipOperator('=')) defaults.push(this.expression());
      else if (defaults.length > 0) this.fail('non-default argument follows default argument');
    }
    this.at++;
    return { names, defaults };
  }

  /** A body that is called, and the names that it mentions. */
  private function(end: string): { body: Statement[]; free: ReadonlySet<string> } {
    const free = new Set<string>();
    this.mentions.push(free);
    const loops = this.loops;
    this.loops = 0;
    const [body] = this.body(end);
    this.loops = loops;
    this.mentions.pop();
    return { body, free };
  }

  private macro(): Statement {
    const name = this.expectName();
    const signature = this.signature();
    return { kind: 'macro', name, signature, ...this.function('endmacro') };
  }

  private callBlock(line: number): Statement {
    const signature = this.isOperator('(') ? this.signature() : { names: [], defaults: [] };
    const call = this.expression();
    if (call.kind !== 'call') this.fail('expected a call', line);
    return { kind: 'callBlock', call, signature, ...this.function('endcall') };
  }

  private target(options: { ends?: readonly string[]; fields?: boolean }): Target {
    const line = this.token.line;
    return this.asTarget(this.tuple({ simple: true, ...options }), line);
  }

  private asTarget(expression: Expression, line: number): Target {
    if (expression.kind === 'name') return expression;
    if (expression.kind === 'attribute' && expression.object.kind === 'name') {
      return { kind: 'field', namespace: expression.object.name, name: expression.name };
    }
    if (expression.kind === 'tuple') return { kind: 'targets', items: expression.items.map((item) => this.asTarget(item, line)) };
    return this.fail(`a ${expression.kind} cannot be assigned to`, line);
  }

  /** One expression, or several with commas between them as a tuple. */
  private tuple(
    options: { simple?: boolean; conditional?: boolean; ends?: readonly string[]; parentheses?: boolean; fields?: boolean } = {},
  ): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.expectOperator(',');
      const { type } = this.token;
      if (type === 'variable_end' || type === 'block_end' || this.isOperator(')') || this.isName(...(options.ends ?? []))) break;
      items.push(options.simple ? this.primary(options.fields) : this.expression(options.conditional));
      if (!this.isOperator(',')) break;
      isTuple = true;
    }
    if (!isTuple) {
      if (items.length > 0) return items[0];
      if (!options.parentheses) this.fail(`expected an expression, found ${this.shown()}`);
    }
    return { kind: 'tuple', items };
  }

  private expression(conditional = true): Expression {
    return this.nested(() => {
      let value = this.or();
      while (conditional && this.skipName('if')) {
        const test = this.or();
        const otherwise = this.skipName('else') ? this.expression() : undefined;
        value = { kind: 'conditional', test, value, otherwise };
      }
      return value;
    });
  }

  private or(): Expression {
    let left = this.and();
    while (this.skipName('or')) left = { kind: 'or', left, right: this.and() };
    return left;
  }

  private and(): Expression {
    let left = this.not();
    while (this.skipName('and')) left = { kind: 'and', left, right: this.not() };
    return left;
  }

  private not(): Expression {
    if (this.skipName('not')) return { kind: 'unary', operator: 'not', operand: this.nested(() => this.not()) };
    return this.compare();
  }

  private compare(): Expression {
    const left = this.sum();
    const operands: { operator: string; value: Expression }[] = [];
    for (;;) {
      const next = this.tokens[this.at + 1];
      if (this.isOperator(...comparisons)) {
        const operator = this.token.text;
        this.at++;
        operands.push({ operator, value: this.sum() });
      } else if (this.skipName('in')) operands.push({ operator: 'in', value: this.sum() });
      else if (this.isName('not') && next?.type === 'name' && next.text === 'in') {
        this.at += 2;
        operands.push({ operator: 'not in', value: this.sum() });
      } else break;
    }
    return operands.length === 0 ? left : { kind: 'compare', left, operands };
  }

  /** Operators that associate to the left. */
  private chain(operators: readonly string[], operand: () => Expression): Expression {
    let left = operand();
    while (this.isOperator(...operators)) {
      const operator = this.token.text;
      this.at++;
      left = { kind: 'binary', operator, left, right: operand() };
    }
    return left;
  }

  private sum(): Expression {
    return this.chain(['+', '-'], () => this.concat());
  }

  private concat(): Expression {
    const items = [this.product()];
    while (this.skipOperator('~')) items.push(this.product());
    return items.length === 1 ? items[0] : { kind: 'concat', items };
  }

  private product(): Expression {
    return this.chain(['*', '/', '//', '%'], () => this.chain(['**'], () => this.unary(true)));
  }

  private unary(filters: boolean): Expression {
    let value: Expression;
    if (this.isOperator('-', '+')) {
      const operator = this.token.text;
      this.at++;
      value = { kind: 'unary', operator, operand: this.nested(() => this.unary(false)) };
    } else value = this.primary();
    value = this.postfix(value);
    return filters ? this.filters(value) : value;
  }

  private primary(fields = false): Expression {
    const { type, text, value } = this.token;
    if (type === 'name') {
      this.at++;
      if (['true', 'True', 'false', 'False'].includes(text)) return { kind: 'constant', value: text.toLowerCase() === 'true' };
      if (text === 'none' || text === 'None') return { kind: 'constant', value: null };
      for (const mentions of this.mentions) mentions.add(text);
      if (fields && this.skipOperator('.'))
        return { kind: 'attribute', object: { kind: 'name', name: text }, name: this.expectName() };
      return { kind: 'name', name: text };
    }
    if (type === 'string') {
      let whole = '';
      for (; this.token.type === 'string'; this.at++) whole += this.token.value as string;
      return { kind: 'constant', value: whole };
    }
    if (type === 'number') {
      this.at++;
      return { kind: 'constant', value };
    }
    if (this.skipOperator('(')) {
      const inner = this.nested(() => this.tuple({ parentheses: true }));
      this.expectOperator(')');
      return inner;
    }
    if (this.skipOperator('[')) return { kind: 'list', items: this.items(']', () => this.expression()) };
    if (this.skipOperator('{')) {
      const entry = (): [Expression, Expression] => {
        const key = this.expression();
        this.expectOperator(':');
        return [key, this.expression()];
      };
      return { kind: 'dict', entries: this.items('}', entry) };
    }
    return this.fail(`unexpected ${this.shown()}`);
  }

  /** Items with commas between them, and perhaps one behind the last, up to the closing bracket. */
  private items<T>(close: string, item: () => T): T[] {
    const items: T[] = [];
    while (!this.isOperator(close)) {
      if (items.length > 0) this.expectOperator(',');
      if (this.isOperator(close)) break;
      items.push(item());
    }
    this.expectOperator(close);
    return items;
  }

  private postfix(value: Expression): Expression {
    for (let result = value; ; ) {
      if (this.isOperator('.', '[')) result = this.subscript(result);
      else if (this.isOperator('(')) result = { kind: 'call', callee: result, args: this.arguments() };
      else return result;
    }
  }

  private filters(value: Expression): Expression {
    for (let result = value; ; ) {
      if (this.isOperator('|')) result = this.filter(result)!;
      else if (this.skipName('is')) result = this.test(result);
      else if (this.isOperator('(')) result = { kind: 'call', callee: result, args: this.arguments() };
      else return result;
    }
  }

  private subscript(object: Expression): Expression {
    if (this.skipOperator('.')) {
      const { type, text, value } = this.token;
      this.at++;
      if (type === 'name') return { kind: 'attribute', object, name: text };
      if (type === 'number' && typeof value === 'number') return { kind: 'item', object, index: { kind: 'constant', value } };
      this.fail('expected a name or a number behind "."');
    }
    this.at++;
    const items: Expression[] = [];
    while (!this.isOperator(']')) {
      if (items.length > 0) this.expectOperator(',');
      items.push(this.index());
    }
    this.at++;
    return { kind: 'item', object, index: items.length === 1 ? items[0] : { kind: 'tuple', items } };
  }

  private index(): Expression {
    const ends = () => this.isOperator(':', ']', ',');
    const start = this.isOperator(':') ? undefined : this.expression();
    if (!this.skipOperator(':')) return start!;
    const stop = ends() ? undefined : this.expression();
    const step = this.skipOperator(':') && !ends() ? this.expression() : undefined;
    return { kind: 'slice', start, stop, step };
  }

  private arguments(): Arguments {
    const { line } = this.token;
    const positional: Expression[] = [];
    const keywords: [string, Expression][] = [];
    let rest: Expression | undefined;
    let keywordRest: Expression | undefined;
    const ensure = (right: boolean) => {
      if (!right) this.fail('invalid syntax for function call expression', line);
    };
    this.at++;
    for (let first = true; !this.isOperator(')'); first = false) {
      if (!first) {
        this.expectOperator(',');
        if (this.isOperator(')')) break;
      }
      const next = this.tokens[this.at + 1];
      if (this.skipOperator('*')) {
        ensure(rest === undefined && keywordRest === undefined);
        rest = this.expression();
      } else if (this.skipOperator('**')) {
        ensure(keywordRest === undefined);
        keywordRest = this.expression();
      } else if (this.token.type === 'name' && next.type === 'operator' && next.text === '=') {
        ensure(keywordRest === undefined);
        const name = this.token.text;
        this.at += 2;
        keywords.push([name, this.expression()]);
      } else {
        ensure(rest === undefined && keywordRest === undefined && keywords.length === 0);
        positional.push(this.expression());
      }
    }
    this.expectOperator(')');
    return { positional, keywords, rest, keywordRest };
  }

  private dottedName(): string {
    let name = this.expectName();
    while (this.skipOperator('.')) name += `.${this.expectName()}`;
    return name;
  }

  /** Filters in a row; `inline` takes the first without its bar. Undefined when there is none. */
  private filter(input: Expression | undefined, inline = false): Expression | undefined {
    let value = input;
    for (let first = inline; first || this.skipOperator('|'); first = false) {
      const name = this.dottedName();
      const args = this.isOperator('(') ? this.arguments() : noArguments;
      value = { kind: 'filter', input: value, name, args };
    }
    return value;
  }

  private test(input: Expression): Expression {
    const negated = this.skipName('not');
    const name = this.dottedName();
    let args = noArguments;
    if (this.isOperator('(')) args = this.arguments();
    else {
      const { type } = this.token;
      const starts = type === 'name' || type === 'string' || type === 'number' || this.isOperator('(', '[', '{');
      if (starts && !this.isName('else', 'or', 'and')) {
        if (this.isName('is')) this.fail('tests cannot be chained with "is"');
        args = { positional: [this.postfix(this.primary())], keywords: [] };
      }
    }
    const test: Expression = { kind: 'test', input, name, args };
    return negated ? { kind: 'unary', operator: 'not', operand: test } : test;
  }
}

const noArguments: Arguments = { positional: [], keywords: [] };
