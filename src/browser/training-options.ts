// What a training on one text is asked for, and what it tells on the way; the model that a shape makes. Doing it is train.ts's.

import { InputError } from '../errors.js';
import { type ConfigFields, configFromFields, configFromName, type ModelConfig } from '../model/config.js';
import type { StepReport } from '../train/trainer.js';

export interface TrainOptions {
  /** A line `<|endoftext|>` stands between two documents. */
  readonly text: string | Blob;
  /** A `tokenizer.model`; default: one with `vocabSize` pieces is learned from the text. */
  readonly tokenizer?: Uint8Array;
  /** Default 1024. */
  readonly vocabSize?: number;
  /** The model's shape: a built-in name (`OpenELM-270M`), or fields of CoreNet's. Default: 4 layers of width 128, 0.6M parameters beside the vocabulary. */
  readonly shape?: string | Partial<ConfigFields>;
  readonly steps: number;
  /** Windows in a step; default 8. */
  readonly batch?: number;
  /** Tokens of a window; default 128. */
  readonly length?: number;
  /** At its highest, after a tenth of the steps; default 3e-3. It falls to a tenth of it. */
  readonly learningRate?: number;
  /** Default 0. */
  readonly seed?: number;
  /** Lets the model write on the way, every so many steps and at the last. */
  readonly samples?: {
    readonly every: number;
    readonly prompt: string;
    readonly maxTokens?: number;
    /** Default 0.8. */
    readonly temperature?: number;
  };
  /** Windows at the text's end that are not learned from, a share of all: their loss is told every so many steps and at the last. */
  readonly validation?: { readonly every: number; readonly share: number };
}

/** What is told on the way. */
export interface TrainEvents {
  /** What is being done before the first step, and when that comes. */
  onPhase?(phase: 'tokenizer' | 'text' | 'train'): void;
  onStep?(report: StepReport): void;
  onValidation?(told: { readonly step: number; readonly loss: number }): void;
  onSample?(told: { readonly step: number; readonly text: string }): void;
  /** A checkpoint was kept. */
  onKept?(step: number): void;
  /** Told in one sentence of what the user should know. */
  onNotice?(message: string): void;
}

const smallShape = {
  ...{ num_transformer_layers: 4, model_dim: 128, head_dim: 32, num_query_heads: [4, 4, 4, 4], num_kv_heads: [2, 2, 2, 2] },
  ffn_multipliers: [2, 2, 3, 3],
};
/** Throws `InputError` naming the first that is no whole number above 0. */
export function checkCounts(counts: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(counts)) {
    if (!(Number.isSafeInteger(value) && value > 0))
      throw new InputError((option) => `${option(name)} is ${value}; expected a whole number above 0`);
  }
}

/** Throws `InputError`. */
export function checkOptions(options: Omit<TrainOptions, 'text' | 'tokenizer'>): void {
  const { steps, batch = 1, length = 1, validation, samples } = options;
  const counts = { steps, batch, length, 'validation.every': validation?.every ?? 1, 'samples.every': samples?.every ?? 1 };
  checkCounts(counts);
  const share = validation?.share ?? 0;
  if (!(share >= 0 && share <= 0.5)) throw new InputError(`validation.share is ${share}; expected 0 to 0.5`);
}

/** The model that a shape makes with a vocabulary of that size. */
export function configOf(shape: TrainOptions['shape'], vocabSize: number, length: number): ModelConfig {
  const sizes = { vocab_size: vocabSize, max_context_length: length, rope_max_length: 2 * length };
  if (typeof shape === 'string') return configFromName(shape, sizes);
  return configFromFields({ ...(shape ?? smallShape), ...sizes }, 'shape');
}
