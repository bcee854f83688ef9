// Python's pickle format, protocols 0 to 5, as far as data go: dicts, lists, tuples, texts and numbers. Nothing is ever executed: a
// name (GLOBAL) is looked up in a closed list that the caller gives and refused by its name otherwise. A writer of the same small
// part is in torch.ts. https://docs.python.org/3/library/pickletools.html

import { InputError } from '../errors.js';
import { quoted } from './json.js';

/** What a name that is allowed stands for: called with the arguments where the pickle calls it. */
export interface PickleGlobal {
  readonly name: string;
  readonly call?: (args: readonly unknown[]) => unknown;
}

export interface PickleRules {
  /** Undefined refuses the name. */
  global(name: string): PickleGlobal | undefined;
  /** What a persistent id stands for. */
  persistent(id: unknown): unknown;
}

const mark = Symbol('mark');
/** Values on the stack, and lists, dicts and texts in all: many times what checkpoints have, and little memory for a damaged file. */
const maxValues = 1 << 22;
const maxObjects = 1 << 18;

/**
 * The value of a pickle: dicts as Maps, lists and tuples as arrays, bytes as Uint8Array. Throws `InputError` naming what is not
 * allowed and where, or what is damaged.
 */
export function readPickle(bytes: Uint8Array, file: string, rules: PickleRules): unknown {
  return new Machine(bytes, file, rules).run();
}

class Machine {
  private at = 0;
  private objects = 0;
  private readonly stack: unknown[] = [];
  private readonly memo = new Map<number, unknown>();
  private readonly view: DataView;
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(
    private readonly bytes: Uint8Array,
    private readonly file: string,
    private readonly rules: PickleRules,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): unknown {
    for (;;) {
      const start = this.at;
      const opcode = String.fromCharCode(this.byte());
      if (opcode === '.') return this.pop();
      const step = opcodes[opcode];
      if (!step) this.fail(`the opcode ${quoted(opcode)} at byte ${start}, which is not read`);
      step(this);
      if (this.stack.length > maxValues) this.fail('more values than can be true');
    }
  }

  fail(what: string): never {
    throw new InputError(`${this.file}: its pickle holds ${what}`);
  }

  take(length: number): number {
    const start = this.at;
    if (!(length >= 0 && length <= this.bytes.length - start)) {
      throw new InputError(`${this.file}: its pickle is damaged: ${length} bytes at byte ${start} go past its end`);
    }
    this.at += length;
    return start;
  }

  byte(): number {
    return this.bytes[this.take(1)];
  }

  uint16(): number {
    return this.view.getUint16(this.take(2), true);
  }

  int32(): number {
    return this.view.getInt32(this.take(4), true);
  }

  uint32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  uint64(): number {
    return Number(this.view.getBigUint64(this.take(8), true));
  }

  float(): number {
    return this.view.getFloat64(this.take(8), false);
  }

