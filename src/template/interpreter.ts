// Runs a template's tree on Python's values: scopes, loops, macros, lookups, calls, by the rules of Jinja2's compiler and runtime.
// Every node costs a step of the budget. What is in a sandbox and what a missing name means is the caller's choice.

import { InputError } from '../errors.js';
import { binary, unary } from '../python/arithmetic.js';
import { STEP, spend } from '../python/budget.js';
import { changes, containerMethod, itemAt, Slice, unpack } from '../python/containers.js';
import { stringMethod } from '../python/strings.js';
import {
  Callable,
  compare,
  contains,
  Dict,
  equals,
  fromData,
  isText,
  iterate,
  type Keywords,
  Lazy,
  listOf,
  PythonObject,
  repr,
  str,
  Tuple,
  textOf,
  truth,
  typeName,
  Undefined,
  type Value,
} from '../python/values.js';
import { filterNamed, hasFilter } from './filters.js';
import type { Filter, Host } from './host.js';
import { builtins, Loop, Macro, Namespace } from './runtime.js';
import { testNamed } from './tests.js';
import type { Arguments, Expression, Signature, Statement, Target } from './tree.js';

export interface Settings {
  /** Chat templates: values cannot be changed, private names are closed, ranges are small. */
  readonly sandboxed: boolean;
  /** A missing name is an error at any use but `is defined` and `default`. */
  readonly strict: boolean;
  /** Functions and filters beside Jinja's own. */
  readonly globals: ReadonlyMap<string, Value>;
  readonly filters?: ReadonlyMap<string, Filter>;
  /** The message for a name, a field or an item that is not there. */
  readonly missing: (what: 'name' | 'field' | 'item', object: string, name: string) => string;
}

const MAX_CALLS = 200;

class Scope {
  readonly variables = new Map<string, Value>();

  constructor(readonly parent: Scope | undefined) {}

  find(name: string): Value | undefined {
    for (let scope: Scope | undefined = this; scope; scope = scope.parent) {
      const value = scope.variables.get(name);
      if (value !== undefined) return value;
    }
    return undefined;
  }
}

/** A value, or the fallback where there is none: None (null) is a value. */
function or<T extends Value | undefined>(value: Value | undefined, fallback: () => T): Value | T {
  return value === undefined ? fallback() : value;
}

type Signal = 'break' | 'continue' | undefined;

export class Interpreter implements Host {
  readonly sandboxed: boolean;
  private readonly globals: ReadonlyMap<string, Value>;
  private readonly context = new Map<string, Value>();
  private output: string[] = [];
  private calls = 0;

  constructor(
    private readonly settings: Settings,
    private readonly data: Readonly<Record<string, unknown>>,
  ) {
    this.sandboxed = settings.sandboxed;
    this.globals = new Map([...builtins(this.sandboxed), ...settings.globals]);
  }

  /** The text of a whole template. */
  run(body: readonly Statement[]): string {
    return this.collect(() => this.execute(body, new Scope(undefined)));
  }

  undefined(message: string): Undefined {
    return new Undefined(message, this.settings.strict);
  }

  private collect(work: () => unknown): string {
    const outer = this.output;
    this.output = [];
    try {
      work();
      return this.output.join('');
    } finally {
      this.output = outer;
    }
  }

  private write(text: string): void {
    spend(text.length);
    this.output.push(text);
  }

  // Statements

  private execute(body: readonly Statement[], scope: Scope): Signal {
    for (const statement of body) {
      const signal = this.statement(statement, scope);
      if (signal) return signal;
    }
    return undefined;
  }

  private statement(node: Statement, scope: Scope): Signal {
    spend(STEP);
    switch (node.kind) {
      case 'text':
        this.write(node.text);
        return undefined;
      case 'output':
        this.write(str(this.evaluate(node.value, scope)));
        return undefined;
      case 'if':
        return this.execute(truth(this.evaluate(node.test, scope)) ? node.body : node.otherwise, scope);
      case 'for':
        this.loop(node, this.evaluate(node.items, scope), scope, 0);
        return undefined;
      case 'set':
        this.assign(node.target, this.evaluate(node.value, scope), scope);
        return undefined;
      case 'setBlock': {
        const { text, signal } = this.captured(node.body, scope);
        if (signal) return signal;
        this.assign(node.target, node.filter ? this.apply(node.filter, text, scope) : text, scope);
        return undefined;
      }
      case 'with': {
        const inner = new Scope(scope);
        const values = node.bindings.map(([target, value]) => [target, this.evaluate(value, scope)] as const);
        for (const [target, value] of values) this.assign(target, value, inner);
        return this.execute(node.body, inner);
      }
      case 'macro':
        scope.variables.set(node.name, this.macro(node.name, node, scope));
        return undefined;
      case 'callBlock':
        this.callBlock(node, scope);
        return undefined;
      case 'filterBlock': {
        const { text, signal } = this.captured(node.body, scope);
        if (signal) return signal;
        this.write(str(this.apply(node.filter, text, scope)));
        return undefined;
      }
      case 'scope':
        return this.execute(node.body, new Scope(scope));
      default:
        return node.kind;
    }
  }

