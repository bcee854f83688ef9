// What an engine is asked and what it answers: types only; see `Engine`.

import type { OpenELM } from '../model/openelm.js';
import type { CacheType } from '../model/parameters.js';
import type { Constraint } from './constraint.js';
import type { IdLogprob } from './logprobs.js';
import type { Speculation } from './request.js';
import type { LogitBias, SamplingOptions } from './sampler.js';

/** What an engine keeps room for. */
export interface EngineOptions {
  /** Tokens a sequence may have; at most the config's `ropeMaxLength`; default its `maxContextLength`. */
  readonly context?: number;
  /** Sequences that may run at once; each has a cache of `context` tokens. Default 1. */
  readonly slots?: number;
  /** Default f16. */
  readonly cacheType?: CacheType;
  /** A smaller model of the same vocabulary on the same backend, whose guesses are checked several at a time. */
  readonly assistant?: OpenELM;
}

/** Why an answer ended: an end-of-sequence token or stop text, its length or the context's, the caller's signal. */
export type FinishReason = 'stop' | 'length' | 'abort';

/** How ids are drawn, and until when. */
export interface GenerateOptions extends SamplingOptions {
  /** Default: until the context is full. */
  readonly maxTokens?: number;
  /** Go on after an end-of-sequence token. */
  readonly ignoreEos?: boolean;
  /** When the context is full: `stop` (finish reason `length`), or `slide`: drop the older half after the first token and go on. */
  readonly overflow?: 'stop' | 'slide';
  /** One of the adapters that the model was loaded with, by name; `null`: none. Default the one that was loaded as `adapter`. */
  readonly adapter?: string | null;
  /** Added to the logits of single ids, by id; -100 and 100 are enough to ban and to force one. */
  readonly logitBias?: LogitBias;
  /** Tell each token's log-probability and those of this many of the likeliest ids, 0 to 20. */
  readonly topLogprobs?: number;
  /**
   * Guess this many tokens from where the text repeats itself and check them in one step; the ids are the same with and without.
   * Default: by the assistant, if the engine has one.
   */
  readonly promptLookup?: number;
  /** What the text of the new ids must be. It ends where it may and an end-of-sequence token comes, or where it must. */
  readonly constraint?: Constraint;
  readonly signal?: AbortSignal;
}

/** How an answer ended, and what it took. */
export interface GenerateResult {
  readonly reason: FinishReason;
  /** Prompt tokens that were still in the cache. */
  readonly reusedTokens: number;
  /** Milliseconds from the call to the first token, and from there to the end. */
  readonly promptMs: number;
  readonly generateMs: number;
  /** Where tokens were guessed: what came of it, and the milliseconds of a step without guesses. */
  readonly speculation?: Speculation & { readonly plainMs: number };
}

/** How likely each token was, given all before it. */
export interface ScoreResult {
  /** Log-probability of each token after those before it; null for the first. */
  readonly logprobs: (number | null)[];
  /** Whether each token is the most probable one; null for the first. */
  readonly greedy: (boolean | null)[];
  /** Where they were asked for: the likeliest ids at each place, the best first; null for the first. */
  readonly top?: (readonly IdLogprob[] | null)[];
}

/** How the inside of a model is looked at. */
export interface HiddenOptions {
  /** As `GenerateOptions.adapter`. */
  readonly adapter?: string | null;
  readonly signal?: AbortSignal;
}

/** How sequences are embedded. */
export interface EmbedOptions extends HiddenOptions {
  /** Called with the number of sequences that are done. */
  readonly onProgress?: (done: number, total: number) => void;
}
