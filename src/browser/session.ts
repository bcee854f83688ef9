// What a page asks of its worker: load a model, continue, score, train. One backend and one model each; the backend is opened by
// whoever serves the session, so that it runs in Node's tests as it does in a worker.

import { InputError } from '../errors.js';
import type { Prompt, TextOptions } from '../infer/text.js';
import type { ModelConfig } from '../model/config.js';
import type { Backend } from '../tensor/backend.js';
import { answer, type CallContext, type Port } from './messages.js';
import { type FileOptions, type ModelSource, modelFiles } from './model-files.js';
import { type Opened, type OpenOptions, openFiles } from './open.js';
import { type TrainOptions, trainOn } from './train.js';

export interface BackendOptions {
  readonly threads?: number;
  readonly isa?: 'simd' | 'relaxed' | 'dot';
  readonly wasm?: string;
}

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

/** What computes. */
export interface Computing {
  readonly description: string;
  readonly isa: string;
  readonly threads: number;
}

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

export interface TrainRequest {
  readonly options: TrainOptions & BackendOptions;
}

type OpenBackend = (options: BackendOptions) => Promise<Backend & { readonly isa?: string }>;

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
      const { description, isa = '', limits } = backend;
      return {
        ...{ config, dtype: weights.dtype, bytes: weights.bytes, hasTokenizer: model.hasTokenizer },
        backend: { description, isa, threads: limits.threads },
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
    async train({ options }: TrainRequest, { signal, emit }: CallContext) {
      backend = await openBackend(options);
      const { description, isa = '', limits } = backend;
      emit({ backend: { description, isa, threads: limits.threads } satisfies Computing });
      return trainOn(backend, options, { signal, onStep: (report) => emit({ report }) });
    },
    async close() {
      await opened?.close();
      await backend?.dispose();
    },
  });
}
