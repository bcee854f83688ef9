// Options that several verbs share, and the strict parsers of their values: a number out of its range never reaches the
// library, and the message names the option. Ranges of sampling options are the sampler's own.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { type BackendChoice, backendNames } from '../backend-choice.js';
import { type Arithmetic, arithmetics, type GpuChoice } from '../backends/webgpu/choices.js';
import type { ConstraintOptions } from '../infer/constraint.js';
import { mostDrafts } from '../infer/drafts.js';
import { type SamplingOptions, samplingRanges } from '../infer/sampler.js';
import { parseJson } from '../io/json.js';
import { type CacheType, cacheTypes, type Precision, precisions } from '../model/parameters.js';
import { wordsAlone } from './settings-file.js';
import { readTextFile, UsageError } from './terminal.js';

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

const defaultBadRows = 1000;

/** `--skip-bad-rows [n]`; its value is true without n. */
export function addSkipBadRows(command: Command): Command {
  const what = `pass over rows that hold no text, at most n (${defaultBadRows} without n)`;
  return command.option('--skip-bad-rows [n]', what, (text) => {
    if (/^\+?[1-9]\d*$/.test(text)) return Number(text);
    throw new InvalidArgumentError('It must be a whole number of at least 1; without one the option comes last.');
  });
}

/** What every verb that trains from a settings file takes. */
export interface TrainingFlags {
  readonly explain?: boolean;
  readonly resume?: boolean;
  readonly skipBadSteps?: boolean;
  readonly skipBadRows?: number | true;
}

/** The settings file, words over it, and the options of `TrainingFlags`. */
export function addTrainingOptions(command: Command): Command {
  return addSkipBadRows(command)
    .argument('[config]', 'the settings, a YAML file')
    .argument('[overrides...]', '--key value, over the settings, or all of them without a file')
    .option('--explain', 'list all settings with their defaults')
    .option('--resume', "go on from the run's last checkpoint")
    .option('--skip-bad-steps', 'pass over steps whose gradient is not finite (skip_bad_steps)')
    .allowUnknownOption();
}

/** The settings file of `addTrainingOptions`, and the words over it, the flags among them. Throws `UsageError` when nothing was given. */
export function settingsWords(
  given: string | undefined,
  after: readonly string[],
  { skipBadSteps, skipBadRows }: TrainingFlags,
): [file: string, words: readonly string[]] {
  if (given === undefined) throw new UsageError('give a settings file, or all settings as --key value (--explain lists them)');
  const words = [
    ...after,
    ...(skipBadSteps ? ['--skip_bad_steps', 'true'] : []),
    ...(skipBadRows ? ['--data.skip_bad_rows', String(badRowsOf(skipBadRows))] : []),
  ];
  return given.startsWith('--') ? [wordsAlone, [given, ...words]] : [given, words];
}

