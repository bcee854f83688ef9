// Corpora in memory and a tokenizer of bytes, for tests of the pipeline.

import { type DataConfig, dataConfigFrom } from '../../src/data/config.js';
import type { ProcessOptions, TextProcessor } from '../../src/data/process.js';
import { inlineProcessor, processBlock } from '../../src/data/process.js';
import type { CorpusFiles } from '../../src/data/readers.js';
import { InputError } from '../../src/errors.js';
import { bytesInMemory } from '../../src/io/bytes.js';
import { tokenizerFromModel } from '../../src/tokenizer/sentencepiece.js';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.js';
import { writeTokenizerModel } from '../../src/tokenizer/write.js';

/** Files by path; text as UTF-8. Chunks are small, so that documents lie across them. */
export function memoryCorpora(files: Record<string, string | Uint8Array>, chunk = 7): CorpusFiles {
  const get = (path: string): Uint8Array => {
    const content = files[path];
    if (content === undefined) throw new InputError(`${path}: cannot read it: no such file or directory`);
    return typeof content === 'string' ? new TextEncoder().encode(content) : content;
  };
  return {
    open: async (path) => bytesInMemory(path, get(path)),
    async *bytes(path, from) {
      const bytes = get(path);
      for (let at = from; at < bytes.length; at += chunk) yield bytes.slice(at, at + chunk);
    },
  };
}

/** Id = byte + 3, the space 259; 1 and 2 begin and end a text. */
export function byteTokenizer(): Tokenizer {
  const bytes = Array.from({ length: 256 }, (_, byte) => {
    return { text: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, score: 0, kind: 'byte' as const };
  });
  const pieces = [
    { text: '<unk>', score: 0, kind: 'unknown' as const },
    { text: '<s>', score: 0, kind: 'control' as const },
    { text: '</s>', score: 0, kind: 'control' as const },
    ...bytes,
    { text: '▁', score: 0, kind: 'normal' as const },
  ];
  return tokenizerFromModel(writeTokenizerModel(pieces, { characterCoverage: 1, splitDigits: true, maxPieceLength: 16 }));
}

/** A config with small defaults, all texts kept. */
export function smallConfig(changes: Record<string, unknown>): DataConfig {
  const defaults = { sequence_length: 16, min_characters_per_text: 0, min_tokens_per_text: 0, shuffle_data: false };
  return dataConfigFrom({ ...defaults, ...changes }, 'config');
}

/** Processes as if by several threads that finish in any order. */
export function scatteredProcessor(tokenizer: Tokenizer, options: ProcessOptions, depth: number): TextProcessor {
  let jobs = 0;
  return {
    ...inlineProcessor(tokenizer, options),
    depth,
    async process(texts) {
      const wait = (jobs++ * 7) % 5;
      for (let i = 0; i < wait; i++) await new Promise((resolve) => setTimeout(resolve, 1));
      return processBlock(texts, tokenizer, options);
    },
  };
}
