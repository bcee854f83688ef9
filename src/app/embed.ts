// `openelm embed`: a vector for each text, of arguments or of lines of a file or stdin; jsonl out, written as they come.

import { once } from 'node:events';
import { Command } from 'commander';
import { counted, InputError } from '../errors.js';
import type { Model } from '../index.js';
import { openModel } from './loading.js';
import { addModelOptions, type ModelOptions } from './options.js';
import { progressBar } from './progress.js';
import { interruptible, readStdin, readTextFile, type Terminal, UsageError, writeJson } from './terminal.js';

interface EmbedOptions extends ModelOptions {
  readonly file?: string;
  readonly jsonl?: boolean;
  readonly truncate?: boolean;
  readonly json?: boolean;
}

/** Texts that are computed before any of them is written. */
const atOnce = 64;

const help = `
Each argument is a text; without one, or with -, each line of stdin is, with --file each line of the file. Lines are plain text, or with
--jsonl (and from files named .jsonl) JSON: texts, or objects with a "text". Empty lines of plain text are passed over.

An embedding is the mean of the last hidden states of a text's tokens (BOS included), scaled to length 1: dot products of
embeddings are cosines.

Writes a line a text, in their order: {"index", "tokens", "embedding"}. With --json it is one object at the end: {"model", "dimensions",
"tokens" (of all texts), "embeddings"}.

Examples:
  $ openelm embed "The cat sat on the mat." "A dog lay on the rug."
  $ openelm embed --file notes.txt > notes.jsonl`;

/** The verb with its options. */
export function embedCommand(terminal: Terminal): Command {
  const command = new Command('embed').argument('[texts...]', 'texts, each in quotes; without any they are lines of stdin');
  return addModelOptions(command)
    .option('-f, --file <file>', 'the lines of this file')
    .option('--jsonl', 'lines are JSON: texts, or objects with a "text"')
    .option('--truncate', 'take the beginning of texts that are longer than the context')
    .option('--json', 'write one JSON object at the end')
    .addHelpText('after', help)
    .action((texts: string[], options: EmbedOptions) => embed(terminal, texts, options));
}

async function embed(terminal: Terminal, words: readonly string[], options: EmbedOptions): Promise<void> {
  const texts = await textsOf(terminal, words, options);
  const { model } = await openModel(terminal, options);
  const bar = progressBar(terminal.stderr, { unit: 'texts' });
  try {
    const embeddings: number[][] = [];
    let tokens = 0;
    await interruptible(terminal, async (signal) => {
      for (let start = 0; start < texts.length; start += atOnce) {
        const ids = texts.slice(start, start + atOnce).map((text, i) => idsOf(model, text, start + i, options));
        const vectors = await model.embed(ids, { signal });
        for (const [i, vector] of vectors.entries()) {
          tokens += ids[i].length;
          const embedding = Array.from(vector, shortest);
          if (options.json) embeddings.push(embedding);
          else writeJson(terminal, { index: start + i, tokens: ids[i].length, embedding });
        }
        if (terminal.stdout.writableNeedDrain) await once(terminal.stdout, 'drain', { signal });
        if (texts.length > atOnce) bar.update('embedding', Math.min(texts.length, start + atOnce), texts.length);
      }
    });
    const dimensions = model.checkpoint.config.modelDim;
    if (options.json) writeJson(terminal, { model: model.checkpoint.name, dimensions, tokens, embeddings });
  } finally {
    bar.finish();
    await model.dispose();
  }
}

/** Nine digits name every f32. */
function shortest(value: number): number {
  return Number(value.toPrecision(9));
}

function idsOf({ tokenizer, engine }: Model, text: string, index: number, { truncate }: EmbedOptions): number[] {
  const ids = tokenizer.encode(text, { bos: tokenizer.addBos });
  if (ids.length <= engine.context) return ids;
  if (truncate) return ids.slice(0, engine.context);
  throw new InputError(
    `text ${index + 1} has ${counted(ids.length, 'token')}, the context takes ${engine.context}: split it, or take its beginning with --truncate`,
  );
}

async function textsOf(terminal: Terminal, words: readonly string[], { file, jsonl }: EmbedOptions): Promise<string[]> {
  const piped = words.length === 0 || (words.length === 1 && words[0] === '-');
  if (file !== undefined && words.length > 0) throw new UsageError('give texts or --file, not both');
  if (!piped && jsonl) throw new UsageError('--jsonl is for lines of a file or of stdin');
  if (!piped) {
    const empty = words.indexOf('');
    if (empty >= 0) throw new InputError(`text ${empty + 1} is empty: give at least one character`);
    return [...words];
  }
  if (file === undefined && words.length === 0 && terminal.stdin.isTTY)
    throw new UsageError('no text: give texts as arguments, with --file or on stdin');
  const where = file ?? 'stdin';
  const lines = (file === undefined ? await readStdin(terminal) : await readTextFile(file)).split(/\r?\n/);
  const asJson = jsonl ?? /\.(jsonl|ndjson)$/i.test(where);
  const texts = lines.flatMap((line, i) => {
    if (line.trim() === '') return [];
    return asJson ? [textOfJson(line, `${where}: line ${i + 1}`)] : [line];
  });
  if (texts.length === 0) throw new InputError(`${where}: empty, no text to embed`);
  return texts;
}

function textOfJson(line: string, where: string): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new InputError(`${where} is no JSON; expected a text in quotes, or an object with a "text"`);
  }
  const text = typeof value === 'object' && value !== null && 'text' in value ? value.text : value;
  if (typeof text !== 'string')
    throw new InputError(`${where} has no text; expected a text in quotes, or an object with a "text"`);
  if (text === '') throw new InputError(`${where}: the text is empty`);
  return text;
}
