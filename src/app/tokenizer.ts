// `openelm tokenizer train`: learns a tokenizer.model from corpora. Using one is tokenize's and run's.

import { Command, InvalidArgumentError } from 'commander';
import { mixture } from '../data/config.js';
import { type Normalization, normalized } from '../data/ftfy.js';
import { type CorpusFile, readDocuments } from '../data/readers.js';
import { counted } from '../errors.js';
import { makingAlone } from '../io/node/checkpoints.js';
import { localCorpora } from '../io/node/corpora.js';
import { writeWhole } from '../io/node/files.js';
import { TokenizerTrainer } from '../tokenizer/train.js';
import { readDataConfig } from './data.js';
import { required, wholeNumber } from './options.js';
import { formatBytes, progressBar } from './progress.js';
import { interruptible, type Terminal, writeLine } from './terminal.js';

interface TrainOptions {
  readonly out: string;
  readonly vocabSize?: number;
  readonly characterCoverage: number;
  readonly splitDigits: boolean;
  readonly textKey: string;
  readonly separator?: string;
}

const help = `
A CORPUS is a file (.parquet, .jsonl, .json, .txt; the last three also as .gz and .zst) or a data config (.yaml), whose
train_data_info is read. The vocabulary is SentencePiece's BPE with byte fallback, as LLaMA's: <unk>, <s>, </s>, 256
bytes, then merges and characters.

Example:
  $ openelm tokenizer train stories.txt --separator "<|endoftext|>" --vocab-size 4096 --out tokenizer.model`;

/** The verb with its subcommands. */
export function tokenizerCommand(terminal: Terminal): Command {
  const train = new Command('train')
    .description('learn a tokenizer.model')
    .argument('<corpus...>', 'corpus files, or data configs')
    .option('--vocab-size <n>', 'pieces in all (required)', wholeNumber(260, 1 << 20))
    .option('--out <file>', 'where the model is written', 'tokenizer.model')
    .option('--character-coverage <x>', 'share of the characters that become pieces', coverage, 0.9995)
    .option('--no-split-digits', 'numbers may be pieces')
    .option('--text-key <key>', 'column or JSON key of the text', 'text')
    .option('--separator <text>', 'between the documents of plain text files')
    .addHelpText('after', help)
    .action((corpora: string[], options: TrainOptions) => trainTokenizer(terminal, corpora, options));
  return new Command('tokenizer').addCommand(train);
}

function coverage(text: string): number {
  const value = Number(text);
  if (value > 0 && value <= 1) return value;
  throw new InvalidArgumentError('It must be a number above 0, at most 1.');
}

async function trainTokenizer(terminal: Terminal, corpora: readonly string[], options: TrainOptions): Promise<void> {
  const vocabSize = required(options.vocabSize, '--vocab-size <n>');
  const trainer = new TokenizerTrainer();
  const bar = progressBar(terminal.stderr);
  let characters = 0;
  await interruptible(terminal, async (signal) => {
    for (const corpus of corpora) {
      const { files, normalization } = await filesOf(corpus, options);
      for (const file of files) {
        for await (const { text } of readDocuments(localCorpora, file)) {
          signal.throwIfAborted();
          trainer.add(normalized(text, normalization));
          characters += text.length;
          bar.update('Reading', characters);
        }
      }
    }
  }).finally(() => bar.finish());
  const { characterCoverage, splitDigits } = options;
  const model = trainer.train({ vocabSize, characterCoverage, splitDigits });
  await makingAlone(options.out, () => writeWhole(options.out, model));
  writeLine(terminal, `${options.out}: ${counted(vocabSize, 'piece')} learned from ${formatBytes(characters)} of text`);
}

async function filesOf(corpus: string, options: TrainOptions): Promise<{ files: CorpusFile[]; normalization: Normalization }> {
  if (!/\.ya?ml$/.test(corpus))
    return { files: [{ path: corpus, textKey: options.textKey, separator: options.separator }], normalization: 'nfc' };
  const { config, base } = await readDataConfig(corpus);
  const files = mixture(config.train_data_info, base).flatMap((part) => part.files);
  return { files, normalization: config.normalization };
}
