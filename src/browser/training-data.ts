// One text as training sees it: a tokenizer learned from it, its ids, and windows of them in an order of chance. All of it lies in
// memory; corpora that do not are data/'s.

import { counted, InputError } from '../errors.js';
import { PythonRandom } from '../python-random.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { TokenizerTrainer } from '../tokenizer/train.js';
import type { TrainingBatch } from '../train/language-modelling.js';
import type { BatchSource } from '../train/trainer.js';

/** Between two documents. */
const separator = /^<\|endoftext\|>\r?\n?/m;

export function learnTokenizer(text: string, vocabSize: number): Uint8Array {
  const trainer = new TokenizerTrainer();
  for (const document of text.split(separator)) for (const line of document.split('\n')) trainer.add(line);
  return trainer.train({ vocabSize });
}

/** Documents one after another, each with an end. */
export function idsOf(text: string, tokenizer: Tokenizer): Int32Array {
  const documents = text
    .split(separator)
    .map((document) => document.trim())
    .filter((document) => document !== '');
  const eos = tokenizer.eosId >= 0;
  const parts = documents.map((document) => tokenizer.encode(document, { eos }));
  const ids = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let end = 0;
  for (const part of parts) {
    ids.set(part, end);
    end += part.length;
  }
  return ids;
}

export interface WindowOptions {
  /** Windows in a batch. */
  readonly batch: number;
  /** Tokens of a window. */
  readonly length: number;
  readonly seed: number;
  /** The share of windows, at the text's end, that is held back. */
  readonly held: number;
}

/**
 * Windows of the ids, one behind another. Each begins with BOS, as a prompt does (where the tokenizer has one), and is learned whole.
 */
export class Windows {
  /** How many are held back. */
  readonly held: number;
  private readonly learned: number;

  /** Throws `InputError` when there are not enough for a batch. */
  constructor(
    private readonly ids: Int32Array,
    private readonly bosId: number,
    private readonly options: WindowOptions,
  ) {
    const { batch, length, held } = options;
    const count = Math.floor((ids.length - (bosId < 0 ? 1 : 0)) / length);
    this.held = Math.min(Math.max(0, count - batch), Math.ceil(count * held));
    this.learned = count - this.held;
    if (this.learned < batch) {
      throw new InputError(
        (option) =>
          `the text has ${counted(ids.length, 'token')}, ${counted(batch, 'window')} of ${length} take ${batch * length}: give a longer one, or a smaller ${option('batch')} or ${option('length')}`,
      );
    }
  }

  /** All of them once in an order of chance before any comes again; the state is how many were drawn. */
  source(drawn: number): BatchSource<TrainingBatch> {
    const { learned } = this;
    const { batch, length, seed } = this.options;
    let order: number[] = [];
    let at = drawn;
    const next = (): number => {
      if (order.length === 0) {
        order = new PythonRandom(seed + Math.floor(at / learned)).sample(learned, learned);
        order.length -= at % learned;
      }
      at++;
      return order.pop()!;
    };
    return {
      next: async () => ({ batch: this.batchOf(Array.from({ length: batch }, next)), documents: [], tokens: batch * length }),
      state: () => at,
    };
  }

  *heldBatches(): Generator<TrainingBatch> {
    const { batch } = this.options;
    const end = this.learned + this.held;
    for (let at = this.learned; at < end; at += batch)
      yield this.batchOf(Array.from({ length: Math.min(batch, end - at) }, (_, i) => at + i));
  }

  private batchOf(windows: readonly number[]): TrainingBatch {
    const { ids, bosId } = this;
    const { length } = this.options;
    const tokens = new Int32Array(windows.length * length);
    const targets = new Int32Array(windows.length * length);
    for (const [row, window] of windows.entries()) {
      const [to, from] = [row * length, window * length];
      if (bosId < 0) {
        tokens.set(ids.subarray(from, from + length), to);
        targets.set(ids.subarray(from + 1, from + 1 + length), to);
      } else {
        tokens[to] = bosId;
        tokens.set(ids.subarray(from, from + length - 1), to + 1);
        targets.set(ids.subarray(from, from + length), to);
      }
    }
    return { tokens, targets, sequences: windows.map((_, row) => [row * length, length] as const) };
  }
}
