// What filters and tests need of the interpreter that calls them. Types only.

import type { Keywords, Undefined, Value } from '../python/values.js';

export interface Host {
  /** Whether the template is a stranger's chat template: a sandbox where nothing can be changed and ranges are small. */
  readonly sandboxed: boolean;
  attribute(object: Value, name: string): Value;
  /** The attribute without a look at the items; undefined when there is none. */
  own(object: Value, name: string): Value | undefined;
  item(object: Value, index: Value): Value;
  undefined(message: string): Undefined;
  filter(name: string, input: Value, args: readonly Value[], keywords: Keywords): Value;
  test(name: string, input: Value, args: readonly Value[], keywords: Keywords): boolean;
  hasFilter(name: string): boolean;
}

export type Filter = (host: Host, input: Value, args: readonly Value[], keywords: Keywords) => Value;
export type Test = (host: Host, input: Value, args: readonly Value[], keywords: Keywords) => boolean;
