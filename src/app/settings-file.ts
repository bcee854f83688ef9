// A settings file (YAML) with words of the command line over it: `--key value` or `--key=value`, keys dotted, values YAML. What keys there
// are is the verbs' (pretrain-config.ts, tune-config.ts).

import { resolve } from 'node:path';
import { InputError } from '../errors.js';
import { parseYaml } from '../io/config.js';
import { isObject } from '../io/json.js';
import { readTextFile } from './terminal.js';

/** Stands for the file where words are all there is; file names then start from the current folder. */
export const wordsAlone = 'the command line';

/** Settings that are not yet checked, and where each was given: in the file, or among the words over it. */
export interface ReadSettings {
  readonly value: Record<string, unknown>;
  readonly place: (key: string) => string;
}

/**
 * The settings as a value. `paths` are the keys that name files: on the command line those start from where the
 * caller is, not from the settings' folder. Throws `InputError` naming the file or the word that is wrong.
 */
export async function readSettings(file: string, overrides: readonly string[], paths: readonly string[]): Promise<ReadSettings> {
  const value = file === wordsAlone ? {} : parseYaml(await readTextFile(file), file);
  if (!isObject(value)) throw new InputError(`${file}: expected keys and values, as in "steps: 1000"`);
  const words = pairs(overrides);
  for (const [key, text] of words) assign(value, key, text, paths.includes(key));
  const within = (key: string, group: string): boolean =>
    key === group || key.startsWith(`${group}.`) || key.startsWith(`${group}[`);
  const isWord = (key: string): boolean => words.some(([word]) => within(key, word) || within(word, key));
  return { value: withoutNulls(value), place: (key) => (isWord(key) ? wordsAlone : file) };
}

/** A key with nothing behind it (`validation:`, or `--validation null`) is not given. */
function withoutNulls(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, item]) => (item === null ? [] : [[key, isObject(item) ? withoutNulls(item) : item]])),
  );
}

function pairs(words: readonly string[]): [string, string][] {
  const found: [string, string][] = [];
  for (let i = 0; i < words.length; i++) {
    const [, written, inline] = /^--(\w[\w.-]*)(?:=(.*))?$/s.exec(words[i]) ?? [];
    const key = written?.replaceAll('-', '_');
    if (key === undefined) throw new InputError(`${words[i]}: expected --key value, as in --optimizer.eps 1e-6`);
    const text = inline ?? words[++i];
    if (text === undefined || text.trim() === '') throw new InputError(`--${written}: a value is missing`);
    found.push([key, text]);
  }
  return found;
}

function assign(config: Record<string, unknown>, path: string, text: string, isFile: boolean): void {
  const keys = path.split('.');
  const last = keys.pop()!;
  let at = config;
  for (const key of keys) {
    const next = Object.hasOwn(at, key) ? at[key] : undefined;
    at = isObject(next) ? next : setOwn(at, key, {});
  }
  const value = parseYaml(text, `--${path}`);
  setOwn(at, last, isFile ? whole(value) : value);
}

/** A property of the object itself, whatever its name: `__proto__` is then one more unknown key. */
function setOwn<Value>(object: Record<string, unknown>, key: string, value: Value): Value {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  return value;
}

function whole(value: unknown): unknown {
  if (typeof value === 'string') return resolve(value);
  return Array.isArray(value) ? value.map(whole) : value;
}
