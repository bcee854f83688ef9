// A thread that turns blocks of texts into tokens; text-workers.ts starts it and says what it answers. Nothing else imports it.

import { parentPort, workerData } from 'node:worker_threads';
import { processBlock } from '../../data/process.js';
import { tokenizerFromFile } from '../../tokenizer/file.js';
import type { Answer, Job, Setup } from './text-workers.js';
import { toldError } from './workers.js';

const { tokenizer: file, options } = workerData as Setup;
const tokenizer = tokenizerFromFile(file.bytes, file.name);

parentPort!.on('message', ({ id, texts }: Job) => {
  try {
    const block = processBlock(texts, tokenizer, options);
    const answer: Answer = { id, block };
    parentPort!.postMessage(answer, [block.tokens.buffer, block.lengths.buffer, block.counts.buffer] as ArrayBuffer[]);
  } catch (error) {
    parentPort!.postMessage({ id, ...toldError(error) } satisfies Answer);
  }
});
