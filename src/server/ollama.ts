// Ollama's interface over the same models: `/api/chat`, `/api/generate`, `/api/embed`, `/api/tags`, `/api/show`, `/api/ps`. Many tools
// speak only that. Streams are lines of JSON; durations are nanoseconds; sampling defaults are Ollama's.

import type { FinishReason } from '../infer/engine.js';
import { resultOf, type TextOptions, type TextPiece, type TextResult } from '../infer/text.js';
import { answers, type Call, type Reply, type Streamed } from './call.js';
import { type ApiError, badField } from './errors.js';
import { anything, type Body, boolean, number, object, readFields, refuse, text, texts, whole } from './fields.js';
import type { ModelSource } from './models.js';
import { readFormat } from './openai/format.js';
import { checkLength, checkText, encodeChatPrompt, mostCharacters, readMessages } from './openai/prompts.js';

const options = {
  num_predict: whole(-2),
  temperature: number(0, 100),
  top_k: whole(0),
  top_p: number(0, 1),
  min_p: number(0, 1),
  typical_p: number(0, 1),
  repeat_penalty: number(0.01, 100),
  frequency_penalty: number(-2, 2),
  presence_penalty: number(-2, 2),
  seed: whole(-1),
  stop: texts(64),
} as const;

const common = { stream: boolean, options: object, format: anything, keep_alive: anything } as const;

/** Ollama's own, where a request says nothing; without its repeat penalty, which hurts small models that need names again. */
const defaults = { temperature: 0.8, top_k: 40, top_p: 0.9 };

function generation(given: Body | undefined, format: unknown): TextOptions {
  const { num_predict, seed, repeat_penalty, ...values } = { ...defaults, ...readFields(given ?? {}, options) };
  return {
    temperature: values.temperature < 1e-4 ? 0 : values.temperature,
    topK: values.top_k,
    topP: values.top_p,
    minP: values.min_p,
    typicalP: values.typical_p || undefined,
    repetitionPenalty: repeat_penalty,
    frequencyPenalty: values.frequency_penalty,
    presencePenalty: values.presence_penalty,
    maxTokens: num_predict === undefined || num_predict < 0 ? undefined : num_predict,
    seed: seed === undefined || seed < 0 ? undefined : seed,
    stop: values.stop,
    ...formatOf(format),
  };
}

/** `json`, or a JSON schema. */
function formatOf(format: unknown): TextOptions {
  if (format === undefined || format === '') return {};
  if (format === 'json') return readFormat({ type: 'json_object' }, 'format');
  return readFormat({ type: 'json_schema', json_schema: { schema: format } }, 'format');
}

/** `/api/chat`. Throws `ApiError` as OpenAI's endpoints do. */
export async function ollamaChat(call: Call, body: Body): Promise<Reply> {
  refuse(body, { tools: '/v1/chat/completions has them', think: 'this model does not reason apart from its answer' });
  const values = readFields(body, { ...common, messages: anything });
  const list = Array.isArray(values.messages) ? values.messages : [];
  if (list.some(hasImages)) throw badField('messages', 'images are not supported: only text is');
  if (list.length === 0) return loaded(call, { message: { role: 'assistant', content: '' } });
  const prompt = await encodeChatPrompt(call.model, readMessages(values.messages));
  const message = (content: string) => ({ message: { role: 'assistant', content } });
  return answer(call, prompt, generation(values.options, values.format), values.stream ?? true, message);
}

function hasImages(message: unknown): boolean {
  const images = (message as { images?: unknown } | null)?.images;
  return Array.isArray(images) && images.length > 0;
}

const generateFields = { ...common, prompt: text, system: text, template: text, raw: boolean, suffix: text } as const;

/** `/api/generate`: in the chat template unless `raw`, as Ollama does with a model that has one. */
export async function ollamaGenerate(call: Call, body: Body): Promise<Reply> {
  refuse(body, {
    ...{ suffix: 'text is continued, not filled in', images: 'only text is read', template: "the model's own is used" },
    ...{ context: 'send the conversation to /api/chat', think: 'this model does not reason apart from its answer' },
  });
  const values = readFields(body, generateFields);
  const { prompt = '', system } = values;
  if (prompt === '') return loaded(call, { response: '' });
  const { model } = call;
  checkText(model, prompt.length + (system?.length ?? 0), 'prompt');
  const inTemplate = model.hasChatTemplate && !values.raw;
  const ids = inTemplate
    ? await model.encodePrompt([
        ...(system ? [{ role: 'system' as const, content: system }] : []),
        { role: 'user' as const, content: prompt },
      ])
    : await model.encodePrompt(system ? `${system}\n${prompt}` : prompt);
  checkLength(model, ids.length, 'prompt');
  const made = { ...generation(values.options, values.format), continuation: !inTemplate };
  return answer(call, ids, made, values.stream ?? true, (response) => ({ response }));
}

