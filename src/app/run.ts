// `openelm run`: continues a prompt (text, stdin or ids) and writes the text as it comes, or one JSON object at the end.

import { Command } from 'commander';
import { counted, visible } from '../errors.js';
import type { Model, Prompt, TextPiece, TextResult } from '../index.js';
import { randomSeed } from '../infer/random.js';
import { peakMemory } from '../io/node/memory.js';
import { looksLikeModel } from '../locate.js';
import { openModel } from './loading.js';
import {
  addGenerationOptions,
  addModelOptions,
  constraintOptions,
  type GenerationOptions,
  generationOptions,
  idList,
  idleOptions,
  type ModelOptions,
  oneText,
} from './options.js';
import { formatBytes } from './progress.js';
import { Interrupted, interruptible, type Terminal, tell, textArgument, UsageError, writeJson } from './terminal.js';

interface RunOptions extends ModelOptions, GenerationOptions {
  readonly ids?: number[];
  readonly slide?: boolean;
  readonly echo?: boolean;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

const help = `
Without a prompt, or with -, the prompt is read from stdin, less one newline at its end.

With --json the output is {"prompt_ids", "ids", "text" (null without a tokenizer), "finish_reason" ("stop", "length" or "abort"),
"timings": {"prompt_tokens", "prompt_ms", "prompt_tokens_per_second", "generated_tokens", "generate_ms" (from the first token
to the last), "tokens_per_second", "time_to_first_token_ms", "load_ms"}}; a rate or time that does not exist is null. With
--json-schema, --grammar or --regex "complete" tells whether the text is whole: it is not where it was cut.

Example:
  $ openelm run "Once upon a time" --max-tokens 100 --temperature 0.8`;

/** The verb with its options. */
export function runCommand(terminal: Terminal): Command {
  const command = new Command('run').argument('[prompt...]', 'the text to continue, in quotes');
  addModelOptions(command);
  addGenerationOptions(command, { maxTokens: 256, temperature: 0 });
  return command
    .option('--slide', 'when the context is full drop its older half and go on')
    .option('--ids <list>', 'token ids as the prompt, like 1,2,3: no tokenizer is needed', idList)
    .option('--echo', 'write the prompt too (default: on a terminal)')
    .option('--no-echo', 'write only what is generated')
    .option('--json', 'write one JSON object at the end')
    .option('--verbose', 'tell about speed and memory on stderr')
    .addHelpText('after', help)
    .action((words: string[], options: RunOptions) => run(terminal, oneText(words, 'run'), options));
}

async function run(terminal: Terminal, argument: string | undefined, given: RunOptions): Promise<void> {
  const { stdout, stderr } = terminal;
  if (given.ids && argument !== undefined) throw new UsageError('give a prompt or --ids, not both');
  const prompt: Prompt = given.ids ?? (await textArgument(terminal, argument, 'prompt'));
  if (argument !== undefined && given.model === undefined && (await looksLikeModel(argument))) {
    const call = `openelm run -m ${argument} "Once upon a time"`;
    tell(terminal, `note: ${argument} is taken as the text to continue; as the model: ${call}`);
  }
  const options = { ...given, seed: given.seed ?? randomSeed() };
  const constraint = await constraintOptions(options);
  const idle = idleOptions(options);
  if (idle.length > 0) tell(terminal, `note: ${idle.join(', ')} without effect at temperature 0`);

  const { model, loadMs } = await openModel(terminal, options);
  try {
    const echo = !options.json && (options.echo ?? Boolean(stdout.isTTY));
    if (echo) stdout.write(typeof prompt === 'string' ? prompt : textOfIds(model, prompt as number[]));
    let firstMs: number | undefined;
    const result = await interruptible(terminal, async (signal) => {
      const pieces = model.generate(prompt, {
        ...generationOptions(options),
        ...constraint,
        signal,
        continuation: echo,
        overflow: options.slide ? 'slide' : 'stop',
      });
      for (;;) {
        const next = await pieces.next();
        if (next.done) return next.value;
        firstMs ??= next.value.milliseconds;
        if (!options.json) stdout.write(shown(model, next.value));
      }
    });
    if (options.json) writeJson(terminal, toJson(model, result, loadMs, firstMs));
    else stdout.write('\n');
    if (result.complete === false && result.finishReason === 'length') tell(terminal, `note: ${cut(model, result, options)}`);
    if (options.verbose) stderr.write(summary(model, result, loadMs, firstMs, options));
    if (result.finishReason === 'abort') throw new Interrupted();
  } finally {
    await model.dispose();
  }
}

/** How many guesses were right, and what they brought. */
function guessed({ timings }: TextResult, { drafted, accepted, steps, plainMs }: NonNullable<TextResult['speculation']>): string {
  if (steps === 0) return 'none were made';
  const share = `${accepted} of ${drafted} were right, ${(1 + accepted / steps).toFixed(1)} tokens a step with guesses`;
  const plain = (timings.generatedTokens - 1) * plainMs;
  return plainMs > 0 && timings.generateMs > 0
    ? `${share}; ${(plain / timings.generateMs).toFixed(2)} times as fast as without`
    : share;
}

/** Why a text that was to be of a certain form is not. */
function cut({ engine }: Model, { ids }: TextResult, { maxTokens }: RunOptions): string {
  const where =
    ids.length >= maxTokens
      ? `at ${counted(maxTokens, 'token')}: --max-tokens allows more`
      : `where the context of ${counted(engine.context, 'token')} is full`;
  return `the text is not complete, it was cut ${where}`;
}

/** Without a tokenizer the ids themselves, apart by spaces. */
function shown(model: Model, piece: TextPiece): string {
  return model.hasTokenizer ? piece.text : piece.ids.map((id) => `${id} `).join('');
}

function textOfIds(model: Model, ids: readonly number[]): string {
  return model.hasTokenizer ? model.tokenizer.decode(ids) : ids.map((id) => `${id} `).join('');
}

interface Rates {
  /** Tokens a second; null where there was nothing to measure. */
  readonly prompt: number | null;
  readonly generation: number | null;
}

function rates({ timings }: TextResult): Rates {
  const rate = (tokens: number, milliseconds: number): number | null =>
    tokens > 0 && milliseconds > 0 ? (1000 * tokens) / milliseconds : null;
  return {
    prompt: rate(timings.promptTokens - timings.reusedTokens, timings.promptMs),
    // The first token came with the prompt.
    generation: rate(timings.generatedTokens - 1, timings.generateMs),
  };
}

function toJson(model: Model, result: TextResult, loadMs: number, firstMs: number | undefined): unknown {
  const { timings } = result;
  const { prompt, generation } = rates(result);
  const rounded = (value: number | null | undefined): number | null => (value == null ? null : Math.round(value * 1000) / 1000);
  return {
    prompt_ids: result.promptIds,
    ids: result.ids,
    text: model.hasTokenizer ? result.text : null,
    finish_reason: result.finishReason,
    ...(result.complete === undefined ? {} : { complete: result.complete }),
    timings: {
      prompt_tokens: timings.promptTokens,
      prompt_ms: rounded(timings.promptMs),
      prompt_tokens_per_second: rounded(prompt),
      generated_tokens: timings.generatedTokens,
      generate_ms: rounded(timings.generateMs),
      tokens_per_second: rounded(generation),
      time_to_first_token_ms: rounded(firstMs),
      load_ms: rounded(loadMs),
    },
  };
}

function summary(
  model: Model,
  result: TextResult,
  loadMs: number,
  firstMs: number | undefined,
  { temperature, seed }: RunOptions,
): string {
  const { timings } = result;
  const { prompt, generation } = rates(result);
  const speed = (rate: number | null): string => (rate === null ? '' : `, ${rate.toFixed(rate < 100 ? 1 : 0)} tokens/s`);
  const { dtype, bytes } = model.weights;
  const reused = timings.reusedTokens > 0 ? ` (${timings.reusedTokens} of them known)` : '';
  const rows = [
    ['model', `${model.checkpoint.name}, ${dtype}, ${formatBytes(bytes)}, loaded in ${loadMs.toFixed(0)} ms`],
    ['backend', model.backend.description],
    ['prompt', `${counted(timings.promptTokens, 'token')}${reused}${speed(prompt)}`],
    ['generated', `${counted(timings.generatedTokens, 'token')}${speed(generation)}, ended by ${result.finishReason}`],
    ...(result.speculation ? [['guesses', guessed(result, result.speculation)]] : []),
    ['first token', firstMs === undefined ? 'none' : `${firstMs.toFixed(1)} ms after the prompt was given`],
    ['peak memory', formatBytes(peakMemory())],
    ...(temperature === 0 ? [] : [['seed', String(seed)]]),
  ];
  return rows.map(([name, value]) => `${name.padEnd(12)}${visible(value)}\n`).join('');
}
