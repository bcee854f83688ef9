// What Jinja's runtime puts into templates: `loop`, `namespace`, macros, `range`, `cycler`, `joiner`. Statements and expressions are
// interpreter.ts's.

import { InputError } from '../errors.js';
import { bind, intArgument } from '../python/arguments.js';
import { updateDict } from '../python/containers.js';
import {
  Callable,
  Dict,
  equals,
  iterate,
  type Keywords,
  Lazy,
  listOf,
  PythonObject,
  Range,
  repr,
  sizeOf,
  Tuple,
  type Undefined,
  type Value,
} from '../python/values.js';

/** The longest range of a sandbox. */
const MAX_RANGE = 100_000;

export class Namespace extends PythonObject {
  readonly typeName = 'Namespace';

  constructor(readonly fields: Dict) {
    super();
  }

  override attribute(name: string): Value | undefined {
    return this.fields.get(name);
  }

  override repr(depth: number): string {
    return `<Namespace ${repr(this.fields, depth + 1)}>`;
  }
}

class Cycler extends PythonObject {
  readonly typeName = 'Cycler';
  private at = 0;

  constructor(private readonly items: readonly Value[]) {
    super();
    if (items.length === 0) throw new InputError('at least one item has to be provided');
  }

  override attribute(name: string): Value | undefined {
    const { items, at } = this;
    switch (name) {
      case 'current':
        return items[at % items.length];
      case 'next':
        return new Callable(name, () => items[this.at++ % items.length]);
      case 'reset':
        return new Callable(name, () => {
          this.at = 0;
          return null;
        });
      default:
        return undefined;
    }
  }
}

/** What `loop` is in a loop's body, and the walk itself. */
export class Loop extends Callable {
  index0 = -1;
  private iterator: Iterator<Value>;
  private before: Value | undefined;
  private current: Value | undefined;
  private after: IteratorResult<Value> | undefined;
  private total: number | undefined;
  private changedTo: Value[] | undefined;

  constructor(
    items: Value,
    private readonly depth0: number,
    private readonly missing: (message: string) => Undefined,
    recurse: ((items: Value, depth: number) => Value) | undefined,
  ) {
    super(
      'loop',
      (args, keywords) => {
        if (!recurse) throw new InputError("The loop must have the 'recursive' marker to be called recursively.");
        return recurse(bind('loop', 'iterable', args, keywords)[0]!, depth0 + 1);
      },
      'LoopContext',
    );
    this.iterator = iterate(items);
    if (!(items instanceof Lazy)) this.total = sizeOf(items);
  }

  next(): boolean {
    const step = this.after ?? this.iterator.next();
    this.after = undefined;
    if (step.done) return false;
    this.before = this.current;
    this.current = step.value;
    this.index0++;
    return true;
  }

  get item(): Value {
    return this.current!;
  }

  private peek(): IteratorResult<Value> {
    this.after ??= this.iterator.next();
    return this.after;
  }

  private get length(): number {
    if (this.total === undefined) {
      const rest = listOf(new Lazy(this.iterator));
      this.iterator = rest[Symbol.iterator]();
      this.total = rest.length + this.index0 + 1 + (this.after && !this.after.done ? 1 : 0);
    }
    return this.total;
  }

  override repr(): string {
    return `<LoopContext ${this.index0 + 1}/${this.length}>`;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case 'index0':
        return this.index0;
      case 'index':
        return this.index0 + 1;
      case 'revindex0':
        return this.length - this.index0 - 1;
      case 'revindex':
        return this.length - this.index0;
      case 'first':
        return this.index0 === 0;
      case 'last':
        return this.peek().done === true;
      case 'length':
        return this.length;
      case 'depth0':
        return this.depth0;
      case 'depth':
        return this.depth0 + 1;
      case 'previtem':
        return this.index0 === 0 ? this.missing('there is no previous item') : this.before!;
      case 'nextitem':
        return this.peek().done ? this.missing('there is no next item') : this.peek().value;
      case 'cycle':
        return new Callable('cycle', (args) => {
          if (args.length === 0) throw new InputError('no items for cycling given');
          return args[this.index0 % args.length];
        });
      case 'changed':
        return new Callable('changed', (args) => {
          if (this.changedTo && equals(this.changedTo, [...args])) return false;
          this.changedTo = [...args];
          return true;
        });
      default:
        return undefined;
    }
  }
}

export class Macro extends Callable {
  constructor(
    name: string,
    call: (args: readonly Value[], keywords: Keywords) => Value,
    private readonly parameters: readonly string[],
    private readonly free: ReadonlySet<string>,
  ) {
    super(name, call, 'Macro');
  }

  override attribute(name: string): Value | undefined {
    if (name === 'name') return this.name;
    if (name === 'caller') return this.free.has(name) || this.parameters.includes(name);
    if (name === 'catch_varargs' || name === 'catch_kwargs') return this.free.has(name.slice('catch_'.length));
    return name === 'arguments' ? new Tuple(this.parameters) : undefined;
  }

  override repr(): string {
    return `<Macro '${this.name}'>`;
  }
}

/** Jinja's own functions. */
export function builtins(sandboxed: boolean): [string, Value][] {
  const functions: Record<string, (args: readonly Value[], keywords: Keywords) => Value> = {
    range: (args, keywords) => range(sandboxed, args, keywords),
    dict: (args, keywords) => dictOf(args, keywords),
    namespace: (args, keywords) => new Namespace(dictOf(args, keywords)),
    cycler: (args) => new Cycler(args),
    joiner: (args, keywords) => joiner(bind('joiner', 'sep?', args, keywords)[0]),
    lipsum: () => {
      throw new InputError("the function 'lipsum' is not supported");
    },
  };
  return Object.entries(functions).map(([name, call]) => [name, new Callable(name, call)]);
}

function range(sandboxed: boolean, args: readonly Value[], keywords: Keywords): Value {
  if (args.length === 0) throw new InputError('range expected at least 1 argument, got 0');
  const [start, stop, step] = bind('range', args.length === 1 ? 'stop' : 'start, stop, step?', args, keywords);
  const [from, to, by] =
    stop === undefined ? [0, intArgument(start, 0), 1] : [intArgument(start, 0), intArgument(stop, 0), intArgument(step, 1)];
  if (by === 0) throw new InputError('range() arg 3 must not be zero');
  const range = new Range(from, to, by);
  if (sandboxed && range.length > MAX_RANGE) {
    throw new InputError(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MAX_RANGE}).`);
  }
  return range;
}

function dictOf(args: readonly Value[], keywords: Keywords): Dict {
  const dict = new Dict();
  if (args.length > 1) throw new InputError(`dict expected at most 1 argument, got ${args.length}`);
  if (args.length === 1) updateDict(dict, args[0]);
  for (const [name, value] of keywords) dict.set(name, value);
  return dict;
}

function joiner(separator: Value = ', '): Value {
  let used = false;
  return new Callable('joiner', () => {
    if (used) return separator;
    used = true;
    return '';
  });
}
