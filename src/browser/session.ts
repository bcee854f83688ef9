// What a page asks of its worker: load a model, continue, score, train. One backend and one model each; the backend is opened by
// whoever serves the session, so that it runs in Node's tests as it does in a worker.

import type { ChatMessage } from '../infer/chat.js';
import type { IdLogprob, TokenLogprobs } from '../infer/logprobs.js';
import type { Prompt, TextModel, TextOptions, TextPiece, TextResult, TurnOptions } from '../infer/text.js';
import type { ModelConfig } from '../model/config.js';
import { shownToken } from '../tokenizer/shown.js';
import { type BackendOptions, type ChosenBackend, type Computing, computing, type OpenBackend } from './computing.js';
import { type Held, HeldModel } from './held-model.js';
import { checkLoadOptions } from './load-options.js';
import { answer, type CallContext, type Port } from './messages.js';
import { type ModelSource, modelFiles } from './model-files.js';
import type { FileOptions } from './model-source.js';
import type { OpenOptions } from './open.js';
import type { ContinueRequest, TrainAnswer, TrainRequest, trainingHandlers } from './training-session.js';

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
  readonly hasChatTemplate: boolean;
  readonly backend: Computing;
}

export interface GenerateRequest {
  readonly prompt: Prompt;
  readonly options: Omit<TextOptions, 'signal'>;
}

export interface TurnsRequest {
  readonly messages: readonly ChatMessage[];
  readonly options: TurnOptions;
}

export interface InsideRequest {
  readonly input: string | readonly number[];
  readonly layer: number;
}

/** What happens inside of a model over some tokens. */
export interface Inside {
  readonly ids: readonly number[];
  /** Their texts, each by itself. */
  readonly tokens: readonly string[];
  /** Lengths of the tokens' hidden states, f32 [layers + 1, tokens]: 0 is the embedding, the last the output layer's input. */
  readonly norms: Float32Array;
  /** Query heads of the layer, and what its tokens look at: f32 [heads, tokens, tokens], rows of probabilities. */
  readonly heads: number;
  readonly attention: Float32Array;
}

/** An id with its text by itself. */
export interface ShownLogprob extends IdLogprob {
  readonly token: string;
}

/** A piece of the answer; where log-probabilities are asked for, with the texts of their tokens. */
export interface BrowserPiece extends TextPiece {
  readonly logprobs?: readonly (ShownLogprob & { readonly top: readonly ShownLogprob[] })[];
}

/** Told where an answer is computed by another backend than the last one, since that one was lost. */
export interface Moved {
  readonly moved: Computing;
}

/** Answers on `port` until `close` is called. */
export function serveSession(port: Port, openBackend: OpenBackend): void {
  const held = new HeldModel(openBackend);
  let trains: ChosenBackend | undefined;
  let told: ChosenBackend | undefined;
  let trainer: Promise<ReturnType<typeof trainingHandlers>> | undefined;
  // Fetched only where something is trained.
  const training = (): NonNullable<typeof trainer> => {
    trainer ??= import('./training-session.js').then(({ trainingHandlers }) =>
      trainingHandlers(async (options) => {
        trains = await openBackend({ ...options, backend: options.backend === 'webgpu' ? 'webgpu' : 'wasm' }, 0);
        return { backend: trains, computing: computing(trains) };
      }),
    );
    return trainer;
  };
  answer(port, {
    async load({ source, options }: LoadRequest, { signal, emit }: CallContext): Promise<LoadAnswer> {
      checkLoadOptions(options);
      const report = (phase: LoadProgress['phase']) => (bytes: number, total: number) =>
        emit({ progress: { phase, bytes, total } } satisfies LoadEvent);
      const onNotice = (notice: string): void => emit({ notice } satisfies LoadEvent);
      const files = await modelFiles(source, options, { signal, onNotice, onProgress: report('download') });
      const { config, weights, model, hasChatTemplate, backend } = await held.open(files, options, onNotice, report('load'));
      told = backend;
      return {
        ...{ config, dtype: weights.dtype, bytes: weights.bytes, hasTokenizer: model.hasTokenizer, hasChatTemplate },
        backend: computing(backend),
      };
    },
    async generate({ prompt, options }: GenerateRequest, { signal, emit }: CallContext) {
      let begun = false;
      const work = async ({ model, backend }: Held): Promise<TextResult> => {
        if (backend !== told) emit({ moved: computing(backend) } satisfies Moved);
        told = backend;
        const pieces = model.generate(prompt, { ...options, signal });
        for (;;) {
          const next = await pieces.next();
          if (next.done) return next.value;
          begun = true;
          emit(withTokens(model, next.value) satisfies BrowserPiece);
        }
      };
      return held.run(work, () => begun);
    },
    inside: ({ input, layer }: InsideRequest, { signal }: CallContext) =>
      held.run(({ model }) => inside(model, input, layer, signal)),
    score: (input: string | readonly number[], { signal }: CallContext) => held.run(({ model }) => model.score(input, signal)),
    encode: async (prompt: Prompt) => [...(await held.current.model.encodePrompt(prompt))],
    encodeChat: async ({ messages, options }: TurnsRequest) => [...(await held.current.model.encodeChat(messages, options))],
    decode: async (ids: readonly number[]) => held.current.model.tokenizer.decode([...ids]),
    train: async (request: TrainRequest, context: CallContext): Promise<TrainAnswer> =>
      (await training()).train(request, context),
    continue: async (request: ContinueRequest, context: CallContext): Promise<TrainAnswer> =>
      (await training()).continue(request, context),
    keepNow: async () => (await trainer)?.keepNow(),
    async close() {
      await held.close();
      await trains?.dispose();
    },
  });
}

async function inside(model: TextModel, input: InsideRequest['input'], layer: number, signal: AbortSignal): Promise<Inside> {
  const { ids, heads, weights } = await model.attention(input, layer, { signal });
  const { states } = await model.hiddenStates(ids, { signal });
  const norms = new Float32Array(states.length * ids.length);
  for (const [i, state] of states.entries()) {
    const columns = state.length / ids.length;
    for (let token = 0; token < ids.length; token++) {
      let squares = 0;
      for (let k = token * columns; k < (token + 1) * columns; k++) squares += state[k] * state[k];
      norms[i * ids.length + token] = Math.sqrt(squares);
    }
  }
  return { ids, tokens: ids.map((id) => tokenOf(model, id)), norms, heads, attention: weights };
}

function tokenOf(model: TextModel, id: number): string {
  return shownToken(model.hasTokenizer ? model.tokenizer : undefined, id).token;
}

function withTokens(model: TextModel, piece: TextPiece): BrowserPiece {
  const { logprobs, ...others } = piece;
  if (!logprobs) return others;
  const shown = (of: IdLogprob): ShownLogprob => ({ ...of, token: tokenOf(model, of.id) });
  return { ...others, logprobs: logprobs.map((of: TokenLogprobs) => ({ ...of, ...shown(of), top: of.top.map(shown) })) };
}
