// `openelm quantize`: a model's weights in few bits, and what that costs, by matrix and in perplexity.

import { Command, InvalidArgumentError, Option } from 'commander';
import { type Checkpoint, openTokenizer, sideFiles } from '../checkpoint.js';
import { readDocuments } from '../data/readers.js';
import { InputError } from '../errors.js';
import { writeQuantized } from '../formats/write.js';
import { type LoadOptions, load, openBackend } from '../index.js';
import { scoreInWindows } from '../infer/windows.js';
import { requireNew, writeNewDirectory } from '../io/node/checkpoints.js';
import { localCorpora } from '../io/node/corpora.js';
import { ensureWritable } from '../io/node/files.js';
import { parentOf } from '../io/node/paths.js';
import { checkWeights } from '../model/parameters.js';
import type { WriteFile } from '../model/write.js';
import { bitsPerWeight } from '../quantize/allocate.js';
import { type QuantizedMatrix, quantizeModel } from '../quantize/quantize.js';
import { errorsSvg } from '../report/errors.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { openShown } from './loading.js';
import { addModelOption, modelArgument, required, wholeNumber } from './options.js';
import { checkPictureName, writePicture } from './picture.js';
import { progressBar } from './progress.js';
import { interruptible, type Terminal, tell, UsageError, writeJson, writeLine } from './terminal.js';

interface Options {
  readonly model?: string;
  readonly bits: number;
  readonly group: number;
  readonly calibrate?: string;
  readonly tokens: number;
  readonly targetBpw?: number;
  readonly text?: string;
  readonly textKey: string;
  readonly out?: string;
  readonly picture?: string;
  readonly json?: boolean;
}

const help = `
MODEL is what \`openelm run -m\` takes. DIR is a folder of MLX's layout (codes, scales, biases, and \`quantization\` in config.json, for
each matrix where they differ), which \`openelm run -m DIR\` runs as it is.

Without --calibrate every weight is rounded to the nearest point of its group. With it, the errors of a column are made good by the
columns that follow, given what the matrix is multiplied with on that text (GPTQ, then sweeps over single codes). --target-bpw also
weighs the matrices: those that matter get more bits and those that do not get fewer, until the whole model, with scales, norms and
tables, takes as many bits a weight. Texts are .txt, .jsonl, .json or .parquet files, the first three also .gz or .zst.

With --json the output is {"bits_per_weight", "bytes", "perplexity": {"before", "after"} (null without --text), "matrices": [{"name",
"bits", "group", "error" (mean squared error of its products over their mean square; of the weights without --calibrate)}]}.

Examples:
  $ openelm quantize --bits 4 --calibrate stories.jsonl --out tales-q4
  $ openelm quantize apple/OpenELM-270M --target-bpw 4.5 --calibrate books.txt --text held-out.txt --out small --picture small.svg`;

/** The verb with its options. */
export function quantizeCommand(terminal: Terminal): Command {
  return addModelOption(new Command('quantize').argument('[model]', 'the model; the same as --model'))
    .addOption(
      new Option('--bits <n>', 'bits of a code')
        .choices(['8', '6', '5', '4', '3'])
        .default(4, '4')
        .argParser(oneOf(8, 6, 5, 4, 3)),
    )
    .addOption(
      new Option('--group <n>', 'inputs that share a scale')
        .choices(['32', '64', '128'])
        .default(64, '64')
        .argParser(oneOf(32, 64, 128)),
    )
    .option('--calibrate <file>', 'text like what the model will see')
    .option('--tokens <n>', 'how much of it', wholeNumber(256), 24576)
    .option('--target-bpw <x>', 'bits a weight in all, shared out by how much matrices matter', bitsArgument)
    .option('--text <file>', 'held-out text: its perplexity before and after')
    .option('--text-key <key>', "where a row's text is, in .jsonl and .parquet", 'text')
    .option('-o, --out <directory>', 'the model to write (required)')
    .option('--picture <file>', 'draw the error of each matrix into this file, SVG or PNG')
    .option('--json', 'write one JSON object')
    .addHelpText('after', help)
    .action((word: string | undefined, { model, ...options }: Options) =>
      quantize(terminal, modelArgument(word, model), options),
    );
}

function oneOf(...known: readonly number[]): (text: string) => number {
  return (text) => {
    if (known.includes(Number(text))) return Number(text);
    throw new InvalidArgumentError(`It must be one of ${known.join(', ')}.`);
  };
}

