// `openelm score`: how probable a text, a file or given ids are to a model, token by token. A long text is scored in windows, a file as
// it is read: of any length, in constant memory.

import { Command } from 'commander';
import { counted, InputError, visible } from '../errors.js';
import type { Model } from '../index.js';
import { type WindowScores, windowScores } from '../infer/windows.js';
import { openModel } from './loading.js';
import { addModelOptions, idList, type ModelOptions, oneText, wholeNumber } from './options.js';
import { progressBar } from './progress.js';
import { interruptible, openTextFile, type Terminal, textArgument, UsageError, writeJson } from './terminal.js';

interface ScoreOptions extends ModelOptions {
  readonly file?: string;
  readonly ids?: number[];
  readonly window?: number;
  readonly stride?: number;
  readonly eos?: boolean;
  readonly json?: boolean;
}

/** What one JSON text holds at most. */
const mostTokens = 1 << 23;

/** Scores with at most this many tokens are shown token by token. */
const mostRows = 256;

const help = `
A text is scored with its beginning (BOS) in front, whose own probability is not asked; ids are scored as they are.

--file, --stride and --window score in windows, a file of any length as it is read: the first starts at the first token, each next one --stride tokens later; a
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
  const text = given || file !== undefined ? undefined : await textArgument(terminal, argument, 'text');
  const source = file === undefined ? undefined : await openTextFile(file);

  try {
    if (source?.size === 0) throw new InputError(`${file}: empty, nothing to score`);
    const { model } = await openModel(terminal, options);
    try {
      const { context } = model.engine;
      const { window = context, stride = window } = options;
      const encode = (pieces: Iterable<string> | AsyncIterable<string>) =>
        model.tokenizer.encodeLong(pieces, { bos: model.tokenizer.addBos, eos: options.eos });
      let ids: () => Iterable<readonly number[]> | AsyncIterable<readonly number[]>;
      if (source) {
        ids = () => encode(source.pieces());
        if (options.json && source.size > mostTokens) await checkCount(ids(), `${file}`);
      } else {
        const all = given ?? model.tokenizer.encode(text!, { bos: model.tokenizer.addBos, eos: options.eos });
        ids = () => [all];
        if (options.json) await checkCount(ids(), 'the text');
        if (options.stride === undefined && options.window === undefined && all.length > context + 1)
          throw new InputError(
            `the text has ${counted(all.length, 'token')}, the context takes ${context}; raise it, or score in windows with --stride`,
          );
      }
      const bar = progressBar(terminal.stderr, source ? {} : { unit: 'tokens' });
      const total = new Totals(options.json === true);
      await interruptible(terminal, async (signal) => {
        const engine = { context, score: (part: ArrayLike<number>, until?: AbortSignal) => model.score(part, until) };
        for await (const scores of windowScores(engine, ids(), { window, stride, signal })) {
          total.add(scores);
          if (terminal.stderr.isTTY && total.tokens > 2 * context)
            bar.update('scoring', source?.done ?? total.tokens, source?.size);
        }
      }).finally(() => bar.finish());
      if (options.json) writeJson(terminal, { ...total.kept, perplexity: total.perplexity });
      else terminal.stdout.write(report(model, total, given ? undefined : (source?.size ?? Buffer.byteLength(text!))));
    } finally {
      await model.dispose();
    }
  } finally {
    await source?.close();
  }
}

/** Throws `InputError` when there are more tokens than JSON can tell of. */
async function checkCount(lists: Iterable<readonly number[]> | AsyncIterable<readonly number[]>, what: string): Promise<void> {
  let count = 0;
  for await (const { length } of lists) count += length;
  if (count > mostTokens)
    throw new InputError(
      `${what} has ${counted(count, 'token')}; --json tells of at most ${mostTokens}: split it, or leave --json off`,
    );
}

/** What the scores amount to, and the scores themselves: all of them, or as many as a table shows. */
class Totals {
  readonly kept: WindowScores & { ids: number[] } = { ids: [], logprobs: [], greedy: [] };
  tokens = 0;
  nats = 0;
  hits = 0;

  constructor(private readonly keepsAll: boolean) {}

  add({ ids, logprobs, greedy }: WindowScores): void {
    this.tokens += ids.length;
    for (const logprob of logprobs) this.nats -= logprob ?? 0;
    for (const hit of greedy) this.hits += hit ? 1 : 0;
    if (!this.keepsAll && this.kept.ids.length > mostRows) return;
    this.kept.ids.push(...ids);
    this.kept.logprobs.push(...logprobs);
    this.kept.greedy.push(...greedy);
  }

  /** exp of minus the mean log-probability; null when nothing was scored. */
  get perplexity(): number | null {
    return this.tokens > 1 ? Math.exp(this.nats / (this.tokens - 1)) : null;
  }
}

/** A table of the tokens, when they are few, and the totals. */
function report(model: Model, { tokens, nats, hits, perplexity, kept }: Totals, bytes: number | undefined): string {
  const lines: string[] = [];
  if (tokens <= mostRows) {
    const { ids, logprobs, greedy } = kept;
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
  const scored = tokens - 1;
  const rows: [string, string][] = [['tokens', `${tokens}, of which ${scored} scored`]];
  if (perplexity !== null) {
    rows.push(['perplexity', perplexity.toFixed(4)], ['nats per token', (nats / scored).toFixed(6)]);
    if (bytes !== undefined)
      rows.push(['nats per byte', `${(nats / bytes).toFixed(6)} (${nats.toFixed(3)} nats, ${counted(bytes, 'byte')})`]);
    rows.push(['likeliest', `${((100 * hits) / scored).toFixed(1)}% of the tokens`]);
  }
  return [...lines, ...rows.map(([name, value]) => `${name.padEnd(15)}${value}`)].map((line) => `${line}\n`).join('');
}
