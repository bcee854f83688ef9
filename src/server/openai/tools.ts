// Tools, where the model's template defines them: written into the prompt by the template, and their calls read out of the answer, which
// has each as `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` (Hermes's and Qwen's form). Elsewhere they are refused by name.

import { shown } from '../../errors.js';
import type { ChatMessage, Tools } from '../../infer/chat.js';
import type { TextModel } from '../../infer/text.js';
import { newId } from '../call.js';
import { ApiError, badField } from '../errors.js';
import { type Body, isObject } from '../fields.js';

export interface ToolCall {
  readonly id: string;
  readonly type: 'function';
  /** `arguments`: JSON as a text. */
  readonly function: { readonly name: string; readonly arguments: string };
}

const [open, close] = ['<tool_call>', '</tool_call>'];

/** The tools of a request; undefined when there are none. Throws `ApiError` 400. */
export function readTools(model: TextModel, { tools, tool_choice: choice }: Body): Tools | undefined {
  if (tools === undefined || tools === null || (Array.isArray(tools) && tools.length === 0)) return undefined;
  if (!model.definesTools)
    throw new ApiError(400, "tools is not supported: this model's template defines none", {
      param: 'tools',
      code: 'unsupported_parameter',
    });
  if (!Array.isArray(tools)) throw badField('tools', `tools is ${shown(tools)}; expected a list`);
  for (const [i, tool] of tools.entries()) {
    const named = isObject(tool) && tool.type === 'function' && isObject(tool.function) && typeof tool.function.name === 'string';
    if (!named)
      throw badField(`tools[${i}]`, `tools[${i}] is ${shown(tool)}; expected {"type": "function", "function": {"name": ...}}`);
  }
  if (choice === 'none') return undefined;
  if (choice !== undefined && choice !== null && choice !== 'auto')
    throw badField(
      'tool_choice',
      `tool_choice ${shown(choice)} is not supported: the model chooses ("auto"), or there are no tools ("none")`,
    );
  return tools as Tools;
}

/** Calls of an assistant's turn, as templates take them: their arguments as values. Throws `ApiError` 400. */
export function readToolCalls(value: unknown, where: string): ChatMessage['tool_calls'] {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw badField(where, `${where} is ${shown(value)}; expected a list`);
  return value.map((call: unknown) => {
    const { name, arguments: given } = isObject(call) && isObject(call.function) ? call.function : ({} as Body);
    const values = typeof given === 'string' ? parsed(given) : given;
    if (typeof name !== 'string' || !isObject(values))
      throw badField(where, `${where} has ${shown(call)}; expected a call of a function`);
    return { type: 'function', function: { name, arguments: values } };
  });
}

/** An answer as it comes: what is text goes on at once, what may be a call is kept until it is whole. */
export class ToolReader {
  readonly calls: ToolCall[] = [];
  private held = '';

  /** The next piece; returns the text that is no call. */
  push(piece: string): string {
    this.held += piece;
    let text = '';
    for (;;) {
      const start = this.held.indexOf(open);
      if (start < 0) {
        const kept = beginning(this.held);
        text += this.held.slice(0, this.held.length - kept);
        this.held = this.held.slice(this.held.length - kept);
        return text;
      }
      const end = this.held.indexOf(close, start);
      if (end < 0) return text;
      const call = callOf(this.held.slice(start + open.length, end));
      if (call) this.calls.push(call);
      text += this.held.slice(0, call ? start : end + close.length);
      this.held = this.held.slice(end + close.length);
    }
  }

  /** What was kept and is no whole call. */
  end(): string {
    const rest = this.held;
    this.held = '';
    return rest;
  }
}

/** How many of the last letters may begin a call. */
function beginning(text: string): number {
  for (let length = Math.min(open.length - 1, text.length); length > 0; length--)
    if (text.endsWith(open.slice(0, length))) return length;
  return 0;
}

function callOf(text: string): ToolCall | undefined {
  const call = parsed(text);
  if (!isObject(call) || typeof call.name !== 'string') return undefined;
  return { id: newId('call_'), type: 'function', function: { name: call.name, arguments: JSON.stringify(call.arguments ?? {}) } };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
