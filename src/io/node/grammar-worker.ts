// A thread that compiles one grammar; grammar-workers.ts starts it. Nothing else imports it.

import { parentPort, workerData } from 'node:worker_threads';
import { compileAsked, type GrammarRequest } from '../../grammar/asked.js';
import type { CompileAnswer } from './grammar-workers.js';
import { toldError } from './workers.js';

try {
  const compiled = compileAsked(workerData as GrammarRequest);
  const answer: CompileAnswer = { compiled };
  const { next, firstCall, calls, accepts, last } = compiled;
  parentPort!.postMessage(
    answer,
    [next, firstCall, calls, accepts, last].map(({ buffer }) => buffer as ArrayBuffer),
  );
} catch (error) {
  parentPort!.postMessage(toldError(error) satisfies CompileAnswer);
}
