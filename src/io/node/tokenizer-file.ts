// Reading a tokenizer file for verbs that need the bytes as well, to hand them to worker threads.

import { tokenizerFromFile } from '../../tokenizer/file.js';
import type { Tokenizer } from '../../tokenizer/tokenizer.js';
import type { NamedBytes } from '../bytes.js';
import { openFile } from './files.js';

/** A tokenizer file's bytes and the tokenizer in it. Throws `InputError` when it is missing, damaged or of another kind. */
export async function readTokenizerFile(path: string): Promise<{ file: NamedBytes; tokenizer: Tokenizer }> {
  const source = await openFile(path);
  try {
    const bytes = await source.read(0, source.size);
    return { file: { name: path, bytes }, tokenizer: tokenizerFromFile(bytes, path) };
  } finally {
    await source.close();
  }
}
