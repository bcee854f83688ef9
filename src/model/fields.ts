// Checked reading of a config's fields from parsed JSON or YAML: every value has its type and range confirmed, and a wrong one
// ends in one sentence that names the source and the key. Not a schema language: just the handful of kinds that configs hold.

import { counted, InputError } from '../errors.js';

const MAX_MULTIPLIER = 1_000_000;

/** The fields of one parsed object. `where` names its source in messages. */
export class FieldReader {
  readonly where: string;
  private readonly fields: Readonly<Record<string, unknown>>;

  /** Throws `InputError` unless `value` is a plain object. */
  constructor(value: unknown, where: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new InputError(`${where}: expected an object with the model's config, found ${describe(value)}`);
    }
    this.where = where;
    this.fields = value as Record<string, unknown>;
  }

  keys(): string[] {
    return Object.keys(this.fields);
  }

  /** The value as it stands, or undefined; inherited properties do not count. */
  get(key: string): unknown {
    return Object.hasOwn(this.fields, key) ? this.fields[key] : undefined;
  }

  /** Whether the key is there with a value; null counts as absent. */
  has(key: string): boolean {
    return (this.get(key) ?? undefined) !== undefined;
  }

  require(key: string): void {
    if (!this.has(key)) throw new InputError(`${this.where}: ${key} is missing`);
  }

  /** The error for a value that is not what it should be. */
  wrong(key: string, expected: string): InputError {
    const value = this.get(key);
    if (value === undefined) return new InputError(`${this.where}: ${key} is missing; expected ${expected}`);
    return new InputError(`${this.where}: ${key} is ${describe(value)}; expected ${expected}`);
  }

  /** A whole number from 1 to `max`; `absent` stands in for a missing key, without which the key is required. */
  integer(key: string, { max, absent }: { max: number; absent?: number }): number {
    const value = this.get(key) ?? absent;
    if (!isWhole(value, 1, max)) throw this.wrong(key, `a whole number from 1 to ${max}`);
    return value;
  }

  /** A finite number above zero. */
  positive(key: string, absent: number): number {
    const value = this.get(key) ?? absent;
    if (!isPositive(value)) throw this.wrong(key, 'a number above 0');
    return value;
  }

  boolean(key: string, absent: boolean): boolean {
    const value = this.get(key) ?? absent;
    if (typeof value !== 'boolean') throw this.wrong(key, 'true or false');
    return value;
  }

  /** Checks that the key, where present, holds one of `names`. */
  oneOf(key: string, names: readonly string[]): void {
    const value = this.get(key) ?? names[0];
    if (!(names as readonly unknown[]).includes(value))
      throw this.wrong(key, names.map((name) => JSON.stringify(name)).join(' or '));
  }

  /** A number above zero, a pair of them, or one per layer. */
  multipliers(key: string, layers: number, absent: number): number | readonly number[] {
    const value = this.get(key) ?? absent;
    const fits = (item: unknown): item is number => isPositive(item) && item <= MAX_MULTIPLIER;
    if (fits(value)) return value;
    const expected = `a number above 0 (at most ${MAX_MULTIPLIER}), a pair of them or a list of ${layers}, one per layer`;
    if (!Array.isArray(value) || (value.length !== 2 && value.length !== layers)) throw this.wrong(key, expected);
    return this.list(key, value, fits, `a number above 0 and at most ${MAX_MULTIPLIER}`);
  }

  /** One whole number from 1 to `max` per layer, or one for all layers; undefined when the key is absent. */
  perLayer(key: string, layers: number, max: number): readonly number[] | undefined {
    if (!this.has(key)) return undefined;
    const value = this.get(key);
    const fits = (item: unknown): item is number => isWhole(item, 1, max);
    if (fits(value)) return new Array<number>(layers).fill(value);
    if (!Array.isArray(value) || value.length !== layers)
      throw this.wrong(key, `a list of ${counted(layers, 'whole number')}, one per layer`);
    return this.list(key, value, fits, `a whole number from 1 to ${max}`);
  }

  /** A token id or a list of them; null is none. An absent key is `absent` where the vocabulary has that id. */
  tokenIds(key: string, vocabSize: number, absent?: number): readonly number[] {
    const value = this.get(key);
    if (value === undefined) return absent !== undefined && absent < vocabSize ? [absent] : [];
    if (value === null) return [];
    const fits = (item: unknown): item is number => isWhole(item, 0, vocabSize - 1);
    const expected = `a token id from 0 to ${vocabSize - 1} (vocab_size is ${vocabSize})`;
    if (fits(value)) return [value];
    if (!Array.isArray(value) || value.length > 1000) throw this.wrong(key, expected);
    return this.list(key, value, fits, expected);
  }

  /** Throws where the list `given` under `key` differs from `computed`, which `rule` made. */
  agree(key: string, given: readonly number[], computed: readonly number[], rule: string): void {
    const layer = given.findIndex((value, i) => value !== computed[i]);
    if (layer >= 0) {
      throw new InputError(
        `${this.where}: ${key} says ${given[layer]} for layer ${layer}, but ${rule} it ${computed[layer]}; correct one of them`,
      );
    }
  }

  private list(
    key: string,
    items: readonly unknown[],
    fits: (item: unknown) => item is number,
    expected: string,
  ): readonly number[] {
    const bad = items.findIndex((item) => !fits(item));
    if (bad >= 0) throw new InputError(`${this.where}: ${key}[${bad}] is ${describe(items[bad])}; expected ${expected}`);
    return [...(items as readonly number[])];
  }
}

function isWhole(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
}

function isPositive(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && Number.isFinite(value);
}

/** A value in a message: short whatever its size. */
function describe(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = typeof value === 'string' ? JSON.stringify(value.slice(0, 60)) : String(value);
  return text.length > 62 ? `${text.slice(0, 60)}...` : text;
}
