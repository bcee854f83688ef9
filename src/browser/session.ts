// What a page asks of its worker: load a model, continue, score, train. One backend and one model each; the backend is opened by
// whoever serves the session, so that it runs in Node's tests as it does in a worker.

import { InputError } from '../errors.js';
import type { Prompt, TextOptions } from '../infer/text.js';
import type { ModelConfig } from '../model/config.js';
import { type BackendOptions, type Computing, computing, type OpenBackend } from './computing.js';
import { answer, type CallContext, type Port } from './messages.js';
import { type FileOptions, type ModelSource, modelFiles } from './model-files.js';
import { type Opened, type OpenOptions, openFiles } from './open.js';
import { trainingHandlers } from './training-session.js';

export interface LoadRequest {
  readonly source: ModelSource;
  readonly options: OpenOptions & FileOptions & BackendOptions;
}

/** Bytes that were downloaded, and bytes of weights that were put into the backend. */
export interface LoadProgress {
  readonly phase: 'download' | 'load';
  readonly bytes: number;
  readonly total: number;
}
export type LoadEvent = { readonly progress: LoadProgress } | { readonly notice: string };

export interface LoadAnswer {
  readonly config: ModelConfig;
  readonly dtype: string;
  readonly bytes: number;
  readonly hasTokenizer: boolean;
  readonly backend: Computing;
}

export interface GenerateRequest {
  readonly prompt: Prompt;
  readonly options: Omit<TextOptions, 'signal'>;
}

/** Answers on `port` until `close` is called. */
export function serveSession(port: Port, openBackend: OpenBackend): void {
  let backend: Awaited<ReturnType<OpenBackend>> | undefined;
  let opened: Opened | undefined;
  const current = (): Opened => {
    if (!opened) throw new InputError('no model is loaded');
    return opened;
  };
  answer(port, {
    async load({ source, options }: LoadRequest, { signal, emit }: CallContext): Promise<LoadAnswer> {
      const report = (phase: LoadProgress['phase']) => (bytes: number, total: number) =>
        emit({ progress: { phase, bytes, total } } satisfies LoadEvent);
      const onNotice = (notice: string): void => emit({ notice } satisfies LoadEvent);
      const files = await modelFiles(source, options, { signal, onNotice, onProgress: report('download') });
      backend = await openBackend(options);
      opened = await openFiles(files, backend, options, report('load'));
      const { config, weights, model } = opened;
      return {
        ...{ config, dtype: weights.dtype, bytes: weights.bytes, hasTokenizer: model.hasTokenizer },
        backend: computing(backend),
      };
    },
    async generate({ prompt, options }: GenerateRequest, { signal, emit }: CallContext) {
      const pieces = current().model.generate(prompt, { ...options, signal });
      for (;;) {
        const next = await pieces.next();
        if (next.done) return next.value;
        emit(next.value);
      }
    },
    score: (input: string | readonly number[], { signal }: CallContext) => current().model.score(input, signal),
    encode: async (prompt: Prompt) => [...(await current().model.encodePrompt(prompt))],
    decode: async (ids: readonly number[]) => current().model.tokenizer.decode([...ids]),
    ...trainingHandlers(async (options) => {
      backend = await openBackend(options);
      return { backend, computing: computing(backend) };
    }),
    async close() {
      await opened?.close();
      await backend?.dispose();
    },
  });
}
