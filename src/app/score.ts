// `openelm score`: how probable a text, a file or given ids are to a model, token by token. A long text is scored in windows.

import { Command } from 'commander';
import { InputError, visible } from '../errors.js';
import type { Model, ScoreResult } from '../index.js';
import { perplexityOf, scoreInWindows } from '../infer/windows.js';
import { openModel } from './loading.js';
import { addModelOptions, idList, type ModelOptions, oneText, wholeNumber } from './options.js';
import { progressBar } from './progress.js';
import { interruptible, readTextFile, type Terminal, textArgument, UsageError, writeJson } from './terminal.js';

interface ScoreOptions extends ModelOptions {
  readonly file?: string;
  readonly ids?: number[];
  readonly window?: number;
  readonly stride?: number;
  readonly eos?: boolean;
  readonly json?: boolean;
}

/** More scores than these would not fit into one JSON text. */
const mostTokens = 1 << 23;

/** Scores with at most this many tokens are shown token by token. */
const mostRows = 256;

const help = `
A text is scored with its beginning (BOS) in front, whose own probability is not asked; ids are scored as they are.

--file, --stride and --window score in windows: the first starts at the first token, each next one --stride tokens later; a
window feeds --window tokens, starting afresh, and scores the token after each that no window before has scored. So every
token but the first is scored once, with window - stride to window tokens before it. A text or ids without these options
must fit the context.

With --json the output is {"ids", "logprobs" (natural; null for the first), "greedy" (whether the token is the likeliest; null
for the first), "perplexity" (exp of minus the mean; null when there is one token)}.

Examples:
  $ openelm score "Once upon a time there was a little girl."
  $ openelm score --file book.txt --stride 256`;

/** The verb with its options. */
export function scoreCommand(terminal: Terminal): Command {
  const command = new Command('score').argument(
    '[text...]',
    'the text, in quotes; without one, or with -, it is read from stdin',
  );
  return addModelOptions(command)
    .option('-f, --file <file>', 'the text of this file, in windows')
    .option('--ids <list>', 'token ids like 1,2,3: no tokenizer is needed', idList)
    .option('--window <n>', 'tokens fed in one window (default: the context)', wholeNumber(1))
    .option('--stride <n>', 'tokens from window to window (default: the window)', wholeNumber(1))
    .option('--eos', 'score the end of the text (EOS) too')
    .option('--json', 'write one JSON object')
    .addHelpText('after', help)
    .action((words: string[], options: ScoreOptions) => score(terminal, oneText(words, 'score'), options));
}

async function score(terminal: Terminal, argument: string | undefined, options: ScoreOptions): Promise<void> {
  const { ids: given, file } = options;
  if ([argument, given, file].filter((input) => input !== undefined).length > 1)
    throw new UsageError('give one of a text, --file and --ids');
  if (given && options.eos) throw new UsageError('--eos is for text: put the id at the end of --ids');
  const { window, stride } = options;
  const text = given ? undefined : file === undefined ? await textArgument(terminal, argument, 'text') : await fileText(file);

  const { model } = await openModel(terminal, options);
  try {
    const ids = given ?? model.tokenizer.encode(text!, { bos: model.tokenizer.addBos, eos: options.eos });
    const { context } = model.engine;
    if (ids.length > mostTokens) {
      throw new InputError(`${file ?? 'the text'} has ${ids.length} tokens; at most ${mostTokens} are scored at once: split it`);
    }
    const inWindows = file !== undefined || stride !== undefined || window !== undefined;
    if (!inWindows && ids.length > context + 1) {
      throw new InputError(
        `the text has ${ids.length} tokens, the context takes ${context}; raise it, or score in windows with --stride`,
      );
    }
    const bar = progressBar(terminal.stderr, { format: (tokens) => `${tokens} tokens` });
    const result = await interruptible(terminal, (signal) =>
      scoreInWindows({ context, score: (part, until) => model.score(part, until) }, ids, {
        window: window ?? context,
        stride: stride ?? window ?? context,
        signal,
        onProgress: (done) => {
          if (terminal.stderr.isTTY && ids.length > 2 * context) bar.update('scoring', done, ids.length);
        },
      }),
    ).finally(() => bar.finish());
    const perplexity = perplexityOf(result.logprobs);
    if (options.json) writeJson(terminal, { ids, ...result, perplexity });
    else terminal.stdout.write(report(model, ids, result, text === undefined ? undefined : Buffer.byteLength(text)));
  } finally {
    await model.dispose();
  }
}

async function fileText(file: string): Promise<string> {
  const text = await readTextFile(file);
  if (text === '') throw new InputError(`${file}: empty, nothing to score`);
  return text;
}

/** A table of the tokens, when they are few, and the totals. */
function report(model: Model, ids: readonly number[], { logprobs, greedy }: ScoreResult, bytes: number | undefined): string {
  const lines: string[] = [];
  if (ids.length <= mostRows) {
    const width = Math.max(5, ...ids.map((id) => String(id).length));
    lines.push(`${'id'.padStart(width)}  ${'logprob'.padStart(9)}  likeliest  piece`);
    ids.forEach((id, i) => {
      const logprob = logprobs[i]?.toFixed(4) ?? '-';
      const mark = greedy[i] === null ? '-' : greedy[i] ? 'yes' : 'no';
      const piece = model.hasTokenizer ? visible(model.tokenizer.piece(id) ?? '') : '';
      lines.push(`${String(id).padStart(width)}  ${logprob.padStart(9)}  ${mark.padEnd(9)}  ${piece}`.trimEnd());
    });
    lines.push('');
  }
  const nats = -logprobs.reduce((sum: number, logprob) => sum + (logprob ?? 0), 0);
  const scored = ids.length - 1;
  const hits = greedy.filter((hit) => hit).length;
  const rows: [string, string][] = [['tokens', `${ids.length}, of which ${scored} scored`]];
  if (scored > 0) {
    rows.push(['perplexity', perplexityOf(logprobs)!.toFixed(4)], ['nats per token', (nats / scored).toFixed(6)]);
    if (bytes !== undefined)
      rows.push(['nats per byte', `${(nats / bytes).toFixed(6)} (${nats.toFixed(3)} nats, ${bytes} bytes)`]);
    rows.push(['likeliest', `${((100 * hits) / scored).toFixed(1)}% of the tokens`]);
  }
  return [...lines, ...rows.map(([name, value]) => `${name.padEnd(15)}${value}`)].map((line) => `${line}\n`).join('');
}
