// `openelm/ai-sdk`: a loaded model as the AI SDK takes it (`LanguageModelV4` and `EmbeddingModelV4` of @ai-sdk/provider 4, which `ai` 7
// uses; as V3 for `ai` 6, which runs on Node 20). The types are written out here, as far as they are used, so that nobody has to
// install the SDK for them. No tools and no files: what cannot be done is a warning, as the SDK has it, or an error.

import { InputError } from './errors.js';
import type { ChatMessage } from './infer/chat.js';
import type { TextModel, TextOptions, TextResult } from './infer/text.js';

/** What both versions of the specification have in common is written once. */
export type SpecificationVersion = 'v3' | 'v4';

/** How a model stands in the SDK. */
export interface ProviderOptions<Version extends SpecificationVersion> {
  /** Default v4, for `ai` 7; v3 is for `ai` 6. */
  readonly specificationVersion?: Version;
  /** What the model is called in traces; default the checkpoint's name. */
  readonly modelId?: string;
  /** One of the model's adapters, by name. */
  readonly adapter?: string | null;
}

interface Part {
  readonly type: string;
  readonly text?: string;
}

/** The SDK's call, as far as it is read. */
export interface LanguageModelCall {
  readonly prompt: readonly { readonly role: string; readonly content: string | readonly Part[] }[];
  readonly maxOutputTokens?: number;
  readonly temperature?: number;
  readonly stopSequences?: readonly string[];
  readonly topP?: number;
  readonly topK?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly responseFormat?: { readonly type: 'text' } | { readonly type: 'json'; readonly schema?: unknown };
  readonly seed?: number;
  readonly tools?: readonly unknown[];
  readonly abortSignal?: AbortSignal;
}

/** What of a call was passed over, and why. */
export interface Warning {
  type: 'unsupported';
  feature: string;
  details?: string;
}

/** Why an answer ended, in the word of the SDK and in ours. */
export interface FinishReason {
  unified: 'stop' | 'length';
  raw: string | undefined;
}

/** Tokens of a call: `cacheRead` of the prompt were there already and were not computed. */
export interface Usage {
  inputTokens: { total: number; noCache: number; cacheRead: number; cacheWrite: undefined };
  outputTokens: { total: number; text: number; reasoning: undefined };
}

/** A whole answer. */
export interface GenerateResult {
  content: { type: 'text'; text: string }[];
  finishReason: FinishReason;
  usage: Usage;
  warnings: Warning[];
}

/** A piece of an answer that is streamed: one text in pieces between its start and its end, then what it took. */
export type StreamPart =
  | { type: 'stream-start'; warnings: Warning[] }
  | { type: 'text-start'; id: string }
  | { type: 'text-delta'; id: string; delta: string }
  | { type: 'text-end'; id: string }
  | { type: 'finish'; usage: Usage; finishReason: FinishReason };

/** A model as `generateText` and `streamText` take it. */
export interface LanguageModel<Version extends SpecificationVersion> {
  readonly specificationVersion: Version;
  readonly provider: string;
  readonly modelId: string;
  readonly supportedUrls: Record<string, RegExp[]>;
  doGenerate(call: LanguageModelCall): Promise<GenerateResult>;
  doStream(call: LanguageModelCall): Promise<{ stream: ReadableStream<StreamPart> }>;
}

/** A model as `embed` and `embedMany` take it; embeddings have length 1. */
export interface EmbeddingModel<Version extends SpecificationVersion> {
  readonly specificationVersion: Version;
  readonly provider: string;
  readonly modelId: string;
  readonly maxEmbeddingsPerCall: number;
  readonly supportsParallelCalls: boolean;
  doEmbed(call: { readonly values: readonly string[]; readonly abortSignal?: AbortSignal }): Promise<{
    embeddings: number[][];
    usage: { tokens: number };
    warnings: Warning[];
  }>;
}

type Loaded = TextModel & { readonly checkpoint?: { readonly name: string } };