  /** The text of a block; a `break` or `continue` in it takes the text along. */
  private captured(body: readonly Statement[], scope: Scope): { text: string; signal: Signal } {
    let signal: Signal;
    const text = this.collect(() => {
      signal = this.execute(body, new Scope(scope));
    });
    return { text, signal };
  }

  private loop(node: Extract<Statement, { kind: 'for' }>, items: Value, scope: Scope, depth: number): void {
    const walked = node.test ? this.tested(node, node.test, items, scope) : items;
    const recurse = (inner: Value, level: number) => this.called(() => this.collect(() => this.loop(node, inner, scope, level)));
    const loop = new Loop(walked, depth, (message) => this.undefined(message), node.recursive ? recurse : undefined);
    let any = false;
    while (loop.next()) {
      spend(4 * STEP);
      const inner = new Scope(scope);
      inner.variables.set('loop', loop);
      this.assign(node.target, loop.item, inner);
      const signal = this.execute(node.body, inner);
      if (signal === 'break') break;
      any ||= signal === undefined; // Jinja takes a loop whose every turn is cut short for one without turns
    }
    if (!any) this.execute(node.otherwise, new Scope(scope));
  }

  /** The items for which the loop's own `if` holds. */
  private tested(node: Extract<Statement, { kind: 'for' }>, test: Expression, items: Value, scope: Scope): Lazy {
    const iterator = iterate(items);
    const self = this;
    function* walk(): Generator<Value> {
      for (let step = iterator.next(); !step.done; step = iterator.next()) {
        spend(STEP);
        const inner = new Scope(scope);
        self.assign(node.target, step.value, inner);
        if (truth(self.evaluate(test, inner))) yield step.value;
      }
    }
    return new Lazy(walk());
  }

  private assign(target: Target, value: Value, scope: Scope): void {
    if (target.kind === 'name') scope.variables.set(target.name, value);
    else if (target.kind === 'targets') {
      const values = unpack(value, target.items.length);
      for (const [i, item] of target.items.entries()) this.assign(item, values[i], scope);
    } else {
      const namespace = this.lookUp(target.namespace, scope);
      if (!(namespace instanceof Namespace)) throw new InputError('cannot assign attribute on non-namespace object');
      namespace.fields.set(target.name, value);
    }
  }

  /** Something that is called and gives text: a macro or the body of a call block. */
  private macro(
    name: string,
    node: { signature: Signature; body: Statement[]; free: ReadonlySet<string> },
    scope: Scope,
  ): Callable {
    const { names, defaults } = node.signature;
    const call = (args: readonly Value[], keywords: Keywords): Value => {
      const inner = new Scope(scope);
      const rest = new Map(keywords);
      for (const [i, parameter] of names.entries()) {
        let value = i < args.length ? args[i] : rest.get(parameter);
        if (i >= args.length) rest.delete(parameter);
        const fallback = defaults[i - names.length + defaults.length];
        if (value === undefined) {
          value = fallback ? this.evaluate(fallback, inner) : this.undefined(`parameter '${parameter}' was not provided`);
        }
        inner.variables.set(parameter, value);
      }
      if (node.free.has('caller') && !names.includes('caller')) {
        inner.variables.set(
          'caller',
          or(rest.get('caller'), () => this.undefined('No caller defined')),
        );
        rest.delete('caller');
      }
      if (node.free.has('kwargs')) inner.variables.set('kwargs', new Dict(rest));
      else if (rest.size > 0) throw new InputError(`macro '${name}' takes no keyword argument '${[...rest.keys()][0]}'`);
      if (node.free.has('varargs')) inner.variables.set('varargs', new Tuple(args.slice(names.length)));
      else if (args.length > names.length)
        throw new InputError(`macro '${name}' takes not more than ${names.length} argument(s)`);
      return this.called(() => this.collect(() => this.execute(node.body, inner)));
    };
    return new Macro(name, call, names, node.free);
  }