function bitsArgument(text: string): number {
  const value = Number(text);
  if (text !== '' && value >= 2.5 && value <= 9) return value;
  throw new InvalidArgumentError('It must be a number from 2.5 to 9.');
}

async function quantize(terminal: Terminal, name: string | undefined, options: Options): Promise<void> {
  const out = required(options.out, '-o, --out <directory>');
  if (options.picture) checkPictureName(options.picture);
  if (options.targetBpw !== undefined && !options.calibrate) throw new UsageError('--target-bpw needs --calibrate');
  await requireNew(out);
  for (const place of [out, options.picture]) if (place) await ensureWritable(parentOf(place), place);
  const checkpoint = await openShown(terminal, name);
  const counts = progressBar(terminal.stderr, { unit: '' });
  try {
    const tokenizer = options.calibrate || options.text ? await openTokenizer(checkpoint) : undefined;
    if ((options.calibrate || options.text) && !tokenizer)
      throw new InputError(`${checkpoint.place}: there is no tokenizer for texts`);
    if (!options.calibrate && options.bits < 6) {
      tell(
        terminal,
        'note: weights are rounded to nearest; with --calibrate TEXT, some hundred kB like what the model will see, about half as much is lost' +
          `${options.text ? '' : ', and --text TEXT tells how much'}`,
      );
    }
    const measure = (model: string | undefined): Promise<number | null> =>
      options.text
        ? perplexity(model, options.text, options.textKey, (done, total) => counts.update('measuring', done, total))
        : Promise.resolve(null);
    const before = await measure(name); // first: a text that is none is told before the long work
    counts.finish();
    const onProgress = (what: string, done: number, total: number): void => counts.update(what, done, total);
    const make = (signal: AbortSignal) => write(checkpoint, tokenizer, out, options, { signal, onProgress });
    const made = await interruptible(terminal, make, { writes: true });
    counts.finish();
    const perplexities = { before, after: await measure(out) };
    counts.finish();
    const parameters = made.matrices.reduce((sum, { quantized }) => sum + quantized.codes.length, made.vectors);
    const report = { bits: (8 * made.bytes) / parameters, bytes: made.bytes, perplexities, matrices: made.matrices };
    if (options.picture) await writePicture(options.picture, pictureOf(report, checkpoint.name));
    if (options.json) writeJson(terminal, jsonOf(report));
    else for (const line of linesOf(report, out)) writeLine(terminal, line);
  } finally {
    counts.finish();
  }
}

interface Making {
  readonly signal: AbortSignal;
  readonly onProgress: (what: string, done: number, total: number) => void;
}

interface Made {
  readonly matrices: readonly QuantizedMatrix[];
  readonly bytes: number;
  /** Elements of vectors. */
  readonly vectors: number;
}

async function write(
  checkpoint: Checkpoint,
  tokenizer: Tokenizer | undefined,
  out: string,
  { bits, group, calibrate, tokens, targetBpw, textKey }: Options,
  making: Making,
): Promise<Made> {
  const { config, place, name } = checkpoint;
  const weights = await checkpoint.openWeights();
  const { backend } = await openBackend();
  try {
    const checked = checkWeights(config, weights.tensors, place);
    const calibration = calibrate ? await sequencesOf(calibrate, textKey, tokenizer!, tokens) : undefined;
    const matrices = await quantizeModel(backend, config, checked, {
      bits,
      group,
      calibration,
      targetBits: targetBpw,
      ...making,
    });
    const model = { name, config, tensors: checked.tensors, texts: await sideFiles(checkpoint) };
    const byName = new Map(matrices.map((matrix) => [matrix.name, matrix.quantized]));
    const plain = checked.dtype === 'bf16' ? 'bf16' : 'f16';
    let bytes = 0;
    const fill = async (file: WriteFile): Promise<void> => {
      bytes = await writeQuantized(file, model, byName, plain);
    };
    await writeNewDirectory(out, fill, making.signal);
    const vectors = [...checked.tensors.values()].filter(({ shape }) => shape.length === 1);
    return { matrices, bytes, vectors: vectors.reduce((sum, { shape }) => sum + shape[0], 0) };
  } finally {
    await backend.dispose();
    await weights.close();
  }
}

const longest = 512;

