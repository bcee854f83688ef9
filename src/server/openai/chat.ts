// OpenAI's `/v1/chat/completions`: a conversation is answered, whole or in chunks.

import type { FinishReason } from '../../infer/engine.js';
import type { TextOptions, TextResult } from '../../infer/text.js';
import { answers, type Call, newId, openAIEvents, type Reply, seconds } from '../call.js';
import { badField } from '../errors.js';
import { anything, type Body, boolean, readFields, refuse } from '../fields.js';
import { readFormat } from './format.js';
import {
  choiceCount,
  sampling,
  samplingOptions,
  streaming,
  tokenLimit,
  topCount,
  type Usage,
  usageOf,
  wantsUsage,
} from './parameters.js';
import { encodeChatPrompt, readMessages } from './prompts.js';
import { type ChatLogprob, chatLogprob } from './tokens.js';
import { readTools, type ToolCall, ToolReader } from './tools.js';

const fields = {
  ...sampling,
  ...streaming,
  max_tokens: tokenLimit,
  max_completion_tokens: tokenLimit, // which took the place of max_tokens
  messages: anything,
  n: choiceCount,
  logprobs: boolean,
  top_logprobs: topCount,
  response_format: anything,
} as const;

const unsupported = {
  functions: 'it is the old form of tools',
  audio: 'only text is answered',
  prediction: 'leave it out',
  reasoning_effort: 'this model does not reason apart from its answer',
  verbosity: 'leave it out',
  web_search_options: 'the server searches nothing',
} as const;

type Finish = 'stop' | 'length' | 'tool_calls';

/** A whole answer of `/v1/chat/completions`. */
export interface ChatCompletion {
  readonly id: string;
  readonly object: 'chat.completion';
  readonly created: number;
  readonly model: string;
  readonly choices: readonly {
    readonly index: number;
    readonly message: {
      readonly role: 'assistant';
      readonly content: string | null;
      readonly refusal: null;
      readonly tool_calls?: readonly ToolCall[];
    };
    readonly logprobs: { readonly content: readonly ChatLogprob[]; readonly refusal: null } | null;
    readonly finish_reason: Finish;
  }[];
  readonly usage: Usage;
}

/** A piece of a streamed answer. */
export interface ChatCompletionChunk {
  readonly id: string;
  readonly object: 'chat.completion.chunk';
  readonly created: number;
  readonly model: string;
  readonly choices: readonly {
    readonly index: number;
    readonly delta: {
      readonly role?: 'assistant';
      readonly content?: string;
      readonly tool_calls?: readonly (ToolCall & { readonly index: number })[];
    };
    readonly logprobs: { readonly content: readonly ChatLogprob[]; readonly refusal: null } | null;
    readonly finish_reason: Finish | null;
  }[];
  readonly usage?: Usage | null;
}

/** Throws `ApiError` when the request is wrong, before anything is computed. */
export async function chatCompletion(call: Call, body: Body): Promise<Reply<ChatCompletion, ChatCompletionChunk>> {
  refuse(body, unsupported);
  const values = readFields(body, fields);
  checkModalities(body.modalities);
  const { n = 1, logprobs = false, top_logprobs } = values;
  if (top_logprobs !== undefined && !logprobs) throw badField('top_logprobs', 'top_logprobs goes with "logprobs": true');
  const tools = readTools(call.model, body);
  const messages = readMessages(values.messages, 'messages', call.model.definesTools);
  const prompt = await encodeChatPrompt(call.model, messages, tools);
  const options: TextOptions = {
    ...samplingOptions(values),
    maxTokens: values.max_completion_tokens ?? values.max_tokens,
    topLogprobs: logprobs ? (top_logprobs ?? 0) : undefined,
    ...readFormat(values.response_format),
  };
  const withUsage = wantsUsage(values);
  call.admit(n);
  const asked: Asked = {
    head: { id: newId('chatcmpl-'), created: seconds(), model: call.name },
    prompt,
    n,
    options,
    tools: tools !== undefined,
  };
  return values.stream ? openAIEvents(chunks(call, asked, withUsage)) : { whole: await whole(call, asked) };
}

interface Asked {
  readonly head: { readonly id: string; readonly created: number; readonly model: string };
  readonly prompt: readonly number[];
  readonly n: number;
  readonly options: TextOptions;
  /** Look for calls in the answers. */
  readonly tools: boolean;
}