/** A request without a prompt loads the model. */
function loaded(call: Call, empty: object): Reply {
  return { whole: { ...head(call), ...empty, done: true, done_reason: 'load' } };
}

function head({ name }: Call): { model: string; created_at: string } {
  return { model: name, created_at: new Date().toISOString() };
}

async function answer(
  call: Call,
  prompt: readonly number[],
  options: TextOptions,
  stream: boolean,
  shape: (text: string) => object,
): Promise<Reply> {
  call.admit(1);
  const began = performance.now();
  const end = (result: TextResult): object => ({
    ...{ done: true, done_reason: reasonOf(result.finishReason), total_duration: nanoseconds(performance.now() - began) },
    ...{ load_duration: 0, prompt_eval_count: result.timings.promptTokens },
    prompt_eval_duration: nanoseconds(result.timings.promptMs),
    ...{ eval_count: result.timings.generatedTokens, eval_duration: nanoseconds(result.timings.generateMs) },
  });
  const pieces = answers(call, [prompt], 1, options);
  if (stream) return lines(streamed(call, pieces, shape, end));
  const [result] = await resultOf(pieces);
  return { whole: { ...head(call), ...shape(result.text), ...end(result) } };
}

async function* streamed(
  call: Call,
  pieces: AsyncGenerator<{ readonly piece: TextPiece }, TextResult[]>,
  shape: (text: string) => object,
  end: (result: TextResult) => object,
): AsyncGenerator<object, void> {
  try {
    for (;;) {
      const next = await pieces.next();
      if (next.done) return yield { ...head(call), ...shape(''), ...end(next.value[0]) };
      if (next.value.piece.text !== '') yield { ...head(call), ...shape(next.value.piece.text), done: false };
    }
  } finally {
    await pieces.return([]); // whoever reads may have left
  }
}

function lines(events: AsyncGenerator<object, void>): Streamed {
  return {
    ...{ type: 'application/x-ndjson', events, encode: (event) => `${JSON.stringify(event)}\n`, end: '' },
    failed: (error) => `${JSON.stringify(ollamaError(error))}\n`,
  };
}

/** Ollama's shape of an error. */
export function ollamaError(error: ApiError): object {
  return { error: error.message };
}

function reasonOf(reason: FinishReason): string {
  return reason === 'length' ? 'length' : 'stop';
}

function nanoseconds(milliseconds: number): number {
  return Math.round(milliseconds * 1e6);
}

/** `/api/embed`. */
export async function ollamaEmbed(call: Call, body: Body): Promise<Reply> {
  const { input, truncate } = readFields(body, { input: anything, truncate: boolean, options: object, keep_alive: anything });
  const list = [input].flat();
  if (list.length === 0 || list.length > 2048 || !list.every((item) => typeof item === 'string' && item !== ''))
    throw badField('input', 'input must be a text or a list of at most 2048 texts, none of them empty');
  call.admit(1);
  const began = performance.now();
  const { model, adapter, signal, tally } = call;
  if (!(truncate ?? true)) for (const item of list as string[]) checkText(model, item.length, 'input');
  const most = mostCharacters * model.engine.context; // what is cut off anyway need not be made tokens of
  const ids = (list as string[])
    .map((item) => item.slice(0, most))
    .map((item) => model.tokenizer.encode(item, { bos: model.tokenizer.addBos }));
  const vectors = await model.embed(ids, { adapter, signal, truncate: truncate ?? true });
  tally.promptTokens += ids.reduce((sum, { length }) => sum + length, 0);
  const counted = {
    total_duration: nanoseconds(performance.now() - began),
    load_duration: 0,
    prompt_eval_count: tally.promptTokens,
  };
  return { whole: { model: call.name, embeddings: vectors.map((vector) => [...vector]), ...counted } };
}

/** One model as `/api/tags` lists it. */
export function ollamaTag(id: string, { bytes, created = 0, details }: ModelSource): object {
  return {
    ...{ name: id, model: id, modified_at: new Date(created * 1000).toISOString(), size: bytes, digest: '' },
    details: ollamaDetails(details),
  };
}

function ollamaDetails(details: ModelSource['details']): object {
  return {
    ...{ parent_model: '', format: 'safetensors', family: 'openelm', families: ['openelm'] },
    ...{ parameter_size: details ? sizeOf(details.parameters) : '', quantization_level: details?.dtype.toUpperCase() ?? '' },
  };
}

function sizeOf(parameters: number): string {
  return parameters < 1e9 ? `${(parameters / 1e6).toFixed(1)}M` : `${(parameters / 1e9).toFixed(1)}B`;
}

/** `/api/show`. */
export function ollamaShow({ details }: ModelSource): object {
  return {
    ...{ modelfile: '', parameters: '', template: details?.template ?? '', details: ollamaDetails(details) },
    model_info: {
      'general.architecture': 'openelm',
      'general.parameter_count': details?.parameters,
      'openelm.context_length': details?.context,
      ...details?.info,
    },
    capabilities: ['completion', 'embedding'],
  };
}
