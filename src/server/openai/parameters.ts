// OpenAI's sampling parameters, and those that vLLM and llama.cpp added to them, as options of a generation. Defaults are OpenAI's: the
// plain distribution (temperature 1).

import { maxTopLogprobs } from '../../infer/logprobs.js';
import type { TextOptions } from '../../infer/text.js';
import { badField } from '../errors.js';
import { anything, boolean, type Field, isObject, number, readFields, texts, type Values, whole } from '../fields.js';

/** Log-probabilities of the likeliest tokens. */
export const topCount = whole(0, maxTopLogprobs);
/** Tokens of an answer at most. */
export const tokenLimit = whole(0);
/** Answers to one prompt. */
export const choiceCount = whole(1, 128);

const bias: Field<Readonly<Record<number, number>>> = {
  says: 'token ids with numbers from -100 to 100',
  read: (value) => {
    const holds = (entry: [string, unknown]): boolean =>
      /^\d{1,9}$/.test(entry[0]) && typeof entry[1] === 'number' && Math.abs(entry[1]) <= 100;
    return isObject(value) && Object.entries(value).every(holds) ? (value as Record<number, number>) : undefined;
  },
};

export const sampling = {
  temperature: number(0, 100),
  top_p: number(0, 1),
  top_k: whole(-1),
  min_p: number(0, 1),
  typical_p: number(0, 1),
  frequency_penalty: number(-2, 2),
  presence_penalty: number(-2, 2),
  repetition_penalty: number(0.01, 100),
  seed: whole(-1),
  stop: texts(64),
  logit_bias: bias,
  ignore_eos: boolean,
} as const;

/** Options as the engine has them. */
export function samplingOptions(values: Values<typeof sampling>): TextOptions {
  const { temperature = 1, top_k, seed, typical_p } = values;
  return {
    temperature: temperature < 1e-4 ? 0 : temperature,
    topK: top_k === -1 ? 0 : top_k,
    topP: values.top_p,
    minP: values.min_p,
    typicalP: typical_p === 0 ? undefined : typical_p,
    frequencyPenalty: values.frequency_penalty,
    presencePenalty: values.presence_penalty,
    repetitionPenalty: values.repetition_penalty,
    seed: seed === -1 ? undefined : seed,
    stop: values.stop,
    logitBias: values.logit_bias,
    ignoreEos: values.ignore_eos,
  };
}

export const streaming = { stream: boolean, stream_options: anything } as const;

/** Whether a stream ends with the tokens it took. */
export function wantsUsage({ stream, stream_options: options }: Values<typeof streaming>): boolean {
  if (options === undefined) return false;
  if (!isObject(options)) throw badField('stream_options', 'stream_options must be an object');
  if (stream !== true) throw badField('stream_options', 'stream_options goes with "stream": true');
  return readFields(options, { include_usage: boolean }).include_usage ?? false;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

/** The tokens of a request. A prompt that was answered several times counts once, as OpenAI has it. */
export function usageOf(promptTokens: number, completionTokens: number, cachedTokens: number): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: Math.min(cachedTokens, promptTokens) },
  };
}
