// Between the data room's batches, rows of equal length with padding, and the trainer's, which have tokens of sequences end to
// end and no padding at all. Tokenizers named by a file are opened here too.

import { basename } from 'node:path';
import type { Batch, BatchStream } from '../data/stream.js';
import { InputError } from '../errors.js';
import { readIfThere } from '../io/node/paths.js';
import { tokenizerFromJson } from '../tokenizer/hugging-face.js';
import { tokenizerFromModel } from '../tokenizer/sentencepiece.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { TokenizerFile } from '../train/checkpoint.js';
import type { TrainingBatch } from '../train/step.js';
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

/** A tokenizer and the file to lie beside a model. Throws `InputError` when it is missing or damaged. */
export async function openTokenizerFile(path: string): Promise<{ tokenizer: Tokenizer; file: TokenizerFile }> {
  const bytes = await readIfThere(path);
  if (!bytes) throw new InputError(`${path}: no such tokenizer; \`openelm tokenizer train\` makes one`);
  const isJson = basename(path).endsWith('.json');
  const tokenizer = isJson ? tokenizerFromJson(bytes, path) : tokenizerFromModel(bytes, path);
  return { tokenizer, file: { name: isJson ? 'tokenizer.json' : 'tokenizer.model', bytes } };
}
