// Settings that people write: YAML text to a value, and a value to what a zod schema says it is. Every mistake is one sentence
// with the file and the key's path; an unknown key is answered with the nearest known one. It knows no particular setting.

import { type Document, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { InputError, nearest, shown, visible } from '../errors.js';
import { partsOf, typeText } from './explain.js';

/** YAML (or JSON) text as a value. Throws `InputError` with the line and column where it is not YAML, or where a key comes twice. */
export function parseYaml(text: string, name: string): unknown {
  checkYamlNesting(text, name);
  const lines = new LineCounter();
  return documentValue(parseDocument(text, { lineCounter: lines, prettyErrors: false }), lines, name);
}

const mostNested = 200;
/** Lists in one another on one line, and a line so far to the right that it may be in so many. */
const deepBlocks = new RegExp(`^(?: *[-?] ){${mostNested}}|^ {${2 * mostNested}}`, 'm');

/**
 * Throws `InputError` where brackets or blocks lie in one another deeper than anything that is meant: the parser calls itself as often,
 * and near the end of the stack V8 ends the whole process when an expression is compiled. Brackets in texts count too, unless they close.
 */
export function checkYamlNesting(text: string, name: string): void {
  let depth = 0;
  for (const [bracket] of text.matchAll(/[[\]{}]/g)) {
    depth = bracket === '[' || bracket === '{' ? depth + 1 : Math.max(0, depth - 1);
    if (depth > mostNested) break;
  }
  if (depth > mostNested || deepBlocks.test(text)) throw new InputError(`${name}: nested more than ${mostNested} deep`);
}

/** What a parsed document says. Throws `InputError` for its first error, and for a tag that is not known. */
export function documentValue(document: Document.Parsed, lines: LineCounter, name: string): unknown {
  const [error] = [...document.errors, ...document.warnings.filter(({ code }) => code === 'TAG_RESOLVE_FAILED')];
  if (error) {
    const { line, col } = lines.linePos(error.pos[0]);
    throw new InputError(`${name}: ${oneLine(error.message)} (line ${line}, column ${col})`);
  }
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (problem) {
    throw new InputError(`${name}: ${oneLine((problem as Error).message)}`);
  }
}

/** The parser's messages quote what they are about. */
function oneLine(message: string): string {
  const text = visible(message);
  return text.length > 400 ? `${text.slice(0, 397)}...` : text;
}

const zodsOwn = /^(Invalid (input|option)|Too (small|big))\b/;

/**
 * The value as the schema has it, defaults filled in. Throws `InputError` that names the first key that is wrong, by its path, and where it
 * was given: in `source`, or where that says.
 */
export function checkConfig<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  source: string | ((key: string) => string),
): z.output<Schema> {
  const place = (key: string): string => (typeof source === 'string' ? source : source(key));
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = innermost(result.error.issues[0]);
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, issue.path);
    const [key] = issue.keys;
    const guess = nearest(key, known);
    const hint = guess ? `did you mean ${pathText([...issue.path, guess])}?` : `known are ${known.join(', ')}`;
    const unknown = pathText([...issue.path, key]);
    throw new InputError(`${place(unknown)}: unknown key ${unknown}; ${hint}`);
  }
  const path = pathText(issue.path);
  const name = place(path);
  if (issue.path.length > 0 && valueAt(value, issue.path) === undefined) {
    throw new InputError(`${name}: ${path} is missing${expectedAt(schema, issue.path, issue.message)}`);
  }
  const where = path === '' ? '' : `${path}: `;
  const at = schemaAt(schema, issue.path);
  // Where the schema has no message of its own, what --explain says of the key.
  const parts = at instanceof z.ZodObject ? ` (${partsOf(at)})` : '';
  const said =
    at && zodsOwn.test(issue.message)
      ? `expected ${typeText(at)}${parts}, found ${shown(valueAt(value, issue.path))}`
      : issue.message;
  throw new InputError(`${name}: ${where}${said}`);
}

/** Of a value that may be several things: what is wrong inside of it, where it is the right kind of thing. */
function innermost(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== 'invalid_union') return issue;
  const [inside] = issue.errors.flatMap((issues) =>
    issues.filter(({ path, code }) => path.length > 0 || code === 'unrecognized_keys'),
  );
  return inside ? innermost({ ...inside, path: [...issue.path, ...inside.path] }) : issue;
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((at, part) => (at as Record<PropertyKey, unknown> | null | undefined)?.[part], value);
}

// What belongs at a path where nothing is, to be put behind the sentence that says so.
function expectedAt(schema: z.ZodType, path: readonly PropertyKey[], message: string): string {
  const at = schemaAt(schema, path);
  const element = at instanceof z.ZodArray ? inner(at.element as z.ZodType) : undefined;
  if (at instanceof z.ZodObject) return `; its keys are ${partsOf(at)}`;
  if (element instanceof z.ZodObject) return `; it is a list, each with the keys ${partsOf(element)}`;
  if (at?.description) return `: ${at.description}`;
  if (at instanceof z.ZodUnion) return `; expected ${typeText(at)}`;
  const said = message.replace(/^Invalid option: /, '');
  return said.endsWith('received undefined') ? '' : `: ${said}`;
}

// The keys that an object schema knows at a path below `schema`.
function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  return eitherOf(schemaAt(schema, path)).flatMap((one) => (one instanceof z.ZodObject ? Object.keys(one.shape) : []));
}

function eitherOf(schema: z.ZodType | undefined): (z.ZodType | undefined)[] {
  return schema instanceof z.ZodUnion ? schema.options.map((option) => inner(option as z.ZodType)) : [schema];
}

function schemaAt(schema: z.ZodType, path: readonly PropertyKey[]): z.ZodType | undefined {
  let at: z.ZodType | undefined = inner(schema);
  for (const part of path) {
    const either = eitherOf(at);
    at = either.find((one) => one instanceof z.ZodObject && Object.hasOwn(one.shape, part)) ?? either[0];
    if (at instanceof z.ZodObject) at = inner(at.shape[String(part)] as z.ZodType);
    else if (at instanceof z.ZodArray) at = inner(at.element as z.ZodType);
    else if (at instanceof z.ZodRecord) at = inner(at.valueType as z.ZodType);
    else return undefined;
  }
  return at;
}

function inner(schema: z.ZodType): z.ZodType {
  let at = schema;
  for (;;) {
    if (at instanceof z.ZodOptional || at instanceof z.ZodDefault || at instanceof z.ZodPrefault || at instanceof z.ZodNullable) {
      at = at.unwrap() as z.ZodType;
    } else if (at instanceof z.ZodPipe) at = at.in as z.ZodType;
    else return at;
  }
}