  private callBlock(node: Extract<Statement, { kind: 'callBlock' }>, scope: Scope): void {
    if (node.call.kind !== 'call') return;
    const { args, keywords } = this.arguments(node.call.args, scope);
    const caller = this.macro('caller', node, scope);
    this.write(str(this.call(this.evaluate(node.call.callee, scope), args, new Map([...keywords, ['caller', caller]]))));
  }

  /** Counts how deep calls are nested: a macro that calls itself without end ends here. */
  private called<T>(work: () => T): T {
    spend(32 * STEP);
    if (++this.calls > MAX_CALLS) throw new InputError(`macros or loops call themselves more than ${MAX_CALLS} times deep`);
    try {
      return work();
    } finally {
      this.calls--;
    }
  }

  // Expressions

  private evaluate(node: Expression, scope: Scope): Value {
    spend(STEP);
    switch (node.kind) {
      case 'constant':
        return node.value;
      case 'name':
        return this.lookUp(node.name, scope);
      case 'list':
        return node.items.map((item) => this.evaluate(item, scope));
      case 'tuple':
        return new Tuple(node.items.map((item) => this.evaluate(item, scope)));
      case 'dict':
        return new Dict(node.entries.map(([key, value]) => [this.evaluate(key, scope), this.evaluate(value, scope)] as const));
      case 'attribute':
        return this.attribute(this.evaluate(node.object, scope), node.name);
      case 'item': {
        const object = this.evaluate(node.object, scope);
        return this.item(object, node.index.kind === 'slice' ? this.slice(node.index, scope) : this.evaluate(node.index, scope));
      }
      case 'slice':
        throw new InputError('slices in a tuple of indices are not supported');
      case 'call': {
        const callee = this.evaluate(node.callee, scope);
        const { args, keywords } = this.arguments(node.args, scope);
        return this.call(callee, args, keywords);
      }
      case 'filter':
        return this.apply(node, undefined, scope);
      case 'test': {
        const input = this.evaluate(node.input, scope);
        const { args, keywords } = this.arguments(node.args, scope);
        return this.test(node.name, input, args, keywords);
      }
      case 'unary':
        if (node.operator === 'not') return !truth(this.evaluate(node.operand, scope));
        return unary(node.operator, this.evaluate(node.operand, scope));
      case 'binary': {
        const left = this.evaluate(node.left, scope);
        return binary(node.operator, left, this.evaluate(node.right, scope));
      }
      case 'and': {
        const left = this.evaluate(node.left, scope);
        return truth(left) ? this.evaluate(node.right, scope) : left;
      }
      case 'or': {
        const left = this.evaluate(node.left, scope);
        return truth(left) ? left : this.evaluate(node.right, scope);
      }
      case 'concat': {
        const text = node.items.map((item) => str(this.evaluate(item, scope))).join('');
        spend(text.length);
        return text;
      }
      case 'compare':
        return this.compare(node, scope);
      default: {
        if (truth(this.evaluate(node.test, scope))) return this.evaluate(node.value, scope);
        if (node.otherwise) return this.evaluate(node.otherwise, scope);
        return new Undefined('the inline if-expression evaluated to false and no else section was defined.', false);
      }
    }
  }

  private compare(node: Extract<Expression, { kind: 'compare' }>, scope: Scope): boolean {
    let left = this.evaluate(node.left, scope);
    for (const { operator, value } of node.operands) {
      const right = this.evaluate(value, scope);
      if (!compared(operator, left, right)) return false;
      left = right;
    }
    return true;
  }

  private slice(node: Extract<Expression, { kind: 'slice' }>, scope: Scope): Slice {
    const [start, stop, step] = [node.start, node.stop, node.step].map((part) => (part ? this.evaluate(part, scope) : null));
    return new Slice(start, stop, step);
  }

  /** The filters of a node on its input, or on `text` where the node has none. */
  private apply(node: Expression, text: string | undefined, scope: Scope): Value {
    if (node.kind !== 'filter') return this.evaluate(node, scope);
    const input = node.input ? this.apply(node.input, text, scope) : text!;
    const { args, keywords } = this.arguments(node.args, scope);
    return this.filter(node.name, input, args, keywords);
  }

