// Chat messages to a prompt. A chat template (Jinja, as Hugging Face's `apply_chat_template` runs it: trim_blocks and
// lstrip_blocks on, raise_exception and strftime_now at hand) writes the text; this file then tells which of that text came
// from the messages, so that `</s>` written by the template ends a turn and `</s>` typed by a user does not.
// No model and no history here; the Jinja interpreter is loaded on first use.

import { InputError, shown } from '../errors.js';
import type { NamedBytes } from '../io/bytes.js';
import { TOOL_TEMPLATE } from '../io/hub-listing.js';
import { decodeUtf8, isObject, parseJson } from '../io/json.js';
import { anyOf, applyRules, findTokens, placesOf, type TokenRule, type TokenStretch } from '../tokenizer/stretches.js';

/** A turn of a conversation. */
export interface ChatMessage {
  /** `tool`: what a tool gave back; for templates that define tools. */
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
  /** The calls of an assistant's turn, as its template takes them. */
  tool_calls?: readonly {
    readonly type: 'function';
    readonly function: { readonly name: string; readonly arguments: unknown };
  }[];
}

/** What a model may call, as OpenAI describes it and templates take it: {type: 'function', function: {name, description, parameters}}. */
export type Tools = readonly Readonly<Record<string, unknown>>[];

/** A model's templates: one, or several by their names. */
export type ChatTemplates = string | Readonly<Record<string, string>>;

export function templatesByName(templates: ChatTemplates): Readonly<Record<string, string>> {
  return typeof templates === 'string' ? { default: templates } : templates;
}

/**
 * transformers' choice among them: `tool_use` where there are tools, else `default`; undefined where the model has none. Throws
 * `InputError` where none of several is for this.
 */
export function chosenTemplate(templates: ChatTemplates | undefined, tools?: Tools): string | undefined {
  if (typeof templates !== 'object') return templates;
  const chosen = (tools && templates.tool_use) ?? templates.default;
  if (chosen !== undefined) return chosen;
  const names = Object.keys(templates).map((name) => JSON.stringify(name));
  throw new InputError(`the model has no chat template "default", only ${names.join(', ') || 'none at all'}`);
}

/** Whether a template writes tools into the prompt and shows their calls as `<tool_call>{...}</tool_call>`, the form that is read back. */
export function definesTools(templates: ChatTemplates | undefined): boolean {
  const { tool_use: forTools, default: usual } = templatesByName(templates ?? {});
  const template = forTools ?? usual;
  return template !== undefined && /\btools\b/.test(template) && template.includes('<tool_call>');
}

export interface ChatOptions {
  /** Jinja source; `defaultChatTemplate` unless given. */
  template?: string;
  /** What `bos_token` stands for in the template; `<s>` unless given, nothing for null. */
  bosToken?: string | null;
  /** What `eos_token` stands for in the template; `</s>` unless given, nothing for null. */
  eosToken?: string | null;
  /** Other special tokens by the names that the template has for them: `pad_token`, `unk_token`. */
  tokenNames?: Readonly<Record<string, string>>;
  /** Only for templates that define them. */
  tools?: Tools;
  /** Ends with the opening of the assistant's answer; true unless given. */
  addGenerationPrompt?: boolean;
}

/** A stretch of a rendered prompt: the template's own text, in which special tokens count, or text from a message. */
export interface ChatSegment {
  text: string;
  special: boolean;
}

/**
 * The format that Apple's instruction-tuned OpenELMs were trained on (alignment-handbook's): `<|role|>`, a newline, the
 * content, the end token, a newline. The role markers are plain text for the tokenizer.
 */
export const defaultChatTemplate =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

/**
 * The prompt in segments; joined, their text is what the template writes. The template is run a second time with unguessable marks around
 * each content. Where a template looks into contents so that the marks change its output, only the `specialTokens` in contents are
 * marked; where that changes it too, all counts as the template's. Either way it may hold no more special tokens than with harmless
 * contents. Throws `InputError` otherwise, when a message has an unknown role or no text, when an answer is opened to no user, and
 * with the template's own message when it fails or refuses.
 */