/** The beginnings of documents spread over a file, of at most 512 tokens each, until there are enough. */
async function sequencesOf(path: string, textKey: string, tokenizer: Tokenizer, tokens: number): Promise<Int32Array[]> {
  const pieces: Int32Array[] = [];
  for await (const { text } of readDocuments(localCorpora, { path, textKey })) {
    const ids = tokenizer.encode(text, { bos: tokenizer.addBos, eos: true });
    for (let from = 0; from + 32 <= ids.length; from += longest) pieces.push(Int32Array.from(ids.slice(from, from + longest)));
    if (pieces.length > 16 * (tokens / 64)) break; // enough to choose from
  }
  if (pieces.length === 0) throw new InputError(`${path}: no text of 32 tokens in it to calibrate with`);
  // Evenly over what there is, by the golden section, so that neither one author nor one length prevails.
  const chosen: Int32Array[] = [];
  const taken = new Set<number>();
  for (let i = 0, count = 0; count < tokens && taken.size < pieces.length; i++) {
    const at = Math.floor(((i * 0.6180339887498949) % 1) * pieces.length);
    if (taken.has(at)) continue;
    taken.add(at);
    chosen.push(pieces[at]);
    count += pieces[at].length;
    if (i > 50 * pieces.length) break;
  }
  return chosen;
}

/** Over the documents of a file, in windows of 512 tokens that start afresh. */
async function perplexity(
  model: string | undefined,
  path: string,
  textKey: string,
  onProgress: (done: number, total: number) => void,
): Promise<number> {
  const options: LoadOptions = { slots: 1 };
  await using loaded = await load(model, options);
  const window = Math.min(longest, loaded.engine.context);
  const documents: number[][] = [];
  for await (const { text } of readDocuments(localCorpora, { path, textKey })) {
    documents.push(loaded.tokenizer.encode(text, { bos: loaded.tokenizer.addBos, eos: true }));
  }
  const total = documents.reduce((sum, { length }) => sum + length, 0);
  let [nats, count, done] = [0, 0, 0];
  for (const ids of documents) {
    const { logprobs } = await scoreInWindows(loaded.engine, ids, { window, stride: window });
    for (const logprob of logprobs) {
      if (logprob === null) continue;
      nats -= logprob;
      count++;
    }
    done += ids.length;
    onProgress(done, total);
  }
  if (count === 0) throw new InputError(`${path}: no text in it to measure`);
  return Math.exp(nats / count);
}

interface Report {
  readonly bits: number;
  readonly bytes: number;
  readonly perplexities: { readonly before: number | null; readonly after: number | null };
  readonly matrices: readonly QuantizedMatrix[];
}

function jsonOf({ bits, bytes, perplexities, matrices }: Report): object {
  const rows = matrices.map(({ name, error, quantized }) => ({ name, bits: quantized.bits, group: quantized.group, error }));
  return { bits_per_weight: bits, bytes, perplexity: perplexities, matrices: rows };
}

function shortName(name: string): string {
  return name.replace(/^transformer\./, '').replace(/\.weight$/, '');
}

function linesOf({ bits, bytes, perplexities: { before, after }, matrices }: Report, out: string): string[] {
  const width = Math.max(...matrices.map(({ name }) => shortName(name).length));
  const rows = matrices.map(({ name, error, quantized }) => {
    const format = `${quantized.bits} bits, groups of ${quantized.group}`;
    return `${shortName(name).padEnd(width)}  ${format.padEnd(21)}  ${bitsPerWeight(quantized).toFixed(2)}  ${(100 * error).toFixed(3).padStart(7)}%`;
  });
  const summary = [`${out}: ${bits.toFixed(3)} bits a weight with scales, tables and norms, ${(bytes / 1e6).toFixed(2)} MB`];
  if (before !== null && after !== null) {
    const rise = 100 * (after / before - 1);
    summary.push(`perplexity ${before.toFixed(4)} before, ${after.toFixed(4)} after: ${rise >= 0 ? '+' : ''}${rise.toFixed(3)}%`);
  }
  return [`${'matrix'.padEnd(width)}  ${'stored in'.padEnd(21)}  bits  ${'error'.padStart(8)}`, ...rows, '', ...summary];
}

function pictureOf({ bits, perplexities: { before, after }, matrices }: Report, name: string): string {
  const rise = before !== null && after !== null ? `, perplexity ${before.toFixed(2)} to ${after.toFixed(2)}` : '';
  const bars = matrices.map(({ name: own, error, quantized }) => ({
    name: shortName(own),
    value: error,
    note: `${quantized.bits} bits, groups of ${quantized.group}`,
  }));
  return errorsSvg(bars, `${name} at ${bits.toFixed(2)} bits a weight${rise}`);
}
