// `openelm/openai`: OpenAI's client, as far as it is text, on a model in this process; the server's endpoints without a server.

import type { Model } from './index.js';
import { type Call, type Reply, Tally } from './server/call.js';
import { type ChatCompletion, type ChatCompletionChunk, chatCompletion } from './server/openai/chat.js';
import { type Completion, completion } from './server/openai/completions.js';
import { type Embeddings, embeddings } from './server/openai/embeddings.js';

export { ApiError } from './server/errors.js';
export type { ChatCompletion, ChatCompletionChunk } from './server/openai/chat.js';
export type { Completion } from './server/openai/completions.js';
export type { Embeddings } from './server/openai/embeddings.js';

/** A request's body: the fields that `/v1/...` takes, checked when it is made. */
export interface RequestBody {
  readonly stream?: boolean | null;
  readonly [field: string]: unknown;
}

/** What is said beside a request: the signal that breaks it off, and an adapter. */
export interface RequestOptions {
  readonly signal?: AbortSignal;
  /** One of the model's adapters, by name. */
  readonly adapter?: string | null;
}

/** Gives a whole answer or, with `stream: true`, its chunks; leaving their loop ends the work. Throws `ApiError` on a wrong request. */
export interface Create<Whole, Chunk> {
  (body: RequestBody & { readonly stream: true }, options?: RequestOptions): Promise<AsyncIterable<Chunk>>;
  (body: RequestBody & { readonly stream?: false | null }, options?: RequestOptions): Promise<Whole>;
}

/** The part of OpenAI's client that needs no server. */
export interface OpenAIClient {
  readonly chat: { readonly completions: { readonly create: Create<ChatCompletion, ChatCompletionChunk> } };
  readonly completions: { readonly create: Create<Completion, Completion> };
  readonly embeddings: { create(body: RequestBody, options?: RequestOptions): Promise<Embeddings> };
}

/** `const client = openai(await load('tales-6m-instruct'))`, then `client.chat.completions.create({ messages })` and the like. */
export function openai(model: Model): OpenAIClient {
  const { name } = model.checkpoint;
  const created =
    <Whole, Chunk>(endpoint: (call: Call, body: RequestBody) => Promise<Reply<Whole, Chunk>>) =>
    async (body: RequestBody, { signal = new AbortController().signal, adapter }: RequestOptions = {}) => {
      const reply = await endpoint({ model, name, adapter, signal, tally: new Tally(), admit: () => {} }, body);
      return 'whole' in reply ? reply.whole : reply.events;
    };
  return {
    chat: { completions: { create: created(chatCompletion) as Create<ChatCompletion, ChatCompletionChunk> } },
    completions: { create: created(completion) as Create<Completion, Completion> },
    embeddings: { create: created(embeddings) as OpenAIClient['embeddings']['create'] },
  };
}
