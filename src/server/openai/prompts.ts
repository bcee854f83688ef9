// Prompts as requests bring them: texts, ids, lists of either, or messages; checked and made ids of.

import { counted, shown } from '../../errors.js';
import type { ChatMessage, Tools } from '../../infer/chat.js';
import { wrongToken } from '../../infer/step.js';
import type { TextModel } from '../../infer/text.js';
import { ApiError, badField, given } from '../errors.js';
import { isObject } from '../fields.js';
import { readToolCalls } from './tools.js';

const roles: Readonly<Record<string, ChatMessage['role']>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  assistant: 'assistant',
};

/** Messages as the chat template takes them: contents as texts, `developer` as what it replaced. Throws `ApiError` 400. */
export function readMessages(value: unknown, param = 'messages', withTools = false): ChatMessage[] {
  if (!Array.isArray(value) || value.length === 0)
    throw badField(param, `${param} is ${given(value)}; expected a list of {"role", "content"}`);
  return value.map((message: unknown, i) => {
    const where = `${param}[${i}]`;
    if (!isObject(message)) throw badField(where, `${where} is ${shown(message)}; expected {"role", "content"}`);
    if (withTools && message.role === 'tool') return { role: 'tool', content: contentOf(message.content, `${where}.content`) };
    const calls =
      withTools && message.role === 'assistant' ? readToolCalls(message.tool_calls, `${where}.tool_calls`) : undefined;
    if (calls)
      return {
        role: 'assistant',
        content: message.content ? contentOf(message.content, `${where}.content`) : '',
        tool_calls: calls,
      };
    const role = typeof message.role === 'string' && Object.hasOwn(roles, message.role) ? roles[message.role] : undefined;
    if (!role) throw badField(where, `${where}.role is ${given(message.role)}; expected system, developer, user or assistant`);
    return { role, content: contentOf(message.content, `${where}.content`) };
  });
}

const textParts = ['text', 'input_text', 'output_text'];

/** A text, or a list of parts that are all text. */
export function contentOf(content: unknown, where: string): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) throw badField(where, `${where} is ${given(content)}; expected a text or a list of text parts`);
  const parts = content.map((part: unknown) => {
    if (isObject(part) && textParts.includes(part.type as string) && typeof part.text === 'string') return part.text;
    const type = isObject(part) ? part.type : part;
    throw badField(where, `${where} has a part of type ${shown(type)}: only text is supported`);
  });
  return parts.join('\n');
}

/** The ids of a conversation. Throws `ApiError` 400 when it has no room for an answer. */
export async function encodeChatPrompt(
  model: TextModel,
  messages: readonly ChatMessage[],
  tools?: Tools,
): Promise<readonly number[]> {
  const characters = messages.reduce((sum, { content }) => sum + content.length, 0);
  checkText(model, characters, 'messages');
  const ids = await model.encodePrompt(messages, tools);
  checkLength(model, ids.length, 'messages');
  return ids;
}

/** Prompts at most of one request. */
const maxPrompts = 1024;

/** The ids of each prompt: of a text, or as they are. `extra`: tokens over the context that are allowed. Throws `ApiError` 400. */
export async function readPrompts(model: TextModel, value: unknown, extra = 0, param = 'prompt'): Promise<(readonly number[])[]> {
  const list: unknown[] = Array.isArray(value) && !value.every((item) => typeof item === 'number') ? value : [value];
  if (list.length === 0 || list.length > maxPrompts)
    throw badField(param, `${param} is a list of ${list.length}; expected 1 to ${maxPrompts}`);
  const encoded = await Promise.all(list.map((prompt) => encodeOne(model, prompt, param)));
  for (const ids of encoded) checkLength(model, ids.length - extra, param);
  return encoded;
}

async function encodeOne(model: TextModel, prompt: unknown, param: string): Promise<readonly number[]> {
  const isIds = Array.isArray(prompt) && prompt.length > 0 && prompt.every((id) => Number.isInteger(id));
  if (typeof prompt !== 'string' && !isIds)
    throw badField(param, `${param} is ${given(prompt)}; expected a text, token ids, or a list of either`);
  if (typeof prompt === 'string') checkText(model, prompt.length, param);
  const ids = await model.encodePrompt(prompt as string | number[]);
  if (ids.length === 0) throw badField(param, `the ${param} is empty: give at least one character`);
  const wrong = wrongToken(ids, model.engine.model.config.vocabSize);
  if (wrong !== undefined) throw badField(param, wrong);
  return ids;
}

/** No vocabulary has pieces this long on average: more text cannot fit, and is not cut into tokens to find that out. */
export const mostCharacters = 64;

export function checkText(model: TextModel, characters: number, param: string): void {
  const { context } = model.engine;
  if (characters <= context * mostCharacters) return;
  throw tooLong(
    param,
    `${counted(characters, 'character')}, far more than this model's context of ${counted(context, 'token')} takes`,
  );
}

export function checkLength(model: TextModel, length: number, param: string): void {
  const { context } = model.engine;
  if (length <= context) return;
  throw tooLong(param, `${counted(length, 'token')}, but this model's context takes ${context}`);
}

function tooLong(param: string, what: string): ApiError {
  return new ApiError(400, `the prompt has ${what}: shorten it`, { param, code: 'context_length_exceeded' });
}