export async function renderChatSegments(
  messages: readonly ChatMessage[],
  options: ChatOptions & { specialTokens?: Iterable<string> } = {},
): Promise<ChatSegment[]> {
  checkMessages(messages, options);
  const render = await compile(options);
  const plain = render(messages);
  const marks = createMarks(messages, options.template ?? defaultChatTemplate);
  const segments = splitAtMarks(
    renderWith(render, messages, (text) => marks.open + text + marks.close),
    marks,
  );
  if (segments !== undefined && segments.map((segment) => segment.text).join('') === plain) return segments;

  // The template looks into contents. Then only the special tokens in them are marked, which few templates look at.
  const { bosToken = '<s>', eosToken = '</s>' } = options;
  const tokens = [...(options.specialTokens ?? [bosToken, eosToken])].filter(
    (token) => token !== null && token !== '',
  ) as string[];
  const pattern = anyOf(tokens);
  const masked = splitAtMarks(
    renderWith(render, messages, (text) => (pattern ? text.replace(pattern, (token) => marks.open + token + marks.close) : text)),
    marks,
  );
  const parts =
    masked !== undefined && masked.map((segment) => segment.text).join('') === plain ? masked : [{ text: plain, special: true }];
  const own = parts.filter((segment) => segment.special).map((segment) => segment.text);
  const harmless = renderWith(render, messages, () => 'x') ?? '';
  for (const token of tokens) {
    const count = own.reduce((sum, text) => sum + text.split(token).length - 1, 0);
    if (count > harmless.split(token).length - 1) {
      throw new InputError(
        `a message would turn into the special token ${shown(token)} in this model's chat template: take such text out of the messages`,
      );
    }
  }
  return parts;
}

/** What `encodeChat` needs of a tokenizer. */
export interface ChatTokenizer {
  /** Ids of the tokens that only template text may name, by their text: `<s>`, `</s>`, added ones. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /** What some of them ask of their surroundings. */
  readonly tokenRules?: ReadonlyMap<string, TokenRule>;
  /** The id that begins a sequence; -1 where there is none. */
  readonly bosId: number;
  /** Whether sequences are meant to begin with it; true unless given. */
  readonly addBos?: boolean;
  /** Ids of plain text: nothing in it becomes a special id. No BOS, no EOS. */
  encode(text: string, options?: { continued?: boolean }): number[];
  /** Ids of a template's text, special tokens (leftmost, then longest) included. */
  encodeTemplate(text: string): number[];
}

/**
 * Ids of a rendered prompt. As long as no message holds the text of a special token, they are those of the whole prompt as
 * template text. Otherwise special tokens are taken from the template's segments only, and what lies between two of them is
 * encoded as one plain text, template and messages together. BOS is put in front,
 * where the tokenizer is meant to, unless the template did.
 */
export function encodeChat(tokenizer: ChatTokenizer, segments: readonly ChatSegment[]): number[] {
  const pattern = anyOf(tokenizer.specialTokens.keys());
  const whole = segments.map((segment) => segment.text).join('');
  const places: TokenStretch[] = []; // of the template's tokens in `whole`
  let offset = 0;
  for (const segment of segments) {
    if (segment.special && pattern) places.push(...placesOf(segment.text, pattern, offset));
    offset += segment.text.length;
  }
  const tokens = [...applyRules(whole, places, tokenizer.tokenRules)];
  const ids = sameTokens(tokens, [...findTokens(whole, pattern, tokenizer.tokenRules)])
    ? tokenizer.encodeTemplate(whole)
    : encodeBetween(tokenizer, whole, tokens);
  if ((tokenizer.addBos ?? true) && tokenizer.bosId >= 0 && ids[0] !== tokenizer.bosId) ids.unshift(tokenizer.bosId);
  return ids;
}

/** What a template is told of a tokenizer. */
export interface TokenNames {
  readonly bosId: number;
  readonly eosId: number;
  /** Special tokens by the names that templates have for them, but for BOS and EOS. */
  readonly names?: Readonly<Record<string, string>>;
  piece(id: number): string | undefined;
}

/** What a conversation needs of a tokenizer to become ids. */
type ConversationTokenizer = ChatTokenizer & TokenNames;