/** What `skip_bad_rows` becomes of the option. */
export function badRowsOf(option: number | true | undefined): number | undefined {
  return option === true ? defaultBadRows : option;
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

/** The value of an option that must be given. Commander's own check would come before the one for misspelt options. */
export function required<T>(value: T | undefined, flags: string): T {
  if (value === undefined) throw new UsageError(`required option '${flags}' not specified`);
  return value;
}

/** What a verb that works on one text was given; throws `UsageError` on several words, which are a text without quotes. */
export function oneText(words: readonly string[], verb: string): string | undefined {
  if (words.length < 2) return words[0];
  const start = words.slice(0, 4).join(' ');
  throw new UsageError(
    `${words.length} words where one text is expected; quote it: openelm ${verb} "${start}${words.length > 4 ? ' ...' : ''}"`,
  );
}

/** A model given as a word or with --model. Throws `UsageError` when both are there and differ. */
export function modelArgument(word: string | undefined, option: string | undefined): string | undefined {
  if (word !== undefined && option !== undefined && word !== option)
    throw new UsageError(`two models are named, ${word} and ${option}; name one`);
  return word ?? option;
}

/** Where a model comes from and how it is run. */
export interface ModelOptions {
  readonly model?: string;
  readonly dtype?: Precision;
  readonly activations?: 'int8' | 'f32';
  /** The directory of an adapter. */
  readonly adapter?: string;
  readonly threads?: number;
  readonly context?: number;
  readonly cacheType?: CacheType;
  readonly backend: BackendChoice;
  readonly gpu?: GpuChoice;
  readonly arithmetic?: Arithmetic;
}

/** `usual`: the model without it. */
export function addModelOption(command: Command, usual = 'the embedded tales-6m'): Command {
  return command.option('-m, --model <model>', `directory, .safetensors, .gguf or .pt file, or hub id (default: ${usual})`);
}

export function addModelOptions(command: Command, usualCache?: CacheType, usual?: string): Command {
  addModelOption(command, usual);
  return addComputeOptions(command, usualCache).option(
    '--adapter <directory>',
    "a LoRA or DoRA adapter around the model (default: around its base), in PEFT's layout, or a run that tunes one",
  );
}

/** How a model is run, whichever it is; `usualCache`: the type of the cache where it is not by the weights'. */
export function addComputeOptions(command: Command, usualCache?: CacheType): Command {
  const usual = usualCache ?? 'f32 for f32 weights, else f16';
  const cacheType = new Option('--cache-type <type>', `precision of keys and values (default: ${usual})`).choices(cacheTypes);
  if (!command.options.some(({ long }) => long === '--cache')) cacheType.short = '--cache'; // as it was called before
  return command
    .addOption(new Option('--dtype <type>', "precision of the weights (default: the checkpoint's own)").choices(precisions))
    .addOption(new Option('--activations <type>', 'what q8 and q4 are multiplied with (default: int8)').choices(['int8', 'f32']))
    .option('--threads <n>', 'threads that compute (default: one a core)', wholeNumber(1, 256))
    .option('--context <n>', "tokens a sequence may have (default: the config's max_context_length)", wholeNumber(2))
    .addOption(cacheType)
    .addOption(
      new Option(
        '--backend <name>',
        'what computes; auto: native where it is built, else wasm; for large models a GPU that is worth it',
      )
        .choices(backendNames)
        .default('auto'),
    )
    .option('--gpu <which>', 'high-performance, low-power, or its number in openelm info (default: high-performance)', gpuChoice)
    .addOption(
      new Option('--arithmetic <type>', 'what a GPU multiplies prompts in; f16 is faster where it has it (default: f32)').choices(
        arithmetics,
      ),
    );
}

/** Which GPU. */
function gpuChoice(text: string): GpuChoice {
  if (/^\d{1,3}$/.test(text)) return Number(text);
  if (text === 'high-performance' || text === 'low-power') return text;
  throw new InvalidArgumentError('It must be high-performance, low-power or the number of a GPU.');
}

/** How an answer is made. */
export interface GenerationOptions extends SamplingOptions {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly stop?: readonly string[];
  readonly ignoreEos?: boolean;
  /** Files, and an expression: what the text must be. */
  readonly jsonSchema?: string;
  readonly grammar?: string;
  readonly regex?: string;
  readonly promptCache?: string;
  readonly promptLookup?: number;
  readonly assistant?: string;
}

/**
 * What the text must be, read from the files that the options name. Throws `UsageError` when there are two of them, `InputError` naming
 * a file that is malformed.
 */
export async function constraintOptions({ jsonSchema, grammar, regex }: GenerationOptions): Promise<ConstraintOptions> {
  const given = Object.entries({ '--json-schema': jsonSchema, '--grammar': grammar, '--regex': regex });
  const names = given.flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (names.length > 1) throw new UsageError(`give one of ${names.join(' and ')}: a text is held to one of them`);
  const file = jsonSchema ?? grammar;
  if (file === undefined) return { regex };
  const text = await readTextFile(file);
  const asked = grammar !== undefined ? { grammar: text } : { jsonSchema: parseJson(text, file) };
  (await import('../infer/constraint.js')).checkConstraint(asked, file);
  return asked;
}

/** Those among a verb's options that are of the generation. */
export function generationOptions(options: GenerationOptions): Omit<GenerationOptions, keyof ConstraintOptions> {
  const { maxTokens, temperature, topK, topP, minP, typicalP, seed, stop, ignoreEos, promptCache, promptLookup } = options;
  const { repetitionPenalty, frequencyPenalty, presencePenalty } = options;
  const penalties = { repetitionPenalty, frequencyPenalty, presencePenalty };
  return { maxTokens, temperature, topK, topP, minP, typicalP, ...penalties, seed, stop, ignoreEos, promptCache, promptLookup };
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
    .option(
      '--stop <text>',
      'end before this text; may be repeated; \\n, \\t and the like are understood',
      (text: string, all?: string[]) => [...(all ?? []), stopText(text)],
    )
    .option('--ignore-eos', 'go on after an end-of-sequence token')
    .option('--json-schema <file>', 'write JSON that this schema allows')
    .option('--grammar <file>', "write what this grammar allows (llama.cpp's GBNF)")
    .option(
      '--prompt-cache <file>',
      "keep the prompt's keys and values in this file; what a prompt has in common with it is not computed",
    )
    .option(
      '--prompt-lookup <n>',
      'guess n tokens from where the text repeats itself: faster, the same text',
      wholeNumber(1, mostDrafts),
    )
    .addOption(
      new Option(
        '--assistant <model>',
        'a smaller model of the same vocabulary that guesses tokens: faster, the same text',
      ).conflicts('promptLookup'),
    )
    .option('--regex <pattern>', "write what this regular expression (JavaScript's) matches as a whole");
}

function stopText(text: string): string {
  if (text === '') throw new InvalidArgumentError('It must be text of at least one character.');
  return unescaped(text);
}

const escapes: Record<string, string> = { n: '\n', t: '\t', r: '\r', '\\': '\\' };

/** A shell passes on \n as two characters; here they become what is meant: \n, \t, \r, \\, \x41, \u00e9, \u{1f98a}. */
function unescaped(text: string): string {
  return text.replace(
    /\\(?:([ntr\\])|x([\da-f]{2})|u([\da-f]{4})|u\{([\da-f]{1,6})\})/gi,
    (whole, letter?: string, ...codes: (string | undefined)[]) => {
      if (letter !== undefined) return escapes[letter] ?? whole;
      const code = Number.parseInt(codes.slice(0, 3).find((digits) => digits !== undefined)!, 16);
      if (code <= 0x10ffff) return String.fromCodePoint(code);
      throw new InvalidArgumentError(`${whole} is no character.`);
    },
  );
}

/** The filters among the options that do nothing at temperature 0, where the likeliest token is taken whatever they are. */
export function idleOptions(options: GenerationOptions): string[] {
  if (options.temperature !== 0) return [];
  const names = { topK: '--top-k', topP: '--top-p', minP: '--min-p', typicalP: '--typical-p' } as const;
  return (Object.keys(names) as (keyof typeof names)[]).filter((key) => options[key] !== undefined).map((key) => names[key]);
}
