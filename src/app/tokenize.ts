// `openelm tokenize`: the ids and pieces of a text, or the text of ids. Needs a model's tokenizer, not its weights.

import { Command } from 'commander';
import { InputError, visible } from '../errors.js';
import { openTokenizer, type Tokenizer } from '../index.js';
import { openShown } from './loading.js';
import { addModelOption, idList, oneText } from './options.js';
import { type Terminal, textArgument, UsageError, writeJson } from './terminal.js';

interface TokenizeOptions {
  readonly model?: string;
  readonly decode?: number[];
  readonly bos?: boolean;
  readonly json?: boolean;
}

const help = `
Writes a line a token: its id, a tab, its piece. Without a text, or with -, it is read from stdin.

With --json the output is {"ids", "pieces"}, with --decode and --json {"ids", "text"}.

Example:
  $ openelm tokenize "Once upon a time"`;

/** The verb with its options. */
export function tokenizeCommand(terminal: Terminal): Command {
  return addModelOption(new Command('tokenize').argument('[text...]', 'the text, in quotes'))
    .option('--decode <list>', 'the text of these ids, like 1,2,3', idList)
    .option('--bos', "put the id that begins a text in front (default: as run does, by the tokenizer's files)")
    .option('--no-bos', 'the text alone')
    .option('--json', 'write one JSON object')
    .addHelpText('after', help)
    .action((words: string[], options: TokenizeOptions) => tokenize(terminal, oneText(words, 'tokenize'), options));
}

async function tokenize(terminal: Terminal, argument: string | undefined, options: TokenizeOptions): Promise<void> {
  const { stdout } = terminal;
  if (options.decode && argument !== undefined) throw new UsageError('give a text or --decode, not both');
  const text = options.decode ? '' : await textArgument(terminal, argument, 'text');
  const tokenizer = await tokenizerOf(terminal, options.model);
  if (options.decode) {
    const ids = options.decode;
    const wrong = ids.find((id) => id >= tokenizer.vocabSize);
    if (wrong !== undefined) throw new InputError(`there is no id ${wrong}: the vocabulary has ${tokenizer.vocabSize}`);
    const decoded = tokenizer.decode(ids);
    if (options.json) writeJson(terminal, { ids, text: decoded });
    else stdout.write(`${decoded}\n`);
    return;
  }
  const ids = tokenizer.encode(text, { bos: options.bos ?? tokenizer.addBos });
  const pieces = ids.map((id) => tokenizer.piece(id));
  if (options.json) writeJson(terminal, { ids, pieces });
  else stdout.write(ids.map((id, i) => `${id}\t${visible(pieces[i] ?? '')}\n`).join(''));
}

async function tokenizerOf(terminal: Terminal, model: string | undefined): Promise<Tokenizer> {
  const checkpoint = await openShown(terminal, model);
  const tokenizer = await openTokenizer(checkpoint);
  if (!tokenizer) throw new InputError(`${checkpoint.place}: neither tokenizer.model nor tokenizer.json is there`);
  return tokenizer;
}