/**
 * Ids of a conversation as a template writes it, BOS in front; unless `answering` is false they end where the assistant begins to
 * speak, or with the beginning of its answer. Throws `InputError` as `renderChatSegments` does.
 */
export async function encodeConversation(
  tokenizer: ConversationTokenizer,
  templates: ChatTemplates | undefined,
  messages: readonly ChatMessage[],
  answering = true,
  tools?: Tools,
  begun = '',
): Promise<number[]> {
  const told = JSON.stringify([tools, ...messages.map((message) => message.tool_calls)]);
  const special = [...tokenizer.specialTokens.keys()].find((token) => token !== '' && told.includes(token));
  if (special !== undefined)
    throw new InputError(`the tools or their calls hold the special token ${shown(special)}: take such text out of them`);
  const segments = await renderChatSegments(messages, {
    template: chosenTemplate(templates, tools),
    ...tokenOptions(tokenizer),
    specialTokens: [...tokenizer.specialTokens.keys()],
    addGenerationPrompt: answering,
    tools,
  });
  return encodeChat(tokenizer, begun === '' ? segments : [...segments, { text: begun, special: false }]);
}

function encodeBetween(tokenizer: ChatTokenizer, whole: string, tokens: readonly TokenStretch[]): number[] {
  const parts: number[][] = [];
  let from = 0;
  for (const { start, end, token } of tokens) {
    parts.push(tokenizer.encode(whole.slice(from, start), { continued: from > 0 }), [tokenizer.specialTokens.get(token)!]);
    from = end;
  }
  return [...parts, tokenizer.encode(whole.slice(from), { continued: from > 0 })].flat();
}

function sameTokens(a: readonly TokenStretch[], b: readonly TokenStretch[]): boolean {
  return a.length === b.length && a.every(({ start, token }, i) => start === b[i].start && token === b[i].token);
}

/**
 * A model's own templates: those of files (`files`, by name) if there are any, else `chat_template` of `tokenizer_config.json`
 * (parsed), which is a text or a list of {name, template}. Undefined when the model has none. Throws `InputError` when
 * `chat_template` is something else.
 */
export function chatTemplateFrom(
  tokenizerConfig: unknown,
  files: Readonly<Record<string, string>> = {},
): ChatTemplates | undefined {
  const names = Object.keys(files);
  if (names.length > 0) return names.join() === 'default' ? files.default : files;
  if (typeof tokenizerConfig !== 'object' || tokenizerConfig === null || !('chat_template' in tokenizerConfig)) return undefined;
  const found: unknown = tokenizerConfig.chat_template;
  if (found === null || found === undefined) return undefined;
  if (typeof found === 'string') return found;
  if (isObject(found) && Object.values(found).every((template) => typeof template === 'string'))
    return found as Record<string, string>;
  if (!Array.isArray(found) || !found.every(isNamedTemplate)) {
    throw new InputError('tokenizer_config.json: chat_template must be a text or a list of {"name", "template"} entries');
  }
  return Object.fromEntries(found.map(({ name, template }) => [name, template]));
}

/** The files of the templates that are chosen from. */
const templateFiles = { default: 'chat_template.jinja', tool_use: TOOL_TEMPLATE };

/** Templates as files, for whoever writes a model. */
export function chatTemplateFiles(templates: ChatTemplates): NamedBytes[] {
  const named = templatesByName(templates);
  return Object.entries(templateFiles).flatMap(([key, name]) =>
    named[key] === undefined ? [] : [{ name, bytes: new TextEncoder().encode(named[key]) }],
  );
}

/** The templates among a model's files: `read` gives one by its name, `where` is put before names in messages. Throws `InputError`. */
export async function chatTemplateBeside(
  read: (name: string) => Promise<Uint8Array | undefined>,
  where: string,
): Promise<ChatTemplates | undefined> {
  const config = await read('tokenizer_config.json');
  const json = `${where}tokenizer_config.json`;
  const files: Record<string, string> = {};
  for (const [name, file] of Object.entries(templateFiles)) {
    const template = await read(file);
    if (template) files[name] = decodeUtf8(template, where + file);
  }
  return chatTemplateFrom(config ? parseJson(decodeUtf8(config, json), json) : {}, files);
}

