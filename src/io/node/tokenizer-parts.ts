// A training run's tokenizer: named by a file, or LLaMA's, with what processes texts with it.

import { inlineProcessor, type ProcessOptions, type TextProcessor } from '../../data/process.js';
import { InputError } from '../../errors.js';
import { llamaTokenizer } from '../../tokenizer/llama.js';
import type { Tokenizer } from '../../tokenizer/tokenizer.js';
import type { NamedBytes } from '../bytes.js';
import { kindOf } from './paths.js';
import { workerProcessor } from './text-workers.js';
import { readTokenizerFile } from './tokenizer-file.js';

/** A run's tokenizer, its file as it lies beside a model, and what processes texts with it. */
export interface TokenizerParts {
  readonly tokenizer: Tokenizer;
  /** None for LLaMA's, which models of its vocabulary are run with unasked. */
  readonly beside: readonly NamedBytes[];
  /** Starts a thread, or none; the caller closes it. */
  processor(options: ProcessOptions): TextProcessor;
}

/** Opens a tokenizer file, or LLaMA's tokenizer without one. Throws `InputError` when it is missing or damaged. */
export async function openTokenizerParts(path: string | undefined): Promise<TokenizerParts> {
  if (path === undefined) {
    const tokenizer = await llamaTokenizer();
    return { tokenizer, beside: [], processor: (options) => inlineProcessor(tokenizer, options) };
  }
  if (!(await kindOf(path))) throw new InputError(`${path}: no such tokenizer; \`openelm tokenizer train\` makes one`);
  const { tokenizer, file } = await readTokenizerFile(path);
  const name = path.endsWith('.json') ? 'tokenizer.json' : 'tokenizer.model';
  return {
    tokenizer,
    beside: [{ name, bytes: file.bytes }],
    // One thread is many times faster than any model here learns.
    processor: (options) => workerProcessor({ tokenizer: file, options }, 1),
  };
}
