// The fields of a JSON body, each with what it may be, so that a wrong one is answered by name. Null is as if left out, unknown
// fields are passed over, as OpenAI's clients expect; fields that are known but not supported are refused, so that nobody is misled.

import { counted, shown } from '../errors.js';
import { ApiError, badField } from './errors.js';

export type Body = Readonly<Record<string, unknown>>;

/** What a field may be, in words, and its value; undefined when it is something else. */
export interface Field<Value> {
  readonly says: string;
  readonly read: (value: unknown) => Value | undefined;
}

export type Values<Table> = { readonly [Key in keyof Table]?: Table[Key] extends Field<infer Value> ? Value : never };

export function isObject(value: unknown): value is Body {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function when<Value>(says: string, holds: (value: unknown) => boolean): Field<Value> {
  return { says, read: (value) => (holds(value) ? (value as Value) : undefined) };
}

export const text = when<string>('a text', (value) => typeof value === 'string');
export const boolean = when<boolean>('true or false', (value) => typeof value === 'boolean');
export const object = when<Body>('an object', isObject);
export const anything: Field<unknown> = { says: 'anything', read: (value) => value };

export function number(least: number, most: number): Field<number> {
  return when(`a number from ${least} to ${most}`, (value) => typeof value === 'number' && value >= least && value <= most);
}

export function whole(least: number, most = Number.MAX_SAFE_INTEGER): Field<number> {
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  return when(
    `a whole number ${range}`,
    (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
  );
}

/** One text or several; always a list. */
export function texts(most: number): Field<readonly string[]> {
  return {
    says: `a text or a list of at most ${counted(most, 'text')}, none of them empty`,
    read: (value) => {
      const list = [value].flat();
      return list.length <= most && list.every((item) => typeof item === 'string' && item !== '')
        ? (list as string[])
        : undefined;
    },
  };
}

/** The known fields of a body. Throws `ApiError` 400 naming the first that is wrong. */
export function readFields<Table extends Readonly<Record<string, Field<unknown>>>>(body: Body, table: Table): Values<Table> {
  const values: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(table)) {
    const given = Object.hasOwn(body, name) ? body[name] : undefined;
    if (given === undefined || given === null) continue;
    const value = field.read(given);
    if (value === undefined) throw badField(name, `${name} is ${shown(given)}; expected ${field.says}`);
    values[name] = value;
  }
  return values as Values<Table>;
}

/** Throws `ApiError` 400 when a field is set that is not supported here; `reasons` say what to do instead. */
export function refuse(body: Body, reasons: Readonly<Record<string, string>>): void {
  for (const [name, reason] of Object.entries(reasons)) {
    const value = Object.hasOwn(body, name) ? body[name] : undefined;
    const unset = value === undefined || value === null || value === false || value === '' || value === 0;
    if (unset || (Array.isArray(value) && value.length === 0)) continue;
    throw new ApiError(400, `${name} is not supported: ${reason}`, { param: name, code: 'unsupported_parameter' });
  }
}

/** Objects and lists in one another at most. */
const maxDepth = 100;

/** A body of bytes as an object. Throws `ApiError` 400 when it is no UTF-8, no JSON, no object or nested too deeply. */
export function parseBody(bytes: Uint8Array): Body {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    const what = error instanceof SyntaxError ? 'not JSON' : 'not text in UTF-8';
    throw new ApiError(400, `the body is ${what}; expected an object like {"model": "...", ...}`);
  }
  if (!isObject(value))
    throw new ApiError(400, `the body is ${Array.isArray(value) ? 'a list' : 'no object'}; expected an object`);
  let level: object[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth) throw new ApiError(400, `the body is nested more than ${maxDepth} deep`);
    level = level.flatMap((outer) => Object.values(outer).filter((inner) => typeof inner === 'object' && inner !== null));
  }
  return value;
}
