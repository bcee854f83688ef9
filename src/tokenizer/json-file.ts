// What stands at the keys of a tokenizer.json, checked: of the wrong kind it is one sentence with the file and the key. What keys there are and
// what they mean is hugging-face.ts's and post-processor.ts's.

import { InputError, shown } from '../errors.js';

export type Json = { readonly [key: string]: unknown };

/** Typed looks at parsed JSON; each failure names the key. */
export class Reader {
  constructor(readonly name: string) {}

  fail(key: string, value: unknown, wanted: string): never {
    throw new InputError(`${this.name}: ${key} is ${value === undefined ? 'missing' : shown(value)}; ${wanted}`);
  }

  object(value: unknown, key: string): Json {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) this.fail(key, value, 'an object is expected');
    return value as Json;
  }

  list(value: unknown, key: string): readonly unknown[] {
    if (!Array.isArray(value)) this.fail(key, value, 'a list is expected');
    return value;
  }

  text(value: unknown, key: string, wanted = 'a string is expected'): string {
    if (typeof value !== 'string') this.fail(key, value, wanted);
    return value;
  }

  flag(value: unknown, key: string, fallback = false): boolean {
    if (value == null) return fallback;
    if (typeof value !== 'boolean') this.fail(key, value, 'true or false is expected');
    return value;
  }

  /** The steps of a component: those of a Sequence, or the one; none for null. Each with the key to name it by. */
  steps(value: unknown, key: string, list: string): { step: Json; key: string }[] {
    if (value == null) return [];
    const step = this.object(value, key);
    if (step.type !== 'Sequence') return [{ step, key }];
    return this.list(step[list], `${key}.${list}`).map((one, i) => {
      const inner = `${key}.${list}[${i}]`;
      return { step: this.object(one, inner), key: inner };
    });
  }
}
