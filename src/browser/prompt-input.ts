// What pages give to a LanguageModel, by the Prompt API's types and rules: prompts, options, constraints. Values are converted as Web IDL
// does it, and refused with the specification's exceptions: https://webmachinelearning.github.io/prompt-api. Texts only: what is an
// image, a sound or a tool is refused by name. No model here.

import { isA } from './session-life.js';

const samplingModes = {
  'most-predictable': { temperature: 0, topK: 1 },
  predictable: { temperature: 0.3, topK: 40 },
  'slightly-predictable': { temperature: 0.5, topK: 40 },
  balanced: { temperature: 0.7, topK: 40 },
  'slightly-creative': { temperature: 0.85, topK: 40 },
  creative: { temperature: 1, topK: 40 },
  'most-creative': { temperature: 1.3, topK: 40 },
} as const;
/** How bold sampling is, in words. */
export type SamplingMode = keyof typeof samplingModes;

export const { temperature: defaultTemperature, topK: defaultTopK } = samplingModes.balanced;
export const [maxTemperature, maxTopK] = [2, 128];

const roles = ['system', 'user', 'assistant'] as const;
const types = ['text', 'image', 'audio', 'tool-call', 'tool-response'] as const;
/** Who speaks. */
export type LanguageModelMessageRole = (typeof roles)[number];
/** What a content is: only `text` is understood. */
export type LanguageModelMessageType = (typeof types)[number];

/** A part of a message. */
export interface LanguageModelMessageContent {
  type: LanguageModelMessageType;
  value: unknown;
}
/** A message of a prompt; contents are text. */
export interface LanguageModelMessage {
  role: LanguageModelMessageRole;
  content: string | Iterable<LanguageModelMessageContent>;
  /** Of a last message of the assistant: the answer goes on from here. */
  prefix?: boolean;
}
/** A text from the user, or messages. */
export type LanguageModelPrompt = string | Iterable<LanguageModelMessage>;

/** What a session will read or write, and in which languages. */
export interface LanguageModelExpected {
  type: LanguageModelMessageType;
  languages?: Iterable<string>;
}

/** How sessions sample, and what they are expected to read and write. */
export interface LanguageModelCoreOptions {
  temperature?: number;
  topK?: number;
  samplingMode?: SamplingMode;
  expectedInputs?: Iterable<LanguageModelExpected>;
  expectedOutputs?: Iterable<LanguageModelExpected>;
  /** Not supported: refused unless it is empty. */
  tools?: Iterable<object>;
}

/** What `prompt` and `promptStreaming` take. */
export interface LanguageModelPromptOptions {
  /** A JSON schema, or a regular expression: what the answer must be. */
  responseConstraint?: object;
  /** Changes nothing: constraints are never written into the prompt here. */
  omitResponseConstraintInput?: boolean;
  signal?: AbortSignal;
}

/** A message in its long form, all its text in one. */
export interface Message {
  readonly role: LanguageModelMessageRole;
  readonly content: string;
  readonly prefix: boolean;
}

interface Part {
  readonly type: LanguageModelMessageType;
  readonly value: unknown;
}
/** Converted, but not yet held against the rules. */
export type GivenMessages = readonly {
  readonly role: LanguageModelMessageRole;
  readonly parts: readonly Part[];
  readonly prefix: boolean;
}[];

/** A `LanguageModelPrompt`; throws `TypeError` when it is none. */
export function givenMessages(input: unknown): GivenMessages {
  if (isIterable(input)) return [...input].map(givenMessage);
  return [{ role: 'user', parts: [{ type: 'text', value: text(input) }], prefix: false }];
}

function givenMessage(value: unknown): GivenMessages[number] {
  const message = dictionary(value, 'a message');
  const role = oneOf(roles, required(message, 'role', 'a message'), 'the role of a message');
  const content = required(message, 'content', 'a message');
  const parts = isIterable(content) ? [...content].map(givenPart) : [{ type: 'text' as const, value: text(content) }];
  return { role, parts, prefix: Boolean(message.prefix) };
}

function givenPart(value: unknown): Part {
  const part = dictionary(value, 'a part of a content');
  const type = oneOf(types, required(part, 'type', 'a part of a content'), 'the type of a part of a content');
  const own = required(part, 'value', 'a part of a content');
  return { type, value: isMedium(own) ? own : text(own) };
}

