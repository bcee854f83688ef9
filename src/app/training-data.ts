// Between the data room's batches, rows of equal length with padding, and the trainer's, which have tokens of sequences end to
// end and no padding at all. Tokenizers named by a file are opened here too.

import { inlineProcessor, type ProcessOptions, type TextProcessor } from '../data/process.js';
import type { Batch, BatchStream } from '../data/stream.js';
import { InputError } from '../errors.js';
import type { NamedBytes } from '../io/bytes.js';
import { kindOf } from '../io/node/paths.js';
import { workerProcessor } from '../io/node/text-workers.js';
import { readTokenizerFile } from '../io/node/tokenizer-file.js';
import { llamaTokenizer } from '../tokenizer/llama.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { TrainingBatch } from '../train/language-modelling.js';
import type { BatchSource } from '../train/trainer.js';

/** Target of a token that has none, in the data room's batches and the trainer's. */
export const ignored = -1;

/** The sequences of a batch end to end, without what pads its rows. */
export function withoutPadding({ length, samples, targets, sequences: byRow }: Batch): TrainingBatch {
  const places = byRow.flatMap((row, r) => row.map(([start, size]) => [r * length + start, size] as const));
  const total = places.reduce((sum, [, size]) => sum + size, 0);
  const batch = { tokens: new Int32Array(total), targets: new Int32Array(total), sequences: [] as [number, number][] };
  let end = 0;
  for (const [start, size] of places) {
    batch.tokens.set(samples.subarray(start, start + size), end);
    batch.targets.set(targets.subarray(start, start + size), end);
    batch.sequences.push([end, size]);
    end += size;
  }
  return batch;
}

/** A stream of training batches as the trainer's source. */
export function trainingSource(stream: BatchStream): BatchSource<TrainingBatch> {
  return {
    async next() {
      const found = await stream.next();
      if (!found) throw new Error('training data ended');
      const batch = withoutPadding(found);
      return { batch, documents: [...new Set(found.documents.flat())], tokens: batch.tokens.length };
    },
    state: () => stream.state(),
  };
}

/** A run's tokenizer, its file as it lies beside a model, and what processes texts with it. */
export interface TokenizerParts {
  readonly tokenizer: Tokenizer;
  /** Absent for LLaMA's, which models of its vocabulary are run with unasked. */
  readonly beside?: NamedBytes;
  /** Starts a thread, or none; the caller closes it. */
  processor(options: ProcessOptions): TextProcessor;
}

/** Opens a tokenizer file, or LLaMA's tokenizer without one. Throws `InputError` when it is missing or damaged. */
export async function openTokenizerParts(path: string | undefined): Promise<TokenizerParts> {
  if (path === undefined) {
    const tokenizer = await llamaTokenizer();
    return { tokenizer, processor: (options) => inlineProcessor(tokenizer, options) };
  }
  if (!(await kindOf(path))) throw new InputError(`${path}: no such tokenizer; \`openelm tokenizer train\` makes one`);
  const { tokenizer, file } = await readTokenizerFile(path);
  const name = path.endsWith('.json') ? 'tokenizer.json' : 'tokenizer.model';
  return {
    tokenizer,
    beside: { name, bytes: file.bytes },
    // One thread is many times faster than any model here learns.
    processor: (options) => workerProcessor({ tokenizer: file, options }, 1),
  };
}
