// `openelm bench`: how fast a model answers here, for its users: the paper's protocol (a prompt of 39 tokens and 985 generated, batch 1,
// cache on, after a warm-up) and llama-bench's (pp512, tg128), several precisions side by side. Benchmarks of this program beside
// others are bench/'s.

import { Command, InvalidArgumentError } from 'commander';
import type { Model } from '../index.js';
import { type Measured, measureSpeed } from '../infer/measure.js';
import { type Precision, precisions } from '../model/parameters.js';
import { barsSvg } from '../report/bars.js';
import { openModel } from './loading.js';
import { addComputeOptions, addModelOption, type ModelOptions, modelArgument, wholeNumber } from './options.js';
import { checkPictureName, writePicture } from './picture.js';
import { formatBytes, progressBar } from './progress.js';
import { interruptible, type Terminal, writeJson, writeLines } from './terminal.js';

interface BenchOptions extends ModelOptions {
  readonly precisions?: readonly Precision[];
  readonly rounds: number;
  readonly json?: boolean;
  readonly markdown?: boolean;
  readonly picture?: string;
}

const help = `
paper: prompt and generation, tokens/s, of 39 + 985 tokens (fewer where the context is shorter), and the time to the first token; as
OpenELM's paper measured (batch 1, cache on, after a warm-up). pp512, tg128: a prompt of 512 tokens, and 128 tokens generated after one, as
llama-bench has them. Each is the median of the rounds. Memory is what the process took for the model, its cache and its work.

With --json the output is {"model", "backend", "rounds", "results": [{"dtype", "weight_bytes", "memory_bytes", "load_ms",
"paper": {"prompt_tokens", "generated_tokens", "prompt_tokens_per_second", "tokens_per_second", "total_tokens_per_second",
"time_to_first_token_ms"}, "pp512", "tg128"}]}; what the context has no room for is null.

Example:
  $ openelm bench apple/OpenELM-270M --precisions f16,q8,q4 --picture speed.svg`;

/** The verb with its options. */
export function benchCommand(terminal: Terminal): Command {
  const command = new Command('bench').argument('[model]', 'the model; the same as --model');
  return addComputeOptions(addModelOption(command))
    .option('--precisions <list>', `several of ${precisions.join(', ')}, side by side (instead of --dtype)`, precisionList)
    .option('--rounds <n>', 'how often each is measured', wholeNumber(1, 100), 3)
    .option('--json', 'write one JSON object')
    .option('--markdown', 'write the table in Markdown')
    .option('--picture <file>', 'draw the speeds, as .svg or .png')
    .addHelpText('after', help)
    .action((word: string | undefined, options: BenchOptions) =>
      bench(terminal, { ...options, model: modelArgument(word, options.model) }),
    );
}

function precisionList(text: string): Precision[] {
  const list = text.split(',').map((item) => item.trim());
  const wrong = list.find((item) => !(precisions as readonly string[]).includes(item));
  if (wrong === undefined) return list as Precision[];
  throw new InvalidArgumentError(`${wrong} is none of ${precisions.join(', ')}.`);
}

/** Medians of one precision. */
interface Result {
  readonly dtype: string;
  readonly weight_bytes: number;
  readonly memory_bytes: number;
  readonly load_ms: number;
  readonly paper: {
    readonly prompt_tokens: number;
    readonly generated_tokens: number;
    readonly prompt_tokens_per_second: number;
    readonly tokens_per_second: number;
    readonly total_tokens_per_second: number;
    readonly time_to_first_token_ms: number;
  };
  readonly pp512: number | null;
  readonly tg128: number | null;
}

async function bench(terminal: Terminal, options: BenchOptions): Promise<void> {
  if (options.picture !== undefined) checkPictureName(options.picture);
  const results: Result[] = [];
  let head = { model: '', backend: '' };
  await interruptible(terminal, async (signal) => {
    for (const dtype of options.precisions ?? [options.dtype]) {
      const before = process.memoryUsage.rss();
      const { model, loadMs } = await openModel(terminal, { ...options, dtype });
      try {
        head = { model: model.checkpoint.name, backend: model.backend.description };
        results.push(await measure(terminal, model, { loadMs, before, rounds: options.rounds, signal }));
      } finally {
        await model.dispose();
      }
    }
  });
  if (options.json) writeJson(terminal, { ...head, rounds: options.rounds, results: results.map(rounded) });
  else writeLines(terminal, `${head.model} on ${head.backend}\n\n${table(results, options.markdown ?? false)}`);
  if (options.picture !== undefined) await writePicture(options.picture, picture(head, results));
}

