// What tuning learns from, row by row: conversations and answers as token ids, with a mark on what is to be learned. It knows the
// fields that such files have and TRL's names for them; how a conversation becomes ids (a chat template) is the caller's. Pairs of
// answers are preferences.ts; how examples become batches is example-source.ts.

import { InputError, shown } from '../errors.js';
import { isObject, quoted } from '../io/json.js';
import { commonPrefix } from '../tokenizer/prefix.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { commonsensePrompt } from './commonsense.js';
import { type Normalization, normalized } from './ftfy.js';
import type { FileRow } from './readers.js';

/** A turn of a conversation, as rows have it. */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** What turns rows into ids. */
export interface RowEncoders {
  readonly tokenizer: Tokenizer;
  /** Ids of a conversation, BOS once at their front; with `answering` they end where the assistant begins to speak. */
  chat(messages: readonly Message[], answering: boolean): Promise<readonly number[]>;
}

/** One sequence to learn from. */
export interface Example {
  readonly tokens: Int32Array;
  /** By token: 1 where it is to be learned, that is, predicted from those before it. */
  readonly learned: Uint8Array;
  /** `file:row`. */
  readonly document: string;
}

/** How plain texts are put to the model: as they are, as turns of a conversation, or in the prompt of commonsense_170k. */
export const promptFormats = ['auto', 'text', 'chat', 'commonsense'] as const;
/** One of `promptFormats`. */
export type PromptFormat = (typeof promptFormats)[number];

/** How rows become examples. */
export interface ExampleOptions {
  /** `auto`: prompt and completion as they are (TRL's standard format), instruction and output as a conversation. */
  readonly prompt: PromptFormat;
  /** What the loss is on: what the assistant says, or every token but the first. */
  readonly loss: 'answers' | 'all';
  /** Tokens of an example at most; the rest is cut off. */
  readonly maxLength: number;
  /** What is done to plain texts first; conversations stay as they are. Default: nothing. */
  readonly normalization?: Normalization;
}

/** Why a row gives no example, in words that follow a count. */
export type Dropped =
  | 'nothing to learn within max_length'
  | 'an empty answer'
  | 'with calls of tools'
  | 'labelled as bad answers';

/**
 * The example of a row with `messages` (or ShareGPT's `conversations`), `prompt` and `completion`, `instruction` and `output` (and
 * `input`), or `text`.
 * Throws `InputError` naming file, row and the fields that are there when it has none of these.
 */
export async function exampleOf(row: FileRow, encoders: RowEncoders, options: ExampleOptions): Promise<Example | Dropped> {
  const whole = await wholeExample(row, encoders, options);
  if (typeof whole === 'string') return whole;
  const ids = whole.ids.slice(0, options.maxLength);
  const learned = Uint8Array.from(ids, (_, i) => (i > 0 && (options.loss === 'all' || whole.answers[i]) ? 1 : 0));
  if (!learned.includes(1)) return 'nothing to learn within max_length';
  return { tokens: Int32Array.from(ids), learned, document: `${row.file}:${row.row}` };
}

interface Marked {
  readonly ids: readonly number[];
  /** By token: whether the assistant says it. */
  readonly answers: readonly boolean[];
}

