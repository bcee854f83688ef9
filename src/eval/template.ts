// Task templates: Jinja as lm-evaluation-harness sets it up (its utils.py), where a missing name is an error, a trailing newline
// stays, and values print as Python prints them. @huggingface/jinja parses and evaluates; this file corrects it where a task's
// template can tell the difference. Chat templates are infer/chat.ts's.

import * as jinja from '@huggingface/jinja';
import { InputError, messageOf } from '../errors.js';
import { capitalize, lstrip, pythonRepr, pythonString, rstrip, strip } from './python.js';

interface Node {
  readonly type: string;
}
interface Value {
  readonly type: string;
  readonly value: unknown;
}
interface Scope {
  set(name: string, value: unknown): Value;
}
interface Evaluator {
  evaluate(node: Node | undefined, scope: Scope): Value;
}

// The package's type files name each other in a way that Node's resolution does not follow: its parts are typed here.
const { Environment, Interpreter, parse, tokenize } = jinja as unknown as {
  Environment: new () => Scope;
  Interpreter: new (scope: Scope) => Evaluator;
  parse: (tokens: unknown) => { body: readonly Node[] };
  tokenize: (source: string) => unknown;
};
type Program = ReturnType<typeof parse>;

/** Python's string methods that the interpreter lacks or bases on JavaScript's idea of white space and letter case. */
const stringMethods: Readonly<Record<string, (text: string, ...args: never[]) => unknown>> = {
  strip,
  lstrip,
  rstrip,
  capitalize,
  index: (text: string, part: string) => found(text.indexOf(part), part),
  find: (text: string, part: string) => text.indexOf(part),
};

function found(index: number, item: unknown): number {
  if (index < 0) throw new InputError(`${pythonRepr(item)} is not in the list`);
  return index;
}

/** What runtime values hold, as plain data. */
function plain(value: Value): unknown {
  if (value.type === 'ArrayValue' || value.type === 'TupleValue') return (value.value as Value[]).map(plain);
  if (value.type === 'ObjectValue')
    return Object.fromEntries([...(value.value as Map<string, Value>)].map(([k, v]) => [k, plain(v)]));
  return value.value;
}

class StrictInterpreter extends Interpreter {
  /** Above 0 inside `x is defined` and `x | default(...)`, where a missing name is no error. */
  private lenient = 0;

  override evaluate(node: Node | undefined, scope: Scope): Value {
    switch (node?.type) {
      case 'TestExpression':
        return this.leniently(['defined', 'undefined'].includes(text(part(node, 'test'))), node, scope);
      case 'FilterExpression':
        return this.leniently(['default', 'd'].includes(nameOfFilter(node)), node, scope);
      case 'Identifier': {
        const value = super.evaluate(node, scope);
        if (value.type === 'UndefinedValue' && this.lenient === 0) throw new InputError(`there is no column "${text(node)}"`);
        return value;
      }
      case 'MemberExpression':
        return this.member(node, scope);
      default:
        return super.evaluate(node, scope);
    }
  }

  private leniently(lenient: boolean, node: Node, scope: Scope): Value {
    this.lenient += lenient ? 1 : 0;
    try {
      return super.evaluate(node, scope);
    } finally {
      this.lenient -= lenient ? 1 : 0;
    }
  }

  private member(node: Node, scope: Scope): Value {
    const computed = (node as unknown as { computed: boolean }).computed;
    const name = computed ? undefined : text(part(node, 'property'));
    if (name !== undefined) {
      const object = this.evaluate(part(node, 'object'), scope);
      const define = (method: (...args: unknown[]) => unknown) => new Environment().set(name, method);
      if (object.type === 'StringValue' && Object.hasOwn(stringMethods, name)) {
        return define((...args) => stringMethods[name](object.value as string, ...(args as never[])));
      }
      if (object.type === 'ArrayValue' && name === 'index') {
        const list = plain(object) as unknown[];
        return define((item) => found(list.indexOf(item), item));
      }
    }
    const value = super.evaluate(node, scope);
    if (value.type === 'UndefinedValue' && this.lenient === 0) {
      throw new InputError(name === undefined ? 'an index is out of range' : `there is no field "${name}"`);
    }
    return value;
  }
}

function part(node: Node, name: string): Node {
  return (node as unknown as Record<string, Node>)[name];
}

function text(node: Node): string {
  return String((node as unknown as { value: unknown }).value);
}

function nameOfFilter(node: Node): string {
  const filter = part(node, 'filter');
  return text(filter.type === 'CallExpression' ? part(filter, 'callee') : filter);
}

export interface TemplateOptions {
  /** Jinja's own default drops one newline at the end; the harness keeps it since 0.4.9. */
  readonly keepTrailingNewline?: boolean;
}

const compiled = new Map<string, Program>();

/** Parsed once per source; throws `InputError` when it is not Jinja. */
function compile(source: string, keepTrailingNewline: boolean): Program {
  const key = keepTrailingNewline && source.endsWith('\n') ? `${source}\n` : source;
  let program = compiled.get(key);
  if (!program) {
    try {
      program = parse(tokenize(key));
    } catch (error) {
      throw new InputError(`the template ${JSON.stringify(source.slice(0, 60))} is not valid Jinja: ${messageOf(error)}`);
    }
    compiled.set(key, program);
  }
  return program;
}

/** Throws `InputError` when `source` is not a template that can be parsed. */
export function checkTemplate(source: string): void {
  compile(source, true);
}

/** The template's text with the document's columns as its variables. Throws `InputError` for a column that is not there. */
export function renderTemplate(source: string, doc: Readonly<Record<string, unknown>>, options: TemplateOptions = {}): string {
  if (!/\{[{%#]/.test(source)) return options.keepTrailingNewline === false ? source.replace(/\n$/, '') : source;
  const program = compile(source, options.keepTrailingNewline ?? true);
  const scope = new Environment();
  for (const name of ['true', 'True']) scope.set(name, true);
  for (const name of ['false', 'False']) scope.set(name, false);
  for (const name of ['none', 'None']) scope.set(name, null);
  scope.set('range', (from: number, to?: number) =>
    Array.from({ length: Math.max(0, to === undefined ? from : to - from) }, (_, i) => i + (to === undefined ? 0 : from)),
  );
  for (const [name, value] of Object.entries(doc)) scope.set(name, value);
  const interpreter = new StrictInterpreter(scope);
  let output = '';
  try {
    for (const node of program.body) {
      const value = interpreter.evaluate(node, scope);
      // A null or undefined value of a statement is no output; of an expression it is Python's None.
      const silent = ['Set', 'Macro', 'Comment'].includes(node.type);
      if (!silent) output += value.type === 'FloatValue' ? String(value) : pythonString(plain(value));
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`the template ${JSON.stringify(source.slice(0, 60))} fails: ${messageOf(error)}`);
  }
  return output;
}