  /** A whole number of any length, little-endian with its sign; beyond 2^53 the nearest double. */
  long(length: number): number {
    const start = this.take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[start + i]);
    return length === 0 ? 0 : Number(BigInt.asIntN(8 * length, value));
  }

  text(length: number): string {
    const start = this.take(length);
    return this.decoder.decode(this.bytes.subarray(start, start + length));
  }

  data(length: number): Uint8Array {
    const start = this.take(length);
    return this.bytes.slice(start, start + length);
  }

  line(): string {
    const end = this.bytes.indexOf(10, this.at);
    if (end < 0) this.take(this.bytes.length + 1);
    const text = this.text(end - this.at);
    this.at++;
    return text;
  }

  push(value: unknown): void {
    if (typeof value !== 'number' && ++this.objects > maxObjects) this.fail('more values than can be true');
    this.stack.push(value);
  }

  pop(): unknown {
    if (this.stack.length === 0) this.fail('fewer values than it uses');
    return this.stack.pop();
  }

  top<T>(kind: abstract new (...args: never[]) => T): T {
    const value = this.stack.at(-1);
    if (!(value instanceof kind)) this.fail('a value of the wrong kind to add to');
    return value;
  }

  /** The values down to the last mark. */
  popToMark(): unknown[] {
    const at = this.stack.lastIndexOf(mark);
    if (at < 0) this.fail('fewer marks than it uses');
    const values = this.stack.splice(at + 1);
    this.stack.pop();
    return values;
  }

  mark(): void {
    this.stack.push(mark);
  }

  tuple(length: number): void {
    const values = Array.from({ length }, () => this.pop());
    this.push(values.reverse());
  }

  setItems(values: readonly unknown[]): void {
    const map = this.top(Map);
    if (values.length % 2 !== 0) this.fail('a key without a value');
    for (let i = 0; i < values.length; i += 2) map.set(values[i], values[i + 1]);
  }

  put(index: number): void {
    if (this.stack.length === 0) this.fail('fewer values than it uses');
    this.memo.set(index, this.stack.at(-1));
  }

  memoize(): void {
    this.put(this.memo.size);
  }

  get(index: number): void {
    if (!this.memo.has(index)) this.fail(`the value ${index} before it is made`);
    this.push(this.memo.get(index));
  }

  global(module: unknown, name: unknown): void {
    const whole = `${String(module)}.${String(name)}`;
    const found = this.rules.global(whole);
    if (!found) {
      throw new InputError(
        `${this.file}: its pickle names ${quoted(whole.slice(0, 200))}, which is not among what a checkpoint may hold: nothing of it was run; save its weights as a plain state_dict`,
      );
    }
    this.push(found);
  }

  reduce(): void {
    const args = this.pop();
    const callable = this.pop() as PickleGlobal | null;
    const call = typeof callable === 'object' && callable !== null && 'call' in callable ? callable.call : undefined;
    if (!call || !Array.isArray(args)) this.fail('a call of what cannot be called');
    this.push(call(args));
  }

  /** State given to an object that was made: of what is allowed, only dicts have some, and it is passed over. */
  build(): void {
    this.pop();
    this.top(Object);
  }

  persistent(): void {
    this.push(this.rules.persistent(this.pop()));
  }
}

/** What each opcode does, by pickletools' letters. */
const opcodes: Readonly<Record<string, (m: Machine) => void>> = {
  '\x80': (m) => void m.byte(), // PROTO
  '\x95': (m) => void m.uint64(), // FRAME
  '(': (m) => m.mark(),
  '0': (m) => void m.pop(),
  '1': (m) => void m.popToMark(),
  N: (m) => m.push(null),
  '\x88': (m) => m.push(true),
  '\x89': (m) => m.push(false),
  K: (m) => m.push(m.byte()),
  M: (m) => m.push(m.uint16()),
  J: (m) => m.push(m.int32()),
  '\x8a': (m) => m.push(m.long(m.byte())),
  G: (m) => m.push(m.float()),
  X: (m) => m.push(m.text(m.uint32())),
  '\x8c': (m) => m.push(m.text(m.byte())),
  '\x8d': (m) => m.push(m.text(m.uint64())),
  U: (m) => m.push(m.text(m.byte())),
  T: (m) => m.push(m.text(m.uint32())),
  C: (m) => m.push(m.data(m.byte())),
  B: (m) => m.push(m.data(m.uint32())),
  '}': (m) => m.push(new Map()),
  ']': (m) => m.push([]),
  ')': (m) => m.push([]),
  t: (m) => m.push(m.popToMark()),
  l: (m) => m.push(m.popToMark()),
  d: (m) => {
    const values = m.popToMark();
    m.push(new Map());
    m.setItems(values);
  },
  '\x85': (m) => m.tuple(1),
  '\x86': (m) => m.tuple(2),
  '\x87': (m) => m.tuple(3),
  s: (m) => m.setItems([m.pop(), m.pop()].reverse()),
  u: (m) => m.setItems(m.popToMark()),
  a: (m) => {
    const value = m.pop();
    m.top(Array).push(value);
  },
  e: (m) => {
    const values = m.popToMark();
    const list = m.top(Array);
    for (const value of values) list.push(value);
  },
  q: (m) => m.put(m.byte()),
  r: (m) => m.put(m.uint32()),
  '\x94': (m) => m.memoize(),
  h: (m) => m.get(m.byte()),
  j: (m) => m.get(m.uint32()),
  c: (m) => m.global(m.line(), m.line()),
  '\x93': (m) => {
    const name = m.pop();
    m.global(m.pop(), name);
  },
  R: (m) => m.reduce(),
  '\x81': (m) => m.reduce(), // NEWOBJ
  b: (m) => m.build(),
  Q: (m) => m.persistent(),
};
