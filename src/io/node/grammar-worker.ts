// A thread that compiles one grammar; grammar-workers.ts starts it. Nothing else imports it.

import { parentPort, workerData } from 'node:worker_threads';
import { InputError, messageOf } from '../../errors.js';
import { compileAsked, type GrammarRequest } from '../../grammar/asked.js';
import type { CompileAnswer } from './grammar-workers.js';

try {
  const compiled = compileAsked(workerData as GrammarRequest);
  const answer: CompileAnswer = { compiled };
  const { next, firstCall, calls, accepts, last } = compiled;
  parentPort!.postMessage(
    answer,
    [next, firstCall, calls, accepts, last].map(({ buffer }) => buffer as ArrayBuffer),
  );
} catch (error) {
  const answer: CompileAnswer = { error: messageOf(error), isInput: error instanceof InputError };
  parentPort!.postMessage(answer);
}