/** `generateText({ model: openelm(await load('tales-6m-instruct')), prompt })`. The model stays the caller's to dispose. */
export function openelm<Version extends SpecificationVersion = 'v4'>(
  model: Loaded,
  options: ProviderOptions<Version> = {},
): LanguageModel<Version> {
  const { adapter } = options;
  const generate = (call: LanguageModelCall) => {
    const { messages, given, warnings } = asked(call);
    return { warnings, pieces: model.generate(messages, { ...given, adapter, signal: call.abortSignal }) };
  };
  return {
    ...identity(model, options),
    supportedUrls: {},
    async doGenerate(call) {
      const { warnings, pieces } = generate(call);
      for (;;) {
        const next = await pieces.next();
        if (!next.done) continue;
        checkAborted(next.value, call);
        return { content: [{ type: 'text', text: next.value.text }], ...told(next.value), warnings };
      }
    },
    async doStream(call) {
      const { warnings, pieces } = generate(call);
      const id = '0';
      let next = await pieces.next(); // what is wrong with the call is thrown, not streamed
      const parts = (async function* (): AsyncGenerator<StreamPart, void> {
        yield { type: 'stream-start', warnings };
        yield { type: 'text-start', id };
        for (; !next.done; next = await pieces.next())
          if (next.value.text !== '') yield { type: 'text-delta', id, delta: next.value.text };
        checkAborted(next.value, call);
        yield { type: 'text-end', id };
        yield { type: 'finish', ...told(next.value) };
      })();
      return { stream: streamOf(parts, () => pieces.return(undefined as never)) };
    },
  };
}

/** `embed({ model: openelmEmbedding(model), value })`. */
export function openelmEmbedding<Version extends SpecificationVersion = 'v4'>(
  model: Loaded,
  options: ProviderOptions<Version> = {},
): EmbeddingModel<Version> {
  return {
    ...identity(model, options),
    ...{ maxEmbeddingsPerCall: 1024, supportsParallelCalls: true },
    async doEmbed({ values, abortSignal }) {
      const ids = values.map((text) => model.tokenizer.encode(text, { bos: model.tokenizer.addBos }));
      const vectors = await model.embed(ids, { adapter: options.adapter, signal: abortSignal });
      const tokens = ids.reduce((sum, { length }) => sum + length, 0);
      return { embeddings: vectors.map((vector) => [...vector]), usage: { tokens }, warnings: [] };
    },
  };
}

function identity<Version extends SpecificationVersion>(model: Loaded, options: ProviderOptions<Version>) {
  const specificationVersion = (options.specificationVersion ?? 'v4') as Version;
  return { specificationVersion, provider: 'openelm', modelId: options.modelId ?? model.checkpoint?.name ?? 'openelm' };
}

/** A call as messages and options, with what cannot be done of it. */
function asked(call: LanguageModelCall): { messages: ChatMessage[]; given: TextOptions; warnings: Warning[] } {
  const warnings: Warning[] = [];
  if (call.tools?.length) warnings.push({ type: 'unsupported', feature: 'tools' });
  const { temperature = 1 } = call;
  return {
    messages: call.prompt.map(({ role, content }) => ({ role: roleOf(role), content: contentOf(content) })),
    given: {
      ...{ temperature: temperature < 1e-4 ? 0 : temperature, topK: call.topK, topP: call.topP, seed: call.seed },
      ...{ presencePenalty: call.presencePenalty, frequencyPenalty: call.frequencyPenalty, maxTokens: call.maxOutputTokens },
      jsonSchema: schemaOf(call.responseFormat),
      stop: call.stopSequences?.length ? call.stopSequences : undefined,
    },
    warnings,
  };
}

function schemaOf(format: LanguageModelCall['responseFormat']): TextOptions['jsonSchema'] {
  if (format?.type !== 'json') return undefined;
  return (format.schema as TextOptions['jsonSchema']) ?? { type: 'object' };
}

function roleOf(role: string): ChatMessage['role'] {
  if (role === 'system' || role === 'user' || role === 'assistant') return role;
  throw new InputError(`a message of the role ${role} is not supported: the model has no tools`);
}

function contentOf(content: string | readonly Part[]): string {
  if (typeof content === 'string') return content;
  return content
    .filter(({ type }) => type !== 'reasoning')
    .map(({ type, text }) => {
      if (type === 'text' && text !== undefined) return text;
      throw new InputError(`a message has a part of type ${type}: only text is supported`);
    })
    .join('\n');
}

function told({ finishReason, timings }: TextResult): { finishReason: FinishReason; usage: Usage } {
  const { promptTokens: total, reusedTokens: cacheRead, generatedTokens } = timings;
  return {
    finishReason: { unified: finishReason === 'length' ? 'length' : 'stop', raw: finishReason },
    usage: {
      inputTokens: { total, noCache: total - cacheRead, cacheRead, cacheWrite: undefined },
      outputTokens: { total: generatedTokens, text: generatedTokens, reasoning: undefined },
    },
  };
}

function checkAborted({ finishReason }: TextResult, { abortSignal }: LanguageModelCall): void {
  if (finishReason === 'abort') abortSignal?.throwIfAborted();
}

function streamOf<Item>(items: AsyncGenerator<Item, void>, end: () => Promise<unknown>): ReadableStream<Item> {
  return new ReadableStream<Item>({
    async pull(controller) {
      const { value, done } = await items.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await end();
    },
  });
}