function isNamedTemplate(entry: unknown): entry is { name: string; template: string } {
  return (
    typeof entry === 'object' &&
    entry !== null &&
    'name' in entry &&
    typeof entry.name === 'string' &&
    'template' in entry &&
    typeof entry.template === 'string'
  );
}

function checkMessages(messages: readonly ChatMessage[], { template, addGenerationPrompt: answering = true }: ChatOptions): void {
  for (const [i, { role, content }] of messages.entries()) {
    const known = role === 'system' || role === 'user' || role === 'assistant' || (role === 'tool' && definesTools(template));
    if (!known) {
      throw new InputError(`message ${i + 1} has the role ${shown(role)}, expected "system", "user" or "assistant"`);
    }
    if (typeof content !== 'string') throw new InputError(`message ${i + 1} (${role}) has no text as its content`);
  }
  if (answering && !messages.some((message) => message.role === 'user'))
    throw new InputError('a chat needs at least one message of the role "user"');
}

async function compile(options: ChatOptions): Promise<(messages: readonly ChatMessage[]) => string> {
  const { compileChat } = await import('./chat-template.js');
  const render = compileChat(options.template ?? defaultChatTemplate);
  const tokens = tokenVariables(options);
  return (messages) => render(messages, options.addGenerationPrompt ?? true, tokens, options.tools);
}

function tokenVariables({ bosToken = '<s>', eosToken = '</s>', tokenNames }: ChatOptions): Record<string, string> {
  return {
    ...tokenNames,
    ...(bosToken === null ? {} : { bos_token: bosToken }),
    ...(eosToken === null ? {} : { eos_token: eosToken }),
  };
}

/** A tokenizer's special tokens as options of a chat. */
function tokenOptions(tokenizer: TokenNames): Pick<ChatOptions, 'bosToken' | 'eosToken' | 'tokenNames'> {
  return {
    bosToken: tokenizer.piece(tokenizer.bosId) ?? null,
    eosToken: tokenizer.piece(tokenizer.eosId) ?? null,
    tokenNames: tokenizer.names,
  };
}

/** A tokenizer's special tokens by the names that templates have for them. */
export function templateTokens(tokenizer: TokenNames): Readonly<Record<string, string>> {
  return tokenVariables(tokenOptions(tokenizer));
}

interface Marks {
  open: string;
  close: string;
}

/** Two texts of private-use characters that occur neither in the messages nor in the template. */
function createMarks(messages: readonly ChatMessage[], template: string): Marks {
  const taken = [template, ...messages.map((message) => message.content)];
  const fresh = (): string => {
    const mark = String.fromCharCode(...crypto.getRandomValues(new Uint16Array(8)).map((random) => 0xe000 + (random % 6400)));
    return taken.some((text) => text.includes(mark)) ? fresh() : mark;
  };
  return { open: fresh(), close: fresh() };
}

/**
 * Renders with another text in place of each content's own, inside its leading and trailing blanks (templates trim contents);
 * blank contents stay. Undefined when the template fails, as one that looks into contents may.
 */
function renderWith(
  render: (messages: readonly ChatMessage[]) => string,
  messages: readonly ChatMessage[],
  replace: (text: string) => string,
): string | undefined {
  const changed = messages.map((message) => {
    const { content } = message;
    const text = content.trim();
    const start = content.indexOf(text);
    return {
      ...message,
      content: text === '' ? content : content.slice(0, start) + replace(text) + content.slice(start + text.length),
    };
  });
  try {
    return render(changed);
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
}

/** Undefined when the marks do not come in pairs. */
function splitAtMarks(text: string | undefined, { open, close }: Marks): ChatSegment[] | undefined {
  if (text === undefined) return undefined;
  const segments: ChatSegment[] = [];
  const add = (part: string, special: boolean): void => {
    if (part !== '') segments.push({ text: part, special });
  };
  const [first, ...others] = text.split(open);
  if (first.includes(close)) return undefined;
  add(first, true);
  for (const other of others) {
    const parts = other.split(close);
    if (parts.length !== 2) return undefined;
    add(parts[0], false);
    add(parts[1], true);
  }
  return segments;
}