/** A whole text without its calls, and those; null where nothing is left of it. */
function parted(text: string): { content: string | null; calls: readonly ToolCall[] } {
  const reader = new ToolReader();
  const content = (reader.push(text) + reader.end()).trim();
  return { content: reader.calls.length > 0 && content === '' ? null : content, calls: reader.calls };
}

export function tokenizerOf({ model }: Call) {
  return model.hasTokenizer ? model.tokenizer : undefined;
}

async function whole(call: Call, { head, prompt, n, options, tools }: Asked): Promise<ChatCompletion> {
  const tokenizer = tokenizerOf(call);
  const told: ChatLogprob[][] = Array.from({ length: n }, () => []);
  const pieces = answers(call, [prompt], n, options);
  for (;;) {
    const next = await pieces.next();
    if (next.done) {
      const choices = next.value.map((result, index) => {
        const { content, calls } = tools ? parted(result.text) : { content: result.text, calls: [] };
        return {
          index,
          message: { role: 'assistant' as const, content, refusal: null, ...(calls.length > 0 ? { tool_calls: calls } : {}) },
          logprobs: options.topLogprobs === undefined ? null : { content: told[index], refusal: null },
          finish_reason: calls.length > 0 ? ('tool_calls' as const) : finishOf(result.finishReason),
        };
      });
      return { ...head, object: 'chat.completion', choices, usage: usage(next.value) };
    }
    const { index, piece } = next.value;
    told[index].push(...(piece.logprobs ?? []).map((token) => chatLogprob(tokenizer, token)));
  }
}

async function* chunks(
  call: Call,
  { head, prompt, n, options, tools }: Asked,
  withUsage: boolean,
): AsyncGenerator<ChatCompletionChunk, void> {
  const tokenizer = tokenizerOf(call);
  type Choice = ChatCompletionChunk['choices'][number];
  const chunk = (choices: readonly Choice[], used: Usage | null = null): ChatCompletionChunk => ({
    ...{ ...head, object: 'chat.completion.chunk', choices },
    ...(withUsage ? { usage: used } : {}),
  });
  const choice = (index: number, delta: Choice['delta'], finish: Choice['finish_reason'] = null): Choice => ({
    ...{ index, delta, logprobs: null, finish_reason: finish },
  });
  const pieces = answers(call, [prompt], n, options);
  try {
    const begun = new Set<number>();
    const readers = Array.from({ length: n }, () => (tools ? new ToolReader() : undefined));
    for (;;) {
      const next = await pieces.next();
      for (let index = 0; index < n; index++) {
        const speaks = next.done || next.value.index === index;
        if (speaks && !begun.has(index)) yield chunk([choice(index, { role: 'assistant', content: '' })]);
        if (speaks) begun.add(index);
      }
      if (next.done) {
        for (const [index, { finishReason }] of next.value.entries()) {
          const rest = readers[index]?.end();
          if (rest) yield chunk([choice(index, { content: rest })]);
          const calls = readers[index]?.calls ?? [];
          const delta = { tool_calls: calls.map((made, k) => ({ index: k, ...made })) };
          if (calls.length > 0) yield chunk([choice(index, delta)]);
          yield chunk([choice(index, {}, calls.length > 0 ? 'tool_calls' : finishOf(finishReason))]);
        }
        if (withUsage) yield chunk([], usage(next.value));
        return;
      }
      const { index, piece } = next.value;
      const content = piece.logprobs?.map((token) => chatLogprob(tokenizer, token));
      const text = readers[index]?.push(piece.text) ?? piece.text;
      if (text === '' && !content) continue;
      yield chunk([{ ...choice(index, { content: text }), logprobs: content ? { content, refusal: null } : null }]);
    }
  } finally {
    await pieces.return([]); // whoever reads may have left
  }
}

/** What OpenAI calls it; an aborted answer never comes here. */
export function finishOf(reason: FinishReason): 'stop' | 'length' {
  return reason === 'length' ? 'length' : 'stop';
}

function usage(results: readonly TextResult[]): Usage {
  const [{ timings }] = results;
  const generated = results.reduce((sum, result) => sum + result.timings.generatedTokens, 0);
  return usageOf(timings.promptTokens, generated, timings.reusedTokens);
}

function checkModalities(modalities: unknown): void {
  if (modalities === undefined || modalities === null) return;
  if (Array.isArray(modalities) && modalities.every((mode) => mode === 'text')) return;
  throw badField('modalities', 'modalities other than text are not supported');
}