async function measure(
  terminal: Terminal,
  model: Model,
  { loadMs, before, rounds, signal }: { loadMs: number; before: number; rounds: number; signal: AbortSignal },
): Promise<Result> {
  const bar = progressBar(terminal.stderr, { unit: '' });
  const { dtype, bytes } = model.weights;
  const onProgress = (done: number, total: number, next: string): void => {
    bar.update(`measuring ${dtype}: ${next}`, done, total);
  };
  try {
    const about = { vocabSize: model.checkpoint.config.vocabSize, context: model.engine.context };
    const complete: Measured['complete'] = (prompt, options) => model.complete(prompt, options);
    const speeds = await measureSpeed({ ...about, complete }, { rounds, signal, onProgress });
    return {
      ...{ dtype, weight_bytes: bytes, memory_bytes: Math.max(0, process.memoryUsage.rss() - before), load_ms: loadMs },
      paper: {
        ...{ prompt_tokens: speeds.promptTokens, generated_tokens: speeds.generatedTokens },
        prompt_tokens_per_second: speeds.prompt,
        tokens_per_second: speeds.generation,
        total_tokens_per_second: speeds.total,
        time_to_first_token_ms: speeds.firstTokenMs,
      },
      ...{ pp512: speeds.pp512 ?? null, tg128: speeds.tg128 ?? null },
    };
  } finally {
    bar.finish();
  }
}

/** Numbers of a result to a tenth. */
function rounded<Value>(value: Value): Value {
  if (typeof value === 'number') return (Math.round(value * 10) / 10) as Value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, rounded(item)])) as Value;
}

function table(results: readonly Result[], markdown: boolean): string {
  const speed = (value: number | null): string => (value === null ? '-' : value.toFixed(value < 100 ? 1 : 0));
  const rows = results.map(({ dtype, weight_bytes, memory_bytes, load_ms, paper, pp512, tg128 }) => [
    ...[dtype, formatBytes(weight_bytes), formatBytes(memory_bytes), `${load_ms.toFixed(0)} ms`],
    ...[speed(paper.prompt_tokens_per_second), speed(paper.tokens_per_second), speed(paper.total_tokens_per_second)],
    ...[`${paper.time_to_first_token_ms.toFixed(1)} ms`, speed(pp512), speed(tg128)],
  ]);
  const { prompt_tokens: p, generated_tokens: g } = results[0].paper;
  const names = [
    'dtype',
    'weights',
    'memory',
    'load',
    `prompt ${p}`,
    `generation ${g}`,
    'total',
    'first token',
    'pp512',
    'tg128',
  ];
  if (markdown) {
    const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
    return [line(names), line(names.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
  }
  const widths = names.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i].length)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  return [line(names), ...rows.map(line), '', 'speeds in tokens/s'].join('\n');
}

function picture({ model, backend }: { model: string; backend: string }, results: readonly Result[]): string {
  const group = (name: string, note: string, of: (result: Result) => number | null) => ({
    ...{ name, note },
    values: results.map((result) => {
      const value = of(result);
      return value === null ? undefined : { value, stderr: undefined };
    }),
  });
  const groups = [
    group('prompt', 'paper', ({ paper }) => paper.prompt_tokens_per_second),
    group('generation', 'paper', ({ paper }) => paper.tokens_per_second),
    group('pp512', 'llama-bench', ({ pp512 }) => pp512),
    group('tg128', 'llama-bench', ({ tg128 }) => tg128),
  ];
  const unit = { name: ' tokens/s', factor: 1, most: Number.MAX_SAFE_INTEGER };
  return barsSvg(
    groups,
    results.map(({ dtype }) => dtype),
    `${model}: tokens/s on ${backend}`,
    unit,
  );
}