async function wholeExample(row: FileRow, encoders: RowEncoders, options: ExampleOptions): Promise<Marked | Dropped> {
  const { prompt } = options;
  const markedChat = (messages: readonly Message[], first = 0): Promise<Marked | Dropped> =>
    markChat(row, messages, encoders, first, options.loss === 'all');
  const markedText = (asked: string, answer: string): Marked =>
    markText(asked, answer, encoders.tokenizer, options.normalization);
  const { value } = row;
  if (callTools(row)) return 'with calls of tools';
  const chat = conversationField(row);
  if (chat) return markedChat(messagesAt(row, chat));
  if (value.prompt !== undefined && value.completion !== undefined) {
    // KTO's data: single answers, good and bad ones.
    if (value.label === false) return 'labelled as bad answers';
    if (Array.isArray(value.prompt) || Array.isArray(value.completion)) {
      const asked = messagesAt(row, 'prompt');
      return markedChat([...asked, ...messagesAt(row, 'completion', 'assistant')], asked.length);
    }
    const [asked, answer] = [textAt(row, 'prompt'), textAt(row, 'completion')];
    if (answer.trim() === '') return 'an empty answer';
    return prompt === 'chat' ? markedChat(turns(asked, answer)) : markedText(asked, answer);
  }
  if (value.instruction !== undefined && value.output !== undefined) {
    const [instruction, output] = [textAt(row, 'instruction'), textAt(row, 'output')];
    const input = value.input === undefined || value.input === null ? '' : textAt(row, 'input');
    if (output.trim() === '') return 'an empty answer';
    if (prompt === 'commonsense') return markedText(commonsensePrompt({ instruction, input }), output);
    const asked = input === '' ? instruction : `${instruction}\n\n${input}`;
    return prompt === 'text' ? markedText(`${asked}\n`, output) : markedChat(turns(asked, output));
  }
  if (typeof value.text === 'string') return markedText('', value.text);
  throw missing(row, 'messages (or conversations), prompt and completion, instruction and output, or text');
}

const turns = (asked: string, answer: string): Message[] => [
  { role: 'user', content: asked },
  { role: 'assistant', content: answer },
];

function markText(prompt: string, answer: string, tokenizer: Tokenizer, normalization?: Normalization): Marked {
  const { prompt: first, answer: second } = splitText(prompt, answer, tokenizer, normalization);
  return { ids: [...first, ...second], answers: [...first.map(() => false), ...second.map(() => true)] };
}

/**
 * The ids of a text in two parts, BOS in front and EOS at the end: those of the whole, divided where the prompt's own ids end, or
 * before the token that begins in the prompt and ends in the answer (TRL's `build_tokenized_answer`).
 */
export function splitText(
  prompt: string,
  answer: string,
  tokenizer: Tokenizer,
  normalization: Normalization = 'none',
): { prompt: number[]; answer: number[] } {
  const bos = tokenizer.bosId >= 0;
  const alone = tokenizer.encode(normalized(prompt, normalization), { bos });
  const whole = tokenizer.encode(normalized(prompt + answer, normalization), { bos, eos: tokenizer.eosId >= 0 });
  const end = commonPrefix(alone, whole);
  return { prompt: whole.slice(0, end), answer: whole.slice(end) };
}

// The ids of the whole conversation; every assistant's turn (from the `first` on, or the last alone) is found between the ids of what comes
// before it (ending where an answer begins) and the ids up to its end. What the template writes behind the end token is not the assistant's.
async function markChat(
  row: FileRow,
  messages: readonly Message[],
  encoders: RowEncoders,
  first: number,
  onlyLast: boolean,
): Promise<Marked | Dropped> {
  const where = `${row.file}: row ${row.row}`;
  const { eosId } = encoders.tokenizer;
  const isAnswer = ({ role, content }: Message, i: number): boolean =>
    i >= first && role === 'assistant' && content.trim() !== '';
  if (!messages.some(isAnswer)) return 'an empty answer';
  const last = messages.findLastIndex(({ role }) => role === 'assistant');
  const kept = messages.slice(0, last + 1);
  let ids = [...(await encoders.chat(kept, false))];
  const answers = ids.map(() => false);
  let end = 0;
  for (const [i, { role }] of kept.entries()) {
    if (role !== 'assistant' || i < first || (onlyLast && i < last)) continue;
    const before = await encoders.chat(kept.slice(0, i), true);
    const upTo = i === last ? ids : await encoders.chat(kept.slice(0, i + 1), false);
    const start = commonPrefix(before, ids);
    if (start < before.length - 1 || commonPrefix(upTo, ids) < upTo.length - 1) {
      throw new InputError(
        `${where}: the chat template writes a turn otherwise once another follows, so answers cannot be told apart: take data.loss all, or another data.chat_template`,
      );
    }
    const eos = eosId < 0 ? -1 : ids.indexOf(eosId, start);
    end = eos >= 0 && eos < upTo.length ? eos + 1 : upTo.length;
    for (let at = start; at < end; at++) answers[at] = true;
  }
  ids = ids.slice(0, end);
  answers.length = end;
  if (eosId >= 0 && ids[end - 1] !== eosId) {
    // A template without an end of its own: the model still has to learn to stop.
    ids.push(eosId);
    answers.push(true);
  }
  return { ids, answers };
}

