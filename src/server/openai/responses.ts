// OpenAI's `/v1/responses`, as far as it is text: instructions and input are answered, whole or as its named events. Nothing is kept
// between requests.

import { shown } from '../../errors.js';
import type { ChatMessage } from '../../infer/chat.js';
import { resultOf, type TextOptions, type TextResult } from '../../infer/text.js';
import { answers, type Call, newId, type Reply, type Streamed, seconds } from '../call.js';
import { type ApiError, badField, given } from '../errors.js';
import { anything, type Body, boolean, isObject, object, readFields, refuse, text, whole } from '../fields.js';
import { readFormat } from './format.js';
import { sampling, samplingOptions } from './parameters.js';
import { encodeChatPrompt, readMessages } from './prompts.js';

const fields = {
  ...sampling,
  ...{ input: anything, instructions: text, stream: boolean, text: object, max_output_tokens: whole(1) },
} as const;

const unsupported = {
  tools: '/v1/chat/completions has them',
  previous_response_id: 'nothing is kept: send the whole conversation as input',
  conversation: 'nothing is kept: send the whole conversation as input',
  prompt: 'send instructions and input',
  background: 'nothing is kept',
  include: 'there is nothing more to include',
} as const;

interface Event {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** Throws `ApiError` when the request is wrong, before anything is computed. */
export async function responses(call: Call, body: Body): Promise<Reply> {
  refuse(body, unsupported);
  const values = readFields(body, fields);
  const system: ChatMessage[] = values.instructions ? [{ role: 'system', content: values.instructions }] : [];
  const prompt = await encodeChatPrompt(call.model, [...system, ...messagesOf(values.input)]);
  const options: TextOptions = {
    ...{ ...samplingOptions(values), maxTokens: values.max_output_tokens },
    ...readFormat(values.text?.format, 'text.format'),
  };
  const answer = new Answer(call.name, values);
  call.admit(1);
  const pieces = answers(call, [prompt], 1, options);
  if (values.stream) return events(answer, pieces);
  const [result] = await resultOf(pieces);
  return { whole: answer.finished(result) };
}

function messagesOf(input: unknown): ChatMessage[] {
  if (typeof input === 'string') return [{ role: 'user', content: input }];
  if (!Array.isArray(input) || input.length === 0)
    throw badField('input', `input is ${given(input)}; expected a text or a list of messages`);
  for (const [i, item] of input.entries()) {
    if (isObject(item) && (item.type === undefined || item.type === 'message')) continue;
    throw badField(
      `input[${i}]`,
      `input[${i}] is of type ${shown(isObject(item) ? item.type : item)}: only messages are supported`,
    );
  }
  return readMessages(input, 'input');
}

/** The response as it is told of at any time. */
class Answer {
  readonly messageId = newId('msg_');
  private readonly head;

  constructor(
    model: string,
    { temperature = 1, top_p = 1, instructions, max_output_tokens }: Partial<Record<keyof typeof fields, unknown>>,
  ) {
    this.head = {
      ...{ id: newId('resp_'), object: 'response', created_at: seconds(), model, error: null, metadata: {} },
      ...{ instructions: instructions ?? null, max_output_tokens: max_output_tokens ?? null, previous_response_id: null },
      ...{ temperature, top_p, tools: [], tool_choice: 'auto', parallel_tool_calls: false, store: false },
    };
  }

  begun(): object {
    return { ...this.head, status: 'in_progress', incomplete_details: null, output: [], usage: null };
  }

  message(content: string, status: 'in_progress' | 'completed' | 'incomplete'): object {
    const parts = status === 'in_progress' ? [] : [this.part(content)];
    return { id: this.messageId, type: 'message', role: 'assistant', status, content: parts };
  }

  part(content: string): object {
    return { type: 'output_text', text: content, annotations: [], logprobs: [] };
  }

  finished({ text: content, finishReason, timings }: TextResult): object {
    const status = finishReason === 'length' ? 'incomplete' : 'completed';
    return {
      ...{ ...this.head, status, output: [this.message(content, status)] },
      incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
      usage: {
        input_tokens: timings.promptTokens,
        input_tokens_details: { cached_tokens: timings.reusedTokens },
        output_tokens: timings.generatedTokens,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: timings.promptTokens + timings.generatedTokens,
      },
    };
  }
}

function events(answer: Answer, pieces: ReturnType<typeof answers>): Streamed<Event> {
  let sequence = 0;
  const encode = (event: Event): string =>
    `event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number: sequence++ })}\n\n`;
  return {
    ...{ type: 'text/event-stream', events: told(answer, pieces), encode, end: '' },
    failed: (error: ApiError) => encode({ type: 'error', code: error.details.code ?? null, message: error.message, param: null }),
  };
}

async function* told(answer: Answer, pieces: ReturnType<typeof answers>): AsyncGenerator<Event, void> {
  const place = { item_id: answer.messageId, output_index: 0, content_index: 0 };
  const item = { output_index: 0 };
  try {
    let next = await pieces.next(); // before anything is told: what is wrong with the request still has its status
    yield { type: 'response.created', response: answer.begun() };
    yield { type: 'response.in_progress', response: answer.begun() };
    yield { type: 'response.output_item.added', ...item, item: answer.message('', 'in_progress') };
    yield { type: 'response.content_part.added', ...place, part: answer.part('') };
    for (; !next.done; next = await pieces.next()) {
      const delta = next.value.piece.text;
      if (delta !== '') yield { type: 'response.output_text.delta', ...place, delta, logprobs: [] };
    }
    const [result] = next.value;
    const status = result.finishReason === 'length' ? 'incomplete' : 'completed';
    yield { type: 'response.output_text.done', ...place, text: result.text, logprobs: [] };
    yield { type: 'response.content_part.done', ...place, part: answer.part(result.text) };
    yield { type: 'response.output_item.done', ...item, item: answer.message(result.text, status) };
    yield { type: `response.${status}`, response: answer.finished(result) };
  } finally {
    await pieces.return([]); // whoever reads may have left
  }
}