/** Bytes, images and sounds: what Web IDL does not turn into a text. */
function isMedium(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return (
    ArrayBuffer.isView(value) ||
    /^\[object (ArrayBuffer|Blob|File|HTML|SVG|Image|Offscreen|Video|Audio)/.test(Object.prototype.toString.call(value))
  );
}

/**
 * Messages in their long form: "validate and canonicalize a prompt". `appended`: something came before them. Throws a `TypeError`, or a
 * `DOMException` of the name SyntaxError or NotSupportedError.
 */
export function canonical(given: GivenMessages, appended: boolean): Message[] {
  if (given.length === 0) return [{ role: 'user', content: '', prefix: false }];
  return given.map(({ role, parts, prefix }, i) => {
    if (prefix && (role !== 'assistant' || i < given.length - 1))
      throw new DOMException('prefix is for a last message of the role "assistant"', 'SyntaxError');
    if (role === 'system' && (appended || i > 0))
      throw new TypeError('a message of the role "system" can only be the first one of a session');
    const other = parts.find(({ type }) => type !== 'text');
    if (other) throw notSupported(`content of the type "${other.type}" is not supported: this model reads text`);
    if (parts.some(({ value }) => typeof value !== 'string'))
      throw new TypeError('content of the type "text" has a value that is no text');
    return { role, content: parts.map(({ value }) => value).join(''), prefix };
  });
}

export interface CoreOptions {
  readonly temperature: number;
  readonly topK: number;
  /** Null where numbers were given. */
  readonly samplingMode: SamplingMode | null;
  readonly expectedInputs: readonly Expected[];
  readonly expectedOutputs: readonly Expected[];
  readonly tools: readonly Tool[];
}
interface Tool {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: Dictionary;
}
interface Expected {
  readonly type: LanguageModelMessageType;
  readonly languages: readonly string[];
}

/** Throws `TypeError`, and `RangeError` on a language tag that is none. */
export function coreOptions(options: Dictionary): CoreOptions {
  const { samplingMode, temperature, topK, tools } = options;
  const numbers = temperature !== undefined || topK !== undefined;
  if (samplingMode !== undefined && numbers) throw new TypeError('give a samplingMode, or temperature and topK, not both');
  const mode =
    samplingMode === undefined ? 'balanced' : oneOf(Object.keys(samplingModes) as SamplingMode[], samplingMode, 'samplingMode');
  const given = {
    temperature: temperature === undefined ? samplingModes[mode].temperature : Number(temperature),
    topK: topK === undefined ? samplingModes[mode].topK : Math.floor(Number(topK)),
  };
  return {
    temperature: Math.min(given.temperature, maxTemperature),
    topK: Math.min(given.topK, maxTopK),
    samplingMode: numbers ? null : mode,
    expectedInputs: expected(options.expectedInputs, 'expectedInputs'),
    expectedOutputs: expected(options.expectedOutputs, 'expectedOutputs'),
    tools: tools === undefined ? [] : sequence(tools, 'tools').map(tool),
  };
}

/** Throws `RangeError` on numbers that cannot be sampled by. */
export function checkRanges({ temperature, topK }: CoreOptions): void {
  if (!(temperature >= 0)) throw new RangeError(`temperature is ${temperature}; it must be 0 or more`);
  if (!(topK >= 1)) throw new RangeError(`topK is ${topK}; it must be 1 or more`);
}

function tool(value: unknown): Tool {
  const given = dictionary(value, 'a tool');
  const [name, description] = ['name', 'description'].map((key) => text(required(given, key, 'a tool')));
  const inputSchema = required(given, 'inputSchema', 'a tool');
  if (!isRecord(inputSchema)) throw new TypeError(`the inputSchema of the tool "${name}" is no object`);
  return { name, description, inputSchema };
}

/** Throws `TypeError` on tools that no model could call, and what their schemas throw when they are read. */
export function checkTools({ tools, expectedOutputs }: CoreOptions): void {
  if (tools.length > 0 && !expectedOutputs.some(({ type }) => type === 'tool-call'))
    throw new TypeError('there are tools, and expectedOutputs has no member of the type "tool-call"');
  const names = new Set<string>();
  for (const { name, description, inputSchema } of tools) {
    if (name === '' || description === '') throw new TypeError('a tool has an empty name or description');
    if (names.has(name)) throw new TypeError(`two tools are called "${name}"`);
    names.add(name);
    const { type, properties = {}, required = [] } = inputSchema;
    if (type !== 'object' || !isRecord(properties) || !Array.isArray(required))
      throw new TypeError(`the inputSchema of the tool "${name}" is no JSON schema of an object`);
    JSON.stringify(inputSchema);
  }
}

function expected(value: unknown, name: string): Expected[] {
  if (value === undefined) return [];
  return sequence(value, name).map((item) => {
    const own = dictionary(item, `a member of ${name}`);
    const type = oneOf(types, required(own, 'type', `a member of ${name}`), `the type of a member of ${name}`);
    const tags = own.languages === undefined ? [] : sequence(own.languages, 'languages').map(text);
    return { type, languages: tags.flatMap((tag) => Intl.getCanonicalLocales(tag)) };
  });
}

/** Why a session cannot be had with these options, if it cannot. `languages`: those that the model speaks. */
export function unsupported(
  { expectedInputs, expectedOutputs, tools }: CoreOptions,
  languages: readonly string[],
): string | undefined {
  if (tools.length > 0) return 'tools are not supported: this model calls none';
  const base = (tag: string): string => tag.split('-')[0];
  const spoken = new Set(languages.map(base));
  for (const [list, what] of [[expectedInputs, 'inputs'] as const, [expectedOutputs, 'outputs'] as const]) {
    const other = list.find(({ type }) => type !== 'text');
    if (other) return `${what} of the type "${other.type}" are not supported: this model reads and writes text`;
    const foreign = list.flatMap((item) => item.languages).find((tag) => !spoken.has(base(tag)));
    if (foreign !== undefined)
      return `${what} in the language "${foreign}" are not supported: this model speaks ${languages.join(', ')}`;
  }
  return undefined;
}

export interface GivenConstraint {
  readonly jsonSchema?: object;
  readonly regex?: string;
}

/** Throws `TypeError`, or a `DOMException` of the name NotSupportedError. */
export function givenConstraint({ responseConstraint, omitResponseConstraintInput }: Dictionary): GivenConstraint | undefined {
  if (responseConstraint === undefined) {
    if (omitResponseConstraintInput) throw new TypeError('omitResponseConstraintInput is given without a responseConstraint');
    return undefined;
  }
  if (isA<RegExp>('RegExp', responseConstraint)) {
    if (responseConstraint.flags.includes('v')) throw notSupported('regular expressions with the flag v are not supported');
    return { regex: responseConstraint.source };
  }
  if (typeof responseConstraint !== 'object' || responseConstraint === null || Array.isArray(responseConstraint))
    throw new TypeError('responseConstraint is neither a JSON schema nor a RegExp');
  try {
    return { jsonSchema: JSON.parse(JSON.stringify(responseConstraint)) as object };
  } catch {
    throw notSupported('responseConstraint is no JSON schema: it cannot be written as JSON');
  }
}

export function signalFrom({ signal }: Dictionary): AbortSignal | undefined {
  if (signal !== undefined && !isA<AbortSignal>('AbortSignal', signal)) throw new TypeError('signal is no AbortSignal');
  return signal;
}

export type Dictionary = Readonly<Record<string, unknown>>;

/** A Web IDL dictionary; throws `TypeError` when it is none. */
export function dictionary(value: unknown, what: string): Dictionary {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' && typeof value !== 'function') throw new TypeError(`${what} is no object`);
  return value as Dictionary;
}

/** A Web IDL sequence; throws `TypeError` when it is none. */
export function sequence(value: unknown, what: string): unknown[] {
  if (!isIterable(value)) throw new TypeError(`${what} is no array`);
  return [...value];
}

function required(from: Dictionary, name: string, what: string): unknown {
  if (from[name] === undefined) throw new TypeError(`${what} has no ${name}`);
  return from[name];
}

/** io/json.ts's isObject would bring its parser along, onto every page. */
function isRecord(value: unknown): value is Dictionary {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as Iterable<unknown>)[Symbol.iterator] === 'function';
}

/** As Web IDL makes a text of anything but a symbol. */
function text(value: unknown): string {
  return `${value}`;
}

function oneOf<T extends string>(all: readonly T[], value: unknown, what: string): T {
  const found = all.find((one) => one === text(value));
  if (found === undefined) throw new TypeError(`${what} is "${text(value)}"; expected ${all.join(', ')}`);
  return found;
}

function notSupported(message: string): DOMException {
  return new DOMException(message, 'NotSupportedError');
}

/** With what was asked for and what there is: the browser's own class where it has one. */
export function quotaExceeded(message: string, requested: number, quota: number): DOMException {
  const { QuotaExceededError: Own } = globalThis as unknown as {
    QuotaExceededError?: new (message: string, about: { requested: number; quota: number }) => DOMException;
  };
  if (Own) return new Own(message, { requested, quota });
  return Object.defineProperties(new DOMException(message, 'QuotaExceededError'), {
    requested: { value: requested, enumerable: true },
    quota: { value: quota, enumerable: true },
  });
}
