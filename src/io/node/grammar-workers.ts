// Grammars that are much work are compiled in a thread of their own, one at a time, so that the event loop stays free for everybody else.
// The thread ends with its grammar: they are rare, and kept once they are made.

import type { GrammarRequest } from '../../grammar/asked.js';
import type { CompiledGrammar } from '../../grammar/compile.js';
import { errorOf, startWorker, type ToldError } from './workers.js';

export type CompileAnswer = { readonly compiled: CompiledGrammar } | ToldError;

let last: Promise<unknown> = Promise.resolve();

/** As `compileAsked`, elsewhere. */
export function compileInWorker(request: GrammarRequest): Promise<CompiledGrammar> {
  const compiled = last.then(() => compileOne(request));
  last = compiled.catch(() => {});
  return compiled;
}

async function compileOne(request: GrammarRequest): Promise<CompiledGrammar> {
  const worker = startWorker(import.meta.url, 'grammar-worker', request);
  try {
    const answer = await new Promise<CompileAnswer>((resolve, reject) => {
      worker.on('message', resolve);
      worker.on('error', reject);
      worker.on('exit', (code) => reject(new Error(`a grammar worker ended with code ${code}`)));
    });
    if ('compiled' in answer) return answer.compiled;
    throw errorOf(answer);
  } finally {
    await worker.terminate();
  }
}
