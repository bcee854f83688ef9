// Options that several verbs share, and the strict parsers of their values: a number out of its range never reaches the
// library, and the message names the option. Ranges of sampling options are the sampler's own.

import { type Command, InvalidArgumentError, Option } from 'commander';
import type { BackendChoice } from '../index.js';
import { type SamplingOptions, samplingRanges } from '../infer/sampler.js';
import type { Precision } from '../model/parameters.js';

/** A decimal number, all of the text. */
function number(text: string): number {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
}

/** A parser of whole numbers from `least` to `most`. */
export function wholeNumber(least: number, most: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\+?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
    throw new InvalidArgumentError(`It must be a whole number ${range}.`);
  };
}

function sampling(name: keyof SamplingOptions): (text: string) => number {
  return (text) => {
    const value = number(text);
    if (samplingRanges[name].holds(value)) return value;
    throw new InvalidArgumentError(`It must be ${samplingRanges[name].says}.`);
  };
}

/** Token ids: `1,2,3`, or with spaces. */
export function idList(text: string): number[] {
  return text.split(/[\s,]+/).map((part) => {
    const value = /^\d+$/.test(part) ? Number(part) : Number.NaN;
    if (Number.isSafeInteger(value)) return value;
    throw new InvalidArgumentError('It must be token ids like 1,2,3.');
  });
}

/** Where a model comes from and how it is run. */
export interface ModelOptions {
  readonly model?: string;
  readonly dtype?: Precision;
  readonly activations?: 'int8' | 'f32';
  readonly threads?: number;
  readonly context?: number;
  readonly backend: BackendChoice;
}

export function addModelOption(command: Command): Command {
  return command.option('-m, --model <model>', 'directory, safetensors file or hub id (default: the embedded tales-6m)');
}

/** `asArgument`: the verb takes the model as its argument. */
export function addModelOptions(command: Command, { asArgument = false } = {}): Command {
  return (asArgument ? command : addModelOption(command))
    .addOption(
      new Option('--dtype <type>', "precision of the weights (default: the checkpoint's own)").choices([
        'f32',
        'f16',
        'bf16',
        'q8',
        'q4',
      ]),
    )
    .addOption(new Option('--activations <type>', 'what q8 and q4 are multiplied with (default: int8)').choices(['int8', 'f32']))
    .option('--threads <n>', 'threads of the native backend (default: one a core)', wholeNumber(1, 256))
    .option('--context <n>', "tokens a sequence may have (default: the config's max_context_length)", wholeNumber(2))
    .addOption(
      new Option('--backend <name>', 'what computes; auto: native where it is built')
        .choices(['auto', 'native', 'reference'])
        .default('auto'),
    );
}

/** How an answer is made. */
export interface GenerationOptions extends SamplingOptions {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly stop?: readonly string[];
  readonly ignoreEos?: boolean;
}

export function addGenerationOptions(
  command: Command,
  defaults: { maxTokens: number; temperature: number; topP?: number },
): Command {
  return command
    .option('-n, --max-tokens <n>', 'tokens to generate at most', wholeNumber(0), defaults.maxTokens)
    .option('-t, --temperature <x>', 'randomness; 0 is greedy', sampling('temperature'), defaults.temperature)
    .option('--top-k <n>', 'keep the n likeliest tokens', sampling('topK'))
    .option('--top-p <x>', 'keep the likeliest tokens up to this probability', sampling('topP'), defaults.topP)
    .option('--min-p <x>', 'keep tokens at least this fraction as likely as the likeliest', sampling('minP'))
    .option('--typical-p <x>', 'keep typical tokens up to this probability', sampling('typicalP'))
    .option('--repetition-penalty <x>', 'divide the scores of tokens seen before', sampling('repetitionPenalty'))
    .option('--frequency-penalty <x>', 'subtract from scores, each time a token was seen', sampling('frequencyPenalty'))
    .option('--presence-penalty <x>', 'subtract from scores once a token was seen', sampling('presencePenalty'))
    .option('--seed <n>', 'the same text again, at any number of threads (default: random)', sampling('seed'))
    .option('--stop <text>', 'end before this text; may be repeated', (text: string, all?: string[]) => [
      ...(all ?? []),
      stopText(text),
    ])
    .option('--ignore-eos', 'go on after an end-of-sequence token');
}

function stopText(text: string): string {
  if (text === '') throw new InvalidArgumentError('It must be text of at least one character.');
  return text;
}

/** The filters among the options that do nothing at temperature 0, where the likeliest token is taken whatever they are. */
export function idleOptions(options: GenerationOptions): string[] {
  if (options.temperature !== 0) return [];
  const names = { topK: '--top-k', topP: '--top-p', minP: '--min-p', typicalP: '--typical-p' } as const;
  return (Object.keys(names) as (keyof typeof names)[]).filter((key) => options[key] !== undefined).map((key) => names[key]);
}