/** A field that has to be text. */
export function textAt(row: FileRow, field: string): string {
  const found = row.value[field];
  if (typeof found === 'string') return found;
  throw new InputError(`${row.file}: row ${row.row}: ${quoted(field)} is ${typeName(found)}, expected text`);
}

/** Who speaks, by the names of OpenAI and of ShareGPT. */
const roles: Readonly<Record<string, Message['role']>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  human: 'user',
  assistant: 'assistant',
  gpt: 'assistant',
};
const toolRoles = ['tool', 'function', 'function_call', 'observation'];

/** A row with fields under the names that are expected here: `names` says what the row calls them. */
export function withFields(row: FileRow, names: Readonly<Record<string, string>> = {}): FileRow {
  const renamed = Object.entries(names).filter(([, theirs]) => row.value[theirs] !== undefined);
  return { ...row, value: { ...row.value, ...Object.fromEntries(renamed.map(([ours, theirs]) => [ours, row.value[theirs]])) } };
}

/** The field that holds a whole conversation, if one does. */
export function conversationField({ value }: FileRow): 'messages' | 'conversations' | undefined {
  return (['messages', 'conversations'] as const).find((field) => value[field] !== undefined && value[field] !== null);
}

/** Whether tools are called in any of a row's conversations: turns that are no text, and that most chat templates do not write. */
export function callTools({ value }: FileRow): boolean {
  const calls = (list: unknown): boolean =>
    Array.isArray(list) &&
    list.some((message: unknown) => {
      if (!isObject(message)) return false;
      const { role, from = role, tool_calls: tools, function_call: call } = message;
      return toolRoles.includes(from as string) || (Array.isArray(tools) && tools.length > 0) || isObject(call);
    });
  return Object.values(value).some(calls);
}

/** A field that has to be a conversation: a list of messages, one message, or (in other fields than whole conversations) what `speaker` says. */
export function messagesAt(row: FileRow, field: string, speaker: Message['role'] = 'user'): Message[] {
  const found = row.value[field];
  if (typeof found === 'string' && field !== conversationField(row)) return [{ role: speaker, content: found }];
  const where = `${row.file}: row ${row.row}: ${quoted(field)}`;
  const list = isObject(found) ? [found] : found;
  if (!Array.isArray(list)) throw new InputError(`${where} is ${typeName(found)}, expected a list of {role, content}`);
  return list.map((message: unknown, i) => {
    if (!isObject(message)) throw new InputError(`${where}: message ${i + 1} is ${typeName(message)}, expected {role, content}`);
    const { from, value, role: name = from, content = value } = message;
    if (name === undefined) throw new InputError(`${where}: message ${i + 1} has no role`);
    const role = typeof name === 'string' && Object.hasOwn(roles, name) ? roles[name] : undefined;
    if (role === undefined) {
      throw new InputError(`${where}: message ${i + 1} has the role ${shown(name)}, expected "system", "user" or "assistant"`);
    }
    const text = textOf(content);
    if (text === undefined) throw new InputError(`${where}: message ${i + 1} (${role}) has no text as its content`);
    return { role, content: text };
  });
}

/** A text, or OpenAI's list of parts that are all text. */
function textOf(content: unknown): string | undefined {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content) || content.length === 0) return undefined;
  const texts = content.map((part: unknown) => (isObject(part) && part.type === 'text' ? part.text : undefined));
  return texts.every((text) => typeof text === 'string') ? texts.join('\n') : undefined;
}

/** The error of a row without the fields that are needed. */
export function missing({ value, file, row }: FileRow, needed: string): InputError {
  const there = Object.keys(value).map(quoted).join(', ') || 'no fields at all';
  return new InputError(
    (option) =>
      `${file}: row ${row}: expected ${needed}; it has ${there} (data.fields maps names, as in ${option('data.fields.prompt', 'question')})`,
  );
}

function typeName(value: unknown): string {
  return value === undefined ? 'missing' : value === null ? 'null' : Array.isArray(value) ? 'a list' : `of type ${typeof value}`;
}