  private arguments(node: Arguments, scope: Scope): { args: Value[]; keywords: Map<string, Value> } {
    const args = node.positional.map((item) => this.evaluate(item, scope));
    const keywords = new Map(node.keywords.map(([name, value]) => [name, this.evaluate(value, scope)] as const));
    if (node.rest) for (const item of listOf(this.evaluate(node.rest, scope))) args.push(item);
    if (node.keywordRest) {
      const rest = this.evaluate(node.keywordRest, scope);
      if (!(rest instanceof Dict)) throw new InputError(`argument after ** must be a mapping, not ${typeName(rest)}`);
      for (const [name, value] of rest) keywords.set(str(name), value);
    }
    return { args, keywords };
  }

  private call(callee: Value, args: readonly Value[], keywords: Keywords): Value {
    if (callee instanceof Undefined) callee.fail();
    if (!(callee instanceof Callable)) throw new InputError(`'${typeName(callee)}' object is not callable`);
    return callee.call(args, keywords);
  }

  private lookUp(name: string, scope: Scope): Value {
    const found = or(scope.find(name), () => this.context.get(name));
    if (found !== undefined) return found;
    if (Object.hasOwn(this.data, name)) {
      const value = fromData(this.data[name]);
      this.context.set(name, value);
      return value;
    }
    return or(this.globals.get(name), () => this.undefined(this.settings.missing('name', '', name)));
  }

  // What filters and tests ask for (Host)

  attribute(object: Value, name: string): Value {
    return or(this.own(object, name), () => or(itemAt(object, name), () => this.absent('field', object, name)));
  }

  item(object: Value, index: Value | Slice): Value {
    if (object instanceof Undefined) object.fail();
    const found = itemAt(object, index);
    if (found !== undefined) return found;
    // A slice is written as Python's own subscript, so what has none fails instead of being undefined.
    if (index instanceof Slice)
      throw new InputError(
        object instanceof Dict ? "unhashable type: 'slice'" : `'${typeName(object)}' object is not subscriptable`,
      );
    if (!isText(index)) return this.absent('item', object, repr(index));
    return or(this.own(object, textOf(index)), () => this.absent('field', object, textOf(index)));
  }

  private absent(what: 'field' | 'item', object: Value, name: string): Undefined {
    return this.undefined(this.settings.missing(what, `${typeName(object)} object`, name));
  }

  own(object: Value, name: string): Value | undefined {
    if (object instanceof Undefined) object.fail();
    if (name.startsWith('__')) return this.unsafe(object, name);
    if (isText(object)) {
      return stringMethod(object, name, (value, key, item) => this.look(value, key, item));
    }
    if (object instanceof PythonObject) {
      const value = object.attribute(name);
      if (value !== undefined) return value;
    }
    if (this.sandboxed && changes(object, name)) {
      return this.unsafe(object, name);
    }
    return containerMethod(object, name);
  }

  /** The parts of a field of `format`: outside of a sandbox an attribute is no item. */
  private look(value: Value, key: string, item: boolean): Value {
    if (item) return this.item(value, /^\d+$/.test(key) ? Number(key) : key);
    if (this.sandboxed) return this.attribute(value, key);
    return or(this.own(value, key), () => this.absent('field', value, key));
  }

  private unsafe(object: Value, name: string): Undefined {
    return this.undefined(`access to attribute '${name}' of '${typeName(object)}' object is unsafe.`);
  }

  filter(name: string, input: Value, args: readonly Value[], keywords: Keywords): Value {
    spend(STEP);
    return (this.settings.filters?.get(name) ?? filterNamed(name))(this, input, args, keywords);
  }

  test(name: string, input: Value, args: readonly Value[], keywords: Keywords): boolean {
    spend(STEP);
    return testNamed(name)(this, input, args, keywords);
  }

  hasFilter(name: string): boolean {
    return this.settings.filters?.has(name) || hasFilter(name);
  }
}

function compared(operator: string, left: Value, right: Value): boolean {
  switch (operator) {
    case '==':
      return equals(left, right);
    case '!=':
      return !equals(left, right);
    case 'in':
      return contains(right, left);
    case 'not in':
      return !contains(right, left);
    case '<':
      return compare(left, right, '<') < 0;
    case '<=':
      return compare(left, right, '<=') <= 0;
    case '>':
      return compare(left, right, '>') > 0;
    default:
      return compare(left, right, '>=') >= 0;
  }
}
